"""How a recovery point is named: its id, its tags, the image's name, the keys of its manifest.

The tags are the truth: a catalogue can be rebuilt from EC2 alone, so reading them back is as strict as writing them.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from hikae.domain.model import (
    AccountId,
    Consistency,
    CopyOrigin,
    Job,
    Kind,
    Place,
    PointId,
    PointIdentity,
    PointTags,
    Region,
    ResourceId,
)

SCHEMA = "1"
PREFIX = "hikae:"
HOLD = "hikae:hold"
DRILL = "hikae:drill"
"""On everything that a drill makes: the drill's id."""
RECOVERY = "hikae:recovery"
"""On everything that a restore makes: the restore's id."""
RECOVERED_FROM = "hikae:recovered-from"
"""On what was recovered: the id of the point that it was recovered from."""
RECOVERED_RESOURCE = "hikae:recovered-resource"
"""On what was recovered: the instance or volume that it stands for."""
RECOVERY_SETTINGS_KEY = "recovery/settings.yaml"
"""Where a recovery site's administrator says which subnets, groups and keys a restore uses."""
INSTALLATION = "hikae:installation"
POINT = "hikae:point"
ATTEMPT = "hikae:attempt"
SLOT = "hikae:slot"
COPY_OF = "hikae:copy-of"
COPY_ATTEMPT = "hikae:copy-attempt"

RUNS = "recovery/"
EVIDENCE = "evidence/"
INVENTORY = "inventory/"
KEY_PAIRS = "key-pairs/"

MAX_TAGS = 50
"""Tags per resource: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions."""


_E = TypeVar("_E", Kind, Consistency)


class TagError(ValueError):
    """The tags of a snapshot or image do not say what it is."""


def point_id(identity: PointIdentity) -> PointId:
    """The id of the point that a job makes: `rp-` and 32 hex digits, the same for every attempt of the same job."""
    fields = (
        SCHEMA,
        identity.installation,
        identity.place.account,
        identity.place.region,
        identity.plan,
        identity.rule,
        format_time(identity.slot),
        identity.resource,
    )
    # Length-delimited: ("ab", "c") and ("a", "bc") must not be the same point.
    message = b"".join(b"%d:%s," % (len(raw), raw) for raw in (field.encode() for field in fields))
    return PointId("rp-" + hashlib.sha256(message).hexdigest()[:32])


def tags_of_job(job: Job, *, attempt: int, members: int, volume: str | None = None) -> PointTags:
    """The tags of the point that `job` makes in its given attempt."""
    return PointTags(
        identity=job.identity,
        point=point_id(job.identity),
        attempt=attempt,
        kind=job.kind,
        members=members,
        consistency=job.consistency,
        volume=volume,
    )


def write_tags(tags: PointTags, *, carried: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tags for a creating call: hikae's own, then as many of the `carried` ones as EC2 allows (50 in all).

    `aws:` tags cannot be written by anyone and `hikae:` ones of a source mean nothing, so both are left out.
    """
    identity = tags.identity
    own = {
        "hikae:v": SCHEMA,
        INSTALLATION: identity.installation,
        POINT: tags.point,
        ATTEMPT: str(tags.attempt),
        "hikae:plan": identity.plan,
        "hikae:rule": identity.rule,
        SLOT: format_time(identity.slot),
        "hikae:resource": identity.resource,
        "hikae:kind": tags.kind.value,
        "hikae:members": str(tags.members),
        "hikae:consistency": tags.consistency.value,
    }
    if tags.volume is not None:
        own["hikae:volume"] = tags.volume
    if tags.device is not None:
        own["hikae:device"] = tags.device
    if tags.origin is not None:
        own[COPY_OF] = tags.origin.copy_of
        own["hikae:source-time"] = format_time(tags.origin.source_time)
        own["hikae:source-region"] = identity.place.region
        own["hikae:source-account"] = identity.place.account
        own[COPY_ATTEMPT] = str(tags.origin.attempt)
    return own | dict(list(user_tags(carried or {}).items())[: MAX_TAGS - len(own)])


def user_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that are neither AWS's nor hikae's, in the order of their keys."""
    return {key: tags[key] for key in sorted(tags) if not key.startswith(("aws:", PREFIX))}


def read_tags(tags: Mapping[str, str], *, place: Place) -> PointTags:
    """What the tags of a snapshot or image that lives at `place` say.

    Raises:
        TagError: a tag is missing or malformed, or the point id is not the one that the other tags make.
    """
    if _required(tags, "hikae:v") != SCHEMA:
        raise TagError(f"hikae:v is {tags['hikae:v']!r}, this version reads {SCHEMA!r}")
    origin = None
    source = place
    if COPY_OF in tags:
        origin = CopyOrigin(
            copy_of=tags[COPY_OF],
            source_time=_time(tags, "hikae:source-time"),
            attempt=_number(tags, COPY_ATTEMPT),
        )
        source = Place(
            account=AccountId(_required(tags, "hikae:source-account")),
            region=Region(_required(tags, "hikae:source-region")),
        )
    read = PointTags(
        identity=PointIdentity(
            installation=_required(tags, INSTALLATION),
            place=source,
            plan=_required(tags, "hikae:plan"),
            rule=_required(tags, "hikae:rule"),
            slot=_time(tags, SLOT),
            resource=ResourceId(_required(tags, "hikae:resource")),
        ),
        point=PointId(_required(tags, POINT)),
        attempt=_number(tags, ATTEMPT),
        kind=_member(Kind, tags, "hikae:kind"),
        members=_number(tags, "hikae:members"),
        consistency=_member(Consistency, tags, "hikae:consistency"),
        volume=tags.get("hikae:volume"),
        device=tags.get("hikae:device"),
        origin=origin,
    )
    expected = point_id(read.identity)
    if read.point != expected:
        raise TagError(f"hikae:point is {read.point}, its other tags make {expected}")
    return read


def image_name(tags: PointTags) -> str:
    """An image's name, unique in its Region and so itself a guard against a second one of the same attempt."""
    name = f"hikae/{tags.identity.installation}/{tags.point}/{tags.attempt}"
    return name if tags.origin is None else f"{name}/copy/{tags.origin.attempt}"


def copy_token(name: str, *, destination: Place, now: datetime) -> str:
    """CopyImage's ClientToken, 64 characters at most: equal for every retry of the same copy within the hour.

    Not for ever: EC2 answers a token that it knows with the image that it made then, also where somebody has
    deregistered that image since. Against a second copy of the same name the name itself is the guard.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    return hashlib.sha256(f"{name}\n{destination}\n{now.astimezone(UTC):%Y-%m-%dT%H}".encode()).hexdigest()


def manifest_key(tags: PointTags) -> str:
    """Where a point's manifest lies in the bucket of every site that has the point."""
    identity = tags.identity
    return f"manifests/{identity.place}/{identity.resource}/{tags.point}/{tags.attempt}.json"


def inventory_key(place: Place) -> str:
    """Where the list of all that a primary site protects lies."""
    return f"inventory/{place}/latest.json"


def key_pair_key(place: Place, name: str) -> str:
    """Where the public half of a primary's key pair is kept; a name may have any letter, a key of S3 not quite."""
    return f"{KEY_PAIRS}{place}/{quote(name, safe='')}.json"


def run_key(run: str) -> str:
    """Where a recovery run keeps what was asked of it and what it did."""
    return f"{RUNS}{run}/run.json"


def evidence_key(run: str) -> str:
    """Where the signed record of a run lies."""
    return f"{EVIDENCE}{run}.json"


def run_tag(*, installation: str, run: str) -> str:
    """The value of `hikae:drill` or `hikae:recovery` on everything that the run makes."""
    return f"{installation}/{run}"


def recovery_image_name(*, installation: str, run: str, resource: str, attempt: int) -> str:
    """The image that a run registers from a snapshot set; unique in its Region, so itself a guard against a second."""
    return f"hikae/{installation}/run/{run}/{resource}/{attempt}"


def recovery_token(*parts: str | int) -> str:
    """A ClientToken, 64 characters: equal for every retry of the same creating call of a run.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    message = b"".join(b"%d:%s," % (len(raw), raw) for raw in (str(part).encode() for part in parts))
    return hashlib.sha256(message).hexdigest()


LAST_REPORT_KEY = "reports/latest.json"
"""Where a recovery site's newest report of its objectives lies."""


def dated_report_key(moment: datetime) -> str:
    """Where the report of a moment stays when there are newer ones."""
    return f"reports/{moment.astimezone(UTC):%Y/%m/%d/%H%M%SZ}.json"


def bucket_name(*, installation: str, site: str, place: Place) -> str:
    """The bucket of a site, which other sites and the command find by this name."""
    return f"hikae-{installation}-{site}-{place.account}-{place.region}"


def queue_name(*, installation: str, site: str, queue: str) -> str:
    """The queue of a site that the template calls `queue`, which the command finds by this name."""
    return f"hikae-{installation}-{site}-{queue}"


def function_name(*, installation: str, site: str, function: str) -> str:
    """The function of a site whose folder is `function`."""
    return f"hikae-{installation}-{site}-{function.replace('_', '-')}"


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC; fractions of a second only where there are any."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    text = moment.astimezone(UTC).isoformat(timespec="microseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def parse_time(text: str) -> datetime:
    """An RFC 3339 time as an aware UTC datetime.

    Raises:
        ValueError: it is not RFC 3339, or has no zone.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text!r} is not an RFC 3339 time such as 2026-11-22T10:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is not in the years 1 to 9999 of UTC") from error


def _required(tags: Mapping[str, str], key: str) -> str:
    value = tags.get(key)
    if not value:
        raise TagError(f"tag {key} is missing")
    return value


def _number(tags: Mapping[str, str], key: str) -> int:
    value = _required(tags, key)
    if not _NUMBER.fullmatch(value):
        raise TagError(f"tag {key} is {value!r}, not a number from 1")
    return int(value)


def _time(tags: Mapping[str, str], key: str) -> datetime:
    try:
        return parse_time(_required(tags, key))
    except ValueError as error:
        raise TagError(f"tag {key}: {error}") from error


def _member(kind: type[_E], tags: Mapping[str, str], key: str) -> _E:
    value = _required(tags, key)
    try:
        return kind(value)
    except ValueError as error:
        raise TagError(f"tag {key} is {value!r}, not one of {', '.join(kind)}") from error
