"""The EBS direct APIs: reading a snapshot's blocks, finding what changed, and making a snapshot of blocks.

Sources: EBS User Guide, "Use EBS direct APIs to access the contents of an EBS snapshot" (blocks of 512 KiB, tokens that
live 7 days, checksums, idempotency, "Use encryption"); EBS direct APIs Reference and botocore's model of `ebs`. What
holds a snapshot is local.twin.snapshots: it stays `pending` in EC2, too, until it was completed and its blocks were
stored. moto's own knows no snapshot that EC2 made, takes any checksum, and completes what has no blocks.

A copy is no relative of its source here (**harsher**: "lineage" is not defined for copies).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.utils import random_snapshot_id

from local.twin.client_tokens import ClientTokens
from local.twin.content import BLOCK_SIZE, Content, Extent
from local.twin.snapshots import COPIED_VOLUME_ID, Snapshot
from local.twin.tags import check_tags
from local.twin.world import current_world

_TOKEN_LIFE = timedelta(days=7)
_LARGEST = 65_536
_FEWEST, _MOST = 100, 10_000
_SHORTEST, _LONGEST, _TIMEOUT = 10, 4320, 60

Answer = tuple[int, dict[str, str], "str | bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: its method, path, query, headers and body, and who sent it where."""

    method: str
    path: str
    query: Mapping[str, str]
    header: Callable[[str], str | None]
    body: bytes
    account_id: str
    region: str

    @property
    def backend(self) -> Any:
        return ec2_backends[self.account_id][self.region]


@dataclass(slots=True, kw_only=True)
class Upload:
    """A snapshot whose blocks are being written: the mark of each, by index."""

    snapshot: Snapshot
    blocks: dict[int, str] = field(default_factory=dict)
    is_complete: bool = False


@dataclass(slots=True)
class BlockStore:
    """What was written and read block by block, in all Regions. `tokens` tell block and end of life."""

    data: dict[str, bytes] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, tuple[str, int, datetime]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    requests: dict[tuple[str, str], ClientTokens[Snapshot]] = field(default_factory=dict)

    def read(self, mark: str) -> bytes:
        """The bytes behind a mark: those that were written, or else some that belong to it alone."""
        data = self.data.get(mark) or hashlib.shake_256(mark.encode()).digest(BLOCK_SIZE)
        self.marks[_checksum(data)] = mark
        return data

    def write(self, data: bytes) -> str:
        """The mark of these bytes: that of the block with the same ones, if there is one."""
        mark = self.marks.setdefault(_checksum(data), f"put/{_checksum(data)}")
        if mark.startswith("put/"):
            self.data[mark] = data
        return mark


class _RefusedError(Exception):
    def __init__(self, code: str, message: str, *, status: int = 400, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.status = code, status
        self.body = {"Message": message, **({"Reason": reason} if reason else {})}


def answer(asked: Asked) -> Answer:
    """One request to the EBS direct APIs."""
    for method, pattern, act in _ROUTES:
        found = re.fullmatch(pattern, asked.path)
        if found is not None and method == asked.method:
            with current_world().clock.lock:
                try:
                    return act(asked, *found.groups())
                except _RefusedError as error:
                    headers = {"content-type": "application/json", "x-amzn-errortype": error.code}
                    return error.status, headers, json.dumps(error.body)
    raise NotImplementedError(f"EBS direct APIs: {asked.method} {asked.path}")


def region_of(authorization: str) -> str | None:
    """The Region of a request that is signed for `ebs`; None for every other."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/ebs/", authorization)
    return found.group(1) if found else None


def _start(asked: Asked) -> Answer:
    request: dict[str, Any] = json.loads(asked.body)
    tokens = _store().requests.setdefault((asked.account_id, asked.region), ClientTokens())
    token = request.pop("ClientToken", None)
    try:
        snapshot = tokens.once(token, json.dumps(request, sort_keys=True), lambda: _make(asked.backend, request))
    except EC2ClientError as error:
        if error.code == "IdempotentParameterMismatch":
            raise _RefusedError("ConflictException", str(error.message), status=409) from error
        raise _invalid(str(error.message), "INVALID_PARAMETER_VALUE") from error
    described = {
        "SnapshotId": snapshot.id,
        "OwnerId": snapshot.owner_id,
        "Status": snapshot.state,
        "StartTime": snapshot.start_time.timestamp(),
        "VolumeSize": snapshot.volume_size,
        "BlockSize": BLOCK_SIZE,
        "Description": snapshot.description,
        "Tags": request.get("Tags", []),
        **({"ParentSnapshotId": request["ParentSnapshotId"]} if "ParentSnapshotId" in request else {}),
        **({"KmsKeyArn": snapshot.kms_key_id} if snapshot.encrypted else {}),
    }
    return _reply(201, described)


def _make(backend: Any, request: Mapping[str, Any]) -> Snapshot:
    parent_id, asks_encryption = request.get("ParentSnapshotId"), request.get("Encrypted")
    size, minutes = request["VolumeSize"], request.get("Timeout", _TIMEOUT)
    if parent_id and asks_encryption is not None:
        raise _invalid("Encrypted and ParentSnapshotId exclude each other.", "INVALID_DEPENDENCY_REQUEST")
    if request.get("KmsKeyArn") and not asks_encryption and not parent_id:
        raise _invalid("KmsKeyArn needs Encrypted.", "INVALID_DEPENDENCY_REQUEST")
    if not 1 <= size <= _LARGEST:
        raise _invalid(f"A volume has 1 to {_LARGEST} GiB.", "INVALID_VOLUME_SIZE")
    if not _SHORTEST <= minutes <= _LONGEST:
        raise _invalid(f"Timeout is {_SHORTEST} to {_LONGEST} minutes.", "INVALID_PARAMETER_VALUE")
    parent = _readable(backend, parent_id) if parent_id else None
    if parent is not None and (size < parent.volume_size or parent.owner_id != backend.account_id):
        raise _invalid(f"{parent_id} cannot be the parent of this snapshot.", "INVALID_SNAPSHOT_ID")
    if parent is not None and not parent.encrypted and backend.ebs_encryption_by_default:
        raise _invalid("An unencrypted parent needs encryption by default to be off.", "INVALID_DEPENDENCY_REQUEST")
    tags = {each["Key"]: each["Value"] for each in request.get("Tags", ())}
    check_tags(tags)
    is_encrypted = parent.encrypted if parent else bool(asks_encryption or backend.ebs_encryption_by_default)
    key = (parent.kms_key_id if parent else request.get("KmsKeyArn")) or backend.default_key
    snapshot_id = random_snapshot_id()
    snapshot = Snapshot(
        ec2_backend=backend,
        snapshot_id=snapshot_id,
        content=parent.content if parent else Content(origin=snapshot_id),
        lineage=parent.lineage if parent else (),
        volume_id=COPIED_VOLUME_ID,
        volume_size=size,
        description=request.get("Description", ""),
        start_time=backend.now,
        encrypted=is_encrypted,
        kms_key_id=key if is_encrypted else None,
        owner_id=backend.account_id,
    )
    backend.keep_started_snapshot(snapshot, tags=tags, timeout=timedelta(minutes=minutes))
    _store().uploads[snapshot.id] = Upload(snapshot=snapshot)
    return snapshot


def _put(asked: Asked, snapshot_id: str, index: str) -> Answer:
    upload = _pending(asked.backend, snapshot_id)
    if asked.header("x-amz-Checksum-Algorithm") != "SHA256":
        raise _invalid("The checksum algorithm is SHA256.", "INVALID_PARAMETER_VALUE")
    if len(asked.body) != BLOCK_SIZE or asked.header("x-amz-Data-Length") != str(BLOCK_SIZE):
        raise _invalid(f"A block has {BLOCK_SIZE} bytes.", "INVALID_BLOCK")
    if asked.header("x-amz-Checksum") != _checksum(asked.body):
        raise _invalid("The checksum is not that of the data.", "INVALID_BLOCK")
    if int(index) >= upload.snapshot.volume_size * 1024**3 // BLOCK_SIZE:
        raise _invalid(f"Block {index} is beyond the volume.", "INVALID_BLOCK")
    upload.blocks[int(index)] = _store().write(asked.body)
    return 201, {"x-amz-Checksum": _checksum(asked.body), "x-amz-Checksum-Algorithm": "SHA256"}, "{}"


def _complete(asked: Asked, snapshot_id: str) -> Answer:
    upload = _pending(asked.backend, snapshot_id)
    if asked.header("x-amz-ChangedBlocksCount") != str(len(upload.blocks)):
        raise _invalid(f"{len(upload.blocks)} blocks were written.", "INVALID_PARAMETER_VALUE")
    if (told := asked.header("x-amz-Checksum")) is not None:
        sums = [hashlib.sha256(_store().read(upload.blocks[each])).digest() for each in sorted(upload.blocks)]
        if told != base64.b64encode(hashlib.sha256(b"".join(sums)).digest()).decode():
            raise _invalid("The aggregated checksum is not that of the blocks.", "INVALID_PARAMETER_VALUE")
    upload.is_complete = True
    snapshot = upload.snapshot
    written = [Extent(first=index, count=1, digest=mark) for index, mark in sorted(upload.blocks.items())]
    snapshot.content = _with_blocks(snapshot.content, written)
    asked.backend.store_started_snapshot(snapshot, changed_bytes=len(written) * BLOCK_SIZE)
    return _reply(202, {"Status": "pending"})


def _with_blocks(content: Content, written: list[Extent]) -> Content:
    """The content with these blocks: the same as that of any snapshot with all the same blocks."""
    changed = replace(content, extents=(*content.extents, *written))
    blocks = changed.blocks()
    size = len(blocks) * BLOCK_SIZE
    same = (each.content for each in current_world().snapshots_made if each.content.blocks() == blocks)
    digest = hashlib.sha256(json.dumps(sorted(blocks.items())).encode()).hexdigest()
    alike = next(same, None)
    more = len(written) * BLOCK_SIZE
    return replace(changed, digest=alike.digest if alike else digest, size=size, written=content.written + more)


def _list_blocks(asked: Asked, snapshot_id: str) -> Answer:
    snapshot = _readable(asked.backend, snapshot_id)
    page, token = _page(asked, sorted(snapshot.content.blocks()))
    blocks = [{"BlockIndex": index, "BlockToken": _issue(snapshot, index)} for index in page]
    return _reply(200, {"Blocks": blocks, **_about(snapshot, token)})


def _list_changes(asked: Asked, snapshot_id: str) -> Answer:
    second, first_id = _readable(asked.backend, snapshot_id), asked.query.get("firstSnapshotId")
    first = _readable(asked.backend, first_id) if first_id else None
    if first is not None and _family(first) != _family(second):
        raise _invalid("The snapshots are not of one lineage.", "UNRELATED_SNAPSHOTS")
    before, after = first.content.blocks() if first else {}, second.content.blocks()
    changed = sorted(index for index in {*before, *after} if before.get(index) != after.get(index))
    page, token = _page(asked, changed)
    blocks = [
        {
            "BlockIndex": index,
            **({"FirstBlockToken": _issue(first, index)} if first and index in before else {}),
            **({"SecondBlockToken": _issue(second, index)} if index in after else {}),
        }
        for index in page
    ]
    return _reply(200, {"ChangedBlocks": blocks, **_about(second, token)})


def _get(asked: Asked, snapshot_id: str, index: str) -> Answer:
    snapshot = _readable(asked.backend, snapshot_id)
    name, number, until = _store().tokens.get(asked.query.get("blockToken", ""), ("", 0, asked.backend.now))
    if (name, number) != (snapshot.id, int(index)) or asked.backend.now >= until:
        raise _invalid("The block token is not one of this block, or it has expired.", "INVALID_BLOCK_TOKEN")
    data = _store().read(snapshot.content.blocks()[int(index)])
    headers = {"x-amz-Data-Length": str(len(data)), "x-amz-Checksum": _checksum(data)}
    return 200, {**headers, "x-amz-Checksum-Algorithm": "SHA256", "content-type": "application/octet-stream"}, data


_ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("POST", r"/snapshots", _start),
    ("POST", r"/snapshots/completion/([^/]+)", _complete),
    ("PUT", r"/snapshots/([^/]+)/blocks/(\d+)", _put),
    ("GET", r"/snapshots/([^/]+)/blocks", _list_blocks),
    ("GET", r"/snapshots/([^/]+)/changedblocks", _list_changes),
    ("GET", r"/snapshots/([^/]+)/blocks/(\d+)", _get),
)


def _readable(backend: Any, snapshot_id: str) -> Snapshot:
    """A completed snapshot that this account may read, with a key that can be used."""
    try:
        snapshot: Snapshot = backend.get_snapshot(snapshot_id)
    except EC2ClientError as error:
        raise _unknown(snapshot_id) from error
    try:
        snapshot.require_usable()
    except EC2ClientError as error:
        raise _invalid(str(error.message), "INVALID_SNAPSHOT_ID") from error
    if snapshot.encrypted and backend.find_key(str(snapshot.kms_key_id)) is None:
        raise _invalid(f"The key of {snapshot_id} cannot be used.", "INVALID_CUSTOMER_KEY")
    return snapshot


def _pending(backend: Any, snapshot_id: str) -> Upload:
    """The upload of a snapshot that blocks may still be written to."""
    upload = _store().uploads.get(snapshot_id)
    if upload is None or backend.snapshots.get(snapshot_id) is not upload.snapshot:
        raise _unknown(snapshot_id)
    if upload.is_complete or upload.snapshot.state != "pending":
        raise _invalid(f"Snapshot {snapshot_id} is not pending.", "INVALID_SNAPSHOT_ID")
    return upload


def _family(snapshot: Snapshot) -> tuple[str, bool]:
    return snapshot.content.origin, snapshot.copy is not None


def _issue(snapshot: Snapshot, index: int) -> str:
    token = base64.b64encode(current_world().random.getrandbits(256).to_bytes(32, "big")).decode()
    _store().tokens[token] = (snapshot.id, index, current_world().clock.now() + _TOKEN_LIFE)
    return token


def _page(asked: Asked, indexes: list[int]) -> tuple[list[int], str | None]:
    most = int(asked.query.get("maxResults", _MOST))
    if not _FEWEST <= most <= _MOST:
        raise _invalid(f"MaxResults is {_FEWEST} to {_MOST}.", "INVALID_PARAMETER_VALUE")
    token = asked.query.get("pageToken")
    if token is not None and not token.isdecimal():
        raise _invalid("The page token is none.", "INVALID_PAGE_TOKEN")
    start = int(token if token is not None else asked.query.get("startingBlockIndex", 0))
    left = [index for index in indexes if index >= start]
    return left[:most], str(left[most]) if len(left) > most else None


def _about(snapshot: Snapshot, token: str | None) -> dict[str, Any]:
    until = current_world().clock.now() + _TOKEN_LIFE
    said = {"ExpiryTime": until.timestamp(), "VolumeSize": snapshot.volume_size, "BlockSize": BLOCK_SIZE}
    return said if token is None else {**said, "NextToken": token}


def _store() -> BlockStore:
    world = current_world()
    if world.blocks is None:
        world.blocks = BlockStore()
    store: BlockStore = world.blocks
    return store


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _invalid(message: str, reason: str) -> _RefusedError:
    return _RefusedError("ValidationException", message, reason=reason)


def _unknown(snapshot_id: str) -> _RefusedError:
    message = f"The snapshot '{snapshot_id}' does not exist."
    return _RefusedError("ResourceNotFoundException", message, status=404, reason="SNAPSHOT_NOT_FOUND")


def _reply(status: int, body: dict[str, Any]) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(body)
