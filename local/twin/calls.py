"""What the twin was asked: for tests and benches only, never through EC2's API."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to EC2 and how it ended.

    `caller` is the ARN of an assumed role's session or of the account's root; `error` is EC2's error code, None when
    the request was carried out.
    """

    number: int
    at: datetime
    account_id: str
    caller: str
    region: str
    action: str
    parameters: Mapping[str, Any]
    error: str | None


@dataclass(slots=True)
class CallLog:
    """Every call in order, and the highest number of things that were under way at once."""

    calls: list[Call] = field(default_factory=list)
    high_water: Counter[tuple[str, str]] = field(default_factory=Counter)

    def record(
        self,
        *,
        at: datetime,
        account_id: str,
        caller: str,
        region: str,
        action: str,
        parameters: Mapping[str, Any],
        error: str | None,
    ) -> None:
        """Append one finished call."""
        number = len(self.calls) + 1
        self.calls.append(
            Call(
                number=number,
                at=at,
                account_id=account_id,
                caller=caller,
                region=region,
                action=action,
                parameters=parameters,
                error=error,
            )
        )

    def count(self, action: str, *, region: str | None = None, error: str | None = None) -> int:
        """How many calls of `action` were carried out, or with `error`, how many were refused with that code."""
        return sum(
            call.action == action and call.error == error and (region is None or call.region == region)
            for call in self.calls
        )

    def raise_high_water(self, kind: str, region: str, level: int) -> None:
        """Remember `level` if there were never as many of `kind` at once in `region`."""
        self.high_water[kind, region] = max(level, self.high_water[kind, region])
