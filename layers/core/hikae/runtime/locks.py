"""A short lock around one job, so that two workers do not carry it out at the same time.

It is a Powertools idempotency record with a short life, not the truth. It outlives a creating call only until EC2 can
be believed about it; from then on, and after everything else, what exists is looked up in EC2.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hikae.domain.model import Job
from hikae.domain.naming import point_id
from hikae.domain.points import CONSISTENCY_DELAY
from hikae.ports import Ambiguous, Outcome, Status

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_LIFE_SECONDS = int(CONSISTENCY_DELAY.total_seconds())
"""How long a lock outlives a creating call: until EC2 can be believed about what the call made."""


class _NothingCreatedError(Exception):
    """Carries an outcome out of the lock without leaving it locked."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def locked(
    carry_out: Callable[[Job], Outcome], *, table: str, client: Any, context: "LambdaContext"
) -> Callable[[Job], Outcome]:
    """`carry_out`, but never twice at a time for one point, nor again while EC2 may not show yet what it created.

    The result raises IdempotencyAlreadyInProgressError while another worker holds the point, and Ambiguous while nobody
    can know whether it was created; the message then comes back later, like one that was throttled. Any other exception
    and every outcome that created nothing frees the point at once.
    """
    from aws_lambda_powertools.utilities.idempotency import (  # noqa: PLC0415 - it imports boto3
        DynamoDBPersistenceLayer,
        IdempotencyConfig,
        idempotent_function,
    )

    # A killed run frees its lock at the function's own deadline, which only the context knows.
    config = IdempotencyConfig(expires_after_seconds=_LIFE_SECONDS, lambda_context=context)
    store = DynamoDBPersistenceLayer(table_name=table, key_attr="pk", expiry_attr="expires_at", boto3_client=client)

    def run(job: Job) -> Outcome:
        # Powertools leaves the decorator's type open.
        @idempotent_function(  # type: ignore[untyped-decorator]
            data_keyword_argument="point",
            persistence_store=store,
            config=config,
            key_prefix="lock",
        )
        def once(*, point: str) -> dict[str, Any]:
            try:
                outcome = carry_out(job)
            except Ambiguous as error:
                return {"point": point, "ambiguous": str(error)}
            if not outcome.created or outcome.status is Status.ADOPTED:
                raise _NothingCreatedError(outcome)
            return {
                "resource": outcome.resource,
                "status": outcome.status.value,
                "reason": outcome.reason,
                "point": point,
                "created": list(outcome.created),
            }

        try:
            answer = once(point=point_id(job.identity))
        except _NothingCreatedError as error:
            return error.outcome
        if "ambiguous" in answer:
            raise Ambiguous(answer["ambiguous"], resource=job.identity.resource)
        return Outcome(
            resource=answer["resource"],
            status=Status(answer["status"]),
            reason=answer["reason"],
            point=answer["point"],
            created=tuple(answer["created"]),
        )

    return run
