"""Volumes that a rule leaves out are in no point, and everything else of the instance is."""

import json
from dataclasses import replace

import pytest

from hikae.domain.model import SiteRole, VolumeExclusion
from local.inprocess import IMAGE_PLAN, PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of

DEVICES = [
    {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}},
    {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3"}},
]
SIZES = {"/dev/sdf": 20, "/dev/sdg": 30}


def without(plan: str, exclusion: str) -> str:
    return plan.replace("    start_window: 1h\n", f"    start_window: 1h\n    exclude_volumes: {exclusion}\n")


def mark(installation: Installation, instance: str, device: str, **tags: str) -> None:
    ec2 = installation.twin.client("ec2", PRIMARY)
    [volume] = ec2.describe_volumes(
        Filters=[
            {"Name": "attachment.instance-id", "Values": [instance]},
            {"Name": "attachment.device", "Values": [device]},
        ]
    )["Volumes"]
    ec2.create_tags(Resources=[volume["VolumeId"]], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def sizes(installation: Installation, region: str = PRIMARY) -> list[int]:
    return sorted(snapshot["VolumeSize"] for snapshot in installation.snapshots(region))


@pytest.mark.parametrize(
    ("exclusion", "left"),
    [
        ("{boot: true}", [20, 30]),
        ("{data: true}", "boot"),
        ("{devices: [/dev/sdg]}", ["boot", 20]),
        ('{tags: {Scratch: "true"}}', ["boot", 30]),
        ('{boot: true, tags: {Scratch: ["true", "yes"]}}', [30]),
    ],
)
def test_a_set_has_every_volume_but_those_that_are_left_out(installation: Installation, exclusion, left) -> None:
    [instance] = installation.launch(BlockDeviceMappings=DEVICES)
    mark(installation, instance, "/dev/sdf", Scratch="true")
    boot = next(
        volume["Size"]
        for volume in installation.twin.client("ec2", PRIMARY).describe_volumes()["Volumes"]
        if volume["Size"] not in SIZES.values()
    )
    installation.apply("production", without(SNAPSHOT_PLAN, exclusion))
    [outcome] = installation.back_up()
    assert outcome.status == "created"
    expected = sorted(boot if size == "boot" else size for size in (["boot"] if left == "boot" else left))
    assert sizes(installation) == expected
    assert {tags_of(snapshot)["hikae:members"] for snapshot in installation.snapshots()} == {str(len(expected))}
    installation.copy_all()
    assert sizes(installation, RECOVERY) == expected
    assert installation.prune(SiteRole.PRIMARY).outcomes == ()


def test_an_image_has_every_device_but_those_that_are_left_out(installation: Installation) -> None:
    [instance] = installation.launch(tags={"Backup": "image"}, BlockDeviceMappings=DEVICES)
    mark(installation, instance, "/dev/sdf", Scratch="true")
    installation.apply("web-images", without(IMAGE_PLAN, '{tags: {Scratch: "true"}}'))
    [outcome] = installation.back_up()
    assert outcome.status == "created"
    [image] = installation.images()
    devices = {mapping["DeviceName"] for mapping in image["BlockDeviceMappings"] if "Ebs" in mapping}
    assert devices == {image["RootDeviceName"], "/dev/sdg"}
    assert tags_of(image)["hikae:members"] == "2"
    installation.copy_all()
    [copied] = installation.images(RECOVERY)
    assert len([mapping for mapping in copied["BlockDeviceMappings"] if "Ebs" in mapping]) == 2


def test_the_manifest_says_what_was_left_out_and_why(installation: Installation) -> None:
    installation.launch()
    installation.apply("production", without(SNAPSHOT_PLAN, "{devices: [/dev/sdf]}"))
    installation.back_up()
    s3 = installation.twin.client("s3", PRIMARY)
    [entry] = s3.list_objects_v2(Bucket=installation.primary.bucket, Prefix="manifests/")["Contents"]
    manifest = json.loads(s3.get_object(Bucket=installation.primary.bucket, Key=entry["Key"])["Body"].read())
    [reason] = manifest["left_out"].values()
    assert reason == "the plan leaves out the device /dev/sdf"
    assert len(manifest["source"]["block_devices"]) == 2


def test_an_instance_of_which_nothing_is_left_is_reported_and_not_made(installation: Installation) -> None:
    [instance] = installation.launch()
    root = installation.twin.client("ec2", PRIMARY).describe_instances(InstanceIds=[instance])
    device = root["Reservations"][0]["Instances"][0]["RootDeviceName"]
    installation.apply("production", without(SNAPSHOT_PLAN, f"{{data: true, devices: [{device}]}}"))
    [outcome] = installation.back_up()
    assert (outcome.resource, outcome.status) == (instance, "failed")
    assert outcome.reason.startswith("nothing of it is left: the plan leaves out data volumes")
    assert installation.snapshots() == []


MANY = [
    {"DeviceName": f"/dev/sd{letter}{number}", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}}
    for letter in "fg"
    for number in range(1, 22)
]


@pytest.mark.parametrize(("data_volumes", "is_made"), [(40, True), (41, False)])
def test_no_set_leaves_out_more_volumes_than_one_call_can(
    installation: Installation,
    data_volumes: int,
    is_made: bool,  # noqa: FBT001 - a table's column
) -> None:
    [instance] = installation.launch(BlockDeviceMappings=MANY[:data_volumes])
    installation.apply("production", without(SNAPSHOT_PLAN, "{data: true}"))
    [rule] = installation.tick().rules
    assert len(rule.unprotectable) == (not is_made)
    outcomes = [installation.carry_out(job) for job in installation.jobs()]
    assert [outcome.status for outcome in outcomes] == (["created"] if is_made else [])
    if not is_made:
        [told] = rule.unprotectable
        assert told.resource == instance
        assert told.reason.startswith(
            "exclude_volumes leaves out 41 of its data volumes, and EC2 leaves at most 40 out"
        )


def test_a_job_that_would_leave_out_too_many_volumes_is_refused_before_ec2_is_asked(
    installation: Installation,
) -> None:
    """As one of which the tick did not know it yet."""
    [instance] = installation.launch(BlockDeviceMappings=MANY[:41])
    installation.apply("production", SNAPSHOT_PLAN)
    installation.tick()
    [job] = installation.jobs()
    outcome = installation.carry_out(replace(job, exclude_volumes=VolumeExclusion(data=True)))
    assert (outcome.resource, outcome.status) == (instance, "failed")
    assert outcome.reason.endswith("leave out fewer, or protect it by a rule with `protect: image`")
    assert installation.twin.count("CreateSnapshots") == 0


def test_an_image_leaves_out_as_many_volumes_as_one_likes(installation: Installation) -> None:
    installation.launch(tags={"Backup": "image"}, BlockDeviceMappings=MANY[:41])
    installation.apply("web-images", without(IMAGE_PLAN, "{data: true}"))
    [outcome] = installation.back_up()
    assert outcome.status == "created"
    assert len(installation.snapshots()) == 1


def test_a_detached_volume_is_protected_whatever_is_said_about_the_volumes_of_instances(
    installation: Installation,
) -> None:
    installation.detached_volume()
    installation.apply("production", without(SNAPSHOT_PLAN, "{data: true}"))
    [outcome] = installation.back_up()
    assert outcome.status == "created"
