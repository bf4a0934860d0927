"""KMS signatures of digests, which moto's KMS makes of the digest's digest.

Sign, MessageType: "To sign a message digest, use DIGEST", "don't hash it again":
https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
"""

import base64
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from moto.kms.models import kms_backends

ACTION = "TrentService.Sign"
_ALGORITHM = "ECDSA_SHA_256"


def sign(body: bytes, *, account_id: str, region: str, go_on: Callable[[], Any]) -> Any:
    """The answer to Sign: moto's own unless a digest is to be signed with `ECDSA_SHA_256`."""
    request = json.loads(body)
    if request.get("MessageType") != "DIGEST" or request.get("SigningAlgorithm") != _ALGORITHM:
        return go_on()
    digest = base64.b64decode(request["Message"])
    answer = go_on()  # for its checks of the key; only its signature is replaced
    status, headers, said = answer
    if status != 200:
        return answer
    backend: Any = kms_backends[account_id][region]
    key = backend.keys[backend.get_key_id(request["KeyId"])]
    signature = key.private_key.private_key.sign(digest, ECDSA(Prehashed(SHA256())))
    return status, headers, json.dumps({**json.loads(said), "Signature": base64.b64encode(signature).decode()})
