"""A deployed function, as an administrator's command sees it: what it is told, and what it answers."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from hikae.domain.model import Region, SiteRole
from hikae.runtime.settings import Settings, SettingsError
from hikae_cli.site_buckets import SiteError, translate_call

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_LONGEST_RUN = 900
"""Seconds that a function may take: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
_ASKING = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=30)
# Sent once: a run whose answer was lost is in the log, and a second one would answer for what is left only.
_RUNNING = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=_LONGEST_RUN + 30)


class DeployedFunction:
    """One function of one site: PruneRecoveryPoints, which every site has, unless another is named."""

    def __init__(
        self, *, installation: str, site: SiteRole, region: Region, function: str = "prune-recovery-points"
    ) -> None:
        self.name = f"hikae-{installation}-{site}-{function}"
        self._region = region
        self._missing = (
            f"there is no such function; deploy the {site} site of installation {installation} there, or check "
            "--installation, the Region and the account"
        )

    def __str__(self) -> str:
        """As messages name it."""
        return f"function {self.name} (Region {self._region})"

    def settings(self) -> Settings:
        """What the function is told by its environment: its site's names, and the limits that are in force.

        Raises:
            SiteError: it is not there, does not answer, or is told something that cannot be.
        """
        try:
            answer = self._client(_ASKING).get_function_configuration(FunctionName=self.name)
        except (ClientError, BotoCoreError) as error:
            raise translate_call(
                error, str(self), missing=self._missing, needs="lambda:GetFunctionConfiguration on it"
            ) from error
        told = answer.get("Environment", {}).get("Variables", {})
        try:
            # Lambda sets the Region itself, so that it is not among what the template sets.
            return Settings.from_env({**told, "AWS_REGION": self._region})
        except SettingsError as error:
            raise SiteError(f"{self}: its environment says: {error}; deploy the stack again") from error

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Run the function, under its own role, and wait for what it answers.

        Raises:
            SiteError: it is not there, was not run, failed, or nobody knows.
        """
        try:
            answer = self._client(_RUNNING).invoke(FunctionName=self.name, Payload=json.dumps(event).encode())
            payload = answer["Payload"].read()
        except (ClientError, BotoCoreError) as error:
            raise translate_call(
                error, str(self), missing=self._missing, needs="lambda:InvokeFunction on it"
            ) from error
        if "FunctionError" in answer:
            said = payload.decode(errors="replace")[:1000]
            raise SiteError(
                f"{self}: it has failed ({answer['FunctionError']}): {said}; its log /aws/lambda/{self.name} says more"
            )
        summary = json.loads(payload)
        if not isinstance(summary, dict):
            raise SiteError(f"{self}: it answered {str(summary)[:200]!r}; is it hikae's, and of this version?")
        return summary

    def _client(self, config: Config) -> "LambdaClient":
        return boto3.client("lambda", region_name=self._region, config=config)
