import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.model import (
    AccountId,
    Consistency,
    CopyOrigin,
    Job,
    Kind,
    Place,
    PointIdentity,
    PointTags,
    Region,
    ResourceId,
)
from hikae.domain.naming import (
    MAX_TAGS,
    TagError,
    bucket_name,
    copy_token,
    format_time,
    image_name,
    inventory_key,
    manifest_key,
    parse_time,
    point_id,
    read_tags,
    tags_of_job,
    user_tags,
    write_tags,
)
from tests.unit.domain.builders import NOW, PRIMARY, RECOVERY, copied, identity, tags_of

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
times = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zone beside it
places = st.builds(
    Place,
    account=st.from_regex(r"[0-9]{12}", fullmatch=True).map(AccountId),
    region=st.sampled_from(["us-east-1", "eu-west-1", "us-gov-west-1"]).map(Region),
)
identities = st.builds(
    PointIdentity,
    installation=names,
    place=places,
    plan=names,
    rule=names,
    slot=times,
    resource=names.map(ResourceId),
)
numbers = st.integers(1, 10**6)
origins = st.builds(CopyOrigin, copy_of=names, source_time=times, attempt=numbers)


@st.composite
def all_tags(draw, origin):
    who = draw(identities)
    return PointTags(
        identity=who,
        point=point_id(who),
        attempt=draw(numbers),
        kind=draw(st.sampled_from(Kind)),
        members=draw(numbers),
        consistency=draw(st.sampled_from(Consistency)),
        volume=draw(st.none() | names),
        device=draw(st.none() | names),
        origin=draw(origin),
    )


# --- the id -----------------------------------------------------------------------------------------------------------


def test_a_point_has_the_same_id_for_ever():
    """Ids are in tags of points that exist: this vector must never change while the schema is 1."""
    who = identity(slot=datetime(2026, 11, 22, 10, 0, tzinfo=UTC), resource=ResourceId("i-0123456789abcdef0"))
    message = (
        b"1:1,4:main,12:123456789012,9:us-east-1,10:production,6:hourly,20:2026-11-22T10:00:00Z,19:i-0123456789abcdef0,"
    )
    assert point_id(who) == f"rp-{hashlib.sha256(message).hexdigest()[:32]}" == "rp-25e67523cb5f40084d41f4e01de47a6d"


@given(identities, identities)
def test_different_identities_are_different_points(one, other):
    assert (point_id(one) == point_id(other)) == (one == other)


def test_fields_do_not_run_into_each_other():
    assert point_id(identity(plan="ab", rule="c")) != point_id(identity(plan="a", rule="bc"))


@given(identities)
def test_an_id_is_short_and_plain(who):
    name = point_id(who)
    assert len(name) == 35
    assert name.startswith("rp-")
    int(name[3:], 16)


def test_the_same_instant_in_another_zone_is_the_same_point():
    tokyo = timezone(timedelta(hours=9))
    assert point_id(identity(slot=NOW.astimezone(tokyo))) == point_id(identity(slot=NOW))


# --- tags -------------------------------------------------------------------------------------------------------------


@given(all_tags(origin=st.none()))
def test_what_is_written_on_a_source_is_read_back(tags):
    assert read_tags(write_tags(tags), place=tags.identity.place) == tags


@given(all_tags(origin=origins), places)
def test_what_is_written_on_a_copy_is_read_back_wherever_it_lives(tags, place):
    assert read_tags(write_tags(tags), place=place) == tags


def test_the_tags_of_a_source_are_these():
    written = write_tags(replace(tags_of(), volume="vol-1", device="/dev/sda1"))
    assert written == {
        "hikae:v": "1",
        "hikae:installation": "main",
        "hikae:point": point_id(identity()),
        "hikae:attempt": "1",
        "hikae:plan": "production",
        "hikae:rule": "hourly",
        "hikae:slot": "2026-11-22T10:00:00Z",
        "hikae:resource": "i-1",
        "hikae:kind": "snapshot-set",
        "hikae:members": "2",
        "hikae:consistency": "crash",
        "hikae:volume": "vol-1",
        "hikae:device": "/dev/sda1",
    }


def test_a_copy_says_where_it_comes_from():
    written = write_tags(copied(tags_of(), of="snap-a", source_time=NOW + timedelta(milliseconds=1), attempt=3))
    assert {key: written[key] for key in written.keys() - write_tags(tags_of()).keys()} == {
        "hikae:copy-of": "snap-a",
        "hikae:source-time": "2026-11-22T10:00:00.001000Z",
        "hikae:source-region": "us-east-1",
        "hikae:source-account": "123456789012",
        "hikae:copy-attempt": "3",
    }


def test_the_job_says_what_the_tags_of_its_point_are():
    job = Job(identity=identity(), kind=Kind.SNAPSHOT, deadline=NOW, consistency=Consistency.CRASH)
    tags = tags_of_job(job, attempt=2, members=1, volume="vol-1")
    assert tags == tags_of(attempt=2, members=1, kind=Kind.SNAPSHOT, volume="vol-1")


user_keys = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12)


@given(
    all_tags(origin=st.none() | origins),
    st.dictionaries(
        st.one_of(user_keys, user_keys.map("aws:{}".format), user_keys.map("hikae:{}".format)), names, max_size=80
    ),
)
def test_as_many_of_the_users_tags_are_carried_as_fit_and_none_of_aws_or_hikae(tags, carried):
    own = write_tags(tags)
    written = write_tags(tags, carried=carried)
    assert len(written) <= MAX_TAGS == 50
    assert {key: written[key] for key in own} == own
    theirs = {key: value for key, value in written.items() if key not in own}
    assert theirs.items() <= carried.items()
    assert not [key for key in theirs if key.startswith(("aws:", "hikae:"))]
    assert len(theirs) == min(len(user_tags(carried)), MAX_TAGS - len(own))


def test_a_hold_on_a_source_is_not_carried():
    assert "hikae:hold" not in write_tags(tags_of(), carried={"hikae:hold": "", "Name": "web"})


def test_the_same_tags_are_carried_every_time():
    carried = {f"key-{number:02}": "" for number in range(60)}
    backwards = dict(reversed(carried.items()))
    assert write_tags(tags_of(), carried=carried) == write_tags(tags_of(), carried=backwards)


@pytest.mark.parametrize("key", sorted(write_tags(tags_of())))
def test_a_tag_that_is_missing_or_empty_is_named(key):
    for value in (None, ""):
        tags = write_tags(tags_of()) | ({key: value} if value is not None else {})
        if value is None:
            del tags[key]
        with pytest.raises(TagError, match=f"tag {key} is missing"):
            read_tags(tags, place=PRIMARY)


@pytest.mark.parametrize("key", ["source-time", "source-region", "source-account", "copy-attempt"])
def test_a_copy_that_does_not_say_where_it_comes_from_is_refused(key):
    tags = write_tags(copied(tags_of(), of="snap-a"))
    del tags[f"hikae:{key}"]
    with pytest.raises(TagError, match=f"tag hikae:{key} is missing"):
        read_tags(tags, place=RECOVERY)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("v", "2", "hikae:v is '2', this version reads '1'"),
        ("attempt", "0", "tag hikae:attempt is '0', not a number from 1"),
        ("attempt", "-1", "tag hikae:attempt is '-1', not a number from 1"),
        ("attempt", "\u0661", "tag hikae:attempt is '\u0661', not a number from 1"),
        ("members", "two", "tag hikae:members is 'two', not a number from 1"),
        ("kind", "disk", "tag hikae:kind is 'disk', not one of snapshot-set, snapshot, image"),
        ("consistency", "eventual", "tag hikae:consistency is 'eventual', not one of crash, application"),
        ("slot", "2026-11-22 10:00", "tag hikae:slot: '2026-11-22 10:00' is not an RFC 3339 time such as"),
        ("slot", "2026-13-22T10:00:00Z", "tag hikae:slot: "),
        ("resource", "i-2", "hikae:point is rp-.*, its other tags make rp-"),
        ("installation", "blue", "hikae:point is rp-.*, its other tags make rp-"),
        ("point", "rp-0", "hikae:point is rp-0, its other tags make rp-"),
        ("copy-of", "snap-a", "tag hikae:source-time is missing"),
    ],
)
def test_a_tag_that_says_something_else_is_refused(key, value, problem):
    with pytest.raises(TagError, match=problem):
        read_tags(write_tags(tags_of()) | {f"hikae:{key}": value}, place=PRIMARY)


def test_the_tags_of_a_source_are_not_read_in_another_place():
    """Without copy tags a point is where it was made: elsewhere its id gives it away."""
    with pytest.raises(TagError, match="its other tags make"):
        read_tags(write_tags(tags_of()), place=RECOVERY)


@given(
    st.dictionaries(
        st.sampled_from([*write_tags(copied(tags_of(), of="snap-a")), "Name"]), st.text(max_size=30), max_size=16
    )
)
def test_no_tags_break_the_reading(strange):
    tags = write_tags(copied(tags_of(), of="snap-a")) | strange
    try:
        read_tags(tags, place=RECOVERY)
    except TagError as error:
        assert "hikae:" in str(error)  # noqa: PT017 - either is right, nothing else is


def test_a_number_that_python_will_not_read_is_refused():
    with pytest.raises(TagError, match="not a number from 1"):
        read_tags(write_tags(tags_of()) | {"hikae:attempt": "9" * 5000}, place=PRIMARY)


# --- names ------------------------------------------------------------------------------------------------------------


def test_an_images_name_says_what_and_which_attempt_and_a_copys_which_copy():
    tags = tags_of(kind=Kind.IMAGE, attempt=2)
    assert image_name(tags) == f"hikae/main/{tags.point}/2"
    assert image_name(copied(tags, of="ami-1", attempt=3)) == f"hikae/main/{tags.point}/2/copy/3"


@given(st.from_regex(r"[a-z0-9-]{1,16}", fullmatch=True), numbers, numbers)
def test_an_images_name_fits(installation, attempt, copy_attempt):
    """128 characters: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopyImage.html."""
    tags = tags_of(identity(installation=installation), attempt=attempt)
    assert len(image_name(copied(tags, of="ami-1", attempt=copy_attempt))) <= 128


@given(names, places)
def test_a_copys_token_is_short_and_its_own(name, place):
    now = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
    token = copy_token(name, destination=place, now=now)
    assert len(token) <= 64
    assert token == copy_token(name, destination=place, now=now + timedelta(minutes=54))
    assert token != copy_token(name, destination=place, now=now + timedelta(hours=1))
    assert token != copy_token(f"{name}/copy/2", destination=place, now=now)
    assert token != copy_token(name, destination=replace(place, region=Region("ap-south-1")), now=now)


def test_keys_and_buckets_are_named_as_every_site_expects_them():
    tags = tags_of(attempt=2)
    assert manifest_key(tags) == f"manifests/123456789012/us-east-1/i-1/{tags.point}/2.json"
    assert manifest_key(copied(tags, of="snap-a")) == manifest_key(tags)
    assert inventory_key(PRIMARY) == "inventory/123456789012/us-east-1/latest.json"
    assert (
        bucket_name(installation="main", site="recovery", place=RECOVERY)
        == "hikae-main-recovery-123456789012-us-west-2"
    )


@given(st.from_regex(r"[a-z0-9-]{1,16}", fullmatch=True))
def test_a_buckets_name_fits(installation):
    """63 characters: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html."""
    place = replace(PRIMARY, region=Region("ap-southeast-1"))
    assert len(bucket_name(installation=installation, site="recovery", place=place)) <= 63


# --- times ------------------------------------------------------------------------------------------------------------


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 30), timezones=st.timezones()))  # noqa: DTZ001 - zones beside it
def test_a_time_is_read_back_to_the_microsecond(moment):
    assert parse_time(format_time(moment)) == moment.astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T10:00:00Z", NOW),
        ("2026-11-22t10:00:00z", NOW),
        ("2026-11-22T19:00:00+09:00", NOW),
        ("2026-11-22T10:00:00.5Z", NOW + timedelta(milliseconds=500)),
        ("2026-11-22T10:00:00.123456789Z", NOW + timedelta(microseconds=123456)),
    ],
)
def test_rfc_3339_is_read(text, expected):
    assert parse_time(text) == expected
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-11-22 10:00:00Z",
        "2026-11-22T10:00Z",
        "20261122T100000Z",
        "2026-W47-7T10:00:00Z",
        "2026-02-30T10:00:00Z",
        "2026-11-22T25:00:00Z",
        "2026-11-22T10:00:00Z\n",
        "2026-11-22T10:00:00+25:00",
        "0001-01-01T00:00:00+09:00",
        "9999-12-31T23:59:59-09:00",
        "\uff19999-01-01T00:00:00Z",
    ],
)
def test_what_is_not_rfc_3339_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - with whatever text; the callers add where it stood
        parse_time(text)


def test_a_time_without_a_zone_is_not_written():
    with pytest.raises(ValueError, match="has no time zone"):
        format_time(NOW.replace(tzinfo=None))
