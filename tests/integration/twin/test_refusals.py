"""What the twin does not do, it refuses by name: nothing is answered that would be untrue on AWS."""

import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from local.twin.testing import shared_session

REGION = "us-east-1"
ALARM = {
    "AlarmName": "system",
    "Namespace": "AWS/EC2",
    "MetricName": "StatusCheckFailed_System",
    "ComparisonOperator": "GreaterThanThreshold",
    "EvaluationPeriods": 1,
    "Period": 60,
    "Threshold": 0,
    "Statistic": "Maximum",
}


@pytest.mark.contract("store_image", "instance_store_image")
@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        (
            "bundle_instance",
            {"InstanceId": "i-0123456789abcdef0", "Storage": {"S3": {"Bucket": "bundles", "Prefix": "image"}}},
        ),
        ("create_store_image_task", {"ImageId": "ami-0123456789abcdef0", "Bucket": "images"}),
        ("create_restore_image_task", {"ObjectKey": "ami-0123456789abcdef0.bin", "Bucket": "images"}),
        ("describe_store_image_tasks", {}),
        (
            "export_image",
            {"DiskImageFormat": "RAW", "ImageId": "ami-0123456789abcdef0", "S3ExportLocation": {"S3Bucket": "b"}},
        ),
    ],
)
def test_an_operation_that_it_does_not_have_is_refused_by_its_name(twin, operation, request_):
    with pytest.raises(twin.client("ec2", REGION).exceptions.ClientError) as caught:
        getattr(twin.client("ec2", REGION), operation)(**request_)
    error = caught.value.response["Error"]
    assert error["Code"] == "UnsupportedOperation"
    assert operation in error["Message"]


@pytest.mark.contract("imds")
def test_there_is_no_instance_metadata_service_that_would_tell_of_no_instance(cloud):
    for path in ("latest/meta-data/instance-id", "latest/meta-data/iam/security-credentials/"):
        answer = requests.get(f"http://169.254.169.254/{path}", timeout=1)
        assert (answer.status_code, path in answer.text) == (501, True)


@pytest.mark.contract("alarms")
def test_an_alarm_that_would_recover_is_refused_and_a_notifying_one_taken(cloud):
    cloudwatch = cloud.client("cloudwatch", REGION)
    with pytest.raises(NotImplementedError, match="PutMetricAlarm"):
        cloudwatch.put_metric_alarm(**ALARM, AlarmActions=[f"arn:aws:automate:{REGION}:ec2:recover"])
    with pytest.raises(ValueError, match="garbage"):
        cloudwatch.put_metric_alarm(**ALARM, AlarmActions=["garbage"])
    cloudwatch.put_metric_alarm(**ALARM, AlarmActions=[f"arn:aws:sns:{REGION}:123456789012:people"])
    assert len(cloudwatch.describe_alarms()["MetricAlarms"]) == 1


@pytest.mark.contract("eventbridge")
def test_nobody_else_sends_events_in_the_name_of_aws(cloud):
    event = {"DetailType": "EC2 AMI State Change", "Detail": "{}"}
    answer = cloud.client("events", REGION).put_events(
        Entries=[{**event, "Source": "aws.ec2"}, {**event, "Source": "hikae"}]
    )
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSource"
    assert answer["Entries"][1]["EventId"]


def test_a_service_that_it_has_not_is_refused_by_name(cloud):
    assert cloud.client("ec2", REGION)
    once = Config(retries={"total_max_attempts": 1})
    with pytest.raises(ClientError) as caught:
        shared_session().client("dlm", region_name=REGION, config=once).get_lifecycle_policies()
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
