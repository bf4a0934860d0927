"""Faults of AWS that a test asks for, in process: they sit under botocore's retries, where a network's faults are.

Several may be in force at once; the one that was asked for last is the nearest to the caller.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.exceptions import ConnectionClosedError, EndpointConnectionError
from moto.core.botocore_stubber import BotocoreStubber

THROTTLED = "RequestLimitExceeded"
_ERROR = (
    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    "<RequestID>00000000-0000-4000-8000-000000000000</RequestID></Response>"
)
_CREDENTIAL = re.compile(r"Credential=[^/]+/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class Killed(BaseException):
    """The process is gone: no `except Exception` of the product or of a library survives it."""


class Phase(Enum):
    """When something happens to a call: before AWS hears of it, or after it was carried out, before its answer."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request to AWS, as it was sent; `about` is S3's key."""

    service: str
    region: str
    action: str
    about: str = ""

    @property
    def is_reading(self) -> bool:
        """Whether it changes nothing."""
        return self.action.startswith(("Describe", "Get", "List"))

    def __str__(self) -> str:
        return f"{self.service}:{self.action}"


def read_request(request: Any) -> Asked:
    """What a signed request asks for. The Region and the service are those that it was signed for."""
    header = request.headers.get("Authorization", b"")
    signed = _CREDENTIAL.search(header.decode() if isinstance(header, bytes) else header)
    if signed is None:
        raise ValueError(f"{request.method} {request.url} is not signed")
    service, region = signed["service"], signed["region"]
    if service == "s3":
        return _read_s3(request, region)
    target = request.headers.get("X-Amz-Target", "")
    if target:
        action = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
    else:
        action = parse_qs(_body(request)).get("Action", [f"{request.method} {urlsplit(request.url).path}"])[0]
    return Asked(service=service, region=region, action=action)


def _read_s3(request: Any, region: str) -> Asked:
    parts = urlsplit(request.url)
    is_in_host = not parts.netloc.startswith("s3.")
    key = unquote(parts.path.lstrip("/") if is_in_host else parts.path.lstrip("/").partition("/")[2])
    query = parse_qs(parts.query, keep_blank_values=True)
    if key:
        action = {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(request.method, request.method)
    else:
        action = "ListObjectVersions" if "versions" in query else "ListObjectsV2"
    return Asked(service="s3", region=region, action=action, about=key)


def _body(request: Any) -> str:
    return request.body.decode() if isinstance(request.body, bytes) else str(request.body or "")


@contextmanager
def recorded() -> Iterator[list[Asked]]:
    """Every request of the process to any service, in order, each attempt of its own."""
    asked: list[Asked] = []

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        asked.append(read_request(request))
        return go_on(request)

    with intercepted(process):
        yield asked


@contextmanager
def interrupted(number: int, phase: Phase, act: Callable[[], None]) -> Iterator[None]:
    """`act` runs just before or just after request `number` (from 1) to any service; its own requests do not count."""
    count = 0

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        nonlocal count
        count += 1
        if count != number:
            return go_on(request)
        if phase is Phase.BEFORE:
            act()
            return go_on(request)
        answer = go_on(request)
        act()
        return answer

    with intercepted(process):
        yield


@contextmanager
def killed(number: int, phase: Phase) -> Iterator[None]:
    """The process is killed just before or just after request `number` (from 1) to any service."""

    def die() -> None:
        raise Killed(f"{phase.value} request {number}")

    with interrupted(number, phase, die):
        yield


@contextmanager
def killed_before(action: str) -> Iterator[None]:
    """The process is killed right before it asks any service for `action`."""

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if read_request(request).action == action:
            raise Killed(f"before {action}")
        return go_on(request)

    with intercepted(process):
        yield


@contextmanager
def killed_after(action: str) -> Iterator[None]:
    """The process dies as soon as its first request for this action was answered."""

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        answer = go_on(request)
        if read_request(request).action == action:
            raise Killed(f"after {action}")
        return answer

    with intercepted(process):
        yield


@contextmanager
def struck(number: int, fault: "Fault") -> Iterator[None]:
    """Request `number` (from 1) to any service meets `fault`."""
    count = 0

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        nonlocal count
        count += 1
        return fault(request, go_on) if count == number else go_on(request)

    with intercepted(process):
        yield


Fault = Callable[[Any, Callable[[Any], Any]], Any]
"""What happens to one request: it is given the request, and how it would go on without a fault."""


def throttle(request: Any, _go_on: Callable[[Any], Any]) -> Any:
    """The call is refused for its rate; it did not happen.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html: RequestLimitExceeded with status 503.
    """
    return _answer(request, 503, THROTTLED)


def refuse_connection(request: Any, _go_on: Callable[[Any], Any]) -> Any:
    """There is nobody at the other end; the call did not happen."""
    raise EndpointConnectionError(endpoint_url=request.url)


def fail_after(request: Any, go_on: Callable[[Any], Any]) -> Any:
    """The call is carried out, and answered with a 500: nobody knows that it was.

    "Error codes for the Amazon EC2 API": after an InternalError (500) a request may or may not have happened.
    """
    go_on(request)
    return _answer(request, 500, "InternalError")


def drop_after(request: Any, go_on: Callable[[Any], Any]) -> Any:
    """The call is carried out, and the connection breaks before the caller has the answer."""
    go_on(request)
    raise ConnectionClosedError(endpoint_url=request.url)


@contextmanager
def throttled(share: float, *, seed: int) -> Iterator[None]:
    """EC2 refuses so large a share of all calls for their rate, the same ones for the same seed."""
    with shaken(share, throttle, seed=seed):
        yield


@contextmanager
def shaken(share: float, fault: Fault, *, seed: int) -> Iterator[None]:
    """So large a share of all calls to EC2 meets `fault`, the same ones for the same seed."""
    random = Random(seed)  # noqa: S311 (reproducible, not secret)

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if read_request(request).service == "ec2" and random.random() < share:
            return fault(request, go_on)
        return go_on(request)

    with intercepted(process):
        yield


@contextmanager
def unreachable(region: str) -> Iterator[None]:
    """No connection to any service of `region` comes about."""

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if read_request(request).region == region:
            raise EndpointConnectionError(endpoint_url=request.url)
        return go_on(request)

    with intercepted(process):
        yield


@contextmanager
def slow(action: str, pass_time: Callable[[], None]) -> Iterator[None]:
    """EC2 takes its time over every call of `action`: `pass_time` moves the clock."""

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if _is_about(request, action, ""):
            pass_time()
        return go_on(request)

    with intercepted(process):
        yield


@contextmanager
def no_capacity(
    *, instance_type: str = "", zone_subnets: Collection[str] = (), code: str = "InsufficientInstanceCapacity"
) -> Iterator[None]:
    """EC2 has no room for a type (any, if none is named) in these subnets (anywhere, if none is named).

    "There is not enough capacity to fulfill your instance request", which EC2 answers as a server error:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html#api-error-codes-table-server
    """

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        if _is_about(request, "RunInstances", "") and "DryRun=true" not in _body(request):
            asked = parse_qs(_body(request))
            is_type = not instance_type or asked.get("InstanceType") == [instance_type]
            if is_type and (not zone_subnets or asked.get("SubnetId", [""])[0] in zone_subnets):
                return _answer(request, 500 if code.startswith("Insufficient") else 400, code)
        return go_on(request)

    with intercepted(process):
        yield


@contextmanager
def refused(action: str, code: str, *, status: int = 400, resource: str = "", times: int = -1) -> Iterator[None]:
    """EC2 refuses calls of `action` (that name `resource`) with `code`; nothing happens. `times` counts, -1 is always.

    Throttling is `RequestLimitExceeded` with status 503:
    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    """
    left = times

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        nonlocal left
        if left != 0 and _is_about(request, action, resource):
            left -= 1
            return _answer(request, status, code)
        return go_on(request)

    with intercepted(process):
        yield


@contextmanager
def answer_lost(action: str, *, times: int = 1) -> Iterator[None]:
    """EC2 carries out calls of `action`, and the connection breaks before the caller has the answer."""
    with _after(action, drop_after, times=times):
        yield


@contextmanager
def answer_failed(action: str, *, times: int = 1) -> Iterator[None]:
    """EC2 carries out calls of `action` and answers them with a 500."""
    with _after(action, fail_after, times=times):
        yield


@contextmanager
def _after(action: str, fault: Fault, *, times: int) -> Iterator[None]:
    left = times

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        nonlocal left
        if left != 0 and _is_about(request, action, ""):
            left -= 1
            return fault(request, go_on)
        return go_on(request)

    with intercepted(process):
        yield


_BY_ACTION = frozenset({"ec2", "elasticloadbalancing", "ssm"})


def _is_about(request: Any, action: str, resource: str) -> bool:
    asked = read_request(request)
    return asked.service in _BY_ACTION and asked.action == action and resource in _body(request)


def _answer(request: Any, status: int, code: str) -> Any:
    """An error in the protocol of the service that was asked."""
    message = f"The twin was told to answer {code}."
    if request.headers.get("X-Amz-Target"):
        return status, {"content-type": "application/x-amz-json-1.0"}, f'{{"__type":"{code}","message":"{message}"}}'
    if read_request(request).service == "ec2":
        return status, {"content-type": "text/xml"}, _ERROR.format(code=code, message=message)
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    if read_request(request).service == "s3":
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, {"content-type": "text/xml"}, body


_unaffected: list[bool] = []


@contextmanager
def unaffected() -> Iterator[None]:
    """What is asked in here meets no fault and is not recorded: what AWS's services ask of each other, and tests."""
    _unaffected.append(True)
    try:
        yield
    finally:
        _unaffected.pop()


@contextmanager
def intercepted(process: Fault) -> Iterator[None]:
    """Every request of this process to AWS goes through `process`."""
    original = BotocoreStubber.process_request

    def process_request(stubber: BotocoreStubber, request: Any) -> Any:
        if _unaffected:
            return original(stubber, request)
        return process(request, lambda passed: original(stubber, passed))

    with patch.object(BotocoreStubber, "process_request", process_request):
        yield
