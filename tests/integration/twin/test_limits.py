"""What EC2 refuses because it would be too much: at once, too often, or too fast.

EBS User Guide, "Quotas for Amazon EBS"; EC2 User Guide, "How Amazon EC2 AMI copy works"; EC2 API Reference, "Error
codes"; EC2 Developer Guide, "Request throttling for the Amazon EC2 API".
"""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.twin.quotas import SNAPSHOT_COPIES, SNAPSHOTS
from local.twin.testing import Twin, shared_session

PRIMARY, RECOVERY = "us-east-1", "us-west-2"


@contextmanager
def throttled():
    """Expect RequestLimitExceeded, with its status."""
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == "RequestLimitExceeded"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


@pytest.fixture
def rated():
    with Twin(has_request_rates=True) as twin:
        yield twin


def once(region=PRIMARY, service="ec2"):
    """A client that sends each request once."""
    return shared_session().client(service, region_name=region, config=Config(retries={"total_max_attempts": 1}))


# --- one volume -------------------------------------------------------------------------------------------------------


@pytest.mark.contract("quotas")
def test_between_snapshots_of_one_volume_there_are_15_seconds(cloud, make_volume, refused):
    ec2 = cloud.client("ec2", PRIMARY)
    volume_id, other = make_volume(cloud), make_volume(cloud)
    ec2.create_snapshot(VolumeId=volume_id)
    cloud.clock.advance(timedelta(seconds=14))
    ec2.create_snapshot(VolumeId=other)
    with refused("SnapshotCreationPerVolumeRateExceeded"):
        ec2.create_snapshot(VolumeId=volume_id)
    cloud.clock.advance(timedelta(seconds=1))
    ec2.create_snapshot(VolumeId=volume_id)


@pytest.mark.parametrize("make", ["set", "image"])
def test_a_set_or_an_image_with_one_volume_too_many_starts_nothing(twin, launch, refused, make):
    ec2 = twin.client("ec2", PRIMARY)
    instance = launch(twin, data_volumes=2)
    last = instance["BlockDeviceMappings"][-1]["Ebs"]["VolumeId"]
    ec2.create_snapshot(VolumeId=last)
    before = len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])
    with refused("SnapshotCreationPerVolumeRateExceeded"):
        if make == "set":
            ec2.create_snapshots(InstanceSpecification={"InstanceId": instance["InstanceId"]})
        else:
            ec2.create_image(InstanceId=instance["InstanceId"], Name="one")
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == before
    assert not ec2.describe_images(Owners=["self"])["Images"]


# --- one Region -------------------------------------------------------------------------------------------------------


def test_there_are_so_many_snapshots_in_a_region_and_no_more(twin, make_volume, make_snapshot, refused):
    source, volume_id = make_snapshot(twin), make_volume(twin)
    twin.world.quotas.set(SNAPSHOTS, 1)
    with refused("SnapshotLimitExceeded"):
        twin.client("ec2", PRIMARY).create_snapshot(VolumeId=volume_id)
    elsewhere = twin.client("ec2", RECOVERY)
    elsewhere.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=source)
    with refused("SnapshotLimitExceeded"):
        elsewhere.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=source)


def test_the_quota_on_copies_is_the_one_that_service_quotas_tells(twin, make_snapshot, refused):
    twin.world.quotas.set(SNAPSHOT_COPIES, 2)
    source, ec2 = make_snapshot(twin), twin.client("ec2", RECOVERY)
    for _ in range(2):
        ec2.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=source)
    with refused("ResourceLimitExceeded"):
        ec2.copy_snapshot(SourceRegion=PRIMARY, SourceSnapshotId=source)


@pytest.mark.contract("quotas")
def test_300_image_copies_at_once_into_a_region_and_no_more(cloud, launch, refused, settle):
    source = cloud.client("ec2", PRIMARY).create_image(InstanceId=launch(cloud)["InstanceId"], Name="source")["ImageId"]
    settle(cloud)
    ec2 = cloud.client("ec2", RECOVERY)

    def copy(name):
        return ec2.copy_image(SourceRegion=PRIMARY, SourceImageId=source, Name=name)["ImageId"]

    copies = [copy(f"copy-{number}") for number in range(300)]
    with refused("ResourceLimitExceeded"):
        copy("one too many")
    ec2.deregister_image(ImageId=copies[0])
    copy("in its place")
    assert cloud.world.calls.high_water["pending image copies", RECOVERY] == 300


# --- request rates ----------------------------------------------------------------------------------------------------

BURSTS = [
    ("create_snapshot", {"VolumeId": "vol-0123456789abcdef0"}, 100, 5),
    ("create_snapshots", {"InstanceSpecification": {"InstanceId": "i-0123456789abcdef0"}}, 100, 5),
    ("delete_snapshot", {"SnapshotId": "snap-0123456789abcdef0"}, 100, 5),
    ("deregister_image", {"ImageId": "ami-0123456789abcdef0"}, 100, 5),
    ("copy_image", {"SourceRegion": RECOVERY, "SourceImageId": "ami-0123456789abcdef0", "Name": "one"}, 100, 1),
    ("create_image", {"InstanceId": "i-0123456789abcdef0", "Name": "one"}, 50, 5),
    ("copy_snapshot", {"SourceRegion": RECOVERY, "SourceSnapshotId": "snap-0123456789abcdef0"}, 50, 5),
    ("create_tags", {"Resources": ["vol-0123456789abcdef0"], "Tags": [{"Key": "k", "Value": "v"}]}, 100, 10),
    ("describe_images", {"Owners": ["self"]}, 100, 20),
    ("describe_snapshots", {"OwnerIds": ["self"]}, 50, 10),
    ("describe_snapshots", {"OwnerIds": ["self"], "MaxResults": 5}, 100, 20),
    ("describe_volumes", {"Filters": [{"Name": "status", "Values": ["available"]}]}, 100, 20),
    ("describe_volumes", {"VolumeIds": ["vol-0123456789abcdef0"]}, 50, 10),
    ("disable_snapshot_block_public_access", {}, 1, 0.1),
]


@pytest.mark.contract("throttling")
@pytest.mark.parametrize(("operation", "request_", "capacity", "refill"), BURSTS)
def test_each_action_has_a_bucket_of_its_size_and_its_refill(rated, operation, request_, capacity, refill):
    call = getattr(once(), operation)

    def send():
        """Whether the request was let in; what EC2 makes of it is not the question here."""
        try:
            call(**request_)
        except ClientError as error:
            return error.response["Error"]["Code"] != "RequestLimitExceeded"
        return True

    assert sum(send() for _ in range(capacity + 1)) == capacity
    rated.clock.advance(timedelta(seconds=max(1, 1 / refill)))
    assert sum(send() for _ in range(int(max(1, refill)) + 1)) == int(max(1, refill))


def test_tokens_come_back_every_second_and_not_before(rated):
    ec2 = once()
    for _ in range(100):
        ec2.describe_images(Owners=["self"])
    rated.clock.advance(timedelta(milliseconds=999))
    with throttled():
        ec2.describe_images(Owners=["self"])
    rated.clock.advance(timedelta(milliseconds=1))
    ec2.describe_images(Owners=["self"])


@pytest.mark.contract("throttling")
def test_a_throttled_request_has_status_503_and_no_effect(rated):
    ec2 = once()
    volume_ids = [ec2.create_volume(AvailabilityZone=f"{PRIMARY}a", Size=1)["VolumeId"] for _ in range(100)]
    with throttled():
        ec2.create_volume(AvailabilityZone=f"{PRIMARY}a", Size=1)
    assert {each["VolumeId"] for each in ec2.describe_volumes(MaxResults=1000)["Volumes"]} == set(volume_ids)
    assert rated.count("CreateVolume", error="RequestLimitExceeded") == 1


@pytest.mark.contract("throttling")
def test_regions_and_actions_have_buckets_of_their_own(rated):
    ec2 = once()
    for _ in range(100):
        ec2.describe_images(Owners=["self"])
    with throttled():
        ec2.describe_images(Owners=["self"])
    once(RECOVERY).describe_images(Owners=["self"])
    ec2.describe_volumes(MaxResults=5)


def test_instances_take_a_token_each_besides_that_of_their_request(rated):
    ec2 = once()
    image = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "root-device-type", "Values": ["ebs"]}])
    request = {"ImageId": image["Images"][0]["ImageId"], "InstanceType": "t3.micro", "MinCount": 1}
    ec2.run_instances(**request, MaxCount=999)
    with throttled():
        ec2.run_instances(**request, MaxCount=2)
    ec2.run_instances(**request, MaxCount=1)
    rated.clock.advance(timedelta(seconds=1))
    ec2.run_instances(**request, MaxCount=2)


@pytest.mark.contract("throttling")
def test_the_51st_change_of_a_kind_at_once_is_one_too_many(cloud, refused):
    """EC2 Developer Guide, "Request throttling for the Amazon EC2 API": 50 tokens for what has no rate of its own."""
    if isinstance(cloud, Twin):
        cloud.world.request_rates.is_enforced = True
    ec2 = once()
    for _ in range(50):
        ec2.enable_ebs_encryption_by_default()
    with refused("RequestLimitExceeded"):
        ec2.enable_ebs_encryption_by_default()


def test_without_being_asked_for_the_rates_are_off(twin):
    for _ in range(101):
        once().describe_images(Owners=["self"])
    assert twin.count("DescribeImages") == 101


# --- Service Quotas ---------------------------------------------------------------------------------------------------


def names_of(cloud, service, operation="list_service_quotas"):
    client = cloud.client("service-quotas", RECOVERY)
    pages = client.get_paginator(operation).paginate(ServiceCode=service, PaginationConfig={"PageSize": 3})
    return {quota["QuotaName"]: quota for page in pages for quota in page["Quotas"]}


@pytest.mark.contract("quotas")
def test_service_quotas_lists_what_ec2_and_ebs_keep_to(cloud):
    ebs = names_of(cloud, "ebs")
    assert ebs[SNAPSHOT_COPIES]["Value"] == 20
    assert not ebs[SNAPSHOT_COPIES]["Adjustable"]
    assert ebs["Concurrent snapshots per Throughput Optimized HDD (st1) volume"]["Value"] == 1
    assert (ebs[SNAPSHOTS]["QuotaCode"], ebs[SNAPSHOTS]["Value"]) == ("L-309BACF6", 100_000)
    assert {"AMIs", "Public AMIs", "AMI sharing"} <= set(names_of(cloud, "ec2"))


def test_a_quota_is_asked_for_by_its_code_and_tells_the_accounts_value_or_awss(twin):
    twin.world.quotas.set(SNAPSHOT_COPIES, 40)
    client = twin.client("service-quotas", RECOVERY)
    code = names_of(twin, "ebs")[SNAPSHOT_COPIES]["QuotaCode"]
    asked = {"ServiceCode": "ebs", "QuotaCode": code}
    assert client.get_service_quota(**asked)["Quota"]["Value"] == 40
    assert client.get_aws_default_service_quota(**asked)["Quota"]["Value"] == 20
    assert names_of(twin, "ebs", "list_aws_default_service_quotas")[SNAPSHOT_COPIES]["Value"] == 20


def test_a_quota_that_was_never_applied_has_only_its_default(twin, refused):
    code = names_of(twin, "ebs")[SNAPSHOT_COPIES]["QuotaCode"]
    twin.world.quotas.set(SNAPSHOT_COPIES, None)
    assert SNAPSHOT_COPIES not in names_of(twin, "ebs")
    assert SNAPSHOT_COPIES in names_of(twin, "ebs", "list_aws_default_service_quotas")
    with refused("NoSuchResourceException"):
        once(RECOVERY, "service-quotas").get_service_quota(ServiceCode="ebs", QuotaCode=code)


def test_whoever_may_not_ask_is_told_so(twin, refused):
    twin.world.quotas.is_answering = False
    with refused("AccessDeniedException"):
        once(RECOVERY, "service-quotas").list_service_quotas(ServiceCode="ebs")
