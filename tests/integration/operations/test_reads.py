"""A step reads each manifest once, however many of its parts ask for it, and asks all else once for all members."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hikae.domain.runs import StepStatus, read_request
from hikae.operations.recovery.foresee import foresee
from hikae.ports import NotFound
from hikae.runtime import wiring
from local.inprocess import RECOVERY, Installation
from local.twin.faults import recorded
from tests.integration.operations.test_recovery import DRILL_REQUEST, RESTORE_REQUEST, put_group

MEMBERS = 3


@pytest.fixture
def group() -> Iterator[Installation]:
    with Installation() as installation:
        put_group(installation, plan="snapshots", count=MEMBERS)
        installation.set_recovery_settings(
            f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
            f"default_security_groups: [{installation.restore_vpc['group']}]\n"
        )
        yield installation


def reads(act: Callable[[], Any]) -> dict[str, list[int]]:
    """How often each document of a kind was read."""
    with recorded() as asked:
        act()
    times = Counter(each.about for each in asked if str(each) == "s3:GetObject")
    kinds = {key.partition("/")[0] for key in times}
    return {kind: [number for key, number in times.items() if key.startswith(f"{kind}/")] for kind in kinds}


def test_readiness(group: Installation) -> None:
    now = group.twin.clock.now()
    found = reads(lambda: wiring.readiness(group.recovery, asks_primary=False, imports_keys=False, now=now))
    assert found["manifests"] == [1] * MEMBERS
    assert found["plans"] == [1]


def test_a_dry_run(group: Installation) -> None:
    request = read_request(RESTORE_REQUEST)
    found = reads(lambda: foresee("restore-1", request, group.recovery_site(), now=group.twin.clock.now()))
    assert found["manifests"] == [1] * MEMBERS
    assert max(found["plans"]) == 1


@pytest.mark.parametrize("request_", [RESTORE_REQUEST, DRILL_REQUEST], ids=["restore", "drill"])
def test_the_steps_of_a_run(group: Installation, request_: dict[str, str]) -> None:
    name = f"{request_['mode']}-1"
    for step in ("select", "preflight"):
        found = reads(lambda step=step: _take(group, step, name, request_))
        assert found["manifests"] == [1] * MEMBERS
        assert found["plans"] == [1]


def _take(installation: Installation, step: str, name: str, request: dict[str, str]) -> None:
    assert installation.step(step, name, request).status is StepStatus.DONE


@pytest.mark.parametrize("of_group", [RESTORE_REQUEST, DRILL_REQUEST], ids=["restore", "drill"])
def test_a_large_group_takes_no_more_describes_than_a_single_instance(
    group: Installation, of_group: dict[str, str]
) -> None:
    points = group.recovery_site().catalogue().points
    one = {"mode": of_group["mode"], "plan": "production", "resources": [points[0].tags.identity.resource]}
    assert len({point.tags.identity.resource for point in points}) == MEMBERS
    counted = []
    for request in (one, of_group):
        with recorded() as asked:
            forecast = foresee("run-1", read_request(request), group.recovery_site(), now=group.twin.clock.now())
        assert forecast.problems == ()
        counted.append(Counter(each.action for each in asked if each.service == "ec2"))
    assert [len(forecast.run.members), counted[0]["DescribeSubnets"]] == [MEMBERS, 1]
    assert counted[1] == counted[0]


def test_those_that_can_be_read_are_and_the_others_say_why(group: Installation) -> None:
    site = group.recovery_site()
    [first, *others] = list(site.documents.keys("manifests/"))
    group.twin.client("s3", RECOVERY).put_object(Bucket=group.recovery.bucket, Key=first, Body=b"{")
    read = dict(site.documents.read_all([first, *others, "manifests/gone.json"]))
    assert read == {key: site.documents.read(key) for key in others}
    with pytest.raises(NotFound):
        site.documents.read("manifests/gone.json")
