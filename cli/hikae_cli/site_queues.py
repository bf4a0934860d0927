"""The sites' queues and functions, as an administrator's command sees them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from hikae.domain.naming import queue_name
from hikae_cli.plan_changes import Site
from hikae_cli.site_buckets import SiteError, translate_call
from hikae_cli.waiting import QUEUES, SiteQueue, ToFunction, ToQueue, Waiting, read_message

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=30)
_BATCH = 10
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""
_HELD_SECONDS = 60
"""How long a message that is looked at stays hidden where it could not be given back."""
_ALWAYS_THERE = "failed-runs"
_NO_QUEUE = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_ACTIONS = "sqs:GetQueueUrl, sqs:GetQueueAttributes, sqs:ReceiveMessage and sqs:ChangeMessageVisibility on its queues"
_REDRIVING = "sqs:SendMessage and sqs:DeleteMessage on its queues, and lambda:InvokeFunction on its functions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many messages a queue holds: to be taken, in somebody's hand, and not to be taken yet. All approximate."""

    waiting: int
    in_hand: int
    delayed: int


class SiteQueues:
    """The queues of one site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._sqs: SQSClient = boto3.client("sqs", region_name=site.place.region, config=_CONFIG)
        self._lambda: LambdaClient = boto3.client("lambda", region_name=site.place.region, config=_CONFIG)
        self._urls: dict[str, str | None] = {}

    def existing(self) -> list[SiteQueue]:
        """The site's queues, those that this deployment has.

        Raises:
            SiteError: there is no such site, or it does not answer.
        """
        queues = [queue for queue in QUEUES if self.site.role in queue.sites]
        found = [queue for queue in queues if self._find_url(self._name(queue.name)) is not None]
        if _ALWAYS_THERE not in {queue.name for queue in found}:
            site = self.site
            where = f"account {site.place.account}, Region {site.place.region}"
            raise SiteError(
                f"queue {self._name(_ALWAYS_THERE)} ({where}): there is no such queue; deploy the {site.role} site of "
                f"installation {site.installation} there, or check --installation, the Region and the account"
            )
        return found

    def count(self, queue: SiteQueue) -> Count:
        """How many messages are in `queue`.

        Raises:
            SiteError: it does not answer.
        """
        name = self._name(queue.name)
        try:
            answer = self._sqs.get_queue_attributes(
                QueueUrl=self._url(name),
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            )["Attributes"]
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, name) from error
        return Count(
            waiting=int(answer["ApproximateNumberOfMessages"]),
            in_hand=int(answer["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(answer["ApproximateNumberOfMessagesDelayed"]),
        )

    def peek(self, queue: SiteQueue, *, now: datetime, limit: int) -> list[Waiting]:
        """Up to `limit` messages, the oldest first; all of them are in the queue afterwards, as before.

        Raises:
            SiteError: it does not answer.
        """
        taken = self._take(queue, limit=limit)
        try:
            found = [read_message(message, site=self.site, queue=queue, now=now) for message in taken.values()]
        finally:
            self._give_back(queue, taken.values())
        return sorted(found, key=lambda waiting: (waiting.sent_at, waiting.id))

    def redrive(self, queue: SiteQueue, ids: Iterable[str], *, limit: int) -> Iterator[tuple[str, str]]:
        """Send each of these messages to where it came from, and delete it once it was accepted there.

        Gives (id, what went wrong), the latter empty where nothing did. One that is not there any more is not given.

        Raises:
            SiteError: the queue does not answer.
        """
        wanted = set(ids)
        while wanted:
            taken = self._take(queue, limit=limit)
            chosen = [message_id for message_id in taken if message_id in wanted]
            try:
                for message_id in chosen:
                    message = taken[message_id]
                    problem = self._redrive(queue, message)
                    if not problem:
                        del taken[message_id]
                    yield message_id, problem
            finally:
                self._give_back(queue, taken.values())
            wanted -= set(chosen)
            if not chosen:
                return

    def _redrive(self, queue: SiteQueue, message: Mapping[str, Any]) -> str:
        waiting = read_message(message, site=self.site, queue=queue, now=datetime.now(tz=UTC))
        try:
            self._send(waiting, message)
        except SiteError as error:
            return str(error)
        name = self._name(queue.name)
        try:
            self._sqs.delete_message(QueueUrl=self._url(name), ReceiptHandle=message["ReceiptHandle"])
        except (ClientError, BotoCoreError) as error:
            return f"it was accepted, and is still in the queue; once more does no harm: {self._translate(error, name)}"
        return ""

    def _send(self, waiting: Waiting, message: Mapping[str, Any]) -> None:
        match waiting.origin:
            case ToQueue() as origin:
                self._send_to_queue(origin, waiting, message)
            case ToFunction() as origin:
                self._invoke(origin)
            case _:
                raise SiteError(waiting.refusal)

    def _send_to_queue(self, origin: ToQueue, waiting: Waiting, message: Mapping[str, Any]) -> None:
        # One message, one wake-up: redriven twice within five minutes, it is delivered once.
        ordered = {"MessageGroupId": origin.group, "MessageDeduplicationId": waiting.id} if origin.group else {}
        attributes = {} if waiting.queue.source == "" else message.get("MessageAttributes", {})
        try:
            self._sqs.send_message(
                QueueUrl=self._url(origin.name),
                MessageBody=waiting.body,
                MessageAttributes=attributes,
                **ordered,  # type: ignore[arg-type]
            )
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, origin.name) from error

    def _invoke(self, origin: ToFunction) -> None:
        try:
            self._lambda.invoke(FunctionName=origin.name, InvocationType="Event", Payload=origin.payload.encode())
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, origin.name) from error

    def _take(self, queue: SiteQueue, *, limit: int) -> dict[str, Mapping[str, Any]]:
        """Up to `limit` messages, hidden from others until they are given back."""
        name = self._name(queue.name)
        expected = self.count(queue).waiting
        taken: dict[str, Mapping[str, Any]] = {}
        try:
            while len(taken) < limit:
                answer = self._sqs.receive_message(
                    QueueUrl=self._url(name),
                    MaxNumberOfMessages=min(_BATCH, limit - len(taken)),
                    VisibilityTimeout=_HELD_SECONDS,
                    # Without a wait SQS asks only some of its servers, and may say that there is nothing more.
                    WaitTimeSeconds=1 if len(taken) < expected else 0,
                    MessageSystemAttributeNames=["All"],
                    MessageAttributeNames=["All"],
                )
                news = {message["MessageId"]: message for message in answer.get("Messages", [])}
                if not news.keys() - taken.keys():
                    break
                taken |= news
        except (ClientError, BotoCoreError) as error:
            self._give_back(queue, taken.values())
            raise self._translate(error, name) from error
        return taken

    def _give_back(self, queue: SiteQueue, messages: Iterable[Mapping[str, Any]]) -> None:
        """Show the messages again at once; one that cannot be given back shows itself within a minute."""
        name, handles = self._name(queue.name), [message["ReceiptHandle"] for message in messages]
        for begin in range(0, len(handles), _BATCH):
            entries: list[Any] = [
                {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for number, handle in enumerate(handles[begin : begin + _BATCH])
            ]
            try:
                self._sqs.change_message_visibility_batch(QueueUrl=self._url(name), Entries=entries)
            except (ClientError, BotoCoreError) as error:
                raise self._translate(error, name) from error

    def _name(self, queue: str) -> str:
        return queue_name(installation=self.site.installation, site=self.site.role, queue=queue)

    def _url(self, name: str) -> str:
        url = self._find_url(name)
        if url is None:
            raise SiteError(f"queue {name}: there is no such queue any more")
        return url

    def _find_url(self, name: str) -> str | None:
        if name not in self._urls:
            try:
                self._urls[name] = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _NO_QUEUE:
                    raise self._translate(error, name) from error
                self._urls[name] = None
            except BotoCoreError as error:
                raise self._translate(error, name) from error
        return self._urls[name]

    def _translate(self, error: ClientError | BotoCoreError, name: str) -> SiteError:
        place = self.site.place
        what = f"{name} (account {place.account}, Region {place.region})"
        missing = "it is not there any more; look again what there is"
        return translate_call(error, what, missing=missing, needs=f"{_ACTIONS}; for redriving also {_REDRIVING}")
