"""What a restore or drill has chosen stays until it is over, though no rule keeps it and nothing was made of it yet."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from hikae.domain.model import SiteRole
from hikae.domain.naming import run_key
from hikae.domain.runs import Run
from hikae.domain.runs import read_request as read_request_of_run
from hikae.operations.prune_recovery_points import Pruned
from local.inprocess import RECOVERY, SNAPSHOT_PLAN, Installation, tags_of
from local.twin.faults import intercepted, read_request

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


def between(is_next: Callable[[Any], bool], happening: Callable[[], None]) -> AbstractContextManager[None]:
    """`happening` comes about once, right before such a request."""
    waiting = [happening]

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if waiting and is_next(request):
            waiting.pop()()
        return go_on(request)

    return intercepted(process)


@pytest.fixture
def pruning(installation: Installation) -> Installation:
    """Four instances have a point of ten o'clock each, which no rule keeps."""
    installation.launch(4)
    installation.apply("production", PLAN)
    protect(installation)
    protect(installation)
    return installation


TEN = {"mode": "restore", "plan": "production", "before": "2026-11-22T10:30:00Z"}


def test_what_a_run_chooses_after_prune_has_looked_stays(pruning: Installation) -> None:
    def restore() -> None:
        assert pruning.step("select", "restore", TEN).status == "done"

    # Prune reads the inventory when it has read which runs are under way.
    with between(lambda request: "/inventory/" in request.url and request.method == "GET", restore):
        pruned = pruning.prune(SiteRole.RECOVERY)
    assert [(outcome.status, outcome.reason) for outcome in pruned.outcomes] == 4 * [
        ("later", "run restore, which has begun meanwhile, recovers from it")
    ]
    assert points(pruning) == 8


def test_what_a_run_chooses_while_prune_deletes_stays_from_then_on(pruning: Installation) -> None:
    def restore() -> None:
        assert pruning.step("select", "restore", TEN).status == "done"
        pruning.advance(seconds=30)

    with between(lambda request: read_request(request).action == "DeleteSnapshot", restore):
        pruned = pruning.prune(SiteRole.RECOVERY)
    later = [outcome.reason for outcome in pruned.outcomes if outcome.status == "later"]
    # The one that was being deleted right then is not to be saved.
    assert later == 3 * ["run restore, which has begun meanwhile, recovers from it"]
    assert points(pruning) == 7


def test_nothing_goes_while_a_run_is_choosing_or_nobody_can_say(pruning: Installation) -> None:
    site = pruning.recovery_site()
    site.save(Run(name="slow", request=read_request_of_run(TEN), began_at=pruning.twin.clock.now()))
    pruned = pruning.prune(SiteRole.RECOVERY)
    assert {outcome.reason for outcome in pruned.outcomes} == {"run slow is choosing what it recovers from"}
    assert points(pruning) == 8
    pruning.step("record", "slow")
    assert len({outcome.point for outcome in pruning.prune(SiteRole.RECOVERY).outcomes}) == 4
