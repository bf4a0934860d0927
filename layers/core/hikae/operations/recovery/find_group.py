"""Find the plans at a recovery site that have a group of this name."""

from collections.abc import Mapping
from dataclasses import dataclass

from hikae.domain.choice import list_groups
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import BrokenPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGroup:
    """The plans that have the group, by name; the groups of all others; and the plans of which nobody can say.

    `ungrouped` are the plans that make no groups, as they have no drill with `group_by`.
    """

    plans: tuple[str, ...]
    others: Mapping[str, tuple[str, ...]]
    broken: tuple[BrokenPlan, ...]
    ungrouped: tuple[str, ...] = ()


def find_group(group: str, site: RecoverySite) -> FoundGroup:
    """Look through the points that the site holds of each plan whose drill has a `group_by`.

    Raises:
        Unreachable: the site does not answer.
    """
    plans = site.plans.load()
    points = site.catalogue().points
    groups = {
        plan.name: list_groups(points, plan=plan.name, group_by=plan.drill.group_by)
        for plan in plans.readable
        if plan.drill is not None and plan.drill.group_by
    }
    return FoundGroup(
        plans=tuple(sorted(name for name, found in groups.items() if group in found)),
        others={
            name: named
            for name, found in sorted(groups.items())
            if group not in found and (named := tuple(sorted(each for each in found if each)))
        },
        broken=plans.broken,
        ungrouped=tuple(sorted(plan.name for plan in plans.readable if plan.name not in groups)),
    )
