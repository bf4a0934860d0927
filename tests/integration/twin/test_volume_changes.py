"""ModifyVolume: EC2 API Reference; EBS User Guide, "Monitor the progress of volume modifications"."""

from datetime import timedelta

import pytest

REGION = "us-east-1"


def size_of(ec2, volume_id):
    return ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["Size"]


def state_of(ec2, volume_id):
    [found] = ec2.describe_volumes_modifications(VolumeIds=[volume_id])["VolumesModifications"]
    return found["ModificationState"]


@pytest.mark.contract("modify_volume", "eventbridge")
def test_a_change_takes_effect_while_it_is_optimized_and_is_told(cloud, make_volume):
    ec2, volume_id = cloud.client("ec2", REGION), make_volume(cloud)
    assert ec2.modify_volume(VolumeId=volume_id, Size=512)["VolumeModification"]["ModificationState"] == "modifying"
    assert size_of(ec2, volume_id) == 10
    cloud.clock.advance(timedelta(seconds=10))
    assert (size_of(ec2, volume_id), state_of(ec2, volume_id)) == (512, "optimizing")
    cloud.clock.advance(timedelta(hours=2, minutes=59))
    assert state_of(ec2, volume_id) == "optimizing"
    cloud.clock.advance(timedelta(minutes=2))
    assert state_of(ec2, volume_id) == "completed"
    assert [each["detail"]["result"] for each in cloud.events[-2:]] == ["optimizing", "completed"]


@pytest.mark.contract("modify_volume")
def test_one_change_at_a_time_and_four_a_day(cloud, make_volume, refused):
    ec2, volume_id = cloud.client("ec2", REGION), make_volume(cloud)
    for size in range(11, 15):
        ec2.modify_volume(VolumeId=volume_id, Size=size)
        with refused("IncorrectModificationState"):
            ec2.modify_volume(VolumeId=volume_id, Size=size + 1)
        cloud.clock.advance(timedelta(minutes=15))
    with refused("VolumeModificationRateExceeded"):
        ec2.modify_volume(VolumeId=volume_id, Size=15)
    cloud.clock.advance(timedelta(hours=23))
    ec2.modify_volume(VolumeId=volume_id, Size=15)


@pytest.mark.contract("modify_volume")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Size": 9}, "InvalidParameterValue"),
        ({"VolumeType": "st1"}, "InvalidParameterValue"),
        ({"VolumeType": "io1"}, "InvalidParameterCombination"),
        ({"Iops": 20_000}, "InvalidParameterCombination"),
        ({"VolumeType": "gp9"}, "UnknownVolumeType"),
    ],
)
def test_a_change_to_what_the_type_does_not_have_is_refused(cloud, make_volume, refused, change, code):
    with refused(code):
        cloud.client("ec2", REGION).modify_volume(VolumeId=make_volume(cloud, VolumeType="gp2", Size=10), **change)


def test_another_type_brings_its_own_performance(twin, make_volume):
    ec2, volume_id = twin.client("ec2", REGION), make_volume(twin, VolumeType="gp2", Size=10)
    ec2.modify_volume(VolumeId=volume_id, VolumeType="gp3")
    twin.clock.advance(timedelta(minutes=1))
    [found] = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    assert (found["VolumeType"], found["Iops"], found["Throughput"]) == ("gp3", 3000, 125)
