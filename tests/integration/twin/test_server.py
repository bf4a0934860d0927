"""The twin as a server: what the local cloud relies on."""

import json
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from local.twin.services import loopback_block

ROOT = Path(__file__).parents[3]


class Server:
    """A running server and its control routes."""

    def __init__(self, port):
        self.port = port
        self.session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test")

    def client(self, service, region):
        endpoint = f"http://127.0.0.1:{self.port}"
        return self.session.client(
            service, region, endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1})
        )

    def ask(self, method, path, body=None):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, f"/_twin/{path}", json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    def wait_for(self, name, after=0):
        """The next event of this name after the first `after`."""
        for _ in range(20):
            _, found = self.ask("GET", f"events?after={after}&wait=5")
            for each in found:
                after = each["seq"]
                if each["event"]["detail"].get("event") == name:
                    return each
        raise AssertionError(f"no {name} event came")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port_file = tmp_path_factory.mktemp("twin") / "port"
    command = [sys.executable, "-m", "local.twin.server", "--port-file", str(port_file), "--scale", "600"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "MOTO_ACCOUNT_ID": "111122223333"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Server(int(port_file.read_text()))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_it_answers_ec2_and_time_passes_by_itself(server):
    ec2, seen = server.client("ec2", "us-east-1"), len(server.ask("GET", "events")[1])
    volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=10)["VolumeId"]
    server.wait_for("createVolume", after=seen)
    status, written = server.ask("POST", "write", {"region": "us-east-1", "volume_id": volume_id, "text": "data"})
    assert status == 200
    snapshot = ec2.create_snapshot(VolumeId=volume_id)
    assert (snapshot["State"], snapshot["OwnerId"]) == ("pending", "111122223333")
    assert abs(snapshot["StartTime"].timestamp() - time.time()) < 60
    event = server.wait_for("createSnapshot", after=seen)["event"]
    assert (event["account"], event["detail"]["result"]) == ("111122223333", "succeeded")
    assert server.ask("GET", "state/us-east-1")[1]["snapshots"][snapshot["SnapshotId"]]["digest"] == written["digest"]


def test_it_asks_kms_about_the_key_of_the_destination(server):
    ec2, seen = server.client("ec2", "us-east-1"), len(server.ask("GET", "events")[1])
    volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=10)["VolumeId"]
    server.wait_for("createVolume", after=seen)
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    server.wait_for("createSnapshot", after=seen)
    key = server.client("kms", "us-west-2").create_key()["KeyMetadata"]["Arn"]
    for key_id, result in [(key, "succeeded"), (key.replace("us-west-2", "us-east-1"), "failed")]:
        seen = len(server.ask("GET", "events")[1])
        server.client("ec2", "us-west-2").copy_snapshot(
            SourceRegion="us-east-1", SourceSnapshotId=snapshot_id, Encrypted=True, KmsKeyId=key_id
        )
        assert server.wait_for("copySnapshot", after=seen)["event"]["detail"]["result"] == result


def test_history_can_be_seeded_and_calls_counted(server):
    seed = {
        "region": "eu-west-1",
        "volume_id": "vol-0123456789abcdef0",
        "start_time": "2026-01-02T03:04:05Z",
        "tags": {"hikae:plan": "production"},
        "text": "old",
    }
    status, answer = server.ask("POST", "seed", seed)
    assert status == 200
    found = server.client("ec2", "eu-west-1").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert [each["SnapshotId"] for each in found] == [answer["snapshot_id"]]
    assert found[0]["StartTime"].isoformat().startswith("2026-01-02T03:04:05")
    calls = server.ask("GET", "calls")[1]
    assert [each["action"] for each in calls if each["region"] == "eu-west-1"] == ["DescribeSnapshots"]


def test_a_copy_of_the_past_may_have_failed(server):
    seed = {
        "region": "eu-west-2",
        "volume_id": "vol-ffffffff",
        "start_time": "2026-01-02T03:04:05Z",
        "error": "Given key ID is not accessible",
    }
    snapshot_id = server.ask("POST", "seed", seed)[1]["snapshot_id"]
    [found] = server.client("ec2", "eu-west-2").describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert (found["State"], found["StateMessage"]) == ("error", "Given key ID is not accessible")
    assert "CompletionTime" not in found


def test_an_instance_can_be_stuck_on_its_way_out(server):
    ec2, seen = server.client("ec2", "eu-west-2"), len(server.ask("GET", "events")[1])
    [image] = [each for each in ec2.describe_images(Owners=["amazon"])["Images"] if each["RootDeviceType"] == "ebs"]
    launched = ec2.run_instances(ImageId=image["ImageId"], InstanceType="t3.micro", MinCount=2, MaxCount=2)["Instances"]
    stuck, other = (each["InstanceId"] for each in launched)
    assert server.ask("POST", "stick", {"region": "eu-west-2", "instance_id": stuck})[0] == 200
    ec2.terminate_instances(InstanceIds=[stuck, other])
    ended = set()
    while other not in ended:
        for each in server.ask("GET", f"events?after={seen}&wait=5")[1]:
            seen = each["seq"]
            if each["event"]["detail"].get("state") == "terminated":
                ended.add(each["event"]["detail"]["instance-id"])
    states = {
        each["InstanceId"]: each["State"]["Name"]
        for reservation in ec2.describe_instances(InstanceIds=[stuck, other])["Reservations"]
        for each in reservation["Instances"]
    }
    assert states == {stuck: "shutting-down", other: "terminated"}


def test_the_deletion_of_a_snapshot_can_fail_until_it_may_not(server):
    ec2 = server.client("ec2", "eu-west-2")
    seed = {"region": "eu-west-2", "volume_id": "vol-0123456789abcdef0", "start_time": "2026-01-02T03:04:05Z"}
    snapshot_id = server.ask("POST", "seed", seed)[1]["snapshot_id"]
    server.ask("POST", "refuse-deletion", {"region": "eu-west-2", "snapshot_id": snapshot_id, "code": "internal-error"})
    with pytest.raises(ec2.exceptions.ClientError, match="InternalError"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    server.ask("POST", "refuse-deletion", {"region": "eu-west-2", "snapshot_id": snapshot_id, "code": None})
    ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_a_rule_of_the_recycle_bin_can_have_been_there_for_long(server):
    rbin = server.client("rbin", "eu-west-2")
    rule_id = rbin.create_rule(
        ResourceType="EBS_SNAPSHOT", RetentionPeriod={"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"}
    )["Identifier"]
    assert rbin.get_rule(Identifier=rule_id)["Status"] == "pending"
    since = {"region": "eu-west-2", "rule_id": rule_id, "created_at": "2026-01-02T03:04:05Z"}
    assert server.ask("POST", "backdate-bin-rule", since)[0] == 200
    assert rbin.get_rule(Identifier=rule_id)["Status"] == "available"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "health", None, 200),
        ("GET", "nothing", None, 404),
        ("POST", "seed", {"region": "us-east-1"}, 400),
        ("POST", "write", [], 400),
    ],
)
def test_a_control_request_that_makes_no_sense_is_told_so(server, method, path, body, status):
    assert server.ask(method, path, body)[0] == status


def test_service_quotas_answers_beside_ec2(server):
    client = server.client("service-quotas", "us-west-2")
    quotas = {each["QuotaName"]: each["Value"] for each in client.list_service_quotas(ServiceCode="ebs")["Quotas"]}
    assert quotas["Concurrent snapshot copies per destination Region"] == 20
    with pytest.raises(client.exceptions.NoSuchResourceException):
        client.list_service_quotas(ServiceCode="lambda")


def test_a_region_that_is_lost_resets_every_connection_and_the_others_answer(server):
    there, elsewhere = server.client("ec2", "us-east-1"), server.client("ec2", "us-west-2")
    quotas = server.client("service-quotas", "us-east-1")
    assert server.ask("POST", "lose", {"region": "us-east-1"}) == (200, {})
    try:
        seen = len(server.ask("GET", "calls")[1])
        for ask in (there.describe_volumes, lambda: quotas.list_service_quotas(ServiceCode="ec2")):
            with pytest.raises(ConnectionClosedError):
                ask()
        with pytest.raises(ConnectionClosedError):
            there.create_volume(AvailabilityZone="us-east-1a", Size=10)
        assert len(server.ask("GET", "calls")[1]) == seen
        assert elsewhere.describe_volumes()["Volumes"] == []
    finally:
        server.ask("POST", "lose", {"region": None})
    assert there.describe_volumes()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_an_instance_serves_what_the_server_was_told_while_it_runs(server):
    ec2 = server.client("ec2", "us-west-2")
    block = loopback_block(server.port)
    vpc = ec2.create_vpc(CidrBlock=f"{block}.0.0/24")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"{block}.0.0/24", AvailabilityZone="us-west-2a")["Subnet"]
    offer = {"region": "us-west-2", "tags": {"Service": "shop"}, "port": 8080, "body": "all is well"}
    assert server.ask("POST", "serve", offer) == (200, {})
    [base, *_] = [each for each in ec2.describe_images(Owners=["amazon"])["Images"] if each["RootDeviceType"] == "ebs"]
    tags = [{"Key": "Service", "Value": "shop"}]
    launched = ec2.run_instances(
        ImageId=base["ImageId"],
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet["SubnetId"],
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"][0]
    instance = {"InstanceIds": [launched["InstanceId"]]}
    ec2.get_waiter("instance_running").wait(**instance, WaiterConfig={"Delay": 1})
    connection = HTTPConnection(launched["PrivateIpAddress"], 8080, timeout=5)
    connection.request("GET", "/health")
    assert connection.getresponse().read() == b"all is well"
    connection.close()
    ec2.terminate_instances(**instance)
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection(launched["PrivateIpAddress"], 8080, timeout=5).connect()


@pytest.mark.parametrize("wrong", [{"kind": "telnet"}, {"colour": "red"}])
def test_a_service_that_is_none_is_refused(server, wrong):
    status, answer = server.ask("POST", "serve", {"region": "us-west-2", "tags": {}, "port": 1, **wrong})
    assert status == 400
    assert next(iter(wrong.values())) in answer["error"] or next(iter(wrong)) in answer["error"]


@pytest.fixture
def strike(server):
    """Ask for a fault, and end all of them afterwards."""
    yield lambda **fault: server.ask("POST", "fault", fault)
    assert server.ask("DELETE", "fault")[0] == 200


def make_volume(server, region="eu-west-3"):
    return server.client("ec2", region).create_volume(AvailabilityZone=f"{region}a", Size=1)


def count_volumes(server, region="eu-west-3"):
    return len(server.client("ec2", region).describe_volumes()["Volumes"])


@pytest.mark.contract("server_faults")
def test_a_call_can_be_refused_before_it_is_carried_out(server, strike):
    before = count_volumes(server)
    strike(action="CreateVolume", code="RequestLimitExceeded", skip=1)
    make_volume(server)
    with pytest.raises(ClientError) as caught:
        make_volume(server)
    assert caught.value.response["Error"]["Code"] == "RequestLimitExceeded"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    make_volume(server)
    assert count_volumes(server) == before + 2


@pytest.mark.contract("server_faults")
@pytest.mark.parametrize("fault", [{"code": "InternalError"}, {}])
def test_an_answer_can_get_lost_after_the_call_was_carried_out(server, strike, fault):
    before = count_volumes(server)
    strike(action="CreateVolume", phase="after", **fault)
    with pytest.raises((ClientError, HTTPClientError)) as caught:
        make_volume(server)
    status = getattr(caught.value, "response", None) or {}
    assert status.get("ResponseMetadata", {}).get("HTTPStatusCode") == (500 if fault else None)
    assert count_volumes(server) == before + 1


@pytest.mark.contract("server_faults")
def test_a_region_can_be_out_of_reach_while_another_answers(server, strike):
    strike(action="*", region="eu-west-3", times=-1)
    for _ in range(2):
        with pytest.raises(HTTPClientError):
            count_volumes(server)
    assert count_volumes(server, "eu-north-1") == 0


def test_the_ebs_direct_apis_answer_beside_ec2(server):
    seed = {"region": "eu-west-1", "volume_id": "vol-ffffffff", "start_time": "2026-01-02T03:04:05Z", "text": "old"}
    snapshot_id = server.ask("POST", "seed", seed)[1]["snapshot_id"]
    ebs = server.client("ebs", "eu-west-1")
    [block] = ebs.list_snapshot_blocks(SnapshotId=snapshot_id)["Blocks"]
    assert len(ebs.get_snapshot_block(SnapshotId=snapshot_id, **block)["BlockData"].read()) == 512 * 1024
    with pytest.raises(ClientError) as caught:
        ebs.list_snapshot_blocks(SnapshotId="snap-0123456789abcdef0")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_another_backup_service_is_refused_by_name(server):
    with pytest.raises(ClientError) as caught:
        server.client("dlm", "us-east-1").get_lifecycle_policies()
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
