"""What is restored is as its manifest says, field by field, and whatever is not is found."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from local.inprocess import PRIMARY, RECOVERY, Installation
from tests import manifest_comparison
from tests.integration.operations.test_recovery import GROUP, manifest_of, put_group, record_of
from tests.manifest_comparison import Restored, another, find_differences, given_up, look_at


@pytest.fixture(scope="module", params=["snapshots", "image"])
def restored(request: pytest.FixtureRequest) -> Iterator[list[tuple[dict[str, Any], Restored]]]:
    """Each manifest of a group with what was restored by it."""
    with Installation() as installation:
        name = installation.twin.client("iam", PRIMARY).create_instance_profile(InstanceProfileName="shop")
        subnet = installation.twin.client("ec2", PRIMARY).describe_subnets()["Subnets"][0]["SubnetId"]
        arguments = {
            "IamInstanceProfile": {"Arn": name["InstanceProfile"]["Arn"]},
            "EbsOptimized": True,
            "Monitoring": {"Enabled": True},
            "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1},
            "DisableApiTermination": True,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "NetworkInterfaces": [
                {"DeviceIndex": 0, "SubnetId": subnet, "DeleteOnTermination": True},
                {"DeviceIndex": 1, "SubnetId": subnet, "DeleteOnTermination": True},
            ],
        }
        put_group(installation, plan=request.param, **arguments)
        group = installation.restore_vpc["group"]
        installation.set_recovery_settings(
            f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\ndefault_security_groups: [{group}]\n"
        )
        plan = {"snapshots": "production", "image": "web-images"}[request.param]
        asked = {**GROUP, "mode": "restore", "plan": plan}
        assert installation.recover("restore-1").play({"request": asked}) == "SUCCEEDED"
        ec2 = installation.twin.client("ec2", RECOVERY)
        where = {"subnets": [installation.restore_vpc["a"]], "security_groups": [group]}
        members = record_of(installation, "restore-1")["members"]
        yield [
            (
                manifest_of(installation, member),
                look_at(ec2, member["instance"], key_arn=installation.key_arn, **where),
            )
            for member in members
        ]


def test_every_field_of_a_manifest_has_become_what_its_table_says(
    restored: list[tuple[dict[str, Any], Restored]],
) -> None:
    assert len(restored) == 3
    assert [find_differences(manifest, now) for manifest, now in restored] == [[], [], []]


def test_a_field_that_no_table_names_is_found(restored: list[tuple[dict[str, Any], Restored]]) -> None:
    manifest, now = copy.deepcopy(restored[0])
    source = manifest["source"]
    places: dict[str, Any] = {
        "": manifest,
        "source.": source,
        "source.instance.": source["instance"],
        "source.image.": source["image"],
        "source.launch.": source["launch"],
        "source.block_devices[/dev/xvda].": source["block_devices"][0],
        "source.block_devices[/dev/xvda].volume.": source["block_devices"][0]["volume"],
        "source.network_interfaces[0].": source["network_interfaces"][0],
    }
    for place in places.values():
        place["Novelty"] = "1"
    expected = [f"{path}Novelty: no table says what becomes of it" for path in places]
    assert sorted(find_differences(manifest, now)) == sorted(expected)


def altered(value: Any) -> Any:
    """Another value of its kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return "198.51.100.7" if value.count(".") == 3 else f"{value}-altered"
    if isinstance(value, Mapping):
        return {key: altered(each) for key, each in value.items()}
    return [] if isinstance(value, list) else None


def sides(manifest: dict[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Each table with what was."""
    source = manifest["source"]
    yield manifest_comparison.INSTANCE, source["instance"]
    yield manifest_comparison.LAUNCH, source["launch"]
    yield from ((manifest_comparison.VOLUME, device["volume"]) for device in source["block_devices"])
    yield manifest_comparison.INTERFACE, source["network_interfaces"][0]


def test_whatever_was_restored_otherwise_is_found(restored: list[tuple[dict[str, Any], Restored]]) -> None:
    manifest, now = restored[0]
    looked_at = 0
    for table, was in sides(manifest):
        for key, rule in table.items():
            if rule is given_up or key not in was or was[key] in ({}, []):
                continue
            changed = copy.deepcopy(now)
            target = find_counterpart(table, was, changed)
            if key not in target:
                continue
            target[key] = was[key] if rule is another else altered(target[key])
            found = find_differences(manifest, changed)
            if key == "Iops" and was["VolumeType"] not in {"gp3", "io1", "io2"}:
                continue
            assert any(f".{key}: " in each for each in found), (key, found)
            looked_at += 1
    assert looked_at > 40


def find_counterpart(table: Mapping[str, Any], was: Mapping[str, Any], now: Restored) -> Any:
    if table is manifest_comparison.INSTANCE:
        return now.instance
    if table is manifest_comparison.LAUNCH:
        return now.launch
    if table is manifest_comparison.INTERFACE:
        return now.instance["NetworkInterfaces"][0]
    return now.volumes[was["Attachments"][0]["Device"]]


def test_other_tags_or_user_data_are_found(restored: list[tuple[dict[str, Any], Restored]]) -> None:
    manifest, now = restored[0]
    fewer = {**now.instance, "Tags": [tag for tag in now.instance["Tags"] if tag["Key"] != "Service"]}
    assert [each.split(":")[0] for each in find_differences(manifest, replace(now, instance=fewer))] == ["source.tags"]
    bare = {**now.instance, "Tags": [tag for tag in now.instance["Tags"] if not tag["Key"].startswith("hikae:")]}
    found = [each.split(":")[0] for each in find_differences(manifest, replace(now, instance=bare))]
    assert found == ["installation", "point", "resource"]
    assert [each.split(":")[0] for each in find_differences(manifest, replace(now, user_data=None))] == [
        "source.user_data"
    ]


def test_a_volume_that_is_missing_or_goes_otherwise_is_found(restored: list[tuple[dict[str, Any], Restored]]) -> None:
    manifest, now = copy.deepcopy(restored[0])
    now.instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] = False
    assert any("delete_on_termination: False, not True" in each for each in find_differences(manifest, now))
    without = replace(now, volumes={name: each for name, each in now.volumes.items() if name != "/dev/sdf"})
    found = find_differences(manifest, without)
    assert any(each.startswith("source.block_devices: ") for each in found)
    assert any(each.startswith("members: ") for each in found)
