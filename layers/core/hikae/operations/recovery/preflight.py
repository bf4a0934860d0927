"""Preflight: look for everything that a launch will need before anything is launched, and name all that lacks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from hikae.domain.ladder import InstanceType, build_ladder, find_lacking_vcpus, vcpu_quota_of
from hikae.domain.launches import launch_request
from hikae.domain.manifest import Manifest, ManifestError
from hikae.domain.networks import Subnet, count_addresses
from hikae.domain.recovery_settings import RecoverySettings
from hikae.domain.runs import DONE, Member, Mode, Run, Step, failed
from hikae.domain.targets import Target, drill_target, restore_target
from hikae.operations.recovery.prepare import answer_refusal
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import NoCapacity, NotFound, Refused, Unreachable


def preflight(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:  # noqa: ARG001 - as every step
    """Look for all of it, and write down the ways to launch each member."""
    run, problems, ended = look_around(run, site)
    if ended is not None:
        return run, ended
    return run, failed("; ".join(problems)) if problems else DONE


def look_around(
    run: Run, site: RecoverySite, *, asks_to_launch: bool = True
) -> tuple[Run, tuple[str, ...], Step | None]:
    """The run with the ways to launch each member, all that lacks, and how it ended where nobody could look further.

    A partial run goes on without the members that something lacks for, and lets EC2 decide where a quota is too small.
    With `asks_to_launch` EC2 says itself whether it would launch what has an image: only the run's own role may ask.
    """
    problems = _check_key(site)
    try:
        settings = site.settings.load()
    except Refused as error:
        return run, (), failed(str(error))
    waiting = [member for member in run.members if member.is_instance and not member.instance]
    site.fetch_manifests(member.manifest for member in waiting)
    wanted = []
    for member in waiting:
        try:
            manifest = site.manifest(member)
        except (ManifestError, NotFound, Refused) as error:
            run, ended = answer_refusal(run, member, error, what="its manifest cannot be read")
            return run, (), ended
        wanted.append((member, manifest, target_of(member, manifest, run, site, settings)))
    plan = site.plan_of(run)
    fallback_types = plan.recovery_types if plan else ()
    offer = _look(wanted, fallback_types, site)
    for member, manifest, target in wanted:
        member, found = _check(member, manifest, target, offer, fallback_types)  # noqa: PLW2901 - it knows more
        if asks_to_launch and not found and (member.registered or member.image):
            found = _rehearse(member, manifest, target, run, offer, site)
        if found and run.request.partial:
            run = run.without(member.resource, "; ".join(found))
            continue
        run = run.with_member(member)
        problems.extend(f"{member.resource}: {problem}" for problem in found)
    if not run.members:
        reasons = "; ".join(f"{resource}: {reason}" for resource, reason in sorted(run.missing.items()))
        problems.append(f"nothing is left to recover: {reasons}")
    if not problems:
        run, problems = _check_vcpus(run, site)
    return run, tuple(problems), None


def _check_vcpus(run: Run, site: RecoverySite) -> tuple[Run, list[str]]:
    """Whether the account's quotas have room for the run; where nobody says, the launch itself will."""
    waiting = {member.resource: member.rungs for member in run.members if member.is_instance and not member.instance}
    if not waiting:
        return run, []
    running = site.surroundings.running_types()
    kinds = {rung.type for rungs in waiting.values() for rung in rungs} | set(running)
    try:
        quotas = site.surroundings.vcpu_quotas({vcpu_quota_of(kind) for kind in kinds} - {""})
    except Unreachable as error:
        first = run.member(next(iter(waiting)))
        return run.with_member(replace(first, notes=(*first.notes, f"nobody knows the quotas: {error}"))), []
    vcpus = {name: kind.vcpus for name, kind in site.surroundings.types(kinds).items()}
    lacking = find_lacking_vcpus(waiting, vcpus=vcpus, running=running, quotas=quotas)
    if lacking and run.request.partial:
        # In boot order, as far as it goes.
        first = run.member(next(iter(waiting)))
        return run.with_member(replace(first, notes=tuple(dict.fromkeys([*first.notes, *lacking])))), []
    return run, lacking


def target_of(member: Member, manifest: Manifest, run: Run, site: RecoverySite, settings: RecoverySettings) -> Target:
    """Where and as what a member is launched."""
    assert manifest.instance is not None, "only an instance is launched"
    if run.request.mode is Mode.RESTORE:
        return restore_target(member.resource, manifest, settings)
    plan = site.plan_of(run)
    own_profile = bool(plan and plan.drill and plan.drill.own_profile)
    own_group = (run.group,) if run.group else ()
    groups = (*site.network.security_groups, *own_group) if site.network.security_groups else ()
    return drill_target(manifest.instance, replace(site.network, security_groups=groups), own_profile=own_profile)


def _check_key(site: RecoverySite) -> list[str]:
    try:
        usable = site.surroundings.is_key_usable()
    except Refused as error:
        return [f"the site's key cannot be looked at: {error}"]
    return [] if usable else ["the site's key, which every copy is encrypted with, is disabled or about to be deleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """What the Region has of all that the members take."""

    subnets: Mapping[str, Subnet]
    security_groups: Mapping[str, str]
    key_pairs: Collection[str]
    placement_groups: Collection[str]
    types: Mapping[str, InstanceType]
    offered: Collection[tuple[str, str]]


def _look(
    wanted: Sequence[tuple[Member, Manifest, Target]], fallback_types: Sequence[str], site: RecoverySite
) -> _Offer:
    """Ask for everything at once: a large group takes no more calls than a small one."""
    around = site.surroundings
    targets = [target for _, _, target in wanted]
    subnets = around.subnets({each for target in targets for each in target.all_subnets})
    zones = {subnet.zone for subnet in subnets.values()}
    types = {*(_type(manifest) for _, manifest, _ in wanted), *fallback_types} if wanted else set()
    return _Offer(
        subnets=subnets,
        security_groups=around.security_groups({each for target in targets for each in target.all_security_groups}),
        key_pairs=around.key_pairs({target.key_name for target in targets if target.key_name}),
        placement_groups=around.placement_groups({each.placement_group for each in targets if each.placement_group}),
        types=around.types(types),
        offered=around.offered(types, zones) if zones else (),
    )


def _check(
    member: Member, manifest: Manifest, target: Target, offer: _Offer, fallback_types: Sequence[str]
) -> tuple[Member, list[str]]:
    problems = list(target.problems)
    subnets = {each: offer.subnets[each] for each in target.all_subnets if each in offer.subnets}
    problems.extend(f"subnet {each} is not there" for each in target.all_subnets if each not in subnets)
    usable, full = _with_room(target, subnets)
    if not usable:
        problems.extend(full)
    problems.extend(_check_groups(target, subnets, offer))
    if target.key_name and target.key_name not in offer.key_pairs:
        remedy = "import its public key, or name another under key_pairs"
        problems.append(f"key pair {target.key_name} is not in this Region; {remedy}")
    group = target.placement_group
    if group and group not in offer.placement_groups:
        problems.append(f"placement group {group} is not there; make it, or name another under placement_groups")
    if usable:
        ladder = build_ladder(
            manifest, subnets=usable, fallback_types=fallback_types, types=offer.types, offered=offer.offered
        )
        if not ladder.rungs:
            problems.append(f"there is no way to launch it: {'; '.join(ladder.refusals)}")
        else:
            member = replace(
                member,
                type=_type(manifest),
                rungs=ladder.rungs,
                refusals=member.refusals or (*full, *ladder.refusals),
            )
    return member, problems


def _with_room(target: Target, subnets: Mapping[str, Subnet]) -> tuple[list[Subnet], list[str]]:
    """The subnets that have room for it, and in words those that do not: such a one is a rung less, like a full zone.

    One that is not there is something else: the settings name it, and whoever wrote them meant another.
    """
    usable: list[Subnet] = []
    full: list[str] = []
    for subnet in (subnets[each] for each in target.subnets if each in subnets):
        needed = count_addresses(target.interfaces, subnet.id)
        if subnet.free >= needed:
            usable.append(subnet)
        else:
            full.append(_too_full(subnet, needed))
    return usable, full


def _too_full(subnet: Subnet, needed: int) -> str:
    if subnet.free <= 0:
        return f"subnet {subnet.id} has no free address"
    return f"subnet {subnet.id} has {subnet.free} free addresses, {needed} are needed"


def _type(manifest: Manifest) -> str:
    assert manifest.instance is not None, "only an instance is launched"
    return manifest.instance.type


def _check_groups(target: Target, subnets: Mapping[str, Subnet], offer: _Offer) -> list[str]:
    wanted, there = target.all_security_groups, offer.security_groups
    groups = {each: there[each] for each in wanted if each in there}
    problems = [f"security group {each} is not there" for each in wanted if each not in groups]
    vpcs = {subnet.vpc for subnet in subnets.values()}
    problems.extend(
        f"security group {group} is of {vpc}, the subnets are of {', '.join(sorted(vpcs))}"
        for group, vpc in groups.items()
        if vpcs and vpcs != {vpc}
    )
    return problems


def _rehearse(  # noqa: PLR0913, PLR0917 - what a launch is made of, and who is asked
    member: Member, manifest: Manifest, target: Target, run: Run, offer: _Offer, site: RecoverySite
) -> list[str]:
    """Let EC2 check the launch itself. That it has no room is no verdict yet: the ladder has more rungs."""
    rung = member.rungs[0]
    request = launch_request(
        member,
        manifest,
        run,
        target,
        rung=rung,
        with_ip=False,
        installation=site.installation,
        subnets={each: offer.subnets[each] for each in {rung.subnet, *target.all_subnets}},
    )
    try:
        site.recoverer.check_launch(request)
    except NoCapacity:
        return []
    except Refused as error:
        return [f"EC2 would not launch it: {error}"]
    return []
