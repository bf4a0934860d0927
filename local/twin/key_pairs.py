"""Key pairs: moto's, found by their ids, too (botocore, DescribeKeyPairsRequest$KeyPairIds)."""

from typing import Any

from moto.core.responses import ActionResult

from local.twin.errors import refuse
from local.twin.sharing import SharingResponse


class KeyPairsResponse(SharingResponse):
    """DescribeKeyPairs."""

    def describe_key_pairs(self) -> ActionResult:
        ids = self._get_param("KeyPairIds", [])
        described: Any = super().describe_key_pairs()
        if not ids:
            return described
        found = {each.id: each for each in described.result["KeyPairs"]}
        if unknown := [each for each in ids if each not in found]:
            raise refuse("InvalidKeyPair.NotFound", f"The key pair '{unknown[0]}' does not exist")
        return ActionResult({"KeyPairs": [found[each] for each in dict.fromkeys(ids)]})
