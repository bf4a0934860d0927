"""The Recycle Bin: its rules, what they retain, and its own REST API, which neither moto nor ministack has.

Sources: EBS User Guide, "Recycle Bin" (a rule of a Region may exclude tags, any other rule names tags; the longest
retention counts); botocore's model of `rbin`. A new rule is `pending` first; how long is not documented, and it "can
take up to 30 minutes" until resources are retained: the twin takes the 30 minutes for both.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from local.twin.world import current_world

SNAPSHOT = "EBS_SNAPSHOT"
IMAGE = "EC2_IMAGE"
SETTLING = timedelta(minutes=30)

Answer = tuple[int, dict[str, str], str]


@dataclass(slots=True, kw_only=True)
class Rule:
    """One retention rule."""

    id: str
    resource_type: str
    days: int
    description: str
    tags: list[dict[str, str]]
    exclude_tags: list[dict[str, str]]
    created_at: datetime

    def status(self, now: datetime) -> str:
        return "available" if now >= self.created_at + SETTLING else "pending"

    def covers(self, kind: str, tags: dict[str, str], now: datetime) -> bool:
        if kind != self.resource_type or self.status(now) != "available":
            return False
        if self.tags:
            return any(_matches(each, tags) for each in self.tags)
        return not any(_matches(each, tags) for each in self.exclude_tags)

    def describe(self, now: datetime) -> dict[str, Any]:
        return {
            "Identifier": self.id,
            "Description": self.description,
            "ResourceType": self.resource_type,
            "RetentionPeriod": {"RetentionPeriodValue": self.days, "RetentionPeriodUnit": "DAYS"},
            "ResourceTags": self.tags,
            "ExcludeResourceTags": self.exclude_tags,
            "Status": self.status(now),
            "LockState": "unlocked",
        }


@dataclass(slots=True, kw_only=True)
class Binned:
    """Something in the bin."""

    id: str
    kind: str
    what: Any
    tags: dict[str, str]
    at: datetime
    until: datetime | None = None


@dataclass(slots=True)
class RecycleBin:
    """The bin of one account in one Region."""

    rules: dict[str, Rule] = field(default_factory=dict)
    _held: dict[str, Binned] = field(default_factory=dict)

    def throw(self, binned: Binned) -> None:
        """Keep what was deleted, if a rule covers it, as long as the longest that does."""
        days = [rule.days for rule in self.rules.values() if rule.covers(binned.kind, binned.tags, binned.at)]
        if days:
            binned.until = binned.at + timedelta(days=max(days))
            self._held[binned.id] = binned

    def held(self, kind: str, now: datetime) -> list[Binned]:
        return [each for each in self._held.values() if each.kind == kind and each.until and now < each.until]

    def find(self, resource_id: str, kind: str, now: datetime) -> Binned | None:
        return next((each for each in self.held(kind, now) if each.id == resource_id), None)

    def take(self, resource_id: str, kind: str, now: datetime) -> Binned | None:
        found = self.find(resource_id, kind, now)
        if found is not None:
            del self._held[resource_id]
        return found


def bin_of(backend: Any) -> RecycleBin:
    """The bin of a backend's account and Region."""
    return current_world().bins.setdefault((backend.account_id, backend.region_name), RecycleBin())


def backdate_rule(backend: Any, rule_id: str, *, created_at: datetime) -> None:
    """Let a rule have been made in the past, so that it is in force by now: for tests."""
    bin_of(backend).rules[rule_id].created_at = created_at


def answer(*, method: str, path: str, body: bytes, account_id: str, region: str) -> Answer:
    """One request to `rbin`: CreateRule, GetRule, ListRules, DeleteRule."""
    world = current_world()
    with world.clock.lock:
        held = world.bins.setdefault((account_id, region), RecycleBin())
        request: dict[str, Any] = json.loads(body) if body else {}
        if (method, path) == ("POST", "/rules"):
            return _create(held, request, world.clock.now())
        if (method, path) == ("POST", "/list-rules"):
            rules = [rule for rule in held.rules.values() if rule.resource_type == request.get("ResourceType")]
            listed = ("Identifier", "Description", "RetentionPeriod", "LockState")
            return _reply(
                200, {"Rules": [{key: rule.describe(world.clock.now())[key] for key in listed} for rule in rules]}
            )
        found = re.fullmatch(r"/rules/([^/]+)", path)
        rule = held.rules.get(found.group(1)) if found else None
        if rule is None:
            return _reply(404, {"message": "Rule not found"}, error="ResourceNotFoundException")
        if method == "GET":
            return _reply(200, rule.describe(world.clock.now()))
        if method == "DELETE":
            del held.rules[rule.id]
            return 204, {}, ""
        return _reply(400, {"message": f"The twin cannot do this: {method}"}, error="ValidationException")


def region_of(authorization: str) -> str | None:
    """The Region of a request that is signed for `rbin`; None for every other."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/rbin/", authorization)
    return found.group(1) if found else None


def _create(held: RecycleBin, request: dict[str, Any], now: datetime) -> Answer:
    tags, exclude = request.get("ResourceTags", []), request.get("ExcludeResourceTags", [])
    if tags and exclude:
        return _reply(400, {"message": "A rule names tags or excludes tags, not both"}, error="ValidationException")
    rule = Rule(
        id=f"rule{len(held.rules) + 1:07}",
        resource_type=request["ResourceType"],
        days=request["RetentionPeriod"]["RetentionPeriodValue"],
        description=request.get("Description", ""),
        tags=tags,
        exclude_tags=exclude,
        created_at=now,
    )
    held.rules[rule.id] = rule
    return _reply(201, rule.describe(now))


def _matches(wanted: dict[str, str], tags: dict[str, str]) -> bool:
    key, value = wanted["ResourceTagKey"], wanted.get("ResourceTagValue", "")
    return key in tags and value in ("", tags[key])


def _reply(status: int, body: dict[str, Any], *, error: str = "") -> Answer:
    headers = {"content-type": "application/json"}
    if error:
        headers["x-amzn-errortype"] = error
    return status, headers, json.dumps(body)
