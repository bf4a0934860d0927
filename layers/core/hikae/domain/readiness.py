"""Whether all that is protected could be restored at a recovery site now: what lacks, and what to do about it."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hikae.domain.ladder import InstanceType, Ladder, build_ladder, find_lacking_vcpus, vcpu_quota_of
from hikae.domain.manifest import Manifest
from hikae.domain.networks import Subnet, can_have_ip, count_addresses
from hikae.domain.runs import Rung
from hikae.domain.targets import Target

SETTINGS: Final = "recovery/settings.yaml in this site's bucket"


class Severity(StrEnum):
    """How bad a finding is."""

    LACKING = "lacking"
    """A restore would fail."""
    WARNING = "warning"
    """A restore would work, otherwise than before; or nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that lacks: what it is, for which resources, and what to do."""

    severity: Severity
    what: str
    remedy: str
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What restoring one instance takes, by its newest usable point and the site's settings."""

    resource: str
    manifest: Manifest
    target: Target
    fallback_types: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """Its instance type."""
        assert self.manifest.instance is not None, "a detached volume needs none of this"
        return self.manifest.instance.type

    @property
    def key_name(self) -> str:
        """The name of its key pair at the primary, empty where it has none."""
        assert self.manifest.instance is not None, "a detached volume needs none of this"
        return str(self.manifest.instance.described.get("KeyName", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the Region offers, of what is needed.

    `profiles` has the role of each, and is None where IAM cannot be asked, as may be while us-east-1 is gone.
    `quotas` are on vCPUs, by name, as far as they could be asked for; `running` counts the instances here by type.
    `stored_keys` are the S3 keys of the public halves that the bucket has, by the name of the key pair here.
    `addresses` are Elastic IP addresses, each with what has it, `target_groups` each with its VPC; either is None
    where nobody says.
    """

    subnets: Mapping[str, Subnet]
    security_groups: Mapping[str, str]
    key_pairs: Collection[str]
    profiles: Mapping[str, str] | None
    types: Mapping[str, InstanceType]
    offered: Collection[tuple[str, str]]
    quotas: Mapping[str, int]
    running: Mapping[str, int]
    is_key_usable: bool
    stored_keys: Mapping[str, str] = field(default_factory=dict)
    placement_groups: Collection[str] = ()
    passed_on: Collection[str] = ()
    addresses: Mapping[str, str] | None = field(default_factory=dict)
    target_groups: Mapping[str, str] | None = field(default_factory=dict)


def find_gaps(needs: Sequence[Need], seen: Seen) -> tuple[Finding, ...]:
    """All that lacks, what concerns everything first; the same gap of several resources is one finding."""
    gathered: dict[tuple[Severity, str, str], list[str]] = defaultdict(list)
    for resource, finding in _all_gaps(needs, seen):
        gathered[finding.severity, finding.what, finding.remedy].extend([resource] if resource else [])
    return tuple(
        Finding(severity=severity, what=what, remedy=remedy, resources=tuple(sorted(set(resources))))
        for (severity, what, remedy), resources in gathered.items()
    )


def _all_gaps(needs: Sequence[Need], seen: Seen) -> Iterator[tuple[str, Finding]]:
    if not seen.is_key_usable:
        yield (
            "",
            _lacking(
                "the site's key, which every copy is encrypted with, is disabled or about to be deleted",
                "enable it (aws kms enable-key) or cancel its deletion (aws kms cancel-key-deletion)",
            ),
        )
    for need in needs:
        for finding in _gaps_of(need, seen):
            yield need.resource, finding
    for finding in (*_free_addresses(needs, seen), *_contested(needs, seen)):
        yield from ((resource, finding) for resource in finding.resources)
    yield from (("", finding) for finding in _quotas(needs, seen))


def _gaps_of(need: Need, seen: Seen) -> Iterator[Finding]:
    for problem in need.target.problems:
        what, _, remedy = problem.partition("; ")
        yield _lacking(what, f"{remedy or 'name one'} in {SETTINGS}")
    for loss in need.target.losses:
        if loss.remedy:
            where = f" in {SETTINGS}" if " under " in loss.remedy else ""
            yield _warning(f"not restored as things are: {loss.what}", f"{loss.remedy}{where}")
    if need.target.placement_group and need.target.placement_group not in seen.placement_groups:
        yield _lacking(
            f"placement group {need.target.placement_group} is not there",
            f"make it (aws ec2 create-placement-group), or name another under placement_groups in {SETTINGS}",
        )
    for subnet in need.target.all_subnets:
        if subnet not in seen.subnets:
            yield _lacking(f"subnet {subnet} is not there", f"make it, or name another in {SETTINGS}")
    yield from _groups(need, seen)
    yield from _key_pair(need, seen)
    yield from _profile(need, seen)
    yield from _elastic_ips(need, seen)
    yield from _target_groups(need, seen)
    yield from _types(need, seen)


def _vpcs(need: Need, seen: Seen) -> set[str]:
    return {seen.subnets[each].vpc for each in need.target.subnets if each in seen.subnets}


def _groups(need: Need, seen: Seen) -> Iterator[Finding]:
    vpcs = _vpcs(need, seen)
    for group in need.target.all_security_groups:
        if group not in seen.security_groups:
            yield _lacking(f"security group {group} is not there", f"make it, or name another in {SETTINGS}")
        elif vpcs and vpcs != {seen.security_groups[group]}:
            yield _lacking(
                f"security group {group} is of {seen.security_groups[group]}, the subnets are of "
                f"{', '.join(sorted(vpcs))}",
                f"name groups and subnets of one VPC in {SETTINGS}",
            )


def _key_pair(need: Need, seen: Seen) -> Iterator[Finding]:
    name = need.target.key_name
    if not name or name in seen.key_pairs:
        return
    if name in seen.stored_keys:
        remedy = f"import it: hikae ready --import-keys; its public half is kept as {seen.stored_keys[name]}"
    else:
        remedy = (
            "run hikae ready while the primary answers, which fetches its public half; or import it yourself (aws ec2 "
            f"import-key-pair); or name another under key_pairs in {SETTINGS}"
        )
    yield _lacking(f"key pair {name} is not in this Region", remedy)


def _profile(need: Need, seen: Seen) -> Iterator[Finding]:
    name = need.target.profile
    if not name:
        return
    if seen.profiles is None:
        yield _warning(
            f"nobody knows whether instance profile {name} exists: IAM does not answer",
            "IAM is changed from us-east-1 and read by EC2 here; ask again later",
        )
    elif name not in seen.profiles:
        yield _lacking(
            f"instance profile {name} is not there",
            f"make it, or name another under instance_profiles in {SETTINGS}; its role goes into RestoreRoleArns",
        )
    elif not seen.profiles[name]:
        yield _lacking(
            f"instance profile {name} has no role",
            "give it one (aws iam add-role-to-instance-profile), and name that in RestoreRoleArns",
        )
    elif not any(_is_like(seen.profiles[name], each) for each in seen.passed_on):
        yield _lacking(
            f"{seen.profiles[name]}, the role of instance profile {name}, may not be given to what is restored",
            "name it in RestoreRoleArns and deploy the recovery site again, while IAM can be changed",
        )


def _elastic_ips(need: Need, seen: Seen) -> Iterator[Finding]:
    """A restore works without them and notes it."""
    for wanted in dict.fromkeys(each.id for each in need.target.elastic_ips):
        if seen.addresses is None:
            yield _warning(
                f"nobody knows whether Elastic IP address {wanted} is here: EC2 does not say",
                "allow ec2:DescribeAddresses and ask again",
            )
        elif wanted not in seen.addresses:
            yield _warning(
                f"Elastic IP address {wanted} is not in this Region",
                f"allocate one (aws ec2 allocate-address), and name its allocation in {SETTINGS}",
            )
        elif holder := seen.addresses[wanted]:
            yield _warning(
                f"Elastic IP address {wanted} is associated with {holder}, which a restore leaves it to",
                f"disassociate it (aws ec2 disassociate-address), or name another in {SETTINGS}",
            )


def _target_groups(need: Need, seen: Seen) -> Iterator[Finding]:
    """As with addresses."""
    vpcs = _vpcs(need, seen)
    for wanted in dict.fromkeys(each.id for each in need.target.target_groups):
        if seen.target_groups is None:
            yield _warning(
                f"nobody knows whether target group {wanted} is here: Elastic Load Balancing does not say",
                "allow elasticloadbalancing:DescribeTargetGroups and ask again",
            )
        elif wanted not in seen.target_groups:
            yield _warning(
                f"target group {wanted} is not in this Region",
                f"make it (aws elbv2 create-target-group), or name another in {SETTINGS}",
            )
        elif vpcs and vpcs != {seen.target_groups[wanted]}:
            yield _warning(
                f"target group {wanted} is of {seen.target_groups[wanted] or 'no VPC'}, the subnets are of "
                f"{', '.join(sorted(vpcs))}",
                f"name target groups and subnets of one VPC in {SETTINGS}",
            )


def _is_like(arn: str, pattern: str) -> bool:
    """As IAM compares them: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), arn) is not None


def _types(need: Need, seen: Seen) -> Iterator[Finding]:
    if not any(each in seen.subnets for each in need.target.subnets):
        return  # said already
    ladder = _ladder(need, seen)
    if not ladder.rungs:
        yield _lacking(
            f"there is no way to launch it: {'; '.join(ladder.refusals)}",
            "name subnets in other Availability Zones, or types that can boot it under recovery.instance_types of its "
            "plan",
        )
    elif ladder.rungs[0].type != need.type:
        yield _warning(
            f"{need.type} cannot be had in the subnets' zones; it would be launched as {ladder.rungs[0].type}",
            "name a subnet in a zone that offers it, if the type matters",
        )


def _ladder(need: Need, seen: Seen) -> Ladder:
    return build_ladder(
        need.manifest,
        subnets=[seen.subnets[each] for each in need.target.subnets if each in seen.subnets],
        fallback_types=need.fallback_types,
        types=seen.types,
        offered=seen.offered,
    )


def _free_addresses(needs: Iterable[Need], seen: Seen) -> Iterator[Finding]:
    """Those who may go to the same subnets share their free addresses.

    A further interface has one subnet only, unless the launch goes to another zone, where it cannot be.
    """
    sharing: dict[tuple[str, ...], list[str]] = defaultdict(list)
    wanted: Counter[tuple[str, ...]] = Counter()
    for need in needs:
        first = tuple(sorted(each for each in need.target.subnets if each in seen.subnets))
        taken = Counter({first: count_addresses(need.target.interfaces, "")} if first else {})
        zones = {seen.subnets[each].zone for each in first}
        for interface in need.target.interfaces:
            if interface.subnet in seen.subnets and zones == {seen.subnets[interface.subnet].zone}:
                taken[interface.subnet,] += interface.count
        for there, number in taken.items():
            sharing[there].append(need.resource)
            wanted[there] += number
    for subnets, resources in sharing.items():
        free = sum(max(seen.subnets[each].free, 0) for each in subnets)
        if free < wanted[subnets]:
            yield Finding(
                severity=Severity.LACKING,
                what=f"{_name(subnets)} {free} free addresses, {wanted[subnets]} are needed",
                remedy=f"name larger or further subnets in {SETTINGS}",
                resources=tuple(resources),
            )


def _name(subnets: Sequence[str]) -> str:
    return f"subnet {subnets[0]} has" if len(subnets) == 1 else f"subnets {', '.join(subnets)} together have"


def _contested(needs: Iterable[Need], seen: Seen) -> Iterator[Finding]:
    """Addresses that only one can have, and that the settings give to several."""
    wanting: dict[tuple[str, str], list[str]] = defaultdict(list)
    for need in needs:
        for allocation in dict.fromkeys(each.id for each in need.target.elastic_ips):
            remedy = f"name another for each under elastic_ips or instances in {SETTINGS}"
            wanting[f"Elastic IP address {allocation}", remedy].append(need.resource)
        address, first = need.target.private_ip, seen.subnets.get(next(iter(need.target.subnets), ""))
        if address and first is not None and can_have_ip(address, first):
            remedy = f"name other subnets, or a private_ip under instances, in {SETTINGS}"
            wanting[f"private address {address} in {first.id}", remedy].append(need.resource)
    for (address, remedy), resources in wanting.items():
        if len(resources) > 1:
            yield Finding(
                severity=Severity.WARNING,
                what=f"{address} is for {len(resources)} instances, and one gets it",
                remedy=remedy,
                resources=tuple(resources),
            )


def _quotas(needs: Iterable[Need], seen: Seen) -> Iterator[Finding]:
    """As a run judges before it launches, over everything at once; its own type where nothing says how else."""
    rungs: dict[str, Sequence[Rung]] = {
        need.resource: _ladder(need, seen).rungs or (Rung(type=need.type, subnet="", zone=""),) for need in needs
    }
    vcpus = {name: kind.vcpus for name, kind in seen.types.items()}
    for problem in find_lacking_vcpus(rungs, vcpus=vcpus, running=seen.running, quotas=seen.quotas):
        what, _, remedy = problem.partition("; ")
        yield _lacking(what, f"{remedy}, for this Region: it may take days")
    for name in sorted({vcpu_quota_of(rung.type) for ways in rungs.values() for rung in ways} - {"", *seen.quotas}):
        yield _warning(
            f"nobody knows the quota {name!r} here",
            "allow servicequotas:ListServiceQuotas and ask again, or look it up in the console",
        )


def _lacking(what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.LACKING, what=what, remedy=remedy)


def _warning(what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.WARNING, what=what, remedy=remedy)
