"""What operations need from the outside: a few Protocols, and the errors that their implementations may raise."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from hikae.domain.ladder import InstanceType
from hikae.domain.model import (
    Image,
    ImageId,
    Instance,
    Job,
    Place,
    RecycleBinRule,
    ResourceId,
    Snapshot,
    SnapshotId,
    SourceVolume,
    Volume,
)
from hikae.domain.networks import Subnet
from hikae.domain.plan import Plan, Problem
from hikae.domain.recovery_settings import RecoverySettings
from hikae.domain.runs import ProbeResult
from hikae.domain.teardown import Made


class PortError(Exception):
    """What the outside answered, translated: `code` is the service's own word, `resource` what it was about."""

    def __init__(self, message: str, *, code: str = "", resource: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.resource = resource


class Throttled(PortError):  # noqa: N818 - named after what happened
    """The call was refused for its rate and did not happen; it can be sent again."""


class LimitReached(PortError):  # noqa: N818
    """The call was refused because too much is under way and did not happen; it can be sent later."""


class Ambiguous(PortError):  # noqa: N818
    """Nobody knows whether the call happened. Look before sending it again."""


class Refused(PortError):  # noqa: N818
    """The call did not happen, and will not happen as it stands."""


class NotFound(Refused):
    """What the call is about does not exist (or not yet, or no longer)."""


class Gone(NotFound):
    """What the call is about was there, and has ended or been deleted since."""


class NoCapacity(Refused):
    """EC2 has no room for it there, of that type, or by the account's quota: elsewhere or otherwise it may go."""


class InUse(Refused):
    """What was to be deleted is needed by something else."""


class Unreachable(PortError):  # noqa: N818
    """The place could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPlan:
    """A plan that cannot be read; the others are carried out all the same."""

    key: str
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        """The file and all that is wrong with it."""
        return f"{self.key}: {'; '.join(str(problem) for problem in self.problems)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The plans of a site."""

    readable: tuple[Plan, ...] = ()
    broken: tuple[BrokenPlan, ...] = ()

    def find(self, name: str) -> Plan | None:
        """The plan of this name."""
        return next((plan for plan in self.readable if plan.name == name), None)


class PlanStore(Protocol):
    """The plans that a site's administrator has applied."""

    def load(self) -> Plans:
        """All of them; one that cannot be read is among the broken ones."""

    def past(self, plan: str) -> Iterator[Plan]:
        """The versions of a plan that can be read, the newest first, also where it has been removed since.

        Raises:
            Unreachable: nobody knows them.
        """


class Fleet(Protocol):
    """The instances and volumes of one place."""

    @property
    def place(self) -> Place:
        """The account and Region."""

    def instances(self) -> Iterator[Instance]:
        """Every instance, terminated ones included as long as EC2 shows them."""

    def volumes(self) -> Iterator[Volume]:
        """Every volume in whatever state, attached or not: one that is left out would be taken for gone."""

    def instance_stores(self, types: Collection[str]) -> Mapping[str, str]:
        """Of these instance types, those that have instance-store volumes, each with what they are in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A resource right before it is backed up: the volumes that a point could have, its tags, how to rebuild it."""

    resource: ResourceId
    volumes: tuple[SourceVolume, ...]
    tags: Mapping[str, str]
    description: Mapping[str, Any]


class Sources(Protocol):
    """Looks at the one resource of a job."""

    def inspect(self, job: Job) -> Source:
        """What the job's resource is now.

        Raises:
            Gone: it has ended since the tick saw it, and nothing lacks because of it.
            NotFound: EC2 does not show it, for a reason that nobody knows.
            Refused: it exists and cannot be backed up this way; the message says why.
        """


class Holdings(Protocol):
    """The snapshots and images of one place, as its EC2 describes them."""

    @property
    def place(self) -> Place:
        """The account and Region."""

    def snapshots(self, **tags: str) -> Iterator[Snapshot]:
        """The account's own snapshots that carry all these `hikae:` tags.

        Raises:
            Unreachable: the Region does not answer.
        """

    def images(self, **tags: str) -> Iterator[Image]:
        """The account's own images that carry all these `hikae:` tags; without any, all of its own images.

        Raises:
            Unreachable: the Region does not answer.
        """

    def pending_snapshots(self) -> Iterator[Snapshot]:
        """Every pending snapshot of the account in the Region, whoever started it."""

    def pending_images(self) -> Iterator[Image]:
        """Every pending image of the account in the Region, whoever started it."""


class Creator(Protocol):
    """Starts snapshots and images at a primary site. None of the calls has a client token: each is sent once.

    Every method raises Throttled, LimitReached, Refused or Ambiguous.
    """

    def create_snapshots(
        self, instance: ResourceId, tags: Mapping[str, str], description: str, *, leave_out: Sequence[SourceVolume]
    ) -> list[SnapshotId]:
        """One snapshot of each EBS volume of the instance but those to `leave_out`, all of the same instant."""

    def create_snapshot(self, volume: ResourceId, tags: Mapping[str, str], description: str) -> SnapshotId:
        """A snapshot of one volume."""

    def create_image(  # noqa: PLR0913 - what EC2 asks for
        self,
        instance: ResourceId,
        name: str,
        tags: Mapping[str, str],
        description: str,
        *,
        reboot: bool,
        leave_out: Sequence[SourceVolume],
    ) -> ImageId:
        """An image of the instance without the volumes to `leave_out`, its snapshots under the same tags."""


class Copier(Protocol):
    """Starts copies at a recovery site, encrypted with its key.

    Every method raises Throttled, LimitReached, Refused or Ambiguous.
    """

    def copy_snapshot(
        self, snapshot: SnapshotId, source: Place, tags: Mapping[str, str], description: str
    ) -> SnapshotId:
        """A copy of the snapshot."""

    def copy_image(  # noqa: PLR0913 - what EC2 asks for
        self, image: ImageId, source: Place, *, name: str, token: str, tags: Mapping[str, str], description: str
    ) -> ImageId:
        """A copy of the image and its snapshots; calls with the same token make one."""


class CopyQuotas(Protocol):
    """How many copies the account may have in flight into one Region, as AWS tells.

    Every method returns None where AWS lists no such quota, and raises Unreachable where it cannot be asked.
    """

    def snapshot_copies(self) -> int | None:
        """Of snapshots."""

    def image_copies(self) -> int | None:
        """Of images."""


class Remover(Protocol):
    """Deletes snapshots and images. What is gone already is deleted.

    Every method raises Throttled, InUse, Refused or Ambiguous.
    """

    def delete_snapshot(self, snapshot: SnapshotId) -> None:
        """Delete one snapshot."""

    def deregister_image(self, image: ImageId) -> Mapping[SnapshotId, str]:
        """Deregister an image with its snapshots; returns what became of each snapshot, `success` if it is gone."""


class Usage(Protocol):
    """What in one place, apart from images and instances, keeps snapshots and images from going.

    Every method raises Unreachable or Refused where it cannot tell: what cannot be asked counts as in use.
    """

    def references(self) -> Mapping[str, frozenset[str]]:
        """By the id of a snapshot or image, who names it.

        All versions of all launch templates, launch configurations, and Auto Scaling groups.
        """

    def locked_snapshots(self) -> Mapping[str, str]:
        """The snapshots that are locked, each with its lock in words."""

    def recycle_bin_rules(self) -> tuple[RecycleBinRule, ...]:
        """The Recycle Bin's retention rules for snapshots and images."""


class Documents(Protocol):
    """JSON documents in a site's bucket: manifests and the inventory."""

    def keys(self, prefix: str) -> Mapping[str, datetime]:
        """Every key below a prefix, with the time at which it was last written.

        Raises:
            Unreachable: the bucket does not answer.
        """

    def read(self, key: str) -> dict[str, Any]:
        """The document.

        Raises:
            NotFound: there is none.
            Refused: it is not JSON.
        """

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each of these documents that can be read now, with its key, in any order; several are read at a time.

        What is left out says why to `read`.
        """

    def write(self, key: str, document: Mapping[str, Any]) -> None:
        """Store the document, in place of what was there."""

    def create(self, key: str, document: Mapping[str, Any]) -> bool:
        """Store the document unless there is one; whether there was none."""

    def delete(self, key: str) -> None:
        """Remove the document; one that is not there is removed."""


class JobQueue(Protocol):
    """Where jobs wait for a worker."""

    def send(self, jobs: Iterable[Job]) -> int:
        """Hand over all jobs and return how many; raises if a single one was not accepted."""


class SlotLedger(Protocol):
    """Which slot of a rule was dealt with last: only so that missed slots can be told, never to decide what exists.

    A plan's drill has slots, too, under a name that no rule can have.
    """

    def last(self, plan: str, rule: str, *, schedule: str) -> datetime | None:
        """The newest slot that is done with; None for a rule that is new, or had another schedule then."""

    def mark(self, plan: str, rule: str, slot: datetime, *, schedule: str, now: datetime) -> None:
        """Remember that the last job or drill of `slot` was accepted, or that it was reported as missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCopies:
    """The names of copies that were asked for lately: those that EC2 said it made, and those that nobody knows of."""

    made: frozenset[str] = frozenset()
    unconfirmed: frozenset[str] = frozenset()


class RecentCopies(Protocol):
    """The copies that were asked for in the last minutes, which EC2 may not show yet. Only the broker writes here."""

    def started(self, *, now: datetime) -> AskedCopies:
        """Those that are young enough for EC2 not to show them yet."""

    def remember(self, name: str, *, now: datetime) -> bool:
        """Write down a copy, before it is asked for; False where somebody else has, since `started` was asked.

        Until `confirm` or `forget` nobody knows whether it was made.
        """

    def confirm(self, name: str, *, now: datetime) -> None:
        """Write down that EC2 said it made the copy."""

    def forget(self, name: str) -> None:
        """Strike out a copy that EC2 has refused to start."""


class Recoverer(Protocol):
    """Makes at a recovery site what a run needs, and removes it again.

    Every method that makes something raises NoCapacity, Throttled, LimitReached, Refused or Ambiguous. Requests are in
    EC2's words, as `domain.launches` builds them.
    """

    def made(self, *, tag: str, value: str) -> list[Made]:
        """Every instance, volume, image, VPC endpoint and security group of the account that carries this tag.

        Raises:
            Unreachable: EC2 does not answer.
        """

    def images(self, images: Collection[str]) -> Mapping[str, str]:
        """The state of each of these images that there is."""

    def find_image(self, name: str) -> Made | None:
        """The account's own image of this name."""

    def register_image(self, request: Mapping[str, Any]) -> str:
        """Register an image; its id."""

    def launch(self, request: Mapping[str, Any]) -> str:
        """Launch one instance; its id. Calls with the same ClientToken make one."""

    def check_launch(self, request: Mapping[str, Any]) -> None:
        """Let EC2 say whether it would launch this, and launch nothing."""

    def create_volume(self, request: Mapping[str, Any]) -> str:
        """Make a volume; its id. Calls with the same ClientToken make one."""

    def endpoints(self, vpc: str) -> frozenset[str]:
        """The services that have an interface endpoint in the VPC, also where it is still coming up."""

    def create_endpoint(self, request: Mapping[str, Any]) -> str:
        """Make an interface endpoint; its id."""

    def find_group(self, vpc: str, name: str) -> str:
        """The id of the security group of this name in the VPC; empty where there is none."""

    def create_group(self, request: Mapping[str, Any]) -> str:
        """Make a security group; its id."""

    def enclose_group(self, group: str) -> None:
        """Let what is in a security group reach what is in it, and nothing else; twice is once.

        Raises:
            NotFound: EC2 does not show it yet.
            Refused, Throttled, Ambiguous: it is not done, or nobody knows.
        """

    def remove(self, thing: Made) -> None:
        """Terminate the instance, delete the volume, endpoint or group, or deregister the image; its snapshots stay.

        Raises:
            Refused, Throttled, Ambiguous: it is not removed, or nobody knows.
        """

    def look(self, instance: str) -> Mapping[str, Any]:
        """What `DescribeInstances` says of an instance.

        Raises:
            NotFound: EC2 does not show it.
            Unreachable: EC2 does not answer.
        """

    def set_source_dest_check(self, interface: str, *, enabled: bool) -> None:
        """Whether what has the network interface may only send and receive its own traffic."""

    def associate_address(self, interface: str, private_ip: str, allocation: str) -> None:
        """Give a private address of a network interface an Elastic IP address, unless something else has it."""

    def register_target(self, target: str, target_group: str, *, port: int | None) -> None:
        """Put an instance or an address into a target group, with the group's own port for None; twice is once."""

    def tag_volume(self, volume: str, tags: Mapping[str, str]) -> None:
        """Give a volume that a restore has made its own tags back; never one of hikae's."""


class Surroundings(Protocol):
    """What a recovery site's Region offers. Every method raises Unreachable where EC2 does not answer."""

    def subnets(self, subnets: Collection[str]) -> Mapping[str, Subnet]:
        """Those of these subnets that there are."""

    def security_groups(self, groups: Collection[str]) -> Mapping[str, str]:
        """The VPC of each of these security groups that there is."""

    def key_pairs(self, names: Collection[str]) -> frozenset[str]:
        """Those of these key pairs that there are."""

    def placement_groups(self, names: Collection[str]) -> frozenset[str]:
        """Those of these placement groups that there are."""

    def addresses(self, allocations: Collection[str]) -> Mapping[str, str]:
        """Those of these Elastic IP addresses that there are, each with what has it; empty where nothing does."""

    def target_groups(self, arns: Collection[str]) -> Mapping[str, str]:
        """The VPC of each of these target groups that there is; empty for one of no VPC."""

    def types(self, names: Collection[str]) -> Mapping[str, InstanceType]:
        """Those of these instance types that the Region knows."""

    def offered(self, names: Collection[str], zones: Collection[str]) -> frozenset[tuple[str, str]]:
        """Which of these types are offered in which of these Availability Zones."""

    def running_types(self) -> Mapping[str, int]:
        """How many instances of each type are pending or running and count towards the Running On-Demand quotas."""

    def vcpu_quotas(self, names: Collection[str]) -> Mapping[str, int]:
        """The limits of these quotas on vCPUs, as far as AWS lists them."""

    def is_key_usable(self) -> bool:
        """Whether the site's key, which every copy is encrypted with, can be used.

        Raises:
            Refused: nobody may look.
        """


class Prober(Protocol):
    """Asks recovered instances whether they work."""

    def status(self, instance: str) -> tuple[str, str]:
        """The instance's and its system's status checks, such as (`ok`, `initializing`)."""

    def console(self, instance: str) -> str:
        """What the instance has written to its console, as far as EC2 has it."""

    def send_command(self, instance: str, command: str, *, comment: str) -> str:
        """Run a shell command through SSM; its id. One with this comment that was sent already is taken over.

        Raises:
            Refused: SSM does not reach the instance (yet).
        """

    def command_result(self, instance: str, reference: str) -> tuple[str, str]:
        """A command's status in SSM's words (`InProgress`, `Success`, `Failed`, …) and its output."""

    def connect(self, questions: Sequence[tuple[str, ProbeResult]]) -> list[tuple[bool, str]]:
        """Whether something answers as it should at each address inside the run's network, and what it said.

        The probes are `tcp`, `http` or `https`. All are asked at once, and answered in their order.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature over a text, with all that it takes to verify it: base64, the key's ARN, the algorithm's KMS name."""

    value: str
    algorithm: str
    key_arn: str
    public_key: str


class Signer(Protocol):
    """Signs evidence."""

    def sign(self, text: bytes) -> Signature:
        """The signature of the text's SHA-256 digest.

        Raises:
            Refused, Unreachable: it cannot be signed.
        """


class ExecutionState(StrEnum):
    """How far an execution is.

    UNKNOWN: there is none, or none any more after 90 days, or it was started a moment ago and does not show yet.
    """

    UNDER_WAY = "under-way"
    OVER = "over"
    UNKNOWN = "unknown"


class Executions(Protocol):
    """The executions of the recover state machine."""

    def state(self, run: str) -> ExecutionState:
        """How far the run's execution is.

        Raises:
            Unreachable: nobody knows.
        """

    def how_it_ended(self, run: str) -> str:
        """In words how the run's execution ended, and whatever reason was given; empty where it runs or nobody knows.

        Raises:
            Unreachable: nobody knows at the moment.
        """

    def start(self, run: str, request: Mapping[str, Any]) -> bool:
        """Start a run; False where there has been one of that name in the last 90 days."""


class SettingsStore(Protocol):
    """The recovery settings of a site's administrator."""

    def load(self) -> RecoverySettings:
        """Them; the empty ones where none are stored.

        Raises:
            Refused: they cannot be read; the text says what is wrong where.
        """


class Profiles(Protocol):
    """The account's instance profiles, which are there in every Region."""

    def roles(self, names: Collection[str]) -> Mapping[str, str]:
        """The role's ARN by the name of those of these instance profiles that there are; empty for one without a role.

        Raises:
            Unreachable: IAM does not answer, or not to everybody.
        """


class PublicKeys(Protocol):
    """The key pairs of one primary."""

    def public_keys(self, names: Collection[str]) -> Mapping[str, str]:
        """The public half of each of these key pairs that there is, as OpenSSH writes it.

        Raises:
            Unreachable: EC2 there does not answer.
        """


class KeyPairImporter(Protocol):
    """Imports key pairs at a recovery site."""

    def import_key_pair(self, name: str, public_key: str) -> None:
        """Import a public key under this name.

        Raises:
            Refused, Ambiguous: it is not imported, or nobody knows.
        """


class Status(StrEnum):
    """How an item ended."""

    CREATED = "created"
    ADOPTED = "adopted"
    DELETED = "deleted"
    KEPT = "kept"
    SKIPPED = "skipped"
    LATER = "later"
    MISSED = "missed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one resource, point or plan, with the reason where there is something to explain."""

    resource: str
    status: Status
    reason: str = ""
    point: str = ""
    created: tuple[str, ...] = field(default_factory=tuple)

    @property
    def is_failure(self) -> bool:
        """Whether a person has to hear of it."""
        return self.status in (Status.FAILED, Status.MISSED)
