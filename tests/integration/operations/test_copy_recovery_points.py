"""What is wanted at the recovery site gets there once, encrypted, whole, and within the limit."""

from dataclasses import replace
from datetime import timedelta

from hikae.domain.model import AccountId, Place, Region, SiteRole
from hikae.domain.naming import read_tags
from local.inprocess import IMAGE_PLAN, PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of


def test_a_set_is_copied_whole_encrypted_and_with_its_source_time(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    installation.copy_all()
    sources = installation.snapshots()
    copies = installation.snapshots(RECOVERY)
    assert len(copies) == len(sources) == 2
    for copy in copies:
        tags = read_tags(tags_of(copy), place=installation.recovery.place)
        assert tags.origin is not None
        [source] = [source for source in sources if source["SnapshotId"] == tags.origin.copy_of]
        assert tags.origin.source_time == source["StartTime"]
        assert tags.volume == source["VolumeId"]
        assert tags.point == tags_of(source)["hikae:point"]
        assert (copy["Encrypted"], copy["KmsKeyId"]) == (True, installation.key_arn)
        source_digest = installation.twin.digest_of(source["SnapshotId"])
        assert installation.twin.digest_of(copy["SnapshotId"]) == source_digest


def test_an_image_is_copied_with_its_snapshots(installation: Installation) -> None:
    installation.launch(tags={"Backup": "image"})
    installation.apply("web-images", IMAGE_PLAN)
    installation.back_up()
    installation.copy_all()
    [source], [copy] = installation.images(), installation.images(RECOVERY)
    assert copy["Name"] == source["Name"] + "/copy/1"
    assert copy["State"] == "available"
    assert {snapshot["KmsKeyId"] for snapshot in installation.snapshots(RECOVERY)} == {installation.key_arn}
    for snapshot in installation.snapshots(RECOVERY):
        assert tags_of(snapshot)["hikae:point"] == tags_of(source)["hikae:point"]


def test_every_further_wake_up_does_nothing(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    first = installation.copy()
    assert [outcome.status for outcome in first.outcomes] == ["created", "created"]
    assert installation.copy().outcomes == ()
    installation.advance(minutes=30)
    again = installation.copy()
    assert (again.outcomes, again.wanted, again.in_flight) == ((), 0, 0)
    assert installation.twin.count("CopySnapshot") == 2


def test_manifest_and_inventory_are_pulled(installation: Installation) -> None:
    [instance] = installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    installation.copy_all()
    s3 = installation.twin.client("s3", RECOVERY)
    listed = s3.list_objects_v2(Bucket=installation.recovery.bucket)["Contents"]
    keys = [entry["Key"] for entry in listed]
    assert f"inventory/123456789012/{PRIMARY}/latest.json" in keys
    assert len([key for key in keys if key.startswith(f"manifests/123456789012/{PRIMARY}/{instance}/rp-")]) == 1


def test_no_more_are_in_flight_than_allowed() -> None:
    with Installation(snapshot_copy_limit=3) as installation:
        installation.launch(4)
        installation.apply("production", SNAPSHOT_PLAN)
        installation.back_up()
        first = installation.copy()
        statuses = [outcome.status for outcome in first.outcomes]
        assert (statuses.count("created"), statuses.count("later")) == (3, 5)
        assert [outcome.status for outcome in installation.copy().outcomes].count("created") == 0
        installation.copy_all()
        assert len(installation.snapshots(RECOVERY)) == 8
        assert installation.twin.count("CopySnapshot") == 8


def test_copies_of_other_tools_count_as_in_flight() -> None:
    with Installation(snapshot_copy_limit=2) as installation:
        installation.launch()
        installation.apply("production", SNAPSHOT_PLAN)
        installation.back_up()
        foreign = installation.twin.client("ec2", RECOVERY)
        source = installation.snapshots()[0]["SnapshotId"]
        foreign.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=source)
        run = installation.copy()
        assert sorted(outcome.status for outcome in run.outcomes) == ["created", "later"]
        assert run.in_flight == 2


def test_a_backlog_sheds_itself_and_the_newest_goes_first(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    for _ in range(4):
        installation.back_up()
        installation.advance(minutes=40)
    run = installation.copy()
    assert run.wanted == 2  # keep_last: 2 at the destination, of four points
    started = [outcome.resource for outcome in run.outcomes if outcome.status == "created"]
    by_id = {snapshot["SnapshotId"]: snapshot["StartTime"] for snapshot in installation.snapshots()}
    newest = sorted(set(by_id.values()), reverse=True)
    assert [by_id[resource] for resource in started] == [newest[0], newest[0], newest[1], newest[1]]
    assert [verdict.action for verdict in run.verdicts].count("skip") == 2


def test_a_copy_that_failed_is_made_again_and_only_that_member(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    kms = installation.twin.client("kms", RECOVERY)
    kms.disable_key(KeyId=installation.key_arn.rpartition("/")[2])
    installation.copy()
    installation.advance(minutes=30)
    assert {snapshot["State"] for snapshot in installation.snapshots(RECOVERY)} == {"error"}
    kms.enable_key(KeyId=installation.key_arn.rpartition("/")[2])
    installation.copy_all()
    attempts = sorted(
        (snapshot["State"], tags_of(snapshot)["hikae:copy-attempt"]) for snapshot in installation.snapshots(RECOVERY)
    )
    assert attempts == [("completed", "2"), ("completed", "2"), ("error", "1"), ("error", "1")]


def test_a_copy_is_tried_again_ever_more_rarely_and_not_for_ever(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    key = installation.key_arn.rpartition("/")[2]
    installation.twin.client("kms", RECOVERY).disable_key(KeyId=key)
    began = installation.twin.clock.now()
    asked_after = []
    for _ in range(40):
        before = installation.twin.count("CopySnapshot")
        run = installation.copy()
        if installation.twin.count("CopySnapshot") > before:
            asked_after.append((installation.twin.clock.now() - began) // timedelta(minutes=1))
        installation.advance(minutes=15)
        assert all(outcome.status in ("failed", "created") for outcome in run.outcomes)
    assert asked_after == [0, 15, 45, 105, 225]
    assert installation.twin.count("CopySnapshot") == 10
    for outcome in run.outcomes:
        assert outcome.resource.startswith("snap-")
        assert "attempt 5, is error: Given key ID is not accessible" in outcome.reason
        assert "SourceKeyArns" in outcome.reason
        assert outcome.reason.endswith("there is no further attempt")


def test_a_failed_copy_is_reported_until_its_next_attempt_is_due(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    key = installation.key_arn.rpartition("/")[2]
    kms = installation.twin.client("kms", RECOVERY)
    kms.disable_key(KeyId=key)
    installation.copy()
    installation.advance(minutes=10)
    kms.enable_key(KeyId=key)
    run = installation.copy()
    assert [outcome.status for outcome in run.outcomes] == ["failed", "failed"]
    assert all("the next attempt is due at 2026-11-22T10:40:00" in outcome.reason for outcome in run.outcomes)
    installation.advance(minutes=5)
    assert [outcome.status for outcome in installation.copy().outcomes] == ["created", "created"]


def test_a_rule_that_copies_here_and_has_no_plan_here_is_named(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN, [SiteRole.PRIMARY])
    installation.back_up()
    run = installation.copy()
    assert run.wanted == 0
    [outcome] = run.outcomes
    assert (outcome.resource, outcome.status) == ("production/hourly", "failed")
    assert "no such plan and rule" in outcome.reason
    assert "has no plan production" in run.verdicts[0].reasons[0]


def test_a_point_without_its_manifest_is_not_copied(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    s3 = installation.twin.client("s3", PRIMARY)
    [key] = [
        entry["Key"]
        for entry in s3.list_objects_v2(Bucket=installation.primary.bucket, Prefix="manifests/")["Contents"]
    ]
    s3.delete_object(Bucket=installation.primary.bucket, Key=key)
    assert installation.copy().wanted == 0


def copied(installation: Installation, plan: str = SNAPSHOT_PLAN, tag: str = "production") -> None:
    installation.launch(tags={"Backup": tag})
    installation.apply("production" if tag == "production" else "web-images", plan)
    installation.back_up()
    installation.copy_all()


def test_a_copy_whose_tags_were_changed_is_not_copied_again_and_again(installation: Installation) -> None:
    copied(installation)
    ec2 = installation.twin.client("ec2", RECOVERY)
    [first, _] = installation.snapshots(RECOVERY)
    ec2.create_tags(Resources=[first["SnapshotId"]], Tags=[{"Key": "hikae:consistency", "Value": "application"}])
    for _ in range(4):
        run = installation.copy()
        installation.advance(minutes=30)
    assert installation.twin.count("CopySnapshot") == 2
    assert {outcome.status for outcome in run.outcomes} == {"failed"}
    assert all("cannot be accounted for" in outcome.reason for outcome in run.outcomes)


def test_a_manifest_that_was_lost_is_pulled_again(installation: Installation) -> None:
    copied(installation)
    s3 = installation.twin.client("s3", RECOVERY)
    bucket = installation.recovery.bucket
    [entry] = s3.list_objects_v2(Bucket=bucket, Prefix="manifests/")["Contents"]
    s3.delete_object(Bucket=bucket, Key=entry["Key"])
    assert installation.copy().wanted == 1
    assert installation.copy().wanted == 0
    assert s3.head_object(Bucket=bucket, Key=entry["Key"])
    assert installation.twin.count("CopySnapshot") == 2


def test_an_image_copy_that_somebody_deregistered_is_made_again(installation: Installation) -> None:
    copied(installation, IMAGE_PLAN, "image")
    [copy] = installation.images(RECOVERY)
    installation.twin.client("ec2", RECOVERY).deregister_image(ImageId=copy["ImageId"], DeleteAssociatedSnapshots=True)
    installation.advance(hours=1)
    installation.copy_all()
    [again] = installation.images(RECOVERY)
    assert again["State"] == "available"
    assert again["ImageId"] != copy["ImageId"]


def test_an_inventory_that_cannot_be_read_stops_no_copy_and_is_named(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    s3 = installation.twin.client("s3", PRIMARY)
    s3.put_object(
        Bucket=installation.primary.bucket, Key=f"inventory/123456789012/{PRIMARY}/latest.json", Body=b"not JSON"
    )
    run = installation.copy()
    statuses = {outcome.resource: outcome.status for outcome in run.outcomes}
    assert statuses.pop(f"123456789012/{PRIMARY} inventory") == "failed"
    assert list(statuses.values()) == ["created", "created"]


def test_a_primary_that_cannot_be_asked_stops_no_other_and_is_named(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    gone = Place(account=AccountId("123456789012"), region=Region("eu-west-1"))
    installation.recovery = replace(installation.recovery, primaries=(gone, *installation.recovery.primaries))
    run = installation.copy()
    assert [(run.outcomes[0].resource, run.outcomes[0].status)] == [("123456789012/eu-west-1", "failed")]
    assert [outcome.status for outcome in run.outcomes[1:]] == ["created", "created"]


def test_a_copy_that_ec2_does_not_show_is_in_flight_until_ec2_can_be_believed(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", SNAPSHOT_PLAN)
    installation.back_up()
    installation.copy()
    # Deleted behind the broker's back, they look like copies that EC2 does not show yet.
    ec2 = installation.twin.client("ec2", RECOVERY)
    for snapshot in installation.snapshots(RECOVERY):
        ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
    again = installation.copy()
    assert (again.outcomes, again.wanted, again.in_flight) == ((), 1, 2)
    installation.advance(minutes=11)
    assert [outcome.status for outcome in installation.copy().outcomes] == ["created", "created"]
