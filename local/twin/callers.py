"""Who sends a request: an account, and the role that was assumed where one was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`arn` as IAM tells it; `role` is the assumed role's name, None for the account's own credentials.

    `session_policy` is the policy that was handed to AssumeRole, as JSON.
    """

    account_id: str
    arn: str
    role: str | None = None
    session_policy: str | None = None


def find_caller(*, access_key: str, account_id: str) -> Caller:
    """The caller to whom the access key was given by STS in this process; else the account itself.

    In server mode STS is another program's: there every caller is the account itself.
    """
    if access_key.startswith("ASIA"):
        from moto.sts.models import sts_backends  # noqa: PLC0415 (moto's STS and IAM are heavy for what needs neither)

        for account in list(sts_backends.values()):
            for backend in account.values():
                assumed: Any = backend.get_assumed_role_from_access_key(access_key)
                if assumed is not None:
                    return Caller(
                        account_id=account_id,
                        arn=assumed.arn,
                        role=assumed.role_arn.rpartition("/")[2],
                        session_policy=assumed.policy or None,
                    )
    return Caller(account_id=account_id, arn=f"arn:aws:iam::{account_id}:root")
