"""Which resources are there: what an inventory leaves out is taken for gone."""

import pytest

from hikae.domain.inventory import list_present
from hikae.domain.model import BlockDevice, Instance, ResourceId, Volume


@pytest.mark.parametrize(
    ("state", "is_there"),
    [("creating", True), ("available", True), ("in-use", True), ("error", True), ("deleting", False)],
)
def test_a_volume_is_there_until_it_is_deleted_whatever_is_wrong_with_it(state, is_there):
    assert ("vol-1" in list_present([], [Volume(id=ResourceId("vol-1"), state=state)])) is is_there


@pytest.mark.parametrize(
    ("state", "is_there"), [("pending", True), ("running", True), ("stopped", True), ("shutting-down", False)]
)
def test_an_instance_is_there_until_it_is_terminated_and_its_volumes_as_long_as_they_are_attached(state, is_there):
    device = BlockDevice(device="/dev/xvda", volume_id="vol-1")
    instance = Instance(
        id=ResourceId("i-1"), state=state, image_id="ami-1", root_device_type="ebs", block_devices=(device,)
    )
    assert list_present([instance], []) == {"vol-1"} | ({"i-1"} if is_there else set())
