"""Service Quotas' own JSON API, about `ebs` and `ec2`: what it tells is what the twin keeps to.

Sources: Service Quotas API Reference; botocore's model of `service-quotas`, of which moto knows `vpc` only.
"""

import json
import re
from typing import Any

from local.twin.quotas import SERVICES
from local.twin.world import current_world

_PREFIX = "ServiceQuotasV20190624."
_LONGEST_PAGE = 100

Answer = tuple[int, dict[str, str], str]


def answer(*, target: str, body: bytes, account_id: str, region: str) -> Answer | None:
    """One request to Service Quotas; None where it is about a service that the twin does not stand for."""
    action, request = target.removeprefix(_PREFIX), json.loads(body or b"{}")
    service = request.get("ServiceCode", "")
    if service not in SERVICES:
        return None
    world = current_world()
    with world.clock.lock:
        quotas = world.quotas
        if not quotas.is_answering:
            return _refuse("AccessDeniedException", "You do not have sufficient access to perform this action.")
        is_default = "Default" in action
        found = [
            quota.describe(account_id=account_id, region=region, is_default=is_default)
            for quota in quotas.listed(service)
            # "If the applied quota value is not available for a quota, the quota is not retrieved."
            if is_default or quota.value is not None
        ]
    if action in ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
        for described in found:
            if described["QuotaCode"] == request.get("QuotaCode"):
                return _reply(200, {"Quota": described})
        return _refuse("NoSuchResourceException", "The request failed because the specified quota does not exist.")
    if action in ("ListServiceQuotas", "ListAWSDefaultServiceQuotas"):
        return _list(found, request)
    return _refuse("IllegalArgumentException", f"The twin cannot do this yet: {action}")


def region_of(authorization: str) -> str | None:
    """The Region of a request that is signed for Service Quotas; None for every other."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/servicequotas/", authorization)
    return found.group(1) if found else None


def refuse_service() -> Answer:
    """What a server answers about a service that the twin does not stand for."""
    return _refuse("NoSuchResourceException", "The request failed because the specified service does not exist.")


def _list(found: list[dict[str, Any]], request: dict[str, Any]) -> Answer:
    token = request.get("NextToken", "0")
    if not token.isdecimal():
        return _refuse("InvalidPaginationTokenException", "Invalid input was provided.")
    start, size = int(token), min(int(request.get("MaxResults", _LONGEST_PAGE)), _LONGEST_PAGE)
    page: dict[str, Any] = {"Quotas": found[start : start + size]}
    if start + size < len(found):
        page["NextToken"] = str(start + size)
    return _reply(200, page)


def _refuse(code: str, message: str) -> Answer:
    return _reply(400, {"__type": code, "Message": message})


def _reply(status: int, body: dict[str, Any]) -> Answer:
    return status, {"content-type": "application/x-amz-json-1.1"}, json.dumps(body)
