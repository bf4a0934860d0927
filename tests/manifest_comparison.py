"""A manifest against what was restored by it: each of its fields, by a table that says what becomes of it.

The tables name every field that a manifest has. One that they do not name is a finding of its own, so that nobody adds
a field to manifests without deciding what a restore makes of it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Restored:
    """An instance that was restored, as EC2 describes it, and where the site's settings say that it belongs.

    `volumes` are those of `DescribeVolumes` by device name, `user_data` is base64, `launch` the rest of how it would be
    launched again, which no describe says.
    """

    instance: Mapping[str, Any]
    volumes: Mapping[str, Mapping[str, Any]]
    user_data: str | None
    launch: Mapping[str, Any]
    subnets: Mapping[str, Mapping[str, Any]]
    security_groups: frozenset[str]
    key_arn: str

    @property
    def subnet(self) -> Mapping[str, Any]:
        return self.subnets[self.instance["SubnetId"]]

    @property
    def tags(self) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.instance.get("Tags", ())}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One thing as it was, and as it is now."""

    was: Mapping[str, Any]
    now: Mapping[str, Any]
    restored: Restored


Rule = Callable[[str, Pair], Any]
"""What should be there instead of the value under a key; anything but that is a finding."""

Expectation = tuple[Any, Any]
"""What there should be, and what there is."""


def same(key: str, pair: Pair) -> Expectation:
    """It comes back as it was. What EC2 describes as empty may as well be absent."""
    return pair.was[key] or None, pair.now.get(key) or None


def same_under(*keys: str) -> Rule:
    """Of a mapping these keys come back; whatever else is in it, EC2 decides."""

    def rule(key: str, pair: Pair) -> Expectation:
        was, now = pair.was[key], pair.now.get(key, {})
        return {each: was.get(each) for each in keys}, {each: now.get(each) for each in keys}

    return rule


def another(key: str, pair: Pair) -> Expectation:
    """An id of its own."""
    is_another = bool(pair.now.get(key)) and pair.now[key] != pair.was[key]
    return "another one than before", "another one than before" if is_another else pair.now.get(key)


def given_up(_: str, __: Pair) -> Expectation:
    """Nobody can have it here, or EC2 alone decides about it."""
    return None, None


def _is(expected: Any) -> Rule:
    return lambda key, pair: (expected, pair.now.get(key))


def _in_the_settings_subnet(key: str, pair: Pair) -> Expectation:
    place = {"SubnetId": "SubnetId", "VpcId": "VpcId", "AvailabilityZone": "AvailabilityZone"}[key]
    return pair.restored.subnet[place], pair.now.get(key)


def _settings_groups(key: str, pair: Pair) -> Expectation:
    return set(pair.restored.security_groups), {group["GroupId"] for group in pair.now.get(key, ())}


def _placement(key: str, pair: Pair) -> Expectation:
    was, now = pair.was[key], pair.now.get(key, {})
    expected = {"AvailabilityZone": pair.restored.subnet["AvailabilityZone"], "Tenancy": was.get("Tenancy", "default")}
    return expected, {each: now.get(each) for each in expected}


def _address(key: str, pair: Pair) -> Expectation:
    """The old one where the subnet has it, else one of the subnet's."""
    network, address = ip_network(pair.restored.subnet["CidrBlock"]), pair.now.get(key) or "0.0.0.0"  # noqa: S104
    if ip_address(pair.was[key]) in network:
        return pair.was[key], address
    return f"in {network}", f"in {network}" if ip_address(address) in network else address


def _profile(key: str, pair: Pair) -> Expectation:
    was, now = pair.was[key]["Arn"], pair.now.get(key, {}).get("Arn", "")
    return was.rpartition("/")[2], now.rpartition("/")[2]


def _platform(key: str, pair: Pair) -> Expectation:
    """A registered image cannot say its platform; only AMIs that are copied keep it."""
    return (pair.was[key], pair.now[key]) if key in pair.now else (None, None)


def _running(key: str, pair: Pair) -> Expectation:
    return "running", pair.now[key]["Name"]


_METADATA = ("HttpEndpoint", "HttpPutResponseHopLimit", "HttpTokens", "InstanceMetadataTags", "HttpProtocolIpv6")

INSTANCE: Mapping[str, Rule] = {
    "Architecture": same,
    "BootMode": same,
    "CapacityBlockId": given_up,
    "CapacityReservationId": given_up,
    "CapacityReservationSpecification": same_under("CapacityReservationPreference"),
    "CpuOptions": same,
    "CurrentInstanceBootMode": same,
    "EbsOptimized": same,
    "EnaSupport": same,
    "EnclaveOptions": same,
    "HibernationOptions": same,
    "Hypervisor": given_up,
    "IamInstanceProfile": _profile,
    "ImageId": another,
    "InstanceId": another,
    "InstanceLifecycle": given_up,
    "InstanceType": same,
    "Ipv6Address": given_up,
    "KernelId": given_up,
    "KeyName": same,
    "Licenses": given_up,
    "MaintenanceOptions": same_under("AutoRecovery"),
    "MetadataOptions": same_under(*_METADATA),
    "Monitoring": same_under("State"),
    "NetworkPerformanceOptions": same,
    "Operator": given_up,
    "OutpostArn": given_up,
    "Placement": _placement,
    "Platform": _platform,
    "PlatformDetails": _platform,
    "PrivateDnsNameOptions": same,
    "PrivateIpAddress": _address,
    "ProductCodes": same,
    "PublicIpAddress": given_up,
    "RamdiskId": given_up,
    "RootDeviceName": same,
    "RootDeviceType": same,
    "SecondaryInterfaces": given_up,
    "SecurityGroups": _settings_groups,
    "SourceDestCheck": same,
    "SriovNetSupport": same,
    "State": _running,
    "SubnetId": _in_the_settings_subnet,
    "TpmSupport": same,
    "UsageOperation": _platform,
    "VirtualizationType": same,
    "VpcId": _in_the_settings_subnet,
}
"""`source.instance`, of `DescribeInstances`."""

IMAGE: Mapping[str, Rule] = {
    "Architecture": same,
    "BootMode": same,
    "EnaSupport": same,
    "ImdsSupport": given_up,
    "Name": given_up,
    "OwnerId": given_up,
    "PlatformDetails": _platform,
    "ProductCodes": given_up,
    "RootDeviceName": same,
    "SriovNetSupport": same,
    "TpmSupport": same,
    "UsageOperation": _platform,
    "VirtualizationType": same,
}
"""`source.image`, of `DescribeImages`: what the instance now shows of the image that it was launched from."""


def _iops(key: str, pair: Pair) -> Expectation:
    """They are ordered where they can be; of the other types EC2 tells what it likes."""
    return same(key, pair) if pair.was["VolumeType"] in {"gp3", "io1", "io2"} else (None, None)


def _attached(key: str, pair: Pair) -> Expectation:
    [was], [now] = pair.was[key], pair.now[key]
    expected = {
        "Device": was["Device"],
        "DeleteOnTermination": was["DeleteOnTermination"],
        "State": "attached",
        "InstanceId": pair.restored.instance["InstanceId"],
    }
    return expected, {each: now.get(each) for each in expected}


def _volume_tags(key: str, pair: Pair) -> Expectation:
    was, now = ({tag["Key"]: tag["Value"] for tag in side.get(key, ())} for side in (pair.was, pair.now))
    return was, {name: value for name, value in now.items() if not name.startswith("hikae:")}


VOLUME: Mapping[str, Rule] = {
    "Attachments": _attached,
    "AvailabilityZone": _in_the_settings_subnet,
    "AvailabilityZoneId": given_up,
    "CreateTime": given_up,
    "Encrypted": _is(expected=True),  # copies are encrypted, whatever their sources were
    "FastRestored": given_up,
    "Iops": _iops,
    "KmsKeyId": lambda key, pair: (pair.restored.key_arn, pair.now.get(key)),
    "MultiAttachEnabled": same,
    "Operator": given_up,
    "Size": same,
    "SnapshotId": another,
    "State": _is("in-use"),
    "Tags": _volume_tags,
    "Throughput": same,
    "VolumeId": another,
    "VolumeType": same,
}
"""`source.block_devices[].volume`, of `DescribeVolumes`."""


def _description(key: str, pair: Pair) -> Expectation:
    """What somebody wrote comes back; a launch that says nothing of interfaces writes what it likes."""
    return (pair.was[key], pair.now.get(key)) if pair.now.get(key) else (None, None)


INTERFACE: Mapping[str, Rule] = {
    "Association": given_up,
    "Attachment": same_under("DeviceIndex", "NetworkCardIndex", "DeleteOnTermination"),
    "ConnectionTrackingConfiguration": same,
    "Description": _description,
    "Groups": _settings_groups,
    "InterfaceType": same,
    "Ipv4Prefixes": given_up,
    "Ipv6Addresses": given_up,
    "Ipv6Prefixes": given_up,
    "MacAddress": given_up,
    "NetworkInterfaceId": another,
    "Operator": given_up,
    "OwnerId": given_up,
    "PrivateDnsName": given_up,
    "PrivateIpAddress": _address,
    "PrivateIpAddresses": lambda key, pair: (len(pair.was[key]), len(pair.now.get(key, ()))),
    "SourceDestCheck": same,
    "Status": _is("in-use"),
    "SubnetId": _in_the_settings_subnet,
    "VpcId": _in_the_settings_subnet,
}
"""`source.network_interfaces[]`, of `DescribeInstances`."""

DEVICE: Mapping[str, Rule] = {
    "delete_on_termination": lambda key, pair: (pair.was[key], pair.now.get(key)),
    "device": same,
    "volume": given_up,  # has a table of its own
}
"""`source.block_devices[]`."""

LAUNCH: Mapping[str, Rule] = {
    "CreditSpecification": same,
    "DisableApiStop": same,
    "DisableApiTermination": same,
    "InstanceInitiatedShutdownBehavior": same,
}
"""`source.launch`, of `GetLaunchTemplateData`."""

SOURCE: Mapping[str, Rule] = {
    "block_devices": lambda key, pair: ({each["device"] for each in pair.was[key]}, set(pair.restored.volumes)),
    "elastic_ips": given_up,  # as the settings name others: tests/integration/operations/test_recovery.py
    "image": given_up,  # has a table of its own
    "instance": given_up,  # has a table of its own
    "launch": given_up,  # has a table of its own
    "network_interfaces": lambda key, pair: (
        len(pair.was[key]),
        len(pair.restored.instance.get("NetworkInterfaces", ())),
    ),
    "tags": lambda key, pair: (
        pair.was[key],
        {name: value for name, value in pair.restored.tags.items() if not name.startswith("hikae:")},
    ),
    "target_groups": given_up,  # as elastic_ips
    "type": lambda key, pair: (pair.was[key]["InstanceType"], pair.restored.instance["InstanceType"]),
    "unknown": lambda key, pair: ({}, pair.was[key]),
    "user_data": lambda key, pair: (pair.was[key], pair.restored.user_data),
}
"""`source`."""


def _tag(name: str) -> Rule:
    return lambda key, pair: (pair.was[key], pair.restored.tags.get(name))


MANIFEST: Mapping[str, Rule] = {
    "account": given_up,
    "attempt": given_up,
    "installation": lambda key, pair: (pair.was[key], pair.restored.tags.get("hikae:recovery", "").partition("/")[0]),
    "kind": given_up,
    "left_out": given_up,
    "members": lambda key, pair: (pair.was[key], len(pair.restored.volumes)),
    "plan": given_up,
    "point": _tag("hikae:recovered-from"),
    "region": given_up,
    "resource": _tag("hikae:recovered-resource"),
    "rule": given_up,
    "slot": given_up,
    "source": given_up,  # has a table of its own
    "version": given_up,
    "written_at": given_up,
}
"""The manifest's own fields: what the point is, and not what it takes to rebuild the instance."""


def look_at(
    ec2: Any, instance_id: str, *, subnets: Collection[str], security_groups: Collection[str], key_arn: str
) -> Restored:
    """What EC2 says of an instance that was restored into one of these subnets and all of these groups."""
    [reservation] = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    [instance] = reservation["Instances"]
    attached = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    user_data = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")["UserData"]
    return Restored(
        instance=instance,
        volumes={each["Attachments"][0]["Device"]: each for each in ec2.describe_volumes(Filters=attached)["Volumes"]},
        user_data=user_data.get("Value"),
        launch=ec2.get_launch_template_data(InstanceId=instance_id)["LaunchTemplateData"],
        subnets={each["SubnetId"]: each for each in ec2.describe_subnets(SubnetIds=list(subnets))["Subnets"]},
        security_groups=frozenset(security_groups),
        key_arn=key_arn,
    )


def find_differences(manifest: Mapping[str, Any], restored: Restored) -> list[str]:
    """Every field of an instance's manifest that has not become what its table says, or that no table names."""
    return list(_differences(manifest, restored))


def _differences(manifest: Mapping[str, Any], restored: Restored) -> Iterator[str]:
    source, instance = manifest["source"], restored.instance
    yield from _judge("", MANIFEST, Pair(was=manifest, now={}, restored=restored))
    yield from _judge("source.", SOURCE, Pair(was=source, now={}, restored=restored))
    yield from _judge("source.instance.", INSTANCE, Pair(was=source["instance"], now=instance, restored=restored))
    yield from _judge("source.image.", IMAGE, Pair(was=source["image"], now=instance, restored=restored))
    yield from _judge("source.launch.", LAUNCH, Pair(was=source["launch"], now=restored.launch, restored=restored))
    for device in source["block_devices"]:
        path = f"source.block_devices[{device['device']}]."
        volume = restored.volumes.get(device["device"], {})
        now = {"device": device["device"], **_flags(instance, device["device"])}
        yield from _judge(path, DEVICE, Pair(was=device, now=now, restored=restored))
        yield from _judge(f"{path}volume.", VOLUME, Pair(was=device["volume"], now=volume, restored=restored))
    by_index = {each["Attachment"]["DeviceIndex"]: each for each in instance.get("NetworkInterfaces", ())}
    for interface in source["network_interfaces"]:
        index = interface["Attachment"]["DeviceIndex"]
        pair = Pair(was=interface, now=by_index.get(index, {}), restored=restored)
        yield from _judge(f"source.network_interfaces[{index}].", INTERFACE, pair)


def _flags(instance: Mapping[str, Any], device: str) -> dict[str, Any]:
    for mapping in instance["BlockDeviceMappings"]:
        if mapping["DeviceName"] == device:
            return {"delete_on_termination": mapping["Ebs"]["DeleteOnTermination"]}
    return {}


def _judge(path: str, table: Mapping[str, Rule], pair: Pair) -> Iterator[str]:
    for key in pair.was:
        rule = table.get(key)
        if rule is None:
            yield f"{path}{key}: no table says what becomes of it"
            continue
        try:
            expected, found = rule(key, pair)
        except (KeyError, ValueError) as error:
            yield f"{path}{key}: it cannot be compared: {type(error).__name__}: {error}"
            continue
        if expected != found:
            yield f"{path}{key}: {found!r}, not {expected!r}"
