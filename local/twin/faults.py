"""Faults of EC2 that a test asks for, in process: they sit under botocore's retries, where a network's faults are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from botocore.exceptions import ConnectionClosedError, EndpointConnectionError
from moto.core.botocore_stubber import BotocoreStubber

_ERROR = (
    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    "<RequestID>00000000-0000-4000-8000-000000000000</RequestID></Response>"
)


@contextmanager
def unreachable(region: str) -> Iterator[None]:
    """No connection to EC2 of `region` comes about."""

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        host = urlsplit(request.url).netloc
        if host.startswith(f"ec2.{region}."):
            raise EndpointConnectionError(endpoint_url=request.url)
        return go_on(request)

    with _intercepted(process):
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
            message = f"The twin was told to answer {code}."
            return status, {"content-type": "text/xml"}, _ERROR.format(code=code, message=message)
        return go_on(request)

    with _intercepted(process):
        yield


@contextmanager
def answer_lost(action: str, *, times: int = 1) -> Iterator[None]:
    """EC2 carries out calls of `action`, and the connection breaks before the caller has the answer."""
    left = times

    def process(request: Any, go_on: Callable[[Any], Any]) -> Any:
        nonlocal left
        answer = go_on(request)
        if left != 0 and _is_about(request, action, ""):
            left -= 1
            raise ConnectionClosedError(endpoint_url=request.url)
        return answer

    with _intercepted(process):
        yield


def _is_about(request: Any, action: str, resource: str) -> bool:
    if not urlsplit(request.url).netloc.startswith("ec2."):
        return False
    body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
    return parse_qs(body).get("Action") == [action] and resource in body


@contextmanager
def _intercepted(process: Callable[[Any, Callable[[Any], Any]], Any]) -> Iterator[None]:
    original = BotocoreStubber.process_request

    def process_request(stubber: BotocoreStubber, request: Any) -> Any:
        return process(request, lambda passed: original(stubber, passed))

    with patch.object(BotocoreStubber, "process_request", process_request):
        yield
