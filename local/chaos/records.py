"""What the documents of recovery and of the report say, without what two equal runs may differ in: times, ids, figures.

The evidence of a run is checked as an auditor would: its digest, and its signature by the key that it names.
"""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hikae.domain.naming import EVIDENCE, KEY_PAIRS, LAST_REPORT_KEY, RUNS

REPORTS = LAST_REPORT_KEY.rpartition("/")[0] + "/"


def reduce(key: str, text: str) -> str | None:
    """The document of this key in a form that is equal for equal runs; None for a document of another kind."""
    if key.startswith(EVIDENCE):
        return f"{key}: {json.dumps(evidence_of(text), sort_keys=True)}"
    if key.startswith(RUNS) and key.endswith("/run.json"):
        run = json.loads(text)
        # What it did is in its evidence; this one says how far it is.
        has_ended = run["ended_at"] is not None
        return f"{key}: {'ended' if has_ended else 'under way'}, left behind {run['left_behind']}"
    if key == LAST_REPORT_KEY:
        return f"{key}: {json.dumps(_report(json.loads(text)), sort_keys=True)}"
    if key.startswith(REPORTS):
        return f"{_DATED}{json.loads(text)['reported_at'][:13]}"
    if key.startswith(KEY_PAIRS):
        return f"{key}: {text}"
    return None


_DATED = "a dated report of "


def count_once(documents: Iterable[str]) -> list[str]:
    """The documents; of dated reports one an hour, for two runs make two, and each is true of its moment."""
    documents = list(documents)
    dated = {each for each in documents if each.startswith(_DATED)}
    return [*(each for each in documents if each not in dated), *dated]


_VARYING = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z"  # a time
    r"|(?:\b(?:i|vol|ami|vpce|sg)-)[0-9a-f]{17}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # of a command
    r"|\d+\.\d+\.\d+\.\d+"  # an address
)


def rename(text: str) -> str:
    """A document without times and ids."""
    return _VARYING.sub("…", text)


def evidence_of(text: str) -> Mapping[str, Any]:
    """What one record proves."""
    document = json.loads(text)
    record = json.loads(document["record"])
    kept = ("run", "mode", "outcome", "failure", "missing", "left_out", "rejected_points", "left_behind")
    own_volumes = {member["volume"] for member in record["members"]}
    # A volume goes with its instance, or by itself where EC2 shows it for longer.
    torn_down = [each for each in record["torn_down"] if not each.startswith("vol-") or each in own_volumes]
    return {
        **{name: record[name] for name in kept},
        "is signed": _is_signed(document),
        "members": [_member(member) for member in record["members"]],
        "remains": _kinds(record["remains"]),
        "torn down": sorted(_kinds(torn_down)),
    }


def _member(member: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = ("resource", "point", "kind", "rpo_met", "refused_rungs", "notes")
    rung = member["rung"]
    return {
        **{name: member[name] for name in kept},
        "volumes": sorted(member["snapshots"]),
        "has instance": bool(member["instance"]),
        "has volume": bool(member["volume"]),
        "rung": rung and [rung["type"], rung["zone"]],
        "probes": [[each["kind"], each["value"], each["state"]] for each in member["probes"]],
    }


def _kinds(ids: list[str]) -> Mapping[str, int]:
    return dict(Counter(each.partition("-")[0] for each in ids))


def _is_signed(document: Mapping[str, Any]) -> bool:
    text = document["record"].encode()
    key = load_der_public_key(base64.b64decode(document["public_key"]))
    assert isinstance(key, EllipticCurvePublicKey), "the site signs with ECC_NIST_P256"
    try:
        key.verify(base64.b64decode(document["signature"]), text, ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return bool(document["sha256"] == hashlib.sha256(text).hexdigest())


def _report(report: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "summary": report["summary"],
        "problems": report["problems"],
        "primaries": [{**each, "published_at": each["published_at"] is not None} for each in report["primaries"]],
        "objectives": [
            {name: each[name] for name in ("plan", "rule", "resource", "standing", "since", "point")}
            for each in report["objectives"]
        ],
        "carried": len(report["carried"]),
    }
