"""SSM's commands, consoles, status checks, addresses and capacity: what recovery asks of EC2's neighbours.

Where a row needs a running instance it is the twin's alone: stock moto's image is another one.
"""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from local.twin import faults
from local.twin.commands import Outcome
from local.twin.testing import Twin

REGION = "us-east-1"


def run(twin: Twin, **arguments: Any) -> str:
    ec2 = twin.client("ec2", REGION)
    base = next(image for image in ec2.describe_images(Owners=["amazon"])["Images"] if image["RootDeviceType"] == "ebs")
    request = {"ImageId": base["ImageId"], "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, **arguments}
    instance: str = ec2.run_instances(**request)["Instances"][0]["InstanceId"]
    return instance


def send(twin: Twin, instance: str, command: str = "uptime") -> str:
    answer = twin.client("ssm", REGION).send_command(
        InstanceIds=[instance],
        DocumentName="AWS-RunShellScript",
        Comment="a comment",
        Parameters={"commands": [command]},
    )
    command_id: str = answer["Command"]["CommandId"]
    return command_id


def status(twin: Twin, instance: str, command: str) -> str:
    answer = twin.client("ssm", REGION).get_command_invocation(CommandId=command, InstanceId=instance)
    found: str = answer["Status"]
    return found


def advance(twin: Twin, seconds: float) -> None:
    twin.clock.advance(timedelta(seconds=seconds))


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    found: str = error.value.response["Error"]["Code"]
    return found


def test_a_command_takes_its_time(twin: Twin) -> None:
    instance = run(twin)
    advance(twin, 120)
    command = send(twin, instance)
    seen = [status(twin, instance, command)]
    for _ in range(3):
        advance(twin, 6)
        seen.append(status(twin, instance, command))
    assert seen == ["Pending", "InProgress", "InProgress", "Success"]


@pytest.mark.contract("send_command")
def test_a_command_ends_as_the_script_says(twin: Twin) -> None:
    instance = run(twin)
    advance(twin, 120)
    twin.shells(REGION).script["false"] = Outcome(status="Failed", output="no")
    command = send(twin, instance, "false")
    advance(twin, 60)
    answer = twin.client("ssm", REGION).get_command_invocation(CommandId=command, InstanceId=instance)
    assert (answer["Status"], answer["StandardErrorContent"]) == ("Failed", "no")


def test_an_instance_that_has_not_reported_takes_no_command(twin: Twin) -> None:
    instance = run(twin)
    advance(twin, 30)
    with pytest.raises(ClientError) as error:
        send(twin, instance)
    assert code(error) == "InvalidInstanceId"


@pytest.mark.contract("send_command")
def test_an_instance_that_is_none_takes_no_command(cloud: Any) -> None:
    with pytest.raises(ClientError) as error:
        send(cloud, "i-00000000000000000")
    assert code(error) == "InvalidInstanceId"


def test_a_silent_agent_takes_none_either(twin: Twin) -> None:
    instance = run(twin)
    advance(twin, 120)
    twin.shells(REGION).silent.add(instance)
    with pytest.raises(ClientError) as error:
        send(twin, instance)
    assert code(error) == "InvalidInstanceId"


def test_sent_commands_are_listed_by_instance(twin: Twin) -> None:
    instance = run(twin)
    advance(twin, 120)
    command = send(twin, instance)
    ssm = twin.client("ssm", REGION)
    [listed] = ssm.list_commands(InstanceId=instance)["Commands"]
    assert (listed["CommandId"], listed["Comment"]) == (command, "a comment")
    assert ssm.list_commands(InstanceId="i-00000000000000000")["Commands"] == []


def test_what_was_never_sent_is_unknown(twin: Twin) -> None:
    with pytest.raises(ClientError) as error:
        status(twin, "i-1", "11111111-2222-4333-8444-555555555555")
    assert code(error) == "InvocationDoesNotExist"


@pytest.mark.contract("instance_status")
def test_an_impaired_instance_says_so_once_it_is_up(twin: Twin) -> None:
    instance = run(twin)
    twin.impair(instance)
    ec2 = twin.client("ec2", REGION)
    seen = []
    for _ in range(2):
        advance(twin, 60)
        [found] = ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"]
        seen.append(found["InstanceStatus"]["Status"])
        advance(twin, 120)
    assert seen == ["initializing", "impaired"]


def test_a_console_shows_what_was_written_and_not_at_once(twin: Twin) -> None:
    instance = run(twin)
    twin.print_to_console(instance, "login: ")
    ec2 = twin.client("ec2", REGION)
    advance(twin, 30)
    assert "Output" not in ec2.get_console_output(InstanceId=instance)
    advance(twin, 180)
    assert ec2.get_console_output(InstanceId=instance)["Output"] == "login: "


@pytest.mark.contract("run_instances_arguments")
def test_a_private_address_is_given_once_and_only_from_its_subnet(twin: Twin) -> None:
    ec2 = twin.client("ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    instance = run(twin, SubnetId=subnet, PrivateIpAddress="10.0.0.9")
    [described] = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
    assert described["PrivateIpAddress"] == "10.0.0.9"
    for address, expected in (("10.0.0.9", "InvalidIPAddress.InUse"), ("10.0.1.9", "InvalidParameterValue")):
        with pytest.raises(ClientError) as error:
            run(twin, SubnetId=subnet, PrivateIpAddress=address)
        assert code(error) == expected


def test_a_volume_of_a_snapshot_needs_the_snapshots_key(twin: Twin) -> None:
    kms, ec2 = twin.client("kms", REGION), twin.client("ec2", REGION)
    key = kms.create_key()["KeyMetadata"]
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, Encrypted=True, KmsKeyId=key["Arn"])["VolumeId"]
    advance(twin, 60)
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    advance(twin, 600)
    kms.disable_key(KeyId=key["KeyId"])
    made = ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot)["VolumeId"]
    advance(twin, 60)
    assert ec2.describe_volumes(VolumeIds=[made])["Volumes"][0]["State"] == "error"


def test_an_instance_may_be_hidden_for_a_while_and_its_token_is_known_at_once(twin: Twin) -> None:
    ec2 = twin.client("ec2", REGION)
    twin.world.lag = timedelta(seconds=30)
    instance = run(twin, ClientToken="one")
    assert ec2.describe_instances()["Reservations"] == []
    with pytest.raises(ClientError) as error:
        ec2.describe_instances(InstanceIds=[instance])
    assert code(error) == "InvalidInstanceID.NotFound"
    assert run(twin, ClientToken="one") == instance
    advance(twin, 31)
    [reservation] = ec2.describe_instances()["Reservations"]
    assert [each["InstanceId"] for each in reservation["Instances"]] == [instance]


def test_there_may_be_no_room_for_a_type_or_in_a_subnet(twin: Twin) -> None:
    with faults.no_capacity(instance_type="m5.large"):
        with pytest.raises(ClientError) as error:
            run(twin)
        assert code(error) == "InsufficientInstanceCapacity"
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert run(twin, InstanceType="m5a.large").startswith("i-")


def test_kms_signs_a_digest_and_not_its_digest(cloud: Any) -> None:
    kms = cloud.client("kms", REGION)
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    signature = kms.sign(
        KeyId=key,
        Message=hashlib.sha256(b"text").digest(),
        MessageType="DIGEST",
        SigningAlgorithm="ECDSA_SHA_256",
    )["Signature"]
    public = load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    assert isinstance(public, EllipticCurvePublicKey)
    public.verify(signature, b"text", ECDSA(SHA256()))


@pytest.mark.contract("send_command")
def test_only_instances_whose_agent_has_reported_are_told_to_be_managed(cloud: Any, launch: Any) -> None:
    ssm = cloud.client("ssm", REGION)
    heard, silent = launch(cloud)["InstanceId"], launch(cloud)["InstanceId"]
    cloud.shells(REGION).silent.add(silent)
    assert [each["InstanceId"] for each in ssm.describe_instance_information()["InstanceInformationList"]] == [heard]
    wanted = [{"Key": "InstanceIds", "Values": [silent]}]
    assert ssm.describe_instance_information(Filters=wanted)["InstanceInformationList"] == []


@pytest.mark.contract("send_command")
def test_another_document_is_refused(cloud: Any, launch: Any) -> None:
    with pytest.raises(ClientError) as error:
        cloud.client("ssm", REGION).send_command(
            InstanceIds=[launch(cloud)["InstanceId"]], DocumentName="Bogus", Parameters={"commands": ["true"]}
        )
    assert code(error) == "InvalidDocument"


@pytest.mark.contract("send_command")
def test_a_command_is_pending_before_it_runs_and_ends(cloud: Any, launch: Any) -> None:
    ssm, instance_id = cloud.client("ssm", REGION), launch(cloud)["InstanceId"]
    command = ssm.send_command(
        InstanceIds=[instance_id], DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]}
    )["Command"]["CommandId"]
    seen = []
    for seconds in (0, 6, 10):
        cloud.clock.advance(timedelta(seconds=seconds))
        seen.append(ssm.get_command_invocation(CommandId=command, InstanceId=instance_id)["Status"])
    assert seen == ["Pending", "InProgress", "Success"]
