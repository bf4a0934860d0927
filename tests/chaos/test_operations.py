"""Every operation, killed at every call that it makes: the end is that of a run without faults.

`make chaos` tries more at every call, and whole scenarios; this is the part that is quick enough for every change. Here
each is killed after every call, also while EC2 does not show yet what it has made: who is killed before a call leaves
what who is killed after the one before it leaves. A restore and a drill make hundreds of calls. They are killed after
every one that changes something: before the next change, whatever they read, nothing else is there. Recovery from
images is left to `make chaos`, as are the steps of a restore, which are a drill's but for the last, the sweep, and EC2
that lags.
"""

import pytest

from local.chaos.crashes import AFTER, try_operations
from local.chaos.operations import OPERATIONS, RECOVERY_FROM_IMAGES, RECOVERY_FROM_SETS
from local.chaos.report import explain

BACKUP = [operation for operation in OPERATIONS if not operation.world.recovers]
QUICK = ("drill, from snapshots", "recover, start-drills", "report_objectives, from snapshots", "probe_network")
RECOVERY = [operation for operation in OPERATIONS if operation.name in QUICK]
KILLED = {"crash": {"killed after": AFTER["killed after"]}}
MAKING = {"CreateSnapshots", "CreateSnapshot", "CreateImage", "CopySnapshot", "CopyImage", "SendMessageBatch"}
MAKING |= {"DeleteSnapshot", "DeregisterImage"}


@pytest.fixture(scope="module")
def reports():
    return {report.operation: report for report in try_operations({"crash": AFTER}, operations=BACKUP)}


@pytest.fixture(scope="module")
def recoveries():
    return list(try_operations(KILLED, operations=RECOVERY, with_reads=False))


@pytest.mark.parametrize("operation", [operation.name for operation in BACKUP])
def test_killed_at_any_call_it_ends_as_if_nothing_had_happened(reports, operation):
    report = reports[operation]
    assert "\n".join(explain(report.trials, ())) == ""
    assert report.calls
    assert {trial.call for trial in report.trials} == set(range(1, len(report.calls) + 1))


def test_every_operation_creates_sends_or_deletes_something(reports):
    for report in reports.values():
        assert MAKING & {call.action for call in report.calls}, report.operation


@pytest.mark.parametrize("operation", [operation.name for operation in RECOVERY])
def test_recovery_that_is_killed_after_any_change_ends_as_if_nothing_had_happened(recoveries, operation):
    mine = [report for report in recoveries if report.operation in operation or report.operation.startswith(operation)]
    assert mine
    for report in mine:
        assert "\n".join(explain(report.trials, ())) == ""
        changes = [call for call in report.calls if not call.is_reading]
        assert len(report.trials) >= len(changes) > 0, report.operation


def test_a_drill_is_tried_step_by_step(recoveries):
    steps = {report.operation for report in recoveries}
    for step in ("select", "prepare", "preflight", "launch", "attach", "network", "probe", "tear-down", "record"):
        assert f"drill, from snapshots, {step}" in steps
    made = {call.action for report in recoveries for call in report.calls}
    assert {"RegisterImage", "RunInstances", "CreateVolume", "CreateVpcEndpoint", "SendCommand", "Sign"} <= made
    assert {"TerminateInstances", "DeleteVolume", "DeregisterImage", "DeleteVpcEndpoints", "StartExecution"} <= made


def test_what_is_left_to_the_whole_suite_is_an_operation_too():
    names = {operation.name for operation in OPERATIONS}
    for world in (RECOVERY_FROM_SETS, RECOVERY_FROM_IMAGES):
        source = world.name.removeprefix("recovery ")
        assert {f"drill, {source}", f"restore, {source}", f"report_objectives, {source}"} <= names
    assert {"recover, a sweep that records", "recover, a sweep that tears down"} <= names
    assert {"recover, check-readiness", "probe_network"} <= names
