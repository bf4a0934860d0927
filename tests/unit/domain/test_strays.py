"""Which manifests prune may remove although no run of it deleted their set."""

from datetime import UTC, datetime, timedelta

import pytest

from hikae.domain.strays import STRAY_AFTER, stray_manifests

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
POINT = "rp-" + "0a" * 16
KEY = f"manifests/123456789012/us-east-1/i-0123456789abcdef0/{POINT}/2.json"


def tags(*, point=POINT, attempt="2"):
    return {"hikae:point": point, "hikae:attempt": attempt}


def test_a_manifest_is_stray_when_nothing_of_its_set_is_left():
    assert stray_manifests({KEY: NOW - timedelta(days=1)}, resources=[], now=NOW) == [KEY]


def test_it_is_none_while_a_single_snapshot_of_its_set_is_there():
    assert stray_manifests({KEY: NOW - timedelta(days=1)}, resources=[{}, tags()], now=NOW) == []


@pytest.mark.parametrize("other", [tags(attempt="1"), tags(point="rp-" + "0b" * 16), {}])
def test_what_is_there_of_another_set_does_not_need_it(other):
    assert stray_manifests({KEY: NOW - timedelta(days=1)}, resources=[other], now=NOW) == [KEY]


def test_a_young_one_may_be_of_a_point_that_ec2_does_not_show_yet():
    assert stray_manifests({KEY: NOW - STRAY_AFTER}, resources=[], now=NOW) == []
    assert stray_manifests({KEY: NOW - STRAY_AFTER - timedelta(seconds=1)}, resources=[], now=NOW) == [KEY]


@pytest.mark.parametrize(
    "key",
    [
        "manifests/notes.json",
        f"manifests/123456789012/us-east-1/i-0123456789abcdef0/{POINT}/2.json.bak",
        f"manifests/123456789012/us-east-1/i-0123456789abcdef0/{POINT}/one.json",
        f"manifests/us-east-1/i-0123456789abcdef0/{POINT}/2.json",
        f"manifests/123456789012/us-east-1/i-0123456789abcdef0/{POINT}x/2.json",
    ],
)
def test_what_is_not_named_as_a_manifest_is_is_somebody_elses(key):
    assert stray_manifests({key: NOW - timedelta(days=1)}, resources=[], now=NOW) == []
