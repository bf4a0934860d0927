"""Where a preview begins from the live state: both sites as their own pruning sees them, read only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from hikae.domain.model import Kind, Region, SiteRole
from hikae.domain.plan import Plan, Rule
from hikae.domain.preview import Beginning, Protected, Site
from hikae.domain.pruning import DeletionLimits
from hikae.domain.selection import Choice, Selected, choose_instance, choose_volume
from hikae.operations.prune_recovery_points import Survey
from hikae.ports import Plans, PlanStore, PortError
from hikae.runtime import wiring
from hikae.runtime.settings import Settings
from hikae_cli.deployed_functions import DeployedFunction
from hikae_cli.preview_points import Start
from hikae_cli.site_buckets import SiteError, find_remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedPlans:
    """The plans of a site as if `plan` had been applied; what it was before is still known."""

    applied: PlanStore
    plan: Plan

    def load(self) -> Plans:
        """See `ports.PlanStore`."""
        loaded = self.applied.load()
        others = [each for each in loaded.readable if each.name != self.plan.name]
        broken = [each for each in loaded.broken if not each.key.endswith(f"/{self.plan.name}.yaml")]
        return Plans(readable=(*others, self.plan), broken=tuple(broken))

    def past(self, plan: str) -> Iterator[Plan]:
        """See `ports.PlanStore`."""
        return self.applied.past(plan)


def start_live(plan: Plan, *, installation: str, region: Region, at: datetime, only: frozenset[str]) -> Start:
    """What both sites have, and what the plan selects at the primary; of the resources in `only` if there are any.

    Raises:
        SiteError: a site is not there or does not answer.
    """
    home, here = _survey(plan, installation, SiteRole.PRIMARY, region, at)
    destinations = {}
    for destination in dict.fromkeys(copy.region for rule in plan.rules for copy in rule.copies):
        settings, there = _survey(plan, installation, SiteRole.RECOVERY, destination, at)
        destinations[destination] = _site(settings, there, plan, home, only)
    chosen = [
        (resource, rule, choice) for resource, rule, choice in _choices(plan, here) if not only or resource in only
    ]
    notes = [f"the live state of {home.place} and of {', '.join(destinations) or 'no recovery site'}"]
    notes += [
        f"never: {resource} gets no points of the rule {rule.name}: {choice.reason}"
        for resource, rule, choice in chosen
        if choice is not None and not isinstance(choice, Selected)
    ]
    return Start(
        beginning=Beginning(
            at=at,
            installation=installation,
            plan=plan,
            protected=tuple(
                _protected(home, here, rule, choice) for _, rule, choice in chosen if isinstance(choice, Selected)
            ),
            source=_site(home, here, plan, home, only),
            destinations=destinations,
        ),
        notes=tuple(notes),
    )


def _survey(plan: Plan, installation: str, site: SiteRole, region: Region, now: datetime) -> tuple[Settings, Survey]:
    settings = DeployedFunction(installation=installation, site=site, region=region).settings()
    try:
        return settings, wiring.surveyor(
            settings, now=now, plans=lambda applied: ProposedPlans(applied=applied, plan=plan)
        )
    except PortError as error:
        remedy = find_remedy(error.code, needs="the reading actions of the role of its PruneRecoveryPoints")
        raise SiteError(f"{site} {settings.place}: {error}; {remedy}") from error


def _site(settings: Settings, survey: Survey, plan: Plan, home: Settings, only: frozenset[str]) -> Site:
    """Only the points of this plan and primary: other plans decide for themselves."""
    points = tuple(
        point
        for point in survey.points
        if point.tags.identity.plan == plan.name
        and point.tags.identity.place == home.place
        and (not only or point.tags.identity.resource in only)
    )
    limits = DeletionLimits(per_run=settings.deletion_cap, lineage_percent=settings.lineage_deletion_percent)
    return Site(
        points=points,
        policy_of=survey.policy_of,
        limits=limits,
        account=settings.place.account,
        surroundings=survey.surroundings,
    )


def _choices(plan: Plan, here: Survey) -> Iterator[tuple[str, Rule, Choice]]:
    volume_tags: dict[str, Mapping[str, str]] = {volume.id: volume.tags for volume in here.volumes}
    for rule in plan.rules:
        for instance in here.instances:
            yield instance.id, rule, choose_instance(plan.selection, rule, instance, volume_tags=volume_tags)
        for volume in here.volumes:
            yield volume.id, rule, choose_volume(plan.selection, rule, volume)


def _protected(home: Settings, here: Survey, rule: Rule, choice: Selected) -> Protected:
    instance = next((each for each in here.instances if each.id == choice.resource), None)
    volume = next((each for each in here.volumes if each.id == choice.resource), None)
    found = instance or volume
    members = len(instance.block_devices) if instance and choice.kind is not Kind.SNAPSHOT else 1
    return Protected(
        place=home.place,
        resource=choice.resource,
        rule=rule.name,
        kind=choice.kind,
        members=max(members, 1),
        tags=found.tags if found else {},
    )
