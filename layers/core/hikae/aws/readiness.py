"""IAM and EC2's key pairs behind the ports of readiness."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from hikae.aws.errors import reading, send
from hikae.aws.filtering import filters_by
from hikae.ports import NotFound

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_iam import IAMClient


class IamProfiles:
    """Instance profiles; IAM is asked only where something depends on it."""

    def __init__(self, client: Callable[[], "IAMClient"]) -> None:
        self._client = client

    def roles(self, names: Collection[str]) -> Mapping[str, str]:
        """See `ports.Profiles`."""
        found = {}
        for name in sorted(names):
            try:
                with reading(f"instance profile {name}"):
                    profile = self._client().get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
            except NotFound:
                continue
            found[name] = next((role["Arn"] for role in profile["Roles"]), "")
        return found


class Ec2KeyPairs:
    """Key pairs of one Region."""

    def __init__(self, client: "EC2Client") -> None:
        self._client = client

    def public_keys(self, names: Collection[str]) -> Mapping[str, str]:
        """See `ports.PublicKeys`. Asked by a filter: one that is not there must not hide those that are."""
        found: dict[str, str] = {}
        with reading("key pairs"):
            for filters in filters_by("key-name", names):
                answer = self._client.describe_key_pairs(Filters=filters, IncludePublicKey=True)
                found |= {
                    each["KeyName"]: each["PublicKey"].strip() for each in answer["KeyPairs"] if each.get("PublicKey")
                }
        return found

    def import_key_pair(self, name: str, public_key: str) -> None:
        """See `ports.KeyPairImporter`."""
        send(lambda: self._client.import_key_pair(KeyName=name, PublicKeyMaterial=public_key.encode()), resource=name)
