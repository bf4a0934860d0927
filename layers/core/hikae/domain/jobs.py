"""A job as the JSON of a queue message, and back."""

import json
from typing import Any

from hikae.domain.model import (
    AccountId,
    Consistency,
    Job,
    Kind,
    Place,
    PointIdentity,
    Region,
    ResourceId,
    VolumeExclusion,
)
from hikae.domain.naming import format_time, parse_time

VERSION = 1


class JobError(ValueError):
    """A message that is no job; the text says what is wrong with it and what would be right."""


def write_job(job: Job) -> str:
    """The message of a job; the installation is the queue's own and is not in it."""
    identity = job.identity
    return json.dumps(
        {
            "version": VERSION,
            "plan": identity.plan,
            "rule": identity.rule,
            "slot": format_time(identity.slot),
            "kind": job.kind.value,
            "resource": identity.resource,
            "account": identity.place.account,
            "region": identity.place.region,
            "deadline": format_time(job.deadline),
            "reboot": job.reboot,
            "consistency": job.consistency.value,
            "exclude_volumes": _write_exclusion(job.exclude_volumes),
        }
    )


def read_job(body: str, *, installation: str, place: Place) -> Job:
    """The job in a message for the site at `place`.

    Raises:
        JobError: it is not a job of version 1, or is meant for another account or Region.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise JobError(f"the message is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise JobError(f"the message is a {type(message).__name__}, not an object")
    if message.get("version") != VERSION:
        raise JobError(f"version is {message.get('version')!r}; this version of hikae reads version {VERSION}")
    try:
        job = Job(
            identity=PointIdentity(
                installation=installation,
                place=Place(account=AccountId(_text(message, "account")), region=Region(_text(message, "region"))),
                plan=_text(message, "plan"),
                rule=_text(message, "rule"),
                slot=parse_time(_text(message, "slot")),
                resource=ResourceId(_text(message, "resource")),
            ),
            kind=Kind(_text(message, "kind")),
            deadline=parse_time(_text(message, "deadline")),
            consistency=Consistency(message.get("consistency", Consistency.CRASH)),
            reboot=_flag(message, "reboot"),
            exclude_volumes=_read_exclusion(message.get("exclude_volumes", {})),
        )
    except JobError:
        raise
    except ValueError as error:
        raise JobError(str(error)) from error
    if job.identity.place != place:
        raise JobError(f"the job is for {job.identity.place}, this site is {place}")
    return job


def _write_exclusion(exclusion: VolumeExclusion) -> dict[str, Any]:
    return {
        "tags": {key: sorted(values) for key, values in exclusion.tags.items()},
        "devices": sorted(exclusion.devices),
        "boot": exclusion.boot,
        "data": exclusion.data,
    }


def _read_exclusion(value: Any) -> VolumeExclusion:
    if not isinstance(value, dict) or not value.keys() <= {"tags", "devices", "boot", "data"}:
        raise JobError(f"exclude_volumes is {value!r}; an object with tags, devices, boot and data")
    tags = value.get("tags", {})
    if not isinstance(tags, dict):
        raise JobError(f"exclude_volumes.tags is {tags!r}; an object of lists")
    return VolumeExclusion(
        tags={key: _texts(values, f"exclude_volumes.tags.{key}") for key, values in tags.items()},
        devices=_texts(value.get("devices", []), "exclude_volumes.devices"),
        boot=_flag(value, "boot"),
        data=_flag(value, "data"),
    )


def _texts(value: Any, name: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise JobError(f"{name} is {value!r}; a list of texts")
    return frozenset(value)


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str) or not value:
        raise JobError(f"{key} is {value!r}; a text is needed")
    return value


def _flag(message: dict[str, Any], key: str) -> bool:
    value = message.get(key, False)
    if not isinstance(value, bool):
        raise JobError(f"{key} is {value!r}; either true or false")
    return value
