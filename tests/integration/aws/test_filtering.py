"""More things at once than a filter takes: each is asked for, and none is lost."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hikae.aws.clients import Clients
from hikae.aws.ec2 import Ec2Fleet
from hikae.aws.filtering import filters_by, literal
from hikae.aws.readiness import Ec2KeyPairs
from local.inprocess import RECOVERY, Installation
from local.twin.launch_checks import INSTANCE_TYPES

MANY = 201
"""One more than EC2 takes in the filters of one call."""


@pytest.fixture
def installation() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation


def test_every_value_is_asked_for_once_and_the_other_filters_in_every_call() -> None:
    state = {"Name": "state", "Values": ["available"]}
    calls = list(filters_by("name", [f"{number:03}" for number in range(MANY)] * 2, state))
    asked = [value for filters in calls for value in filters[0]["Values"]]
    assert asked == [f"{number:03}" for number in range(MANY)]
    assert all(filters[1:] == [state] for filters in calls)
    assert all(sum(len(each["Values"]) for each in filters) <= 200 for filters in calls)
    assert list(filters_by("name", ())) == []


def test_a_value_stands_for_itself() -> None:
    assert literal("a*b?c\\d") == "a\\*b\\?c\\\\d"


def test_images_of_a_run(installation: Installation) -> None:
    ec2 = installation.twin.client("ec2", RECOVERY)
    snapshot = _snapshot(installation)
    images = {
        ec2.register_image(
            Name=f"image-{number}",
            RootDeviceName="/dev/sda1",
            BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}],
        )["ImageId"]
        for number in range(MANY)
    }
    installation.advance(minutes=10)
    assert installation.recovery_site().recoverer.images(images) == dict.fromkeys(images, "available")


def _snapshot(installation: Installation) -> str:
    ec2 = installation.twin.client("ec2", RECOVERY)
    volume = ec2.create_volume(AvailabilityZone=f"{RECOVERY}a", Size=1)["VolumeId"]
    installation.advance(minutes=5)
    snapshot: str = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    installation.advance(minutes=15)
    return snapshot


def test_key_pairs_here_and_their_public_halves_at_the_primary(installation: Installation) -> None:
    ec2 = installation.twin.client("ec2", RECOVERY)
    public = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    names = {f"key-{number}" for number in range(MANY)}
    for name in names:
        ec2.import_key_pair(KeyName=name, PublicKeyMaterial=public)
    assert installation.recovery_site().surroundings.key_pairs([*names, "another"]) == names
    assert set(Ec2KeyPairs(ec2).public_keys([*names, "another"])) == names


def test_placement_groups(installation: Installation) -> None:
    ec2 = installation.twin.client("ec2", RECOVERY)
    names = {f"group-{number}" for number in range(MANY)}
    for name in names:
        ec2.create_placement_group(GroupName=name)
    assert installation.recovery_site().surroundings.placement_groups([*names, "another"]) == names


def test_subnets_and_security_groups(installation: Installation) -> None:
    surroundings = installation.recovery_site().surroundings
    there = installation.restore_vpc
    # Those that are there are among the first and among the last to be asked for.
    gone = [f"{number:017x}" for number in range(MANY)]
    subnets = {there["a"], there["b"], installation.drill_vpc["a"]}
    assert set(surroundings.subnets([*subnets, *(f"subnet-{each}" for each in gone)])) == subnets
    groups = {there["group"], installation.drill_vpc["group"]}
    assert set(surroundings.security_groups([*groups, *(f"sg-{each}" for each in gone)])) == groups


def test_instance_types_their_offerings_and_their_instance_stores(installation: Installation) -> None:
    surroundings = installation.recovery_site().surroundings
    zones = {f"{RECOVERY}a", f"{RECOVERY}b"}
    offered = sorted({kind for kind, _ in surroundings.offered(INSTANCE_TYPES, zones)})
    some = offered[:MANY]
    assert len(some) == MANY
    assert set(surroundings.types(some)) == set(some)
    fleet = Ec2Fleet(Clients(region=RECOVERY).reading_ec2(), place=installation.recovery.place)
    assert set(fleet.instance_stores(some)) == {
        each for each in some if INSTANCE_TYPES[each]["InstanceStorageSupported"]
    }
