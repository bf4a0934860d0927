"""What RunInstances takes beside image, type and volumes, and moto drops: interfaces, credits, CPUs, protection.

Sources: EC2 API Reference (RunInstances, InstanceNetworkInterfaceSpecification, GetLaunchTemplateData, "Error codes"),
botocore's shapes of requests and answers. What no page says is refused: a credit option for a type that is not
burstable, CPU options that the type does not list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, cast

from moto.core.responses import ActionResult
from moto.ec2.models import elastic_network_interfaces
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet

from local.twin.errors import refuse
from local.twin.launch_checks import INSTANCE_TYPES
from local.twin.launch_templates import LaunchTemplatesResponse
from local.twin.matching import select

_DNS = {"HostnameType": "ip-name", "EnableResourceNameDnsARecord": False, "EnableResourceNameDnsAAAARecord": False}
_UNLIMITED_BY_DEFAULT = ("t3.", "t3a.", "t4g.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """The options of one request, in its own words."""

    request: Mapping[str, Any]
    type: str

    def check(self, backend: Any) -> None:
        """Refuse, before anything is launched, what could not be had."""
        self._check_type()
        self._check_interfaces(backend)
        group = (self.request.get("Placement") or {}).get("GroupName")
        if group and group not in backend.placement_groups:
            # errors-overview: InvalidPlacementGroup.Unknown, "The specified placement group cannot be found".
            raise refuse("InvalidPlacementGroup.Unknown", f"The placement group '{group}' is unknown")

    def _check_type(self) -> None:
        known = INSTANCE_TYPES.get(self.type, {})
        if self.request.get("CreditSpecification") and not known.get("BurstablePerformanceSupported"):
            raise refuse("InvalidParameterCombination", f"{self.type} takes no CreditSpecification.")
        cpus = self.request.get("CpuOptions") or {}
        if ("CoreCount" in cpus) != ("ThreadsPerCore" in cpus):
            # RunInstances, CpuOptions: "To specify CPU options, you must specify both".
            raise refuse("InvalidParameterCombination", "CoreCount and ThreadsPerCore go together.")
        vcpus = known.get("VCpuInfo", {})
        if "CoreCount" in cpus and not (
            int(cpus["CoreCount"]) in vcpus.get("ValidCores", ())
            and int(cpus["ThreadsPerCore"]) in vcpus.get("ValidThreadsPerCore", ())
        ):
            raise refuse("InvalidParameterValue", f"{self.type} has no such CpuOptions.")
        if (self.request.get("EnclaveOptions") or {}).get("Enabled") and known.get("NitroEnclavesSupport") not in (
            "supported",
            None,
        ):
            raise refuse("Unsupported", f"{self.type} does not support Nitro Enclaves.")
        if (self.request.get("HibernationOptions") or {}).get("Configured") and not known.get("HibernationSupported"):
            # errors-overview: UnsupportedHibernationConfiguration.
            raise refuse("UnsupportedHibernationConfiguration", f"{self.type} does not support hibernation.")

    @property
    def interfaces(self) -> Sequence[Mapping[str, Any]]:
        """The network interfaces that are asked for one by one."""
        return self.request.get("NetworkInterfaces") or ()

    def _check_interfaces(self, backend: Any) -> None:
        if not self.interfaces:
            return
        for key in ("SubnetId", "SecurityGroupIds", "PrivateIpAddress", "Ipv6AddressCount"):
            if self.request.get(key):
                raise refuse(
                    "InvalidParameterCombination",
                    f"Network interfaces and an instance-level {key} may not be specified on the same request",
                )
        limits = INSTANCE_TYPES.get(self.type, {}).get("NetworkInfo", {})
        most = limits.get("MaximumNetworkInterfaces", 1)
        if len(self.interfaces) > most:
            raise refuse(
                "AttachmentLimitExceeded", f"Interface count {len(self.interfaces)} exceeds the limit for {self.type}"
            )
        indexes = [int(each.get("DeviceIndex", 0)) for each in self.interfaces]
        if len(set(indexes)) != len(indexes) or 0 not in indexes:
            raise refuse("InvalidParameterValue", f"Device indexes {indexes} are not one of each with a 0")
        zones = {backend.get_subnet(each["SubnetId"]).availability_zone for each in self.interfaces}
        if len(zones) > 1:
            raise refuse("InvalidParameterCombination", "All interfaces must be in the same Availability Zone.")
        asked = [address for each in self.interfaces for address in _addresses_of(each)]
        for each in self.interfaces:
            _check_interface(each, backend.get_subnet(each["SubnetId"]), limits)
        if len(set(asked)) != len(asked):
            raise refuse("InvalidIPAddress.InUse", "An address is asked for twice.")

    def apply(self, instance: Instance, backend: Any) -> None:
        """Let the new instance be what was asked for."""
        asked = self.request
        known = INSTANCE_TYPES.get(self.type, {}).get("VCpuInfo", {})
        instance.disable_api_termination = bool(asked.get("DisableApiTermination"))
        described: Any = instance
        described.cpu_options = {
            "CoreCount": known.get("DefaultCores"),
            "ThreadsPerCore": known.get("DefaultThreadsPerCore"),
            **(asked.get("CpuOptions") or {}),
        }
        described.credit_specification = asked.get("CreditSpecification")
        described.enclave_options = {"Enabled": bool((asked.get("EnclaveOptions") or {}).get("Enabled"))}
        described.maintenance_options = {
            "AutoRecovery": (asked.get("MaintenanceOptions") or {}).get("AutoRecovery", "default"),
            "RebootMigration": "default",
        }
        described.private_dns_name_options = _DNS | dict(asked.get("PrivateDnsNameOptions") or {})
        described.network_performance_options = {
            "BandwidthWeighting": (asked.get("NetworkPerformanceOptions") or {}).get("BandwidthWeighting", "default")
        }
        described.capacity_reservation_specification = {
            "CapacityReservationPreference": "open",
            **(asked.get("CapacityReservationSpecification") or {}),
        }
        placement = asked.get("Placement") or {}
        described.placement.tenancy = placement.get("Tenancy", "default")
        described.placement.group_name = placement.get("GroupName", "")
        if placement.get("PartitionNumber") is not None:
            described.placement.partition_number = int(placement["PartitionNumber"])
        self._equip_interfaces(instance, backend)

    def _equip_interfaces(self, instance: Instance, backend: Any) -> None:
        asked = {int(each.get("DeviceIndex", 0)): each for each in self.interfaces}
        tags = next(
            (
                {tag["Key"]: tag["Value"] for tag in each.get("Tags", [])}
                for each in self.request.get("TagSpecifications") or ()
                if each.get("ResourceType") == "network-interface"
            ),
            {},
        )
        for index, interface in instance.nics.items():
            if tags:
                backend.create_tags([interface.id], tags)
            # InstanceNetworkInterfaceSpecification: what a launch makes goes with the instance unless told otherwise.
            interface.delete_on_termination = asked.get(index, {}).get("DeleteOnTermination", True) is not False
            if index in asked:
                _equip(interface, asked[index], instance)
            if index:
                cast("Any", interface).__class__ = NetworkInterface


class NetworkInterface(elastic_network_interfaces.NetworkInterface):
    """An interface beside the first one: its groups are its own, and moto's are also those of the instance.

    moto finds what it describes by the name of the class, which therefore stays.
    """

    @property
    def group_set(self) -> Any:
        """Those that it was made with."""
        return self._group_set


def _check_interface(asked: Mapping[str, Any], subnet: Subnet, limits: Mapping[str, Any]) -> None:
    wanted = _addresses_of(asked)
    count = int(asked.get("SecondaryPrivateIpAddressCount") or 0)
    if count and len(wanted) > 1:
        # InstanceNetworkInterfaceSpecification, SecondaryPrivateIpAddressCount.
        raise refuse("InvalidParameterCombination", "A count goes with no further private addresses")
    if max(len(wanted), 1) + count > limits.get("Ipv4AddressesPerInterface", 1):
        raise refuse("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
    for address in wanted:
        if ip_address(address) not in subnet.cidr:
            raise refuse("InvalidParameterValue", f"Address {address} does not fall within the subnet's address range")
        if address in subnet._subnet_ips:  # noqa: SLF001 (moto has no getter)
            raise refuse("InvalidIPAddress.InUse", f"Address {address} is in use.")
    if asked.get("Ipv6AddressCount") and not subnet.ipv6_cidr_block_associations:
        raise refuse("InvalidParameterValue", f"{subnet.id} has no IPv6 CIDR block")


def _addresses_of(asked: Mapping[str, Any]) -> list[str]:
    """The private addresses that are asked for, the primary one first."""
    listed = sorted(asked.get("PrivateIpAddresses") or (), key=lambda each: each.get("Primary") is not True)
    first = [asked["PrivateIpAddress"]] if asked.get("PrivateIpAddress") else []
    return [*first, *(each["PrivateIpAddress"] for each in listed)]


def _equip(
    interface: elastic_network_interfaces.NetworkInterface, asked: Mapping[str, Any], instance: Instance
) -> None:
    subnet: Subnet = interface.subnet
    wanted = _addresses_of(asked)
    held = [str(interface.private_ip_address)]
    if interface.device_index != 0:
        # moto gives further interfaces any address, and tells the subnet nothing of it.
        held = [wanted[0] if wanted else subnet.get_available_subnet_ip(instance)]
        if wanted:
            subnet.request_ip(held[0], instance=instance)
        interface.private_ip_address = held[0]
    for address in wanted[1:]:
        subnet.request_ip(address, instance=instance)
    more = [
        subnet.get_available_subnet_ip(instance) for _ in range(int(asked.get("SecondaryPrivateIpAddressCount") or 0))
    ]
    interface.private_ip_addresses = [
        {"Primary": number == 0, "PrivateIpAddress": address}
        for number, address in enumerate([*held, *wanted[1:], *more])
    ]
    block = next(iter(subnet.ipv6_cidr_block_associations.values()), {}).get("ipv6CidrBlock", "")
    for number in range(int(asked.get("Ipv6AddressCount") or 0)):
        interface.ipv6_addresses.append(f"{block.partition('::')[0]}::{interface.id[-4:]}:{number:x}")
    interface.interface_type = asked.get("InterfaceType") or "interface"


class LaunchOptionsResponse(LaunchTemplatesResponse):
    """RunInstances with all of its options, and GetLaunchTemplateData, which tells some that no describe does."""

    def _launch(self) -> Any:
        options = LaunchOptions(request=self.params, type=self._get_param("InstanceType", "m1.small"))
        options.check(self.backend)
        reservation = super()._launch()
        for instance in reservation.instances:
            options.apply(instance, self.backend)
        return reservation

    def create_placement_group(self) -> ActionResult:
        """A group is available at once; its name is unique in the Region (errors-overview, .Duplicate)."""
        name = self._get_param("GroupName")
        if name in self.backend.placement_groups:
            raise refuse("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
        group = {
            "GroupName": name,
            "State": "available",
            "Strategy": self._get_param("Strategy", "cluster"),
            "PartitionCount": self._get_int_param("PartitionCount"),
        }
        self.backend.placement_groups[name] = group
        return ActionResult({"PlacementGroup": group})

    def describe_placement_groups(self) -> ActionResult:
        """Those that the filters `group-name`, `state` and `strategy` let through."""
        readers: dict[str, Any] = {
            "group-name": lambda group: group["GroupName"],
            "state": lambda group: group["State"],
            "strategy": lambda group: group["Strategy"],
        }
        groups = select(self.backend.placement_groups.values(), self.filters(), readers=readers, tags=lambda _: {})
        return ActionResult({"PlacementGroups": list(groups)})

    def get_launch_template_data(self) -> ActionResult:
        """Of an existing instance what it was launched with, and modified to be since."""
        instance: Any = self.backend.get_instance(self._get_param("InstanceId"))
        answered: Any = super().get_launch_template_data().result
        data = answered["LaunchTemplateData"]
        data["InstanceInitiatedShutdownBehavior"] = instance.instance_initiated_shutdown_behavior
        data["DisableApiTermination"] = instance.disable_api_termination is True
        data["DisableApiStop"] = instance.disable_api_stop is True
        credit = _credit_of(instance)
        # Absent for what takes none: "The credit option for CPU usage of the instance" is of burstable types only.
        data.pop("CreditSpecification", None)
        return ActionResult(
            answered | {"LaunchTemplateData": data | ({"CreditSpecification": credit} if credit else {})}
        )


def _credit_of(instance: Any) -> Mapping[str, str] | None:
    if not INSTANCE_TYPES.get(instance.instance_type, {}).get("BurstablePerformanceSupported"):
        return None
    # RunInstances, CreditSpecification: "Default: standard (T2 instances) or unlimited (T3/T3a/T4g instances)".
    default = "unlimited" if instance.instance_type.startswith(_UNLIMITED_BY_DEFAULT) else "standard"
    given: Mapping[str, str] | None = getattr(instance, "credit_specification", None)
    return given or {"CpuCredits": default}
