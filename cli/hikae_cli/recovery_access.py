"""A recovery site, as an administrator's command works with it. Nothing here asks another Region."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from hikae.domain.document import PlanError
from hikae.domain.model import Region, SiteRole
from hikae.domain.runs import Mode, RunError
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import PortError
from hikae.runtime import wiring
from hikae.runtime.settings import Settings
from hikae_cli.deployed_functions import DeployedFunction
from hikae_cli.site_buckets import SiteError, find_remedy, translate_call
from hikae_cli.terminal import printable

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

UNDER_WAY: Final = frozenset({"RUNNING", "PENDING_REDRIVE"})

_ASKING = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an execution stands, in the words of Step Functions, and the mode that it was started in, where it says."""

    status: str
    mode: Mode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """An execution of the state machine that is under way."""

    run: str
    began_at: datetime


class RecoverMachine:
    """The recover state machine of one site. A start that is repeated is the same start, as its name is."""

    def __init__(self, *, arn: str, region: Region) -> None:
        self._arn = arn
        self._region = region
        self._missing = "there is no such state machine; deploy the recovery site again"
        self._made: SFNClient | None = None

    def __str__(self) -> str:
        """As messages name it."""
        return f"state machine {self._arn}"

    def execution(self, run: str) -> str:
        """The ARN of a run's execution."""
        return f"{self._arn.replace(':stateMachine:', ':execution:')}:{run}"

    def start(self, run: str, request: Mapping[str, Any]) -> bool:
        """Start a run; False where there has been another of that name in the last 90 days.

        Raises:
            SiteError: it was not started, or nobody knows.
        """
        client = self._client()
        try:
            client.start_execution(
                stateMachineArn=self._arn, name=run, input=json.dumps({"request": request}, sort_keys=True)
            )
        except client.exceptions.ExecutionAlreadyExists:
            return False
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, "states:StartExecution on it") from error
        return True

    def status(self, run: str) -> str | None:
        """A run's status in the words of Step Functions; None where it knows of no such execution (any more).

        Raises:
            SiteError: nobody knows.
        """
        standing = self.look(run)
        return standing.status if standing else None

    def look(self, run: str) -> Standing | None:
        """How a run stands; None where Step Functions knows of no such execution (any more).

        Raises:
            SiteError: nobody knows.
        """
        client = self._client()
        try:
            answer = client.describe_execution(executionArn=self.execution(run))
        except client.exceptions.ExecutionDoesNotExist:
            return None
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, "states:DescribeExecution on its executions") from error
        return Standing(status=answer["status"], mode=_read_mode(answer.get("input", "")))

    def under_way(self) -> list[Execution]:
        """What runs now.

        Raises:
            SiteError: nobody knows.
        """
        try:
            pages = (
                self._client()
                .get_paginator("list_executions")
                .paginate(stateMachineArn=self._arn, statusFilter="RUNNING")
            )
            return [
                Execution(run=each["name"], began_at=each["startDate"].astimezone(UTC))
                for page in pages
                for each in page["executions"]
            ]
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, "states:ListExecutions on it") from error

    def stop(self, run: str, *, cause: str) -> None:
        """Stop a run's execution; one that has ended stays as it is.

        Raises:
            SiteError: it was not stopped, or nobody knows.
        """
        try:
            self._client().stop_execution(executionArn=self.execution(run), cause=cause)
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, "states:StopExecution on its executions") from error

    def _translate(self, error: ClientError | BotoCoreError, needs: str) -> SiteError:
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        if code == "StateMachineDoesNotExist":
            return SiteError(f"{self}: {self._missing}")
        return translate_call(error, str(self), missing=self._missing, needs=needs)

    def _client(self) -> "SFNClient":
        if self._made is None:
            self._made = boto3.client("stepfunctions", region_name=self._region, config=_ASKING)
        return self._made


def _read_mode(given: str) -> Mode | None:
    """The mode in what an execution was started with; None where somebody has started it with something else."""
    try:
        return Mode(json.loads(given)["request"]["mode"])
    except (KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A recovery site by its settings, its ports, and its state machine."""

    settings: Settings
    site: RecoverySite
    machine: RecoverMachine

    @property
    def name(self) -> str:
        """As messages name it."""
        return f"recovery {self.settings.place}"


def open_site(*, installation: str, region: Region) -> Access:
    """The recovery site of an installation, as its own function is told that it is.

    Raises:
        SiteError: it is not there, or does not answer.
    """
    function = DeployedFunction(installation=installation, site=SiteRole.RECOVERY, region=region, function="recover")
    settings = function.settings()
    for name, value in (
        ("HIKAE_COPY_KEY_ARN", settings.copy_key_arn),
        ("HIKAE_RECOVER_ARN", settings.recover_arn),
    ):
        if not value:
            raise SiteError(f"{function}: its environment says: {name} is not set; deploy the stack again")
    return Access(
        settings=settings,
        site=wiring.recovery_site(settings),
        machine=RecoverMachine(arn=settings.recover_arn, region=region),
    )


def find_caller(region: Region) -> str:
    """Who the credentials are, as STS in `region` says.

    Raises:
        SiteError: nobody knows.
    """
    try:
        return boto3.client("sts", region_name=region, config=_ASKING).get_caller_identity()["Arn"]
    except (ClientError, BotoCoreError) as error:
        where = f"who you are: STS in Region {region}"
        raise translate_call(error, where, missing="nobody", needs="sts:GetCallerIdentity") from error


def read_public_key(arn: str) -> bytes:
    """The public half of a KMS key, as DER, asked in the Region that its ARN names.

    Raises:
        SiteError: it is not there, or may not be read.
    """
    try:
        region = arn.split(":")[3]
        return boto3.client("kms", region_name=region, config=_ASKING).get_public_key(KeyId=arn)["PublicKey"]
    except IndexError as error:
        raise SiteError(f"{arn} is not a key's ARN, such as arn:aws:kms:us-west-2:111122223333:key/…") from error
    except (ClientError, BotoCoreError) as error:
        raise translate_call(error, arn, missing="there is no such key", needs="kms:GetPublicKey on it") from error


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Say in one line what went wrong at a site, where, and what to do, and end with exit code 1."""
    try:
        yield
    except (SiteError, RunError, PlanError) as error:
        raise click.ClickException(printable(str(error))) from error
    except PortError as error:
        remedy = find_remedy(error.code, needs="the reading actions of the function's own role")
        raise click.ClickException(printable(f"{where}: {error}; {remedy}")) from error
