import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.jobs import JobError, read_job, write_job
from hikae.domain.model import AccountId, Consistency, Job, Kind, Place, Region, VolumeExclusion
from tests.unit.domain.builders import NOW, PRIMARY, RECOVERY, identity

MESSAGE = {
    "version": 1,
    "plan": "production",
    "rule": "hourly",
    "slot": "2026-11-22T10:00:00Z",
    "kind": "snapshot-set",
    "resource": "i-1",
    "account": "123456789012",
    "region": "us-east-1",
    "deadline": "2026-11-22T10:00:00Z",
    "reboot": False,
    "consistency": "crash",
    "exclude_volumes": {"tags": {}, "devices": [], "boot": False, "data": False},
}


def job(**differences) -> Job:
    return Job(**{"identity": identity(), "kind": Kind.SNAPSHOT_SET, "deadline": NOW} | differences)


def read(message, *, place=PRIMARY) -> Job:
    return read_job(message if isinstance(message, str) else json.dumps(message), installation="main", place=place)


def test_a_job_is_written_as_this_message_and_read_back():
    assert json.loads(write_job(job())) == MESSAGE
    assert read(MESSAGE) == job()


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
times = st.datetimes(timezones=st.just(NOW.tzinfo)).filter(lambda time: time.year > 1)


@given(
    texts,
    texts,
    texts,
    times,
    st.builds(
        dict,
        kind=st.sampled_from(Kind),
        deadline=times,
        reboot=st.booleans(),
        consistency=st.sampled_from(Consistency),
        exclude_volumes=st.builds(
            VolumeExclusion,
            tags=st.dictionaries(texts, st.frozensets(texts, max_size=2), max_size=2),
            devices=st.frozensets(texts, max_size=2),
            boot=st.booleans(),
            data=st.booleans(),
        ),
    ),
)
def test_whatever_a_job_says_is_read_back(plan, rule, resource, slot, rest):
    one = job(identity=identity(plan=plan, rule=rule, resource=resource, slot=slot), **rest)
    assert read(write_job(one)) == one


def test_the_installation_is_the_queues_own():
    assert read_job(write_job(job()), installation="blue", place=PRIMARY).identity.installation == "blue"


def test_what_may_be_left_out_is_what_hikae_would_do_anyway():
    message = {key: value for key, value in MESSAGE.items() if key not in ("reboot", "consistency", "exclude_volumes")}
    assert read(message) == job()


def test_keys_of_a_later_version_do_not_disturb():
    assert read(MESSAGE | {"priority": 1}) == job()


@pytest.mark.parametrize(
    "place",
    [RECOVERY, Place(account=AccountId("999999999999"), region=Region("us-east-1"))],
    ids=str,
)
def test_a_job_for_another_place_is_refused(place):
    with pytest.raises(JobError, match=f"the job is for 123456789012/us-east-1, this site is {place}"):
        read(MESSAGE, place=place)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("", "the message is not JSON: "),
        ("{", "the message is not JSON: "),
        ("[]", "the message is a list, not an object"),
        ("null", "the message is a NoneType, not an object"),
        ({}, "version is None; this version of hikae reads version 1"),
        (MESSAGE | {"version": 2}, "version is 2; this version of hikae reads version 1"),
        (MESSAGE | {"plan": ""}, "plan is ''; a text is needed"),
        (MESSAGE | {"rule": None}, "rule is None; a text is needed"),
        (MESSAGE | {"resource": 7}, "resource is 7; a text is needed"),
        (MESSAGE | {"slot": "now"}, "'now' is not an RFC 3339 time such as 2026-11-22T10:00:00Z"),
        (MESSAGE | {"deadline": "0001-01-01T00:00:00+09:00"}, "'0001-01-01T00:00:00.09:00' is not in the years"),
        (MESSAGE | {"kind": "disk"}, "'disk' is not a valid Kind"),
        (MESSAGE | {"kind": ["image"]}, r"kind is \['image'\]; a text is needed"),
        (MESSAGE | {"consistency": "eventual"}, "'eventual' is not a valid Consistency"),
        (MESSAGE | {"reboot": "yes"}, "reboot is 'yes'; either true or false"),
        (MESSAGE | {"reboot": 1}, "reboot is 1; either true or false"),
        (MESSAGE | {"exclude_volumes": []}, r"exclude_volumes is \[\]; an object with tags, devices, boot and data"),
        (MESSAGE | {"exclude_volumes": {"root": True}}, "exclude_volumes is {'root': True}; an object with tags"),
        (MESSAGE | {"exclude_volumes": {"tags": []}}, r"exclude_volumes.tags is \[\]; an object of lists"),
        (MESSAGE | {"exclude_volumes": {"tags": {"a": "b"}}}, "exclude_volumes.tags.a is 'b'; a list of texts"),
        (MESSAGE | {"exclude_volumes": {"devices": [1]}}, r"exclude_volumes.devices is \[1\]; a list of texts"),
        (MESSAGE | {"exclude_volumes": {"boot": 1}}, "boot is 1; either true or false"),
        (MESSAGE | {"exclude_volumes": {"data": None}}, "data is None; either true or false"),
    ],
)
def test_a_message_that_is_no_job_is_refused_with_what_is_wrong(message, problem):
    with pytest.raises(JobError, match=problem):
        read(message)


@given(
    st.dictionaries(
        st.sampled_from(sorted(MESSAGE)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.text(), max_size=2),
    )
)
def test_any_message_is_a_job_or_is_refused(difference):
    try:
        read(MESSAGE | difference)
    except JobError as error:
        refusal = str(error)
        assert refusal


@given(st.text())
def test_any_text_is_a_job_or_is_refused(text):
    with pytest.raises(JobError):
        read(text)


def test_a_message_that_is_nested_without_end_is_refused():
    with pytest.raises(JobError, match="the message is not JSON"):
        read("[" * 100_000)
