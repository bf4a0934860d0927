"""A believable fleet for the local cloud: instances, a detached volume, and the recovery points of the weeks before.

Everything is made through EC2's own API, except the past, which only the twin's control routes can make. The seeded
history carries hikae's real tags and manifests, so the application cannot tell it from its own work.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from hikae.aws.ec2 import Ec2Sources
from hikae.aws.target_groups import TargetGroups
from hikae.domain import naming
from hikae.domain.model import (
    AccountId,
    CopyOrigin,
    Job,
    Kind,
    Place,
    PointIdentity,
    PointTags,
    Region,
    ResourceId,
    SiteRole,
)

ROOT_DEVICE = "/dev/xvda"
EBS_BASE = "hikae-twin/base"
INSTANCE_STORE_BASE = "hikae-twin/base-instance-store"
USER_DATA = "#cloud-config\npackage_update: true\n"

_MIB = 1024 * 1024
_START_DELAY = timedelta(seconds=21)
_READY_SECONDS = 60
_LOOK_EVERY_SECONDS = 0.1


class Cloud(Protocol):
    """What seeding needs of a local cloud: see local.cloud.LocalCloud."""

    installation: str
    primary_region: str
    recovery_region: str

    def client(self, service: str, region: str) -> Any: ...

    def twin_control(self, path: str, payload: Any = None) -> Any: ...

    def stack_outputs(self, site: Any) -> dict[str, str]: ...

    def pause(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """An EBS volume as it is ordered. Sizes in GiB, throughput in MiB/s; `used_mib` is what is written to it."""

    device: str
    size: int
    type: str = "gp3"
    is_encrypted: bool = True
    iops: int | None = None
    throughput: int | None = None
    used_mib: int = 800


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An instance as it is ordered."""

    name: str
    type: str
    disks: tuple[Disk, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    zone: str = "a"
    is_stopped: bool = False
    base: str = EBS_BASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A point of some days ago. Its copy may be missing, its set half deleted, and somebody may have put it on hold."""

    days: int
    is_copied: bool = True
    is_half_deleted: bool = False
    is_on_hold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A member of the fleet as EC2 made it. `plan` protects it, None where no plan does."""

    id: str
    name: str
    plan: str | None
    volumes: tuple[str, ...]
    has_points: bool = True

    @property
    def is_volume(self) -> bool:
        return self.id.startswith("vol-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Everything that was seeded in the primary Region. `bystanders` are nobody's to prune, by id with the reason."""

    resources: tuple[Resource, ...]
    bystanders: Mapping[str, str] = field(default_factory=dict)
    points: int = 0
    copies: int = 0

    def protected(self) -> Iterator[Resource]:
        """The resources that a plan names, those included that cannot have a point."""
        return (resource for resource in self.resources if resource.plan)


def _root(size: int, type: str = "gp3", *, is_encrypted: bool = True) -> Disk:  # noqa: A002 - EC2's word
    return Disk(device=ROOT_DEVICE, size=size, type=type, is_encrypted=is_encrypted, used_mib=1500)


_PRODUCTION = {"Backup": "production", "Environment": "production"}
_IMAGE = {"Backup": "image", "Environment": "production"}
_ANALYTICS = {"Backup": "analytics", "Environment": "analytics"}
_PLANS = {"production": "production", "image": "web-images", "analytics": "analytics"}

MACHINES = (
    Machine(
        name="app-1",
        type="m6i.large",
        disks=(_root(20), Disk(device="/dev/sdf", size=100)),
        tags={**_PRODUCTION, "Service": "shop", "Owner": "shop-team@example.com"},
    ),
    Machine(
        name="app-2",
        type="m6i.large",
        zone="b",
        disks=(_root(20), Disk(device="/dev/sdf", size=100)),
        tags={**_PRODUCTION, "Service": "shop", "Owner": "shop-team@example.com"},
    ),
    Machine(
        name="db-1",
        type="r6i.2xlarge",
        disks=(
            _root(30),
            Disk(device="/dev/sdf", size=400, type="io2", iops=8000, used_mib=3000),
            Disk(device="/dev/sdg", size=500, type="st1", used_mib=2000),
        ),
        tags={**_PRODUCTION, "Service": "shop-db", "Owner": "dba@example.com", "BootOrder": "1"},
    ),
    Machine(
        name="db-2",
        type="r6i.2xlarge",
        zone="b",
        disks=(
            _root(30, "gp2"),
            Disk(device="/dev/sdf", size=400, type="io2", iops=8000, used_mib=3000),
        ),
        tags={**_PRODUCTION, "Service": "shop-db", "Owner": "dba@example.com", "BootOrder": "2"},
    ),
    Machine(
        name="search-1",
        type="r6i.large",
        disks=(_root(20), Disk(device="/dev/sdf", size=300, iops=6000, throughput=250)),
        tags={**_PRODUCTION, "Service": "search"},
    ),
    Machine(
        name="files-1",
        type="m5.xlarge",
        disks=(
            _root(20, "gp2", is_encrypted=False),
            Disk(device="/dev/sdf", size=1000, type="st1", is_encrypted=False, used_mib=2500),
            Disk(device="/dev/sdg", size=500, type="st1", is_encrypted=False),
        ),
        tags={**_PRODUCTION, "Service": "files"},
    ),
    Machine(
        name="queue-1",
        type="m6i.large",
        zone="b",
        disks=(_root(16), Disk(device="/dev/sdf", size=50, is_encrypted=False)),
        tags={**_PRODUCTION, "Service": "queue"},
    ),
    Machine(
        name="batch-1",
        type="c5.large",
        disks=(_root(20, "gp2"), Disk(device="/dev/sdf", size=50, type="gp2")),
        tags={**_PRODUCTION, "Service": "batch"},
        is_stopped=True,
    ),
    Machine(
        name="cache-1",
        type="m3.large",
        disks=(),
        tags={**_PRODUCTION, "Service": "cache"},
        base=INSTANCE_STORE_BASE,
    ),
    Machine(
        name="web-1",
        type="t3.medium",
        disks=(_root(16), Disk(device="/dev/sdf", size=20)),
        tags={**_IMAGE, "Service": "web"},
    ),
    Machine(
        name="web-2",
        type="t3.medium",
        zone="b",
        disks=(_root(16, is_encrypted=False), Disk(device="/dev/sdf", size=20, is_encrypted=False)),
        tags={**_IMAGE, "Service": "web"},
    ),
    Machine(
        name="bastion-1",
        type="t3.micro",
        disks=(_root(8, "gp2"),),
        tags={**_IMAGE, "Service": "bastion"},
        is_stopped=True,
    ),
    Machine(
        name="warehouse-1",
        type="r5.xlarge",
        disks=(_root(20), *(Disk(device=f"/dev/sd{letter}", size=500, type="st1") for letter in "fg")),
        tags={**_ANALYTICS, "Service": "warehouse"},
    ),
    Machine(
        name="notebook-1",
        type="t3.large",
        disks=(_root(40, "gp2", is_encrypted=False), Disk(device="/dev/sdf", size=100)),
        tags={**_ANALYTICS, "Service": "notebooks"},
    ),
    Machine(
        name="scratch-1",
        type="t3.small",
        disks=(_root(8), Disk(device="/dev/sdf", size=100, type="gp2")),
        tags={"Environment": "development"},
    ),
    Machine(
        name="canary-1",
        type="t3.small",
        disks=(_root(8), Disk(device="/dev/sdf", size=10)),
        tags={**_PRODUCTION, "Service": "shop", "Lifecycle": "ephemeral"},
    ),
)
"""Two of them no plan selects: scratch-1 has no Backup tag, canary-1 is excluded by its Lifecycle."""

DETACHED = (
    ("ledger-2019", Disk(device="", size=80, type="gp2"), {**_PRODUCTION, "Service": "ledger"}),
    ("leftover", Disk(device="", size=10, is_encrypted=False), {"Environment": "development"}),
)

HISTORY: Mapping[str, tuple[Past, ...]] = {
    "production": tuple(Past(days=days) for days in (1, 2, 3, 4, 5, 33, 64)),
    "web-images": tuple(Past(days=days) for days in (1, 2, 3, 4)),
    "analytics": tuple(Past(days=days, is_copied=False) for days in (1, 2, 3)),
}
NEWCOMERS = frozenset({"batch-1", "bastion-1"})
ODDITIES: Mapping[str, Past] = {
    "app-1": Past(days=1, is_copied=False),
    "db-1": Past(days=3, is_copied=False),
    "queue-1": Past(days=4, is_half_deleted=True),
    "files-1": Past(days=5, is_on_hold=True),
}
"""One point each that went differently: its copy failed, half of its set was deleted, it is evidence in a case."""
CLONED = "web-1"
"""An instance was started from its oldest image, which therefore must stay."""


def seed_fleet(cloud: Cloud) -> Fleet:
    """Launch the fleet in the cloud's primary Region and wait until it runs, or is stopped where it should be."""
    region = cloud.primary_region
    ec2 = cloud.client("ec2", region)
    ec2.create_key_pair(KeyName="ops")
    group = ec2.create_security_group(GroupName="fleet", Description="Instances of the fleet")["GroupId"]
    bases = {image["Name"]: image["ImageId"] for image in ec2.describe_images(Owners=["amazon"])["Images"]}
    instances = {
        machine.name: _launch(ec2, machine, image=bases[machine.base], group=group, region=region)
        for machine in MACHINES
    }
    volumes = {name: _create_volume(ec2, name, disk, tags, region=region) for name, disk, tags in DETACHED}
    _wait_for(cloud, lambda: _states(ec2) == {"running"})
    ec2.stop_instances(InstanceIds=[instances[machine.name] for machine in MACHINES if machine.is_stopped])
    _wait_for(cloud, lambda: _states(ec2) <= {"running", "stopped"})
    attached = _volumes_of(ec2)
    resources = [
        Resource(
            id=instances[machine.name],
            name=machine.name,
            plan=None if "Lifecycle" in machine.tags else _PLANS.get(machine.tags.get("Backup", "")),
            volumes=tuple(attached.get(instances[machine.name], {}).values()),
            has_points=machine.base != INSTANCE_STORE_BASE,
        )
        for machine in MACHINES
    ]
    for machine in MACHINES:
        for disk in machine.disks:
            _write(cloud, attached[instances[machine.name]][disk.device], disk, owner=machine.name)
    for name, disk, tags in DETACHED:
        _write(cloud, volumes[name], disk, owner=name)
        plan = _PLANS.get(tags.get("Backup", ""))
        resources.append(Resource(id=volumes[name], name=name, plan=plan, volumes=(volumes[name],)))
    return Fleet(resources=tuple(resources))


def _launch(ec2: Any, machine: Machine, *, image: str, group: str, region: str) -> str:
    mappings = [{"DeviceName": disk.device, "Ebs": _ebs(disk)} for disk in machine.disks]
    answer = ec2.run_instances(
        ImageId=image,
        InstanceType=machine.type,
        MinCount=1,
        MaxCount=1,
        KeyName="ops",
        SecurityGroupIds=[group],
        Placement={"AvailabilityZone": f"{region}{machine.zone}"},
        UserData=USER_DATA,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": _tag_list({"Name": machine.name, **machine.tags})},
            {"ResourceType": "volume", "Tags": _tag_list({"Name": machine.name})},
        ],
        **({"BlockDeviceMappings": mappings} if mappings else {}),
    )
    return str(answer["Instances"][0]["InstanceId"])


def _ebs(disk: Disk) -> dict[str, Any]:
    wanted = {
        "VolumeSize": disk.size,
        "VolumeType": disk.type,
        "Encrypted": disk.is_encrypted,
        "Iops": disk.iops,
        "Throughput": disk.throughput,
        "DeleteOnTermination": disk.device == ROOT_DEVICE,
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _create_volume(ec2: Any, name: str, disk: Disk, tags: Mapping[str, str], *, region: str) -> str:
    answer = ec2.create_volume(
        AvailabilityZone=f"{region}a",
        Size=disk.size,
        VolumeType=disk.type,
        Encrypted=disk.is_encrypted,
        TagSpecifications=[{"ResourceType": "volume", "Tags": _tag_list({"Name": name, **tags})}],
    )
    return str(answer["VolumeId"])


def _instances(ec2: Any) -> Iterator[Mapping[str, Any]]:
    for page in ec2.get_paginator("describe_instances").paginate():
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


def _states(ec2: Any) -> set[str]:
    return {instance["State"]["Name"] for instance in _instances(ec2)}


def _volumes_of(ec2: Any) -> dict[str, dict[str, str]]:
    """By instance: its volumes by device."""
    return {
        instance["InstanceId"]: {
            mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in instance.get("BlockDeviceMappings", [])
        }
        for instance in _instances(ec2)
    }


def _write(cloud: Cloud, volume_id: str, disk: Disk, *, owner: str) -> None:
    payload = {
        "region": cloud.primary_region,
        "volume_id": volume_id,
        "text": f"{owner} {disk.device}: what was written before the demo",
        "changed_bytes": disk.used_mib * _MIB,
    }
    cloud.twin_control("/_twin/write", payload)


def _wait_for(cloud: Cloud, condition: Callable[[], bool]) -> None:
    for _ in range(int(_READY_SECONDS / _LOOK_EVERY_SECONDS)):
        if condition():
            return
        cloud.pause(_LOOK_EVERY_SECONDS)
    raise TimeoutError(f"the fleet was not ready within {_READY_SECONDS} s")


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


# --- the past ---------------------------------------------------------------------------------------------------------


def seed_history(cloud: Cloud, fleet: Fleet, *, slot: datetime) -> Fleet:
    """Add the points that the plans' earlier daily slots have left, counted back from `slot`, with their copies.

    Both sites must be deployed: copies are encrypted with the recovery site's key, manifests lie in the buckets.
    """
    past = _Past(cloud)
    bystanders = dict(past.add_bystanders(fleet, slot=slot))
    for resource in fleet.protected():
        if not resource.has_points or resource.name in NEWCOMERS:
            continue
        for usual in HISTORY[resource.plan or ""]:
            oddity = ODDITIES.get(resource.name)
            point = oddity if oddity is not None and oddity.days == usual.days else usual
            source = past.add(resource, point, slot=slot - timedelta(days=point.days))
            if resource.name == CLONED and usual is HISTORY[resource.plan or ""][-1]:
                bystanders[source] = f"an instance was started from it: {past.launch(source)}"
    return replace(fleet, bystanders=bystanders, points=past.points, copies=past.copies)


class _Past:
    """Adds points as hikae would have made them."""

    def __init__(self, cloud: Cloud) -> None:
        self.points = 0
        self.copies = 0
        self._cloud = cloud
        self._ec2 = cloud.client("ec2", cloud.primary_region)
        groups = TargetGroups(lambda: cloud.client("elbv2", cloud.primary_region))
        self._sources = Ec2Sources(self._ec2, target_groups=groups)
        account = AccountId(cloud.stack_outputs("recovery")["CopyKeyArn"].split(":")[4])
        self._primary = Place(account=account, region=Region(cloud.primary_region))
        self._recovery = Place(account=account, region=Region(cloud.recovery_region))
        self._copy_key = cloud.stack_outputs("recovery")["CopyKeyArn"]
        self._descriptions: dict[str, Mapping[str, Any]] = {}
        pages = self._ec2.get_paginator("describe_volumes").paginate()
        self._sizes = {volume["VolumeId"]: volume["Size"] for page in pages for volume in page["Volumes"]}

    def add(self, resource: Resource, past: Past, *, slot: datetime) -> str:
        """Add one point, and its copy where it was made; answer the id of its image or first snapshot."""
        job = self._job(resource, slot=slot, installation=self._cloud.installation)
        is_detached = job.kind is Kind.SNAPSHOT
        tags = naming.tags_of_job(
            job, attempt=1, members=len(resource.volumes), volume=resource.id if is_detached else None
        )
        started_at = slot + _START_DELAY
        self._write_manifest(SiteRole.PRIMARY, tags, job, resource, started_at)
        hold = {naming.HOLD: "case 2026-014, legal@example.com"} if past.is_on_hold else {}
        carried = {"Name": resource.name}
        volumes = resource.volumes[:1] if past.is_half_deleted else resource.volumes
        snapshots = [
            self._seed(self._primary, volume, tags, started_at, carried=carried, hold=hold) for volume in volumes
        ]
        image = self._seed_image(self._primary, tags, started_at, snapshots) if job.kind is Kind.IMAGE else None
        self.points += 1
        if past.is_copied:
            self._add_copy(resource, tags, started_at, snapshots, image)
            self._write_manifest(SiteRole.RECOVERY, tags, job, resource, started_at)
        return image or snapshots[0]

    def _add_copy(
        self,
        resource: Resource,
        tags: PointTags,
        started_at: datetime,
        snapshots: Sequence[str],
        image: str | None,
    ) -> None:
        copied_at = started_at + timedelta(minutes=4)
        # Of a set that is half deleted by now, the copy was made when it was whole.
        gone = [f"snap-0{number:016x}" for number in range(len(resource.volumes) - len(snapshots))]
        copies = []
        for snapshot, volume in zip([*snapshots, *gone], resource.volumes, strict=True):
            origin = CopyOrigin(copy_of=image or snapshot, source_time=started_at, attempt=1)
            copied = replace(tags, origin=origin, volume=None if image else volume)
            copies.append(self._seed(self._recovery, volume, copied, copied_at, carried={"Name": resource.name}))
        if image:
            origin = CopyOrigin(copy_of=image, source_time=started_at, attempt=1)
            self._seed_image(self._recovery, replace(tags, origin=origin), copied_at, copies)
        self.copies += 1

    def add_bystanders(self, fleet: Fleet, *, slot: datetime) -> Iterable[tuple[str, str]]:
        """Add snapshots that hikae must not touch, however old they are."""
        database = next(resource for resource in fleet.resources if resource.name == "db-1")
        by_hand = self._cloud.twin_control(
            "/_twin/seed",
            {
                "region": self._primary.region,
                "volume_id": database.volumes[0],
                "start_time": (slot - timedelta(days=200)).isoformat(),
                "tags": {"Name": "before the upgrade"},
                "description": "taken by hand",
            },
        )
        yield str(by_hand["snapshot_id"]), "it was taken by hand"
        job = self._job(database, slot=slot - timedelta(days=90), installation="elsewhere")
        tags = naming.tags_of_job(job, attempt=1, members=len(database.volumes))
        foreign = self._seed(self._primary, database.volumes[0], tags, job.identity.slot + _START_DELAY, carried={})
        yield foreign, "it belongs to another installation"

    def launch(self, image: str) -> str:
        """Start an instance from an image of the past; no plan selects it."""
        tags = [{"ResourceType": "instance", "Tags": _tag_list({"Name": f"{CLONED}-before-the-change"})}]
        answer = self._ec2.run_instances(
            ImageId=image, InstanceType="t3.medium", MinCount=1, MaxCount=1, TagSpecifications=tags
        )
        return str(answer["Instances"][0]["InstanceId"])

    def _job(self, resource: Resource, *, slot: datetime, installation: str) -> Job:
        kind = Kind.IMAGE if resource.plan == "web-images" else Kind.SNAPSHOT_SET
        return Job(
            identity=PointIdentity(
                installation=installation,
                place=self._primary,
                plan=resource.plan or "",
                rule="daily",
                slot=slot,
                resource=ResourceId(resource.id),
            ),
            kind=Kind.SNAPSHOT if resource.is_volume else kind,
            deadline=slot + timedelta(hours=1),
        )

    def _seed(
        self,
        place: Place,
        volume: str,
        tags: PointTags,
        started_at: datetime,
        *,
        carried: Mapping[str, str],
        hold: Mapping[str, str] | None = None,
    ) -> str:
        is_copy = tags.origin is not None
        payload = {
            "region": place.region,
            "volume_id": "vol-ffffffff" if is_copy else volume,
            "start_time": started_at.isoformat(),
            "tags": {**naming.write_tags(tags, carried=carried), **(hold or {})},
            "description": f"hikae {tags.identity.plan}/daily of {tags.identity.resource}",
            "size": self._sizes[volume],
            "text": f"{volume} at {naming.format_time(tags.identity.slot)}",
        }
        if is_copy:
            payload["kms_key_id"] = self._copy_key
        return str(self._cloud.twin_control("/_twin/seed", payload)["snapshot_id"])

    def _seed_image(self, place: Place, tags: PointTags, created_at: datetime, snapshots: Sequence[str]) -> str:
        payload = {
            "region": place.region,
            "name": naming.image_name(tags),
            "created_at": created_at.isoformat(),
            "snapshot_ids": snapshots,
            "tags": naming.write_tags(tags),
            "source_instance_id": None if tags.origin else tags.identity.resource,
        }
        return str(self._cloud.twin_control("/_twin/seed-image", payload)["image_id"])

    def _write_manifest(
        self, site: SiteRole, tags: PointTags, job: Job, resource: Resource, written_at: datetime
    ) -> None:
        if resource.id not in self._descriptions:
            self._descriptions[resource.id] = self._sources.inspect(job).description
        place = self._primary if site is SiteRole.PRIMARY else self._recovery
        manifest = {
            "version": 1,
            "point": tags.point,
            "attempt": tags.attempt,
            "installation": tags.identity.installation,
            "account": tags.identity.place.account,
            "region": tags.identity.place.region,
            "plan": tags.identity.plan,
            "rule": tags.identity.rule,
            "slot": naming.format_time(tags.identity.slot),
            "resource": resource.id,
            "kind": tags.kind.value,
            "members": tags.members,
            "written_at": naming.format_time(written_at),
            "source": dict(self._descriptions[resource.id]),
        }
        self._cloud.client("s3", place.region).put_object(
            Bucket=naming.bucket_name(installation=self._cloud.installation, site=site, place=place),
            Key=naming.manifest_key(tags),
            Body=json.dumps(manifest, sort_keys=True, indent=1).encode(),
            ContentType="application/json",
        )
