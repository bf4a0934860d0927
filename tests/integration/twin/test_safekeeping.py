"""Locks, tiers, protection and the Recycle Bin on the twin: EBS User Guide, EC2 User Guide, botocore's models."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

REGION = "us-east-1"


@pytest.fixture
def image(launch: Callable[..., dict[str, Any]], settle: Callable[[Any], None]) -> Callable[..., str]:
    """An available image of an instance with two volumes."""

    def image(cloud: Any, *, name: str = "orders") -> str:
        instance_id = launch(cloud, data_volumes=1)["InstanceId"]
        image_id = cloud.client("ec2", REGION).create_image(InstanceId=instance_id, Name=name)["ImageId"]
        settle(cloud)
        return image_id

    return image


def snapshots_of(ec2: Any, image_id: str) -> list[str]:
    [image] = ec2.describe_images(ImageIds=[image_id], IncludeDisabled=True)["Images"]
    return [each["Ebs"]["SnapshotId"] for each in image["BlockDeviceMappings"]]


def own_snapshots(ec2: Any) -> set[str]:
    return {each["SnapshotId"] for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}


# --- locks ------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("lock")
def test_a_locked_snapshot_is_listed_and_cannot_be_deleted_until_it_is_unlocked(cloud, make_snapshot, refused):
    ec2, snapshot_id = cloud.client("ec2", REGION), make_snapshot(cloud)
    assert ec2.describe_locked_snapshots()["Snapshots"] == []
    ec2.lock_snapshot(SnapshotId=snapshot_id, LockMode="governance", LockDuration=7)
    [locked] = ec2.describe_locked_snapshots()["Snapshots"]
    assert (locked["SnapshotId"], locked["LockState"]) == (snapshot_id, "governance")
    assert locked["LockExpiresOn"] - locked["LockCreatedOn"] == timedelta(days=7)
    with refused("OperationNotPermitted"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    ec2.unlock_snapshot(SnapshotId=snapshot_id)
    ec2.delete_snapshot(SnapshotId=snapshot_id)


@pytest.mark.contract("lock")
def test_nobody_lifts_a_compliance_lock_after_its_cooling_off_period(twin, make_snapshot, refused):
    ec2, snapshot_id = twin.client("ec2", REGION), make_snapshot(twin)
    ec2.lock_snapshot(SnapshotId=snapshot_id, LockMode="compliance", LockDuration=1, CoolOffPeriod=1)
    [cooling_off] = ec2.describe_locked_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert cooling_off["LockState"] == "compliance-cooloff"
    twin.clock.advance(timedelta(hours=2))
    with refused("OperationNotPermitted"):
        ec2.unlock_snapshot(SnapshotId=snapshot_id)
    twin.clock.advance(timedelta(days=1))
    [expired] = ec2.describe_locked_snapshots()["Snapshots"]
    assert expired["LockState"] == "expired"
    ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_a_locked_snapshot_stays_when_its_image_is_deregistered_with_its_snapshots(cloud, image):
    ec2, image_id = cloud.client("ec2", REGION), image(cloud)
    locked, free = snapshots_of(ec2, image_id)
    ec2.lock_snapshot(SnapshotId=locked, LockMode="governance", LockDuration=7)
    results = ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
    assert {each["SnapshotId"]: each["ReturnCode"] for each in results} == {locked: "client-error", free: "success"}
    assert own_snapshots(ec2) == {locked}


# --- tiers ------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("archive_tier")
def test_an_archived_snapshot_cannot_be_copied_until_it_is_restored(twin, make_snapshot, refused):
    ec2, snapshot_id = twin.client("ec2", REGION), make_snapshot(twin)
    ec2.modify_snapshot_tier(SnapshotId=snapshot_id, StorageTier="archive")
    [moving] = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert moving["StorageTier"] == "standard", "archiving takes a while"
    twin.clock.advance(timedelta(hours=1))
    [archived] = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert (archived["StorageTier"], archived["State"]) == ("archive", "completed")
    request = {"SourceRegion": REGION, "SourceSnapshotId": snapshot_id}
    with refused("IncorrectState"):
        twin.client("ec2", "us-west-2").copy_snapshot(**request)
    ec2.restore_snapshot_tier(SnapshotId=snapshot_id, PermanentRestore=True)
    twin.clock.advance(timedelta(hours=72))
    twin.client("ec2", "us-west-2").copy_snapshot(**request)


@pytest.mark.contract("archive_tier", "eventbridge")
def test_a_snapshot_is_restored_for_good_after_three_days_or_for_some_days_only(cloud, make_snapshot, refused):
    ec2, snapshot_id = cloud.client("ec2", REGION), make_snapshot(cloud)
    ec2.modify_snapshot_tier(SnapshotId=snapshot_id, StorageTier="archive")
    with refused("IncorrectState"):
        ec2.restore_snapshot_tier(SnapshotId=snapshot_id, TemporaryRestoreDays=2)
    cloud.clock.advance(timedelta(hours=1))

    def status():
        wanted = [{"Name": "snapshot-id", "Values": [snapshot_id]}]
        [found] = ec2.describe_snapshot_tier_status(Filters=wanted)["SnapshotTierStatuses"]
        return found["StorageTier"], found["LastTieringOperationStatus"]

    def make_volume():
        ec2.create_volume(AvailabilityZone=f"{REGION}a", SnapshotId=snapshot_id)

    assert status() == ("archive", "archival-completed")
    with refused("InvalidParameterValue"):
        ec2.restore_snapshot_tier(SnapshotId=snapshot_id, TemporaryRestoreDays=181)
    assert ec2.restore_snapshot_tier(SnapshotId=snapshot_id, TemporaryRestoreDays=2)["RestoreDuration"] == 2
    cloud.clock.advance(timedelta(hours=71))
    assert status() == ("archive", "temporary-restore-in-progress")
    with refused("IncorrectState"):
        make_volume()
    cloud.clock.advance(timedelta(hours=1))
    assert status() == ("archive", "temporary-restore-completed")
    make_volume()
    cloud.clock.advance(timedelta(days=2))
    with refused("IncorrectState"):
        make_volume()
    ec2.restore_snapshot_tier(SnapshotId=snapshot_id, PermanentRestore=True)
    cloud.clock.advance(timedelta(hours=72))
    assert status() == ("standard", "permanent-restore-completed")
    told = [each["detail"]["event"] for each in cloud.events if each["detail-type"] == "EBS Snapshot Notification"]
    assert told == [
        "createSnapshot",
        "archiveSnapshot",
        "temporaryRestoreSnapshot",
        "restoreExpiry",
        "permanentRestoreSnapshot",
    ]


def test_a_lock_may_be_given_a_date(twin, make_snapshot):
    ec2, snapshot_id = twin.client("ec2", REGION), make_snapshot(twin)
    until = twin.clock.now() + timedelta(days=3)
    ec2.lock_snapshot(SnapshotId=snapshot_id, LockMode="governance", ExpirationDate=until)
    [locked] = ec2.describe_locked_snapshots()["Snapshots"]
    assert locked["LockExpiresOn"] == until


@pytest.mark.contract("lock", "eventbridge")
def test_locking_and_the_end_of_a_lock_are_told(cloud, make_snapshot):
    ec2, snapshot_id = cloud.client("ec2", REGION), make_snapshot(cloud)
    ec2.lock_snapshot(SnapshotId=snapshot_id, LockMode="compliance", LockDuration=1, CoolOffPeriod=1)
    cloud.clock.advance(timedelta(days=2))
    told = [(each["detail"]["event"], each["detail"].get("lockState")) for each in cloud.events[-3:]]
    assert told == [
        ("lockSnapshot", "compliance-cooloff"),
        ("cooloffperiodExpiry", "compliance"),
        ("lockDurationExpiry", "expired"),
    ]


def test_disabling_and_enabling_an_image_are_told(twin, image):
    ec2, image_id = twin.client("ec2", REGION), image(twin)
    ec2.disable_image(ImageId=image_id)
    ec2.enable_image(ImageId=image_id)
    assert [each["detail"]["State"] for each in twin.events[-2:]] == ["disabled", "available"]


def test_the_snapshot_of_an_image_is_archived_only_once_the_image_is_disabled(twin, image, refused):
    ec2, image_id = twin.client("ec2", REGION), image(twin)
    snapshot_id = snapshots_of(ec2, image_id)[0]
    with refused("InvalidSnapshot.InUse"):
        ec2.modify_snapshot_tier(SnapshotId=snapshot_id, StorageTier="archive")
    ec2.disable_image(ImageId=image_id)
    ec2.modify_snapshot_tier(SnapshotId=snapshot_id, StorageTier="archive")


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("disable_image")
def test_a_disabled_image_is_hidden_unless_asked_for_cannot_be_launched_and_needs_its_snapshots(cloud, image, refused):
    ec2, image_id = cloud.client("ec2", REGION), image(cloud)
    ec2.disable_image(ImageId=image_id)
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    [disabled] = ec2.describe_images(Owners=["self"], IncludeDisabled=True)["Images"]
    assert disabled["State"] == "disabled"
    with refused("InvalidAMIID.Unavailable"):
        ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    with refused("InvalidSnapshot.InUse"):
        ec2.delete_snapshot(SnapshotId=snapshots_of(ec2, image_id)[0])
    ec2.enable_image(ImageId=image_id)
    assert ec2.describe_images(Owners=["self"])["Images"][0]["State"] == "available"


@pytest.mark.contract("deregistration_protection")
def test_a_protected_image_cannot_be_deregistered(cloud, image, refused):
    ec2, image_id = cloud.client("ec2", REGION), image(cloud)
    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["DeregistrationProtection"] == "disabled"
    ec2.enable_image_deregistration_protection(ImageId=image_id)
    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["DeregistrationProtection"] != "disabled"
    with refused("OperationNotPermitted"):
        ec2.deregister_image(ImageId=image_id)
    ec2.disable_image_deregistration_protection(ImageId=image_id)
    ec2.deregister_image(ImageId=image_id)


@pytest.mark.contract("deregistration_protection")
def test_with_a_cooldown_protection_lasts_a_day_longer(twin, image, refused):
    ec2, image_id = twin.client("ec2", REGION), image(twin)
    ec2.enable_image_deregistration_protection(ImageId=image_id, WithCooldown=True)
    ec2.disable_image_deregistration_protection(ImageId=image_id)
    with refused("OperationNotPermitted"):
        ec2.deregister_image(ImageId=image_id)
    twin.clock.advance(timedelta(hours=24))
    ec2.deregister_image(ImageId=image_id)


# --- the Recycle Bin --------------------------------------------------------------------------------------------------

DAYS = {"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"}


@pytest.mark.contract("recycle_bin")
def test_a_rule_is_listed_described_and_deleted(twin):
    rbin = twin.client("rbin", REGION)
    assert rbin.list_rules(ResourceType="EBS_SNAPSHOT")["Rules"] == []
    made = rbin.create_rule(
        RetentionPeriod=DAYS,
        ResourceType="EBS_SNAPSHOT",
        ResourceTags=[{"ResourceTagKey": "Team", "ResourceTagValue": "web"}],
    )
    [listed] = rbin.list_rules(ResourceType="EBS_SNAPSHOT")["Rules"]
    assert (listed["Identifier"], listed["RetentionPeriod"]) == (made["Identifier"], DAYS)
    assert rbin.list_rules(ResourceType="EC2_IMAGE")["Rules"] == []
    assert twin.client("rbin", "us-west-2").list_rules(ResourceType="EBS_SNAPSHOT")["Rules"] == []
    rule = rbin.get_rule(Identifier=made["Identifier"])
    assert (rule["Status"], rule["ResourceTags"][0]["ResourceTagKey"]) == ("pending", "Team")
    twin.clock.advance(timedelta(minutes=30))
    assert rbin.get_rule(Identifier=made["Identifier"])["Status"] == "available"
    rbin.delete_rule(Identifier=made["Identifier"])
    with pytest.raises(rbin.exceptions.ResourceNotFoundException):
        rbin.get_rule(Identifier=made["Identifier"])


@pytest.mark.contract("recycle_bin")
def test_what_a_rule_covers_can_be_brought_back_as_long_as_it_says(cloud, make_snapshot, refused):
    ec2, rbin = cloud.client("ec2", REGION), cloud.client("rbin", REGION)
    early = make_snapshot(cloud)
    rbin.create_rule(RetentionPeriod=DAYS, ResourceType="EBS_SNAPSHOT")
    ec2.delete_snapshot(SnapshotId=early)
    assert ec2.list_snapshots_in_recycle_bin()["Snapshots"] == [], "the rule is not in force yet"
    covered = make_snapshot(cloud)
    ec2.create_tags(Resources=[covered], Tags=[{"Key": "Team", "Value": "web"}])
    cloud.clock.advance(timedelta(minutes=30))
    ec2.delete_snapshot(SnapshotId=covered)
    assert own_snapshots(ec2) == set()
    assert [each["SnapshotId"] for each in ec2.list_snapshots_in_recycle_bin()["Snapshots"]] == [covered]
    ec2.restore_snapshot_from_recycle_bin(SnapshotId=covered)
    assert ec2.describe_snapshots(SnapshotIds=[covered])["Snapshots"][0]["Tags"] == [{"Key": "Team", "Value": "web"}]
    ec2.delete_snapshot(SnapshotId=covered)
    cloud.clock.advance(timedelta(days=8))
    with refused("InvalidSnapshot.NotFound"):
        ec2.restore_snapshot_from_recycle_bin(SnapshotId=covered)


@pytest.mark.parametrize(("team", "is_covered"), [("web", True), ("db", False)])
@pytest.mark.parametrize("kind", ["named", "excluded"])
def test_tags_decide_what_a_rule_covers(twin, make_snapshot, team, is_covered, kind):
    ec2, snapshot_id = twin.client("ec2", REGION), make_snapshot(twin)
    ec2.create_tags(Resources=[snapshot_id], Tags=[{"Key": "Team", "Value": "web"}])
    tags = [{"ResourceTagKey": "Team", "ResourceTagValue": team}]
    more = {"ResourceTags": tags} if kind == "named" else {"ExcludeResourceTags": tags}
    twin.client("rbin", REGION).create_rule(RetentionPeriod=DAYS, ResourceType="EBS_SNAPSHOT", **more)
    twin.clock.advance(timedelta(minutes=30))
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    retained = [each["SnapshotId"] for each in ec2.list_snapshots_in_recycle_bin()["Snapshots"]]
    assert (retained == [snapshot_id]) == (is_covered == (kind == "named"))


def test_an_image_comes_back_only_with_its_snapshots(twin, image, refused):
    ec2, rbin, image_id = twin.client("ec2", REGION), twin.client("rbin", REGION), image(twin)
    for kind in ("EBS_SNAPSHOT", "EC2_IMAGE"):
        rbin.create_rule(RetentionPeriod=DAYS, ResourceType=kind)
    twin.clock.advance(timedelta(minutes=30))
    members = snapshots_of(ec2, image_id)
    ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)
    assert [each["ImageId"] for each in ec2.list_images_in_recycle_bin()["Images"]] == [image_id]
    with refused("InvalidSnapshot.NotFound"):
        ec2.restore_image_from_recycle_bin(ImageId=image_id)
    for member in members:
        ec2.restore_snapshot_from_recycle_bin(SnapshotId=member)
    ec2.restore_image_from_recycle_bin(ImageId=image_id)
    assert snapshots_of(ec2, image_id) == members


# --- launch templates -------------------------------------------------------------------------------------------------


@pytest.mark.contract("launch_templates")
def test_launch_templates_and_their_versions_come_in_pages(cloud):
    ec2 = cloud.client("ec2", REGION)
    for number in range(12):
        ec2.create_launch_template(LaunchTemplateName=f"t-{number}", LaunchTemplateData={"ImageId": "ami-12345678"})
    for number in range(11):
        ec2.create_launch_template_version(LaunchTemplateName="t-0", LaunchTemplateData={"ImageId": f"ami-{number:08}"})
    pages = list(ec2.get_paginator("describe_launch_templates").paginate(PaginationConfig={"PageSize": 5}))
    assert sum(len(page["LaunchTemplates"]) for page in pages) == 12
    assert all(len(page["LaunchTemplates"]) <= 5 for page in pages)
    versions = ec2.get_paginator("describe_launch_template_versions").paginate(
        LaunchTemplateName="t-0", PaginationConfig={"PageSize": 5}
    )
    numbers = [version["VersionNumber"] for page in versions for version in page["LaunchTemplateVersions"]]
    assert sorted(numbers) == list(range(1, 13))


# --- for tests --------------------------------------------------------------------------------------------------------


def test_a_deletion_can_be_made_to_fail(twin, image, refused):
    ec2, image_id = twin.client("ec2", REGION), image(twin)
    failing, free = snapshots_of(ec2, image_id)
    twin.backend(REGION).refuse_to_delete(failing)
    results = ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
    assert {each["SnapshotId"]: each["ReturnCode"] for each in results} == {failing: "internal-error", free: "success"}
    with refused("InternalError"):
        ec2.delete_snapshot(SnapshotId=failing)
    twin.backend(REGION).refuse_to_delete(failing, code=None)
    ec2.delete_snapshot(SnapshotId=failing)
