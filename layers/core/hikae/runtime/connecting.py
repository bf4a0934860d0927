"""Whether something answers at an address: what the function inside the drills' network does, without any AWS call."""

import http.client
import re
import socket
import ssl
from typing import Any, Final

_SECONDS: Final = 5.0
_MOST: Final = 64 * 1024
_OK: Final = range(200, 300)


def connect(event: dict[str, Any]) -> dict[str, Any]:
    """Answer `{"address", "kind", "value", "status", "expected"}` with `{"ok", "detail"}`.

    `tcp`: the port takes a connection. `http`, `https`: `value` (`8080/health`) is answered with `status`, or any 2xx
    where none is given, and the body's first 64 KiB match the regular expression `expected`. The certificate is not
    checked, since nothing in an isolated network has the name that it was issued for.
    """
    address, kind, value = event["address"], event["kind"], event["value"]
    try:
        if kind == "tcp":
            with socket.create_connection((address, int(value)), timeout=_SECONDS):
                return {"ok": True, "detail": f"port {value} is open"}
        return _request(address, kind, value, status=event.get("status", ""), expected=event.get("expected", ""))
    except (OSError, http.client.HTTPException) as error:
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
