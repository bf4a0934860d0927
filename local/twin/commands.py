"""SSM's Run Command on the twin's instances: what a command says is scripted by the test, and it takes its time.

Sources: Systems Manager API Reference (SendCommand, GetCommandInvocation, ListCommands) and botocore's model of `ssm`.
A command to an instance that SSM does not manage is refused with InvalidInstanceId; one that SSM manages is Pending,
then InProgress, then ends. https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends

from local.twin.world import current_world

_PREFIX = "AmazonSSM."
ACTIONS = frozenset(
    _PREFIX + name for name in ("SendCommand", "GetCommandInvocation", "ListCommands", "DescribeInstanceInformation")
)

_DELIVERY = timedelta(seconds=5)
_RUNS_FOR = timedelta(seconds=10)

Answer = tuple[int, dict[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ends on an instance: a status in SSM's words and what it printed."""

    status: str = "Success"
    output: str = ""
    seconds: float = _RUNS_FOR.total_seconds()


@dataclass(slots=True, kw_only=True)
class Command:
    """One command that was sent to one instance."""

    id: str
    instance_id: str
    comment: str
    lines: list[str]
    sent_at: datetime
    outcome: Outcome

    def status(self, now: datetime) -> str:
        if now < self.sent_at + _DELIVERY:
            return "Pending"
        is_over = now >= self.sent_at + _DELIVERY + timedelta(seconds=self.outcome.seconds)
        return self.outcome.status if is_over else "InProgress"


@dataclass(slots=True)
class Shells:
    """The agents of one account and Region. `script` maps the text of a command to its outcome; others succeed.

    `silent` are instances whose agent never reports, as where no endpoint or no profile lets it.
    """

    script: dict[str, Outcome] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    is_all_silent: bool = False
    sent: list[Command] = field(default_factory=list)


def shells_of(*, account_id: str, region: str) -> Shells:
    """The agents of an account's instances in a Region."""
    return current_world().shells.setdefault((account_id, region), Shells())


def answer(*, target: str, body: bytes, account_id: str, region: str) -> Answer:
    """One request to SSM's Run Command."""
    world = current_world()
    request: dict[str, Any] = json.loads(body) if body else {}
    with world.clock.lock:
        shells = shells_of(account_id=account_id, region=region)
        now = world.clock.now()
        action = target.removeprefix(_PREFIX)
        if action == "SendCommand":
            return _send(shells, request, now, account_id=account_id, region=region)
        if action == "ListCommands":
            wanted = request.get("InstanceId")
            listed = [each for each in reversed(shells.sent) if wanted in (None, each.instance_id)]
            return _reply(200, {"Commands": [_describe(each, now) for each in listed]})
        if action == "DescribeInstanceInformation":
            managed = _managed_instances(shells, account_id, region)
            return _reply(200, {"InstanceInformationList": _select(managed, request)})
        found = next((each for each in shells.sent if each.id == request["CommandId"]), None)
        if found is None or found.instance_id != request["InstanceId"]:
            return _refuse("InvocationDoesNotExist", "")
        status = found.status(now)
        output = found.outcome.output if status == found.outcome.status else ""
        is_success = found.outcome.status == "Success"
        return _reply(
            200,
            {
                "CommandId": found.id,
                "InstanceId": found.instance_id,
                "Comment": found.comment,
                "DocumentName": "AWS-RunShellScript",
                "Status": status,
                "StatusDetails": status,
                "StandardOutputContent": output if is_success else "",
                "StandardErrorContent": "" if is_success else output,
            },
        )


def region_of(authorization: str) -> str:
    """The Region that a request is signed for."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/", authorization)
    return found.group(1) if found else "us-east-1"


def _send(shells: Shells, request: dict[str, Any], now: datetime, *, account_id: str, region: str) -> Answer:
    if request.get("DocumentName") != "AWS-RunShellScript":
        return _refuse("InvalidDocument", "The twin knows AWS-RunShellScript only.")
    [instance_id] = request["InstanceIds"]
    if instance_id in shells.silent or shells.is_all_silent or not _is_managed(instance_id, account_id, region):
        return _refuse("InvalidInstanceId", "Instances not in a valid state for account")
    lines = request["Parameters"]["commands"]
    command = Command(
        id=str(uuid.UUID(int=current_world().random.getrandbits(128), version=4)),
        instance_id=instance_id,
        comment=request.get("Comment", ""),
        lines=lines,
        sent_at=now,
        outcome=shells.script.get("\n".join(lines), Outcome()),
    )
    shells.sent.append(command)
    return _reply(200, {"Command": _describe(command, now)})


def _managed_instances(shells: Shells, account_id: str, region: str) -> list[str]:
    backend: Any = ec2_backends[account_id][region]
    ids = [each.id for reservation in backend.reservations.values() for each in reservation.instances]
    is_heard = not shells.is_all_silent
    return [each for each in ids if is_heard and each not in shells.silent and _is_managed(each, account_id, region)]


def _select(managed: list[str], request: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that the filter InstanceIds names; every other filter is refused by name."""
    for each in (*request.get("Filters", ()), *request.get("InstanceInformationFilterList", ())):
        name = each.get("Key") or each.get("key")
        if name != "InstanceIds":
            raise NotImplementedError(f"DescribeInstanceInformation: the filter {name}")
        wanted = each.get("Values") or each.get("valueSet") or []
        managed = [instance_id for instance_id in managed if instance_id in wanted]
    told = {"PingStatus": "Online", "PlatformType": "Linux", "ResourceType": "EC2Instance"}
    return [{"InstanceId": instance_id, **told} for instance_id in managed]


def _is_managed(instance_id: str, account_id: str, region: str) -> bool:
    backend: Any = ec2_backends[account_id][region]
    try:
        launch = backend.launch_of(instance_id)
    except EC2ClientError:
        return False
    return launch.running_since is not None and launch.has_reported


def _describe(command: Command, now: datetime) -> dict[str, Any]:
    return {
        "CommandId": command.id,
        "Comment": command.comment,
        "DocumentName": "AWS-RunShellScript",
        "InstanceIds": [command.instance_id],
        "Parameters": {"commands": command.lines},
        "RequestedDateTime": command.sent_at.timestamp(),
        "Status": command.status(now),
    }


def _reply(status: int, body: dict[str, Any]) -> Answer:
    return status, {"content-type": "application/x-amz-json-1.1"}, json.dumps(body)


def _refuse(code: str, message: str) -> Answer:
    return _reply(400, {"__type": code, "message": message})
