"""IAM and EC2's key pairs behind the ports of readiness."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from hikae.aws.errors import reading, send
from hikae.ports import NotFound

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_iam import IAMClient


class IamProfiles:
    """Instance profiles; IAM is asked only where something depends on it."""

    def __init__(self, client: Callable[[], "IAMClient"]) -> None:
        self._client = client

    def present(self, names: Collection[str]) -> frozenset[str]:
        """See `ports.Profiles`."""
        found = set()
        for name in sorted(names):
            try:
                with reading(f"instance profile {name}"):
                    self._client().get_instance_profile(InstanceProfileName=name)
            except NotFound:
                continue
            found.add(name)
        return frozenset(found)


class Ec2KeyPairs:
    """Key pairs of one Region."""

    def __init__(self, client: "EC2Client") -> None:
        self._client = client

    def public_keys(self, names: Collection[str]) -> Mapping[str, str]:
        """See `ports.PublicKeys`. Asked by a filter: one that is not there must not hide those that are."""
        with reading("key pairs"):
            found = self._client.describe_key_pairs(
                Filters=[{"Name": "key-name", "Values": sorted(names)}], IncludePublicKey=True
            )
        return {pair["KeyName"]: pair["PublicKey"].strip() for pair in found["KeyPairs"] if pair.get("PublicKey")}

    def import_key_pair(self, name: str, public_key: str) -> None:
        """See `ports.KeyPairImporter`."""
        send(lambda: self._client.import_key_pair(KeyName=name, PublicKeyMaterial=public_key.encode()), resource=name)
