"""Which target groups of a Region an instance is in: asked once for all instances, and again after a while."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hikae.aws.errors import reading
from hikae.ports import Unreachable

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client

_PAGE = 400
"""The most that DescribeTargetGroups gives at a time."""
_OF_INSTANCES = frozenset({"instance", "ip"})
_LEAVING = "Target.DeregistrationInProgress"

MAX_AGE = 300.0
"""Seconds. Nobody can ask Elastic Load Balancing for the groups of one target, so one look takes a call for each group;
a manifest may therefore lack a registration that is younger than this. What did not answer is left alone as long.
"""
LONGEST = 20.0
"""Seconds that one look may take: snapshots wait behind it."""


class TargetGroups:
    """The registrations of a Region, as they were at most `MAX_AGE` ago.

    `clock` tells seconds that never go back. The client is made when it is first needed.
    """

    def __init__(
        self, client: "Callable[[], ElasticLoadBalancingv2Client]", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._clock = clock
        self._looked_at: float | None = None
        self._of: Mapping[str, list[dict[str, Any]]] = {}
        self._failure: Unreachable | None = None

    def of(self, instance: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The registrations of an instance, as `DescribeInstances` describes it, by its id or its private addresses.

        Raises:
            Unreachable: Elastic Load Balancing does not answer, not to everybody, or not in time.
        """
        self._refresh()
        if self._failure is not None:
            failure = self._failure
            raise Unreachable(str(failure), code=failure.code, resource=failure.resource) from failure
        addresses = [
            (interface.get("VpcId", ""), address.get("PrivateIpAddress", ""))
            for interface in instance.get("NetworkInterfaces", [])
            for address in interface.get("PrivateIpAddresses", [])
        ]
        by_id = self._of.get(instance["InstanceId"], [])
        # An address means something in its VPC only.
        by_address = [each for vpc, address in addresses for each in self._of.get(address, []) if each["VpcId"] == vpc]
        return sorted((*by_id, *by_address), key=lambda each: (each["TargetGroupArn"], each["Id"], each.get("Port", 0)))

    def _refresh(self) -> None:
        if self._looked_at is not None and self._clock() - self._looked_at < MAX_AGE:
            return
        try:
            self._of, self._failure = self._look(), None
        except Unreachable as error:
            self._failure = error
        self._looked_at = self._clock()

    def _look(self) -> dict[str, list[dict[str, Any]]]:
        began_at = self._clock()
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        client = self._client()
        with reading("target groups"):
            for page in client.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": _PAGE}):
                for group in page["TargetGroups"]:
                    if group.get("TargetType") not in _OF_INSTANCES:
                        continue
                    if self._clock() - began_at > LONGEST:
                        raise Unreachable(f"there are more target groups than can be asked in {LONGEST:.0f} s")
                    health = client.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
                    for each in health["TargetHealthDescriptions"]:
                        if each.get("TargetHealth", {}).get("Reason") != _LEAVING:
                            found[each["Target"]["Id"]].append(_registration(group, each["Target"]))
        return dict(found)


def _registration(group: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    """In Elastic Load Balancing's own words, as far as it takes to register again."""
    registration = {
        "TargetGroupArn": group["TargetGroupArn"],
        "TargetGroupName": group.get("TargetGroupName", ""),
        "TargetType": group["TargetType"],
        "VpcId": group.get("VpcId", ""),
        "Id": target["Id"],
    }
    return registration | ({"Port": target["Port"]} if target.get("Port") is not None else {})
