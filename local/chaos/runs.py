"""Step Functions: the executions of the recover state machine, which go on by the stage's clock beside everything else.

A task invokes the function, and what the function raises is retried and caught as the definition says. The end of an
execution is an event, which the template's rule may hear.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from moto.stepfunctions.models import Execution, stepfunctions_backends

from local.inprocess import ACCOUNT, RECOVERY
from local.state_machine import Player, Playing, Stopped
from local.twin.events import event_time
from local.twin.faults import unaffected

if TYPE_CHECKING:
    from local.chaos.stage import Stage

_TRANSITION = timedelta(milliseconds=100)
"""What Step Functions takes from one task to the next; nothing promises how long."""


class TaskFailed(RuntimeError):  # noqa: N818 - Step Functions' own word: States.TaskFailed
    """The function behind a task has failed."""


class Runs:
    """The executions, by name. One that was accepted begins by itself."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._playing: dict[str, Playing] = {}
        self.ended: dict[str, str] = {}

    @property
    def under_way(self) -> tuple[str, ...]:
        """The names of those that have not ended."""
        return tuple(self._playing)

    def start(self, name: str, request: dict[str, Any]) -> None:
        """Start one, as `hikae restore` and `hikae drill start` do."""
        with unaffected():
            self._stage.twin.client("stepfunctions", RECOVERY).start_execution(
                stateMachineArn=self._stage.installation.recovery.recover_arn,
                name=name,
                input=json.dumps({"request": request}),
            )
        self.notice()

    def stop(self, name: str) -> None:
        """Somebody stops one: no Catch runs."""
        self._end(name, "ABORTED")

    def notice(self) -> None:
        """Begin those that Step Functions has accepted since the last time."""
        for machine in stepfunctions_backends[ACCOUNT][RECOVERY].state_machines:
            for execution in machine.executions:
                if execution.name not in self._playing and execution.name not in self.ended:
                    self._begin(execution)

    def _begin(self, execution: Execution) -> None:
        name = execution.name
        player = Player(name=name, call=partial(self._call, name), wait=_never_waits, now=self._stage.twin.clock.now)
        self._playing[name] = player.begin(json.loads(execution.execution_input))
        limit = timedelta(seconds=player.definition["TimeoutSeconds"])
        self._stage.at(self._stage.now + limit, partial(self._end, name, "TIMED_OUT"), is_schedule=True)
        self._go_on(name)

    def _go_on(self, name: str) -> None:
        """Play up to the next wait."""
        if name not in self._playing:
            return
        try:
            seconds = next(self._playing[name])
        except StopIteration as end:
            self._end(name, end.value)
        except Stopped:
            return
        else:
            self._stage.at(self._stage.now + max(timedelta(seconds=seconds), _TRANSITION), partial(self._go_on, name))

    def _call(self, name: str, event: dict[str, Any]) -> Any:
        invocation = self._stage.invoke("Recover", event, region=RECOVERY)
        if name not in self._playing:
            raise Stopped  # while its task was running
        if invocation.error:
            raise TaskFailed(invocation.error)
        return invocation.answer

    def _end(self, name: str, status: str) -> None:
        if name not in self._playing:
            return
        del self._playing[name]
        self.ended[name] = status
        [execution] = [
            each
            for machine in stepfunctions_backends[ACCOUNT][RECOVERY].state_machines
            for each in machine.executions
            if each.name == name
        ]
        execution.status = status
        # https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
        envelope = {
            "version": "0",
            "id": f"{name}-{status}",
            "detail-type": "Step Functions Execution Status Change",
            "source": "aws.states",
            "account": ACCOUNT,
            "time": event_time(self._stage.now),
            "region": RECOVERY,
            "resources": [execution.execution_arn],
            "detail": {
                "executionArn": execution.execution_arn,
                "stateMachineArn": execution.state_machine_arn,
                "name": name,
                "status": status,
            },
        }
        self._stage.hear(envelope)


def _never_waits(_seconds: float) -> None:
    raise AssertionError("its waits are the stage's")
