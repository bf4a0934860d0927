"""The site's table behind the ports: which slots were dispatched, which copies were asked for a moment ago."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from hikae.domain.naming import format_time, parse_time
from hikae.domain.points import CONSISTENCY_DELAY, VISIBLE_WITHIN
from hikae.ports import AskedCopies

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEPT = timedelta(days=400)
"""Longer than any schedule's interval but one: a rule of 29 February is taken for new every time."""


_ASKED = {"made": CONSISTENCY_DELAY, "unconfirmed": VISIBLE_WITHIN}
"""For how long an entry holds. What nobody knows of may never have been sent, and is held up no longer than it must."""


class DynamoSlotLedger:
    """The newest dispatched slot of each rule."""

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client = client
        self._table = table

    def last(self, plan: str, rule: str, *, schedule: str) -> datetime | None:
        """See `ports.SlotLedger`."""
        answer = self._client.get_item(TableName=self._table, Key={"pk": {"S": _slot_key(plan, rule)}})
        item = answer.get("Item")
        return parse_time(item["slot"]["S"]) if item and item["schedule"]["S"] == schedule else None

    def mark(self, plan: str, rule: str, slot: datetime, *, schedule: str, now: datetime) -> None:
        """See `ports.SlotLedger`. Of one schedule, an older slot never takes the place of a newer one."""
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": _slot_key(plan, rule)},
                    "slot": {"S": format_time(slot)},
                    "schedule": {"S": schedule},
                    "dispatched_at": {"S": format_time(now)},
                    "expires_at": {"N": str(int((now + _KEPT).timestamp()))},
                },
                ConditionExpression="attribute_not_exists(pk) OR slot < :slot OR #schedule <> :schedule",
                ExpressionAttributeNames={"#schedule": "schedule"},
                ExpressionAttributeValues={":slot": {"S": format_time(slot)}, ":schedule": {"S": schedule}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise


class DynamoRecentCopies:
    """The copies that were asked for in the last minutes: one item, since only one broker runs at a time."""

    _KEY = "lock#recent-copies"

    def __init__(self, client: "DynamoDBClient", *, table: str) -> None:
        self._client = client
        self._table = table

    def started(self, *, now: datetime) -> AskedCopies:
        """See `ports.RecentCopies`. What is older is struck out."""
        answer = self._client.get_item(TableName=self._table, Key={"pk": {"S": self._KEY}}, ConsistentRead=True)
        there = answer.get("Item", {})
        young = {
            kind: {
                name: value
                for name, value in there.get(kind, {"M": {}})["M"].items()
                if float(value["N"]) > (now - kept).timestamp()
            }
            for kind, kept in _ASKED.items()
        }
        if any(there.get(kind) != {"M": names} for kind, names in young.items()):
            item = {kind: {"M": names} for kind, names in young.items()}
            self._client.put_item(TableName=self._table, Item={"pk": {"S": self._KEY}, **item})
        return AskedCopies(made=frozenset(young["made"]), unconfirmed=frozenset(young["unconfirmed"]))

    def remember(self, name: str, *, now: datetime) -> None:
        """See `ports.RecentCopies`."""
        self._set("SET unconfirmed.#name = :now", name, now)

    def confirm(self, name: str, *, now: datetime) -> None:
        """See `ports.RecentCopies`."""
        self._set("SET made.#name = :now REMOVE unconfirmed.#name", name, now)

    def forget(self, name: str) -> None:
        """See `ports.RecentCopies`."""
        self._client.update_item(
            TableName=self._table,
            Key={"pk": {"S": self._KEY}},
            UpdateExpression="REMOVE unconfirmed.#name",
            ExpressionAttributeNames={"#name": name},
        )

    def _set(self, expression: str, name: str, now: datetime) -> None:
        self._client.update_item(
            TableName=self._table,
            Key={"pk": {"S": self._KEY}},
            UpdateExpression=expression,
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":now": {"N": str(now.timestamp())}},
        )


def _slot_key(plan: str, rule: str) -> str:
    return f"slot#{plan}#{rule}"
