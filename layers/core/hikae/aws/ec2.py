"""EC2 behind the ports: what it holds, what runs in it, and the calls that create, copy and delete."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hikae.aws.errors import is_refusal, reading, send
from hikae.aws.filtering import filters_by, literal
from hikae.aws.target_groups import TargetGroups
from hikae.domain.model import (
    AccountId,
    BlockDevice,
    Image,
    ImageId,
    Instance,
    Job,
    Kind,
    Place,
    ResourceId,
    Snapshot,
    SnapshotId,
    SourceVolume,
    Volume,
)
from hikae.domain.naming import COPY_OF, format_time, parse_time
from hikae.ports import Gone, NotFound, Refused, Source, Unreachable

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_PAGE = 1000
"""The most that one page of these describes holds. Paged and filtered calls have the larger request rate, too:
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
"""
_GONE = frozenset({"shutting-down", "terminated"})
_DELETED = frozenset({"deleting", "deleted"})
_COPIED_VOLUME = "vol-ffffffff"
"""The volume id that copies usually show; the documentation only promises that it is arbitrary:
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html
"""


class Ec2Holdings:
    """The snapshots and images that one account owns in one Region."""

    def __init__(self, client: "EC2Client", *, place: Place) -> None:
        self._client = client
        self._place = place

    @property
    def place(self) -> Place:
        """The account and Region."""
        return self._place

    def snapshots(self, **tags: str) -> Iterator[Snapshot]:
        """See `ports.Holdings`."""
        return self._snapshots(_tag_filters(tags))

    def images(self, **tags: str) -> Iterator[Image]:
        """See `ports.Holdings`."""
        return self._images(_tag_filters(tags))

    def pending_snapshots(self) -> Iterator[Snapshot]:
        """See `ports.Holdings`."""
        return self._snapshots([{"Name": "status", "Values": ["pending"]}])

    def pending_images(self) -> Iterator[Image]:
        """See `ports.Holdings`."""
        return self._images([{"Name": "state", "Values": ["pending"]}])

    def _snapshots(self, filters: list[dict[str, Any]]) -> Iterator[Snapshot]:
        pages = self._client.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"],
            Filters=filters,  # type: ignore[arg-type]
            PaginationConfig={"PageSize": _PAGE},
        )
        with reading(f"snapshots of {self._place}"):
            for page in pages:
                for snapshot in page["Snapshots"]:
                    yield _snapshot(snapshot)

    def _images(self, filters: list[dict[str, Any]]) -> Iterator[Image]:
        pages = self._client.get_paginator("describe_images").paginate(
            Owners=["self"],
            Filters=filters,  # type: ignore[arg-type]
            # A disabled or deprecated image still holds its snapshots.
            IncludeDeprecated=True,
            IncludeDisabled=True,
            PaginationConfig={"PageSize": _PAGE},
        )
        with reading(f"images of {self._place}"):
            for page in pages:
                for image in page["Images"]:
                    yield _image(image)


class Ec2Fleet:
    """The instances and volumes of one account and Region."""

    def __init__(self, client: "EC2Client", *, place: Place) -> None:
        self._client = client
        self._place = place

    @property
    def place(self) -> Place:
        """The account and Region."""
        return self._place

    def instances(self) -> Iterator[Instance]:
        """See `ports.Fleet`."""
        pages = self._client.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": _PAGE})
        with reading(f"instances of {self._place}"):
            for page in pages:
                for reservation in page["Reservations"]:
                    for instance in reservation.get("Instances", []):
                        yield _instance(instance)

    def volumes(self) -> Iterator[Volume]:
        """See `ports.Fleet`."""
        pages = self._client.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": _PAGE})
        with reading(f"volumes of {self._place}"):
            for page in pages:
                for volume in page["Volumes"]:
                    yield _volume(volume)

    def instance_stores(self, types: Collection[str]) -> Mapping[str, str]:
        """See `ports.Fleet`."""
        stores: dict[str, str] = {}
        with_storage = {"Name": "instance-storage-supported", "Values": ["true"]}
        with reading(f"instance types of {self._place}"):
            # Types that nobody may launch any more are not found by name, but by a filter they are left out.
            for filters in filters_by("instance-type", types, with_storage):
                for page in self._client.get_paginator("describe_instance_types").paginate(Filters=filters):
                    for described in page["InstanceTypes"]:
                        disks = described["InstanceStorageInfo"].get("Disks", [])
                        number = sum(disk.get("Count", 0) for disk in disks)
                        size = described["InstanceStorageInfo"].get("TotalSizeInGB", 0)
                        name = described["InstanceType"]
                        stores[name] = f"{number} instance-store volumes of {size} GB in all ({name})"
        return stores


class Ec2Sources:
    """Looks at one resource right before it is backed up.

    It asks by filter, not by id: ids are no filter to EC2, and such calls have half the request rate. What is not there
    is then no error but an empty answer. https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    """

    def __init__(self, client: "EC2Client", *, target_groups: TargetGroups) -> None:
        self._client = client
        self._target_groups = target_groups
        self._types: dict[str, dict[str, Any]] = {}

    def inspect(self, job: Job) -> Source:
        """See `ports.Sources`."""
        if job.kind is Kind.SNAPSHOT:
            return self._volume(job.identity.resource)
        return self._instance(job.identity.resource)

    def _volume(self, volume_id: ResourceId) -> Source:
        with reading(volume_id):
            found = self._client.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume_id]}])["Volumes"]
        if not found:
            # EC2 keeps no deleted volume in sight. One that is only not shown yet is sent again by the next tick.
            raise Gone(f"there is no volume {volume_id} any more", resource=volume_id)
        volume: Mapping[str, Any] = found[0]
        if volume["State"] in _DELETED:
            raise Gone(f"the volume is {volume['State']}", resource=volume_id)
        if volume["State"] != "available":
            raise Refused(f"the volume is {volume['State']}, not detached; it is protected with its instance")
        return Source(
            resource=volume_id,
            volumes=(SourceVolume(id=volume_id, tags=_tags(volume)),),
            tags=_tags(volume),
            description={"volume": _plain(volume)},
        )

    def _instance(self, instance_id: ResourceId) -> Source:
        with reading(instance_id):
            reservations = self._client.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance_id]}])[
                "Reservations"
            ]
        if not reservations:
            # A terminated one stays in sight, usually for an hour, and a job is carried out within minutes:
            # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
            raise NotFound(f"there is no instance {instance_id}", resource=instance_id)
        instance: Mapping[str, Any] = reservations[0]["Instances"][0]
        if instance["State"]["Name"] in _GONE:
            raise Gone(f"the instance is {instance['State']['Name']}", resource=instance_id)
        mappings = [mapping for mapping in instance.get("BlockDeviceMappings", []) if "Ebs" in mapping]
        volume_ids = tuple(mapping["Ebs"]["VolumeId"] for mapping in mappings)
        if not volume_ids:
            raise Refused("the instance has no EBS volume")
        with reading(instance_id):
            volumes: Sequence[Mapping[str, Any]] = self._client.describe_volumes(
                Filters=[{"Name": "volume-id", "Values": list(volume_ids)}]
            )["Volumes"]
            user_data = self._client.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        by_id = {volume["VolumeId"]: volume for volume in volumes}
        unknown: dict[str, str] = {}
        return Source(
            resource=instance_id,
            volumes=tuple(
                SourceVolume(
                    id=mapping["Ebs"]["VolumeId"],
                    device=mapping["DeviceName"],
                    is_boot=mapping["DeviceName"] == instance.get("RootDeviceName"),
                    tags=_tags(by_id.get(mapping["Ebs"]["VolumeId"], {})),
                )
                for mapping in mappings
            ),
            tags=_tags(instance),
            description={
                "instance": _plain({key: instance[key] for key in _INSTANCE_FIELDS if key in instance}),
                "image": self._image(instance.get("ImageId", "")),
                "tags": _tags(instance),
                # It may hold secrets: the bucket is encrypted and private, and nothing logs a manifest.
                "user_data": user_data.get("UserData", {}).get("Value"),
                "network_interfaces": _plain(instance.get("NetworkInterfaces", [])),
                "elastic_ips": self._elastic_ips(instance),
                "block_devices": [
                    {
                        "device": mapping["DeviceName"],
                        "delete_on_termination": mapping["Ebs"].get("DeleteOnTermination"),
                        "volume": _plain(by_id.get(mapping["Ebs"]["VolumeId"], {})),
                    }
                    for mapping in mappings
                ],
                "type": self._type(instance["InstanceType"]),
                "launch": self._launch(instance_id, unknown),
                "target_groups": self._groups(instance, unknown),
                "unknown": unknown,
            },
        )

    def _launch(self, instance_id: ResourceId, unknown: dict[str, str]) -> dict[str, Any]:
        """What DescribeInstanceAttribute says one attribute a call, and this call all at once.

        It asks other actions in turn, and a role may lack one of them: that is no reason to go without a backup.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetLaunchTemplateData.html
        """
        try:
            with reading(instance_id):
                answer = self._client.get_launch_template_data(InstanceId=instance_id)
        except Unreachable as error:
            if not is_refusal(error):
                raise
            unknown["launch"] = error.code
            return {}
        said: Mapping[str, Any] = answer["LaunchTemplateData"]
        launch: dict[str, Any] = _plain({key: said[key] for key in _LAUNCH_FIELDS if said.get(key) is not None})
        return launch

    def _groups(self, instance: Mapping[str, Any], unknown: dict[str, str]) -> list[dict[str, Any]]:
        """Elastic Load Balancing may be out of order where EC2 is not: a backup does not wait for it."""
        try:
            return self._target_groups.of(instance)
        except Unreachable as error:
            unknown["target_groups"] = error.code or str(error)
            return []

    def _type(self, name: str) -> dict[str, Any]:
        """What decides about booting elsewhere, where the type may not exist; empty where nobody may launch it now."""
        if name not in self._types:
            with reading(name):
                answer = self._client.describe_instance_types(Filters=[{"Name": "instance-type", "Values": [name]}])
            found: Mapping[str, Any] = next(iter(answer["InstanceTypes"]), {})
            self._types[name] = _plain({key: found[key] for key in _TYPE_FIELDS if key in found})
        return self._types[name]

    def _image(self, image_id: str) -> dict[str, Any]:
        """What the instance's AMI says of itself and no instance does; empty where it is gone, as it often is."""
        with reading(image_id):
            # A filter finds nothing where an id that is gone would be refused.
            answer = self._client.describe_images(
                Filters=[{"Name": "image-id", "Values": [image_id]}], IncludeDeprecated=True, IncludeDisabled=True
            )
        found: Mapping[str, Any] = next(iter(answer["Images"]), {})
        described: dict[str, Any] = _plain({key: found[key] for key in _IMAGE_FIELDS if key in found})
        return described

    def _elastic_ips(self, instance: Mapping[str, Any]) -> list[Any]:
        """The Elastic IP addresses of an instance; asks EC2 only where it has one."""
        associations = [
            address.get("Association", {})
            for interface in instance.get("NetworkInterfaces", [])
            for address in interface.get("PrivateIpAddresses", [])
        ]
        # A public address that is not an Elastic IP belongs to "amazon":
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceNetworkInterfaceAssociation.html
        if not any(association.get("IpOwnerId", "amazon") != "amazon" for association in associations):
            return []
        interfaces = [interface["NetworkInterfaceId"] for interface in instance["NetworkInterfaces"]]
        with reading(instance["InstanceId"]):
            answer = self._client.describe_addresses(Filters=[{"Name": "network-interface-id", "Values": interfaces}])
        return [_plain(address) for address in answer["Addresses"]]


_LAUNCH_FIELDS = (
    "CreditSpecification",
    "DisableApiStop",
    "DisableApiTermination",
    "InstanceInitiatedShutdownBehavior",
)


_TYPE_FIELDS = (
    "BurstablePerformanceSupported",
    "EbsInfo",
    "HibernationSupported",
    "InstanceStorageSupported",
    "InstanceType",
    "NetworkInfo",
    "NitroEnclavesSupport",
    "NitroTpmSupport",
    "ProcessorInfo",
    "SupportedBootModes",
    "SupportedVirtualizationTypes",
    "VCpuInfo",
)


_INSTANCE_FIELDS = (
    "Architecture",
    "BootMode",
    "CapacityBlockId",
    "CapacityReservationId",
    "CapacityReservationSpecification",
    "CpuOptions",
    "CurrentInstanceBootMode",
    "EbsOptimized",
    "EnaSupport",
    "EnclaveOptions",
    "HibernationOptions",
    "Hypervisor",
    "IamInstanceProfile",
    "ImageId",
    "InstanceId",
    "InstanceLifecycle",
    "InstanceType",
    "Ipv6Address",
    "KernelId",
    "KeyName",
    "Licenses",
    "MaintenanceOptions",
    "MetadataOptions",
    "Monitoring",
    "NetworkPerformanceOptions",
    "Operator",
    "OutpostArn",
    "Placement",
    "Platform",
    "PlatformDetails",
    "PrivateDnsNameOptions",
    "PrivateIpAddress",
    "ProductCodes",
    "PublicIpAddress",
    "RamdiskId",
    "RootDeviceName",
    "RootDeviceType",
    "SecondaryInterfaces",
    "SecurityGroups",
    "SourceDestCheck",
    "SriovNetSupport",
    "State",
    "SubnetId",
    "TpmSupport",
    "UsageOperation",
    "VirtualizationType",
    "VpcId",
)


_IMAGE_FIELDS = (
    "Architecture",
    "BootMode",
    "EnaSupport",
    "ImdsSupport",
    "Name",
    "OwnerId",
    "PlatformDetails",
    "ProductCodes",
    "RootDeviceName",
    "SriovNetSupport",
    "TpmSupport",
    "UsageOperation",
    "VirtualizationType",
)


class Ec2Creator:
    """Starts snapshots and images; `client` must not retry by itself."""

    def __init__(self, client: "EC2Client", *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep

    def create_snapshots(
        self, instance: ResourceId, tags: Mapping[str, str], description: str, *, leave_out: Sequence[SourceVolume]
    ) -> list[SnapshotId]:
        """See `ports.Creator`."""
        specification: dict[str, Any] = {"InstanceId": instance}
        if any(volume.is_boot for volume in leave_out):
            specification["ExcludeBootVolume"] = True
        if data := [volume.id for volume in leave_out if not volume.is_boot]:
            specification["ExcludeDataVolumeIds"] = data
        answer = send(
            lambda: self._client.create_snapshots(
                InstanceSpecification=specification,  # type: ignore[arg-type]
                Description=description,
                TagSpecifications=_tag_specifications(tags, "snapshot"),  # type: ignore[arg-type]
            ),
            resource=instance,
            sleep=self._sleep,
        )
        return [SnapshotId(snapshot["SnapshotId"]) for snapshot in answer["Snapshots"]]

    def create_snapshot(self, volume: ResourceId, tags: Mapping[str, str], description: str) -> SnapshotId:
        """See `ports.Creator`."""
        answer = send(
            lambda: self._client.create_snapshot(
                VolumeId=volume,
                Description=description,
                TagSpecifications=_tag_specifications(tags, "snapshot"),  # type: ignore[arg-type]
            ),
            resource=volume,
            sleep=self._sleep,
        )
        return SnapshotId(answer["SnapshotId"])

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
        """See `ports.Creator`."""
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_BlockDeviceMapping.html: an empty NoDevice leaves
        # the device out; the others stay as the instance has them.
        without = [{"DeviceName": volume.device, "NoDevice": ""} for volume in leave_out]
        more: dict[str, Any] = {"BlockDeviceMappings": without} if without else {}
        answer = send(
            lambda: self._client.create_image(
                **more,
                InstanceId=instance,
                Name=name,
                Description=description,
                NoReboot=not reboot,
                TagSpecifications=_tag_specifications(tags, "image", "snapshot"),  # type: ignore[arg-type]
            ),
            resource=instance,
            sleep=self._sleep,
        )
        return ImageId(answer["ImageId"])


class Ec2Copier:
    """Starts copies in its own Region, encrypted with `key_arn`; `client` must not retry by itself."""

    def __init__(self, client: "EC2Client", *, key_arn: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._key_arn = key_arn
        self._sleep = sleep

    def copy_snapshot(
        self, snapshot: SnapshotId, source: Place, tags: Mapping[str, str], description: str
    ) -> SnapshotId:
        """See `ports.Copier`."""
        answer = send(
            lambda: self._client.copy_snapshot(
                SourceRegion=source.region,
                SourceSnapshotId=snapshot,
                Description=description,
                Encrypted=True,
                KmsKeyId=self._key_arn,
                TagSpecifications=_tag_specifications(tags, "snapshot"),  # type: ignore[arg-type]
            ),
            resource=snapshot,
            sleep=self._sleep,
        )
        return SnapshotId(answer["SnapshotId"])

    def copy_image(  # noqa: PLR0913 - what EC2 asks for
        self, image: ImageId, source: Place, *, name: str, token: str, tags: Mapping[str, str], description: str
    ) -> ImageId:
        """See `ports.Copier`."""
        answer = send(
            lambda: self._client.copy_image(
                SourceRegion=source.region,
                SourceImageId=image,
                Name=name,
                Description=description,
                ClientToken=token,
                Encrypted=True,
                KmsKeyId=self._key_arn,
                TagSpecifications=_tag_specifications(tags, "image", "snapshot"),  # type: ignore[arg-type]
            ),
            resource=image,
            sleep=self._sleep,
        )
        return ImageId(answer["ImageId"])


class Ec2Remover:
    """Deletes snapshots and images."""

    def __init__(self, client: "EC2Client", *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep

    def delete_snapshot(self, snapshot: SnapshotId) -> None:
        """See `ports.Remover`."""
        try:
            send(lambda: self._client.delete_snapshot(SnapshotId=snapshot), resource=snapshot, sleep=self._sleep)
        except NotFound:
            return

    def deregister_image(self, image: ImageId) -> Mapping[SnapshotId, str]:
        """See `ports.Remover`. EC2 skips a snapshot that another image uses, too."""
        try:
            answer = send(
                lambda: self._client.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True),
                resource=image,
                sleep=self._sleep,
            )
        except NotFound:
            return {}
        return {
            SnapshotId(result.get("SnapshotId", "")): result.get("ReturnCode", "unknown")
            for result in answer.get("DeleteSnapshotResults", [])
        }


def _tag_filters(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"Name": f"tag:hikae:{key}", "Values": [literal(value)]} for key, value in tags.items()]


def _tag_specifications(tags: Mapping[str, str], *resource_types: str) -> list[dict[str, Any]]:
    written = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": resource_type, "Tags": written} for resource_type in resource_types]


def _tags(resource: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def _snapshot(described: Mapping[str, Any]) -> Snapshot:
    tags = _tags(described)
    volume_id = described.get("VolumeId", "")
    return Snapshot(
        id=SnapshotId(described["SnapshotId"]),
        owner=AccountId(described["OwnerId"]),
        state=described["State"],
        state_message=described.get("StateMessage", ""),
        started_at=described["StartTime"],
        tier=described.get("StorageTier", "standard"),
        size_gib=described.get("VolumeSize", 0),
        volume_id=volume_id,
        tags=tags,
        is_copy=COPY_OF in tags or volume_id == _COPIED_VOLUME or "TransferType" in described,
        encrypted=described.get("Encrypted", False),
    )


def _image(described: Mapping[str, Any]) -> Image:
    protection: str = described.get("DeregistrationProtection", "")
    return Image(
        id=ImageId(described["ImageId"]),
        owner=AccountId(described["OwnerId"]),
        name=described.get("Name", ""),
        state=described["State"],
        state_message=described.get("StateReason", {}).get("Message", ""),
        created_at=parse_time(described["CreationDate"]) if described.get("CreationDate") else None,
        snapshots=tuple(
            SnapshotId(mapping["Ebs"]["SnapshotId"])
            for mapping in described.get("BlockDeviceMappings", [])
            if mapping.get("Ebs", {}).get("SnapshotId")
        ),
        tags=_tags(described),
        is_copy=COPY_OF in _tags(described) or _was_copied(described),
        protection="" if protection == "disabled" else protection,
    )


def _was_copied(described: Mapping[str, Any]) -> bool:
    """Whether CopyImage made it. CreateImage says what its instance runs from, too, but names the instance.

    SourceInstanceId "only appears if the AMI was created using CreateImage":
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Image.html.
    """
    return bool(described.get("SourceImageId")) and not described.get("SourceInstanceId")


def _instance(described: Mapping[str, Any]) -> Instance:
    return Instance(
        id=ResourceId(described["InstanceId"]),
        state=described["State"]["Name"],
        image_id=described.get("ImageId", ""),
        root_device_type=described.get("RootDeviceType", ""),
        root_device=described.get("RootDeviceName", ""),
        type=described.get("InstanceType", ""),
        block_devices=tuple(
            BlockDevice(device=mapping["DeviceName"], volume_id=mapping["Ebs"]["VolumeId"])
            for mapping in described.get("BlockDeviceMappings", [])
            if "Ebs" in mapping
        ),
        tags=_tags(described),
    )


def _volume(described: Mapping[str, Any]) -> Volume:
    attachments = described.get("Attachments", [])
    return Volume(
        id=ResourceId(described["VolumeId"]),
        state=described["State"],
        attached_to=attachments[0].get("InstanceId") if attachments else None,
        tags=_tags(described),
    )


def _plain(value: Any) -> Any:
    """The same as JSON has it: times as RFC 3339."""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
