"""Step Functions on loopback, for the calls that the command and the product make.

moto's Step Functions keeps executions and plays none; here each of them plays the product's own definition, with the
product's own steps against the twin. It goes one state's work further whenever somebody asks for its status, so that
what a command sees of it is the same in every run.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.inprocess import Installation
from local.state_machine import Player, Stopped

_UNKNOWN = "ExecutionDoesNotExist"


class AwsError(Exception):
    """What a service answers instead."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code


@dataclass(slots=True)
class Play:
    """One execution, parked before each piece of work until it is let go on."""

    name: str
    given: str
    installation: Installation
    began_at: float
    status: str = "RUNNING"
    cause: str = ""
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _parked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()
        self._parked.acquire()

    def go_on(self) -> None:
        """One more piece of work, if any is left."""
        if self.status == "RUNNING":
            self._go.release()
            self._parked.acquire()

    def stop(self, cause: str) -> None:
        """StopExecution: what is parked never goes on, and no Catch runs."""
        if self.status == "RUNNING":
            self.cause = cause
            self.status = "ABORTED"
            self._go.release()
            self._parked.acquire()
            assert self._thread is not None
            self._thread.join()

    def _gate(self) -> None:
        self._parked.release()
        self._go.acquire()
        if self.status != "RUNNING":
            raise Stopped

    def _call(self, event: dict[str, Any]) -> dict[str, Any]:
        self._gate()
        return self.installation.run_step(event)

    def _wait(self, seconds: float) -> None:
        self.installation.advance(seconds=seconds)

    def _play(self) -> None:
        player = Player(name=self.name, call=self._call, wait=self._wait, now=self.installation.twin.clock.now)
        try:
            self.status = player.play(json.loads(self.given))
        except Stopped:
            pass
        except BaseException:
            self.status = "FAILED"
            raise
        finally:
            self._parked.release()


@dataclass(slots=True)
class JsonServices:
    """`refusals` are what an action is answered with instead.

    `on_describe` is told of each look at an execution, before it is answered.
    """

    installation: Installation
    plays: dict[str, Play] = field(default_factory=dict)
    refusals: dict[str, AwsError] = field(default_factory=dict)
    sweeps: bool = True
    on_describe: Callable[[Play], None] = lambda _: None

    def answer(self, target: str, asked: dict[str, Any], *, region: str) -> dict[str, Any]:
        service, _, action = target.partition(".")
        assert service == "AWSStepFunctions", service
        if action in self.refusals:
            raise self.refusals[action]
        answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateStateMachine": lambda asked: self._create(asked, region),
            "StartExecution": self._start,
            "DescribeExecution": self._describe,
            "ListExecutions": self._list,
            "StopExecution": self._stop,
        }
        return answers[action](asked)

    def _create(self, asked: dict[str, Any], region: str) -> dict[str, Any]:
        """A further recovery site's, when it is deployed; its definition is the product's, as everybody's."""
        account = self.installation.recovery.place.account
        arn = f"arn:aws:states:{region}:{account}:stateMachine:{asked['name']}"
        return {"stateMachineArn": arn, "creationDate": self.installation.twin.clock.now().timestamp()}

    def _start(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A name that is taken by what still runs with the same input is the same start, any other is refused.

        https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
        """
        if asked["stateMachineArn"] != self.installation.recovery.recover_arn:
            raise AwsError("StateMachineDoesNotExist")
        known = self.plays.get(asked["name"])
        if known is not None and not (known.status == "RUNNING" and known.given == asked["input"]):
            raise AwsError("ExecutionAlreadyExists")
        if known is None:
            began_at = self.installation.twin.clock.now().timestamp()
            known = Play(asked["name"], asked["input"], self.installation, began_at)
            self.plays[known.name] = known
            known.begin()
        return {"executionArn": self._arn(known.name), "startDate": known.began_at}

    def _describe(self, asked: dict[str, Any]) -> dict[str, Any]:
        play = self._find(asked["executionArn"])
        self.on_describe(play)
        answer = {
            "executionArn": asked["executionArn"],
            "stateMachineArn": self.installation.recovery.recover_arn,
            "name": play.name,
            "status": play.status,
            "startDate": play.began_at,
            "input": play.given,
        }
        if play.cause:
            answer["cause"] = play.cause
        play.go_on()
        return answer

    def _list(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [play for play in self.plays.values() if asked.get("statusFilter") in (None, play.status)]
        return {
            "executions": [
                {
                    "executionArn": self._arn(play.name),
                    "stateMachineArn": asked["stateMachineArn"],
                    "name": play.name,
                    "status": play.status,
                    "startDate": play.began_at,
                }
                for play in found
            ]
        }

    def _stop(self, asked: dict[str, Any]) -> dict[str, Any]:
        play = self._find(asked["executionArn"])
        play.stop(asked.get("cause", ""))
        if self.sweeps:
            # The rule on the execution's status starts the sweep, the schedule repeats it.
            for _ in range(10):
                if not self.installation.sweep().outcomes:
                    break
                self.installation.advance(minutes=1)
        return {"stopDate": self.installation.twin.clock.now().timestamp()}

    def _find(self, arn: str) -> Play:
        try:
            return self.plays[arn.rpartition(":")[2]]
        except KeyError:
            raise AwsError(_UNKNOWN) from None

    def _arn(self, name: str) -> str:
        return f"{self.installation.recovery.recover_arn.replace(':stateMachine:', ':execution:')}:{name}"

    def end(self) -> None:
        """Leave no execution behind."""
        for play in self.plays.values():
            play.stop("the test is over")


@contextmanager
def serving_json(services: JsonServices) -> Iterator[str]:
    """The services' URL, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            try:
                status, answer = (
                    200,
                    services.answer(
                        self.headers["X-Amz-Target"],
                        asked,
                        # The Region is in the scope of the request's signature, and nowhere else.
                        region=self.headers["Authorization"].split("/")[2],
                    ),
                )
            except AwsError as error:
                status, answer = 400, {"__type": error.code, "message": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
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
        services.end()
        server.shutdown()
        server.server_close()
        thread.join()
