"""The plans that sites have, side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from hikae.domain.model import SiteRole
from hikae.domain.plan import Plan, PlanError, Problem, parse_plan
from hikae_cli.plan_changes import PLANS, SUFFIX, Site, Stored, plan_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One plan at one site, as the site itself reads it: broken where it has problems."""

    key: str
    stored: Stored
    plan: Plan | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One plan at all sites that were asked."""

    name: str
    at: Mapping[SiteRole, Listed]
    state: str


def list_site(
    site: Site, *, keys: Callable[[Site, str], Sequence[str]], read: Callable[[Site, str], Stored | None]
) -> dict[str, Listed]:
    """Every plan of a site by its name, or by its key where the key is no plan's."""
    found = {}
    for key in keys(site, PLANS):
        stored = read(site, key)
        if stored is not None:  # deleted since it was listed
            name = key.removeprefix(PLANS).removesuffix(SUFFIX)
            found[name if plan_key(name) == key else key] = read_listed(key, stored)
    return found


def read_listed(key: str, stored: Stored) -> Listed:
    """As `S3PlanStore` reads it at the site."""
    try:
        plan = parse_plan(stored.content.decode(errors="replace"))
    except PlanError as error:
        return Listed(key=key, stored=stored, plan=None, problems=error.problems)
    if key != plan_key(plan.name):
        problem = Problem(path="plan", message=f"is {plan.name!r}, the file is {key}; they must agree")
        return Listed(key=key, stored=stored, plan=None, problems=(problem,))
    return Listed(key=key, stored=stored, plan=plan)


def side_by_side(sites: Mapping[SiteRole, Mapping[str, Listed]]) -> list[Row]:
    """Each plan with what each site has of it, in the order of their names."""
    names = sorted(set(chain.from_iterable(sites.values())))
    return [
        _row(name, {role: plans[name] for role, plans in sites.items() if name in plans}, len(sites)) for name in names
    ]


def _row(name: str, at: Mapping[SiteRole, Listed], sites: int) -> Row:
    if sites == 1:
        state = ""
    elif len(at) == 1:
        state = f"{next(iter(at))} only"
    else:
        state = _compare(*at.values())
    return Row(name=name, at=at, state=state)


def _compare(one: Listed, other: Listed) -> str:
    if one.stored.content == other.stored.content:
        return "same"
    if one.plan is not None and one.plan == other.plan:
        return "same but for its text"
    return "different"
