import json
from typing import Any

from local.cloud.relay import Relay, shape_input

EVENT = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type": "EBS Snapshot Notification",
    "source": "aws.ec2",
    "account": "123456789012",
    "time": "2026-11-22T10:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:ec2::us-east-1:snapshot/snap-1"],
    "detail": {"event": "createSnapshot", "result": "succeeded", "snapshot_id": "snap-1"},
}
QUEUE = "arn:aws:sqs:us-west-2:123456789012:wake.fifo"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:copy"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
BUS = "arn:aws:events:us-west-2:123456789012:event-bus/hikae-main-recovery"


class FakeRegion:
    """EventBridge, Lambda, SQS and SNS of one Region, remembering what arrived; a rule matches by its source."""

    def __init__(self) -> None:
        self.buses: dict[str, list[dict[str, Any]]] = {}
        self.arrived: list[tuple[str, dict[str, Any]]] = []
        self.listed = 0

    def add_rule(self, *targets: dict[str, Any], bus: str = "default", source: str = "aws.ec2", **rule: Any) -> None:
        name = f"rule-{len(self.buses.get(bus, []))}"
        pattern = json.dumps({"source": [source]})
        self.buses.setdefault(bus, []).append(
            {"Name": name, "Arn": f"arn:{name}", "EventPattern": pattern, "targets": targets, **rule}
        )

    def list_rules(self, *, EventBusName: str, NextToken: str = "0") -> dict[str, Any]:  # noqa: N803 - boto3's names
        self.listed += 1
        rules, at = self.buses.get(EventBusName, []), int(NextToken)
        more = {"NextToken": str(at + 1)} if at + 1 < len(rules) else {}
        return {"Rules": rules[at : at + 1], **more}

    def list_targets_by_rule(self, *, Rule: str, EventBusName: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        return {"Targets": next(r["targets"] for r in self.buses[EventBusName] if r["Name"] == Rule)}

    def test_event_pattern(self, *, EventPattern: str, Event: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        return {"Result": json.loads(Event)["source"] in json.loads(EventPattern)["source"]}

    def get_queue_url(self, *, QueueName: str, QueueOwnerAWSAccountId: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        return {"QueueUrl": f"http://queue/{QueueName}"}

    def send_message(self, **message: Any) -> None:
        self.arrived.append(("sqs", message))

    def publish(self, **message: Any) -> None:
        self.arrived.append(("sns", message))

    def invoke(self, **message: Any) -> None:
        self.arrived.append(("lambda", message))


class FakeCloud:
    def __init__(self) -> None:
        self.regions = {"us-east-1": FakeRegion(), "us-west-2": FakeRegion()}
        self.now = 0.0
        self.relay = Relay(clients=lambda _, region: self.regions[region], clock=lambda: self.now)

    def __getitem__(self, region: str) -> FakeRegion:
        return self.regions[region]


def test_an_event_reaches_the_targets_of_the_matching_rules_of_its_own_region_only() -> None:
    cloud = FakeCloud()
    cloud["us-east-1"].add_rule({"Arn": FUNCTION}, {"Arn": TOPIC})
    cloud["us-east-1"].add_rule({"Arn": TOPIC}, source="aws.s3")
    cloud["us-west-2"].add_rule({"Arn": TOPIC})
    assert cloud.relay.deliver(EVENT) == 2
    assert [kind for kind, _ in cloud["us-east-1"].arrived] == ["lambda", "sns"]
    assert cloud["us-west-2"].arrived == []
    invocation = cloud["us-east-1"].arrived[0][1]
    assert invocation["InvocationType"] == "Event"
    assert json.loads(invocation["Payload"]) == EVENT


def test_a_bus_target_in_another_region_is_followed_to_the_rules_of_that_bus() -> None:
    cloud = FakeCloud()
    cloud["us-east-1"].add_rule({"Arn": BUS})
    cloud["us-west-2"].add_rule({"Arn": TOPIC})
    cloud["us-west-2"].add_rule(
        {"Arn": QUEUE, "SqsParameters": {"MessageGroupId": "copies"}}, bus="hikae-main-recovery"
    )
    assert cloud.relay.deliver(EVENT) == 1
    ((kind, message),) = cloud["us-west-2"].arrived
    assert kind == "sqs"
    assert message["MessageGroupId"] == "copies"
    assert message["QueueUrl"] == "http://queue/wake.fifo"
    assert json.loads(message["MessageBody"])["region"] == "us-east-1"


def test_buses_that_forward_in_a_circle_come_to_an_end() -> None:
    cloud = FakeCloud()
    cloud["us-east-1"].add_rule({"Arn": BUS})
    cloud["us-west-2"].add_rule({"Arn": BUS}, {"Arn": TOPIC.replace("east-1", "west-2")}, bus="hikae-main-recovery")
    assert cloud.relay.deliver(EVENT) == 5


def test_a_target_that_fails_stops_no_other() -> None:
    cloud = FakeCloud()
    nowhere = QUEUE.replace("us-west-2", "eu-north-1")
    cloud["us-east-1"].add_rule({"Arn": nowhere}, {"Arn": "arn:aws:firehose:us-east-1:123456789012:x"}, {"Arn": TOPIC})
    assert cloud.relay.deliver(EVENT) == 1
    assert [kind for kind, _ in cloud["us-east-1"].arrived] == ["sns"]


def test_a_disabled_rule_and_a_scheduled_rule_deliver_nothing() -> None:
    cloud = FakeCloud()
    cloud["us-east-1"].add_rule({"Arn": TOPIC}, State="DISABLED")
    cloud["us-east-1"].add_rule({"Arn": TOPIC}, EventPattern=None)
    assert cloud.relay.deliver(EVENT) == 0


def test_rules_are_read_again_after_a_few_seconds_and_not_for_every_event() -> None:
    cloud = FakeCloud()
    cloud.relay.deliver(EVENT)
    cloud["us-east-1"].add_rule({"Arn": TOPIC})
    cloud.now = 1
    assert cloud.relay.deliver(EVENT) == 0
    assert cloud["us-east-1"].listed == 1
    cloud.now = 4
    assert cloud.relay.deliver(EVENT) == 1


def shaped(**target: Any) -> str:
    return shape_input(EVENT, rule_arn="arn:rule", rule_name="rule", target=target)


def test_a_target_receives_its_constant_or_a_part_of_the_event() -> None:
    assert shaped(Input='{"wake": true}') == '{"wake": true}'
    assert json.loads(shaped(InputPath="$.detail.snapshot_id")) == "snap-1"
    assert json.loads(shaped(InputPath="$.resources[0]")) == EVENT["resources"][0]


def test_a_template_is_filled_in_inside_and_outside_of_strings() -> None:
    transformer = {
        "InputPathsMap": {"id": "$.detail.snapshot_id", "detail": "$.detail", "nothing": "$.detail.cause"},
        "InputTemplate": '{"text": "snapshot <id><nothing> by <aws.events.rule-name>", "id": <id>, "detail": <detail>}',
    }
    assert json.loads(shaped(InputTransformer=transformer)) == {
        "text": "snapshot snap-1 by rule",
        "id": "snap-1",
        "detail": EVENT["detail"],
    }
