"""The manifest: what it takes to rebuild a resource, and whether a document is one.

Its version stays while keys are only added; a reader takes no notice of keys that it does not know. What EC2 said is
kept in EC2's own words (`DescribeInstances`, `DescribeVolumes`), so that nothing is lost in translation.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from hikae.domain.model import AccountId, Job, Kind, Place, PointTags, Region, ResourceId
from hikae.domain.naming import format_time, parse_time

MANIFEST_VERSION: Final = 1

REDACTED: Final = "(redacted)"

MAX_USER_DATA: Final = 16 * 1024
"""In bytes, before it is base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html."""

_T = TypeVar("_T")


class ManifestError(ValueError):
    """A document that is no manifest, or not that of the point; the text names every problem and no value of it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestVolume:
    """One EBS volume as it was; `device` is empty for a detached one. Size is GiB, throughput MiB/s."""

    id: str
    device: str
    size: int
    type: str
    iops: int | None = None
    throughput: int | None = None
    encrypted: bool = False
    delete_on_termination: bool = True
    multi_attach: bool = False
    zone: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestInstance:
    """An instance as it was.

    `described` is what `DescribeInstances` said, `image` what `DescribeImages` said of its AMI (empty where nobody
    looked, or it was gone), `type_described` what `DescribeInstanceTypes` said of its type there, `launch` what
    `GetLaunchTemplateData` said that no describe does. `unknown` holds the names of these that nobody could tell, with
    the reason: an earlier version did not ask. User data is base64 and may hold secrets: it is in no representation.
    """

    described: Mapping[str, Any]
    image: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    user_data: str | None = field(default=None, repr=False)
    network_interfaces: tuple[Mapping[str, Any], ...] = ()
    elastic_ips: tuple[Mapping[str, Any], ...] = ()
    type_described: Mapping[str, Any] = field(default_factory=dict)
    launch: Mapping[str, Any] = field(default_factory=dict)
    target_groups: tuple[Mapping[str, Any], ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """Its instance type."""
        return str(self.described["InstanceType"])

    @property
    def architecture(self) -> str:
        """Its processor's architecture, such as `x86_64` or `arm64`."""
        return str(self.described["Architecture"])

    @property
    def root_device(self) -> str:
        """The device name of its root volume."""
        return str(self.described["RootDeviceName"])

    @property
    def security_groups(self) -> tuple[str, ...]:
        """The ids of its primary network interface's security groups."""
        return tuple(str(group["GroupId"]) for group in self.described.get("SecurityGroups", ()))

    @property
    def virtualization(self) -> str:
        """`hvm` or `paravirtual`."""
        return str(self.described.get("VirtualizationType") or self.image.get("VirtualizationType") or "hvm")

    @property
    def boot_mode(self) -> str:
        """What its image asks for, empty where that leaves it to the type."""
        return str(self.image.get("BootMode") or self.described.get("BootMode") or "")

    @property
    def tpm_support(self) -> str:
        """The version of NitroTPM that its image asks for, empty for none."""
        return str(self.image.get("TpmSupport") or self.described.get("TpmSupport") or "")

    @property
    def has_ena(self) -> bool:
        """Whether it has drivers of enhanced networking with ENA."""
        return self.described.get("EnaSupport") is True or self.image.get("EnaSupport") is True

    @property
    def has_enclaves(self) -> bool:
        """Whether it may run Nitro Enclaves."""
        return self.described.get("EnclaveOptions", {}).get("Enabled") is True

    @property
    def can_hibernate(self) -> bool:
        """Whether it was launched so that it can hibernate."""
        return self.described.get("HibernationOptions", {}).get("Configured") is True

    @property
    def bandwidth_weighting(self) -> str:
        """Whom its bandwidth goes to rather, `vpc-1` or `ebs-1`; empty by default."""
        said = str(self.described.get("NetworkPerformanceOptions", {}).get("BandwidthWeighting") or "default")
        return "" if said == "default" else said


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """How to rebuild one resource; an instance, or a detached volume (then `instance` is None)."""

    version: int
    point: str
    attempt: int
    installation: str
    place: Place
    plan: str
    rule: str
    slot: datetime
    resource: ResourceId
    kind: Kind
    members: int
    written_at: datetime
    left_out: Mapping[str, str]
    volumes: tuple[ManifestVolume, ...]
    instance: ManifestInstance | None = None

    @property
    def protected_volumes(self) -> tuple[ManifestVolume, ...]:
        """The volumes that the point has snapshots of."""
        return tuple(volume for volume in self.volumes if volume.id not in self.left_out)


def write_manifest(
    job: Job, tags: PointTags, *, description: Mapping[str, Any], left_out: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """The manifest of the point with `tags`, checked as a reader would check it.

    Raises:
        ManifestError: what EC2 said of the resource does not make one.
    """
    identity = job.identity
    document = {
        "version": MANIFEST_VERSION,
        "point": tags.point,
        "attempt": tags.attempt,
        "installation": identity.installation,
        "account": identity.place.account,
        "region": identity.place.region,
        "plan": identity.plan,
        "rule": identity.rule,
        "slot": format_time(identity.slot),
        "resource": identity.resource,
        "kind": tags.kind.value,
        "members": tags.members,
        "written_at": format_time(now),
        "left_out": dict(left_out),
        "source": dict(description),
    }
    read_manifest(document, tags=tags)
    return document


def read_manifest(document: Mapping[str, Any], *, tags: PointTags | None = None) -> Manifest:
    """The manifest, and where `tags` are given, that of the point with these tags.

    Raises:
        ManifestError: it cannot be read, cannot rebuild the resource, or is another point's.
    """
    reader = _Reader(document)
    manifest = reader.manifest()
    if manifest is None:
        raise ManifestError(reader.problems)
    if tags is not None:
        check_manifest(manifest, tags)
    return manifest


def check_manifest(manifest: Manifest, tags: PointTags) -> None:
    """See that the manifest is that of the point with these tags.

    Raises:
        ManifestError: it is another's.
    """
    identity = tags.identity
    expected = {
        "point": tags.point,
        "attempt": tags.attempt,
        "installation": identity.installation,
        "place": identity.place,
        "resource": identity.resource,
        "kind": tags.kind,
        "members": tags.members,
    }
    disagreeing = [
        f"{name} is {getattr(manifest, name)}, the point's is {value}"
        for name, value in expected.items()
        if getattr(manifest, name) != value
    ]
    if disagreeing:
        raise ManifestError(disagreeing)


def redact(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it may be shown: without what may be a secret."""
    source = document.get("source")
    if not isinstance(source, Mapping) or source.get("user_data") is None:
        return dict(document)
    return {**document, "source": {**source, "user_data": REDACTED}}


class _Reader:
    """Reads one document and collects what is wrong with it; it never quotes more than the name of a key."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self._document = document

    def manifest(self) -> Manifest | None:
        version = self._get(self._document, "version", int, "")
        if version is not None and version != MANIFEST_VERSION:
            self.problems.append(f"version is {version}; this version of hikae reads {MANIFEST_VERSION}")
            return None
        texts = {
            key: self._get(self._document, key, str, "") or ""
            for key in ("point", "installation", "account", "region", "plan", "rule", "resource")
        }
        attempt, members = (self._get(self._document, key, int, "") or 0 for key in ("attempt", "members"))
        slot, written_at = (self._time(key) for key in ("slot", "written_at"))
        kind = self._kind()
        left_out = self._texts(self._document.get("left_out", {}), "left_out")
        source = self._get(self._document, "source", dict, "")
        instance: ManifestInstance | None = None
        volumes: tuple[ManifestVolume, ...] = ()
        if source is not None and kind is Kind.SNAPSHOT:
            volumes = self._detached(source)
        elif source is not None and kind is not None:
            instance = self._instance(source)
            volumes = self._attached(source)
        if kind is not None and not self.problems:
            self._check_members(members, volumes, left_out)
        if self.problems or slot is None or written_at is None or kind is None or version is None:
            return None
        return Manifest(
            version=version,
            point=texts["point"],
            attempt=attempt,
            installation=texts["installation"],
            place=Place(account=AccountId(texts["account"]), region=Region(texts["region"])),
            plan=texts["plan"],
            rule=texts["rule"],
            slot=slot,
            resource=ResourceId(texts["resource"]),
            kind=kind,
            members=members,
            written_at=written_at,
            left_out=left_out,
            volumes=volumes,
            instance=instance,
        )

    def _check_members(self, members: int, volumes: Sequence[ManifestVolume], left_out: Mapping[str, str]) -> None:
        protected = sum(volume.id not in left_out for volume in volumes)
        if protected != members:
            self.problems.append(f"members is {members}, and it describes {protected} volumes that are not left out")

    def _kind(self) -> Kind | None:
        value = self._get(self._document, "kind", str, "")
        if value is not None and value not in {kind.value for kind in Kind}:
            self.problems.append(f"kind is not one of {', '.join(Kind)}")
            return None
        return Kind(value) if value is not None else None

    def _instance(self, source: Mapping[str, Any]) -> ManifestInstance | None:
        described = self._get(source, "instance", dict, "source.")
        if described is None:
            return None
        for key in ("InstanceType", "Architecture", "RootDeviceName"):
            self._get(described, key, str, "source.instance.")
        groups = described.get("SecurityGroups", [])
        if not isinstance(groups, list) or any(not _has(group, "GroupId") for group in groups):
            self.problems.append("source.instance.SecurityGroups is not a list of groups with a GroupId")
        unknown = self._texts(source.get("unknown", {}), "source.unknown")
        for key in _LATER:
            if key not in source:
                unknown = {key: EARLIER, **unknown}
        return ManifestInstance(
            described=described,
            image=self._optional(source, "image"),
            tags=self._texts(source.get("tags", {}), "source.tags"),
            user_data=self._user_data(source.get("user_data")),
            network_interfaces=self._interfaces(source),
            elastic_ips=self._mappings(source, "elastic_ips"),
            type_described=self._optional(source, "type"),
            launch=self._launch(source),
            target_groups=self._target_groups(source),
            unknown=unknown,
        )

    def _optional(self, source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = source.get(key) or {}
        if not isinstance(value, dict):
            self.problems.append(f"source.{key} is not a mapping")
            return {}
        return value

    def _user_data(self, value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            self.problems.append("source.user_data is neither null nor text")
            return None
        try:
            plain = b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            self.problems.append("source.user_data is not base64")
            return None
        if len(plain) > MAX_USER_DATA:
            self.problems.append(f"source.user_data has {len(plain)} bytes, and EC2 takes {MAX_USER_DATA}")
        return value

    def _launch(self, source: Mapping[str, Any]) -> Mapping[str, Any]:
        launch = self._optional(source, "launch")
        for key, kind in (("DisableApiStop", bool), ("DisableApiTermination", bool)):
            if launch.get(key) is not None and type(launch[key]) is not kind:
                self.problems.append(f"source.launch.{key} is neither true nor false")
        behavior = launch.get("InstanceInitiatedShutdownBehavior")
        if behavior is not None and behavior not in ("stop", "terminate"):
            self.problems.append("source.launch.InstanceInitiatedShutdownBehavior is neither stop nor terminate")
        credit = launch.get("CreditSpecification")
        if credit is not None and not _has(credit, "CpuCredits"):
            self.problems.append("source.launch.CreditSpecification has no CpuCredits")
        return launch

    def _interfaces(self, source: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        interfaces = self._mappings(source, "network_interfaces")
        for number, interface in enumerate(interfaces):
            path = f"source.network_interfaces[{number}]."
            attachment = interface.get("Attachment", {})
            if not isinstance(attachment, dict):
                self.problems.append(f"{path}Attachment is not a mapping")
            elif type(attachment.get("DeviceIndex", 0)) is not int:
                self.problems.append(f"{path}Attachment.DeviceIndex is not a number")
            for key, name in (
                ("PrivateIpAddresses", "PrivateIpAddress"),
                ("Ipv6Addresses", "Ipv6Address"),
                ("Groups", "GroupId"),
            ):
                given = interface.get(key, [])
                if not isinstance(given, list) or any(not _has(each, name) for each in given):
                    self.problems.append(f"{path}{key} is not a list of mappings with {name}")
        return interfaces

    def _target_groups(self, source: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        groups = self._mappings(source, "target_groups")
        for number, group in enumerate(groups):
            if not (_has(group, "TargetGroupArn") and _has(group, "Id")):
                self.problems.append(f"source.target_groups[{number}] has no TargetGroupArn and Id")
            if group.get("Port") is not None and type(group["Port"]) is not int:
                self.problems.append(f"source.target_groups[{number}].Port is not a number")
        return groups

    def _attached(self, source: Mapping[str, Any]) -> tuple[ManifestVolume, ...]:
        devices = self._get(source, "block_devices", list, "source.")
        volumes = []
        for number, each in enumerate(devices or ()):
            path = f"source.block_devices[{number}]."
            if not isinstance(each, dict):
                self.problems.append(f"{path[:-1]} is not a mapping")
                continue
            device = self._get(each, "device", str, path)
            described = self._get(each, "volume", dict, path)
            if device is not None and described is not None:
                is_deleted = each.get("delete_on_termination")
                volume = self._volume(described, f"{path}volume.", device=device, is_deleted=is_deleted is not False)
                volumes.extend([volume] if volume else [])
        if devices == []:
            self.problems.append("source.block_devices is empty; an instance has at least its root volume")
        return tuple(volumes)

    def _detached(self, source: Mapping[str, Any]) -> tuple[ManifestVolume, ...]:
        described = self._get(source, "volume", dict, "source.")
        volume = None
        if described is not None:
            volume = self._volume(described, "source.volume.", device="", is_deleted=False)
        return (volume,) if volume else ()

    def _volume(
        self, described: Mapping[str, Any], path: str, *, device: str, is_deleted: bool
    ) -> ManifestVolume | None:
        volume_id = self._get(described, "VolumeId", str, path)
        size = self._get(described, "Size", int, path)
        kind = self._get(described, "VolumeType", str, path)
        for key in ("Iops", "Throughput"):
            if described.get(key) is not None and type(described[key]) is not int:
                self.problems.append(f"{path}{key} is not a number")
        if volume_id is None or size is None or kind is None:
            return None
        tags = described.get("Tags", [])
        if not isinstance(tags, list) or any(not (_has(tag, "Key") and _has(tag, "Value")) for tag in tags):
            self.problems.append(f"{path}Tags is not a list of tags")
            tags = []
        return ManifestVolume(
            id=volume_id,
            device=device,
            size=size,
            type=kind,
            iops=described.get("Iops"),
            throughput=described.get("Throughput"),
            encrypted=described.get("Encrypted") is True,
            delete_on_termination=is_deleted,
            multi_attach=described.get("MultiAttachEnabled") is True,
            zone=str(described.get("AvailabilityZone", "")),
            tags={tag["Key"]: tag["Value"] for tag in tags},
        )

    def _mappings(self, source: Mapping[str, Any], key: str) -> tuple[Mapping[str, Any], ...]:
        value = source.get(key, [])
        if not isinstance(value, list) or any(not isinstance(each, dict) for each in value):
            self.problems.append(f"source.{key} is not a list of mappings")
            return ()
        return tuple(value)

    def _texts(self, value: Any, path: str) -> dict[str, str]:
        if not isinstance(value, dict) or any(not isinstance(each, str) for each in value.values()):
            self.problems.append(f"{path} is not a mapping of text to text")
            return {}
        return value

    def _time(self, key: str) -> datetime | None:
        value = self._get(self._document, key, str, "")
        if value is None:
            return None
        try:
            return parse_time(value)
        except ValueError:
            self.problems.append(f"{key} is not an RFC 3339 time")
            return None

    def _get(self, mapping: Mapping[str, Any], key: str, kind: type[_T], path: str) -> _T | None:
        value = mapping.get(key)
        if value is None:
            self.problems.append(f"{path}{key} is missing")
            return None
        if type(value) is not kind:
            self.problems.append(f"{path}{key} is not {_NAMES[kind]}")
            return None
        if value == "":
            self.problems.append(f"{path}{key} is empty")
            return None
        return value


EARLIER: Final = "an earlier version of hikae wrote the manifest, and did not ask"
_LATER: Final = ("type", "launch", "target_groups")
"""What the first manifests did not have."""

_NAMES: Final[Mapping[type, str]] = {int: "a number", str: "text", dict: "a mapping", list: "a list"}


def _has(mapping: Any, key: str) -> bool:
    return isinstance(mapping, dict) and isinstance(mapping.get(key), str)
