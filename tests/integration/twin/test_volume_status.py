"""DescribeVolumeStatus and CopyVolumes: EBS User Guide, "Monitor the status of your volumes"; botocore's model."""

import pytest

REGION, ZONE = "us-east-1", "us-east-1a"


def statuses(ec2, *filters):
    answer = ec2.describe_volume_status(Filters=[{"Name": name, "Values": [value]} for name, value in filters])
    return {each["VolumeId"]: each["VolumeStatus"]["Status"] for each in answer["VolumeStatuses"]}


@pytest.mark.contract("describe_volume_status")
def test_a_volume_is_checked_only_once_it_is_there(cloud, settle):
    ec2 = cloud.client("ec2", REGION)
    volume_id = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    assert statuses(ec2) == {volume_id: "insufficient-data"}
    settle(cloud)
    assert statuses(ec2) == {volume_id: "ok"}


@pytest.mark.contract("describe_volume_status")
def test_a_volume_whose_host_failed_does_no_io_until_it_is_told_to(twin, make_volume):
    ec2, broken, sound = twin.client("ec2", REGION), make_volume(twin), make_volume(twin)
    twin.backend(REGION).impair_volume(broken)
    assert statuses(ec2) == {broken: "impaired", sound: "ok"}
    for name, value in (
        ("volume-status.status", "impaired"),
        ("event.event-type", "potential-data-inconsistency"),
        ("action.code", "enable-volume-io"),
        ("volume-status.details-status", "failed"),
    ):
        assert statuses(ec2, (name, value)) == {broken: "impaired"}
    ec2.enable_volume_io(VolumeId=broken)
    assert statuses(ec2) == {broken: "ok", sound: "ok"}


@pytest.mark.contract("pagination")
def test_volume_status_comes_in_pages(cloud, make_volume):
    volumes = [make_volume(cloud) for _ in range(7)]
    paginator = cloud.client("ec2", REGION).get_paginator("describe_volume_status")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 5}))
    assert len(pages) > 1
    assert [each["VolumeId"] for page in pages for each in page["VolumeStatuses"]] == volumes


@pytest.mark.contract("copy_volumes", "content")
def test_a_copy_of_a_volume_holds_what_was_on_it_at_the_call(cloud, make_volume, settle):
    ec2, volume_id = cloud.client("ec2", REGION), make_volume(cloud)
    cloud.write(volume_id, b"before")
    before = cloud.digest_of(volume_id)
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "b"}]}]
    [copy] = ec2.copy_volumes(SourceVolumeId=volume_id, TagSpecifications=tags)["Volumes"]
    cloud.write(volume_id, b"after")
    assert (copy["State"], copy["SourceVolumeId"], copy["VolumeType"]) == ("creating", volume_id, "gp2")
    settle(cloud)
    [found] = ec2.describe_volumes(VolumeIds=[copy["VolumeId"]])["Volumes"]
    assert (found["State"], found["AvailabilityZone"], found["Tags"]) == ("available", ZONE, tags[0]["Tags"])
    assert cloud.digest_of(copy["VolumeId"]) == before
    assert cloud.lineage_of(copy["VolumeId"]) == (f"{REGION}/{volume_id}", f"{REGION}/{copy['VolumeId']}")


def test_a_copy_of_a_volume_is_not_smaller_and_stays_encrypted(twin, make_volume, refused):
    ec2 = twin.client("ec2", REGION)
    volume_id = make_volume(twin, Encrypted=True)
    with refused("InvalidParameterValue"):
        ec2.copy_volumes(SourceVolumeId=volume_id, Size=9)
    [copy] = ec2.copy_volumes(SourceVolumeId=volume_id, Size=11, VolumeType="gp3")["Volumes"]
    assert (copy["Size"], copy["Encrypted"]) == (11, True)


@pytest.mark.contract("client_token")
def test_a_copy_of_a_volume_is_made_once_for_each_client_token(twin, make_volume, refused):
    ec2, volume_id = twin.client("ec2", REGION), make_volume(twin)
    request = {"SourceVolumeId": volume_id, "ClientToken": "once"}
    first, second = (ec2.copy_volumes(**request)["Volumes"][0]["VolumeId"] for _ in range(2))
    assert first == second
    with refused("IdempotentParameterMismatch"):
        ec2.copy_volumes(**request, Size=20)
