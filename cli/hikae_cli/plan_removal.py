"""What follows where a plan is removed from a site, worked out before anything is removed."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from hikae.domain.model import SiteRole
from hikae.domain.plan import Rule
from hikae.domain.plan_grammar import write_duration
from hikae.domain.retention import Policy
from hikae_cli.plan_changes import Site
from hikae_cli.plan_listing import Listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One plan at one site, as it is there."""

    site: Site
    listed: Listed

    @property
    def consequences(self) -> list[str]:
        """What happens no more, and what the plan's last version goes on keeping: a line a rule."""
        plan = self.listed.plan
        if plan is None:
            problems = "; ".join(str(problem) for problem in self.listed.problems)
            return [
                f"it cannot be read here ({problems}): what points there are of it stay under its last version that can"
            ]
        lines = [line for rule in plan.rules for line in self._of_rule(rule)]
        if self.site.role is SiteRole.RECOVERY:
            lines = lines or [f"none of its rules copies to {self.site.place.region}"]
            if plan.drill is not None:
                lines.append("no drill of it is started any more")
        if plan.retire_after is not None:
            age = write_duration(plan.retire_after)
            lines.append(f"of resources that are gone, all points go once the newest is older than {age}")
        return lines

    def _of_rule(self, rule: Rule) -> Iterator[str]:
        if self.site.role is SiteRole.PRIMARY:
            kept = _spell(rule.retention)
            yield f"rule {rule.name}: no point is made any more; those that there are stay under {kept}"
            return
        for copy in rule.copies:
            if copy.region == self.site.place.region:
                kept = _spell(copy.retention)
                yield f"rule {rule.name}: no copy is made any more; those that there are stay under {kept}"


def _spell(policy: Policy) -> str:
    """As it is written in a plan."""
    rules = ((each.name, getattr(policy, each.name)) for each in fields(policy))
    return ", ".join(f"{name}: {value}" for name, value in rules if value)
