"""Who names a snapshot or an image, what is locked, what the Recycle Bin retains: asked whole or not at all."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from hikae.aws.usage import AwsUsage
from hikae.domain.model import AccountId, Place, Region
from hikae.ports import Refused, Unreachable
from local.twin.faults import refused, unreachable
from local.twin.testing import Twin

REGION = Region("us-east-1")
PLACE = Place(account=AccountId("123456789012"), region=REGION)


@pytest.fixture
def twin() -> Iterator[Twin]:
    with Twin() as twin:
        yield twin


@pytest.fixture
def usage(twin: Twin) -> AwsUsage:
    return AwsUsage(
        place=PLACE,
        ec2=twin.client("ec2", REGION),
        autoscaling=twin.client("autoscaling", REGION),
        rbin=twin.client("rbin", REGION),
    )


def image_of(twin: Twin, name: str) -> str:
    ec2 = twin.client("ec2", REGION)
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=10)["VolumeId"]
    twin.clock.advance(timedelta(minutes=5))
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    twin.clock.advance(timedelta(minutes=15))
    root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}
    made = ec2.register_image(
        Name=name,
        RootDeviceName="/dev/xvda",
        Architecture="x86_64",
        VirtualizationType="hvm",
        BlockDeviceMappings=[root],
    )
    twin.clock.advance(timedelta(minutes=5))
    image_id: str = made["ImageId"]
    return image_id


def test_nothing_refers_to_anything_in_an_empty_account(usage: AwsUsage) -> None:
    assert usage.references() == {}
    assert usage.locked_snapshots() == {}
    assert usage.recycle_bin_rules() == ()


def test_every_version_of_a_launch_template_counts_with_its_image_and_its_snapshots(
    twin: Twin, usage: AwsUsage
) -> None:
    ec2 = twin.client("ec2", REGION)
    images = [image_of(twin, f"image-{number}") for number in range(3)]
    template = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": images[0]})
    template_id = template["LaunchTemplate"]["LaunchTemplateId"]
    mappings = [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]
    for data in ({"ImageId": images[1]}, {"BlockDeviceMappings": mappings}, {"InstanceType": "m5.large"}):
        ec2.create_launch_template_version(LaunchTemplateId=template_id, LaunchTemplateData=data)
    assert usage.references() == {
        images[0]: frozenset({f"launch template {template_id} (web) version 1"}),
        images[1]: frozenset({f"launch template {template_id} (web) version 2"}),
        "snap-0123456789abcdef0": frozenset({f"launch template {template_id} (web) version 3"}),
    }


def test_a_parameter_that_ec2_did_not_resolve_may_name_any_image(twin: Twin, usage: AwsUsage) -> None:
    twin.client("ec2", REGION).create_launch_template(
        LaunchTemplateName="golden", LaunchTemplateData={"ImageId": "resolve:ssm:/golden/ami"}
    )
    with pytest.raises(Refused, match=r"version 1 names its image by resolve:ssm:/golden/ami"):
        usage.references()


def test_auto_scaling_names_what_it_launches_from(twin: Twin, usage: AwsUsage) -> None:
    ec2, autoscaling = twin.client("ec2", REGION), twin.client("autoscaling", REGION)
    configured, templated, mixed = (image_of(twin, f"image-{number}") for number in range(3))
    autoscaling.create_launch_configuration(
        LaunchConfigurationName="old",
        ImageId=configured,
        InstanceType="m5.large",
        BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}],
    )
    ids = {}
    for name, image in (("web", templated), ("mixed", mixed)):
        made = ec2.create_launch_template(
            LaunchTemplateName=name, LaunchTemplateData={"ImageId": image, "InstanceType": "m5.large"}
        )
        ids[name] = made["LaunchTemplate"]["LaunchTemplateId"]
    shared = {"MinSize": 0, "MaxSize": 0, "AvailabilityZones": [f"{REGION}a"]}
    autoscaling.create_auto_scaling_group(AutoScalingGroupName="a", LaunchConfigurationName="old", **shared)
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="b", LaunchTemplate={"LaunchTemplateId": ids["web"], "Version": "$Latest"}, **shared
    )
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="c",
        MixedInstancesPolicy={
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "mixed"},
                "Overrides": [{"InstanceType": "m5.large"}],
            }
        },
        **shared,
    )
    found = usage.references()
    assert found[configured] == {"launch configuration old", "Auto Scaling group a"}
    assert found["snap-0123456789abcdef0"] == {"launch configuration old", "Auto Scaling group a"}
    assert found[templated] == {f"launch template {ids['web']} (web) version 1", "Auto Scaling group b"}
    assert found[mixed] == {f"launch template {ids['mixed']} (mixed) version 1", "Auto Scaling group c"}


def test_many_launch_templates_are_all_read(twin: Twin, usage: AwsUsage) -> None:
    ec2 = twin.client("ec2", REGION)
    for number in range(230):
        data = {"ImageId": f"ami-{number:017x}"}
        ec2.create_launch_template(LaunchTemplateName=f"template-{number}", LaunchTemplateData=data)
    assert len(usage.references()) == 230


def test_locks_that_are_in_force_are_told_in_words(twin: Twin, usage: AwsUsage) -> None:
    ec2 = twin.client("ec2", REGION)
    volumes = [ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"] for _ in range(2)]
    twin.clock.advance(timedelta(minutes=5))
    ids = [ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for volume in volumes]
    for snapshot, days in zip(ids, (1, 30), strict=True):
        ec2.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=days)
    assert set(usage.locked_snapshots()) == set(ids)
    twin.clock.advance(timedelta(days=2))
    assert usage.locked_snapshots() == {ids[1]: "governance until 2026-12-22T10:05:00Z"}


def test_rules_of_the_recycle_bin_are_read_whole(twin: Twin, usage: AwsUsage) -> None:
    rbin = twin.client("rbin", REGION)
    days = {"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"}
    tags = [{"ResourceTagKey": "Team"}, {"ResourceTagKey": "Env", "ResourceTagValue": "prod"}]
    rbin.create_rule(RetentionPeriod=days, ResourceType="EBS_SNAPSHOT", ResourceTags=tags)
    rbin.create_rule(RetentionPeriod=days, ResourceType="EC2_IMAGE", ExcludeResourceTags=tags[:1])
    snapshots, images = usage.recycle_bin_rules()
    assert (snapshots.resource_type, images.resource_type) == ("EBS_SNAPSHOT", "EC2_IMAGE")
    assert snapshots.tags == {("Team", None), ("Env", "prod")}
    assert (images.tags, images.exclude_tags) == (frozenset(), {("Team", None)})
    assert not snapshots.is_available
    twin.clock.advance(timedelta(minutes=30))
    assert all(rule.is_available for rule in usage.recycle_bin_rules())


def test_what_cannot_be_asked_is_never_taken_for_an_empty_answer(usage: AwsUsage) -> None:
    for action in ("DescribeLaunchTemplates",):
        with refused(action, "UnauthorizedOperation", status=403), pytest.raises(Unreachable, match="launch templates"):
            usage.references()
    with refused("DescribeLockedSnapshots", "UnauthorizedOperation", status=403), pytest.raises(Unreachable):
        usage.locked_snapshots()
    with unreachable(REGION), pytest.raises(Unreachable):
        usage.references()
