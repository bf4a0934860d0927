"""DescribeImages on the twin: botocore shapes DescribeImagesRequest and Image; EC2 User Guide, filtering."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from local.twin.images import seed_image
from local.twin.testing import Twin

REGION = "us-east-1"
FAR = "us-west-2"
CROWDED = "eu-central-1"
CREATED_AT = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    """One twin for all that only reads."""
    with Twin() as twin:
        yield twin


@pytest.fixture(scope="module")
def seeded(twin: Twin) -> dict[str, str]:
    """Two images of the past, by name; the ids of their snapshots are under their name with a `*`."""
    found = {}
    for name, plan in (("orders [1]", "production"), ("billing", "test")):
        found[name + "*"] = seed_snapshot(twin, is_encrypted=name == "billing")
        found[name] = seed_image(
            region=REGION,
            name=name,
            created_at=CREATED_AT,
            snapshot_ids=[found[name + "*"]],
            tags={"plan": plan, "note": "a*b"},
            source_instance_id="i-0123456789abcdef0",
        )
    return found


def seed_snapshot(twin: Twin, *, region: str = REGION, is_encrypted: bool = False) -> str:
    key = f"arn:aws:kms:{region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab" if is_encrypted else None
    seeded = twin.backend(region).seed_snapshot(
        started_at=CREATED_AT, volume_id="vol-0123456789abcdef0", size=10, kms_key_id=key
    )
    return seeded.id


def ids(ec2: Any, **request: Any) -> set[str]:
    return {each["ImageId"] for each in ec2.describe_images(**request)["Images"]}


def named(name: str, *values: str) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)}]


def test_a_seeded_image_is_available_and_as_old_as_it_says(twin: Twin, seeded: dict[str, str]) -> None:
    ec2 = twin.client("ec2", REGION)
    image = ec2.describe_images(ImageIds=[seeded["billing"]])["Images"][0]
    assert (image["State"], image["CreationDate"]) == ("available", "2026-03-01T04:30:00.000Z")
    ebs = image["BlockDeviceMappings"][0]["Ebs"]
    assert (ebs["SnapshotId"], ebs["Encrypted"]) == (seeded["billing*"], True)
    assert {each["Key"] for each in image["Tags"]} == {"plan", "note"}
    assert ec2.run_instances(ImageId=seeded["billing"], MinCount=1, MaxCount=1)["Instances"]


@pytest.mark.contract("owners")
def test_owners_tell_own_images_from_amazons(twin: Twin, seeded: dict[str, str]) -> None:
    ec2 = twin.client("ec2", REGION)
    own = {seeded["orders [1]"], seeded["billing"]}
    assert ids(ec2, Owners=["self"]) == ids(ec2, Owners=["123456789012"]) == own
    assert ids(ec2, Owners=["amazon"]).isdisjoint(own)
    assert ids(ec2) == ids(ec2, Owners=["self", "amazon"])


def test_images_are_of_one_region(twin: Twin, seeded: dict[str, str], refused: Any) -> None:
    far = twin.client("ec2", FAR)
    assert ids(far, Owners=["self"]) == set()
    with refused("InvalidAMIID.NotFound"):
        far.describe_images(ImageIds=[seeded["billing"]])


@pytest.mark.parametrize("image_id", ["ami-xyz", "i-0123456789abcdef0", "ami-123"])
def test_an_id_that_is_none_is_refused(twin: Twin, refused: Any, image_id: str) -> None:
    with refused("InvalidAMIID.Malformed"):
        twin.client("ec2", REGION).describe_images(ImageIds=[image_id])


@pytest.mark.contract("filters")
@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("name", ["orders [1]"], {"orders [1]"}),
        ("name", ["orders *"], {"orders [1]"}),
        ("name", ["bill?ng"], {"billing"}),
        ("name", ["orders [1]", "billing"], {"orders [1]", "billing"}),
        ("name", ["[ob]*"], set()),
        ("tag:plan", ["production"], {"orders [1]"}),
        ("tag:plan", ["production", "test"], {"orders [1]", "billing"}),
        ("tag:note", ["a\\*b"], {"orders [1]", "billing"}),
        ("tag-key", ["plan", "absent"], {"orders [1]", "billing"}),
        ("tag-key", ["absent"], set()),
        ("state", ["available"], {"orders [1]", "billing"}),
        ("state", ["pending"], set()),
        ("creation-date", ["2026-03-01*"], {"orders [1]", "billing"}),
        ("creation-date", ["2026-03-02*"], set()),
        ("block-device-mapping.encrypted", ["true"], {"billing"}),
        ("block-device-mapping.volume-size", ["10"], {"orders [1]", "billing"}),
        ("block-device-mapping.device-name", ["/dev/xvda"], {"orders [1]", "billing"}),
        ("block-device-mapping.delete-on-termination", ["false"], set()),
        ("root-device-type", ["ebs"], {"orders [1]", "billing"}),
        ("source-instance-id", ["i-0123456789abcdef0"], {"orders [1]", "billing"}),
        ("is-public", ["false"], {"orders [1]", "billing"}),
    ],
)
def test_filters_select_what_ec2_would(
    twin: Twin, seeded: dict[str, str], name: str, values: list[str], expected: set[str]
) -> None:
    found = ids(twin.client("ec2", REGION), Owners=["self"], Filters=named(name, *values))
    assert found == {seeded[each] for each in expected}


@pytest.mark.contract("filters")
def test_an_image_is_found_by_its_snapshot(twin: Twin, seeded: dict[str, str]) -> None:
    filters = named("block-device-mapping.snapshot-id", seeded["billing*"])
    assert ids(twin.client("ec2", REGION), Filters=filters) == {seeded["billing"]}


def test_filters_are_anded_and_apply_to_ids_as_well(twin: Twin, seeded: dict[str, str]) -> None:
    ec2 = twin.client("ec2", REGION)
    assert ids(ec2, Filters=named("name", "billing") + named("tag:plan", "production")) == set()
    assert ids(ec2, ImageIds=[seeded["billing"]], Filters=named("tag:plan", "production")) == set()


def test_an_unknown_filter_is_refused(twin: Twin, refused: Any) -> None:
    with refused("InvalidParameterValue"):
        twin.client("ec2", REGION).describe_images(Filters=named("colour", "blue"))


def test_images_are_told_page_by_page(twin: Twin) -> None:
    made = {
        seed_image(
            region=CROWDED,
            name=f"image {number}",
            created_at=CREATED_AT,
            snapshot_ids=[seed_snapshot(twin, region=CROWDED)],
            tags={},
        )
        for number in range(17)
    }
    paginator = twin.client("ec2", CROWDED).get_paginator("describe_images")
    pages = list(paginator.paginate(Owners=["self"], PaginationConfig={"PageSize": 5}))
    assert len(pages) >= 4
    assert sorted(each["ImageId"] for page in pages for each in page["Images"]) == sorted(made)
