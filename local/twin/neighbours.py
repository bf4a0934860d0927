"""What other services of moto say untruly about EC2, refused rather than believed. In a test process only.

Instance metadata: moto serves one static page for a fixed instance and hands out credentials; AWS serves each instance
its own, behind a session token (EC2 User Guide, "Instance metadata"). There is no instance here that could ask.

Alarms: moto stores any action and carries out none; on AWS `arn:aws:automate:REGION:ec2:recover` moves the instance to
another host (CloudWatch User Guide, "Create alarms to stop, terminate, reboot, or recover an EC2 instance"). What such
an action would do is a control of the twin's: InstancesBackend.recover.

EventBridge: PutEvents takes no event whose source begins with `aws.` (EventBridge User Guide, "Sending events with
PutEvents").

STS: moto lets anyone assume a role that does not exist. Here it is refused where permissions count
(STS API Reference, AssumeRole; IAM User Guide, "Troubleshoot IAM roles": AccessDenied).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from moto.cloudwatch.models import CloudWatchBackend
from moto.events.models import EventsBackend
from moto.iam.models import iam_backends
from moto.instance_metadata.urls import url_paths as metadata
from moto.sts.responses import TokenResponse

from local.twin.world import current_world

_ACTION = re.compile(r"arn:aws[a-z-]*:(sns|lambda|autoscaling|ssm|ssm-incidents|aiops|swf):[a-z0-9-]+:(\d{12})?:.+")
_EC2_ACTION = re.compile(r"arn:aws[a-z-]*:(automate:[a-z0-9-]+:ec2:|swf:.+/EC2\.)")
_DENIED = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
    "<Message>Not authorized to perform: sts:AssumeRole on resource: {arn}</Message></Error></ErrorResponse>"
)


@contextmanager
def honest() -> Iterator[None]:
    """Let moto's other services refuse what they would tell untruly of EC2."""
    with ExitStack() as stack:
        for owner, name, replacement in (
            (CloudWatchBackend, "put_metric_alarm", _checking_actions(CloudWatchBackend.put_metric_alarm)),
            (EventsBackend, "put_events", _refusing_aws(EventsBackend.put_events)),
            (TokenResponse, "assume_role", _finding_role(TokenResponse.assume_role)),
        ):
            stack.enter_context(patch.object(owner, name, replacement))
        stack.enter_context(patch.dict(metadata, dict.fromkeys(metadata, _refuse_metadata)))
        yield


def _refuse_metadata(_request: Any, full_url: str, _headers: Any) -> Any:
    return 501, {"content-type": "text/plain"}, f"The EC2 twin has no instance metadata service: {full_url}"


def _checking_actions(original: Any) -> Any:
    def put_metric_alarm(backend: Any, *arguments: Any, **named: Any) -> Any:
        for kind in ("alarm_actions", "ok_actions", "insufficient_data_actions"):
            for action in named.get(kind) or ():
                if _EC2_ACTION.match(action):
                    raise NotImplementedError(f"PutMetricAlarm: the EC2 twin acts on no alarm ({action})")
                if not _ACTION.fullmatch(action):
                    raise ValueError(f"PutMetricAlarm: {action} is no ARN of an alarm action")
        return original(backend, *arguments, **named)

    return put_metric_alarm


def _finding_role(original: Any) -> Any:
    def assume_role(response: Any) -> Any:
        arn = response._get_param("RoleArn")  # noqa: SLF001 (as moto's own responses read what was asked)
        if current_world().permissions.is_enforced:
            roles = iam_backends[arn.split(":")[4]]["aws"].roles.values()
            if all(role.arn != arn for role in roles):
                return _DENIED.format(arn=arn), {"status": 403}
        return original(response)

    return assume_role


def _refusing_aws(original: Any) -> Any:
    def put_events(backend: Any, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        refused = {"ErrorCode": "NotAuthorizedForSource", "ErrorMessage": "Not authorized for the source."}
        is_aws = [str(event.get("Source", "")).startswith("aws.") for event in events]
        taken = iter(original(backend, [event for event, each in zip(events, is_aws, strict=True) if not each]))
        return [refused if each else next(taken) for each in is_aws]

    return put_events
