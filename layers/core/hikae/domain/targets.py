"""Where and as what an instance is launched: a drill in its own network, a restore where the site's settings say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from hikae.domain.fidelity import Loss, find_losses, is_of_first, stand_in_of
from hikae.domain.manifest import Manifest, ManifestInstance
from hikae.domain.networks import Interface, addresses_of, groups_of, index_of, list_interfaces, plan_interface
from hikae.domain.recovery_settings import InstanceSettings, RecoverySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """An Elastic IP address or a target group here, for one at the primary.

    `device` and `position` say which private address of which interface it belongs to, counted from 0.
    """

    id: str
    device: int = 0
    position: int = 0
    port: int | None = None
    is_address: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and as what a member is launched: subnets in order of preference, all else once."""

    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    key_name: str = ""
    profile: str = ""
    private_ip: str = ""
    own: InstanceSettings = field(default_factory=InstanceSettings)
    problems: tuple[str, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    placement_group: str = ""
    elastic_ips: tuple[StandIn, ...] = ()
    target_groups: tuple[StandIn, ...] = ()
    losses: tuple[Loss, ...] = ()

    @property
    def all_subnets(self) -> tuple[str, ...]:
        """Those that it may be launched into, and those of its further interfaces."""
        return tuple(dict.fromkeys([*self.subnets, *(each.subnet for each in self.interfaces if each.subnet)]))

    @property
    def all_security_groups(self) -> tuple[str, ...]:
        """Those of all of its interfaces."""
        others = [group for interface in self.interfaces for group in interface.groups]
        return tuple(dict.fromkeys([*self.security_groups, *others]))


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillNetwork:
    """The isolated network of a site's drills, and the profile of what runs there."""

    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    profile: str = ""
    vpc: str = ""
    endpoint_groups: tuple[str, ...] = ()


def drill_target(instance: ManifestInstance, network: DrillNetwork, *, own_profile: bool) -> Target:
    """Where a drill launches: its own network, no key, the drill's profile unless the plan asks for the instance's.

    The old private addresses are kept where the drill's subnets have them: nothing else is connected to those.
    """
    problems = []
    if not network.subnets or not network.security_groups:
        problems.append("this site has no drill network; deploy it with one, or set DrillSubnetIds")
    interfaces = (
        plan_interface(each, groups=network.security_groups, addresses=addresses_of(each))
        for each in list_interfaces(instance)
    )
    return Target(
        subnets=network.subnets,
        security_groups=network.security_groups,
        profile=_profile_name(instance) if own_profile else network.profile,
        private_ip=str(instance.described.get("PrivateIpAddress", "")),
        problems=tuple(problems),
        # Nothing of a drill may outlive its instance.
        interfaces=tuple(replace(each, is_deleted=True) for each in interfaces),
    )


def restore_target(resource: str, manifest: Manifest, settings: RecoverySettings) -> Target:
    """Where a restore launches, by the site's settings; what they do not answer is a problem with its remedy."""
    instance = manifest.instance
    assert instance is not None, "only an instance is launched"
    own = settings.instances.get(resource, InstanceSettings())
    problems = []
    subnet = str(instance.described.get("SubnetId", ""))
    mapped = own.subnet or settings.subnets.get(subnet, "")
    subnets = tuple(dict.fromkeys([*([mapped] if mapped else []), *settings.default_subnets]))
    if not subnets:
        problems.append(f"no subnet stands for {subnet}; name it under subnets or default_subnets")
    interfaces = []
    for described in list_interfaces(instance):
        is_first = index_of(described) == 0
        groups, lacking = _groups_here(groups_of(described, instance), settings)
        problems.extend(lacking)
        interfaces.append(
            plan_interface(
                described,
                groups=groups,
                subnet="" if is_first else settings.subnets.get(str(described.get("SubnetId", "")), ""),
                addresses=addresses_of(described, first=own.private_ip if is_first else ""),
            )
        )
    key, profile = str(instance.described.get("KeyName", "")), _profile_name(instance)
    return Target(
        subnets=subnets,
        security_groups=interfaces[0].groups,
        key_name=settings.key_pairs.get(key, key),
        profile=settings.instance_profiles.get(profile, profile),
        private_ip=own.private_ip or str(instance.described.get("PrivateIpAddress", "")),
        own=own,
        problems=tuple(dict.fromkeys(problems)),
        interfaces=tuple(interfaces),
        placement_group=settings.placement_groups.get(
            str(instance.described.get("Placement", {}).get("GroupName") or ""), ""
        ),
        elastic_ips=tuple(_elastic_ips(instance, settings, own)),
        target_groups=tuple(_target_groups(instance, settings, own)),
        losses=find_losses(resource, manifest, settings),
    )


def _groups_here(groups: Sequence[str], settings: RecoverySettings) -> tuple[list[str], list[str]]:
    """The security groups here that stand for these, and what lacks."""
    here, lacking = [], []
    for group in groups:
        if group in settings.security_groups:
            here.append(settings.security_groups[group])
        elif not settings.default_security_groups:
            lacking.append(f"no security group stands for {group}; name it under security_groups")
    here = list(dict.fromkeys([*here, *([] if here else settings.default_security_groups)]))
    if not here and not groups:
        lacking.append("no security group; name one under default_security_groups")
    return here, lacking


def _elastic_ips(instance: ManifestInstance, settings: RecoverySettings, own: InstanceSettings) -> Iterable[StandIn]:
    if own.elastic_ip:
        yield StandIn(id=own.elastic_ip)
    for each in instance.elastic_ips:
        here = stand_in_of(each, settings)
        if here and not (own.elastic_ip and is_of_first(each, instance)):
            device, position = _locate(str(each.get("PrivateIpAddress", "")), instance)
            yield StandIn(id=here, device=device, position=position)


def _target_groups(instance: ManifestInstance, settings: RecoverySettings, own: InstanceSettings) -> Iterable[StandIn]:
    yield from (StandIn(id=each) for each in own.target_groups)
    for each in instance.target_groups:
        here = settings.target_groups.get(str(each["TargetGroupArn"]), "")
        if here and here not in own.target_groups:
            is_address = each.get("TargetType") == "ip"
            device, position = _locate(str(each["Id"]), instance) if is_address else (0, 0)
            yield StandIn(id=here, device=device, position=position, port=each.get("Port"), is_address=is_address)


def _locate(address: str, instance: ManifestInstance) -> tuple[int, int]:
    """The device index of the interface that a private address belonged to, and its place there; else the main one."""
    for described in list_interfaces(instance):
        held = addresses_of(described)
        if address in held:
            return index_of(described), held.index(address)
    return 0, 0


def _profile_name(instance: ManifestInstance) -> str:
    return str(instance.described.get("IamInstanceProfile", {}).get("Arn", "")).rpartition("/")[2]
