"""The faults that a drill must end well in, from snapshot sets and from images alike.

Each has a named outcome, leaves nothing, touches no point, and is in the evidence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hikae.domain.model import RecoveryPoint
from local.inprocess import IMAGE_PLAN, PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation
from local.state_machine import Stopped
from local.twin import faults
from tests.integration.operations.test_recovery import DRILL, leftovers, points, put_group, record_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A group of two with two points each, all of one kind."""

    installation: Installation
    plan: str
    text: str

    @property
    def request(self) -> dict[str, Any]:
        return {"mode": "drill", "plan": self.plan, "group": "shop", "started_by": "test"}

    def newest(self) -> RecoveryPoint:
        """The newest point of one of the two."""
        found = self.installation.recovery_site().catalogue().points
        return max(found, key=lambda point: (point.source_time, point.id))

    def play(self, name: str = "drill-1", call: Any = None) -> tuple[str, dict[str, Any]]:
        status = self.installation.recover(name, call=call).play({"request": self.request})
        return status, record_of(self.installation, name)


@pytest.fixture(params=["snapshots", "image"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    plan, text = {"snapshots": ("production", SNAPSHOT_PLAN), "image": ("web-images", IMAGE_PLAN)}[request.param]
    with Installation() as installation:
        put_group(installation, plan=request.param, count=2)
        installation.advance(minutes=60)
        installation.back_up()
        installation.copy_all()
        yield Scene(installation=installation, plan=plan, text=text)


def test_the_newest_point_incomplete_means_the_one_before(scene: Scene) -> None:
    newest = scene.newest()
    ec2 = scene.installation.twin.client("ec2", RECOVERY)
    if newest.image is not None:
        ec2.deregister_image(ImageId=newest.image.id)
    else:
        ec2.delete_snapshot(SnapshotId=newest.snapshots[0].id)
    before = points(scene.installation)
    status, record = scene.play()
    assert (status, record["outcome"]) == ("SUCCEEDED", "succeeded")
    used = {member["resource"]: member["point"] for member in record["members"]}
    assert used[newest.tags.identity.resource] != newest.tags.point
    assert leftovers(scene.installation) == []
    assert points(scene.installation) == before


@pytest.mark.parametrize("corrupt", [b"{", b'{"version": 1}', b'{"version": 99}', b""])
def test_the_newest_manifest_corrupt_means_the_point_before_and_the_record_says_why(
    scene: Scene, corrupt: bytes
) -> None:
    newest = scene.newest()
    resource = newest.tags.identity.resource
    key = f"manifests/123456789012/{PRIMARY}/{resource}/{newest.tags.point}/{newest.tags.attempt}.json"
    scene.installation.document(key)
    bucket = scene.installation.recovery.bucket
    scene.installation.twin.client("s3", RECOVERY).put_object(Bucket=bucket, Key=key, Body=corrupt)
    before = points(scene.installation)
    status, record = scene.play()
    assert status == "SUCCEEDED"
    assert list(record["rejected_points"]) == [newest.id]
    assert record["rejected_points"][newest.id].startswith("its manifest cannot be read: ")
    assert leftovers(scene.installation) == []
    assert points(scene.installation) == before


@pytest.mark.parametrize("disabled_before", ["select", "prepare", "launch", "probe"])
def test_a_disabled_key_is_named_wherever_it_is_met(scene: Scene, disabled_before: str) -> None:
    disabled: list[str] = []
    before = points(scene.installation)

    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == disabled_before and not disabled:
            disabled.append(event["step"])
            key = scene.installation.key_arn.rpartition("/")[2]
            scene.installation.twin.client("kms", RECOVERY).disable_key(KeyId=key)
        return scene.installation.run_step(event)

    status, record = scene.play(call=call)
    if disabled_before == "probe":  # EBS keeps its grant: what runs goes on running
        assert (status, record["outcome"]) == ("SUCCEEDED", "succeeded")
    else:
        assert (status, record["outcome"]) == ("FAILED", "failed")
        assert "key" in record["failure"] or "Client error on launch" in " ".join(record["rejected_points"].values())
    assert leftovers(scene.installation) == []
    assert points(scene.installation) == before


def test_no_capacity_in_any_zone_for_the_first_type_means_the_next_that_can_boot_it(scene: Scene) -> None:
    with faults.no_capacity(instance_type="m5.large"):
        status, record = scene.play()
    assert status == "SUCCEEDED"
    for member in record["members"]:
        assert (member["rung"]["type"], member["rung"]["number"]) == ("m5a.large", 3)
        assert [each for each in member["refused_rungs"] if each.startswith("m5.large in ")] == [
            f"m5.large in {RECOVERY}{zone}: InsufficientInstanceCapacity" for zone in "ab"
        ]
    assert leftovers(scene.installation) == []


def test_no_capacity_for_anything_names_every_rung(scene: Scene) -> None:
    with faults.no_capacity():
        status, record = scene.play()
    assert status == "FAILED"
    assert record["failure"].startswith("launch: ")
    assert "no capacity for any type in any zone: " in record["failure"]
    for tried in ("m5.large", "m5a.large", "m5.xlarge"):
        for zone in "ab":
            assert f"{tried} in {RECOVERY}{zone}: InsufficientInstanceCapacity" in record["failure"]
    assert leftovers(scene.installation) == []


def test_a_probe_that_never_answers_fails_when_its_time_is_over(scene: Scene) -> None:
    probes = "[status-checks, {console: no such line}]"
    scene.installation.apply(scene.plan, scene.text + DRILL.replace("[status-checks]", probes))
    status, record = scene.play()
    assert (status, record["outcome"], record["failure"]) == ("FAILED", "failed", None)
    for member in record["members"]:
        assert [each["state"] for each in member["probes"]] == ["passed", "failed"]
        assert member["probes"][1]["detail"] == "no answer within 15 minutes; last: no match yet"
    assert leftovers(scene.installation) == []


@pytest.mark.parametrize("step", ["prepare", "launch", "probe", "tear-down"])
def test_a_drill_that_is_stopped_by_hand_says_where_and_that_it_was(scene: Scene, step: str) -> None:
    before = points(scene.installation)

    def call(event: dict[str, Any]) -> dict[str, Any]:
        scene.installation.run_step(event)
        if event["step"] == step:
            raise Stopped
        return scene.installation.run_step(event)

    with pytest.raises(Stopped):
        scene.installation.recover("drill-1", call=call).play({"request": scene.request})
    scene.installation.end_execution("drill-1")
    for _ in range(10):
        if not scene.installation.sweep().outcomes:
            break
        scene.installation.advance(minutes=1)
    record = record_of(scene.installation, "drill-1")
    assert record["outcome"] == "failed"
    assert record["failure"].removeprefix("after ") == f"{step}: it was stopped"
    assert leftovers(scene.installation) == []
    assert points(scene.installation) == before


def test_two_drills_at_once_leave_each_other_alone(scene: Scene) -> None:
    """Wait by wait, turn by turn: all their steps are interleaved."""
    before = points(scene.installation)
    players = {name: scene.installation.recover(name) for name in ("drill-1", "drill-2")}
    playing = {name: player.begin({"request": scene.request}) for name, player in players.items()}
    ended = {}
    while playing:
        for name in list(playing):
            try:
                seconds = next(playing[name])
            except StopIteration as end:
                ended[name] = end.value
                del playing[name]
            else:
                scene.installation.advance(seconds=seconds)
    assert ended == {"drill-1": "SUCCEEDED", "drill-2": "SUCCEEDED"}
    records = [record_of(scene.installation, name) for name in players]
    made = [{member["instance"] for member in record["members"]} for record in records]
    assert not made[0] & made[1]
    for record, instances in zip(records, made, strict=True):
        assert instances <= set(record["torn_down"])
    assert not set(records[0]["torn_down"]) & set(records[1]["torn_down"])
    assert leftovers(scene.installation) == []
    assert points(scene.installation) == before
