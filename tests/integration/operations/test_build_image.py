"""An image job becomes exactly one image, with its snapshots under the same tags."""

import pytest

from hikae.domain.naming import read_tags
from local.inprocess import IMAGE_PLAN, PRIMARY, Installation, tags_of


def launch_and_build(installation: Installation) -> str:
    [instance] = installation.launch(tags={"Backup": "image"})
    installation.apply("web-images", IMAGE_PLAN)
    [outcome] = installation.back_up()
    assert outcome.status == "created", outcome
    return instance


def test_an_image_carries_its_identity_and_so_do_its_snapshots(installation: Installation) -> None:
    instance = launch_and_build(installation)
    [image] = installation.images()
    tags = read_tags(tags_of(image), place=installation.primary.place)
    assert image["State"] == "available"
    assert image["Name"] == f"hikae/main/{tags.point}/1"
    assert (tags.kind, tags.members, tags.identity.resource) == ("image", 2, instance)
    assert {tags_of(snapshot)["hikae:point"] for snapshot in installation.snapshots()} == {tags.point}


@pytest.mark.parametrize(("reboot", "no_reboot"), [("false", "True"), ("true", "False")])
def test_the_instance_is_rebooted_only_where_the_plan_says_so(
    installation: Installation, reboot: str, no_reboot: str
) -> None:
    installation.launch(tags={"Backup": "image"})
    installation.apply("web-images", IMAGE_PLAN.replace("protect: image", f"protect: image\n    reboot: {reboot}"))
    installation.back_up()
    [call] = [call for call in installation.twin.calls if call.action == "CreateImage"]
    assert str(call.parameters["NoReboot"]).lower() == no_reboot.lower()


def test_a_job_that_comes_twice_makes_one_image(installation: Installation) -> None:
    installation.launch(tags={"Backup": "image"})
    installation.apply("web-images", IMAGE_PLAN)
    installation.tick()
    [job] = installation.jobs()
    statuses = [installation.carry_out(job).status for _ in range(2)]
    installation.advance(minutes=30)
    statuses.append(installation.carry_out(job).status)
    assert statuses == ["created", "adopted", "adopted"]
    assert len(installation.images()) == 1
    assert installation.twin.count("CreateImage") == 1


def test_a_detached_volume_under_an_image_rule_is_named_as_unprotectable(installation: Installation) -> None:
    volume = installation.detached_volume(tags={"Backup": "image"})
    plan = IMAGE_PLAN.replace("resources: [instance]", "resources: [instance, volume]")
    installation.apply("web-images", plan)
    tick = installation.tick()
    assert tick.jobs_sent == 0
    assert [(outcome.resource, outcome.status) for outcome in tick.rules[0].unprotectable] == [(volume, "failed")]


def test_an_instance_store_backed_instance_is_named_as_unprotectable(installation: Installation) -> None:
    ec2 = installation.twin.client("ec2", PRIMARY)
    images = ec2.describe_images(Owners=["amazon"])["Images"]
    [image] = [image for image in images if image["RootDeviceType"] == "instance-store"]
    [instance] = installation.launch(
        tags={"Backup": "image"}, ImageId=image["ImageId"], InstanceType="m3.medium", BlockDeviceMappings=[]
    )
    installation.apply("web-images", IMAGE_PLAN)
    tick = installation.tick()
    [outcome] = tick.rules[0].unprotectable
    assert outcome.resource == instance
    assert "instance store" in outcome.reason
