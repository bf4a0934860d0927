"""What the twin does wrong when it is told to, and how it tells two runs apart."""

from datetime import timedelta
from random import Random

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from local.twin import faults
from local.twin.faults import Killed, Phase
from local.twin.inspection import compare_state
from local.twin.testing import shared_session

REGION = "us-east-1"

PRIMARY, RECOVERY = "us-east-1", "us-west-2"
ONCE = Config(retries={"total_max_attempts": 1})


@pytest.fixture
def ec2(twin):
    """A client that sends each call once, as creating calls are sent."""
    return shared_session().client("ec2", region_name=PRIMARY, config=ONCE)


def snapshots(twin):
    return list(twin.backend(PRIMARY).snapshots.values())


@pytest.mark.contract("faults")
@pytest.mark.parametrize(
    "strike",
    [
        (faults.throttle, ClientError, False),
        (faults.refuse_connection, EndpointConnectionError, False),
        (faults.fail_after, ClientError, True),
        (faults.drop_after, ConnectionClosedError, True),
    ],
)
def test_a_fault_strikes_one_call_before_or_after_it_is_carried_out(twin, ec2, make_volume, strike):
    fault, error, is_carried_out = strike
    volume_id = make_volume(twin)
    with faults.struck(2, fault):
        ec2.describe_volumes()
        with pytest.raises(error):
            ec2.create_snapshot(VolumeId=volume_id)
        ec2.describe_volumes()
    assert len(snapshots(twin)) == is_carried_out


def test_throttling_answers_503_and_is_the_same_for_the_same_seed(twin, ec2):
    def refused():
        found = []
        with faults.throttled(0.5, seed=7):
            for number in range(40):
                try:
                    ec2.describe_volumes()
                except ClientError as error:
                    answer = error.response
                    found.append((number, answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]))
        return found

    first = refused()
    assert 10 < len(first) < 30
    assert {each[1:] for each in first} == {("RequestLimitExceeded", 503)}
    assert refused() == first


@pytest.mark.contract("faults")
@pytest.mark.parametrize("phase", list(Phase))
def test_a_kill_cannot_be_caught_and_leaves_only_what_was_carried_out(twin, ec2, make_volume, phase):
    volume_id = make_volume(twin)

    def run():
        try:
            ec2.create_snapshot(VolumeId=volume_id)
        except Exception:  # noqa: BLE001 - as careless code would
            return

    with pytest.raises(Killed), faults.killed(1, phase):
        run()
    assert len(snapshots(twin)) == (phase is Phase.AFTER)


def test_the_recorder_hears_every_service(twin):
    s3, sqs, dynamodb = (twin.client(name, RECOVERY) for name in ("s3", "sqs", "dynamodb"))
    s3.create_bucket(Bucket="a-bucket", CreateBucketConfiguration={"LocationConstraint": RECOVERY})
    with faults.recorded() as asked:
        s3.put_object(Bucket="a-bucket", Key="plans/one two.yaml", Body=b"")
        s3.list_objects_v2(Bucket="a-bucket")
        sqs.list_queues()
        dynamodb.list_tables()
        twin.client("kms", RECOVERY).list_keys()
        twin.client("autoscaling", PRIMARY).describe_auto_scaling_groups()
        twin.client("ec2", PRIMARY).describe_volumes()
    assert [str(each) for each in asked] == [
        "s3:PutObject",
        "s3:ListObjectsV2",
        "sqs:ListQueues",
        "dynamodb:ListTables",
        "kms:ListKeys",
        "autoscaling:DescribeAutoScalingGroups",
        "ec2:DescribeVolumes",
    ]
    assert [each.region for each in asked] == [*[RECOVERY] * 5, PRIMARY, PRIMARY]
    assert asked[0].about == "plans/one two.yaml"


@pytest.mark.contract("faults")
def test_an_unreachable_region_answers_for_no_service_and_the_other_goes_on(twin):
    once = {"config": ONCE}
    with faults.unreachable(PRIMARY):
        for service in ("ec2", "sqs", "dynamodb", "s3"):
            client = shared_session().client(service, region_name=PRIMARY, **once)
            call = {"ec2": "describe_volumes", "sqs": "list_queues", "dynamodb": "list_tables", "s3": "list_buckets"}
            with pytest.raises(EndpointConnectionError):
                getattr(client, call[service])()
        twin.client("ec2", RECOVERY).describe_volumes()


# EC2 Developer Guide, "Eventual consistency in the Amazon EC2 API".


@pytest.mark.contract("eventual_consistency")
def test_what_is_new_may_be_invisible_for_a_while(cloud, make_volume, refused):
    ec2 = cloud.client("ec2", PRIMARY)
    volume_id = make_volume(cloud)
    cloud.world.lag = timedelta(minutes=2)
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    with refused("InvalidSnapshot.NotFound"):
        ec2.describe_snapshots(SnapshotIds=[snapshot_id])
    cloud.clock.advance(timedelta(minutes=2))
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


@pytest.mark.contract("eventual_consistency")
def test_a_new_image_may_be_invisible_for_a_while(cloud, launch, refused):
    ec2 = cloud.client("ec2", PRIMARY)
    instance_id = launch(cloud)["InstanceId"]
    cloud.world.lag = timedelta(minutes=2)
    image_id = ec2.create_image(InstanceId=instance_id, Name="new", NoReboot=True)["ImageId"]
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    with refused("InvalidAMIID.NotFound"):
        ec2.describe_images(ImageIds=[image_id])
    cloud.clock.advance(timedelta(minutes=2))
    assert len(ec2.describe_images(Owners=["self"])["Images"]) == 1


@pytest.mark.contract("eventual_consistency")
def test_a_state_may_be_an_old_one_for_filters_too(cloud, make_volume):
    ec2 = cloud.client("ec2", PRIMARY)
    snapshot_id = ec2.create_snapshot(VolumeId=make_volume(cloud))["SnapshotId"]
    cloud.world.lag = timedelta(minutes=30)
    cloud.clock.advance(timedelta(minutes=15))
    pending = [{"Name": "status", "Values": ["pending"]}]
    assert ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["State"] == "pending"
    assert len(ec2.describe_snapshots(OwnerIds=["self"], Filters=pending)["Snapshots"]) == 1
    cloud.clock.advance(timedelta(minutes=30))
    assert ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]["State"] == "completed"
    assert ec2.describe_snapshots(OwnerIds=["self"], Filters=pending)["Snapshots"] == []


def test_an_image_may_be_told_as_pending_while_it_is_available(twin, launch, settle):
    ec2 = twin.client("ec2", PRIMARY)
    image_id = ec2.create_image(InstanceId=launch(twin)["InstanceId"], Name="new", NoReboot=True)["ImageId"]
    twin.world.lag = timedelta(minutes=30)
    settle(twin)
    assert twin.backend(PRIMARY).amis[image_id].state == "available"
    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["State"] == "pending"


# Amazon EBS quotas, concurrent snapshots of a volume; "Error codes", ConcurrentSnapshotLimitExceeded.


@pytest.mark.contract("quotas")
@pytest.mark.parametrize("kind", [("gp3", 10, 5), ("st1", 125, 1), ("sc1", 125, 1)])
def test_a_volume_has_so_many_pending_snapshots_and_no_more(cloud, make_volume, refused, settle, kind):
    ec2 = cloud.client("ec2", PRIMARY)
    volume_type, size, most = kind
    volume_id = make_volume(cloud, VolumeType=volume_type, Size=size)
    for _ in range(most):
        cloud.clock.advance(timedelta(seconds=15))
        ec2.create_snapshot(VolumeId=volume_id)
    with refused("ConcurrentSnapshotLimitExceeded"):
        ec2.create_snapshot(VolumeId=volume_id)
    settle(cloud)
    ec2.create_snapshot(VolumeId=volume_id)


def test_a_snapshot_in_error_counts_until_it_is_deleted(twin, make_volume, refused):
    ec2 = twin.client("ec2", PRIMARY)
    volume_id = make_volume(twin, VolumeType="st1", Size=125)
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    twin.backend(PRIMARY).fail_snapshot(snapshot_id)
    with refused("ConcurrentSnapshotLimitExceeded"):
        ec2.create_snapshot(VolumeId=volume_id)
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    twin.clock.advance(timedelta(seconds=15))
    ec2.create_snapshot(VolumeId=volume_id)


@pytest.mark.parametrize("operation", ["create_snapshots", "create_image"])
def test_a_set_or_an_image_that_one_volume_has_no_room_for_makes_nothing(cloud, launch, refused, operation):
    ec2 = cloud.client("ec2", PRIMARY)
    instance = launch(cloud)
    last = instance["BlockDeviceMappings"][-1]["Ebs"]["VolumeId"]
    made = []
    for _ in range(5):
        cloud.clock.advance(timedelta(seconds=15))
        made.append(ec2.create_snapshot(VolumeId=last)["SnapshotId"])
    with refused("ConcurrentSnapshotLimitExceeded"):
        if operation == "create_image":
            ec2.create_image(InstanceId=instance["InstanceId"], Name="more", NoReboot=True)
        else:
            ec2.create_snapshots(InstanceSpecification={"InstanceId": instance["InstanceId"]})
    found = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert [each["SnapshotId"] for each in found] == made


@pytest.mark.contract("state_digest")
def test_two_runs_that_differ_in_ids_and_times_only_compare_alike_and_a_duplicate_shows(twin, make_volume, settle):
    ec2 = twin.client("ec2", PRIMARY)
    volume_id = make_volume(twin)
    tags = [{"Key": "point", "Value": "one"}, {"Key": "attempt", "Value": "1"}]

    def snapshot(attempt):
        tags[1]["Value"] = str(attempt)
        made = ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}])
        settle(twin)
        return made["SnapshotId"]

    def state():
        return compare_state(twin.backend(PRIMARY), leave_out={"attempt"})

    first = snapshot(1)
    before = state()
    second = snapshot(Random(1).randint(2, 9))  # noqa: S311 - any other number
    both = state()
    ec2.delete_snapshot(SnapshotId=first)
    assert state() == before
    assert both["snapshots"] == before["snapshots"] * 2
    ec2.create_tags(Resources=[second], Tags=[{"Key": "point", "Value": "two"}])
    assert state() != before


@pytest.mark.contract("eventual_consistency")
def test_what_is_deleted_may_still_be_told_of_and_cannot_be_deleted_again(cloud, make_snapshot, refused, settle):
    ec2, snapshot_id = cloud.client("ec2", REGION), make_snapshot(cloud)
    ec2.create_tags(Resources=[snapshot_id], Tags=[{"Key": "a", "Value": "b"}])
    cloud.world.lag = timedelta(seconds=30)
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    for request in ({"SnapshotIds": [snapshot_id]}, {"Filters": [{"Name": "tag:a", "Values": ["b"]}]}):
        [told] = ec2.describe_snapshots(**request)["Snapshots"]
        assert (told["State"], told["Tags"]) == ("completed", [{"Key": "a", "Value": "b"}])
    with refused("InvalidSnapshot.NotFound"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    settle(cloud)
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


@pytest.mark.contract("eventual_consistency")
def test_a_deregistered_image_may_still_be_told_of_and_cannot_be_launched(cloud, launch, refused, settle):
    ec2 = cloud.client("ec2", REGION)
    image_id = ec2.create_image(InstanceId=launch(cloud)["InstanceId"], Name="orders")["ImageId"]
    settle(cloud)
    cloud.world.lag = timedelta(seconds=30)
    ec2.deregister_image(ImageId=image_id)
    assert ec2.describe_images(ImageIds=[image_id])["Images"][0]["State"] == "available"
    assert len(ec2.describe_images(Owners=["self"])["Images"]) == 1
    with refused("InvalidAMIID.Unavailable"):
        ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    settle(cloud)
    assert ec2.describe_images(Owners=["self"])["Images"] == []


@pytest.mark.contract("eventual_consistency")
def test_a_volume_may_be_told_late_in_all_that_it_does(cloud, make_volume, refused, settle):
    ec2 = cloud.client("ec2", REGION)
    cloud.world.lag = timedelta(seconds=3)
    volume_id = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
    with refused("InvalidVolume.NotFound"):
        ec2.describe_volumes(VolumeIds=[volume_id])
    assert ec2.describe_volumes()["Volumes"] == []

    def told_after(seconds):
        cloud.clock.advance(timedelta(seconds=seconds))
        return ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["State"]

    assert [told_after(5), told_after(3)] == ["creating", "available"], "it is available after 4 seconds"
    ec2.delete_volume(VolumeId=volume_id)
    assert [told_after(1), told_after(2), told_after(2)] == ["available", "deleting", "deleting"]
    with refused("InvalidVolume.NotFound"):
        told_after(3)


@pytest.mark.contract("eventual_consistency")
def test_the_state_of_an_instance_may_be_an_old_one_for_filters_and_status_too(cloud, launch):
    ec2, instance_id = cloud.client("ec2", REGION), launch(cloud)["InstanceId"]
    cloud.world.lag = timedelta(seconds=10)
    ec2.stop_instances(InstanceIds=[instance_id])

    def told():
        running = [{"Name": "instance-state-name", "Values": ["running"]}]
        [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return (
            reservation["Instances"][0]["State"]["Name"],
            len(ec2.describe_instances(Filters=running)["Reservations"]),
            len(ec2.describe_instance_status()["InstanceStatuses"]),
        )

    assert told() == ("running", 1, 1)
    cloud.clock.advance(timedelta(seconds=10))
    assert told() == ("stopping", 0, 0)


@pytest.mark.contract("tagging_api")
def test_the_tagging_api_lags_behind_in_what_is_new_changed_and_gone(cloud, make_volume, settle):
    ec2, tagging = cloud.client("ec2", REGION), cloud.client("resourcegroupstaggingapi", REGION)
    tag = {"Key": "team", "Value": "web"}
    old = make_volume(cloud, TagSpecifications=[{"ResourceType": "volume", "Tags": [tag]}])

    def told():
        found = tagging.get_resources(ResourceTypeFilters=["ec2:volume"])["ResourceTagMappingList"]
        return {each["ResourceARN"].rpartition("/")[2]: each["Tags"][0]["Value"] for each in found}

    assert told() == {old: "web"}
    cloud.world.lag = timedelta(seconds=30)
    new = ec2.create_volume(
        AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": [tag]}]
    )["VolumeId"]
    ec2.create_tags(Resources=[old], Tags=[{**tag, "Value": "db"}])
    assert told() == {old: "web"}
    cloud.clock.advance(timedelta(seconds=30))
    assert told() == {old: "db", new: "web"}
    ec2.delete_volume(VolumeId=old)
    cloud.clock.advance(timedelta(seconds=10))
    assert told() == {old: "db", new: "web"}, "it is gone, and still told of"
    settle(cloud)
    assert told() == {new: "web"}
