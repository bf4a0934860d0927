"""Sharing between accounts, and what must not be shared: EBS User Guide, EC2 User Guide, EC2 API Reference."""

import json
from datetime import timedelta

import pytest

REGION, RECOVERY = "us-east-1", "us-west-2"
OTHER, STRANGER = "222222222222", "333333333333"


def ec2_of(cloud, account_id=None, region=REGION):
    return cloud.client("ec2", region, account_id=account_id)


def share_snapshot(cloud, snapshot_id, account_id=OTHER):
    ec2_of(cloud).modify_snapshot_attribute(
        SnapshotId=snapshot_id, CreateVolumePermission={"Add": [{"UserId": account_id}]}
    )


def share_image(cloud, image_id, account_id=OTHER):
    ec2_of(cloud).modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"UserId": account_id}]})


def make_key(cloud, *, shared_with=None):
    """A key whose policy lets its own account use it and, if asked for, another one."""
    accounts = ["123456789012", *([shared_with] if shared_with else [])]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": [f"arn:aws:iam::{each}:root" for each in accounts]},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
    return cloud.client("kms", REGION).create_key(Policy=json.dumps(policy))["KeyMetadata"]["Arn"]


@pytest.fixture
def image(launch, settle):
    """An available image of an instance with two volumes."""

    def image(cloud, *, name="orders"):
        instance_id = launch(cloud, data_volumes=1)["InstanceId"]
        image_id = ec2_of(cloud).create_image(InstanceId=instance_id, Name=name)["ImageId"]
        settle(cloud)
        return image_id

    return image


def snapshots_of(cloud, image_id):
    [image] = ec2_of(cloud).describe_images(ImageIds=[image_id])["Images"]
    return [each["Ebs"]["SnapshotId"] for each in image["BlockDeviceMappings"]]


# --- snapshots --------------------------------------------------------------------------------------------------------


@pytest.mark.contract("accounts")
def test_accounts_see_nothing_of_each_other_unless_it_is_shared(twin, make_snapshot, refused):
    snapshot_id = make_snapshot(twin)
    assert ec2_of(twin, OTHER).describe_snapshots()["Snapshots"] == []
    with refused("InvalidSnapshot.NotFound"):
        ec2_of(twin, OTHER).describe_snapshots(SnapshotIds=[snapshot_id])
    for make in (
        lambda ec2: ec2.create_volume(AvailabilityZone=f"{REGION}a", SnapshotId=snapshot_id),
        lambda ec2: ec2.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=snapshot_id),
        lambda ec2: ec2.delete_snapshot(SnapshotId=snapshot_id),
    ):
        with refused("InvalidSnapshot.NotFound"):
            make(ec2_of(twin, OTHER))


@pytest.mark.contract("snapshot_sharing")
def test_a_shared_snapshot_is_seen_by_the_account_it_is_shared_with_without_its_tags(cloud, make_snapshot, refused):
    snapshot_id = make_snapshot(cloud)
    ec2_of(cloud).create_tags(Resources=[snapshot_id], Tags=[{"Key": "team", "Value": "web"}])
    share_snapshot(cloud, snapshot_id)
    [seen] = ec2_of(cloud, OTHER).describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert (seen["OwnerId"], seen.get("Tags", [])) == ("123456789012", [])
    assert ec2_of(cloud, OTHER).describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert len(ec2_of(cloud, OTHER).describe_snapshots(RestorableByUserIds=["self"])["Snapshots"]) == 1
    with refused("InvalidSnapshot.NotFound"):
        ec2_of(cloud, STRANGER).describe_snapshots(SnapshotIds=[snapshot_id])


@pytest.mark.contract("snapshot_sharing")
@pytest.mark.parametrize("way", ["a copy", "a volume"])
def test_a_shared_snapshot_gives_its_bytes_to_the_other_account(cloud, make_volume, settle, way):
    volume_id = make_volume(cloud)
    snapshot_id = ec2_of(cloud).create_snapshot(VolumeId=volume_id)["SnapshotId"]
    settle(cloud)
    share_snapshot(cloud, snapshot_id)
    other = ec2_of(cloud, OTHER)
    if way == "a copy":
        made = ec2_of(cloud, OTHER, RECOVERY).copy_snapshot(SourceRegion=REGION, SourceSnapshotId=snapshot_id)
        found = cloud.backend(RECOVERY, account_id=OTHER).get_snapshot(made["SnapshotId"])
        assert found.owner_id == OTHER
    else:
        made = other.create_volume(AvailabilityZone=f"{REGION}a", SnapshotId=snapshot_id)
        found = cloud.backend(REGION, account_id=OTHER).get_volume(made["VolumeId"])
    assert found.content.digest == cloud.digest_of(volume_id)
    assert found.lineage[:2] == (f"{REGION}/{volume_id}", f"{REGION}/{snapshot_id}")


def test_a_snapshot_is_shared_in_its_own_region_only(twin, make_snapshot, refused):
    snapshot_id = make_snapshot(twin)
    share_snapshot(twin, snapshot_id)
    with refused("InvalidSnapshot.NotFound"):
        ec2_of(twin, OTHER, RECOVERY).describe_snapshots(SnapshotIds=[snapshot_id])


def test_whom_it_is_shared_with_may_neither_delete_nor_share_nor_lock_it(cloud, make_snapshot, refused):
    snapshot_id = make_snapshot(cloud)
    share_snapshot(cloud, snapshot_id)
    other = ec2_of(cloud, OTHER)
    for change in (
        lambda: other.delete_snapshot(SnapshotId=snapshot_id),
        lambda: other.lock_snapshot(SnapshotId=snapshot_id, LockMode="governance", LockDuration=1),
        lambda: other.modify_snapshot_attribute(
            SnapshotId=snapshot_id, OperationType="add", UserIds=[STRANGER], Attribute="createVolumePermission"
        ),
        lambda: other.describe_snapshot_attribute(SnapshotId=snapshot_id, Attribute="createVolumePermission"),
    ):
        with refused("AuthFailure"):
            change()


def test_a_permission_that_is_taken_back_is_gone(twin, make_snapshot, refused):
    snapshot_id, ec2 = make_snapshot(twin), ec2_of(twin)
    share_snapshot(twin, snapshot_id)
    share_snapshot(twin, snapshot_id, STRANGER)
    ec2.modify_snapshot_attribute(SnapshotId=snapshot_id, OperationType="remove", UserIds=[OTHER])
    with refused("InvalidSnapshot.NotFound"):
        ec2_of(twin, OTHER).describe_snapshots(SnapshotIds=[snapshot_id])
    attribute = {"SnapshotId": snapshot_id, "Attribute": "createVolumePermission"}
    assert ec2.describe_snapshot_attribute(**attribute)["CreateVolumePermissions"] == [{"UserId": STRANGER}]
    ec2.reset_snapshot_attribute(**attribute)
    assert ec2.describe_snapshot_attribute(**attribute)["CreateVolumePermissions"] == []


@pytest.mark.contract("snapshot_sharing")
def test_both_forms_of_the_request_mean_the_same(cloud, make_snapshot):
    nested, flat = make_snapshot(cloud), make_snapshot(cloud)
    share_snapshot(cloud, nested)
    ec2_of(cloud).modify_snapshot_attribute(SnapshotId=flat, OperationType="add", UserIds=[OTHER])
    told = [
        ec2_of(cloud).describe_snapshot_attribute(SnapshotId=each, Attribute="createVolumePermission")
        for each in (nested, flat)
    ]
    assert [each["CreateVolumePermissions"] for each in told] == [[{"UserId": OTHER}]] * 2


@pytest.mark.contract("snapshot_sharing")
@pytest.mark.parametrize("permission", [{"UserId": "xx"}, {"UserId": "1234"}, {"Group": "everyone"}])
def test_an_account_or_group_that_is_none_is_refused(cloud, make_snapshot, refused, permission):
    with refused("InvalidAMIAttributeItemValue"):
        ec2_of(cloud).modify_snapshot_attribute(
            SnapshotId=make_snapshot(cloud), CreateVolumePermission={"Add": [permission]}
        )


@pytest.mark.contract("snapshot_sharing")
@pytest.mark.parametrize("permission", [{"UserId": OTHER}, {"Group": "all"}])
def test_what_is_encrypted_under_the_default_key_cannot_be_shared(cloud, make_snapshot, refused, permission):
    snapshot_id = make_snapshot(cloud, Encrypted=True)
    with refused("OperationNotPermitted"):
        ec2_of(cloud).modify_snapshot_attribute(SnapshotId=snapshot_id, CreateVolumePermission={"Add": [permission]})


@pytest.mark.contract("snapshot_sharing")
def test_what_is_encrypted_cannot_be_public(cloud, make_snapshot, refused):
    snapshot_id = make_snapshot(cloud, Encrypted=True, KmsKeyId=make_key(cloud))
    with refused("OperationNotPermitted"):
        ec2_of(cloud).modify_snapshot_attribute(
            SnapshotId=snapshot_id, CreateVolumePermission={"Add": [{"Group": "all"}]}
        )


@pytest.mark.contract("snapshot_sharing")
@pytest.mark.parametrize("is_key_shared", [True, False])
@pytest.mark.parametrize("way", ["a copy", "a volume"])
def test_an_encrypted_snapshot_is_of_use_only_together_with_its_key(cloud, make_snapshot, settle, is_key_shared, way):
    key = make_key(cloud, shared_with=OTHER if is_key_shared else None)
    snapshot_id = make_snapshot(cloud, Encrypted=True, KmsKeyId=key)
    share_snapshot(cloud, snapshot_id)
    other = ec2_of(cloud, OTHER)
    if way == "a copy":
        copy_id = other.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=snapshot_id)["SnapshotId"]
        settle(cloud)
        [made] = other.describe_snapshots(SnapshotIds=[copy_id])["Snapshots"]
    else:
        request = {"AvailabilityZone": f"{REGION}a", "SnapshotId": snapshot_id}
        volume_id = other.create_volume(**request)["VolumeId"]
        settle(cloud)
        [made] = other.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    assert (made["State"] != "error") == is_key_shared
    assert made["KmsKeyId"].startswith(f"arn:aws:kms:{REGION}:{OTHER}:"), "under the other account's own default key"


@pytest.mark.contract("snapshot_sharing", "eventbridge")
def test_sharing_is_told_to_the_account_that_receives(cloud, make_snapshot):
    snapshot_id = make_snapshot(cloud)
    share_snapshot(cloud, snapshot_id)
    event = cloud.events[-1]
    assert (event["account"], event["detail"]["event"]) == (OTHER, "shareSnapshot")
    assert event["detail"]["snapshot_id"].endswith(f"snapshot/{snapshot_id}")
    count = len(cloud.events)
    share_snapshot(cloud, snapshot_id)
    assert len(cloud.events) == count, "it was shared already"


@pytest.mark.contract("archive_tier")
def test_archiving_ends_sharing(cloud, make_snapshot, refused):
    snapshot_id = make_snapshot(cloud)
    share_snapshot(cloud, snapshot_id)
    ec2_of(cloud).modify_snapshot_tier(SnapshotId=snapshot_id, StorageTier="archive")
    with refused("InvalidSnapshot.NotFound"):
        ec2_of(cloud, OTHER).describe_snapshots(SnapshotIds=[snapshot_id])
    cloud.clock.advance(timedelta(hours=1))
    with refused("IncorrectState"):
        share_snapshot(cloud, snapshot_id)


@pytest.mark.contract("block_public_access")
@pytest.mark.parametrize(("state", "stays_public"), [("block-new-sharing", True), ("block-all-sharing", False)])
def test_blocked_public_access_refuses_new_sharing_and_may_hide_what_is_public(
    cloud, make_snapshot, refused, state, stays_public
):
    ec2, public, other = ec2_of(cloud), make_snapshot(cloud), make_snapshot(cloud)
    to_all = {"Attribute": "createVolumePermission", "OperationType": "add", "GroupNames": ["all"]}
    assert ec2.get_snapshot_block_public_access_state()["State"] == "unblocked"
    ec2.modify_snapshot_attribute(SnapshotId=public, **to_all)
    ec2.enable_snapshot_block_public_access(State=state)
    with refused("OperationNotPermitted"):
        ec2.modify_snapshot_attribute(SnapshotId=other, **to_all)
    seen = [each["SnapshotId"] for each in ec2_of(cloud, STRANGER).describe_snapshots()["Snapshots"]]
    assert seen == ([public] if stays_public else [])
    told = ec2.describe_snapshot_attribute(SnapshotId=public, Attribute="createVolumePermission")
    assert told["CreateVolumePermissions"] == [{"Group": "all"}], "blocking changes no permission"
    ec2.disable_snapshot_block_public_access()
    assert len(ec2_of(cloud, STRANGER).describe_snapshots()["Snapshots"]) == 1


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("image_sharing")
def test_a_shared_image_is_seen_and_launched_by_the_account_it_is_shared_with(cloud, image, refused, settle):
    image_id, other = image(cloud), ec2_of(cloud, OTHER)
    with refused("InvalidAMIID.NotFound"):
        other.describe_images(ImageIds=[image_id])
    share_image(cloud, image_id)
    [seen] = other.describe_images(ImageIds=[image_id])["Images"]
    assert (seen["OwnerId"], seen.get("Tags", []), seen["Public"]) == ("123456789012", [], False)
    assert other.describe_images(Owners=["self"])["Images"] == []
    assert [each["ImageId"] for each in other.describe_images(ExecutableUsers=["self"])["Images"]] == [image_id]
    launched = other.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.micro")["Instances"][0]
    settle(cloud)
    backend = cloud.backend(REGION, account_id=OTHER)
    volumes = backend.volumes_of(backend.get_instance(launched["InstanceId"])).values()
    source = {cloud.digest_of(each) for each in snapshots_of(cloud, image_id)}
    assert {volume.content.digest for volume in volumes} == source


def test_whom_an_image_is_shared_with_may_not_change_it(twin, image, refused):
    image_id, other = image(twin), ec2_of(twin, OTHER)
    share_image(twin, image_id)
    for change in (
        lambda: other.deregister_image(ImageId=image_id),
        lambda: other.modify_image_attribute(ImageId=image_id, Description={"Value": "mine"}),
        lambda: other.disable_image(ImageId=image_id),
        lambda: other.enable_image_deregistration_protection(ImageId=image_id),
    ):
        with refused("AuthFailure"):
            change()


@pytest.mark.contract("image_sharing")
def test_a_shared_image_can_be_copied_only_together_with_its_snapshots(cloud, image, refused, settle):
    image_id = image(cloud)
    share_image(cloud, image_id)
    other = ec2_of(cloud, OTHER, RECOVERY)
    request = {"SourceRegion": REGION, "SourceImageId": image_id, "Name": "theirs"}
    with refused("InvalidRequest"):
        other.copy_image(**request)
    for snapshot_id in snapshots_of(cloud, image_id):
        share_snapshot(cloud, snapshot_id)
    copy_id = other.copy_image(**request)["ImageId"]
    settle(cloud)
    [copied] = other.describe_images(ImageIds=[copy_id])["Images"]
    assert (copied["State"], copied["OwnerId"]) == ("available", OTHER)


def test_launch_permissions_are_told_and_taken_back_and_not_copied(twin, image, refused):
    image_id, ec2 = image(twin), ec2_of(twin)
    share_image(twin, image_id)
    attribute = {"ImageId": image_id, "Attribute": "launchPermission"}
    assert ec2.describe_image_attribute(**attribute)["LaunchPermissions"] == [{"UserId": OTHER}]
    copy_id = ec2.copy_image(SourceRegion=REGION, SourceImageId=image_id, Name="copy")["ImageId"]
    copied = ec2.describe_image_attribute(ImageId=copy_id, Attribute="launchPermission")
    assert copied["LaunchPermissions"] == []
    ec2.reset_image_attribute(**attribute)
    with refused("InvalidAMIID.NotFound"):
        ec2_of(twin, OTHER).describe_images(ImageIds=[image_id])


@pytest.mark.contract("image_sharing")
@pytest.mark.parametrize("form", [{"Description": {"Value": "new"}}, {"Attribute": "description", "Value": "new"}])
def test_the_description_of_an_image_can_be_changed(cloud, image, form):
    image_id, ec2 = image(cloud), ec2_of(cloud)
    ec2.modify_image_attribute(ImageId=image_id, **form)
    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["Description"] == "new"


@pytest.mark.parametrize("permission", [{"UserId": "xx"}, {"Group": "everyone"}])
def test_an_image_is_shared_with_accounts_and_all_only(twin, image, refused, permission):
    with refused("InvalidAMIAttributeItemValue"):
        ec2_of(twin).modify_image_attribute(ImageId=image(twin), LaunchPermission={"Add": [permission]})


@pytest.mark.contract("image_sharing")
def test_an_image_whose_snapshots_are_under_the_default_key_cannot_be_shared(cloud, launch, settle, refused):
    ec2 = ec2_of(cloud)
    ec2.enable_ebs_encryption_by_default()
    image_id = ec2.create_image(InstanceId=launch(cloud)["InstanceId"], Name="encrypted")["ImageId"]
    settle(cloud)
    with refused("InvalidParameter"):
        share_image(cloud, image_id)


@pytest.mark.contract("block_public_access", "image_sharing")
def test_images_cannot_be_public_before_their_block_is_lifted(cloud, image, refused):
    image_id, ec2 = image(cloud), ec2_of(cloud)
    to_all = {"ImageId": image_id, "LaunchPermission": {"Add": [{"Group": "all"}]}}
    assert ec2.get_image_block_public_access_state()["ImageBlockPublicAccessState"] == "block-new-sharing"
    with refused("OperationNotPermitted"):
        ec2.modify_image_attribute(**to_all)
    ec2.disable_image_block_public_access()
    ec2.modify_image_attribute(**to_all)
    assert ec2_of(cloud, STRANGER).describe_images(ImageIds=[image_id])["Images"][0]["Public"]


@pytest.mark.contract("block_public_access")
def test_blocking_public_images_takes_up_to_ten_minutes_and_hides_none(twin, image):
    image_id, ec2 = image(twin), ec2_of(twin)
    ec2.disable_image_block_public_access()
    ec2.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"Group": "all"}]})
    ec2.enable_image_block_public_access(ImageBlockPublicAccessState="block-new-sharing")
    assert ec2.get_image_block_public_access_state()["ImageBlockPublicAccessState"] == "unblocked"
    twin.clock.advance(timedelta(minutes=10))
    assert ec2.get_image_block_public_access_state()["ImageBlockPublicAccessState"] == "block-new-sharing"
    assert ec2_of(twin, STRANGER).describe_images(ImageIds=[image_id])["Images"][0]["Public"]


def test_sharing_with_an_organization_is_refused_rather_than_forgotten(twin, image, refused):
    arn = "arn:aws:organizations::123456789012:organization/o-123example"
    with refused("UnsupportedOperation"):
        ec2_of(twin).modify_image_attribute(ImageId=image(twin), LaunchPermission={"Add": [{"OrganizationArn": arn}]})


@pytest.mark.contract("deprecation")
def test_a_deprecated_image_is_hidden_from_others_unless_it_is_asked_for_and_still_launches(cloud, image):
    """EC2 User Guide, "Deprecate an Amazon EC2 AMI"."""
    image_id, ec2, other = image(cloud), ec2_of(cloud), ec2_of(cloud, OTHER)
    share_image(cloud, image_id)
    at = cloud.clock.now() + timedelta(hours=1)
    ec2.enable_image_deprecation(ImageId=image_id, DeprecateAt=at)
    own = [{"Name": "owner-id", "Values": ["123456789012"]}]
    assert len(other.describe_images(Filters=own)["Images"]) == 1
    cloud.clock.advance(timedelta(hours=1))
    assert other.describe_images(Filters=own)["Images"] == []
    assert len(other.describe_images(Filters=own, IncludeDeprecated=True)["Images"]) == 1
    assert len(other.describe_images(ImageIds=[image_id])["Images"]) == 1
    [told] = ec2.describe_images(Owners=["self"])["Images"]
    assert told["DeprecationTime"] == at.strftime("%Y-%m-%dT%H:%M:00.000Z")
    other.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    ec2.disable_image_deprecation(ImageId=image_id)
    assert len(other.describe_images(Filters=own)["Images"]) == 1


@pytest.mark.contract("deprecation")
@pytest.mark.parametrize("ahead", [timedelta(days=-1), timedelta(days=3660)])
def test_an_image_is_deprecated_neither_in_the_past_nor_in_more_than_ten_years(cloud, image, refused, ahead):
    with refused("InvalidParameterValue"):
        ec2_of(cloud).enable_image_deprecation(ImageId=image(cloud), DeprecateAt=cloud.clock.now() + ahead)
