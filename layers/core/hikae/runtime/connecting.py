"""Whether something answers at addresses: what the function inside the drills' network does, without any AWS call."""

import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

_SECONDS: Final = 5.0
_TOGETHER: Final = 20.0
"""Within the function's 30 s: one that sends a byte now and then keeps none of the others from being heard."""
_AT_ONCE: Final = 64
_MOST: Final = 64 * 1024
_OK: Final = range(200, 300)


def connect_all(event: Mapping[str, Any], *, seconds: float = _TOGETHER) -> dict[str, Any]:
    """Answer `{"questions": [...]}` with `{"answers": [...]}`, one for each and in their order, all asked at once.

    What takes longer than `seconds` has not answered.
    """
    executor = ThreadPoolExecutor(max_workers=_AT_ONCE)
    try:
        asked = [executor.submit(connect, question) for question in event["questions"]]
        wait(asked, timeout=seconds)
        return {"answers": [_answer_of(each, seconds) for each in asked]}
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _answer_of(asked: Future[dict[str, Any]], seconds: float) -> dict[str, Any]:
    return asked.result() if asked.done() else {"ok": False, "detail": f"not answered within {seconds:.0f} s"}


def connect(question: Mapping[str, Any]) -> dict[str, Any]:
    """Answer `{"address", "kind", "value", "status", "expected"}` with `{"ok", "detail"}`.

    `tcp`: the port takes a connection. `http`, `https`: `value` (`8080/health`) is answered with `status`, or any 2xx
    where none is given, and the body's first 64 KiB match the regular expression `expected`. The certificate is not
    checked, since nothing in an isolated network has the name that it was issued for.
    """
    address, kind, value = question["address"], question["kind"], question["value"]
    try:
        if kind == "tcp":
            with socket.create_connection((address, int(value)), timeout=_SECONDS):
                return {"ok": True, "detail": f"port {value} is open"}
        return _request(address, kind, value, status=question.get("status", ""), expected=question.get("expected", ""))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are to be heard
        return {"ok": False, "detail": f"{type(error).__name__}: {error}"[:200]}


def _request(address: str, kind: str, value: str, *, status: str, expected: str) -> dict[str, Any]:
    port, _, path = value.partition("/")
    connection: http.client.HTTPConnection
    if kind == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(address, int(port or 443), timeout=_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(address, int(port or 80), timeout=_SECONDS)
    try:
        connection.request("GET", f"/{path}", headers={"User-Agent": "hikae-drill"})
        response = connection.getresponse()
        body = response.read(_MOST).decode(errors="replace")
        is_status = str(response.status) == status if status else response.status in _OK
        is_body = not expected or re.search(expected, body, re.MULTILINE) is not None
        detail = f"status {response.status}" if is_body else f"status {response.status}, body not as expected"
        return {"ok": is_status and is_body, "detail": detail}
    finally:
        connection.close()
