"""Faults that a test asks the twin's server for, in front of its EC2: what local.twin.faults is inside a process.

Control: POST /_twin/fault with {"action", "phase"?, "code"?, "status"?, "region"?, "times"?, "skip"?}.

`action` is an EC2 action or `*`. `phase` is `before` (the default: refused, nothing happens) or `after` (carried out,
but the caller does not learn of it). With a `code`, that error is answered, with `status` (503 for
RequestLimitExceeded, 500 after a call, 400 otherwise); without one the connection breaks: with `*` and a `region`, a
Region is unreachable.
`skip` calls go unharmed first, then `times` calls are struck (1 if not told, -1 for all of them).
DELETE /_twin/fault ends all faults.
"""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from local.twin.faults import THROTTLED, Phase

_CREDENTIAL = re.compile(r"Credential=[^/]+/\d+/(?P<region>[^/]+)/ec2/")
_ERROR = "<Response><Errors><Error><Code>{code}</Code><Message>As told.</Message></Error></Errors></Response>"

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(slots=True, kw_only=True)
class ServerFault:
    """One fault that is asked for."""

    action: str
    phase: Phase
    code: str
    status: int
    region: str
    times: int
    skip: int

    @classmethod
    def read(cls, body: dict[str, Any]) -> ServerFault:
        """A request's fault; KeyError or ValueError for one that makes no sense."""
        phase, code = Phase(body.get("phase", "before")), str(body.get("code", ""))
        usual = 503 if code == THROTTLED else 500 if phase is Phase.AFTER else 400
        return cls(
            action=body["action"],
            phase=phase,
            code=code,
            status=int(body.get("status", usual)),
            region=body.get("region", ""),
            times=int(body.get("times", 1)),
            skip=int(body.get("skip", 0)),
        )

    def strikes(self, *, action: str, region: str) -> bool:
        """Whether this call is struck; it is counted."""
        if self.action not in ("*", action) or self.region not in ("", region) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1 if self.times > 0 else 0
        return True


@dataclass(slots=True)
class ServerFaults:
    """The faults in force, the one that was asked for last first."""

    rules: list[ServerFault] = field(default_factory=list)

    def guard(self, application: Application) -> Application:
        """`application`, whose requests to EC2 meet the faults."""

        def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            fault = self._find(environ) if self.rules else None
            if fault is None:
                return application(environ, start_response)
            if fault.phase is Phase.AFTER:
                b"".join(application(environ, lambda *_: None))
            if not fault.code:
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                return []
            start_response(f"{fault.status} Fault", [("Content-Type", "text/xml")])
            return [_ERROR.format(code=fault.code).encode()]

        return guarded

    def _find(self, environ: dict[str, Any]) -> ServerFault | None:
        signed = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if signed is None:
            return None
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        action = parse_qs(body.decode()).get("Action", [""])[0]
        region = signed["region"]
        return next((each for each in reversed(self.rules) if each.strikes(action=action, region=region)), None)
