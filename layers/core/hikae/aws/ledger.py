"""The site's table behind the ports: which slots were dispatched, which copies were asked for a moment ago."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

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
        with _unless_refused():
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


class DynamoRecentCopies:
    """The copies that were asked for in the last minutes: one item, since one broker runs at a time.

    Where there are two all the same, no entry of one is lost by the other, and each copy is entered by one of them.
    """

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
            self._replace(there, young)
        return AskedCopies(made=frozenset(young["made"]), unconfirmed=frozenset(young["unconfirmed"]))

    def _replace(self, there: Mapping[str, Any], young: Mapping[str, Mapping[str, Any]]) -> None:
        """Put what is young in the place of what was there; where that has changed since, the next run does it."""
        entries = {kind: {"M": names} for kind, names in young.items()}
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if there:
            condition = {
                "ConditionExpression": "made = :made AND unconfirmed = :unconfirmed",
                "ExpressionAttributeValues": {f":{kind}": there[kind] for kind in _ASKED},
            }
        with _unless_refused():
            self._client.put_item(TableName=self._table, Item={"pk": {"S": self._KEY}, **entries}, **condition)

    def remember(self, name: str, *, now: datetime) -> bool:
        """See `ports.RecentCopies`."""
        unknown = "attribute_not_exists(unconfirmed.#name) AND attribute_not_exists(made.#name)"
        with _unless_refused():
            self._set("SET unconfirmed.#name = :now", name, now, ConditionExpression=unknown)
            return True
        return False

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

    def _set(self, expression: str, name: str, now: datetime, **condition: Any) -> None:
        self._client.update_item(
            TableName=self._table,
            Key={"pk": {"S": self._KEY}},
            UpdateExpression=expression,
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":now": {"N": str(now.timestamp())}},
            **condition,
        )


@contextmanager
def _unless_refused() -> Iterator[None]:
    """Leave it where the table has something else than the condition asks for."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise


def _slot_key(plan: str, rule: str) -> str:
    return f"slot#{plan}#{rule}"
