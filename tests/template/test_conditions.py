"""What each function asks EC2 for meets the conditions of its role, and what others own does not.

The functions run as they are deployed, on a twin that looks every request up in the policies that the template gives to
the function at work, with resources, tags and conditions: what is not allowed is refused, and fails the run.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.chaos.operations import IMAGES, SLOT, SNAPSHOTS, World
from local.chaos.stage import Stage
from local.inprocess import PRIMARY, RECOVERY
from tests.template import sites

DRILL = """\
drill:
  schedule: "0 * * * *"
  group_by: tag:Service
"""
SITES = {PRIMARY: sites.primary, RECOVERY: sites.recovery}


def obey(stage: Stage, functions: list[str]) -> None:
    """From now on each function, or else the last of `functions`, may do only what its role allows."""

    def at_work() -> Sequence[Mapping[str, Any]] | None:
        if stage.current is not None:
            name, _, region = stage.current
        elif functions:
            name, region = functions[-1], RECOVERY
        else:
            return None
        site = SITES[region]()
        return site.statements(site.role_of(name))

    stage.twin.world.permissions.is_enforced = True
    stage.twin.world.permissions.at_work = at_work


def denied(stage: Stage) -> list[tuple[str, str]]:
    refusals = ("UnauthorizedOperation", "UnsupportedOperation")
    return sorted({(call.action, call.region) for call in stage.twin.calls if call.error in refusals})


@pytest.mark.parametrize("world", [SNAPSHOTS, IMAGES], ids=["snapshots", "images"])
def test_backing_up_copying_and_pruning_meet_the_conditions(world: World) -> None:
    with Stage(world.plans) as stage:
        world.populate(stage)
        obey(stage, [])
        stage.run_until(SLOT + timedelta(minutes=50))
        asked = {call.action for call in stage.twin.calls}
        assert asked & {"CreateSnapshots", "CreateImage"}
        assert asked & {"CopySnapshot", "CopyImage"}
        assert denied(stage) == []


def test_pruning_may_not_delete_what_is_of_another_installation_or_on_hold() -> None:
    tags = {"hikae:installation": "main"}
    with Stage(SNAPSHOTS.plans) as stage:
        seeded = {
            name: stage.twin.seed_snapshot(region=PRIMARY, started_at=SLOT, volume_id="vol-ffffffff", tags=each)
            for name, each in {
                "own": tags,
                "foreign": {"hikae:installation": "other"},
                "untagged": None,
                "held": {**tags, "hikae:hold": "legal"},
                "copy": {**tags, "hikae:copy-of": "snap-1"},
            }.items()
        }
        site = sites.primary()
        stage.twin.world.permissions.is_enforced = True
        stage.twin.world.permissions.at_work = lambda: site.statements(site.role_of("PruneRecoveryPoints"))
        ec2 = stage.twin.client("ec2", PRIMARY)
        for name in ("foreign", "untagged", "held", "copy"):
            with pytest.raises(ClientError) as error:
                ec2.delete_snapshot(SnapshotId=seeded[name])
            assert error.value.response["Error"]["Code"] == "UnauthorizedOperation"
        ec2.delete_snapshot(SnapshotId=seeded["own"])


@pytest.mark.parametrize("mode", ["drill", "restore"])
def test_a_run_of_recovery_meets_the_conditions(mode: str) -> None:
    with Stage({name: text + DRILL for name, text in SNAPSHOTS.plans.items()}) as stage:
        SNAPSHOTS.populate(stage)
        ec2 = stage.twin.client("ec2", PRIMARY)
        instances = [each["InstanceId"] for r in ec2.describe_instances()["Reservations"] for each in r["Instances"]]
        ec2.create_tags(Resources=instances, Tags=[{"Key": "Service", "Value": "shop"}])
        stage.run_until(SLOT + timedelta(minutes=50))
        installation = stage.installation
        installation.set_recovery_settings(
            f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
            f"default_security_groups: [{installation.restore_vpc['group']}]\n"
        )
        obey(stage, ["Recover"])
        [plan] = SNAPSHOTS.plans
        player = installation.recover(f"{mode}-1")
        player.play({"request": {"mode": mode, "plan": plan, "group": "shop", "started_by": "test"}})
        launched = [call for call in stage.twin.calls if call.action == "RunInstances" and call.region == RECOVERY]
        assert [call for call in launched if call.error is None]
        assert denied(stage) == []


def test_what_the_role_does_not_allow_would_have_been_noticed() -> None:
    with Stage(SNAPSHOTS.plans) as stage:
        SNAPSHOTS.populate(stage)
        obey(stage, [])
        everything = stage.twin.world.permissions.at_work
        assert everything is not None
        stage.twin.world.permissions.at_work = lambda: [
            each for each in everything() or () if "ec2:CreateTags" not in sites.as_list(each["Action"])
        ]
        stage.run_until(SLOT + timedelta(minutes=5))
        assert ("CreateSnapshots", PRIMARY) in denied(stage)
