"""What a restore or drill has chosen stays until it is over, though no rule keeps it and nothing was made of it yet."""

import json

import pytest

from hikae.domain.model import SiteRole
from hikae.domain.naming import run_key
from hikae.operations.prune_recovery_points import Pruned
from local.inprocess import RECOVERY, SNAPSHOT_PLAN, Installation, tags_of

PLAN = SNAPSHOT_PLAN.replace("keep_last: 2", "keep_last: 1")


def protect(installation: Installation) -> None:
    installation.back_up()
    installation.copy_all()
    installation.advance(minutes=60 - installation.twin.clock.now().minute)


def points(installation: Installation) -> int:
    return len({tags_of(each)["hikae:point"] for each in installation.snapshots(RECOVERY)})


def reasons(pruned: Pruned) -> tuple[str, ...]:
    """Why the point of ten o'clock was kept or deleted; the younger one is kept by its rule."""
    [found] = [verdict.reasons for verdict in pruned.verdicts if verdict.reasons != ("last snapshot",)]
    return found


@pytest.fixture
def chosen(installation: Installation) -> Installation:
    """A restore and a drill have chosen the point of ten o'clock; by now there is one of eleven, and one is kept."""
    installation.launch()
    installation.apply("production", PLAN)
    protect(installation)
    for mode in ("restore", "drill"):
        assert installation.step("select", mode, {"mode": mode, "plan": "production"}).status == "done"
    protect(installation)
    return installation


def test_it_stays_until_every_run_that_chose_it_is_over(chosen: Installation) -> None:
    chosen.step("record", "restore")
    assert reasons(chosen.prune(SiteRole.RECOVERY)) == ("the run drill recovers from it",)
    assert points(chosen) == 2
    chosen.step("record", "drill")
    assert reasons(chosen.prune(SiteRole.RECOVERY)) == ("no rule keeps it",)
    assert points(chosen) == 1


def test_a_run_that_chooses_again_needs_what_it_chose_last(chosen: Installation) -> None:
    for mode in ("restore", "drill"):
        run = chosen.recovery_site().load(mode)
        rejected = {run.members[0].set_id: "somebody deleted its key"}
        chosen.recovery_site().documents.write(
            run_key(mode), chosen.document(run_key(mode)) | {"rejected": rejected, "stages": {}}
        )
        assert chosen.step("select", mode).status == "done"
    assert reasons(chosen.prune(SiteRole.RECOVERY)) == ("no rule keeps it",)


def test_a_document_that_cannot_be_read_may_need_anything_and_is_named(chosen: Installation) -> None:
    client = chosen.twin.client("s3", RECOVERY)
    client.put_object(Bucket=chosen.recovery.bucket, Key=run_key("drill"), Body=json.dumps({"version": 9}).encode())
    why = "nobody knows what run drill recovers from: version is 9; this version of hikae reads 1"
    pruned = chosen.prune(SiteRole.RECOVERY)
    assert [(outcome.resource, outcome.status, outcome.reason) for outcome in pruned.outcomes] == [
        ("drill", "failed", why)
    ]
    assert points(chosen) == 2
    assert why in reasons(pruned)
