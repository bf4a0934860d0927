"""Services about snapshots that the twin has not, refused by name before moto answers for them.

EBS direct APIs (`ebs`): moto knows only snapshots that were started through them, takes any checksum, and tells EC2
that a snapshot is completed whose blocks are still missing. The twin follows content by digest and lineage, not by
block, and has nothing to list. Data Lifecycle Manager (`dlm`) is another backup tool, which moto lacks.
"""

import json
import re

SERVICES = {"ebs": "the EBS direct APIs", "dlm": "Data Lifecycle Manager"}
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
