"""An image goes with its snapshots; what EC2 leaves of them is named, and finished by a later run."""

from typing import Any

import pytest

from hikae.domain.model import SiteRole
from hikae.ports import Status
from local.inprocess import IMAGE_PLAN, PRIMARY, START, Installation
from local.twin.faults import refused


@pytest.fixture
def four_images(installation: Installation) -> Installation:
    """Four hourly images of one instance, of which the plan keeps two."""
    installation.launch(tags={"Backup": "image"})
    installation.apply("web-images", IMAGE_PLAN)
    for _ in range(4):
        installation.back_up()
        installation.copy_all()
        installation.advance(minutes=60 - installation.twin.clock.now().minute)
    return installation


def oldest_image(installation: Installation) -> dict[str, Any]:
    return min(installation.images(), key=lambda image: image["CreationDate"])


def snapshots_of(image: dict[str, Any]) -> list[str]:
    return [mapping["Ebs"]["SnapshotId"] for mapping in image["BlockDeviceMappings"]]


def snapshot_ids(installation: Installation) -> set[str]:
    return {snapshot["SnapshotId"] for snapshot in installation.snapshots()}


def register(installation: Installation, snapshot: str) -> str:
    image_id: str = installation.twin.client("ec2", PRIMARY).register_image(
        Name="by-hand",
        RootDeviceName="/dev/xvda",
        Architecture="x86_64",
        VirtualizationType="hvm",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    )["ImageId"]
    return image_id


@pytest.mark.parametrize("code", ["missing-permissions", "internal-error", "client-error", "a code of tomorrow"])
def test_a_snapshot_that_ec2_did_not_delete_is_named_with_ec2s_word_and_goes_with_the_next_run(
    four_images: Installation, code: str
) -> None:
    image = oldest_image(four_images)
    stubborn = snapshots_of(image)[1]
    four_images.twin.backend(PRIMARY).refuse_to_delete(stubborn, code=code)
    outcomes = {outcome.resource: outcome for outcome in four_images.prune(SiteRole.PRIMARY).outcomes}
    assert outcomes[image["ImageId"]].status is Status.DELETED
    assert outcomes[stubborn].status is Status.FAILED
    assert f"its snapshot stays: {code}" in outcomes[stubborn].reason
    assert snapshot_ids(four_images) & set(snapshots_of(image)) == {stubborn}

    again = {outcome.resource: outcome for outcome in four_images.prune(SiteRole.PRIMARY).outcomes}
    assert again[stubborn].status is Status.FAILED
    four_images.twin.backend(PRIMARY).refuse_to_delete(stubborn, code=None)
    assert [outcome.status for outcome in four_images.prune(SiteRole.PRIMARY).outcomes] == [Status.DELETED]
    assert stubborn not in snapshot_ids(four_images)
    assert four_images.prune(SiteRole.PRIMARY).outcomes == ()


def test_a_snapshot_that_only_the_deregistration_could_not_delete_is_deleted_by_itself(
    four_images: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = oldest_image(four_images)
    backend = four_images.twin.backend(PRIMARY)
    monkeypatch.setattr(backend, "_delete_associated", lambda _: "internal-error")
    pruned = four_images.prune(SiteRole.PRIMARY)
    assert not any(outcome.is_failure for outcome in pruned.outcomes)
    assert snapshot_ids(four_images).isdisjoint(snapshots_of(image))
    assert four_images.prune(SiteRole.PRIMARY).outcomes == ()


def test_an_image_that_shares_a_snapshot_stays_until_the_other_image_is_gone(four_images: Installation) -> None:
    image = oldest_image(four_images)
    other = register(four_images, snapshots_of(image)[1])
    for _ in range(2):
        pruned = four_images.prune(SiteRole.PRIMARY)
        reasons = [reason for verdict in pruned.verdicts for reason in verdict.reasons]
        assert f"{snapshots_of(image)[1]} is referenced by {other}" in reasons
        assert set(snapshots_of(image)) <= snapshot_ids(four_images)
    four_images.twin.client("ec2", PRIMARY).deregister_image(ImageId=other)
    four_images.prune(SiteRole.PRIMARY)
    assert snapshot_ids(four_images).isdisjoint(snapshots_of(image))


def test_a_snapshot_that_another_image_took_up_meanwhile_stays_is_named_and_goes_when_that_is_gone(
    four_images: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the call: EC2 skips it, and nobody is told that it failed."""
    image = oldest_image(four_images)
    shared = snapshots_of(image)[1]
    backend = four_images.twin.backend(PRIMARY)
    deregister = backend.deregister
    others: list[str] = []

    def register_first(image_id: str, *, deletes_snapshots: bool) -> Any:
        if image_id == image["ImageId"]:
            others.append(register(four_images, shared))
        return deregister(image_id, deletes_snapshots=deletes_snapshots)

    monkeypatch.setattr(backend, "deregister", register_first)
    outcomes = {outcome.resource: outcome for outcome in four_images.prune(SiteRole.PRIMARY).outcomes}
    assert outcomes[shared].status is Status.KEPT
    assert "another image uses it" in outcomes[shared].reason
    assert snapshot_ids(four_images) & set(snapshots_of(image)) == {shared}
    for _ in range(2):
        [outcome] = four_images.prune(SiteRole.PRIMARY).outcomes
        assert (outcome.resource, outcome.status) == (shared, Status.KEPT)
        assert outcome.reason.startswith(f"orphan: {shared} is referenced by {others[0]}")
        assert "delete it if you do not need it" in outcome.reason
    four_images.twin.client("ec2", PRIMARY).deregister_image(ImageId=others[0])
    assert [outcome.status for outcome in four_images.prune(SiteRole.PRIMARY).outcomes] == [Status.DELETED]
    assert shared not in snapshot_ids(four_images)


def test_an_image_that_cannot_be_deregistered_keeps_all_of_its_snapshots(four_images: Installation) -> None:
    image = oldest_image(four_images)
    with refused("DeregisterImage", "OperationNotPermitted", resource=image["ImageId"]):
        pruned = four_images.prune(SiteRole.PRIMARY)
    [failure] = [outcome for outcome in pruned.outcomes if outcome.is_failure]
    assert failure.resource == image["ImageId"]
    assert set(snapshots_of(image)) <= snapshot_ids(four_images)
    four_images.prune(SiteRole.PRIMARY)
    assert snapshot_ids(four_images).isdisjoint(snapshots_of(image))


def test_the_last_of_a_resource_that_was_given_up_goes_even_if_the_first_run_was_cut_short() -> None:
    with Installation(now=START) as installation:
        [instance] = installation.launch(tags={"Backup": "image"})
        installation.apply("web-images", IMAGE_PLAN.replace("rules:", "retire_after: 2d\nrules:"))
        installation.back_up()
        installation.copy_all()
        installation.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=[instance])
        installation.advance(days=3)
        installation.tick()
        stubborn = snapshots_of(oldest_image(installation))[0]
        installation.twin.backend(PRIMARY).refuse_to_delete(stubborn)
        installation.prune(SiteRole.PRIMARY)
        assert (installation.images(), snapshot_ids(installation)) == ([], {stubborn})
        installation.twin.backend(PRIMARY).refuse_to_delete(stubborn, code=None)
        installation.prune(SiteRole.PRIMARY)
        assert snapshot_ids(installation) == set()
        assert installation.prune(SiteRole.PRIMARY).outcomes == ()
