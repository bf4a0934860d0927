"""The ways to launch an instance: which type can boot it in which zone, and whether the quotas have room for it."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hikae.domain.manifest import Manifest, ManifestInstance
from hikae.domain.networks import EFA, Subnet, list_interfaces, plan_interface
from hikae.domain.runs import Rung

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
    if instance.can_hibernate and not known.can_hibernate:
        yield "hibernation"
    weighting = instance.bandwidth_weighting
    if weighting and weighting not in known.bandwidth_weightings:
        yield f"bandwidth weighting {weighting}"
    credit = instance.launch.get("CreditSpecification")
    if credit and not known.has_credits:
        yield f"credit option {credit['CpuCredits']}"


def why_it_cannot_boot(manifest: Manifest, candidate: InstanceType, *, source: InstanceType | None) -> str:
    """Why the image of the instance would not start, or not as it was, on another type; empty where it would.

    An image's drivers are not to be seen from outside: what the source's type needed is there, anything else is not
    taken for granted. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resize-limitations.html
    """
    instance = manifest.instance
    assert instance is not None, "only an instance is launched"
    described = instance.described
    cpus = _cpus_to_ask_for(instance, source)
    interfaces = [plan_interface(each, groups=()) for each in list_interfaces(instance)]
    is_sev_snp = described.get("CpuOptions", {}).get("AmdSevSnp") == "enabled"
    boot_mode = instance.boot_mode
    has_ena = instance.has_ena
    checks = (
        (instance.architecture in candidate.architectures, f"it is not {instance.architecture}"),
        (
            _can_boot(boot_mode, candidate, instance.architecture),
            f"it does not boot in mode {boot_mode or 'legacy-bios'}",
        ),
        (
            instance.virtualization in candidate.virtualization,
            f"it has no {instance.virtualization} virtualization",
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
        (not instance.tpm_support or candidate.has_tpm, "it has no NitroTPM, which the image asks for"),
        (
            not instance.has_enclaves or candidate.has_enclaves,
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


def _can_boot(mode: str, candidate: InstanceType, architecture: str) -> bool:
    if mode == "uefi-preferred":
        return bool(candidate.boot_modes & {"uefi", "legacy-bios"})
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-boot.html: without the parameter, the type's default.
    default = "uefi" if architecture.startswith("arm64") else "legacy-bios"
    return (mode or default) in candidate.boot_modes


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
