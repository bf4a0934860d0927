"""The sites' buckets, as an administrator's command sees them. The only module of the command that knows boto3."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    SSLError,
)

from hikae.domain.model import AccountId
from hikae.domain.plan import MAX_BYTES
from hikae_cli.plan_changes import Site, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=30)
_GET_CREDENTIALS = "give credentials of the site's administrator, by AWS_PROFILE or aws configure"
_CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_UNREACHABLE = (ConnectTimeoutError, EndpointConnectionError, HTTPClientError, ProxyConnectionError, SSLError)
_NOT_THERE = frozenset({"404", "NoSuchBucket"})
_DENIED = frozenset({"403", "AccessDenied", "AllAccessDisabled"})
_NOT_AS_COMPARED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})
"""S3's answers to a conditional write: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""


class SiteError(Exception):
    """A site that cannot be asked or written to: one line with what, where, why and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an object, or the mark of its deletion."""

    id: str
    at: datetime
    is_deletion: bool
    is_latest: bool


def find_account(region: str) -> AccountId:
    """The account that the credentials belong to, as STS in `region` says.

    Raises:
        SiteError: nobody knows.
    """
    where = f"account unknown: STS in Region {region}"
    try:
        return AccountId(boto3.client("sts", region_name=region, config=_CONFIG).get_caller_identity()["Account"])
    except (ClientError, BotoCoreError) as error:
        raise _translate(error, where) from error


class SiteBuckets:
    """The buckets of sites, each asked in its own Region.

    Every call names the account that must own the bucket: its name can be guessed, so anybody could have it.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
    """

    def __init__(self) -> None:
        self._clients: dict[str, S3Client] = {}

    def check(self, site: Site) -> None:
        """Make sure that the site's bucket is there.

        Raises:
            SiteError: it is not, or it does not answer.
        """
        try:
            self._client(site).head_bucket(Bucket=site.bucket, ExpectedBucketOwner=site.place.account)
        except (ClientError, BotoCoreError) as error:
            raise _translate(error, str(site), site) from error

    def keys(self, site: Site, prefix: str) -> list[str]:
        """Every key of the site below `prefix`, in order.

        Raises:
            SiteError: it does not answer.
        """
        try:
            pages = self._client(site).get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=site.bucket, Prefix=prefix, ExpectedBucketOwner=site.place.account)
            return [entry["Key"] for page in found for entry in page.get("Contents", [])]
        except (ClientError, BotoCoreError) as error:
            raise _translate(error, f"{prefix} in {site}", site) from error

    def read(self, site: Site, key: str) -> Stored | None:
        """What the site has under `key`, no more of it than shows that it is too large; None where it has nothing.

        Raises:
            SiteError: it does not answer.
        """
        try:
            answer = self._client(site).get_object(Bucket=site.bucket, Key=key, ExpectedBucketOwner=site.place.account)
            content = answer["Body"].read(MAX_BYTES + 1)
            return Stored(content=content, etag=answer["ETag"], since=answer["LastModified"].astimezone(UTC))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchKey":
                return None
            raise _translate(error, f"{key} in {site}", site) from error
        except BotoCoreError as error:
            raise _translate(error, f"{key} in {site}", site) from error

    def write(self, site: Site, key: str, content: bytes, *, instead_of: Stored | None) -> None:
        """Put `content` under `key` if there still is what was read there: `instead_of`, None for nothing.

        S3 compares in the write itself, so what somebody else has put there since is never overwritten. Where the write
        was repeated because its answer was lost, the content that it finds there may be its own, and is taken for it.

        Raises:
            SiteError: there is something else now, and nothing was written; or nobody knows whether it was written.
        """
        condition: Any = {"IfNoneMatch": "*"} if instead_of is None else {"IfMatch": instead_of.etag}
        try:
            self._client(site).put_object(
                Bucket=site.bucket,
                Key=key,
                Body=content,
                ContentType="application/yaml",
                ExpectedBucketOwner=site.place.account,
                **condition,
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _NOT_AS_COMPARED:
                raise _translate(error, f"{key} in {site}", site) from error
            there = self.read(site, key)
            if there is None or there.content != content:
                what = "was deleted" if there is None else "was changed" if instead_of else "was made"
                message = f"{key} in {site}: {what} by somebody else since it was compared, and was not overwritten"
                raise SiteError(f"{message}; apply again to see the difference to what is there now") from error
        except BotoCoreError as error:
            raise _translate(error, f"{key} in {site}", site) from error

    def remove(self, site: Site, key: str, *, instead_of: Stored) -> None:
        """Delete what is under `key` if it still is what was read there; its versions stay.

        S3 compares in the deletion itself, for which it wants s3:GetObject, too. Where it was repeated because its
        answer was lost there is nothing any more, and that is what was wanted.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html

        Raises:
            SiteError: there is something else now, and nothing was deleted; or nobody knows whether it was.
        """
        needs = "s3:DeleteObject and s3:GetObject on it"
        try:
            self._client(site).delete_object(
                Bucket=site.bucket, Key=key, IfMatch=instead_of.etag, ExpectedBucketOwner=site.place.account
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _NOT_AS_COMPARED:
                raise _translate(error, f"{key} in {site}", needs=needs) from error
            if self.read(site, key) is not None:
                message = f"{key} in {site}: was changed by somebody else since it was shown, and was not removed"
                raise SiteError(f"{message}; remove again to see what is there now") from error
        except BotoCoreError as error:
            raise _translate(error, f"{key} in {site}") from error

    def versions(self, site: Site, key: str) -> Iterator[Version]:
        """Each version of `key` and each of its deletions, the newest first.

        S3 lists them in that order, versions and deletions apart:
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html

        Raises:
            SiteError: the site does not answer.
        """
        found = []
        try:
            pages = self._client(site).get_paginator("list_object_versions")
            for page in pages.paginate(Bucket=site.bucket, Prefix=key, ExpectedBucketOwner=site.place.account):
                for is_deletion, entries in ((False, page.get("Versions", [])), (True, page.get("DeleteMarkers", []))):
                    found += [
                        Version(
                            id=entry["VersionId"],
                            at=entry["LastModified"].astimezone(UTC),
                            is_deletion=is_deletion,
                            is_latest=entry["IsLatest"],
                        )
                        for entry in entries
                        if entry["Key"] == key
                    ]
        except (ClientError, BotoCoreError) as error:
            raise _translate(error, f"versions of {key} in {site}", site) from error
        # S3 tells whole seconds: of several versions within one, only the latest is known to be the newest.
        yield from sorted(found, key=lambda version: (version.at, version.is_latest), reverse=True)

    def read_version(self, site: Site, key: str, version: str) -> bytes:
        """One version of what the site had under `key`.

        Raises:
            SiteError: it is not there, or the site does not answer.
        """
        try:
            answer = self._client(site).get_object(
                Bucket=site.bucket, Key=key, VersionId=version, ExpectedBucketOwner=site.place.account
            )
            return answer["Body"].read(MAX_BYTES + 1)
        except (ClientError, BotoCoreError) as error:
            raise _translate(error, f"version {version} of {key} in {site}", site) from error

    def _client(self, site: Site) -> "S3Client":
        region = site.place.region
        if region not in self._clients:
            self._clients[region] = boto3.client("s3", region_name=region, config=_CONFIG)
        return self._clients[region]


def _translate(
    error: ClientError | BotoCoreError, what: str, site: Site | None = None, *, needs: str = "sts:GetCallerIdentity"
) -> SiteError:
    """One line with what, where, why and the remedy, by the error's code or class and never by its message."""
    if isinstance(error, ClientError):
        return SiteError(f"{what}: {_explain_answer(error, site, needs)}")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return SiteError(f"{what}: no AWS credentials ({error}); {_GET_CREDENTIALS}")
    if isinstance(error, ProfileNotFound):
        return SiteError(f"{what}: {error}; set AWS_PROFILE to one that exists")
    if isinstance(error, InvalidRegionError | NoRegionError):
        return SiteError(f"{what}: {error}; give a Region's code, such as us-east-1")
    if isinstance(error, _UNREACHABLE):
        return SiteError(f"{what}: unreachable ({error}); check the Region's code, the network and AWS_ENDPOINT_URL")
    return SiteError(f"{what}: {error}; {_GET_CREDENTIALS}")


def translate_call(error: ClientError | BotoCoreError, what: str, *, missing: str, needs: str) -> SiteError:
    """One line about a call of any service: `missing` for what is not there, `needs` for what is not allowed."""
    if not isinstance(error, ClientError):
        return _translate(error, what)
    code = error.response.get("Error", {}).get("Code", "")
    said = f"{code} {error.response.get('Error', {}).get('Message', '')}".strip()
    if code == "ResourceNotFoundException":
        return SiteError(f"{what}: {missing}")
    return SiteError(f"{what}: {said}; {find_remedy(code, needs=needs)}")


def find_remedy(code: str, *, needs: str) -> str:
    """What to do about an error of this code, or class of botocore's; `needs` is what the credentials must allow."""
    if code in _CREDENTIAL_CODES | {"NoCredentialsError", "PartialCredentialsError", "AuthFailure"}:
        return _GET_CREDENTIALS
    if code in _DENIED | {"AccessDeniedException", "UnauthorizedOperation"}:
        return f"{_GET_CREDENTIALS}, with {needs}"
    if code in {each.__name__ for each in _UNREACHABLE}:
        return "check the Region's code, the network and AWS_ENDPOINT_URL"
    return "try again, and check the Region's service health if it stays"


def _explain_answer(error: ClientError, site: Site | None, needs: str) -> str:
    code = error.response.get("Error", {}).get("Code", "")
    said = f"{code} {error.response.get('Error', {}).get('Message', '')}".strip()
    if code in _CREDENTIAL_CODES:
        return f"the AWS credentials are refused ({said}); {_GET_CREDENTIALS}"
    if site is not None and code in _NOT_THERE:
        return (
            f"there is no such bucket; deploy the {site.role} site of installation {site.installation} there, "
            "or check --installation, the Region and the account"
        )
    if code in _DENIED:
        actions = "s3:ListBucket, s3:GetObject and s3:PutObject on it" if site else needs
        return f"access denied ({said}); {_GET_CREDENTIALS}, with {actions}"
    return f"{said}; try again, and check the Region's service health if it stays"
