"""What AWS does in the local cloud besides metrics and alarms: a Region can be lost, and executions run out of time."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from local.cloud import LocalCloud

HERE, THERE = "us-east-1", "us-west-2"


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud() as cloud:
        yield cloud


ASKED: dict[str, Callable[[Any], Any]] = {
    "autoscaling": lambda client: client.describe_auto_scaling_groups(),
    "cloudformation": lambda client: client.list_stacks(),
    "dynamodb": lambda client: client.list_tables(),
    "ec2": lambda client: client.describe_volumes(),
    "events": lambda client: client.list_rules(),
    "iam": lambda client: client.list_roles(),
    "kms": lambda client: client.list_keys(),
    "lambda": lambda client: client.list_functions(),
    "rbin": lambda client: client.list_rules(ResourceType="EBS_SNAPSHOT"),
    "s3": lambda client: client.list_buckets(),
    "scheduler": lambda client: client.list_schedules(),
    "sns": lambda client: client.list_topics(),
    "sqs": lambda client: client.list_queues(),
    "stepfunctions": lambda client: client.list_state_machines(),
    "sts": lambda client: client.get_caller_identity(),
}


@pytest.mark.parametrize("service", ASKED)
def test_no_service_of_a_region_that_is_lost_answers_and_each_of_another_does(cloud: LocalCloud, service: str) -> None:
    ask = ASKED[service]
    ask(cloud.client(service, HERE))
    with cloud.without(HERE):
        with pytest.raises(ConnectionClosedError):
            ask(cloud.client(service, HERE))
        if service != "iam":  # its one endpoint is in us-east-1, wherever it is asked from
            ask(cloud.client(service, THERE))
    ask(cloud.client(service, HERE))


def test_nothing_is_carried_out_in_a_region_that_is_lost(cloud: LocalCloud) -> None:
    sqs = cloud.client("sqs", HERE)
    with cloud.without(HERE), pytest.raises(ConnectionClosedError):
        sqs.create_queue(QueueName="never")
    assert not sqs.list_queues(QueueNamePrefix="never").get("QueueUrls")


def test_a_bucket_of_a_region_that_is_lost_is_not_to_be_reached_through_another(cloud: LocalCloud) -> None:
    s3 = cloud.client("s3", THERE)
    where = {"CreateBucketConfiguration": {"LocationConstraint": THERE}}
    for region in (HERE, THERE):
        s3.create_bucket(Bucket=f"documents-{region}", **where)
    with cloud.without(HERE):
        s3.list_objects_v2(Bucket=f"documents-{THERE}")
        with pytest.raises(ConnectionClosedError):
            s3.list_objects_v2(Bucket=f"documents-{HERE}")


def test_the_twin_asks_for_keys_and_takes_those_that_there_are(cloud: LocalCloud) -> None:
    ec2, kms = cloud.client("ec2", HERE), cloud.client("kms", HERE)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    wanted = {"AvailabilityZone": f"{HERE}a", "Size": 1, "Encrypted": True}
    made = [ec2.create_volume(**wanted, KmsKeyId=each)["VolumeId"] for each in (key, f"{key[:-4]}0000")]
    give_up_at = time.monotonic() + 10
    while any(each["State"] == "creating" for each in ec2.describe_volumes(VolumeIds=made[:1])["Volumes"]):
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    [volume] = ec2.describe_volumes(VolumeIds=made[:1])["Volumes"]
    assert (volume["State"], volume["KmsKeyId"]) == ("available", key)
    known = [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"] if each["State"] == "available"]
    assert made[1] not in known


def make_definition(**also: Any) -> str:
    states = {"Sleep": {"Type": "Wait", "Seconds": 600, "Next": "Late"}, "Late": {"Type": "Succeed"}}
    return json.dumps({"StartAt": "Sleep", "States": states, **also})


def make_machine(cloud: LocalCloud, name: str, **also: Any) -> str:
    answer = cloud.client("stepfunctions", HERE).create_state_machine(
        name=name,
        definition=make_definition(**also),
        roleArn="arn:aws:iam::123456789012:role/runs",
    )
    return str(answer["stateMachineArn"])


def test_an_execution_that_takes_too_long_is_ended_and_told(cloud: LocalCloud) -> None:
    states, events, sqs = (cloud.client(service, HERE) for service in ("stepfunctions", "events", "sqs"))
    machine = make_machine(cloud, "hurried", TimeoutSeconds=1)
    url = sqs.create_queue(QueueName="ends")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.states"], "detail": {"stateMachineArn": [machine], "status": ["TIMED_OUT"]}}
    events.put_rule(Name="ends", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="ends", Targets=[{"Id": "queue", "Arn": arn}])
    execution = states.start_execution(stateMachineArn=machine, name="late")["executionArn"]
    states.update_state_machine(stateMachineArn=machine, definition=make_definition(TimeoutSeconds=600))
    give_up_at = time.monotonic() + 10
    while states.describe_execution(executionArn=execution)["status"] == "RUNNING":
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    ended = states.describe_execution(executionArn=execution)
    assert (ended["status"], ended["error"]) == ("TIMED_OUT", "States.Timeout")
    [message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert json.loads(message["Body"])["detail"]["name"] == "late"
    told = [event["type"] for event in states.get_execution_history(executionArn=execution)["events"]]
    assert told[-1] == "ExecutionTimedOut"


def test_an_execution_without_a_limit_or_within_it_goes_on(cloud: LocalCloud) -> None:
    states = cloud.client("stepfunctions", HERE)
    for name, definition in (("free", {}), ("patient", {"TimeoutSeconds": 600})):
        machine = make_machine(cloud, name, **definition)
        execution = states.start_execution(stateMachineArn=machine)["executionArn"]
        time.sleep(1.5)  # the limits are looked at every second
        assert states.describe_execution(executionArn=execution)["status"] == "RUNNING"
