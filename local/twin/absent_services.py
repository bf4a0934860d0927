"""Services about snapshots that the twin has not, refused by name: Data Lifecycle Manager, another backup tool."""

import json
import re

SERVICES = {"dlm": "Data Lifecycle Manager"}
STATUS = 501

_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([a-z]+)/")

Answer = tuple[int, dict[str, str], str]


def is_absent(authorization: str) -> bool:
    """Whether a request is signed for a service that the twin has not."""
    found = _SCOPE.search(authorization)
    return found is not None and found.group(1) in SERVICES


def refuse(*, authorization: str, method: str, path: str) -> Answer:
    """What such a request is answered: NotImplemented, and what was asked for."""
    found = _SCOPE.search(authorization)
    name = SERVICES[found.group(1)] if found else "this service"
    headers = {"content-type": "application/json", "x-amzn-errortype": "NotImplemented"}
    return STATUS, headers, json.dumps({"Message": f"The EC2 twin has not {name}: {method} {path}"})
