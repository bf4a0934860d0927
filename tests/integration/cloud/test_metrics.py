"""What AWS does by itself in the local cloud: metrics out of logs and queues, and alarms that judge as CloudWatch's do.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.cloud import LocalCloud

REGION = "us-east-1"
TOPIC_WAIT_SECONDS = 10


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture
def hears(cloud: LocalCloud) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Every notification of a topic that alarms can name, and its ARN."""
    sns, sqs = cloud.client("sns", REGION), cloud.client("sqs", REGION)
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    url = sqs.create_queue(QueueName="heard")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def hear() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(json.loads(message["Body"])["Message"]) for message in messages]

    yield hear
    sqs.delete_queue(QueueUrl=url)
    sns.delete_topic(TopicArn=topic)


def make_alarm(cloud: LocalCloud, name: str, **differences: Any) -> str:
    alarm: dict[str, Any] = {
        "AlarmName": name,
        "Namespace": "hikae",
        "MetricName": "FailedResources",
        "Dimensions": [{"Name": "service", "Value": name}],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "Threshold": 1,
        "TreatMissingData": "notBreaching",
    }
    cloud.client("cloudwatch", REGION).put_metric_alarm(**alarm | differences)
    return name


def state(cloud: LocalCloud, name: str) -> str:
    [alarm] = cloud.client("cloudwatch", REGION).describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(alarm["StateValue"])


def wait_for(condition: Callable[[], bool], *, seconds: float = 10) -> bool:
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.1)
    return True


def put(cloud: LocalCloud, service: str, value: float, *, ago: float = 0, metric: str = "FailedResources") -> None:
    datum = {
        "MetricName": metric,
        "Dimensions": [{"Name": "service", "Value": service}],
        "Value": value,
        "Timestamp": datetime.now(tz=UTC) - timedelta(seconds=ago),
    }
    cloud.client("cloudwatch", REGION).put_metric_data(Namespace="hikae", MetricData=[datum])


def log(cloud: LocalCloud, line: str) -> None:
    logs = cloud.client("logs", REGION)
    for create, name in ((logs.create_log_group, {}), (logs.create_log_stream, {"logStreamName": "one"})):
        try:
            create(logGroupName="/aws/lambda/said", **name)
        except logs.exceptions.ResourceAlreadyExistsException:
            continue
    event = {"timestamp": int(time.time() * 1000), "message": line}
    logs.put_log_events(logGroupName="/aws/lambda/said", logStreamName="one", logEvents=[event])


def embedded(**values: Any) -> str:
    metrics = [{"Name": name, "Unit": "Count"} for name in values if name[0].isupper()]
    directive = {"Namespace": "hikae", "Dimensions": [["service", "site"]], "Metrics": metrics}
    return json.dumps({"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}, **values})


def statistics(
    cloud: LocalCloud, namespace: str, metric: str, dimensions: dict[str, str], statistic: str
) -> list[float]:
    now = datetime.now(tz=UTC)
    answer = cloud.client("cloudwatch", REGION).get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=5),
        Period=600,
        Statistics=[statistic],
    )
    return [point[statistic] for point in answer["Datapoints"]]


def test_a_log_line_in_the_embedded_metric_format_becomes_metrics(cloud: LocalCloud) -> None:
    log(cloud, embedded(service="emf", site="primary", FailedResources=[2.0], JobsSent=3))
    log(cloud, '{"message": "not a metric", "FailedResources": [100]}')
    log(cloud, '{"_aws": "nonsense"}')
    found = {"service": "emf", "site": "primary"}
    assert sum(statistics(cloud, "hikae", "FailedResources", found, "Sum")) == 2
    assert sum(statistics(cloud, "hikae", "JobsSent", found, "Sum")) == 3
    assert statistics(cloud, "hikae", "FailedResources", {"service": "emf"}, "Sum") == []


def test_what_a_queue_holds_and_for_how_long_becomes_metrics(cloud: LocalCloud) -> None:
    sqs = cloud.client("sqs", REGION)
    url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    name = {"QueueName": "jobs"}
    for _ in range(2):
        sqs.send_message(QueueUrl=url, MessageBody="job")
    depth = "ApproximateNumberOfMessagesVisible"
    assert wait_for(lambda: max(statistics(cloud, "AWS/SQS", depth, name, "Maximum"), default=0) == 2)
    time.sleep(1.5)
    received = sqs.receive_message(QueueUrl=url)["Messages"]
    hidden = "ApproximateNumberOfMessagesNotVisible"
    assert wait_for(lambda: max(statistics(cloud, "AWS/SQS", hidden, name, "Maximum"), default=0) == 1)
    assert len(received) == 1
    # Not looking, nor taking one in hand, makes the oldest any younger.
    assert max(statistics(cloud, "AWS/SQS", "ApproximateAgeOfOldestMessage", name, "Maximum")) > 1


def test_every_attempt_at_a_function_is_counted_and_every_one_that_fails(cloud: LocalCloud) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", "def handler(event, context):\n    return 1 / event['by']\n")
    functions = cloud.client("lambda", REGION)
    functions.create_function(
        FunctionName="divide",
        Runtime="python3.13",
        Role="arn:aws:iam::123456789012:role/divide",
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
    )
    functions.invoke(FunctionName="divide", Payload=b'{"by": 1}')
    functions.invoke(FunctionName="divide", InvocationType="Event", Payload=b'{"by": 0}')
    name = {"FunctionName": "divide"}
    # An asynchronous invocation is tried again twice: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
    assert wait_for(lambda: sum(statistics(cloud, "AWS/Lambda", "Errors", name, "Sum")) == 3, seconds=30)
    assert sum(statistics(cloud, "AWS/Lambda", "Invocations", name, "Sum")) == 4


def test_an_alarm_judges_its_own_dimensions_and_tells_its_topic(
    cloud: LocalCloud, hears: Callable[[], list[dict[str, Any]]]
) -> None:
    topic = cloud.client("sns", REGION).create_topic(Name="alerts")["TopicArn"]
    for name in ("mine", "another"):
        make_alarm(cloud, name, AlarmActions=[topic])
    put(cloud, "mine", 1)
    assert wait_for(lambda: state(cloud, "mine") == "ALARM")
    assert state(cloud, "another") == "OK"
    heard = hears()
    assert [(each["AlarmName"], each["NewStateValue"]) for each in heard] == [("mine", "ALARM")]


def test_a_queue_that_fills_up_is_an_alarm_without_anybody_asking(cloud: LocalCloud) -> None:
    sqs = cloud.client("sqs", REGION)
    url = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
    make_alarm(
        cloud,
        "depth",
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": "dead-letters"}],
        Statistic="Maximum",
    )
    assert wait_for(lambda: state(cloud, "depth") == "OK")
    sqs.send_message(QueueUrl=url, MessageBody="lost")
    assert wait_for(lambda: state(cloud, "depth") == "ALARM")


@pytest.mark.parametrize(
    ("treat", "expected"),
    [
        ("breaching", "ALARM"),
        ("notBreaching", "OK"),
        ("ignore", "INSUFFICIENT_DATA"),
        ("missing", "INSUFFICIENT_DATA"),
    ],
)
def test_an_alarm_that_hears_nothing_treats_that_as_it_was_told(cloud: LocalCloud, treat: str, expected: str) -> None:
    name = make_alarm(cloud, f"silent-{treat}", TreatMissingData=treat)
    assert wait_for(lambda: state(cloud, name) == expected)
    time.sleep(1.5)
    assert state(cloud, name) == expected


def test_a_success_keeps_an_alarm_on_silence_quiet_until_it_is_too_long_ago(cloud: LocalCloud) -> None:
    put(cloud, "heartbeat", 1, ago=56, metric="SucceededRuns")
    name = make_alarm(
        cloud,
        "heartbeat",
        MetricName="SucceededRuns",
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="breaching",
    )
    assert state(cloud, name) == "OK"
    assert wait_for(lambda: state(cloud, name) == "ALARM")
    put(cloud, "heartbeat", 1, metric="SucceededRuns")
    assert wait_for(lambda: state(cloud, name) == "OK")


def test_of_several_periods_one_success_is_enough(cloud: LocalCloud) -> None:
    put(cloud, "patient", 1, ago=100, metric="SucceededRuns")
    rule = {"MetricName": "SucceededRuns", "ComparisonOperator": "LessThanThreshold", "TreatMissingData": "breaching"}
    three = make_alarm(cloud, "patient", EvaluationPeriods=3, **rule)
    assert state(cloud, three) == "OK"
    one = make_alarm(cloud, "impatient", Dimensions=[{"Name": "service", "Value": "patient"}], **rule)
    assert wait_for(lambda: state(cloud, one) == "ALARM")


def test_what_is_to_be_ignored_when_missing_leaves_an_alarm_as_it_is(cloud: LocalCloud) -> None:
    name = make_alarm(cloud, "hold", TreatMissingData="ignore")
    put(cloud, "hold", 1, ago=57)
    assert wait_for(lambda: state(cloud, name) == "ALARM")
    time.sleep(5)
    assert state(cloud, name) == "ALARM"
    put(cloud, "hold", 0)
    assert wait_for(lambda: state(cloud, name) == "OK")


def test_the_conditions_of_a_template_may_take_a_parameter_apart(cloud: LocalCloud) -> None:
    template = {
        "Parameters": {"Schedule": {"Type": "String"}, "Keys": {"Type": "CommaDelimitedList", "Default": ""}},
        "Conditions": {
            "IsInMinutes": {
                "Fn::Not": [
                    {
                        "Fn::Equals": [
                            {"Fn::Select": [0, {"Fn::Split": ["minute", {"Ref": "Schedule"}]}]},
                            {"Ref": "Schedule"},
                        ]
                    }
                ]
            },
            "HasKeys": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Keys"}]}, ""]}]},
        },
        "Resources": {
            "Always": {"Type": "AWS::SNS::Topic"},
            "Minutes": {"Type": "AWS::SNS::Topic", "Condition": "IsInMinutes"},
            "Keys": {"Type": "AWS::SNS::Topic", "Condition": "HasKeys"},
        },
    }
    cloudformation = cloud.client("cloudformation", REGION)
    for schedule, keys, expected in (
        ("rate(5 minutes)", "", {"Always", "Minutes"}),
        ("rate(1 hour)", "a,b", {"Always", "Keys"}),
    ):
        name = f"stack-{len(keys)}"
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=json.dumps(template),
            Parameters=[
                {"ParameterKey": "Schedule", "ParameterValue": schedule},
                {"ParameterKey": "Keys", "ParameterValue": keys},
            ],
        )
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        assert {resource["LogicalResourceId"] for resource in resources} == expected
