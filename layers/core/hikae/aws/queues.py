"""SQS behind the ports: jobs go out in batches, and all of them or an error."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from hikae.aws.errors import reading
from hikae.domain.jobs import write_job
from hikae.domain.model import Job
from hikae.ports import Unreachable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_BATCH = 10
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html"""


class SqsJobQueue:
    """The queue that workers of one kind take their jobs from."""

    def __init__(self, client: "SQSClient", *, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, jobs: Iterable[Job]) -> int:
        """See `ports.JobQueue`.

        Raises:
            Unreachable: the queue did not accept all of them; those it did accept are harmless to send again.
        """
        waiting = [write_job(job) for job in jobs]
        for start in range(0, len(waiting), _BATCH):
            entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(waiting[start:][:_BATCH])]
            with reading(self._url):
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]
            for failed in answer.get("Failed", []):
                raise Unreachable(f"{self._url} refused a job: {failed.get('Code')} {failed.get('Message', '')}")
        return len(waiting)


def show_again(client: "SQSClient", *, url: str, receipt_handle: str, after: timedelta) -> None:
    """Let a message that was received be seen again `after` that time, instead of the queue's own.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html

    Raises:
        NotFound, Unreachable: it comes back when the queue lets it.
    """
    seconds = round(after.total_seconds())
    with reading(url):
        client.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt_handle, VisibilityTimeout=seconds)
