"""boto3's errors, translated once, by code and never by message.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from hikae.domain.ladder import CAPACITY_CODES
from hikae.ports import Ambiguous, InUse, LimitReached, NoCapacity, NotFound, PortError, Refused, Throttled, Unreachable

_T = TypeVar("_T")

THROTTLED = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled", "EC2ThrottledException"}
)
LIMITED = frozenset(
    {
        "ConcurrentCreateImageNoRebootLimitExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "PendingSnapshotLimitExceeded",
        "ResourceLimitExceeded",
        "SnapshotCreationPerVolumeRateExceeded",
    }
)
IN_USE = frozenset({"InvalidSnapshot.InUse"})
GONE = frozenset({"InvalidAMIID.Unavailable", "NoSuchKey", "404", "ExecutionDoesNotExist", "NoSuchEntity"})
# Somebody with the same identity has been here, and EC2 does not show the result yet: look again later.
TAKEN = frozenset({"InvalidAMIName.Duplicate", "InvalidGroup.Duplicate"})
_SERVER_ERROR = 500


def translate(error: ClientError | BotoCoreError, resource: str) -> PortError:
    """The port's error for what a mutating call raised."""
    if isinstance(error, EndpointConnectionError):
        # There was no connection to send it over.
        return Throttled(str(error), code=type(error).__name__, resource=resource)
    if isinstance(error, (NoCredentialsError, ParamValidationError)):
        return Refused(str(error), code=type(error).__name__, resource=resource)
    if isinstance(error, BotoCoreError):
        # The connection broke or timed out: the request may have arrived.
        return Ambiguous(str(error), code=type(error).__name__, resource=resource)
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"{code}: {error.response.get('Error', {}).get('Message', '')}"
    kind: type[PortError] = Refused
    if code in THROTTLED:
        kind = Throttled
    elif code in LIMITED:
        kind = LimitReached
    elif code in CAPACITY_CODES:
        # EC2 answers some of these as its own failure (500), but the call did not happen.
        kind = NoCapacity
    elif code in TAKEN or status >= _SERVER_ERROR:
        kind = Ambiguous
    elif code in IN_USE:
        kind = InUse
    elif code in GONE or code.endswith(".NotFound"):
        kind = NotFound
    return kind(message, code=code, resource=resource)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Translate what a reading call raises: NotFound where the thing is not there, else Unreachable.

    A refusal to answer, for whatever reason, is never taken for an empty answer.
    """
    try:
        yield
    except ClientError as error:
        translated = translate(error, what)
        if isinstance(translated, NotFound):
            raise translated from error
        raise Unreachable(f"{what}: {translated}", code=translated.code, resource=what) from error
    except BotoCoreError as error:
        raise Unreachable(f"{what}: {error}", code=type(error).__name__, resource=what) from error


def is_refusal(error: Unreachable) -> bool:
    """Whether the service has heard a reading call and will not answer it, however often it is asked."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and isinstance(translate(cause, error.resource), Refused)


def send(
    call: Callable[[], _T], *, resource: str, sleep: Callable[[float], None] = time.sleep, attempts: int = 6
) -> _T:
    """Send a mutating call; only a throttled one, which did not happen, is sent again, with growing pauses.

    Raises:
        Throttled, LimitReached, InUse, NotFound, Refused, Ambiguous: as the service answered.
    """
    for attempt in range(attempts):
        try:
            return call()
        except (ClientError, BotoCoreError) as error:
            translated = translate(error, resource)
            if not isinstance(translated, Throttled) or attempt == attempts - 1:
                raise translated from error
            # Full jitter, so that workers that were throttled together do not come back together.
            sleep(random.uniform(0.1, min(8.0, 0.5 * 2**attempt)))  # noqa: S311 - not a secret
    raise AssertionError("unreachable: the last attempt returns or raises")
