"""Paging, filters, owners and dry runs: EC2 User Guide "Find your Amazon EC2 resources", API Reference "Pagination"."""

from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

STRANGER = "999999999999"
YEAR_AGO = datetime(2025, 11, 22, 10, 0, tzinfo=UTC)


def tag_specifications(kind, **tags):
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def make_volumes(ec2, number):
    return [ec2.create_volume(AvailabilityZone="us-east-1a", Size=1 + each)["VolumeId"] for each in range(number)]


def pages(ec2, operation, **request):
    return list(ec2.get_paginator(operation).paginate(**request))


@pytest.mark.contract("pagination")
def test_volumes_come_in_pages_that_may_be_short(cloud):
    ec2 = cloud.client("ec2", "us-east-1")
    volume_ids = make_volumes(ec2, 25)
    found = pages(ec2, "describe_volumes", PaginationConfig={"PageSize": 10})
    sizes = [len(page["Volumes"]) for page in found]
    assert sizes == [10, 9, 6]
    assert [each["VolumeId"] for page in found for each in page["Volumes"]] == volume_ids


@pytest.mark.contract("pagination")
def test_snapshots_come_in_pages(cloud, make_volume):
    ec2 = cloud.client("ec2", "us-east-1")
    made = [ec2.create_snapshot(VolumeId=make_volume(cloud))["SnapshotId"] for _ in range(12)]
    found = pages(ec2, "describe_snapshots", OwnerIds=["self"], PaginationConfig={"PageSize": 5})
    assert len(found) > 2
    assert [each["SnapshotId"] for page in found for each in page["Snapshots"]] == made


@pytest.mark.contract("pagination")
def test_images_come_in_pages(cloud, make_snapshot):
    ec2 = cloud.client("ec2", "us-east-1")
    snapshot_id = make_snapshot(cloud)
    for number in range(11):
        ec2.register_image(
            Name=f"image-{number}",
            RootDeviceName="/dev/xvda",
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}],
        )
    found = pages(ec2, "describe_images", Owners=["self"], PaginationConfig={"PageSize": 5})
    assert [len(page["Images"]) for page in found] == [5, 4, 2]


def test_instances_come_in_pages(twin, launch):
    ec2 = twin.client("ec2", "us-east-1")
    made = {launch(twin, data_volumes=0)["InstanceId"] for _ in range(11)}
    found = pages(ec2, "describe_instances", PaginationConfig={"PageSize": 5})
    assert [len(page["Reservations"]) for page in found] == [5, 4, 2]
    assert {
        each["InstanceId"] for page in found for group in page["Reservations"] for each in group["Instances"]
    } == made


def test_instance_status_comes_in_pages(cloud, launch):
    for _ in range(7):
        launch(cloud, data_volumes=0)
    found = pages(cloud.client("ec2", "us-east-1"), "describe_instance_status", PaginationConfig={"PageSize": 5})
    assert [len(page["InstanceStatuses"]) for page in found] == [5, 2]


def test_tags_come_in_pages(cloud):
    ec2 = cloud.client("ec2", "us-east-1")
    ec2.create_volume(
        AvailabilityZone="us-east-1a",
        Size=1,
        TagSpecifications=tag_specifications("volume", **{f"key-{number}": "v" for number in range(12)}),
    )
    found = pages(ec2, "describe_tags", PaginationConfig={"PageSize": 5})
    assert [len(page["Tags"]) for page in found] == [5, 4, 3]


@pytest.mark.contract("pagination")
def test_max_results_is_at_least_five(cloud, refused):
    """botocore, DescribeTagsRequest$MaxResults: "This value can be between 5 and 1000"."""
    with refused("InvalidParameterValue"):
        cloud.client("ec2", "us-east-1").describe_volumes(MaxResults=4)


def test_more_than_a_thousand_results_are_a_thousand(twin):
    ec2 = twin.client("ec2", "us-east-1")
    backend = twin.backend("us-east-1")
    for _ in range(1001):
        backend.seed_snapshot(started_at=YEAR_AGO, volume_id="vol-0123456789abcdef0")
    page = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5000)
    assert (len(page["Snapshots"]), "NextToken" in page) == (1000, True)


@pytest.mark.parametrize("operation", ["describe_volumes", "describe_snapshots", "describe_instances"])
def test_max_results_and_ids_do_not_go_together(twin, launch, refused, operation):
    instance = launch(twin, data_volumes=0)
    volume_id = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    ec2 = twin.client("ec2", "us-east-1")
    ids = {
        "describe_volumes": {"VolumeIds": [volume_id]},
        "describe_snapshots": {"SnapshotIds": [ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]]},
        "describe_instances": {"InstanceIds": [instance["InstanceId"]]},
    }[operation]
    with refused("InvalidParameterCombination"):
        getattr(ec2, operation)(MaxResults=5, **ids)


@pytest.mark.contract("pagination")
def test_a_token_of_nobody_is_refused(cloud, refused):
    with refused("InvalidPaginationToken"):
        cloud.client("ec2", "us-east-1").describe_volumes(MaxResults=5, NextToken="made up")


def test_what_is_deleted_between_two_pages_hides_nothing_else(twin, make_volume):
    ec2 = twin.client("ec2", "us-east-1")
    made = [ec2.create_snapshot(VolumeId=make_volume(twin))["SnapshotId"] for _ in range(12)]
    first = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5)
    ec2.delete_snapshot(SnapshotId=made[0])
    ec2.delete_snapshot(SnapshotId=made[6])
    rest = ec2.describe_snapshots(OwnerIds=["self"], MaxResults=1000, NextToken=first["NextToken"])
    assert [each["SnapshotId"] for each in rest["Snapshots"]] == [made[5], *made[7:]]


@pytest.fixture
def tagged(twin):
    """Volumes with all kinds of tag values, by value."""
    ec2 = twin.client("ec2", "us-east-1")
    return {
        value: ec2.create_volume(
            AvailabilityZone="us-east-1a",
            Size=1,
            TagSpecifications=tag_specifications("volume", stage=value, **{value: ""}),
        )["VolumeId"]
        for value in ["prod", "prods", "production", "Prod", "[prod]", "prod*", "dev", "a.b", "back\\slash"]
    }


@pytest.mark.contract("filters")
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["prod"], {"prod"}),
        (["prod", "dev"], {"prod", "dev"}),
        (["prod*"], {"prod", "prods", "production", "prod*"}),
        (["prod?"], {"prod", "prods", "prod*"}),
        ([r"prod\*"], {"prod*"}),
        (["[prod]"], {"[prod]"}),
        (["a?b"], {"a.b"}),
        (["a.b"], {"a.b"}),
        ([r"back\\slash"], {"back\\slash"}),
        (["*d"], {"prod", "Prod"}),
        (["PROD"], set()),
    ],
)
def test_a_tag_filter_matches_as_documented(twin, tagged, values, expected):
    for name in ("tag:stage", "tag-key"):
        found = twin.client("ec2", "us-east-1").describe_volumes(Filters=[{"Name": name, "Values": values}])["Volumes"]
        assert {each["VolumeId"] for each in found} == {tagged[value] for value in expected}


def test_filters_are_anded(twin, tagged):
    filters = [{"Name": "tag:stage", "Values": ["prod*"]}, {"Name": "tag-key", "Values": ["production", "dev"]}]
    found = twin.client("ec2", "us-east-1").describe_volumes(Filters=filters)["Volumes"]
    assert [each["VolumeId"] for each in found] == [tagged["production"]]


@pytest.mark.contract("filters")
def test_a_literal_bracket_is_not_a_pattern(cloud):
    ec2 = cloud.client("ec2", "us-east-1")
    ec2.create_volume(
        AvailabilityZone="us-east-1a", Size=1, TagSpecifications=tag_specifications("volume", stage="[prod]")
    )
    assert ec2.describe_volumes(Filters=[{"Name": "tag:stage", "Values": ["[prod]"]}])["Volumes"]


@pytest.mark.contract("filters")
def test_a_start_time_can_be_matched_by_its_beginning(cloud, make_volume):
    ec2 = cloud.client("ec2", "us-east-1")
    snapshot = ec2.create_snapshot(VolumeId=make_volume(cloud))
    day = snapshot["StartTime"].strftime("%Y-%m-%d*")
    assert ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "start-time", "Values": [day]}])["Snapshots"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "completed"),
        ("volume-size", "10"),
        ("encrypted", "false"),
        ("progress", "100%"),
        ("owner-id", "123456789012"),
        ("storage-tier", "standard"),
        ("description", ""),
    ],
)
def test_snapshots_can_be_filtered_by(twin, make_snapshot, name, value):
    ec2 = twin.client("ec2", "us-east-1")
    snapshot_id = make_snapshot(twin)
    found = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": name, "Values": [value]}])["Snapshots"]
    assert [each["SnapshotId"] for each in found] == [snapshot_id]
    other = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": name, "Values": ["other"]}])["Snapshots"]
    assert other == []


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("attachment.instance-id", lambda instance: instance["InstanceId"]),
        ("attachment.device", lambda _: "/dev/sdf"),
        ("attachment.status", lambda _: "attached"),
        ("status", lambda _: "in-use"),
        ("availability-zone", lambda instance: instance["Placement"]["AvailabilityZone"]),
    ],
)
def test_volumes_can_be_filtered_by(twin, launch, name, read):
    instance = launch(twin, data_volumes=1)
    filters = [{"Name": name, "Values": [read(instance)]}]
    assert twin.client("ec2", "us-east-1").describe_volumes(Filters=filters)["Volumes"]


@pytest.mark.parametrize("operation", ["describe_volumes", "describe_snapshots", "describe_tags"])
def test_an_unknown_filter_is_refused(twin, refused, operation):
    make_volumes(twin.client("ec2", "us-east-1"), 1)
    with refused("InvalidParameterValue"):
        getattr(twin.client("ec2", "us-east-1"), operation)(Filters=[{"Name": "colour", "Values": ["red"]}])


@pytest.mark.contract("filters")
@pytest.mark.parametrize(
    ("operation", "others"),
    [
        ("describe_volumes", 0),
        ("describe_volumes", 1),
        ("describe_addresses", 0),
        ("describe_images", 0),
        ("describe_instance_type_offerings", 0),
        ("describe_instance_types", 0),
        ("describe_key_pairs", 0),
        ("describe_placement_groups", 0),
        ("describe_security_groups", 0),
        ("describe_subnets", 0),
    ],
)
def test_two_hundred_values_a_call_and_no_more(cloud, refused, operation, others):
    """What the error says: "The maximum number of filter values specified on a single call is 200"."""
    call = getattr(cloud.client("ec2", "us-east-1"), operation)
    name = FILTER_OF.get(operation, "size")
    filters = [{"Name": "status", "Values": ["available"]}] * others
    values = [str(number) for number in range(201 - others)]
    call(Filters=[{"Name": name, "Values": values[:-1]}, *filters])
    with refused("FilterLimitExceeded"):
        call(Filters=[{"Name": name, "Values": values}, *filters])


FILTER_OF = {
    "describe_addresses": "allocation-id",
    "describe_images": "image-id",
    "describe_instance_type_offerings": "instance-type",
    "describe_instance_types": "instance-type",
    "describe_key_pairs": "key-name",
    "describe_placement_groups": "group-name",
    "describe_security_groups": "group-id",
    "describe_subnets": "subnet-id",
}


def test_fifty_filters_and_no_more(twin, refused):
    ec2 = twin.client("ec2", "us-east-1")
    filters = [{"Name": f"tag:{number}", "Values": ["x"]} for number in range(51)]
    ec2.describe_volumes(Filters=filters[:50])
    with refused("FilterLimitExceeded"):
        ec2.describe_volumes(Filters=filters)


@pytest.fixture
def snapshots_of_others(twin, make_snapshot):
    """Three snapshots: our own, a public one and a private one of somebody else's."""
    public = {"started_at": YEAR_AGO, "volume_id": "vol-ffffffff", "owner_id": STRANGER, "is_public": True}
    return {
        "own": make_snapshot(twin),
        "public": twin.seed_snapshot(**public),
        "private": twin.seed_snapshot(**{**public, "is_public": False}),
    }


@pytest.mark.contract("owners")
@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, {"own", "public"}),
        ({"OwnerIds": ["self"]}, {"own"}),
        ({"OwnerIds": ["123456789012"]}, {"own"}),
        ({"OwnerIds": [STRANGER]}, {"public"}),
        ({"OwnerIds": ["self", STRANGER]}, {"own", "public"}),
        ({"RestorableByUserIds": ["self"]}, {"own"}),
        ({"RestorableByUserIds": ["all"]}, {"public"}),
    ],
)
def test_snapshots_are_those_of_the_owners_and_restorers_asked_for(twin, snapshots_of_others, request_, expected):
    """botocore, DescribeSnapshots: public ones and one's own without options; never private ones of others."""
    found = twin.client("ec2", "us-east-1").describe_snapshots(**request_)["Snapshots"]
    assert {each["SnapshotId"] for each in found} == {snapshots_of_others[name] for name in expected}


@pytest.mark.contract("owners")
def test_nothing_of_ones_own_is_somebody_elses(cloud, make_snapshot):
    make_snapshot(cloud)
    ec2 = cloud.client("ec2", "us-east-1")
    assert ec2.describe_snapshots(OwnerIds=[STRANGER])["Snapshots"] == []
    assert ec2.describe_snapshots(RestorableByUserIds=["all"])["Snapshots"] == []


def test_the_snapshot_of_another_account_cannot_be_deleted(twin, snapshots_of_others):
    ec2 = twin.client("ec2", "us-east-1")
    with pytest.raises(ClientError):
        ec2.delete_snapshot(SnapshotId=snapshots_of_others["public"])
    assert len(ec2.describe_snapshots()["Snapshots"]) == 2


@pytest.mark.contract("dry_run")
@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("describe_snapshots", {}),
        ("describe_volumes", {}),
        ("describe_instance_status", {}),
        ("modify_instance_metadata_options", {"InstanceId": "i-0123456789abcdef0", "HttpTokens": "required"}),
    ],
)
def test_a_dry_run_says_that_it_would_have_worked(cloud, refused, operation, request_):
    with refused("DryRunOperation"):
        getattr(cloud.client("ec2", "us-east-1"), operation)(DryRun=True, **request_)


@pytest.mark.contract("dry_run")
def test_a_dry_run_creates_nothing(twin, make_volume, refused):
    ec2 = twin.client("ec2", "us-east-1")
    volume_id = make_volume(twin)
    with refused("DryRunOperation"):
        ec2.create_snapshot(VolumeId=volume_id, DryRun=True)
    with refused("DryRunOperation"):
        ec2.delete_volume(VolumeId=volume_id, DryRun=True)
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"] == "available"
