"""The nouns of backup: what EC2 holds, and what hikae makes of it.

Everything here is a fact without behaviour of its own; the other modules of the domain decide about these facts.
Times are aware UTC datetimes, sizes are GiB.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

AccountId = NewType("AccountId", str)
Region = NewType("Region", str)
PointId = NewType("PointId", str)
SnapshotId = NewType("SnapshotId", str)
ImageId = NewType("ImageId", str)
ResourceId = NewType("ResourceId", str)
"""An instance's or a detached volume's id: what a plan protects."""


class Kind(StrEnum):
    """What a recovery point consists of."""

    SNAPSHOT_SET = "snapshot-set"
    SNAPSHOT = "snapshot"
    IMAGE = "image"


class Consistency(StrEnum):
    """What a recovery point's content can be relied on for."""

    CRASH = "crash"
    APPLICATION = "application"


class SiteRole(StrEnum):
    """Which half of an installation a stack is."""

    PRIMARY = "primary"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One account in one Region."""

    account: AccountId
    region: Region

    def __str__(self) -> str:
        """`account/region`, as in the `Primaries` parameter and in keys of the bucket."""
        return f"{self.account}/{self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An EBS snapshot as EC2 describes it."""

    id: SnapshotId
    owner: AccountId
    state: str
    started_at: datetime
    volume_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    is_copy: bool = False
    state_message: str = ""
    encrypted: bool = False
    tier: str = "standard"
    size_gib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An AMI as EC2 describes it; `snapshots` are those of its block device mapping.

    EC2 does not promise a creation date; without one nobody knows the image's age. `protection` is what EC2 says of
    its deregistration protection, empty where it has none.
    """

    id: ImageId
    owner: AccountId
    name: str
    state: str
    created_at: datetime | None
    snapshots: tuple[SnapshotId, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    is_copy: bool = False
    state_message: str = ""
    protection: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDevice:
    """One EBS volume attached to an instance."""

    device: str
    volume_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An EC2 instance as far as selection needs it."""

    id: ResourceId
    state: str
    image_id: str
    root_device_type: str
    root_device: str = ""
    type: str = ""
    block_devices: tuple[BlockDevice, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """An EBS volume as far as selection needs it."""

    id: ResourceId
    state: str
    attached_to: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecycleBinRule:
    """A retention rule of the Recycle Bin: what it says of resources of its type.

    `tags` are pairs of which one must match, the value None matching all; without any the rule is of the whole Region,
    and `exclude_tags` are the pairs that it leaves out. A rule may take half an hour to come into force:
    https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin.html
    """

    id: str
    resource_type: str
    is_available: bool
    tags: frozenset[tuple[str, str | None]] = frozenset()
    exclude_tags: frozenset[tuple[str, str | None]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PointIdentity:
    """What a recovery point is the point of; equal identities are the same job, whoever carries it out and when."""

    installation: str
    place: Place
    plan: str
    rule: str
    slot: datetime
    resource: ResourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOrigin:
    """Where a copied snapshot or image comes from: the tags that only copies carry."""

    copy_of: str
    source_time: datetime
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PointTags:
    """What the tags of one snapshot or image say; see `naming` for how it is written."""

    identity: PointIdentity
    point: PointId
    attempt: int
    kind: Kind
    members: int
    consistency: Consistency
    volume: str | None = None
    device: str | None = None
    origin: CopyOrigin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVolume:
    """One volume that a point could have a snapshot of; a detached one has no device and is no boot volume."""

    id: str
    device: str = ""
    is_boot: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeExclusion:
    """Which of an instance's volumes a rule leaves out: each that any of these names.

    `tags` map a key to its alternatives; `boot` is the root volume, `data` every other one.
    """

    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    devices: frozenset[str] = frozenset()
    boot: bool = False
    data: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left out."""
        return not (self.tags or self.devices or self.boot or self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One (rule, slot, resource) to be carried out before its deadline."""

    identity: PointIdentity
    kind: Kind
    deadline: datetime
    consistency: Consistency = Consistency.CRASH
    reboot: bool = False
    exclude_volumes: VolumeExclusion = field(default_factory=VolumeExclusion)


class PointState(StrEnum):
    """How far a recovery point is; only `COMPLETE` ones count, for anything."""

    COMPLETE = "complete"
    PENDING = "pending"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPoint:
    """A recovery point at one site, assembled from its snapshots or its image.

    `source_time` is when EC2 started the source, also for a copy. `leftovers` are copies of members that were made
    again (failed ones) or made twice, or an image's snapshots that it does not name: they belong to the point and never
    count as its members. With `lacks_manifest` all members are there and completed, and only the manifest is missing.
    `id` names one set of one point at one site: retries and duplicates of a point are sets of their own.
    """

    tags: PointTags
    source_time: datetime
    state: PointState
    snapshots: tuple[Snapshot, ...]
    image: Image | None = None
    leftovers: tuple[Snapshot | Image, ...] = ()
    reason: str = ""
    lacks_manifest: bool = False
    id: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Name the set; names are asked for so often that they are not made anew each time."""
        name = f"{self.tags.point}/{self.tags.attempt}/{self.source_time:%Y%m%dT%H%M%S.%fZ}"
        object.__setattr__(self, "id", name)

    @property
    def time(self) -> datetime:
        """The time that retention goes by."""
        return self.source_time

    @property
    def is_copy(self) -> bool:
        """Whether this is a copy at a recovery site."""
        return self.tags.origin is not None

    @property
    def is_complete(self) -> bool:
        """Whether all members exist and are completed and the manifest is there."""
        return self.state is PointState.COMPLETE

    @property
    def resource_ids(self) -> tuple[str, ...]:
        """Every EC2 id of the point, the image first."""
        image = (self.image.id,) if self.image else ()
        return (*image, *(snapshot.id for snapshot in self.snapshots))


class Action(StrEnum):
    """What is to become of a recovery point."""

    KEEP = "keep"
    EXPIRE = "expire"
    COPY = "copy"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision about one point, with every reason for it."""

    id: str
    action: Action
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """Something that carries hikae's tags and that hikae cannot account for; it is reported and never touched.

    `copy_of` is what it says it is a copy of: that must not be copied again because of it. `point` is the point that it
    says it belongs to: the rest of that must not be deleted without it.
    """

    id: str
    reason: str
    copy_of: str | None = None
    point: str | None = None
