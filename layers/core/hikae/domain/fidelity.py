"""What of an instance a restore does not bring back, with the reason and what to do: nothing goes without a word.

`FATES` says of every attribute that `DescribeInstances` has what becomes of it; a test holds it to EC2's own list.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hikae.domain.manifest import Manifest, ManifestInstance
from hikae.domain.model import Kind
from hikae.domain.naming import MAX_TAGS, user_tags
from hikae.domain.networks import index_of, list_interfaces
from hikae.domain.recovery_settings import InstanceSettings, RecoverySettings

OWN_TAGS: Final = 3
"""How many tags a run puts on what it launches."""


class Fate(StrEnum):
    """What a restore makes of an attribute."""

    RESTORED = "restored"
    """As it was, or as the recovery settings say."""
    NAMED = "named"
    """Not brought back, and named where the instance had it."""
    NEW = "new"
    """Another by nature, such as an id or a time; or it follows from what is restored."""


FATES: Final[Mapping[str, Fate]] = {
    **dict.fromkeys(
        (
            "Architecture",
            "BlockDeviceMappings",
            "BootMode",
            "CapacityReservationSpecification",
            "CpuOptions",
            "EbsOptimized",
            "EnaSupport",
            "EnclaveOptions",
            "HibernationOptions",
            "IamInstanceProfile",
            "InstanceType",
            "KeyName",
            "MaintenanceOptions",
            "MetadataOptions",
            "Monitoring",
            "NetworkInterfaces",
            "NetworkPerformanceOptions",
            "Placement",
            "PrivateDnsNameOptions",
            "PrivateIpAddress",
            "RootDeviceName",
            "SecurityGroups",
            "SourceDestCheck",
            "SriovNetSupport",
            "SubnetId",
            "Tags",
            "TpmSupport",
            "VirtualizationType",
        ),
        Fate.RESTORED,
    ),
    **dict.fromkeys(
        (
            "CapacityBlockId",
            "InstanceLifecycle",
            "Ipv6Address",
            "KernelId",
            "Licenses",
            "Operator",
            "OutpostArn",
            "ProductCodes",
            "PublicIpAddress",
            "RamdiskId",
            "SecondaryInterfaces",
        ),
        Fate.NAMED,
    ),
    **dict.fromkeys(
        (
            "AmiLaunchIndex",
            "CapacityReservationId",
            "ClientToken",
            "CurrentInstanceBootMode",
            # No instance has had one since 2024: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
            "ElasticGpuAssociations",
            "ElasticInferenceAcceleratorAssociations",
            "Hypervisor",
            "ImageId",
            "InstanceId",
            "LaunchTime",
            "Platform",
            "PlatformDetails",
            "PrivateDnsName",
            "PublicDnsName",
            "RootDeviceType",
            "SpotInstanceRequestId",
            "State",
            "StateReason",
            "StateTransitionReason",
            "UsageOperation",
            "UsageOperationUpdateTime",
            "VpcId",
        ),
        Fate.NEW,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Something that does not come back; `remedy` is empty where nothing can be done about it."""

    what: str
    remedy: str = ""

    def __str__(self) -> str:
        """For a person."""
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


def find_losses(resource: str, manifest: Manifest, settings: RecoverySettings) -> tuple[Loss, ...]:
    """All that a restore by these settings does not bring back, apart from what the type decides."""
    instance = manifest.instance
    assert instance is not None, "a detached volume has nothing of this"
    own = settings.instances.get(resource, InstanceSettings())
    return (
        *_unknown(resource, instance, own),
        *_placement(instance, settings),
        *_purchase(instance),
        *_image(manifest, instance),
        *_network(instance, settings),
        *_addresses(instance, settings, own),
        *_target_groups(instance, settings, own),
        *_volumes(manifest),
        *_tags(instance),
    )


def _unknown(resource: str, instance: ManifestInstance, own: InstanceSettings) -> Iterator[Loss]:
    if "launch" in instance.unknown:
        yield Loss(
            what="nobody knows its credit option, its shutdown behavior, and whether it was protected against being"
            f" terminated or stopped ({instance.unknown['launch']})",
            remedy="set them with aws ec2 modify-instance-attribute",
        )
    if "target_groups" in instance.unknown and not own.target_groups:
        yield Loss(
            what=f"nobody knows the target groups that it was in ({instance.unknown['target_groups']})",
            remedy=f"name those for here under instances.{resource}.target_groups",
        )


def _placement(instance: ManifestInstance, settings: RecoverySettings) -> Iterator[Loss]:
    placement = instance.described.get("Placement", {})
    group = str(placement.get("GroupName") or "")
    if group and group not in settings.placement_groups:
        partition = placement.get("PartitionNumber")
        where = f", partition {partition}" if partition else ""
        yield Loss(
            what=f"it was in the placement group {group}{where}",
            remedy="make one here, and name it under placement_groups",
        )
    if placement.get("Tenancy") == "host":
        host = placement.get("HostId") or placement.get("HostResourceGroupArn") or "a Dedicated Host"
        yield Loss(
            what=f"it ran on {host}, and is launched with default tenancy",
            remedy="where a licence is bound to a host, move it with aws ec2 modify-instance-placement",
        )
    reservation = instance.described.get("CapacityReservationSpecification", {})
    target = [str(each) for each in reservation.get("CapacityReservationTarget", {}).values()]
    if target or reservation.get("CapacityReservationPreference") == "capacity-reservations-only":
        yield Loss(
            what=f"it was launched into {', '.join(target) or 'Capacity Reservations only'}",
            remedy="make an open Capacity Reservation of its type here: a launch uses it by itself",
        )
    if instance.described.get("OutpostArn"):
        yield Loss(what=f"it ran on the Outpost {instance.described['OutpostArn']}, and is launched in the Region")
    if instance.described.get("Operator", {}).get("Managed") is True:
        yield Loss(what=f"it was managed by {instance.described['Operator'].get('Principal', 'a service')}")


def _purchase(instance: ManifestInstance) -> Iterator[Loss]:
    lifecycle = instance.described.get("InstanceLifecycle")
    if lifecycle:
        yield Loss(what=f"it was bought as {lifecycle}, and is launched On-Demand")
    licenses = [str(each.get("LicenseConfigurationArn", "")) for each in instance.described.get("Licenses", ())]
    if licenses:
        yield Loss(
            what=f"its license configurations {', '.join(licenses)}",
            remedy="associate those of this Region (aws license-manager update-license-specifications-for-resource)",
        )
    made_by = [instance.tags[key] for key in _MAKERS if key in instance.tags]
    if made_by:
        yield Loss(
            what=f"it belonged to {', '.join(made_by)}, and belongs to neither group nor stack now",
            remedy="attach or import it where something has to look after it",
        )


_MAKERS: Final = ("aws:autoscaling:groupName", "aws:cloudformation:stack-name")


def _image(manifest: Manifest, instance: ManifestInstance) -> Iterator[Loss]:
    kernels = [str(instance.described[key]) for key in ("KernelId", "RamdiskId") if instance.described.get(key)]
    if kernels:
        yield Loss(what=f"its kernel {', '.join(kernels)} is its Region's", remedy="see whether it boots without")
    codes = [str(each.get("ProductCodeId", "")) for each in instance.described.get("ProductCodes", ())]
    if codes and manifest.kind is Kind.SNAPSHOT_SET:
        yield Loss(
            what=f"the product codes {', '.join(codes)}: an image that is registered from snapshots has none",
            remedy="protect what was bought in AWS Marketplace with protect: image",
        )
    migration = instance.described.get("MaintenanceOptions", {}).get("RebootMigration", "default")
    if migration != "default":
        yield Loss(
            what=f"its reboot migration was {migration}", remedy="set it with modify-instance-maintenance-options"
        )


def _network(instance: ManifestInstance, settings: RecoverySettings) -> Iterator[Loss]:
    interfaces = list_interfaces(instance)
    first = interfaces[0].get("SubnetId") or instance.described.get("SubnetId")
    for interface in interfaces:
        name = f"its network interface {index_of(interface)}"
        subnet = interface.get("SubnetId")
        if subnet and subnet != first and subnet not in settings.subnets:
            yield Loss(
                what=f"{name} was in {subnet}, and goes where the first one goes", remedy="name it under subnets"
            )
        for key in ("Ipv4Prefixes", "Ipv6Prefixes"):
            prefixes = [str(value) for each in interface.get(key, ()) for value in each.values()]
            if prefixes:
                yield Loss(what=f"{name} had {', '.join(prefixes)}", remedy="assign prefixes of the subnet here")
        ipv6 = [str(each["Ipv6Address"]) for each in interface.get("Ipv6Addresses", ())]
        if ipv6:
            yield Loss(what=f"{name} had {', '.join(ipv6)}: it has others, where its subnet has IPv6, or none")
        attachment = interface.get("Attachment", {})
        if attachment.get("EnaSrdSpecification", {}).get("EnaSrdEnabled") is True:
            yield Loss(what=f"{name} had ENA Express", remedy="enable it with modify-network-interface-attribute")
        if attachment.get("EnaQueueCount"):
            yield Loss(
                what=f"{name} had {attachment['EnaQueueCount']} ENA queues",
                remedy="set them with modify-network-interface-attribute",
            )
    if instance.described.get("SecondaryInterfaces"):
        yield Loss(what=f"its {len(instance.described['SecondaryInterfaces'])} interfaces of a secondary network")


def _addresses(instance: ManifestInstance, settings: RecoverySettings, own: InstanceSettings) -> Iterator[Loss]:
    elastic = {str(each.get("PublicIp", "")) for each in instance.elastic_ips}
    public = str(instance.described.get("PublicIpAddress") or "")
    if public and public not in elastic:
        yield Loss(what=f"its public address {public} was EC2's: it has another, or none, as its subnet says")
    lost = [
        str(each.get("PublicIp", ""))
        for each in instance.elastic_ips
        if not stand_in_of(each, settings) and not (own.elastic_ip and is_of_first(each, instance))
    ]
    if lost:
        yield Loss(
            what=f"it had the Elastic IP address {', '.join(lost)}", remedy="name what stands for it under elastic_ips"
        )


def stand_in_of(elastic_ip: Mapping[str, Any], settings: RecoverySettings) -> str:
    """The allocation here that takes the place of an Elastic IP address at the primary; empty where none does."""
    keys = (str(elastic_ip.get(key, "")) for key in ("AllocationId", "PublicIp"))
    return next((settings.elastic_ips[key] for key in keys if key in settings.elastic_ips), "")


def is_of_first(elastic_ip: Mapping[str, Any], instance: ManifestInstance) -> bool:
    """Whether the address belonged to the main private address of the first interface."""
    main = str(instance.described.get("PrivateIpAddress", ""))
    return str(elastic_ip.get("PrivateIpAddress", main)) == main


def _target_groups(instance: ManifestInstance, settings: RecoverySettings, own: InstanceSettings) -> Iterator[Loss]:
    lost = sorted(
        {
            str(each["TargetGroupArn"])
            for each in instance.target_groups
            if each["TargetGroupArn"] not in settings.target_groups
        }
    )
    if lost and not own.target_groups:
        yield Loss(
            what=f"it was in the target groups {', '.join(lost)}", remedy="name those for here under target_groups"
        )


def _volumes(manifest: Manifest) -> Iterator[Loss]:
    for volume in manifest.volumes:
        if volume.id in manifest.left_out:
            yield Loss(
                what=f"{volume.id} at {volume.device} is in no point: {manifest.left_out[volume.id]}",
                remedy="make it anew, where something mounts it",
            )
        elif volume.multi_attach:
            yield Loss(what=f"{volume.id} at {volume.device} could be attached to several instances; its copy cannot")


def _tags(instance: ManifestInstance) -> Iterator[Loss]:
    lost = list(user_tags(instance.tags))[MAX_TAGS - OWN_TAGS :]
    if lost:
        yield Loss(what=f"its tags {', '.join(lost)} did not fit beside hikae's own ({MAX_TAGS} at most)")


_COMPARED: Final = (
    ("Architecture",),
    ("BootMode",),
    ("EbsOptimized",),
    ("EnaSupport",),
    ("MaintenanceOptions", "AutoRecovery"),
    ("MetadataOptions", "HttpEndpoint"),
    ("MetadataOptions", "HttpPutResponseHopLimit"),
    ("MetadataOptions", "HttpTokens"),
    ("MetadataOptions", "InstanceMetadataTags"),
    ("Monitoring", "State"),
    # What is billed for an operating system follows from the image; one that is registered from snapshots may lose it:
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html
    ("PlatformDetails",),
    ("PrivateDnsNameOptions", "HostnameType"),
    ("RootDeviceName",),
    ("TpmSupport",),
    ("VirtualizationType",),
)
_OF_THE_TYPE: Final = (
    ("CpuOptions", "AmdSevSnp"),
    ("CpuOptions", "CoreCount"),
    ("CpuOptions", "ThreadsPerCore"),
    ("EnclaveOptions", "Enabled"),
    ("HibernationOptions", "Configured"),
    ("NetworkPerformanceOptions", "BandwidthWeighting"),
)
"""These may differ where the type does, which is said by itself."""
_ALIKE: Final = {"pending": "enabled", "disabling": "disabled"}


def find_differences(manifest: Manifest, now: Mapping[str, Any]) -> tuple[str, ...]:
    """In what an instance that was restored differs from the one that was protected, by what EC2 says of both.

    What was asked for is not what is there until somebody has looked. An attribute that was not described then is not
    compared, nor is one that is named as a loss anyway.
    """
    instance = manifest.instance
    assert instance is not None, "a detached volume has nothing of this"
    paths = _COMPARED + (_OF_THE_TYPE if now.get("InstanceType") == instance.type else ())
    found = []
    for path in paths:
        was, has = _at(instance.described, path), _at(now, path)
        if was is not None and was != has and (was or has):
            found.append(f"it has {'.'.join(path)} {_word(has)}, and had {_word(was)}")
    devices = {str(each.get("DeviceName")) for each in now.get("BlockDeviceMappings", ()) if "Ebs" in each}
    lacking = [volume.device for volume in manifest.protected_volumes if volume.device not in devices]
    if lacking:
        found.append(f"it has no volume at {', '.join(lacking)}")
    interfaces = len(now.get("NetworkInterfaces", ())), len(list_interfaces(instance))
    if interfaces[0] != interfaces[1]:
        found.append(f"it has {interfaces[0]} network interfaces, and had {interfaces[1]}")
    return tuple(found)


def _at(described: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = described
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return _ALIKE.get(value, value) if path[0] == "Monitoring" and isinstance(value, str) else value


def _word(value: Any) -> str:
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
