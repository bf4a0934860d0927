"""Client tokens: a call that is repeated with the same token does nothing and has the first one's result.

EC2 Developer Guide, "Ensuring idempotency in Amazon EC2 API requests": a token of up to 64 ASCII characters belongs to
one Region; with other parameters than at first it is refused with IdempotentParameterMismatch. botocore's model tells
which operations have one: CreateSnapshot, CreateSnapshots, CopySnapshot, CreateImage and RegisterImage have none.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from local.twin.errors import refuse

T = TypeVar("T")
LONGEST = 64


@dataclass(slots=True)
class ClientTokens(Generic[T]):
    """What one operation of one account and Region was asked for with which token, and what came of it."""

    _results: dict[str, tuple[Any, T]] = field(default_factory=dict)

    def once(self, token: str | None, request: Any, carry_out: Callable[[], T]) -> T:
        """What `carry_out()` gives, or gave when the token was used before; a call that is refused uses no token."""
        if not token:
            return carry_out()
        if len(token) > LONGEST or not token.isascii():
            raise refuse("InvalidParameterValue", f"A client token has at most {LONGEST} ASCII characters.")
        if token in self._results:
            earlier, result = self._results[token]
            if earlier != request:
                raise refuse("IdempotentParameterMismatch", f"Arguments differ from those first used with {token}")
            return result
        result = carry_out()
        self._results[token] = (request, result)
        return result
