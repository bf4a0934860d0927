"""KMS and Step Functions behind the ports of recovery: signatures, and which executions are under way."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hikae.aws.errors import reading
from hikae.ports import ExecutionState, NotFound, Refused, Signature

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_stepfunctions import SFNClient

_ALGORITHM: Final = "ECDSA_SHA_256"
_UNDER_WAY = frozenset({"RUNNING", "PENDING_REDRIVE"})
_ENDS: Final[Mapping[str, str]] = {
    "ABORTED": "it was stopped",
    "FAILED": "its execution failed",
    "TIMED_OUT": "it took longer than a run may",
}


class KmsSigner:
    """Signs with an asymmetric key (ECC_NIST_P256, SIGN_VERIFY), whose private half never leaves KMS."""

    def __init__(self, client: "KMSClient", *, key_arn: str) -> None:
        self._client = client
        self._key_arn = key_arn

    def sign(self, text: bytes) -> Signature:
        """See `ports.Signer`. KMS takes 4,096 bytes, so it gets the digest."""
        if not self._key_arn:
            raise Refused("this site has no key to sign evidence with: HIKAE_EVIDENCE_KEY_ARN is not set")
        with reading(self._key_arn):
            signed = self._client.sign(
                KeyId=self._key_arn,
                Message=hashlib.sha256(text).digest(),
                MessageType="DIGEST",
                SigningAlgorithm=_ALGORITHM,
            )
            public_key = self._client.get_public_key(KeyId=self._key_arn)["PublicKey"]
        return Signature(
            value=base64.b64encode(signed["Signature"]).decode(),
            algorithm=_ALGORITHM,
            key_arn=self._key_arn,
            public_key=base64.b64encode(public_key).decode(),
        )


class StepFunctionsExecutions:
    """The executions of one state machine."""

    def __init__(self, client: "SFNClient", *, state_machine_arn: str) -> None:
        self._client = client
        self._arn = state_machine_arn

    def state(self, run: str) -> ExecutionState:
        """See `ports.Executions`."""
        status = self._describe(run).get("status")
        if status is None:
            return ExecutionState.UNKNOWN
        return ExecutionState.UNDER_WAY if status in _UNDER_WAY else ExecutionState.OVER

    def how_it_ended(self, run: str) -> str:
        """See `ports.Executions`."""
        described = self._describe(run)
        how = _ENDS.get(described.get("status", ""), "")
        return ": ".join(part for part in (how, described.get("error"), described.get("cause")) if how and part)

    def _describe(self, run: str) -> Mapping[str, Any]:
        """Nothing where it is not found, as one may be for a while that has just been started.

        https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
        """
        arn = f"{self._arn.replace(':stateMachine:', ':execution:')}:{run}"
        try:
            with reading(arn):
                return self._client.describe_execution(executionArn=arn)
        except NotFound:
            return {}

    def start(self, run: str, request: Mapping[str, Any]) -> bool:
        """See `ports.Executions`."""
        with reading(run):
            try:
                self._client.start_execution(
                    stateMachineArn=self._arn, name=run, input=json.dumps({"request": dict(request)})
                )
            except self._client.exceptions.ExecutionAlreadyExists:
                return False
        return True
