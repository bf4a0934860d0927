"""Every operation, killed before and after every call that it makes: the end is that of a run without faults.

`make chaos` tries more at every call, and whole scenarios; this is the part that is quick enough for every change.
"""

import pytest

from local.chaos.crashes import CRASHES, try_operations
from local.chaos.operations import OPERATIONS
from local.chaos.report import explain


@pytest.fixture(scope="module")
def reports():
    return {report.operation: report for report in try_operations({"crash": CRASHES})}


@pytest.mark.parametrize("operation", [operation.name for operation in OPERATIONS])
def test_killed_at_any_call_it_ends_as_if_nothing_had_happened(reports, operation):
    report = reports[operation]
    assert "\n".join(explain(report.trials, ())) == ""
    assert len(report.trials) >= 2 * len(report.calls) > 0


def test_every_operation_creates_sends_or_deletes_something(reports):
    acting = {"CreateSnapshots", "CreateSnapshot", "CreateImage", "CopySnapshot", "CopyImage", "SendMessageBatch"}
    acting |= {"DeleteSnapshot", "DeregisterImage"}
    for report in reports.values():
        assert acting & {call.action for call in report.calls}, report.operation
