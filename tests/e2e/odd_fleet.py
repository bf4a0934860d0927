"""A fleet in which everything is odd, with a history, and the plans that have to make something of it.

What exists is made through EC2's own API, the past through the twin's control routes, with hikae's real tags.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hikae.domain import naming
from hikae.domain.manifest import write_manifest
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
from local.cloud import LocalCloud
from local.fleet import EBS_BASE, INSTANCE_STORE_BASE, ROOT_DEVICE

ACCOUNT = AccountId("123456789012")
PRIMARY, WEST, IRELAND = Region("us-east-1"), Region("us-west-2"), Region("eu-west-1")
DAY = timedelta(days=1)

_PLAN = """\
version: 1
plan: {name}
timezone: UTC
selection: {{resources: [instance, volume], tags: {tags}{exclude}}}
{more}rules:
{rules}"""
_RULE = """\
  - name: {name}
    schedule: "{minute} {hour} * * *"
    protect: {protect}
    retention: {retention}
{more}"""


@dataclass(frozen=True, kw_only=True)
class Written:
    """One plan, as far as these plans differ."""

    tags: str
    retention: str = "{keep_last: 2}"
    protect: str = "snapshots"
    exclude: str = ""
    more: str = ""
    copies: str = ""
    excluded_volumes: Mapping[str, str] = field(default_factory=lambda: {"daily": ""})

    def text(self, name: str, slot: datetime) -> str:
        """The plan, whose rules are due daily at the time of `slot`."""
        rules = "".join(
            _RULE.format(
                name=rule,
                minute=slot.minute,
                hour=slot.hour,
                protect=self.protect,
                retention=self.retention,
                more=(f"    exclude_volumes: {left_out}\n" if left_out else "")
                + (f"    copies: {self.copies}\n" if self.copies else ""),
            )
            for rule, left_out in self.excluded_volumes.items()
        )
        exclude = f", exclude_tags: {self.exclude}" if self.exclude else ""
        return _PLAN.format(name=name, tags=self.tags, exclude=exclude, more=self.more, rules=rules)


PLANS = {
    "chosen": Written(
        tags="[{Team: blue, Tier: [gold, silver]}, {Team: green}]",
        exclude='{Skip: "yes"}',
        excluded_volumes={
            "daily": '{tags: {Scratch: "true"}, devices: [/dev/sdh]}',
            "data-only": "{boot: true}",
            "boot-only": "{data: true}",
        },
    ),
    "pictures": Written(
        tags='{Pictures: "yes"}', protect="image", excluded_volumes={"daily": '{tags: {Scratch: "true"}}'}
    ),
    "vault": Written(tags='{Vault: "yes"}'),
    "hoard": Written(tags='{Hoard: "yes"}', retention="{keep_last: -1}"),
    "former": Written(tags='{Former: "yes"}'),
    "retiring": Written(tags='{Retiring: "yes"}', more="retire_after: 30d\n"),
    "pinned": Written(tags='{Pinned: "yes"}', retention="{keep_last: 1}"),
    "far": Written(
        tags='{Far: "yes"}',
        retention="{keep_last: 3}",
        copies=f"[{{region: {WEST}, retention: {{keep_last: 2}}}}, {{region: {IRELAND}, retention: {{keep_last: 1}}}},"
        f" {{region: {PRIMARY}, retention: {{keep_last: 1}}}}]",
    ),
    "near": Written(tags='{Near: "yes"}', copies=f"[{{region: {PRIMARY}, retention: {{keep_last: 2}}}}]"),
    "keys": Written(
        tags='{Keys: "yes"}',
        retention="{keep_last: 1}",
        copies=f"[{{region: {WEST}, retention: {{keep_last: 2}}}}]",
    ),
    "binless": Written(tags='{Binless: "yes"}', copies=f"[{{region: {IRELAND}, retention: {{keep_last: 1}}}}]"),
}


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """A point of the past, or the copy of one, as it was made at one place."""

    place: Place
    tags: PointTags
    started_at: datetime
    snapshots: tuple[str, ...]
    manifest: str = ""
    image: str | None = None
    is_copy: bool = False

    @property
    def name(self) -> str:
        """How the verdicts on it begin."""
        return f"{self.tags.point}/{self.tags.attempt}/"

    @property
    def ids(self) -> tuple[str, ...]:
        """All that EC2 shows of it."""
        return (*((self.image,) if self.image else ()), *self.snapshots)


@dataclass(frozen=True, kw_only=True)
class Site:
    """One deployed site: the cloud as this site's Region sees it, and which site it is."""

    cloud: LocalCloud
    role: SiteRole
    place: Place

    @property
    def ec2(self) -> Any:
        return self.cloud.client("ec2", self.place.region)

    @property
    def bucket(self) -> str:
        return naming.bucket_name(installation=self.cloud.installation, site=self.role, place=self.place)

    @property
    def key(self) -> str:
        return self.cloud.stack_outputs(self.role.value)["CopyKeyArn"]

    def invoke(self, function: str, payload: Any) -> Any:
        return self.cloud.invoke(function, payload, site=self.role.value)

    def put(self, key: str, body: str) -> None:
        self.cloud.client("s3", self.place.region).put_object(Bucket=self.bucket, Key=key, Body=body.encode())


class Past:
    """Adds points and copies as hikae would have made them before `slot`."""

    def __init__(self, sites: Mapping[str, Site], *, slot: datetime) -> None:
        self._primary = sites["primary"]
        self._slot = slot
        self._gone = 0

    def gone(self, kind: str = "i") -> str:
        """The id of a resource that does not exist any more."""
        self._gone += 1
        return f"{kind}-0{self._gone:016x}"

    def point(
        self,
        plan: str,
        resource: str,
        age: timedelta,
        *,
        volumes: int = 1,
        kind: Kind = Kind.SNAPSHOT_SET,
        attempt: int = 1,
        late: timedelta = timedelta(),
        members: int | None = None,
        key: str | None = None,
        is_orphan: bool = False,
    ) -> Seeded:
        """A completed point of the slot `age` ago; `members` more than `volumes` have been deleted since."""
        slot = self._slot - age
        job = Job(
            identity=PointIdentity(
                installation=self._primary.cloud.installation,
                place=self._primary.place,
                plan=plan,
                rule="daily",
                slot=slot,
                resource=ResourceId(resource),
            ),
            kind=kind,
            deadline=slot + timedelta(hours=1),
        )
        tags = naming.tags_of_job(job, attempt=attempt, members=members or volumes)
        started_at = slot + timedelta(seconds=21) + late
        snapshots = self._snapshots(self._primary, tags, started_at, [f"vol-0{n:016x}" for n in range(volumes)], key)
        image = None
        if kind is Kind.IMAGE and not is_orphan:
            image = self._image(self._primary, tags, started_at, snapshots)
        manifest = write_manifest(job, tags, description=_describe(tags), left_out={}, now=started_at)
        self._primary.put(naming.manifest_key(tags), json.dumps(manifest))
        return Seeded(
            place=self._primary.place,
            tags=tags,
            started_at=started_at,
            snapshots=tuple(snapshots),
            manifest=json.dumps(manifest),
            image=image,
        )

    def copy(self, source: Seeded, site: Site, *, attempt: int = 1, error: str | None = None) -> Seeded:
        """The copy of every snapshot of a set, made five minutes after it; or what is left of one that failed."""
        copied_at = source.started_at + timedelta(minutes=5)
        made = []
        for snapshot in source.snapshots:
            origin = CopyOrigin(copy_of=snapshot, source_time=source.started_at, attempt=attempt)
            tags = replace(source.tags, origin=origin)
            made += self._snapshots(site, tags, copied_at, ["vol-ffffffff"], site.key, error=error)
        site.put(naming.manifest_key(source.tags), source.manifest)
        return Seeded(place=site.place, tags=source.tags, started_at=copied_at, snapshots=tuple(made), is_copy=True)

    def _snapshots(
        self,
        site: Site,
        tags: PointTags,
        started_at: datetime,
        volumes: Iterable[str],
        key: str | None,
        *,
        error: str | None = None,
    ) -> list[str]:
        return [
            site.cloud.twin_control(
                "/_twin/seed",
                {
                    "region": site.place.region,
                    "volume_id": volume,
                    "start_time": started_at.isoformat(),
                    "tags": naming.write_tags(tags),
                    "size": 8,
                    "text": f"{volume} of {tags.point}",
                    "kms_key_id": key,
                    "error": error,
                },
            )["snapshot_id"]
            for volume in volumes
        ]

    def _image(self, site: Site, tags: PointTags, created_at: datetime, snapshots: list[str]) -> str:
        request = {
            "region": site.place.region,
            "name": naming.image_name(tags),
            "created_at": created_at.isoformat(),
            "snapshot_ids": snapshots,
            "tags": naming.write_tags(tags),
        }
        return str(site.cloud.twin_control("/_twin/seed-image", request)["image_id"])


def _describe(tags: PointTags) -> dict[str, Any]:
    """The least that a resource can be rebuilt from."""
    volumes = [{"VolumeId": f"vol-0{number:016x}", "Size": 8, "VolumeType": "gp3"} for number in range(tags.members)]
    if tags.kind is Kind.SNAPSHOT:
        return {"volume": volumes[0]}
    return {
        "instance": {"InstanceType": "t3.small", "Architecture": "x86_64", "RootDeviceName": ROOT_DEVICE},
        "block_devices": [
            {"device": f"/dev/sd{letter}", "volume": volume}
            for letter, volume in zip("fghijklmnop", volumes, strict=False)
        ],
        "network_interfaces": [],
        "elastic_ips": [],
    }


class Present:
    """Makes what exists, in the primary Region."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.ec2 = cloud.client("ec2", PRIMARY)
        images = self.ec2.describe_images(Owners=["amazon"])["Images"]
        self._bases = {image["Name"]: image["ImageId"] for image in images}

    @property
    def base(self) -> str:
        return self._bases[EBS_BASE]

    def instance(self, name: str, tags: Mapping[str, str], *, devices: str = "f", **request: Any) -> str:
        """Launch an instance with a root volume and one more for each letter of `devices`."""
        mappings = [ROOT_DEVICE, *(f"/dev/sd{letter}" for letter in devices)]
        request = {
            "ImageId": self.base,
            "InstanceType": "t3.small",
            "BlockDeviceMappings": [{"DeviceName": device, "Ebs": {"VolumeSize": 10}} for device in mappings],
            **request,
        }
        tags = {"Name": name, **tags}
        specification = [{"ResourceType": "instance", "Tags": tag_list(tags)}]
        answer = self.ec2.run_instances(MinCount=1, MaxCount=1, TagSpecifications=specification, **request)
        return str(answer["Instances"][0]["InstanceId"])

    def on_instance_store(self, name: str, tags: Mapping[str, str]) -> str:
        """Launch an instance whose root is an instance store."""
        image = self._bases[INSTANCE_STORE_BASE]
        return self.instance(name, tags, ImageId=image, InstanceType="m3.large", BlockDeviceMappings=[])

    def volume(self, name: str, tags: Mapping[str, str], **request: Any) -> str:
        """A detached volume."""
        specification = [{"ResourceType": "volume", "Tags": tag_list({"Name": name, **tags})}]
        request = {"AvailabilityZone": f"{PRIMARY}a", "Size": 10, "VolumeType": "gp3", **request}
        return str(self.ec2.create_volume(TagSpecifications=specification, **request)["VolumeId"])

    def volume_at(self, instance: str, device: str) -> str:
        """The volume that is attached to an instance at a device."""
        described = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return next(
            str(mapping["Ebs"]["VolumeId"])
            for mapping in described["BlockDeviceMappings"]
            if mapping["DeviceName"] == device
        )

    def wait_for_states(self, *states: str) -> None:
        """Until every instance is in one of the states."""

        def others() -> list[str]:
            return [
                f"{instance['InstanceId']} is {instance['State']['Name']}"
                for page in self.ec2.get_paginator("describe_instances").paginate()
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
                if instance["State"]["Name"] not in states
            ]

        wait_until_empty(others, seconds=120)

    def image_of(self, snapshot: str, name: str) -> str:
        """An image that somebody has registered of a snapshot."""
        answer = self.ec2.register_image(
            Name=name,
            RootDeviceName=ROOT_DEVICE,
            Architecture="x86_64",
            VirtualizationType="hvm",
            BlockDeviceMappings=[{"DeviceName": ROOT_DEVICE, "Ebs": {"SnapshotId": snapshot}}],
        )
        return str(answer["ImageId"])

    def old_version(self, name: str, **data: Any) -> str:
        """A launch template whose first version names `data`, and whose newest, the default, does not."""
        template = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        template_id = str(template["LaunchTemplate"]["LaunchTemplateId"])
        self.ec2.create_launch_template_version(LaunchTemplateId=template_id, LaunchTemplateData={"ImageId": self.base})
        self.ec2.modify_launch_template(LaunchTemplateId=template_id, DefaultVersion="2")
        return template_id


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(resource: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def wait_until_empty(found: Callable[[], list[str]], *, seconds: float) -> None:
    """Until nothing is found any more; fails with what still is."""
    give_up_at = time.monotonic() + seconds
    while left := found():
        assert time.monotonic() < give_up_at, "\n".join(left)
        time.sleep(0.2)


def read_plan_texts(slot: datetime) -> dict[str, str]:
    """Every plan by its name."""
    return {name: plan.text(name, slot) for name, plan in PLANS.items()}
