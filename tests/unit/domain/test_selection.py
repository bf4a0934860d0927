from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.model import BlockDevice, Instance, Kind, ResourceId, SourceVolume, Volume, VolumeExclusion
from hikae.domain.plan import Rule, Selection, parse_plan
from hikae.domain.selection import Selected, Skipped, Unprotectable, choose_instance, choose_volume, exclude_volumes

PLAN = parse_plan("""\
version: 1
plan: production
timezone: UTC
selection:
  resources: [instance, volume]
  tags: {Backup: [production, gold], Team: web}
  exclude_tags: {Scratch: ["true", "yes"], Retired: ""}
rules:
  - {name: snapshots, schedule: "0 * * * *", protect: snapshots, retention: {keep_last: 1}}
  - {name: images, schedule: "0 * * * *", protect: image, retention: {keep_last: 1}}
""")
SNAPSHOTS, IMAGES = PLAN.rules
TAGS = {"Backup": "gold", "Team": "web"}


def instance(**differences) -> Instance:
    known = {
        "id": ResourceId("i-1"),
        "state": "running",
        "image_id": "ami-1",
        "root_device_type": "ebs",
        "block_devices": (BlockDevice(device="/dev/xvda", volume_id="vol-1"),),
        "tags": TAGS,
    }
    return Instance(**known | differences)


def volume(**differences) -> Volume:
    return Volume(**{"id": ResourceId("vol-1"), "state": "available", "tags": TAGS} | differences)


def only(*resources: str) -> Selection:
    return Selection(resources=frozenset(resources), tags=PLAN.selection.tags)


# --- by tag -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "is_named"),
    [
        (TAGS, True),
        (TAGS | {"Backup": "production", "Name": "web-1"}, True),
        (TAGS | {"Scratch": "false"}, True),
        (TAGS | {"Backup": "silver"}, False),
        (TAGS | {"Backup": "Gold"}, False),  # EC2's tags know case
        ({"Backup": "gold"}, False),
        ({"backup": "gold", "Team": "web"}, False),
        ({}, False),
        (TAGS | {"Scratch": "true"}, False),
        (TAGS | {"Scratch": "yes"}, False),
        (TAGS | {"Retired": ""}, False),
        (TAGS | {"Retired": "no"}, True),
    ],
)
def test_all_tags_must_match_and_no_excluded_one_may(tags, is_named):
    assert bool(choose_instance(PLAN.selection, SNAPSHOTS, instance(tags=tags))) == is_named
    assert bool(choose_volume(PLAN.selection, SNAPSHOTS, volume(tags=tags))) == is_named


@given(
    st.dictionaries(st.sampled_from(["Backup", "Team", "Scratch", "Name"]), st.sampled_from(["gold", "web", "true"]))
)
def test_an_excluded_tag_never_adds_a_resource(tags):
    without = Selection(resources=PLAN.selection.resources, tags=PLAN.selection.tags)
    chosen = choose_instance(PLAN.selection, SNAPSHOTS, instance(tags=tags))
    assert chosen is None or chosen == choose_instance(without, SNAPSHOTS, instance(tags=tags))


@pytest.mark.parametrize(
    ("tags", "is_named"),
    [
        ({"Backup": "gold"}, True),
        ({"Service": "db", "Tier": "prod"}, True),
        ({"Backup": "gold", "Service": "web"}, True),
        ({"Service": "db"}, False),
        ({"Service": "db", "Tier": "test"}, False),
        ({"Service": "db", "Tier": "prod", "Scratch": "yes"}, False),
        ({}, False),
    ],
)
def test_of_several_mappings_of_tags_one_must_match_whole(tags, is_named):
    either = Selection(
        resources=frozenset({"instance", "volume"}),
        tags=({"Backup": frozenset({"gold"})}, {"Service": frozenset({"db"}), "Tier": frozenset({"prod"})}),
        exclude_tags={"Scratch": frozenset({"yes"})},
    )
    assert bool(choose_instance(either, SNAPSHOTS, instance(tags=tags))) == is_named
    assert bool(choose_volume(either, SNAPSHOTS, volume(tags=tags))) == is_named


# --- instances --------------------------------------------------------------------------------------------------------


def test_an_instance_is_protected_as_the_rule_says():
    chosen = choose_instance(PLAN.selection, SNAPSHOTS, instance())
    assert chosen == Selected(resource=ResourceId("i-1"), kind=Kind.SNAPSHOT_SET)
    chosen = choose_instance(PLAN.selection, IMAGES, instance())
    assert chosen == Selected(resource=ResourceId("i-1"), kind=Kind.IMAGE)


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_an_instance_need_not_run_to_be_protected(state):
    assert isinstance(choose_instance(PLAN.selection, SNAPSHOTS, instance(state=state)), Selected)


def test_an_instance_that_is_gone_is_not_even_mentioned():
    assert choose_instance(PLAN.selection, SNAPSHOTS, instance(state="terminated")) is None


@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        ({"state": "shutting-down"}, "it is shutting down for good"),
        ({"tags": TAGS | {"hikae:drill": "drill-7"}}, "the drill drill-7 made it"),
        ({"state": "pending", "block_devices": ()}, "its volumes are not attached yet; the next tick sees them"),
    ],
)
def test_an_instance_that_is_skipped_says_why(difference, reason):
    chosen = choose_instance(PLAN.selection, SNAPSHOTS, instance(**difference))
    assert chosen == Skipped(resource=ResourceId("i-1"), reason=reason)
    foreign = difference | {"tags": {"hikae:drill": "drill-7"}}
    assert choose_instance(PLAN.selection, SNAPSHOTS, instance(**foreign)) is None


def test_what_of_an_instance_no_point_can_have_is_said():
    stores = {"m5d.large": "1 instance-store volumes of 75 GB in all (m5d.large)"}
    chosen = choose_instance(PLAN.selection, IMAGES, instance(type="m5d.large"), instance_stores=stores)
    left_out = (
        "1 instance-store volumes of 75 GB in all (m5d.large): instance stores are in no snapshot and no image",
    )
    assert chosen == Selected(resource=ResourceId("i-1"), kind=Kind.IMAGE, left_out=left_out)
    other = choose_instance(PLAN.selection, IMAGES, instance(type="m5.large"), instance_stores=stores)
    assert other == Selected(resource=ResourceId("i-1"), kind=Kind.IMAGE)


@pytest.mark.parametrize("rule", [SNAPSHOTS, IMAGES], ids=lambda rule: rule.name)
@pytest.mark.parametrize(
    ("difference", "reason"),
    [
        (
            {"root_device_type": "instance-store"},
            "its root device is an instance store, which EC2 can neither snapshot nor make an image of",
        ),
        ({"block_devices": ()}, "it has no EBS volume"),
    ],
)
def test_an_instance_that_cannot_be_protected_says_why(rule: Rule, difference, reason):
    chosen = choose_instance(PLAN.selection, rule, instance(**difference))
    assert chosen == Unprotectable(resource=ResourceId("i-1"), reason=reason)


def test_an_instance_that_no_plan_names_is_not_even_mentioned():
    foreign = instance(tags={}, root_device_type="instance-store")
    assert choose_instance(PLAN.selection, SNAPSHOTS, foreign) is None
    assert choose_instance(only("volume"), SNAPSHOTS, instance()) is None


# --- volumes ----------------------------------------------------------------------------------------------------------


def test_a_detached_volume_is_protected_by_itself():
    assert choose_volume(PLAN.selection, SNAPSHOTS, volume()) == Selected(
        resource=ResourceId("vol-1"), kind=Kind.SNAPSHOT
    )


@pytest.mark.parametrize(
    "difference",
    [
        {"attached_to": "i-1", "state": "in-use"},
        {"attached_to": "i-1"},
        {"state": "creating"},
        {"state": "deleting"},
        {"state": "error"},
    ],
)
def test_a_volume_that_is_attached_or_not_there_is_not_protected_by_itself(difference):
    assert choose_volume(PLAN.selection, SNAPSHOTS, volume(**difference)) is None


def test_a_volume_that_a_drill_made_is_skipped():
    chosen = choose_volume(PLAN.selection, SNAPSHOTS, volume(tags=TAGS | {"hikae:drill": "drill-7"}))
    assert chosen == Skipped(resource=ResourceId("vol-1"), reason="the drill drill-7 made it")


def test_a_volume_cannot_become_an_image_and_says_so():
    assert choose_volume(PLAN.selection, IMAGES, volume()) == Unprotectable(
        resource=ResourceId("vol-1"), reason="an image is made of an instance, and it is a detached volume"
    )


def test_a_volume_of_a_plan_for_instances_is_not_even_mentioned():
    assert choose_volume(only("instance"), IMAGES, volume()) is None


# --- the volumes of an instance ---------------------------------------------------------------------------------------

BOOT = SourceVolume(id="vol-boot", device="/dev/xvda", is_boot=True, tags={"Scratch": "no"})
DATA = SourceVolume(id="vol-data", device="/dev/sdf", tags={"Scratch": "true"})
LOGS = SourceVolume(id="vol-logs", device="/dev/sdg")


@pytest.mark.parametrize(
    ("exclusion", "left_out"),
    [
        (VolumeExclusion(), {}),
        (VolumeExclusion(boot=True), {"vol-boot": "the plan leaves out the boot volume"}),
        (VolumeExclusion(data=True), dict.fromkeys(["vol-data", "vol-logs"], "the plan leaves out data volumes")),
        (
            VolumeExclusion(devices=frozenset({"/dev/sdg", "/dev/sdz"})),
            {"vol-logs": "the plan leaves out the device /dev/sdg"},
        ),
        (
            VolumeExclusion(tags={"Scratch": frozenset({"true", "yes"})}),
            {"vol-data": "the plan leaves out volumes with the tag Scratch=true"},
        ),
        (
            VolumeExclusion(tags={"Scratch": frozenset({"true"})}, devices=frozenset({"/dev/sdf"}), boot=True),
            {
                "vol-boot": "the plan leaves out the boot volume",
                "vol-data": "the plan leaves out volumes with the tag Scratch=true",
            },
        ),
    ],
)
def test_each_volume_that_is_left_out_says_why(exclusion, left_out):
    assert exclude_volumes(exclusion, [BOOT, DATA, LOGS]) == left_out
    assert exclusion.is_empty == (exclusion == VolumeExclusion())


def many(number: int) -> Instance:
    devices = [BlockDevice(device="/dev/xvda", volume_id="vol-boot")]
    devices += [BlockDevice(device=f"/dev/sd{each}", volume_id=f"vol-{each}") for each in range(number)]
    return instance(root_device="/dev/xvda", block_devices=tuple(devices))


SCRATCH = {f"vol-{each}": {"Scratch": "true"} for each in range(41)}
BY_TAG = VolumeExclusion(tags={"Scratch": frozenset({"true"})})


@pytest.mark.parametrize(
    ("exclusion", "number", "volume_tags", "is_selected"),
    [
        (VolumeExclusion(data=True), 40, {}, True),
        (VolumeExclusion(data=True), 41, {}, False),
        (VolumeExclusion(data=True, boot=True), 40, {}, True),  # the boot volume is left out in another way
        (VolumeExclusion(devices=frozenset({"/dev/sd1"})), 60, {}, True),
        (BY_TAG, 60, SCRATCH, False),
        (BY_TAG, 60, {}, True),  # nobody knows the tags here; whoever carries it out does
        (VolumeExclusion(), 60, SCRATCH, True),
    ],
)
def test_an_instance_of_which_more_volumes_are_left_out_than_ec2_can_is_unprotectable(
    exclusion, number, volume_tags, is_selected
):
    rule = replace(SNAPSHOTS, exclude_volumes=exclusion)
    chosen = choose_instance(PLAN.selection, rule, many(number), volume_tags=volume_tags)
    assert isinstance(chosen, Selected if is_selected else Unprotectable)
    # An image names devices to leave out, and as many as one likes.
    images = replace(IMAGES, exclude_volumes=exclusion)
    assert isinstance(choose_instance(PLAN.selection, images, many(number), volume_tags=volume_tags), Selected)
