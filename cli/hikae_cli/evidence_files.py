"""Evidence in a file: whether it is what was signed. Without AWS."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from hikae.domain.evidence import EVIDENCE_VERSION

_ALGORITHM: Final = "ECDSA_SHA_256"
_PEM: Final = b"-----BEGIN"
_TEXTS: Final = ("record", "sha256", "signature", "algorithm", "key_arn", "public_key")


class EvidenceError(ValueError):
    """A file that is no evidence, or is not what was signed; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was signed, and the ARN of the key as the file gives it."""

    record: dict[str, Any]
    key_arn: str


def verify_evidence(text: bytes, *, key: bytes | None) -> Verified:
    """The record of the evidence, if its signature is that of the key in it.

    With `key`, a public key as PEM or DER, only that one will do.

    Raises:
        EvidenceError: it is not signed so, was changed since, or is no evidence.
    """
    evidence = _read(text)
    given = _decode(evidence["public_key"], "public_key")
    own = _load(given, "the key in it")
    if key is not None and _der(_load(key, "the key that was given")) != _der(own):
        raise EvidenceError(
            f"it was signed with another key than the one that was given; it says {evidence['key_arn']}"
        )
    signed = evidence["record"].encode()
    if hashlib.sha256(signed).hexdigest() != evidence["sha256"]:
        raise EvidenceError("the record is not the one that was signed: its SHA-256 is another")
    try:
        own.verify(_decode(evidence["signature"], "signature"), signed, ECDSA(SHA256()))
    except InvalidSignature as error:
        raise EvidenceError("the signature is not that of the record and the key") from error
    try:
        record = json.loads(evidence["record"])
    except ValueError as error:
        raise EvidenceError(f"signed, but its record is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise EvidenceError("signed, but its record is not a JSON object")
    return Verified(record=record, key_arn=evidence["key_arn"])


def _read(text: bytes) -> dict[str, str]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise EvidenceError(f"no evidence: it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise EvidenceError("no evidence: it is not a JSON object")
    lacking = [name for name in _TEXTS if not isinstance(document.get(name), str)]
    if lacking:
        raise EvidenceError(f"no evidence: it has no {', '.join(lacking)}")
    if document.get("version") != EVIDENCE_VERSION:
        raise EvidenceError(
            f"its version is {document.get('version')!r}; this version of hikae reads {EVIDENCE_VERSION}"
        )
    if document["algorithm"] != _ALGORITHM:
        raise EvidenceError(f"it says that it is signed by {document['algorithm']!r}; hikae signs by {_ALGORITHM}")
    return document


def _decode(value: str, name: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise EvidenceError(f"its {name} is not base64: {error}") from error


def _load(key: bytes, name: str) -> EllipticCurvePublicKey:
    try:
        loaded = load_pem_public_key(key) if key.lstrip().startswith(_PEM) else load_der_public_key(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EvidenceError(f"{name} is no public key, PEM or DER: {error}") from error
    if not isinstance(loaded, EllipticCurvePublicKey):
        raise EvidenceError(f"{name} is not of an elliptic curve, and evidence is signed with one of P-256")
    return loaded


def _der(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
