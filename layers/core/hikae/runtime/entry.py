"""What the handlers share: the time of an invocation, and the batches of a job queue."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from hikae.domain.jobs import read_job
from hikae.domain.naming import format_time, parse_time
from hikae.ports import LimitReached, PortError, Throttled
from hikae.runtime import reporting, wiring
from hikae.runtime.locks import locked

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from hikae.ports import Outcome
    from hikae.runtime.settings import Settings


class EventError(ValueError):
    """An event that the function cannot make sense of."""


_AHEAD: Final = timedelta(minutes=10)
"""How far `now` may be ahead of the clock: two clocks differ."""


def time_of(event: Mapping[str, Any], settings: "Settings") -> datetime:
    """The event's `now`, for tests and for making up a run by hand; the clock where it has none.

    Raises:
        EventError: `now` is not an RFC 3339 time, or a time to come, for which nothing can be made up: until then every
            slot would count as done with and no missed one would be told.
    """
    given, clock = event.get("now"), datetime.now(tz=UTC)
    if given is None:
        return clock
    if not isinstance(given, str):
        raise EventError(f"now is {given!r}; an RFC 3339 time such as 2026-11-22T10:00:00Z")
    try:
        moment = parse_time(given)
    except ValueError as error:
        raise EventError(f"now: {error}") from error
    if moment > clock + _AHEAD and not settings.takes_future_now:
        raise EventError(f"now is {given}, and the clock says {format_time(clock)}; a time that has come, or no now")
    return moment


def flag_of(event: Mapping[str, Any], name: str) -> bool:
    """A flag of the event, false where it is not given.

    Raises:
        EventError: it is neither true nor false; a deletion that was meant as a dry run must not happen.
    """
    value = event.get(name, False)
    if not isinstance(value, bool):
        raise EventError(f"{name} is {value!r}; either true or false")
    return value


def percent_of(event: Mapping[str, Any], name: str) -> int | None:
    """A percentage of the event, None where it is not given.

    Raises:
        EventError: it is no whole number from 0 to 100.
    """
    value = event.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= 100:  # noqa: PLR2004 - per cent
        raise EventError(f"{name} is {value!r}; a whole number from 0 to 100")
    return value


_RESERVE = timedelta(seconds=60)
"""What one job, copy or deletion may take at most, retries of its calls and the report included."""


class OutOfTimeError(RuntimeError):
    """There is not enough time left in this invocation to begin anything more."""


def has_time(context: "LambdaContext") -> Callable[[], bool]:
    """Whether this invocation can begin something more: what Lambda cuts short at the deadline is carried out twice."""
    return lambda: context.get_remaining_time_in_millis() > _RESERVE / timedelta(milliseconds=1)


class Looks:
    """Since when wake-ups are news to this process: what was sent earlier, its last complete look has answered."""

    def __init__(self) -> None:
        self._answered_until: datetime | None = None

    def has_answered(self, event: Mapping[str, Any]) -> bool:
        """Whether all wake-ups of an SQS batch were sent before the last look: a backlog is one look's worth."""
        records = event.get("Records", [])
        if self._answered_until is None or not records:
            return False
        sent = [int(record.get("attributes", {}).get("SentTimestamp", -1)) for record in records]
        return all(0 <= moment < self._answered_until.timestamp() * 1000 for moment in sent)

    def remember(self, began_at: datetime) -> None:
        """A look that began then has ended well. EC2 may have shown it what was true a little earlier."""
        self._answered_until = began_at - _EVENT_BEFORE_STATE


_EVENT_BEFORE_STATE = timedelta(minutes=1)


@lru_cache(maxsize=1)
def get_looks() -> Looks:
    """The looks of this process."""
    return Looks()


def carry_out_jobs(event: dict[str, Any], context: "LambdaContext", settings: "Settings") -> dict[str, Any]:
    """Carry out the jobs of an SQS batch; those that are to come back are named in the answer, one by one.

    Those that this invocation has no time for come back, too.
    """
    from aws_lambda_powertools.utilities.batch import (  # noqa: PLC0415 - only these handlers need it
        BatchProcessor,
        EventType,
        process_partial_response,
    )

    now = datetime.now(tz=UTC)
    outcomes: list[Outcome] = []
    carry_out = locked(
        wiring.protector(settings, now=now),
        table=settings.table,
        client=wiring.clients_for(settings.place.region).dynamodb(),
        context=context,
    )

    is_time_left = has_time(context)

    def handle(record: Any) -> None:
        if not is_time_left():
            raise OutOfTimeError("the invocation comes to its end; the job is left for another one")
        job = read_job(record.body, installation=settings.installation, place=settings.place)
        outcomes.append(carry_out(job))

    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    answer = process_partial_response(event=event, record_handler=handle, processor=processor, context=context)
    for record, error in zip(processor.fail_messages, processor.exceptions, strict=False):
        reporting.get_logger().error(
            "job goes back to the queue",
            message_id=getattr(record, "message_id", ""),
            body=getattr(record, "body", ""),
            error=f"{error[0].__name__}: {error[1]}" if error[0] else "",
        )
        if error[0] and issubclass(error[0], LimitReached | Throttled):
            _show_again_soon(record, settings)
    reporting.report_jobs(outcomes, errors=len(processor.fail_messages))
    return dict(answer)


_SOON: Final = {"1": timedelta(seconds=20), "2": timedelta(minutes=2)}
"""When a job comes back that EC2 refused only for the moment, by how often it was received; later, when the queue says.

EC2 makes a snapshot of one volume every 15 seconds, so two rules with one slot meet this every time:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""


def _show_again_soon(record: Any, settings: "Settings") -> None:
    """Let a job whose call did not happen come back before the queue's visibility timeout, which is for killed runs."""
    from hikae.aws.queues import show_again  # noqa: PLC0415 - only these handlers need it

    after = _SOON.get(record.attributes.approximate_receive_count)
    name = record.event_source_arn.rsplit(":", 1)[-1]
    queues = (settings.snapshot_queue_url, settings.image_queue_url)
    url = next((each for each in queues if each.endswith(f"/{name}")), None)
    if after is None or url is None:
        return
    try:
        client = wiring.clients_for(settings.place.region).sqs()
        show_again(client, url=url, receipt_handle=record.receipt_handle, after=after)
    except PortError as error:
        # It comes back all the same, only later.
        reporting.get_logger().warning("a job comes back late", message_id=record.message_id, reason=str(error))
