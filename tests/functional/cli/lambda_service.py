"""Lambda on loopback: the calls that the command and the runbooks make, answered with the product's own handlers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any
from urllib.parse import unquote

from hikae.domain.model import SiteRole
from hikae.domain.naming import format_time
from tests.functional.handlers.conftest import Functions, load_handler


@dataclass(slots=True)
class Deployed:
    """PruneRecoveryPoints of both sites; `refusal` is what every call is answered with instead, `events` what came.

    `not_shown` is what the function says that its answer leaves out.
    """

    functions: Functions
    refusal: tuple[int, str, str] | None = None
    fails_with: dict[str, Any] | None = None
    not_shown: dict[str, int] = field(default_factory=dict)
    missing_variable: str = ""
    missing_region: str = ""
    stopped: set[str] = field(default_factory=set)
    events: list[tuple[SiteRole, dict[str, Any]]] = field(default_factory=list)

    def answer(self, name: str, what: str, event: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        """A call on a function, by the last part of its path."""
        if what == "configuration":
            return self.configuration(name)
        if what == "concurrency":
            return self.reserve(name, event.get("ReservedConcurrentExecutions"))
        return self.invoke(name, event)

    def configuration(self, name: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        """https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html"""
        variables = self.functions.installation.environment(self._site_of(name))
        if name.endswith("-recover"):
            variables |= self._of_recovery()
        # Lambda's own variable, which no template sets.
        del variables["AWS_REGION"]
        variables.pop(self.missing_variable, None)
        return 200, {"FunctionName": name, "Environment": {"Variables": variables}}, {}

    def invoke(self, name: str, event: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        """https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""
        if name in self.stopped:
            throttled = {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "message": "Rate Exceeded."}
            return 429, throttled, {"X-Amzn-ErrorType": "TooManyRequestsException"}
        if name == self.functions.installation.recovery.probe_function:
            return 200, load_handler("probe_network")(event, None), {}
        site = self._site_of(name)
        self.events.append((site, event))
        if self.fails_with is not None:
            return 200, self.fails_with, {"X-Amz-Function-Error": "Unhandled"}
        now = format_time(self.functions.installation.twin.clock.now())  # the twin's time is the only one there is
        with redirect_stdout(StringIO()):  # its log
            answer = self.functions.invoke("prune_recovery_points", {**event, "now": now}, site=site)
        return 200, {**answer, "not_shown": self.not_shown} if self.not_shown else answer, {}

    def reserve(self, name: str, concurrency: int | None) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Reserve concurrency, or no more; with 0 a function is not invoked, and more makes no difference here.

        https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionConcurrency.html
        https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionConcurrency.html
        """
        self._site_of(name)
        if concurrency is None:
            self.stopped.discard(name)
            return 204, {}, {}
        if concurrency == 0:
            self.stopped.add(name)
        return 200, {"ReservedConcurrentExecutions": concurrency}, {}

    def _of_recovery(self) -> dict[str, str]:
        """What the template tells Recover beside."""
        settings = self.functions.installation.recovery
        return {
            "HIKAE_COPY_KEY_ARN": settings.copy_key_arn,
            "HIKAE_DRILL_SUBNETS": ",".join(settings.drill_subnets),
            "HIKAE_DRILL_SECURITY_GROUPS": ",".join(settings.drill_security_groups),
            "HIKAE_DRILL_VPC": settings.drill_vpc,
            "HIKAE_DRILL_ENDPOINT_GROUPS": ",".join(settings.drill_endpoint_groups),
            "HIKAE_DRILL_PROFILE": settings.drill_profile,
            "HIKAE_RESTORE_ROLES": ",".join(settings.restore_roles),
            "HIKAE_PROBE_FUNCTION": settings.probe_function,
            "HIKAE_EVIDENCE_KEY_ARN": settings.evidence_key_arn,
            "HIKAE_RECOVER_ARN": settings.recover_arn,
            "HIKAE_CODE_VERSION": settings.code_version,
        }

    @staticmethod
    def _site_of(name: str) -> SiteRole:
        names = {f"hikae-main-{site}-prune-recovery-points": site for site in SiteRole}
        try:
            return (names | {"hikae-main-recovery-recover": SiteRole.RECOVERY})[name]
        except KeyError:
            raise StopIteration from None


@contextmanager
def serving(deployed: Deployed) -> Iterator[str]:
    """The service's URL, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}"))

        do_PUT = do_POST  # noqa: N815 - the names that http.server calls
        do_DELETE = do_GET  # noqa: N815

        def _answer(self, event: dict[str, Any]) -> None:
            *_, name, what = unquote(self.path).split("/")
            if deployed.refusal is not None:
                status, code, message = deployed.refusal
                return self._send(status, {"Message": message}, {"X-Amzn-ErrorType": code})
            try:
                # The Region is in the scope of the request's signature, and nowhere else.
                if f"/{deployed.missing_region}/" in self.headers["Authorization"]:
                    raise StopIteration  # noqa: TRY301 - as for a name that is not there
                answer = deployed.answer(name, what, event)
            except StopIteration:
                missing = {"Message": f"Function not found: {name}"}
                return self._send(404, missing, {"X-Amzn-ErrorType": "ResourceNotFoundException"})
            return self._send(*answer)

        def _send(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
            content = json.dumps(body).encode() if status != HTTPStatus.NO_CONTENT else b""
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
