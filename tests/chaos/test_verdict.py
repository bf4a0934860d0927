"""What the suite takes for wrong: it must see each of it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from local.chaos.branches import BranchError, branch, branches
from local.chaos.stage import TIMED_OUT, Invocation, Removal
from local.chaos.verdict import Ending, judge
from local.inprocess import PRIMARY, RECOVERY

KINDS = [f"{region} {kind}" for region in (PRIMARY, RECOVERY) for kind in ("snapshots", "images", "documents", "slots")]
CLEAN = Ending(
    state={kind: (f"one of {kind}", f"two of {kind}") for kind in KINDS},
    removals=(),
    mixed=(),
    refused_for_limit=0,
    highest_in_flight=2,
    limit=20,
    waiting={},
    dead={},
    failed_runs=(),
    invocations=(),
)


def invocation(**differences):
    given = {"error": "", "lines": (), "metrics": {}, **differences}
    at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    return Invocation(function="SnapshotVolumes", region=PRIMARY, at=at, answer=None, **given)


def with_state(kind, *texts):
    return replace(CLEAN, state={**CLEAN.state, kind: texts})


def test_an_ending_like_the_clean_one_is_right():
    assert judge(CLEAN, CLEAN).are_none
    assert CLEAN.digest == replace(CLEAN, removals=(object(),)).digest


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_is_missed_what_is_there_twice_a_duplicate_and_the_rest_an_orphan(kind):
    one, two = CLEAN.state[kind]
    assert judge(with_state(kind, one), CLEAN).missed == (two,)
    assert judge(with_state(kind, one, two, two), CLEAN).duplicates == (two,)
    assert judge(with_state(kind, one, two, "three"), CLEAN).orphans == ("three",)
    assert with_state(kind, one, two, two).digest != CLEAN.digest


@pytest.mark.parametrize(
    ("left", "is_complete", "identity", "is_wrong"),
    [
        (0, True, f"one of {PRIMARY} snapshots", True),
        (1, True, f"one of {PRIMARY} snapshots", False),
        (0, False, f"one of {PRIMARY} snapshots", False),
        (0, True, "something that the clean run has deleted, too", False),
    ],
)
def test_deleting_the_last_of_what_is_needed_is_wrong_even_if_it_is_made_again(left, is_complete, identity, is_wrong):
    removal = Removal(region=PRIMARY, identity=identity, is_complete=is_complete, left=left)
    assert bool(judge(replace(CLEAN, removals=(removal,)), CLEAN).wrong_deletions) == is_wrong


@pytest.mark.parametrize(
    "wrong",
    [
        {"mixed": ("a set",)},
        {"refused_for_limit": 1},
        {"highest_in_flight": 21},
        {"waiting": {"SnapshotJobsQueue": 1}},
        {"failed_runs": ("ScheduleBackups",)},
        {"invocations": (invocation(error=f"Killed: {TIMED_OUT}"),)},
    ],
)
def test_nothing_else_that_is_wrong_is_overlooked(wrong):
    assert not judge(replace(CLEAN, **wrong), CLEAN).are_none


def test_a_resource_is_named_by_an_error_line_together_with_a_metric_that_an_alarm_watches():
    line = {"levelname": "ERROR", "resource": "i-1"}
    counted = replace(CLEAN, invocations=(invocation(lines=(line,), metrics={"FailedResources": 1.0}),))
    assert counted.names_as_failed("i-1")
    assert not counted.names_as_failed("i-2")
    assert not replace(CLEAN, invocations=(invocation(lines=(line,)),)).names_as_failed("i-1")
    quiet = invocation(lines=({**line, "levelname": "INFO"},), metrics={"FailedResources": 1.0})
    assert not replace(CLEAN, invocations=(quiet,)).names_as_failed("i-1")


def test_branches_share_nothing_and_say_what_ended_them():
    known = [1]

    def grow(number):
        known.append(number)
        return list(known)

    assert branches([lambda: grow(2), lambda: grow(3)], width=2) == [[1, 2], [1, 3]]
    assert known == [1]
    with pytest.raises(BranchError, match="ZeroDivisionError"):
        branch(lambda: 1 // 0)
