"""Whether a role's policies let it do what it asks: Service Authorization Reference, IAM User Guide."""

from functools import partial
from typing import Any

import pytest

from local.twin.policies import Question, is_allowed
from local.twin.testing import assume_role, shared_session

REGION, ACCOUNT = "us-east-1", "123456789012"
OWN = {"Key": "hikae:installation", "Value": "main"}


def statement(effect: str, action: Any, *, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **({"Condition": condition} if condition else {})}


def ec2_of(*statements: dict[str, Any], role: str = "worker") -> Any:
    """The EC2 of a role that has these statements and no others."""
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    given = assume_role(ACCOUNT, role, policy=policy)
    return shared_session().client("ec2", region_name=REGION, **given)


def tags(kind: str, *pairs: dict[str, str]) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": list(pairs)}]


@pytest.mark.contract("accounts", "dry_run")
def test_what_no_policy_allows_is_unauthorized_and_does_not_happen(cloud, make_snapshot, enforce, refused):
    snapshot_id = make_snapshot(cloud)
    reader = ec2_of(statement("Allow", "ec2:Describe*"))
    enforce(cloud)
    assert len(reader.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1
    for dry_run in (True, False):
        with refused("UnauthorizedOperation"):
            reader.delete_snapshot(SnapshotId=snapshot_id, DryRun=dry_run)
    assert len(reader.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


def test_a_dry_run_of_what_is_allowed_would_have_succeeded(twin, make_snapshot, enforce, refused):
    snapshot_id = make_snapshot(twin)
    deleter = ec2_of(statement("Allow", "ec2:DeleteSnapshot"))
    enforce(twin)
    with refused("DryRunOperation"):
        deleter.delete_snapshot(SnapshotId=snapshot_id, DryRun=True)
    deleter.delete_snapshot(SnapshotId=snapshot_id)


@pytest.mark.contract("accounts")
def test_a_condition_on_the_tags_of_a_resource_counts(cloud, make_snapshot, enforce, refused):
    foreign, own = make_snapshot(cloud), make_snapshot(cloud)
    cloud.client("ec2", REGION).create_tags(Resources=[own], Tags=[OWN])
    condition = {"StringEquals": {"aws:ResourceTag/hikae:installation": "main"}}
    deleter = ec2_of(statement("Allow", "ec2:DeleteSnapshot", **condition))
    enforce(cloud)
    with refused("UnauthorizedOperation"):
        deleter.delete_snapshot(SnapshotId=foreign)
    deleter.delete_snapshot(SnapshotId=own)


def test_an_explicit_deny_wins(twin, make_snapshot, enforce, refused):
    snapshot_id = make_snapshot(twin)
    twin.client("ec2", REGION).create_tags(Resources=[snapshot_id], Tags=[{"Key": "hikae:hold", "Value": "x"}])
    held = {"Null": {"aws:ResourceTag/hikae:hold": "false"}}
    deleter = ec2_of(statement("Allow", "ec2:*"), statement("Deny", "ec2:DeleteSnapshot", **held))
    enforce(twin)
    with refused("UnauthorizedOperation"):
        deleter.delete_snapshot(SnapshotId=snapshot_id)
    deleter.delete_tags(Resources=[snapshot_id], Tags=[{"Key": "hikae:hold"}])
    deleter.delete_snapshot(SnapshotId=snapshot_id)


def test_creating_with_tags_needs_the_tags_and_the_right_to_set_them(twin, make_volume, enforce, refused):
    volume_id = make_volume(twin)
    asked = {"StringEquals": {"aws:RequestTag/hikae:installation": "main"}}
    create = statement("Allow", "ec2:CreateSnapshot", resource="arn:aws:ec2:*::snapshot/*", **asked)
    volumes = statement("Allow", "ec2:CreateSnapshot", resource="arn:aws:ec2:*:*:volume/*")
    in_creation = {"StringEquals": {"ec2:CreateAction": "CreateSnapshot"}}
    tagging = statement("Allow", "ec2:CreateTags", resource="arn:aws:ec2:*::snapshot/*", **in_creation)
    without_tagging = ec2_of(create, volumes, role="untagging")
    worker = ec2_of(create, volumes, tagging)
    enforce(twin)
    request = partial(dict, VolumeId=volume_id, TagSpecifications=tags("snapshot", OWN))
    with refused("UnauthorizedOperation"):
        without_tagging.create_snapshot(**request())
    with refused("UnauthorizedOperation"):
        worker.create_snapshot(VolumeId=volume_id)
    with refused("UnauthorizedOperation"):
        worker.create_snapshot(VolumeId=volume_id, TagSpecifications=tags("snapshot", {**OWN, "Value": "other"}))
    snapshot_id = worker.create_snapshot(**request())["SnapshotId"]
    with refused("UnauthorizedOperation"):
        worker.create_tags(Resources=[snapshot_id], Tags=[OWN])


def test_an_image_needs_its_instance_itself_and_its_snapshots(twin, launch, enforce, refused):
    instance_id = launch(twin)["InstanceId"]
    parts = ["arn:aws:ec2:*:*:instance/*", "arn:aws:ec2:*::image/*", "arn:aws:ec2:*::snapshot/*"]
    for missing in parts:
        few = ec2_of(statement("Allow", "ec2:CreateImage", resource=[each for each in parts if each != missing]))
        enforce(twin)
        with refused("UnauthorizedOperation"):
            few.create_image(InstanceId=instance_id, Name="orders")
        twin.world.permissions.is_enforced = False
    all_of_them = ec2_of(statement("Allow", "ec2:CreateImage", resource=parts))
    enforce(twin)
    all_of_them.create_image(InstanceId=instance_id, Name="orders")


@pytest.mark.contract("accounts")
def test_a_role_that_is_not_there_cannot_be_assumed(cloud, enforce, refused):
    enforce(cloud)
    with refused("AccessDenied"):
        cloud.client("sts", REGION).assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/nobody", RoleSessionName="nobody")


@pytest.mark.parametrize(
    "condition", [{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"Bool": {"aws:ViaAWSService": "true"}}]
)
def test_a_condition_that_is_not_known_here_is_refused_rather_than_passed_over(twin, enforce, refused, condition):
    ec2 = ec2_of(statement("Allow", "ec2:*", **condition))
    enforce(twin)
    with refused("UnsupportedOperation"):
        ec2.describe_snapshots()


@pytest.mark.parametrize(
    ("condition", "context", "is_met"),
    [
        ({"StringEquals": {"aws:RequestTag/a": ["x", "y"]}}, {"aws:requesttag/a": ["y"]}, True),
        ({"StringEquals": {"aws:RequestTag/a": "x"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:RequestTag/a": "x"}}, {}, True),
        ({"StringNotEquals": {"aws:RequestTag/a": "x"}}, {}, True),
        ({"StringNotLike": {"aws:RequestTag/a": "x*"}}, {"aws:requesttag/a": ["xy"]}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:tagkeys": ["a"]}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:tagkeys": ["a", "c"]}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}, {}, True),
        ({"ForAnyValue:StringLike": {"aws:TagKeys": "hikae:*"}}, {"aws:tagkeys": ["x", "hikae:y"]}, True),
        ({"ForAnyValue:StringLike": {"aws:TagKeys": "hikae:*"}}, {}, False),
        ({"Null": {"aws:RequestTag/a": "true"}}, {}, True),
        ({"Null": {"aws:RequestTag/a": True}}, {"aws:requesttag/a": ["x"]}, False),
        ({"NumericLessThanEquals": {"aws:RequestTag/a": 5}}, {"aws:requesttag/a": ["5"]}, True),
        ({"Bool": {"aws:RequestTag/a": True}}, {"aws:requesttag/a": ["true"]}, True),
    ],
)
def test_conditions_are_met_as_iam_says(condition, context, is_met):
    policy = {"Statement": statement("Allow", "ec2:CreateTags", **condition)}
    assert is_allowed([policy], Question(action="ec2:CreateTags", resource="*", context=context)) == is_met


@pytest.mark.parametrize(
    ("rest", "is_allowed_"),
    [
        ({"Action": "ec2:deletesnapshot", "Resource": "*"}, True),
        ({"Action": ["s3:*", "ec2:Delete*"], "Resource": "arn:aws:ec2:*::snapshot/*"}, True),
        ({"Action": "ec2:DeleteSnapshot", "Resource": "arn:aws:ec2:*::image/*"}, False),
        ({"NotAction": "ec2:Delete*", "Resource": "*"}, False),
        ({"Action": "*", "NotResource": "arn:aws:ec2:*::snapshot/*"}, False),
    ],
)
def test_actions_and_resources_are_matched_with_wildcards(rest, is_allowed_):
    question = Question(action="ec2:DeleteSnapshot", resource="arn:aws:ec2:us-east-1::snapshot/snap-1", context={})
    assert is_allowed([{"Statement": [{"Effect": "Allow", **rest}]}], question) == is_allowed_
