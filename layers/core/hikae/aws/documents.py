"""A site's bucket behind the ports: JSON documents and plans."""

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hikae.aws.errors import reading
from hikae.domain.plan import MAX_BYTES, Plan, PlanError, Problem, parse_plan
from hikae.ports import BrokenPlan, NotFound, Plans, PortError, Refused, Unreachable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AT_ONCE = 10
"""How many objects are read beside each other: botocore keeps so many connections open."""
_IN_HAND = 100
"""How many of them are read ahead of whoever takes them."""
PLANS = "plans/"
SUFFIX = ".yaml"


class S3Documents:
    """JSON documents in a bucket."""

    def __init__(self, client: "S3Client", *, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def keys(self, prefix: str) -> Mapping[str, datetime]:
        """See `ports.Documents`."""
        return {entry["Key"]: entry["LastModified"] for entry in _list(self._client, self._bucket, prefix)}

    def read(self, key: str) -> dict[str, Any]:
        """See `ports.Documents`."""
        text = read_text(self._client, self._bucket, key)
        try:
            document = json.loads(text)
        except ValueError as error:
            raise Refused(f"{key} in {self._bucket} is not JSON: {error}", resource=key) from error
        if not isinstance(document, dict):
            raise Refused(f"{key} in {self._bucket} is not a JSON object", resource=key)
        return document

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """See `ports.Documents`. One after the other, thousands of small objects would take minutes."""
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as workers:
            wanted = sorted(keys)
            for begin in range(0, len(wanted), _IN_HAND):
                for key, document in workers.map(self._read_or_leave, wanted[begin : begin + _IN_HAND]):
                    if document is not None:
                        yield key, document

    def _read_or_leave(self, key: str) -> tuple[str, dict[str, Any] | None]:
        try:
            return key, self.read(key)
        except PortError:
            return key, None

    def write(self, key: str, document: Mapping[str, Any]) -> None:
        """See `ports.Documents`."""
        self._put(key, document)

    def create(self, key: str, document: Mapping[str, Any]) -> bool:
        """See `ports.Documents`.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
        """
        try:
            self._put(key, document, IfNoneMatch="*")
        except Unreachable as error:
            if error.code != "PreconditionFailed":
                raise
            return False
        return True

    def delete(self, key: str) -> None:
        """See `ports.Documents`. The bucket is versioned: what is removed can be brought back for a while."""
        with reading(f"{key} in {self._bucket}"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _put(self, key: str, document: Mapping[str, Any], **condition: Any) -> None:
        body = json.dumps(document, sort_keys=True, indent=1).encode()
        with reading(f"{key} in {self._bucket}"):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", **condition
            )


class S3PlanStore:
    """The plans of a site, as its administrator has applied them."""

    def __init__(self, client: "S3Client", *, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def load(self) -> Plans:
        """See `ports.PlanStore`. A plan is broken, too, where its name is not the file's."""
        readable, broken = [], []
        for key in list_keys(self._client, self._bucket, PLANS):
            try:
                plan = parse_plan(read_text(self._client, self._bucket, key, most=MAX_BYTES + 1))
            except PlanError as error:
                broken.append(BrokenPlan(key=key, problems=error.problems))
                continue
            except NotFound:
                continue  # deleted since it was listed
            except PortError as error:
                # Nobody may fetch this one; the others are carried out all the same.
                problem = Problem(path="", message=f"it cannot be fetched: {error}")
                broken.append(BrokenPlan(key=key, problems=(problem,)))
                continue
            if key != f"{PLANS}{plan.name}{SUFFIX}":
                problem = Problem(path="plan", message=f"is {plan.name!r}, the file is {key}; they must agree")
                broken.append(BrokenPlan(key=key, problems=(problem,)))
            else:
                readable.append(plan)
        return Plans(readable=tuple(readable), broken=tuple(broken))

    def past(self, plan: str) -> Iterator[Plan]:
        """See `ports.PlanStore`. The bucket is versioned, and versions of plans do not expire."""
        key = f"{PLANS}{plan}{SUFFIX}"
        versions: list[Any] = []
        with reading(f"versions of {key} in {self._bucket}"):
            for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key):
                versions.extend(version for version in page.get("Versions", []) if version["Key"] == key)
        for version in sorted(versions, key=lambda each: each["LastModified"], reverse=True):
            with reading(f"{key} in {self._bucket}"):
                answer = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=version["VersionId"])
                text = answer["Body"].read(MAX_BYTES + 1).decode(errors="replace")
            try:
                yield parse_plan(text)
            except PlanError:
                continue


def list_keys(client: "S3Client", bucket: str, prefix: str) -> Iterator[str]:
    """Every key below `prefix`.

    Raises:
        Unreachable: the bucket does not answer.
    """
    for entry in _list(client, bucket, prefix):
        yield entry["Key"]


def _list(client: "S3Client", bucket: str, prefix: str) -> Iterator[Any]:
    with reading(f"{prefix} in {bucket}"):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get("Contents", [])


def read_text(client: "S3Client", bucket: str, key: str, *, most: int | None = None) -> str:
    """The object as text, no more than `most` bytes of it.

    What is not UTF-8 becomes replacement characters, which no parser here takes.

    Raises:
        NotFound: there is no such object.
        Unreachable: the bucket does not answer.
    """
    with reading(f"{key} in {bucket}"):
        return client.get_object(Bucket=bucket, Key=key)["Body"].read(most).decode(errors="replace")
