"""A manifest is read whole or refused with every problem, none of which shows a value."""

import copy
from typing import Any

import pytest

from hikae.domain.manifest import ManifestError, read_manifest, redact, write_manifest
from hikae.domain.model import Job, Kind
from hikae.domain.naming import tags_of_job
from tests.unit.domain.builders import NOW, identity

SECRET = "c2VjcmV0"
JOB = Job(identity=identity(), kind=Kind.SNAPSHOT_SET, deadline=NOW)
TAGS = tags_of_job(JOB, attempt=1, members=2)
DESCRIPTION: dict[str, Any] = {
    "instance": {
        "InstanceType": "m5.large",
        "Architecture": "x86_64",
        "RootDeviceName": "/dev/xvda",
        "SecurityGroups": [{"GroupId": "sg-1", "GroupName": "web"}],
    },
    "image": {"ImdsSupport": "v2.0"},
    "tags": {"Name": "web"},
    "user_data": SECRET,
    "network_interfaces": [{"NetworkInterfaceId": "eni-1"}],
    "elastic_ips": [],
    "type": {"InstanceType": "m5.large"},
    "launch": {"InstanceInitiatedShutdownBehavior": "stop", "DisableApiTermination": False, "DisableApiStop": False},
    "target_groups": [],
    "unknown": {},
    "block_devices": [
        {
            "device": device,
            "delete_on_termination": device == "/dev/xvda",
            "volume": {"VolumeId": volume, "Size": 8, "VolumeType": "gp3", "Iops": 3000, "Throughput": 125},
        }
        for device, volume in (("/dev/xvda", "vol-1"), ("/dev/sdf", "vol-2"))
    ],
}


def written(**changes: Any) -> dict[str, Any]:
    document = write_manifest(JOB, TAGS, description=DESCRIPTION, left_out={}, now=NOW)
    return copy.deepcopy(document) | changes


def problems(document: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(document, tags=TAGS)
    return caught.value.problems


def test_what_is_written_is_read():
    manifest = read_manifest(written(), tags=TAGS)
    assert (manifest.resource, manifest.kind, manifest.members) == ("i-1", Kind.SNAPSHOT_SET, 2)
    assert manifest.instance is not None
    assert (manifest.instance.type, manifest.instance.architecture) == ("m5.large", "x86_64")
    assert manifest.instance.user_data == SECRET
    assert [(each.device, each.delete_on_termination) for each in manifest.volumes] == [
        ("/dev/xvda", True),
        ("/dev/sdf", False),
    ]


def test_a_key_that_a_later_version_adds_is_no_problem():
    document = written(added="later")
    document["source"]["added"] = {"more": 1}
    assert read_manifest(document, tags=TAGS).version == 1


def test_what_an_earlier_version_did_not_write_is_no_problem():
    document = written()
    del document["source"]["image"]
    del document["left_out"]
    manifest = read_manifest(document, tags=TAGS)
    assert manifest.instance is not None
    assert manifest.instance.image == {}


def test_what_the_first_manifests_did_not_have_is_unknown_and_has_its_reason():
    document = written()
    for key in ("type", "launch", "target_groups", "unknown"):
        del document["source"][key]
    manifest = read_manifest(document, tags=TAGS)
    assert manifest.instance is not None
    assert (manifest.instance.launch, manifest.instance.target_groups) == ({}, ())
    assert set(manifest.instance.unknown) == {"type", "launch", "target_groups"}
    assert "earlier version" in manifest.instance.unknown["launch"]


def test_what_could_not_be_asked_is_said_with_the_reason():
    document = written()
    document["source"] |= {"launch": {}, "unknown": {"launch": "UnauthorizedOperation"}}
    manifest = read_manifest(document, tags=TAGS)
    assert manifest.instance is not None
    assert manifest.instance.unknown == {"launch": "UnauthorizedOperation"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"user_data": "no base64!"}, "source.user_data is not base64"),
        ({"user_data": "QUFB" * 5462}, "source.user_data has 16386 bytes, and EC2 takes 16384"),
        ({"type": "m5.large"}, "source.type is not a mapping"),
        ({"launch": {"DisableApiTermination": "yes"}}, "source.launch.DisableApiTermination is neither true nor false"),
        (
            {"launch": {"InstanceInitiatedShutdownBehavior": "hibernate"}},
            "source.launch.InstanceInitiatedShutdownBehavior is neither stop nor terminate",
        ),
        ({"launch": {"CreditSpecification": {}}}, "source.launch.CreditSpecification has no CpuCredits"),
        ({"target_groups": [{"Port": 80}]}, "source.target_groups[0] has no TargetGroupArn and Id"),
        (
            {"target_groups": [{"TargetGroupArn": "arn", "Id": "i-1", "Port": "80"}]},
            "source.target_groups[0].Port is not a number",
        ),
        ({"network_interfaces": [{"Attachment": 1}]}, "source.network_interfaces[0].Attachment is not a mapping"),
        (
            {"network_interfaces": [{"Attachment": {"DeviceIndex": "1"}}]},
            "source.network_interfaces[0].Attachment.DeviceIndex is not a number",
        ),
        (
            {"network_interfaces": [{"PrivateIpAddresses": ["10.0.0.5"]}]},
            "source.network_interfaces[0].PrivateIpAddresses is not a list of mappings with PrivateIpAddress",
        ),
        ({"unknown": {"launch": 1}}, "source.unknown is not a mapping of text to text"),
    ],
)
def test_what_a_launch_would_stumble_over_is_refused_on_read_and_on_write(changes: dict[str, Any], problem: str):
    document = written()
    document["source"] |= changes
    assert problem in problems(document)
    with pytest.raises(ManifestError) as caught:
        write_manifest(JOB, TAGS, description=DESCRIPTION | changes, left_out={}, now=NOW)
    assert problem in caught.value.problems


def test_every_problem_is_named_at_once_and_no_value_is():
    document = written(members="two", slot="yesterday", region="")
    document["source"]["instance"]["InstanceType"] = None
    document["source"]["block_devices"][1]["volume"]["Size"] = SECRET
    document["source"]["user_data"] = {"password": SECRET}
    found = problems(document)
    assert found == (
        "region is empty",
        "members is not a number",
        "slot is not an RFC 3339 time",
        "source.instance.InstanceType is missing",
        "source.user_data is neither null nor text",
        "source.block_devices[1].volume.Size is not a number",
    )
    assert SECRET not in "".join(found)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": 2}, "version is 2; this version of hikae reads 1"),
        ({"kind": "tape"}, "kind is not one of snapshot-set, snapshot, image"),
        ({"source": None}, "source is missing"),
        ({"members": 3}, "members is 3, and it describes 2 volumes that are not left out"),
        ({"left_out": {"vol-2": "scratch"}}, "members is 2, and it describes 1 volumes that are not left out"),
        ({"point": "rp-other"}, f"point is rp-other, the point's is {TAGS.point}"),
        ({"attempt": 2}, "attempt is 2, the point's is 1"),
        ({"resource": "i-2"}, "resource is i-2, the point's is i-1"),
        ({"account": "999999999999"}, "place is 999999999999/us-east-1, the point's is 123456789012/us-east-1"),
    ],
)
def test_a_document_that_is_not_the_points_manifest_is_refused(changes: dict[str, Any], problem: str):
    assert problem in problems(written(**changes))


@pytest.mark.parametrize("document", [{}, {"version": 1}, {"version": None}, {"version": True}])
def test_what_is_no_manifest_at_all_is_refused(document: dict[str, Any]):
    assert problems(document)


def test_what_ec2_says_must_make_a_manifest_before_a_point_is_made():
    with pytest.raises(ManifestError, match="block_devices is empty"):
        write_manifest(JOB, TAGS, description=DESCRIPTION | {"block_devices": []}, left_out={}, now=NOW)


def test_a_detached_volume_has_a_manifest_without_an_instance():
    job = Job(identity=identity(resource="vol-9"), kind=Kind.SNAPSHOT, deadline=NOW)
    tags = tags_of_job(job, attempt=1, members=1, volume="vol-9")
    described = {"volume": {"VolumeId": "vol-9", "Size": 33, "VolumeType": "gp2"}}
    document = write_manifest(job, tags, description=described, left_out={}, now=NOW)
    manifest = read_manifest(document, tags=tags)
    assert manifest.instance is None
    assert [(volume.id, volume.size, volume.device) for volume in manifest.volumes] == [("vol-9", 33, "")]


def test_user_data_is_in_no_representation_and_in_no_report():
    manifest = read_manifest(written(), tags=TAGS)
    assert SECRET not in repr(manifest)
    assert SECRET not in str(redact(written()))
    assert redact(written())["source"]["user_data"] == "(redacted)"
    assert redact({"source": {"user_data": None}}) == {"source": {"user_data": None}}
