"""What the suite takes for wrong: it must see each of it."""

import os
import select
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hikae.domain.model import SiteRole
from local.chaos.alarms import Datum, dimensions_of, read_alarms, which_go_off
from local.chaos.branches import BranchError, branch, branches, each_branch
from local.chaos.stage import TIMED_OUT, Invocation, Removal
from local.chaos.verdict import Ending, judge
from local.inprocess import PRIMARY, RECOVERY

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
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
    given = {"error": "", "lines": (), "emitted": (), **differences}
    return Invocation(function="SnapshotVolumes", region=PRIMARY, at=AT, answer=None, **given)


def datum(metric="FailedResources", value=1.0, *, at=None, namespace="hikae", **dimensions):
    own = {"installation": "main", "service": "snapshot_volumes", "site": "primary"}
    return Datum(
        site=SiteRole.PRIMARY,
        namespace=namespace,
        metric=metric,
        dimensions=dimensions_of(**(dimensions or own)),
        at=at or AT,
        value=value,
    )


def heard(*invocations, published=()):
    """How a run of these invocations ended, with the alarms that the template makes of them."""
    data = [each for invocation in invocations for each in invocation.data]
    return replace(CLEAN, invocations=invocations, alarms=which_go_off([*data, *published]))


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


def test_a_resource_is_named_by_an_error_line_together_with_a_metric_that_brings_an_alarm_to_alarm():
    line = {"levelname": "ERROR", "resource": "i-1"}
    assert heard(invocation(lines=(line,), emitted=(datum(),))).names_as_failed("i-1")
    assert not heard(invocation(lines=(line,), emitted=(datum(),))).names_as_failed("i-2")
    assert not heard(invocation(lines=(line,))).names_as_failed("i-1")
    assert not heard(invocation(lines=({**line, "levelname": "INFO"},), emitted=(datum(),))).names_as_failed("i-1")
    # The metric has to be the alarm's own, in name, dimensions and value, and of the invocation that has named it.
    for other in (datum(value=0), datum("PointsStarted"), datum(service="snapshot_volumes"), datum(namespace="other")):
        assert not heard(invocation(lines=(line,), emitted=(other,))).names_as_failed("i-1")
    assert not heard(invocation(lines=(line,)), invocation(emitted=(datum(),))).names_as_failed("i-1")


def test_what_a_function_raises_is_heard_by_the_alarm_on_its_errors():
    raised = heard(invocation(error="RuntimeError: i-1"))
    assert [alarm.name for alarm in raised.alarms] == ["SnapshotVolumesErrors"]
    assert raised.names_as_failed("i-1")
    assert judge(raised, CLEAN).unnamed == ()
    assert judge(replace(raised, alarms=()), CLEAN).unnamed != ()


def test_what_was_given_up_is_heard_by_the_alarm_on_the_queue_where_it_lies():
    letters = datum("ApproximateNumberOfMessagesVisible", namespace="AWS/SQS", QueueName="SnapshotJobsDeadLetters")
    given_up = replace(CLEAN, dead={"SnapshotJobsQueueDead": 1})
    assert judge(given_up, CLEAN).unnamed == ("1 messages in SnapshotJobsDeadLetters",)
    assert judge(replace(given_up, alarms=which_go_off([letters])), CLEAN).unnamed == ()
    assert judge(replace(CLEAN, failed_runs=("ScheduleBackups us-east-1: it died",)), CLEAN).unnamed != ()


def test_a_dead_mans_alarm_goes_off_where_nothing_is_heard_for_as_many_periods_as_it_waits():
    [silent] = [alarm for alarm in read_alarms() if alarm.name == "ScheduleBackupsSilent"]

    def ticks(*minutes):
        own = {"installation": "main", "service": "schedule_backups", "site": "primary"}
        return [datum("SucceededRuns", at=AT + timedelta(minutes=minute), **own) for minute in minutes]

    assert not silent.goes_off(ticks(0, 5, 10, 15, 20))
    assert not silent.goes_off(ticks(0, 5, 15, 20))
    assert silent.goes_off(ticks(0, 5, 25))


def test_every_alarm_of_the_template_is_told_to_the_topic():
    assert len(read_alarms()) > 50
    assert all(alarm.tells for alarm in read_alarms())


def test_branches_tell_what_they_came_to_in_their_order_and_as_soon_as_it_is_there():
    reader, writer = os.pipe()

    def wait() -> bytes:
        is_written, _, _ = select.select([reader], [], [], 20)
        return os.read(reader, 1) if is_written else b"late"

    told = each_branch([lambda: b"a", wait, lambda: b"c"], width=3)
    assert next(told) == b"a"
    os.write(writer, b"b")
    assert list(told) == [b"b", b"c"]
    os.close(reader)
    os.close(writer)


def test_branches_share_nothing_and_say_what_ended_them():
    known = [1]

    def grow(number):
        known.append(number)
        return list(known)

    assert branches([lambda: grow(2), lambda: grow(3)], width=2) == [[1, 2], [1, 3]]
    assert known == [1]
    with pytest.raises(BranchError, match="ZeroDivisionError"):
        branch(lambda: 1 // 0)
