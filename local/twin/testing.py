"""The twin inside a test process, with a clock that stands still until it is moved."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from random import Random
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import boto3
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.moto_api._internal import mock_random

from local.twin.backend import TwinBackend, installed
from local.twin.calls import Call
from local.twin.clock import ManualClock
from local.twin.commands import Shells, shells_of
from local.twin.events import Envelope
from local.twin.inspection import describe_state
from local.twin.keys import MotoKeys
from local.twin.neighbours import honest
from local.twin.services import Service, services_of
from local.twin.world import Durations, World

_ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@cache
def shared_session() -> boto3.Session:
    """One session for all twins of a process: a new one reads EC2's model again, which takes a third of a second."""
    return boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing")  # noqa: S106 (moto takes any)


def credentials_of(account_id: str) -> dict[str, str]:
    """Credentials of a role of another account, as a client takes them; also for stock moto."""
    return assume_role(account_id, "anybody", policy=_ANYTHING)


def assume_role(account_id: str, role: str, *, policy: dict[str, Any]) -> dict[str, str]:
    """Credentials of a role that has this policy, as a client takes them; the role is made if there is none."""
    iam: Any = iam_backends[account_id]["aws"]
    if all(each.name != role for each in iam.roles.values()):
        iam.create_role(role, "{}", "/", None, "", [], "3600")
    iam.put_role_policy(role, "only", json.dumps(policy))
    make_client: Any = shared_session().client
    assumed = make_client("sts", region_name="us-east-1").assume_role(
        RoleArn=f"arn:aws:iam::{account_id}:role/{role}", RoleSessionName="twin"
    )["Credentials"]
    return {
        "aws_access_key_id": assumed["AccessKeyId"],
        "aws_secret_access_key": assumed["SecretAccessKey"],
        "aws_session_token": assumed["SessionToken"],
    }


class Twin:
    """EC2 and moto's other services for the length of a `with` block; nothing is left afterwards.

    The same seed gives the same ids, durations and event ids, so that two runs can be compared. Quotas are kept to
    always, EC2's request rates only with `has_request_rates`: most tests make an hour's calls at one instant. The
    policies of roles count only with `has_permissions`.
    """

    def __init__(
        self,
        *,
        now: datetime = START,
        account_id: str = DEFAULT_ACCOUNT_ID,
        seed: int = 0,
        durations: Durations | None = None,
        has_request_rates: bool = False,
        has_permissions: bool = False,
    ) -> None:
        self.account_id = account_id
        self.clock = ManualClock(now)
        self.world = World(
            clock=self.clock,
            keys=MotoKeys(),
            random=Random(seed),  # noqa: S311 (reproducible, not secret)
            durations=durations or Durations(),
        )
        self.world.request_rates.is_enforced = has_request_rates
        self.world.permissions.is_enforced = has_permissions
        self._seed = seed
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.account_id != DEFAULT_ACCOUNT_ID:
            self._stack.enter_context(patch.dict(os.environ, {"MOTO_ACCOUNT_ID": self.account_id}))
        self._stack.enter_context(installed(self.world))
        self._stack.enter_context(honest())
        self._stack.enter_context(mock_aws())
        boto3.DEFAULT_SESSION = shared_session()  # mock_aws puts the former one back
        mock_random.seed(self._seed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clients.clear()
        self._stack.close()

    def client(self, service: str, region: str, *, account_id: str | None = None) -> Any:
        """A boto3 client of this or of another account, the same one every time it is asked for."""
        account_id = account_id or self.account_id
        key = (service, region, account_id)
        if key not in self._clients:
            make_client: Any = shared_session().client
            given = {} if account_id == self.account_id else credentials_of(account_id)
            self._clients[key] = make_client(service, region_name=region, **given)
        return self._clients[key]

    def backend(self, region: str, *, account_id: str | None = None) -> TwinBackend:
        """The EC2 of this or of another account in `region`, behind its API."""
        backend = ec2_backends[account_id or self.account_id][region]
        assert isinstance(backend, TwinBackend)
        return backend

    @property
    def events(self) -> list[Envelope]:
        """Every EventBridge event sent so far."""
        return self.world.events.envelopes

    @property
    def calls(self) -> list[Call]:
        """Every call made so far."""
        return self.world.calls.calls

    def count(self, action: str, *, region: str | None = None, error: str | None = None) -> int:
        """How many calls of `action` were carried out, or refused with `error`."""
        return self.world.calls.count(action, region=region, error=error)

    def write(
        self,
        volume_id: str,
        data: bytes,
        *,
        region: str = "us-east-1",
        changed_bytes: int | None = None,
        is_flushed: bool = True,
    ) -> None:
        """Write to a volume; `data` may stand for more bytes than it has."""
        self.backend(region).get_volume(volume_id).write(data, changed_bytes=changed_bytes, is_flushed=is_flushed)

    def freeze(self, *volume_ids: str, region: str = "us-east-1") -> None:
        """Flush and freeze the file systems on these volumes: nothing reaches the disks until `thaw`."""
        for volume_id in volume_ids:
            self.backend(region).get_volume(volume_id).freeze()

    def thaw(self, *volume_ids: str, region: str = "us-east-1") -> None:
        """Let the file systems write again."""
        for volume_id in volume_ids:
            self.backend(region).get_volume(volume_id).thaw()

    def impair(self, instance_id: str, *, region: str = "us-east-1") -> None:
        """Let the instance's status checks fail once it is no longer initializing."""
        self.backend(region).launch_of(instance_id).is_impaired = True

    def schedule_event(self, instance_id: str, code: str, *, not_before: datetime, region: str = "us-east-1") -> None:
        """Let AWS have scheduled an event for the instance, as `system-reboot` or `instance-retirement`."""
        self.backend(region).schedule_event(instance_id, code, not_before=not_before)

    def recover(self, instance_id: str, *, region: str = "us-east-1") -> None:
        """Do what the alarm action `recover` does."""
        self.backend(region).recover(instance_id)

    def print_to_console(self, instance_id: str, text: str, *, region: str = "us-east-1") -> None:
        """Let the instance have written this to its console."""
        self.backend(region).launch_of(instance_id).console = text

    def shells(self, region: str = "us-east-1") -> Shells:
        """The SSM agents of the instances in `region`, to be scripted."""
        return shells_of(account_id=self.account_id, region=region)

    def serve(self, service: Service, *, tags: Mapping[str, str], region: str = "us-east-1") -> None:
        """Let instances with these tags serve something once they come up: see local.twin.services."""
        services_of(account_id=self.account_id, region=region).offer(service, tags=tags)

    def seed_snapshot(self, *, region: str = "us-east-1", **snapshot: Any) -> str:
        """Add a completed snapshot of the past and give its id: see SnapshotsBackend.seed_snapshot."""
        return self.backend(region).seed_snapshot(**snapshot).id

    def state(self, region: str = "us-east-1") -> dict[str, Any]:
        """What there is in `region`: see local.twin.inspection."""
        return describe_state(self.backend(region))

    def digest_of(self, resource_id: str) -> str:
        """The content digest of a volume or snapshot of any Region."""
        return self._find(resource_id).content.digest

    def lineage_of(self, resource_id: str) -> tuple[str, ...]:
        """Where a volume or snapshot of any Region came from: "region/id", the oldest first, itself last."""
        return tuple(self._find(resource_id).lineage)

    def _find(self, resource_id: str) -> Any:
        for backend in ec2_backends[self.account_id].values():
            found: dict[str, Any]
            for found in (backend.volumes, backend.snapshots):
                if resource_id in found:
                    return found[resource_id]
        raise KeyError(f"There is no volume or snapshot {resource_id} in any Region.")
