"""What EC2 is asked for."""

from dataclasses import replace
from typing import Any

import pytest

from hikae.domain.launches import (
    drill_group_request,
    image_registration,
    launch_request,
    volume_request,
    volume_tags,
)
from hikae.domain.manifest import ManifestVolume, read_manifest
from hikae.domain.recovery_settings import RecoverySettings
from hikae.domain.runs import Mode, Rung
from hikae.domain.targets import drill_target, restore_target
from hikae.domain.teardown import Made, decide_teardown
from tests.unit.domain.recovery_builders import NETWORK, RESTORE, RUN, RUNG, manifest, member
from tests.unit.domain.test_manifest import written


def test_a_restore_is_protected_as_the_instance_was_and_a_drill_never_is():
    document = written()
    document["source"]["launch"] = {
        "DisableApiTermination": True,
        "DisableApiStop": True,
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    was = read_manifest(document)
    assert was.instance is not None
    settings = RecoverySettings(default_subnets=("s",), default_security_groups=("g",))
    restored, drilled = (
        launch_request(member(), was, run, target, rung=RUNG, with_ip=False, installation="main")
        for run, target in (
            (RESTORE, restore_target("i-1", was, settings)),
            (RUN, drill_target(was.instance, NETWORK, own_profile=False)),
        )
    )
    assert (restored["DisableApiTermination"], restored["DisableApiStop"]) == (True, True)
    assert not {"DisableApiTermination", "DisableApiStop"} & set(drilled)
    assert restored["InstanceInitiatedShutdownBehavior"] == drilled["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_a_restore_goes_into_the_placement_group_that_stands_for_the_old_one_and_a_drill_into_none():
    was = manifest(Placement={"GroupName": "hpc", "PartitionNumber": 2, "Tenancy": "dedicated"})
    assert was.instance is not None
    settings = RecoverySettings(
        default_subnets=("s",), default_security_groups=("g",), placement_groups={"hpc": "hpc-west"}
    )
    restored = launch_request(
        member(), was, RESTORE, restore_target("i-1", was, settings), rung=RUNG, with_ip=False, installation="main"
    )
    assert restored["Placement"] == {"Tenancy": "dedicated", "GroupName": "hpc-west", "PartitionNumber": 2}
    target = drill_target(was.instance, NETWORK, own_profile=False)
    drilled = launch_request(member(), was, RUN, target, rung=RUNG, with_ip=False, installation="main")
    assert drilled["Placement"] == {"Tenancy": "dedicated"}


def test_an_image_is_registered_as_the_instance_was_and_not_as_ec2_would_by_default():
    was = manifest(
        {"ImdsSupport": "v2.0", "TpmSupport": "v2.0"}, EnaSupport=True, BootMode="uefi", Architecture="arm64"
    )
    request = image_registration(member(), was, RUN, installation="main")
    expected = {
        "Name": "hikae/main/run/drill-1/i-1/1",
        "Architecture": "arm64",
        "VirtualizationType": "hvm",
        "EnaSupport": True,
        "BootMode": "uefi",
        "TpmSupport": "v2.0",
        "ImdsSupport": "v2.0",
        "RootDeviceName": "/dev/xvda",
    }
    assert {key: request[key] for key in expected} == expected
    assert [each["Ebs"]["SnapshotId"] for each in request["BlockDeviceMappings"]] == ["snap-1", "snap-2"]
    assert all("Encrypted" not in each["Ebs"] for each in request["BlockDeviceMappings"])


def tags_in(request: dict[str, Any], kind: str) -> dict[str, str]:
    [tags] = [each["Tags"] for each in request["TagSpecifications"] if each["ResourceType"] == kind]
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_a_drill_carries_its_id_and_none_of_the_users_tags():
    was = manifest(IamInstanceProfile={"Arn": "arn:aws:iam::1:instance-profile/app"}, KeyName="prod")
    assert was.instance is not None
    target = drill_target(was.instance, NETWORK, own_profile=False)
    request = launch_request(member(), was, RUN, target, rung=RUNG, with_ip=False, installation="main")
    assert tags_in(request, "instance")["hikae:drill"] == "main/drill-1"
    assert set(tags_in(request, "instance")) == {
        "hikae:drill",
        "hikae:recovered-from",
        "hikae:recovered-resource",
        "Name",
    }
    assert request["IamInstanceProfile"] == {"Name": "drill-profile"}
    assert "KeyName" not in request
    assert all(each["Ebs"]["DeleteOnTermination"] for each in request["BlockDeviceMappings"])
    own = drill_target(was.instance, NETWORK, own_profile=True)
    assert own.profile == "app"


def test_a_restore_carries_all_tags_that_fit_and_the_volumes_own_fate():
    document = written()
    document["source"]["tags"] = {f"key-{number:02}": "x" for number in range(50)} | {"aws:x": "y", "hikae:hold": "z"}
    was = read_manifest(document)
    target = restore_target("i-1", was, RecoverySettings(default_subnets=("s",), default_security_groups=("g",)))
    request = launch_request(member(), was, RESTORE, target, rung=RUNG, with_ip=False, installation="main")
    tags = tags_in(request, "instance")
    assert len(tags) == 50
    assert tags["hikae:recovery"] == "main/restore-1"
    assert not {"aws:x", "hikae:hold"} & set(tags)
    assert [each["Ebs"]["DeleteOnTermination"] for each in request["BlockDeviceMappings"]] == [True, False]


def test_tokens_differ_by_rung_and_address_and_are_equal_for_a_retry():
    was = manifest()
    target = replace(drill_target(was.instance, NETWORK, own_profile=False), private_ip="10.0.0.9")

    def token(rung: Rung = RUNG, *, with_ip: bool = False, **differences: Any) -> str:
        request = launch_request(
            member(**differences), was, RUN, target, rung=rung, with_ip=with_ip, installation="main"
        )
        found: str = request["ClientToken"]
        return found

    assert token() == token()
    others = [token(replace(RUNG, type="m5a.large")), token(replace(RUNG, subnet="subnet-b"))]
    others += [token(with_ip=True), token(attempt=2)]
    assert len({token(), *others}) == 5
    assert all(len(each) == 64 for each in [token(), *others])


def test_performance_is_asked_for_only_where_it_can_be():
    document = written()
    for device, kind in zip(document["source"]["block_devices"], ("gp2", "st1"), strict=True):
        device["volume"] |= {"VolumeType": kind, "Iops": 300}
    was = read_manifest(document)
    target = drill_target(was.instance, NETWORK, own_profile=False)
    request = launch_request(member(), was, RUN, target, rung=RUNG, with_ip=False, installation="main")
    assert [set(each["Ebs"]) for each in request["BlockDeviceMappings"]] == [
        {"VolumeSize", "VolumeType", "DeleteOnTermination"}
    ] * 2


@pytest.mark.parametrize(
    ("described", "is_asked_for"),
    [
        ({"VolumeType": "io2", "Iops": 1000, "MultiAttachEnabled": True}, True),
        ({"VolumeType": "io2", "Iops": 1000, "MultiAttachEnabled": False}, False),
        ({"VolumeType": "gp3", "MultiAttachEnabled": True}, False),
    ],
)
def test_a_detached_volume_is_made_for_several_instances_where_it_was(described: dict[str, Any], is_asked_for: bool):  # noqa: FBT001 - a table's column
    document = written()
    document |= {"kind": "snapshot", "members": 1}
    document["source"] = {"volume": {"VolumeId": "vol-1", "Size": 8, **described}}
    was = read_manifest(document)
    request = volume_request(member(), was, RESTORE, zone="us-west-2a", installation="main")
    assert ("MultiAttachEnabled" in request) is is_asked_for


def test_a_volumes_own_tags_leave_room_for_those_of_the_run():
    tags = {f"key-{number:02}": "x" for number in range(50)} | {"aws:backup:x": "y", "hikae:volume": "z"}
    own = volume_tags(ManifestVolume(id="vol-1", device="/dev/sdf", size=8, type="gp3", tags=tags))
    assert len(own) == 47
    assert not {"aws:backup:x", "hikae:volume"} & set(own)


def test_a_drills_security_group_carries_what_lets_it_be_found_and_removed():
    request = drill_group_request(RUN, replace(NETWORK, vpc="vpc-1"), installation="main")
    assert (request["GroupName"], request["VpcId"]) == (f"hikae/main/run/{RUN.name}", "vpc-1")
    [specification] = request["TagSpecifications"]
    tags = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
    group = Made(id="sg-1", kind="security-group", state="available", tags=tags)
    decided = decide_teardown([group], mode=Mode.DRILL, run=RUN.name, installation="main")
    assert decided.remove == (group,)
