"""The network interfaces of what is recovered: where each goes, with which addresses, and what is not as it was.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceNetworkInterfaceSpecification.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Final

from hikae.domain.manifest import ManifestInstance

EFA: Final = frozenset({"efa", "efa-only"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A subnet here, with its free addresses."""

    id: str
    zone: str
    vpc: str
    cidr: str
    free: int
    has_ipv6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface as it is to be made; `of` is the one at the primary that it stands for.

    `subnet` is empty where it goes with the first one. `addresses`, the main one first, are kept where the subnet has
    them free; there are `count` private IPv4 addresses in any case.
    """

    device: int = 0
    card: int = 0
    of: str = ""
    subnet: str = ""
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    count: int = 1
    ipv6_count: int = 0
    kind: str = "interface"
    description: str = ""
    is_deleted: bool = True
    connection_tracking: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether it is what a launch makes that says nothing of interfaces."""
        return self.device == 0 and self.count == 1 and not self.ipv6_count and self.kind not in EFA and self.is_deleted


def list_interfaces(instance: ManifestInstance) -> tuple[Mapping[str, Any], ...]:
    """The instance's interfaces as EC2 described them, by device index; the first of them is always there."""
    known = sorted(instance.network_interfaces, key=index_of)
    return tuple(known) if known and index_of(known[0]) == 0 else ({}, *known)


def index_of(described: Mapping[str, Any]) -> int:
    """The device index of an interface."""
    return int(described.get("Attachment", {}).get("DeviceIndex", 0))


def addresses_of(described: Mapping[str, Any], *, first: str = "") -> tuple[str, ...]:
    """Its private IPv4 addresses, the main one first, which `first` takes the place of."""
    listed = sorted(described.get("PrivateIpAddresses", ()), key=lambda each: each.get("Primary") is not True)
    found = [str(each["PrivateIpAddress"]) for each in listed]
    if first:
        found[:1] = [first]
    return tuple(dict.fromkeys(found))


def groups_of(described: Mapping[str, Any], instance: ManifestInstance) -> tuple[str, ...]:
    """Its security groups; those of the instance are those of its first interface."""
    own = tuple(str(group["GroupId"]) for group in described.get("Groups", ()))
    return own or (instance.security_groups if index_of(described) == 0 else ())


def plan_interface(
    described: Mapping[str, Any], *, groups: Sequence[str], subnet: str = "", addresses: Sequence[str] = ()
) -> Interface:
    """An interface like the one that EC2 described, with these groups and addresses."""
    attachment = described.get("Attachment", {})
    tracking = described.get("ConnectionTrackingConfiguration", {})
    return Interface(
        device=index_of(described),
        card=int(attachment.get("NetworkCardIndex", 0)),
        of=str(described.get("NetworkInterfaceId", "")),
        subnet=subnet,
        groups=tuple(groups),
        addresses=tuple(addresses),
        count=max(1, len(described.get("PrivateIpAddresses", ()))),
        ipv6_count=len(described.get("Ipv6Addresses", ())),
        kind=str(described.get("InterfaceType", "interface")),
        description=str(described.get("Description", "")),
        is_deleted=attachment.get("DeleteOnTermination") is not False,
        connection_tracking={key: tracking[key] for key in _TRACKING if key in tracking},
    )


_TRACKING: Final = ("TcpEstablishedTimeout", "UdpStreamTimeout", "UdpTimeout")


def are_plain(interfaces: Sequence[Interface]) -> bool:
    """Whether a launch has to say nothing of them but the subnet, the groups and perhaps an address."""
    return len(interfaces) <= 1 and all(each.is_plain and not each.connection_tracking for each in interfaces)


def count_addresses(interfaces: Sequence[Interface], subnet: str) -> int:
    """How many addresses a launch into this subnet takes there."""
    return sum(each.count for each in interfaces if each.subnet in ("", subnet)) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The interfaces of a launch into one subnet, in RunInstances' words, and what is not as it was."""

    requests: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    asked: tuple[str, ...]
    """The addresses that are asked for by name."""


def place_interfaces(
    interfaces: Sequence[Interface], first: Subnet, subnets: Mapping[str, Subnet], *, with_ip: bool
) -> Placed:
    """Put each into its subnet, if that is in the zone of the `first` one, and else into that.

    `with_ip` asks for the old addresses, as far as the subnets can have them; what is asked for may be taken.
    """
    requests: list[dict[str, Any]] = []
    notes: list[str] = []
    asked: list[str] = []
    for interface in interfaces:
        subnet = subnets.get(interface.subnet, first)
        if subnet.zone != first.zone:
            notes.append(
                f"its network interface {interface.device} is in {first.id}: {subnet.id} is not in {first.zone}"
            )
            subnet = first
        request: dict[str, Any] = {
            "DeviceIndex": interface.device,
            "SubnetId": subnet.id,
            "Groups": list(interface.groups),
            "DeleteOnTermination": interface.is_deleted,
        }
        if interface.card:
            request["NetworkCardIndex"] = interface.card
        if interface.description:
            request["Description"] = interface.description
        if interface.kind in EFA:
            request["InterfaceType"] = interface.kind
        if interface.connection_tracking:
            request["ConnectionTrackingSpecification"] = dict(interface.connection_tracking)
        if interface.ipv6_count and subnet.has_ipv6:
            request["Ipv6AddressCount"] = interface.ipv6_count
        kept, others = _keep(interface, subnet) if with_ip else ((), ())
        request |= _addresses(interface, kept)
        asked.extend(kept)
        notes.extend(_moved(address, subnet) for address in others)
        requests.append(request)
    return Placed(requests=tuple(requests), notes=tuple(notes), asked=tuple(asked))


def _keep(interface: Interface, subnet: Subnet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The addresses that can be asked for, and the others: all, the main one alone, or none."""
    fitting = [address for address in interface.addresses if can_have_ip(address, subnet)]
    if len(fitting) == len(interface.addresses):
        return interface.addresses, ()
    first = interface.addresses[:1] if interface.addresses[0] in fitting else ()
    return first, interface.addresses[len(first) :]


def _moved(address: str, subnet: Subnet) -> str:
    return f"it has another private address: {address} is not in {subnet.cidr}"


def _addresses(interface: Interface, kept: Sequence[str]) -> dict[str, Any]:
    """A count goes with the main address, not with further ones."""
    if len(kept) > 1:
        return {
            "PrivateIpAddresses": [
                {"PrivateIpAddress": address, "Primary": number == 0} for number, address in enumerate(kept)
            ]
        }
    main = {"PrivateIpAddress": kept[0]} if kept else {}
    return main | ({"SecondaryPrivateIpAddressCount": interface.count - 1} if interface.count > 1 else {})


def can_have_ip(address: str, subnet: Subnet) -> bool:
    """Whether a private address lies in the subnet, apart from the five that AWS keeps for itself.

    https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
    """
    try:
        network, wanted = ip_network(subnet.cidr), ip_address(address)
    except ValueError:
        return False
    position = int(wanted) - int(network.network_address)
    return wanted in network and 4 <= position < network.num_addresses - 1  # noqa: PLR2004 - the first four, the last
