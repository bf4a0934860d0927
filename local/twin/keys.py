"""Which KMS keys EC2 can use: asked of moto in process, of a KMS endpoint in server mode."""

import json
import uuid
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError


class Keys(Protocol):
    """The KMS of every account and Region."""

    def find_usable(self, *, account_id: str, region: str, key: str) -> str | None:
        """The ARN of the key that an id, alias, key ARN or alias ARN means in `region`; None if EC2 cannot use it."""
        ...


def aws_managed_key(*, account_id: str, region: str) -> str:
    """The ARN of the account's own aws/ebs key in `region`: it always exists and is always enabled."""
    return f"arn:aws:kms:{region}:{account_id}:key/{uuid.uuid5(uuid.NAMESPACE_DNS, f'{region}.{account_id}.aws.ebs')}"


def is_of_region(key: str, *, region: str) -> bool:
    """Whether `key` may be meant for `region`: an ARN of another Region is not."""
    return not key.startswith("arn:") or key.split(":")[3] == region


def is_shared_by(policy: str, *, account_id: str) -> bool:
    """Whether a key policy lets another account use the key for EBS.

    EBS User Guide, "Share the KMS key used to encrypt a shared snapshot". Conditions and the list of actions are not
    looked into: whoever names the account in an Allow is taken to have shared the key.
    """
    for statement in json.loads(policy).get("Statement", []):
        principal = statement.get("Principal", {})
        named = principal if isinstance(principal, str) else principal.get("AWS", [])
        accounts = [named] if isinstance(named, str) else named
        if statement.get("Effect") == "Allow" and any(
            each in ("*", account_id) or each.split(":")[4:5] == [account_id] for each in accounts
        ):
            return True
    return False


class MotoKeys:
    """The keys of moto's KMS in the same process."""

    def find_usable(self, *, account_id: str, region: str, key: str) -> str | None:
        from moto.kms.models import kms_backends  # noqa: PLC0415 (moto's KMS is heavy, and the server does without)

        if not is_of_region(key, region=region):
            return None
        owner = key.split(":")[4] if key.startswith("arn:") else account_id
        kms: Any = kms_backends[owner][region]
        key_id = kms.get_alias_name(key)
        if key_id.startswith("alias/"):
            key_id = kms.get_key_id_from_alias(key_id) or ""
        found = kms.keys.get(kms.get_key_id(key_id))
        if found is None or found.key_state != "Enabled":
            return None
        return found.arn if owner == account_id or is_shared_by(found.policy, account_id=account_id) else None


class EndpointKeys:
    """The keys of the KMS that answers at `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._clients: dict[str, Any] = {}

    def find_usable(self, *, account_id: str, region: str, key: str) -> str | None:
        if not is_of_region(key, region=region):
            return None
        try:
            metadata = self._client(region).describe_key(KeyId=key)["KeyMetadata"]
            # Of the account, ministack says nothing but what is in the ARN.
            if metadata["Arn"].split(":")[4] != account_id:
                policy = self._client(region).get_key_policy(KeyId=metadata["Arn"], PolicyName="default")["Policy"]
                if not is_shared_by(policy, account_id=account_id):
                    return None
        except (BotoCoreError, ClientError):
            return None
        return metadata["Arn"] if metadata.get("KeyState") == "Enabled" else None

    def _client(self, region: str) -> Any:
        import boto3  # noqa: PLC0415 (only the server needs it)
        from botocore.config import Config  # noqa: PLC0415 (likewise)

        if region not in self._clients:
            self._clients[region] = boto3.client(
                "kms",
                region_name=region,
                endpoint_url=self._endpoint,
                aws_access_key_id="test",
                aws_secret_access_key="test",  # noqa: S106 (the local cloud takes any)
                config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 2}),
            )
        return self._clients[region]
