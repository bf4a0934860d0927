"""What a dry run of pruning decided, for people and for programs."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from hikae.domain.guards import Lineage, lineage_of
from hikae.domain.model import Action, Image, RecoveryPoint, Snapshot, Verdict
from hikae.domain.naming import HOLD, format_time
from hikae.operations.prune_recovery_points import Pruned
from hikae.runtime.settings import Settings
from hikae_cli.terminal import printable

_ID = re.compile(r"\b(?:snap|ami|vol|i|rp|lt|asg)-[\w./:-]*\w")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One verdict and what it is about: a point, or with `leftover` one snapshot or image that is in a point's way."""

    verdict: Verdict
    point: RecoveryPoint
    word: str
    leftover: Snapshot | Image | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Every EC2 id that the verdict is about, the image first."""
        return (self.leftover.id,) if self.leftover else self.point.resource_ids

    @property
    def gib(self) -> int:
        """The size of the volumes; what EC2 bills is what was written to them, or changed since the point before."""
        if self.leftover:
            return self.leftover.size_gib if isinstance(self.leftover, Snapshot) else 0
        return sum(snapshot.size_gib for snapshot in self.point.snapshots)

    @property
    def is_kept(self) -> bool:
        """Whether nothing of it goes in this run."""
        return self.verdict.action is Action.KEEP


def rows_of(pruned: Pruned) -> list[Row]:
    """Every verdict with its point, by resource and rule, the newest first; a leftover is below its point."""
    verdicts = {verdict.id: verdict for verdict in pruned.verdicts}
    rows = []
    for point in sorted(pruned.points, key=_place_in_the_table):
        for name, leftover in ((point.id, None), *((each.id, each) for each in point.leftovers)):
            verdict = verdicts.get(name)
            if verdict is not None:  # a leftover of a point that goes, goes with it
                withheld = pruned.withheld.get(name)
                word = withheld.value if withheld else verdict.action.value
                rows.append(Row(verdict=verdict, point=point, word=word, leftover=leftover))
    return rows


def _place_in_the_table(point: RecoveryPoint) -> tuple[str, str, str, str, float, str]:
    identity = point.tags.identity
    age = -point.source_time.timestamp()
    return str(identity.place), identity.resource, identity.plan, identity.rule, age, point.id


def has_failures(pruned: Pruned) -> bool:
    """Whether something is wrong at the site, or could not be asked: a person has to look."""
    return bool(pruned.unreachable or pruned.broken_plans or any(each.is_failure for each in pruned.outcomes))


def as_table(pruned: Pruned, settings: Settings, *, percent: int, now: datetime) -> Iterator[str]:
    """Lines for a person: each resource and rule, then the summary."""
    rows = rows_of(pruned)
    yield f"{settings.site} {settings.place}, installation {settings.installation}: dry run as of {format_time(now)}"
    yield (
        f"limits of the deployed function: DeletionCap {settings.deletion_cap}, LineageDeletionPercent {percent}, "
        f"RequireRecycleBin {str(settings.require_recycle_bin).lower()}"
    )
    for (lineage, plan, rule), group in groupby(rows, key=_heading):
        gone = ", which is gone" if lineage in pruned.gone else ""
        yield ""
        yield printable(f"{lineage.resource} ({lineage.place}){gone}: {plan}/{rule}")
        yield from _lines(list(group))
    yield ""
    yield from _summary(pruned, rows)


def _heading(row: Row) -> tuple[Lineage, str, str]:
    identity = row.point.tags.identity
    return lineage_of(row.point), identity.plan, identity.rule


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    shown = [_shown_ids(row) for row in rows]
    width = max(map(len, shown))
    for row, ids in zip(rows, shown, strict=True):
        when = f"{row.point.source_time:%Y-%m-%d %H:%M:%SZ}" if row.leftover is None else f"{'leftover':>20}"
        begin = f"  {when}  {row.word:<9}  {row.gib:>6,} GiB  {ids:<{width}}  "
        for number, reason in enumerate(row.verdict.reasons):
            yield printable(f"{begin if number == 0 else ' ' * len(begin)}{reason}")


def _shown_ids(row: Row) -> str:
    first, *others = row.ids or ("",)
    return f"{first} +{len(others)}" if others else first


def _summary(pruned: Pruned, rows: Sequence[Row]) -> Iterator[str]:
    going = [row for row in rows if not row.is_kept]
    kept = [row for row in rows if row.is_kept]
    yield f"would go: {_count(going)}"
    yield from _by_reason(going)
    yield f"would stay: {_count(kept)}"
    yield from _by_reason(kept)
    for limit in ("capped", "held back"):
        withheld = [row for row in kept if row.word == limit]
        if withheld:
            yield f"{limit}, and would go but for that: {_count(withheld)}"
    yield from _gone(pruned, kept)
    yield from _list("left alone, as nobody can say what it is", [(each.id, each.reason) for each in pruned.unclear])
    failures = [(each.resource, each.reason) for each in pruned.outcomes if each.is_failure]
    yield from _list("failed", failures)
    yield from _list(
        "cannot be asked, so what may need a copy there stays", [("", each) for each in pruned.unreachable]
    )
    yield from _list("plans that cannot be read", [("", str(each)) for each in pruned.broken_plans])
    yield "nothing was deleted"


def _count(rows: Sequence[Row]) -> str:
    points = sum(row.leftover is None for row in rows)
    leftovers = len(rows) - points
    also = f" and {leftovers} {'leftover' if leftovers == 1 else 'leftovers'}" if leftovers else ""
    size = sum(row.gib for row in rows)
    return f"{points} {'point' if points == 1 else 'points'}{also}, of volumes of {size:,} GiB in all"


def _by_reason(rows: Iterable[Row]) -> Iterator[str]:
    """How many have each reason, whatever the ids and times in it; one with several reasons counts for each."""
    kinds = Counter(kind for row in rows for kind in {kind_of(reason) for reason in row.verdict.reasons})
    for kind, number in sorted(kinds.items(), key=lambda each: (-each[1], each[0])):
        yield printable(f"  {number:>6,}  {kind}")


def kind_of(reason: str) -> str:
    """The reason without the ids and times in it."""
    return _TIME.sub("…", _ID.sub("…", reason))


def _gone(pruned: Pruned, kept: Sequence[Row]) -> Iterator[str]:
    """What is paid for resources that do not exist any more: nothing will ever take the place of their points."""
    ordered = sorted(
        (row for row in kept if lineage_of(row.point) in pruned.gone), key=lambda row: str(lineage_of(row.point))
    )
    for lineage, group in groupby(ordered, key=lambda row: lineage_of(row.point)):
        yield printable(f"{lineage.resource} is gone, and what stays of it costs: {_count(list(group))}")


def _list(title: str, lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    if lines:
        yield f"{title}: {len(lines)}"
    for resource, reason in lines:
        yield printable(f"  {resource}: {reason}" if resource else f"  {reason}")


def as_json(pruned: Pruned, settings: Settings, *, percent: int, now: datetime) -> Iterator[str]:
    """One object a line; those that are about points have what `hikae plan preview --points` reads."""
    rows = rows_of(pruned)
    for row in rows:
        yield _dump(_object(row, settings))
    for unclear in pruned.unclear:
        yield _dump({"record": "unclear", "id": unclear.id, "reasons": [unclear.reason]})
    for outcome in pruned.outcomes:
        if outcome.is_failure:
            yield _dump({"record": "failure", "resource": outcome.resource, "reasons": [outcome.reason]})
    for place in pruned.unreachable:
        yield _dump({"record": "unreachable", "reasons": [place]})
    for broken in pruned.broken_plans:
        yield _dump(
            {"record": "broken-plan", "resource": broken.key, "reasons": [str(each) for each in broken.problems]}
        )
    yield _dump(
        {
            "record": "summary",
            "now": format_time(now),
            "installation": settings.installation,
            "site": settings.site.value,
            "account": settings.place.account,
            "region": settings.place.region,
            "deletion_cap": settings.deletion_cap,
            "lineage_deletion_percent": percent,
            "require_recycle_bin": settings.require_recycle_bin,
            "kept": sum(row.is_kept for row in rows),
            "kept_gib": sum(row.gib for row in rows if row.is_kept),
            "expired": sum(not row.is_kept for row in rows),
            "expired_gib": sum(row.gib for row in rows if not row.is_kept),
            "capped": pruned.capped,
            "held_back": pruned.held_back,
            "failed": sum(outcome.is_failure for outcome in pruned.outcomes),
            "unclear": len(pruned.unclear),
            "unreachable": len(pruned.unreachable),
            "broken_plans": len(pruned.broken_plans),
        }
    )


def _object(row: Row, settings: Settings) -> dict[str, object]:
    tags = row.point.tags
    identity = tags.identity
    return {
        "record": "point" if row.leftover is None else "leftover",
        "id": row.verdict.id,
        "time": format_time(row.point.source_time),
        "verdict": row.verdict.action.value,
        "withheld": row.word if row.word != row.verdict.action.value else None,
        "reasons": list(row.verdict.reasons),
        "site": settings.site.value,
        "account": settings.place.account,
        "region": settings.place.region,
        "source_account": identity.place.account,
        "source_region": identity.place.region,
        "resource": identity.resource,
        "plan": identity.plan,
        "rule": identity.rule,
        "slot": format_time(identity.slot),
        "point": tags.point,
        "attempt": tags.attempt,
        "kind": tags.kind.value,
        "state": row.point.state.value if row.leftover is None else row.leftover.state,
        "gib": row.gib,
        "hold": _is_held(row.point),
        "ids": list(row.ids),
    }


def _is_held(point: RecoveryPoint) -> bool:
    is_image_held = point.image is not None and HOLD in point.image.tags
    return is_image_held or any(HOLD in snapshot.tags for snapshot in point.snapshots)


def _dump(answer: dict[str, object]) -> str:
    return json.dumps(answer, ensure_ascii=False)
