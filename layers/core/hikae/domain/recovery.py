"""Deciding about a recovery: which points, in which order, launched how, and what may be torn down.

Requests to EC2 are built here in EC2's own words (RunInstances, RegisterImage), so that they can be judged without it.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hikae.domain.fidelity import OWN_TAGS, Loss, find_losses, is_of_first, stand_in_of
from hikae.domain.manifest import Manifest, ManifestInstance, ManifestVolume
from hikae.domain.model import Kind, RecoveryPoint
from hikae.domain.naming import (
    MAX_TAGS,
    RECOVERED_FROM,
    RECOVERED_RESOURCE,
    manifest_key,
    recovery_image_name,
    recovery_token,
    run_tag,
    user_tags,
)
from hikae.domain.networks import (
    EFA,
    Interface,
    Subnet,
    addresses_of,
    are_plain,
    groups_of,
    index_of,
    list_interfaces,
    place_interfaces,
    plan_interface,
)
from hikae.domain.recovery_settings import InstanceSettings, RecoverySettings
from hikae.domain.runs import Member, Mode, Request, Run, Rung

MAX_FALLBACKS: Final = 3
"""How many points of one resource a run tries after the newest."""

CAPACITY_CODES: Final = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "InsufficientFreeAddressesInSubnet",
        "InstanceLimitExceeded",
        "Unsupported",
        "VcpuLimitExceeded",
    }
)
"""Why a launch may work elsewhere or with another type: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html."""

_PROVISIONED: Final = frozenset({"gp3", "io1", "io2"})
"""Volume types whose IOPS are asked for; of the others EC2 reports a number that cannot be."""

_MULTI_ATTACH: Final = frozenset({"io1", "io2"})
"""https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html."""


# --- which points -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The points of a run, and the resources that have none with the reason."""

    points: Mapping[str, RecoveryPoint]
    missing: Mapping[str, str]


def choose_points(
    points: Iterable[RecoveryPoint], resources: Iterable[str], request: Request, *, rejected: Mapping[str, str]
) -> Chosen:
    """For each resource its newest complete point, of those that the request allows and no step has rejected.

    `rejected` holds, by a set's id, why it cannot be used.
    """
    of_resource: dict[str, list[RecoveryPoint]] = {}
    for point in points:
        of_resource.setdefault(point.tags.identity.resource, []).append(point)
    chosen: dict[str, RecoveryPoint] = {}
    missing: dict[str, str] = {}
    for resource in resources:
        found = of_resource.get(resource, [])
        wanted = [point for point in found if _is_asked_for(point, request)]
        usable = [point for point in wanted if point.is_complete and point.id not in rejected]
        if usable:
            chosen[resource] = max(usable, key=lambda point: (point.source_time, point.id))
        else:
            missing[resource] = _why_none(found, wanted, request, rejected)
    return Chosen(points=chosen, missing=missing)


def _is_asked_for(point: RecoveryPoint, request: Request) -> bool:
    if request.point:
        return point.tags.point == request.point
    return request.before is None or point.source_time <= request.before


def _why_none(
    found: Sequence[RecoveryPoint], wanted: Sequence[RecoveryPoint], request: Request, rejected: Mapping[str, str]
) -> str:
    if not found:
        return "there is no recovery point of it here"
    if not wanted:
        return f"none of its {len(found)} points here is {request.point or f'as old as {request.before}'}"
    newest = max(wanted, key=lambda point: point.source_time)
    why = rejected.get(newest.id) or newest.reason or f"it is {newest.state}"
    return f"none of its {len(wanted)} points can be used; the newest, {newest.tags.point}: {why}"


def tags_of_point(point: RecoveryPoint) -> dict[str, str]:
    """The resource's own tags, as far as the point's snapshots or image carry them."""
    carrier = point.image or point.snapshots[0]
    return user_tags(carrier.tags)


def list_groups(points: Iterable[RecoveryPoint], *, plan: str, group_by: str) -> dict[str, list[str]]:
    """The resources of a plan that are recovered together, by the value of their tag; without a tag, all together.

    A resource is in the group that its newest point says, complete or not; one without the tag is in the group "".
    """
    newest: dict[str, RecoveryPoint] = {}
    for point in points:
        identity = point.tags.identity
        if identity.plan == plan and (point.image or point.snapshots):
            known = newest.get(identity.resource)
            if known is None or point.source_time > known.source_time:
                newest[identity.resource] = point
    groups: dict[str, list[str]] = {}
    for resource in sorted(newest):
        value = tags_of_point(newest[resource]).get(group_by, "") if group_by else ""
        groups.setdefault(value, []).append(resource)
    return groups


def order_batches(orders: Mapping[str, str]) -> dict[str, int]:
    """The batch of each resource by the value of its order tag: equal values start together, none last.

    Numbers go by their size and before other text.
    """
    ranked = sorted({_rank(value) for value in orders.values()})
    return {resource: ranked.index(_rank(value)) for resource, value in orders.items()}


def _rank(value: str) -> tuple[int, int, str]:
    if not value:
        return 2, 0, ""
    return (0, int(value), "") if value.isdecimal() and value.isascii() else (1, 0, value)


def member_of(point: RecoveryPoint, *, order: str, batch: int, attempt: int = 1) -> Member:
    """A member that recovers this point."""
    identity = point.tags.identity
    return Member(
        resource=identity.resource,
        kind=point.tags.kind,
        point=point.tags.point,
        set_id=point.id,
        source_time=point.source_time,
        manifest=manifest_key(point.tags),
        account=identity.place.account,
        region=identity.place.region,
        # A copy's own volume id is arbitrary: what it is a snapshot of is in its tag.
        snapshots={snapshot.tags.get("hikae:volume") or snapshot.volume_id: snapshot.id for snapshot in point.snapshots}
        if point.tags.kind is not Kind.IMAGE
        else {},
        image=point.image.id if point.image else "",
        attempt=attempt,
        order=order,
        batch=batch,
    )


def check_point(member: Member, manifest: Manifest) -> str:
    """Why the point cannot rebuild its resource, empty where it can."""
    volumes = manifest.protected_volumes
    lacking = [volume.id for volume in volumes if member.kind is not Kind.IMAGE and volume.id not in member.snapshots]
    if lacking:
        return f"it has no snapshot of {', '.join(lacking)}"
    if manifest.instance and all(volume.device != manifest.instance.root_device for volume in volumes):
        return f"its root volume at {manifest.instance.root_device} was left out, and without it nothing boots"
    return ""


# --- launched how -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """What EC2 says of an instance type, as far as it decides about booting."""

    name: str
    architectures: frozenset[str]
    boot_modes: frozenset[str]
    virtualization: frozenset[str]
    ena: str
    nvme: str
    has_instance_store: bool
    has_tpm: bool
    vcpus: int
    most_volumes: int | None = None
    default_cpus: tuple[int, int] = (0, 0)
    cores: frozenset[int] = frozenset()
    threads: frozenset[int] = frozenset()
    most_interfaces: int | None = None
    most_addresses: int | None = None
    most_ipv6_addresses: int | None = None
    has_efa: bool = False
    has_enclaves: bool = False
    has_sev_snp: bool = False
    has_credits: bool = False
    can_hibernate: bool = False
    bandwidth_weightings: frozenset[str] = frozenset()


def read_instance_type(described: Mapping[str, Any]) -> InstanceType:
    """What `DescribeInstanceTypes` says of a type."""
    ebs, network, cpus = (described.get(key, {}) for key in ("EbsInfo", "NetworkInfo", "VCpuInfo"))
    processor = described.get("ProcessorInfo", {})
    return InstanceType(
        name=str(described["InstanceType"]),
        architectures=frozenset(processor.get("SupportedArchitectures", [])),
        boot_modes=frozenset(described.get("SupportedBootModes", [])),
        virtualization=frozenset(described.get("SupportedVirtualizationTypes", [])),
        ena=network.get("EnaSupport", "unsupported"),
        nvme=ebs.get("NvmeSupport", "unsupported"),
        has_instance_store=described.get("InstanceStorageSupported") is True,
        has_tpm=described.get("NitroTpmSupport") == "supported",
        vcpus=cpus.get("DefaultVCpus", 0),
        most_volumes=ebs.get("MaximumEbsAttachments"),
        default_cpus=(cpus.get("DefaultCores", 0), cpus.get("DefaultThreadsPerCore", 0)),
        cores=frozenset(cpus.get("ValidCores", [])),
        threads=frozenset(cpus.get("ValidThreadsPerCore", [])),
        most_interfaces=network.get("MaximumNetworkInterfaces"),
        most_addresses=network.get("Ipv4AddressesPerInterface"),
        most_ipv6_addresses=network.get("Ipv6AddressesPerInterface"),
        has_efa=network.get("EfaSupported") is True,
        has_enclaves=described.get("NitroEnclavesSupport") == "supported",
        has_sev_snp="amd-sev-snp" in processor.get("SupportedFeatures", []),
        has_credits=described.get("BurstablePerformanceSupported") is True,
        can_hibernate=described.get("HibernationSupported") is True,
        bandwidth_weightings=frozenset(network.get("BandwidthWeightings", [])),
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The ways to launch a member, the best first, and the types that are not among them with the reason."""

    rungs: tuple[Rung, ...]
    refusals: tuple[str, ...]


def build_ladder(
    manifest: Manifest,
    *,
    subnets: Sequence[Subnet],
    fallback_types: Sequence[str],
    types: Mapping[str, InstanceType],
    offered: Collection[tuple[str, str]],
) -> Ladder:
    """The instance's own type in every subnet's zone, then each type of the plan's list that can boot the image.

    `offered` holds (type, zone). A type that EC2 does not know here is refused, as is one that the image cannot boot.
    """
    instance = manifest.instance
    assert instance is not None, "only an instance is launched"
    source = types.get(instance.type)
    if source is None and instance.type_described.get("InstanceType") == instance.type:
        source = read_instance_type(instance.type_described)
    rungs: list[Rung] = []
    refusals: list[str] = []
    for name in dict.fromkeys([instance.type, *fallback_types]):
        known = types.get(name)
        reason = "it does not exist in this Region" if known is None else ""
        if known is not None and name != instance.type:
            reason = why_it_cannot_boot(manifest, known, source=source)
        places = [subnet for subnet in subnets if (name, subnet.zone) in offered]
        if not reason and not places:
            reason = f"it is not offered in {', '.join(sorted({subnet.zone for subnet in subnets})) or 'any zone'}"
        if known is None or reason:
            refusals.append(f"{name}: {reason}")
            continue
        cores, threads = _cpus_to_ask_for(instance, source) or (0, 0)
        without = tuple(_without(instance, known))
        rungs.extend(
            Rung(type=name, subnet=subnet.id, zone=subnet.zone, cores=cores, threads=threads, without=without)
            for subnet in places
        )
    return Ladder(rungs=tuple(rungs), refusals=tuple(refusals))


def _cpus_to_ask_for(instance: ManifestInstance, source: InstanceType | None) -> tuple[int, int] | None:
    """The cores and the threads a core of an instance that has others than its type; None where it has its type's.

    EC2 tells them of every instance, whether somebody asked for them or not.
    """
    said = instance.described.get("CpuOptions", {})
    own = (said.get("CoreCount"), said.get("ThreadsPerCore"))
    if source is None or None in own or own == source.default_cpus:
        return None
    return int(own[0]), int(own[1])


def _without(instance: ManifestInstance, known: InstanceType) -> Iterable[str]:
    """What the instance had, can do without, and this type cannot have."""
    if _is_on(instance, "HibernationOptions", "Configured") and not known.can_hibernate:
        yield "hibernation"
    weighting = _weighting(instance)
    if weighting and weighting not in known.bandwidth_weightings:
        yield f"bandwidth weighting {weighting}"
    credit = instance.launch.get("CreditSpecification")
    if credit and not known.has_credits:
        yield f"credit option {credit['CpuCredits']}"


def _weighting(instance: ManifestInstance) -> str:
    said = str(instance.described.get("NetworkPerformanceOptions", {}).get("BandwidthWeighting") or "default")
    return "" if said == "default" else said


def _is_on(instance: ManifestInstance, options: str, key: str) -> bool:
    return instance.described.get(options, {}).get(key) is True


def why_it_cannot_boot(manifest: Manifest, candidate: InstanceType, *, source: InstanceType | None) -> str:
    """Why the image of the instance would not start, or not as it was, on another type; empty where it would.

    An image's drivers are not to be seen from outside: what the source's type needed is there, anything else is not
    taken for granted. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resize-limitations.html
    """
    instance = manifest.instance
    assert instance is not None, "only an instance is launched"
    described, image = instance.described, instance.image
    cpus = _cpus_to_ask_for(instance, source)
    interfaces = [plan_interface(each, groups=()) for each in list_interfaces(instance)]
    is_sev_snp = described.get("CpuOptions", {}).get("AmdSevSnp") == "enabled"
    boot_mode = _boot_mode(instance)
    has_ena = _flag(described, image, "EnaSupport")
    checks = (
        (instance.architecture in candidate.architectures, f"it is not {instance.architecture}"),
        (
            _can_boot(boot_mode, candidate, instance.architecture),
            f"it does not boot in mode {boot_mode or 'legacy-bios'}",
        ),
        (
            _virtualization(instance) in candidate.virtualization,
            f"it has no {_virtualization(instance)} virtualization",
        ),
        (candidate.ena != "required" or has_ena, "it requires ENA, which the image does not have"),
        (
            candidate.nvme != "required" or (source is not None and source.nvme != "unsupported"),
            "its volumes are NVMe, for which the image is not known to have a driver",
        ),
        (
            source is not None or candidate.has_instance_store,
            "it has no instance store, and nobody knows whether the instance had one",
        ),
        (
            source is None or not source.has_instance_store or candidate.has_instance_store,
            "it has no instance store, and the instance had one",
        ),
        (not _tpm(instance) or candidate.has_tpm, "it has no NitroTPM, which the image asks for"),
        (
            not _is_on(instance, "EnclaveOptions", "Enabled") or candidate.has_enclaves,
            "it has no Nitro Enclaves, which the instance was enabled for",
        ),
        (not is_sev_snp or candidate.has_sev_snp, "it has no AMD SEV-SNP, which the instance had"),
        (
            cpus is None or (cpus[0] in candidate.cores and cpus[1] in candidate.threads),
            f"it does not take {cpus and cpus[0]} cores with {cpus and cpus[1]} threads each",
        ),
        (
            _is_within(len(interfaces), candidate.most_interfaces),
            f"it takes {candidate.most_interfaces} network interfaces",
        ),
        (
            _is_within(max(each.count for each in interfaces), candidate.most_addresses),
            f"its network interfaces take {candidate.most_addresses} private addresses each",
        ),
        (
            _is_within(max(each.ipv6_count for each in interfaces), candidate.most_ipv6_addresses),
            f"its network interfaces take {candidate.most_ipv6_addresses} IPv6 addresses each",
        ),
        (
            candidate.has_efa or all(each.kind not in EFA for each in interfaces),
            "it has no Elastic Fabric Adapter, and the instance had one",
        ),
        (
            candidate.most_volumes is None or len(manifest.protected_volumes) < candidate.most_volumes,
            f"it takes {candidate.most_volumes} attachments at most",
        ),
    )
    return next((reason for is_fine, reason in checks if not is_fine), "")


def _is_within(number: int, most: int | None) -> bool:
    return most is None or number <= most


def _tpm(instance: ManifestInstance) -> str:
    """The version of NitroTPM that the image asks for, empty for none."""
    return str(instance.image.get("TpmSupport") or instance.described.get("TpmSupport") or "")


def _can_boot(mode: str, candidate: InstanceType, architecture: str) -> bool:
    if mode == "uefi-preferred":
        return bool(candidate.boot_modes & {"uefi", "legacy-bios"})
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-boot.html: without the parameter, the type's default.
    default = "uefi" if architecture.startswith("arm64") else "legacy-bios"
    return (mode or default) in candidate.boot_modes


def _boot_mode(instance: ManifestInstance) -> str:
    return str(instance.image.get("BootMode") or instance.described.get("BootMode") or "")


def _virtualization(instance: ManifestInstance) -> str:
    return str(instance.described.get("VirtualizationType") or instance.image.get("VirtualizationType") or "hvm")


def _flag(described: Mapping[str, Any], image: Mapping[str, Any], key: str) -> bool:
    return described.get(key) is True or image.get(key) is True


ON_DEMAND_QUOTAS: Final[Mapping[str, frozenset[str]]] = {
    "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances": frozenset(
        {"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"}
    ),
    "Running On-Demand DL instances": frozenset({"dl"}),
    "Running On-Demand F instances": frozenset({"f"}),
    "Running On-Demand G and VT instances": frozenset({"g", "gr", "vt"}),
    "Running On-Demand High Memory instances": frozenset({"u", "u7i", "u7in"}),
    "Running On-Demand HPC instances": frozenset({"hpc"}),
    "Running On-Demand Inf instances": frozenset({"inf"}),
    "Running On-Demand P instances": frozenset({"p"}),
    "Running On-Demand Trn instances": frozenset({"trn"}),
    "Running On-Demand X instances": frozenset({"x"}),
}
"""The quotas on vCPUs by their names in Service Quotas, each with the families of types that it counts.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html#ec2-on-demand-instances-limits
"""


def vcpu_quota_of(instance_type: str) -> str:
    """The name of the quota that counts this type's vCPUs; empty where none is known to."""
    family = re.match(r"[a-z]+", instance_type)
    letters = family.group() if family else ""
    return next((name for name, families in ON_DEMAND_QUOTAS.items() if letters in families), "")


def find_lacking_vcpus(
    rungs: Mapping[str, Sequence[Rung]],
    *,
    vcpus: Mapping[str, int],
    running: Mapping[str, int],
    quotas: Mapping[str, int],
) -> list[str]:
    """The quotas that leave no room for a run, each in words.

    `rungs` are the ways to launch each resource: one with ways in two quotas counts in neither, the ladder finds out.
    `vcpus` are by type, `running` counts the instances of each type that run now, `quotas` are the known limits.
    """
    needed: dict[str, int] = {}
    for ways in rungs.values():
        names = {vcpu_quota_of(way.type) for way in ways}
        if len(names) == 1:
            [name] = names
            needed[name] = needed.get(name, 0) + min(vcpus.get(way.type, 0) for way in ways)
    problems = []
    for name, wanted in needed.items():
        used = sum(vcpus.get(kind, 0) * number for kind, number in running.items() if vcpu_quota_of(kind) == name)
        if name in quotas and used + wanted > quotas[name]:
            problems.append(
                f"the quota {name!r} is {quotas[name]} vCPUs, {used} are in use and the run needs {wanted};"
                " ask for more in Service Quotas"
            )
    return problems


def image_registration(member: Member, manifest: Manifest, run: Run, *, installation: str) -> dict[str, Any]:
    """RegisterImage's request for a snapshot set. Its own defaults are those of 2008 (i386, paravirtual, no ENA)."""
    instance = manifest.instance
    assert instance is not None, "a detached volume needs no image"
    request: dict[str, Any] = {
        "Name": recovery_image_name(
            installation=installation, run=run.name, resource=member.resource, attempt=member.attempt
        ),
        "Description": f"hikae {run.request.mode} {run.name} of {member.resource}",
        "Architecture": instance.architecture,
        "RootDeviceName": instance.root_device,
        "VirtualizationType": _virtualization(instance),
        "EnaSupport": _flag(instance.described, instance.image, "EnaSupport"),
        "BlockDeviceMappings": [
            {"DeviceName": volume.device, "Ebs": {"SnapshotId": member.snapshots[volume.id], **_performance(volume)}}
            for volume in manifest.protected_volumes
        ],
        "TagSpecifications": [{"ResourceType": "image", "Tags": _tag_list(_own_tags(member, run, installation))}],
    }
    optional = {
        "BootMode": _boot_mode(instance),
        "TpmSupport": _tpm(instance),
        "ImdsSupport": instance.image.get("ImdsSupport"),
        "SriovNetSupport": instance.image.get("SriovNetSupport") or instance.described.get("SriovNetSupport"),
    }
    return request | {key: value for key, value in optional.items() if value}


def launch_request(  # noqa: PLR0913 - what a launch is made of
    member: Member,
    manifest: Manifest,
    run: Run,
    target: Target,
    *,
    rung: Rung,
    with_ip: bool,
    installation: str,
    subnets: Mapping[str, Subnet] | None = None,
) -> dict[str, Any]:
    """RunInstances' request for one member on one rung, with its ClientToken.

    `UserData` is base64 as the manifest has it. A drill's volumes and network interfaces all go with their instance.
    `subnets` are needed, the rung's among them, where there is more to say of interfaces than subnet and groups.
    """
    instance = manifest.instance
    assert instance is not None, "only an instance is launched"
    is_drill = run.request.mode is Mode.DRILL
    own = _own_tags(member, run, installation)
    described = instance.described
    request: dict[str, Any] = {
        "ImageId": member.registered or member.image,
        "InstanceType": rung.type,
        "MinCount": 1,
        "MaxCount": 1,
        "EbsOptimized": described.get("EbsOptimized") is True,
        "Monitoring": {"Enabled": described.get("Monitoring", {}).get("State") in ("enabled", "pending")},
        "BlockDeviceMappings": [
            {
                "DeviceName": volume.device,
                "Ebs": {**_performance(volume), "DeleteOnTermination": is_drill or volume.delete_on_termination},
            }
            for volume in manifest.protected_volumes
        ],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": _tag_list(_instance_tags(member, manifest, run, installation))},
            {"ResourceType": "network-interface", "Tags": _tag_list(own)},
            {"ResourceType": "volume", "Tags": _tag_list(own)},
        ],
        "ClientToken": recovery_token(
            installation, run.name, member.resource, member.attempt, rung.type, rung.subnet, int(with_ip)
        ),
        **_network_of(target, rung=rung, with_ip=with_ip, subnets=subnets or {}),
    }
    optional: Mapping[str, Any] = {
        "UserData": instance.user_data,
        "KeyName": target.key_name,
        "IamInstanceProfile": {"Name": target.profile} if target.profile else None,
        **_options(instance, rung),
        **({} if is_drill else _options_of_restores(instance, target)),
        "Placement": _placement(instance, target),
    }
    return request | {key: value for key, value in optional.items() if value}


def _network_of(target: Target, *, rung: Rung, with_ip: bool, subnets: Mapping[str, Subnet]) -> dict[str, Any]:
    if are_plain(target.interfaces):
        address = {"PrivateIpAddress": target.private_ip} if with_ip and target.private_ip else {}
        return {"SubnetId": rung.subnet, "SecurityGroupIds": list(target.security_groups), **address}
    placed = place_interfaces(target.interfaces, subnets[rung.subnet], subnets, with_ip=with_ip)
    return {"NetworkInterfaces": list(placed.requests)}


def _options(instance: ManifestInstance, rung: Rung) -> dict[str, Any]:
    """What a drill has as a restore does, in RunInstances' own words: describes have keys that no request takes."""
    described, launch = instance.described, instance.launch
    has_credits = launch.get("CreditSpecification") and not any(each.startswith("credit") for each in rung.without)
    weighting = _weighting(instance)
    return {
        "MetadataOptions": _pick(described.get("MetadataOptions", {}), _METADATA),
        "CpuOptions": _cpu_options(instance, rung),
        "CreditSpecification": {"CpuCredits": launch["CreditSpecification"]["CpuCredits"]} if has_credits else None,
        "InstanceInitiatedShutdownBehavior": launch.get("InstanceInitiatedShutdownBehavior"),
        "EnclaveOptions": {"Enabled": True} if _is_on(instance, "EnclaveOptions", "Enabled") else None,
        "HibernationOptions": {"Configured": True}
        if _is_on(instance, "HibernationOptions", "Configured") and "hibernation" not in rung.without
        else None,
        "MaintenanceOptions": _pick(described.get("MaintenanceOptions", {}), ("AutoRecovery",)),
        "NetworkPerformanceOptions": {"BandwidthWeighting": weighting}
        if weighting and f"bandwidth weighting {weighting}" not in rung.without
        else None,
    }


_METADATA: Final = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "HttpProtocolIpv6", "InstanceMetadataTags")


def _options_of_restores(instance: ManifestInstance, target: Target) -> dict[str, Any]:
    """A drill is never protected against its own teardown, and its names are nobody's."""
    preference = instance.described.get("CapacityReservationSpecification", {}).get("CapacityReservationPreference")
    names = _pick(instance.described.get("PrivateDnsNameOptions", {}), _NAMES_OF_DNS)
    if not any(each.ipv6_count for each in target.interfaces):
        names.pop("EnableResourceNameDnsAAAARecord", None)
    return {
        "DisableApiTermination": instance.launch.get("DisableApiTermination"),
        "DisableApiStop": instance.launch.get("DisableApiStop"),
        "PrivateDnsNameOptions": names,
        "CapacityReservationSpecification": {"CapacityReservationPreference": "none"} if preference == "none" else None,
    }


_NAMES_OF_DNS: Final = ("HostnameType", "EnableResourceNameDnsARecord", "EnableResourceNameDnsAAAARecord")


def _cpu_options(instance: ManifestInstance, rung: Rung) -> dict[str, Any]:
    said = instance.described.get("CpuOptions", {})
    features = {key: "enabled" for key in ("AmdSevSnp", "NestedVirtualization") if said.get(key) == "enabled"}
    return features | ({"CoreCount": rung.cores, "ThreadsPerCore": rung.threads} if rung.cores else {})


def _placement(instance: ManifestInstance, target: Target) -> dict[str, Any]:
    placement = instance.described.get("Placement", {})
    tenancy = {"Tenancy": "dedicated"} if placement.get("Tenancy") == "dedicated" else {}
    if not target.placement_group:
        return tenancy
    partition = placement.get("PartitionNumber")
    return tenancy | {"GroupName": target.placement_group} | ({"PartitionNumber": partition} if partition else {})


def _pick(described: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: described[key] for key in keys if described.get(key) is not None}


def losses_on(rung: Rung, target: Target, *, own_type: str) -> tuple[str, ...]:
    """What a launch on this rung does not bring back, each with its remedy where there is one."""
    other = [f"it is a {rung.type}; it was a {own_type}"] if rung.type != own_type else []
    without = [f"as a {rung.type} it has no {each}" for each in rung.without]
    return (*other, *without, *(f"not restored: {each}" for each in target.losses))


def volume_request(member: Member, manifest: Manifest, run: Run, *, zone: str, installation: str) -> dict[str, Any]:
    """CreateVolume's request for a detached volume, with its ClientToken."""
    [volume] = manifest.volumes
    tags = _own_tags(member, run, installation)
    if run.request.mode is Mode.RESTORE:
        tags = _fill(tags, volume.tags)
    performance = _performance(volume)
    multi_attach = {"MultiAttachEnabled": True} if volume.multi_attach and volume.type in _MULTI_ATTACH else {}
    return {
        **multi_attach,
        "AvailabilityZone": zone,
        "SnapshotId": member.snapshots[volume.id],
        "Size": performance.pop("VolumeSize"),
        **performance,
        "TagSpecifications": [{"ResourceType": "volume", "Tags": _tag_list(tags)}],
        "ClientToken": recovery_token(installation, run.name, member.resource, member.attempt, zone),
    }


def name_drill_group(run: Run, *, installation: str) -> str:
    """The name of a drill's own security group; unique in its VPC, so itself a guard against a second."""
    return f"hikae/{installation}/run/{run.name}"


def drill_group_request(run: Run, network: DrillNetwork, *, installation: str) -> dict[str, Any]:
    """CreateSecurityGroup's request for what lets the members of one drill reach each other."""
    token = run_tag(installation=installation, run=run.name)
    tags = {run.request.mode.tag: token, RECOVERED_FROM: "none", RECOVERED_RESOURCE: network.vpc}
    return {
        "GroupName": name_drill_group(run, installation=installation),
        "Description": f"hikae drill {run.name}: its members reach each other",
        "VpcId": network.vpc,
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": _tag_list(tags)}],
    }


_SSM_SERVICES: Final = ("ssm", "ssmmessages")
"""`ec2messages` is for old agents: https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html."""


def endpoint_requests(
    run: Run, network: DrillNetwork, *, region: str, present: Collection[str], installation: str
) -> list[dict[str, Any]]:
    """CreateVpcEndpoint's requests for what lets SSM into the drills' network, but for services that are `present`.

    One VPC has one endpoint of a service with private names, so drills at the same time share it; the one that made it
    takes it away, and whoever still needs it makes another.
    """
    token = run_tag(installation=installation, run=run.name)
    tags = _tag_list({run.request.mode.tag: token, RECOVERED_FROM: "none", RECOVERED_RESOURCE: network.vpc})
    return [
        {
            "VpcEndpointType": "Interface",
            "VpcId": network.vpc,
            "ServiceName": name,
            "SubnetIds": list(network.subnets),
            "SecurityGroupIds": list(network.endpoint_groups),
            "PrivateDnsEnabled": True,
            "TagSpecifications": [{"ResourceType": "vpc-endpoint", "Tags": tags}],
        }
        for name in (f"com.amazonaws.{region}.{service}" for service in _SSM_SERVICES)
        if name not in present
    ]


def _performance(volume: ManifestVolume) -> dict[str, Any]:
    ebs: dict[str, Any] = {"VolumeSize": volume.size, "VolumeType": volume.type}
    if volume.iops and volume.type in _PROVISIONED:
        ebs["Iops"] = volume.iops
    if volume.throughput and volume.type == "gp3":
        ebs["Throughput"] = volume.throughput
    return ebs


def volume_tags(volume: ManifestVolume) -> dict[str, str]:
    """The volume's own tags, as far as they fit beside those of the run: a launch gives all volumes the same."""
    return dict(list(user_tags(volume.tags).items())[: MAX_TAGS - OWN_TAGS])


def _own_tags(member: Member, run: Run, installation: str) -> dict[str, str]:
    return {
        run.request.mode.tag: run_tag(installation=installation, run=run.name),
        RECOVERED_FROM: member.point,
        RECOVERED_RESOURCE: member.resource,
    }


def _instance_tags(member: Member, manifest: Manifest, run: Run, installation: str) -> dict[str, str]:
    """A restore's instance carries its own tags, a drill's none: other tools act by tags, and would act on it."""
    assert manifest.instance is not None, "only an instance is launched"
    own = _own_tags(member, run, installation)
    if run.request.mode is Mode.DRILL:
        return {**own, "Name": f"hikae drill of {member.resource}"}
    return _fill(own, manifest.instance.tags)


def _fill(own: dict[str, str], carried: Mapping[str, str]) -> dict[str, str]:
    return own | dict(list(user_tags(carried).items())[: MAX_TAGS - len(own)])


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


# --- torn down --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Something that a run made, as EC2 shows it: an instance, volume, image, endpoint or security group.

    Absent facts are empty.
    """

    id: str
    kind: str
    state: str
    tags: Mapping[str, str]
    reason: str = ""
    type: str = ""
    subnet: str = ""
    zone: str = ""
    private_ip: str = ""
    image: str = ""
    attached_to: str = ""

    @property
    def resource(self) -> str:
        """What it stands for."""
        return self.tags.get(RECOVERED_RESOURCE, "")

    @property
    def point(self) -> str:
        """The point that it was made from."""
        return self.tags.get(RECOVERED_FROM, "")


GONE: Final = frozenset({"terminated", "deleted", "deregistered"})
GOING: Final = frozenset({"shutting-down", "deleting"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Teardown:
    """What is to be removed now, what is on its way out, and what stays with the reason."""

    remove: tuple[Made, ...]
    going: tuple[Made, ...]
    kept: tuple[str, ...]


def decide_teardown(made: Iterable[Made], *, mode: Mode, run: str, installation: str) -> Teardown:
    """What may be removed at the end of a run: only what carries the run's own tag and says what it stands for.

    A drill leaves nothing. A restore leaves everything but the images that it registered for launching. A volume goes
    with its instance, and by itself only once nothing has it attached; a security group goes when no instance is left.
    """
    wanted = run_tag(installation=installation, run=run)
    remove: list[Made] = []
    going: list[Made] = []
    kept: list[str] = []
    for each in sorted(made, key=lambda one: (_ORDER.index(one.kind), one.id)):
        if each.state in GONE:
            continue
        if each.tags.get(mode.tag) != wanted or RECOVERED_FROM not in each.tags or not each.resource:
            kept.append(f"{each.id}: its tags do not say that {wanted} made it")
        elif mode is Mode.RESTORE and each.kind != "image":
            continue
        elif each.state in GOING or _is_held(each, (*remove, *going)):
            going.append(each)
        else:
            remove.append(each)
    return Teardown(remove=tuple(remove), going=tuple(going), kept=tuple(kept))


_ORDER: Final = ("instance", "volume", "image", "endpoint", "security-group")


def _is_held(made: Made, others: Iterable[Made]) -> bool:
    """Whether it cannot be removed yet: a volume that is attached, a security group while there are instances."""
    if made.kind == "security-group":
        return any(each.kind == "instance" for each in others)
    return made.kind == "volume" and bool(made.attached_to)


def reject(run: Run, member: Member, reason: str) -> Run:
    """The run with the member's point rejected, so that the next selection takes an older one."""
    return replace(run, rejected={**run.rejected, member.set_id: reason})
