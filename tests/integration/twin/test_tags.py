"""CreateTags, DeleteTags, TagSpecifications: EC2 User Guide "Tag your Amazon EC2 resources", tag restrictions."""

import pytest


def tags(number, *, first=0):
    return [{"Key": f"key-{each}", "Value": "v"} for each in range(first, first + number)]


@pytest.mark.contract("tags")
@pytest.mark.parametrize("key", ["aws:mine", "AWS:mine", "k" * 129])
def test_a_key_that_is_reserved_or_too_long_is_refused(cloud, make_volume, refused, key):
    volume_id = make_volume(cloud)
    with refused("InvalidParameterValue"):
        cloud.client("ec2", "us-east-1").create_tags(Resources=[volume_id], Tags=[{"Key": key, "Value": "v"}])


@pytest.mark.contract("tags")
def test_a_value_of_more_than_256_characters_is_refused(cloud, make_volume, refused):
    ec2 = cloud.client("ec2", "us-east-1")
    volume_id = make_volume(cloud)
    ec2.create_tags(Resources=[volume_id], Tags=[{"Key": "k" * 128, "Value": "v" * 256}])
    with refused("InvalidParameterValue"):
        ec2.create_tags(Resources=[volume_id], Tags=[{"Key": "k", "Value": "v" * 257}])


@pytest.mark.contract("tags")
def test_fifty_tags_and_no_more(twin, make_volume, refused):
    ec2 = twin.client("ec2", "us-east-1")
    volume_id = make_volume(twin)
    ec2.create_tags(Resources=[volume_id], Tags=tags(50))
    ec2.create_tags(Resources=[volume_id], Tags=[{"Key": "key-0", "Value": "replaced"}])
    with refused("TagLimitExceeded"):
        ec2.create_tags(Resources=[volume_id], Tags=tags(1, first=50))
    assert len(ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["Tags"]) == 50


@pytest.mark.parametrize(
    ("key", "number", "code"),
    [("aws:mine", 1, "InvalidParameterValue"), ("k" * 129, 1, "InvalidParameterValue"), ("k", 51, "TagLimitExceeded")],
)
def test_a_create_call_with_a_bad_tag_creates_nothing(  # noqa: PLR0917 (three fixtures and three parameters)
    cloud, make_volume, refused, key, number, code
):
    ec2 = cloud.client("ec2", "us-east-1")
    volume_id = make_volume(cloud)
    specification = {"ResourceType": "snapshot", "Tags": [{"Key": key, "Value": "v"}, *tags(number - 1)]}
    with refused(code):
        ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=[specification])
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


@pytest.mark.contract("tags")
def test_a_create_call_tags_only_what_it_creates(cloud, make_volume, refused):
    ec2 = cloud.client("ec2", "us-east-1")
    volume_id = make_volume(cloud)
    with refused("InvalidParameterValue"):
        ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=[{"ResourceType": "volume", "Tags": tags(1)}])


def test_a_set_whose_volumes_have_too_many_tags_creates_nothing(cloud, launch, refused):
    ec2 = cloud.client("ec2", "us-east-1")
    instance = launch(cloud, data_volumes=1)
    volume_id = next(
        each["Ebs"]["VolumeId"] for each in instance["BlockDeviceMappings"] if each["DeviceName"] == "/dev/sdf"
    )
    ec2.create_tags(Resources=[volume_id], Tags=tags(50))
    with refused("TagLimitExceeded"):
        ec2.create_snapshots(
            InstanceSpecification={"InstanceId": instance["InstanceId"]},
            CopyTagsFromSource="volume",
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags(1, first=50)}],
        )
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


@pytest.mark.contract("tags")
def test_tags_go_with_their_snapshot(cloud, make_snapshot):
    ec2 = cloud.client("ec2", "us-east-1")
    snapshot_id = make_snapshot(cloud)
    ec2.create_tags(Resources=[snapshot_id], Tags=tags(2))
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    assert ec2.describe_tags()["Tags"] == []


def test_deleting_tags_minds_the_value_that_is_given(twin, make_volume):
    ec2 = twin.client("ec2", "us-east-1")
    volume_id = make_volume(twin)
    ec2.create_tags(Resources=[volume_id], Tags=tags(3))
    ec2.delete_tags(Resources=[volume_id], Tags=[{"Key": "key-0", "Value": "other"}, {"Key": "key-1", "Value": "v"}])
    ec2.delete_tags(Resources=[volume_id], Tags=[{"Key": "key-2"}])
    assert [each["Key"] for each in ec2.describe_tags()["Tags"]] == ["key-0"]


def test_tags_of_one_resource_can_be_asked_for(twin, make_volume):
    ec2 = twin.client("ec2", "us-east-1")
    one, other = make_volume(twin), make_volume(twin)
    for volume_id in (one, other):
        ec2.create_tags(Resources=[volume_id], Tags=tags(2))
    filters = [{"Name": "resource-id", "Values": [one]}, {"Name": "resource-type", "Values": ["volume"]}]
    found = ec2.describe_tags(Filters=filters)["Tags"]
    assert {(each["ResourceId"], each["Key"]) for each in found} == {(one, "key-0"), (one, "key-1")}


def test_the_snapshot_that_is_not_there_cannot_be_tagged(twin, refused):
    with refused("InvalidSnapshot.NotFound"):
        twin.client("ec2", "us-east-1").create_tags(Resources=["snap-0123456789abcdef0"], Tags=tags(1))
