"""The requests of a recovery in EC2's own words (RunInstances, RegisterImage): they can be judged without it."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from hikae.domain.fidelity import OWN_TAGS
from hikae.domain.manifest import Manifest, ManifestInstance, ManifestVolume
from hikae.domain.naming import (
    MAX_TAGS,
    RECOVERED_FROM,
    RECOVERED_RESOURCE,
    recovery_image_name,
    recovery_token,
    run_tag,
    user_tags,
)
from hikae.domain.networks import Subnet, are_plain, place_interfaces
from hikae.domain.runs import Member, Mode, Run, Rung
from hikae.domain.targets import DrillNetwork, Target

_PROVISIONED: Final = frozenset({"gp3", "io1", "io2"})
"""Volume types whose IOPS are asked for; of the others EC2 reports a number that cannot be."""

_MULTI_ATTACH: Final = frozenset({"io1", "io2"})
"""https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volumes-multi.html."""


def image_registration(member: Member, manifest: Manifest, run: Run, *, installation: str) -> dict[str, Any]:
    """RegisterImage's request for a snapshot set. Its own defaults are those of 2008 (i386, paravirtual, no ENA)."""
    instance = manifest.instance
    assert instance is not None, "a detached volume needs no image"
    request: dict[str, Any] = {
        "Name": recovery_image_name(
            installation=installation, run=run.name, resource=member.resource, attempt=member.attempt
        ),
        "Description": f"hikae {run.request.mode} {run.name} of {member.resource}",
        "Architecture": instance.architecture,
        "RootDeviceName": instance.root_device,
        "VirtualizationType": instance.virtualization,
        "EnaSupport": instance.has_ena,
        "BlockDeviceMappings": [
            {"DeviceName": volume.device, "Ebs": {"SnapshotId": member.snapshots[volume.id], **_performance(volume)}}
            for volume in manifest.protected_volumes
        ],
        "TagSpecifications": [{"ResourceType": "image", "Tags": _tag_list(_own_tags(member, run, installation))}],
    }
    optional = {
        "BootMode": instance.boot_mode,
        "TpmSupport": instance.tpm_support,
        "ImdsSupport": instance.image.get("ImdsSupport"),
        "SriovNetSupport": instance.image.get("SriovNetSupport") or instance.described.get("SriovNetSupport"),
    }
    return request | {key: value for key, value in optional.items() if value}


def launch_request(  # noqa: PLR0913 - what a launch is made of
    member: Member,
    manifest: Manifest,
    run: Run,
    target: Target,
    *,
    rung: Rung,
    with_ip: bool,
    installation: str,
    subnets: Mapping[str, Subnet] | None = None,
) -> dict[str, Any]:
    """RunInstances' request for one member on one rung, with its ClientToken.

    `UserData` is base64 as the manifest has it. A drill's volumes and network interfaces all go with their instance.
    `subnets` are needed, the rung's among them, where there is more to say of interfaces than subnet and groups.
    """
    instance = manifest.instance
    assert instance is not None, "only an instance is launched"
    is_drill = run.request.mode is Mode.DRILL
    own = _own_tags(member, run, installation)
    described = instance.described
    request: dict[str, Any] = {
        "ImageId": member.registered or member.image,
        "InstanceType": rung.type,
        "MinCount": 1,
        "MaxCount": 1,
        "EbsOptimized": described.get("EbsOptimized") is True,
        "Monitoring": {"Enabled": described.get("Monitoring", {}).get("State") in ("enabled", "pending")},
        "BlockDeviceMappings": [
            {
                "DeviceName": volume.device,
                "Ebs": {**_performance(volume), "DeleteOnTermination": is_drill or volume.delete_on_termination},
            }
            for volume in manifest.protected_volumes
        ],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": _tag_list(_instance_tags(member, manifest, run, installation))},
            {"ResourceType": "network-interface", "Tags": _tag_list(own)},
            {"ResourceType": "volume", "Tags": _tag_list(own)},
        ],
        "ClientToken": recovery_token(
            installation, run.name, member.resource, member.attempt, rung.type, rung.subnet, int(with_ip)
        ),
        **_network_of(target, rung=rung, with_ip=with_ip, subnets=subnets or {}),
    }
    optional: Mapping[str, Any] = {
        "UserData": instance.user_data,
        "KeyName": target.key_name,
        "IamInstanceProfile": {"Name": target.profile} if target.profile else None,
        **_options(instance, rung),
        **({} if is_drill else _options_of_restores(instance, target)),
        "Placement": _placement(instance, target),
    }
    return request | {key: value for key, value in optional.items() if value}


def _network_of(target: Target, *, rung: Rung, with_ip: bool, subnets: Mapping[str, Subnet]) -> dict[str, Any]:
    if are_plain(target.interfaces):
        address = {"PrivateIpAddress": target.private_ip} if with_ip and target.private_ip else {}
        return {"SubnetId": rung.subnet, "SecurityGroupIds": list(target.security_groups), **address}
    placed = place_interfaces(target.interfaces, subnets[rung.subnet], subnets, with_ip=with_ip)
    return {"NetworkInterfaces": list(placed.requests)}


def _options(instance: ManifestInstance, rung: Rung) -> dict[str, Any]:
    """What a drill has as a restore does, in RunInstances' own words: describes have keys that no request takes."""
    described, launch = instance.described, instance.launch
    has_credits = launch.get("CreditSpecification") and not any(each.startswith("credit") for each in rung.without)
    weighting = instance.bandwidth_weighting
    return {
        "MetadataOptions": _pick(described.get("MetadataOptions", {}), _METADATA),
        "CpuOptions": _cpu_options(instance, rung),
        "CreditSpecification": {"CpuCredits": launch["CreditSpecification"]["CpuCredits"]} if has_credits else None,
        "InstanceInitiatedShutdownBehavior": launch.get("InstanceInitiatedShutdownBehavior"),
        "EnclaveOptions": {"Enabled": True} if instance.has_enclaves else None,
        "HibernationOptions": {"Configured": True}
        if instance.can_hibernate and "hibernation" not in rung.without
        else None,
        "MaintenanceOptions": _pick(described.get("MaintenanceOptions", {}), ("AutoRecovery",)),
        "NetworkPerformanceOptions": {"BandwidthWeighting": weighting}
        if weighting and f"bandwidth weighting {weighting}" not in rung.without
        else None,
    }


_METADATA: Final = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "HttpProtocolIpv6", "InstanceMetadataTags")


def _options_of_restores(instance: ManifestInstance, target: Target) -> dict[str, Any]:
    """A drill is never protected against its own teardown, and its names are nobody's."""
    preference = instance.described.get("CapacityReservationSpecification", {}).get("CapacityReservationPreference")
    names = _pick(instance.described.get("PrivateDnsNameOptions", {}), _NAMES_OF_DNS)
    if not any(each.ipv6_count for each in target.interfaces):
        names.pop("EnableResourceNameDnsAAAARecord", None)
    return {
        "DisableApiTermination": instance.launch.get("DisableApiTermination"),
        "DisableApiStop": instance.launch.get("DisableApiStop"),
        "PrivateDnsNameOptions": names,
        "CapacityReservationSpecification": {"CapacityReservationPreference": "none"} if preference == "none" else None,
    }


_NAMES_OF_DNS: Final = ("HostnameType", "EnableResourceNameDnsARecord", "EnableResourceNameDnsAAAARecord")


def _cpu_options(instance: ManifestInstance, rung: Rung) -> dict[str, Any]:
    said = instance.described.get("CpuOptions", {})
    features = {key: "enabled" for key in ("AmdSevSnp", "NestedVirtualization") if said.get(key) == "enabled"}
    return features | ({"CoreCount": rung.cores, "ThreadsPerCore": rung.threads} if rung.cores else {})


def _placement(instance: ManifestInstance, target: Target) -> dict[str, Any]:
    placement = instance.described.get("Placement", {})
    tenancy = {"Tenancy": "dedicated"} if placement.get("Tenancy") == "dedicated" else {}
    if not target.placement_group:
        return tenancy
    partition = placement.get("PartitionNumber")
    return tenancy | {"GroupName": target.placement_group} | ({"PartitionNumber": partition} if partition else {})


def _pick(described: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: described[key] for key in keys if described.get(key) is not None}


def losses_on(rung: Rung, target: Target, *, own_type: str) -> tuple[str, ...]:
    """What a launch on this rung does not bring back, each with its remedy where there is one."""
    other = [f"it is a {rung.type}; it was a {own_type}"] if rung.type != own_type else []
    without = [f"as a {rung.type} it has no {each}" for each in rung.without]
    return (*other, *without, *(f"not restored: {each}" for each in target.losses))


def volume_request(member: Member, manifest: Manifest, run: Run, *, zone: str, installation: str) -> dict[str, Any]:
    """CreateVolume's request for a detached volume, with its ClientToken."""
    [volume] = manifest.volumes
    tags = _own_tags(member, run, installation)
    if run.request.mode is Mode.RESTORE:
        tags = _fill(tags, volume.tags)
    performance = _performance(volume)
    multi_attach = {"MultiAttachEnabled": True} if volume.multi_attach and volume.type in _MULTI_ATTACH else {}
    return {
        **multi_attach,
        "AvailabilityZone": zone,
        "SnapshotId": member.snapshots[volume.id],
        "Size": performance.pop("VolumeSize"),
        **performance,
        "TagSpecifications": [{"ResourceType": "volume", "Tags": _tag_list(tags)}],
        "ClientToken": recovery_token(installation, run.name, member.resource, member.attempt, zone),
    }


def name_drill_group(run: Run, *, installation: str) -> str:
    """The name of a drill's own security group; unique in its VPC, so itself a guard against a second."""
    return f"hikae/{installation}/run/{run.name}"


def drill_group_request(run: Run, network: DrillNetwork, *, installation: str) -> dict[str, Any]:
    """CreateSecurityGroup's request for what lets the members of one drill reach each other."""
    token = run_tag(installation=installation, run=run.name)
    tags = {run.request.mode.tag: token, RECOVERED_FROM: "none", RECOVERED_RESOURCE: network.vpc}
    return {
        "GroupName": name_drill_group(run, installation=installation),
        "Description": f"hikae drill {run.name}: its members reach each other",
        "VpcId": network.vpc,
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": _tag_list(tags)}],
    }


_SSM_SERVICES: Final = ("ssm", "ssmmessages")
"""`ec2messages` is for old agents: https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html."""


def endpoint_requests(
    run: Run, network: DrillNetwork, *, region: str, present: Collection[str], installation: str
) -> list[dict[str, Any]]:
    """CreateVpcEndpoint's requests for what lets SSM into the drills' network, but for services that are `present`.

    One VPC has one endpoint of a service with private names, so drills at the same time share it; the one that made it
    takes it away, and whoever still needs it makes another.
    """
    token = run_tag(installation=installation, run=run.name)
    tags = _tag_list({run.request.mode.tag: token, RECOVERED_FROM: "none", RECOVERED_RESOURCE: network.vpc})
    return [
        {
            "VpcEndpointType": "Interface",
            "VpcId": network.vpc,
            "ServiceName": name,
            "SubnetIds": list(network.subnets),
            "SecurityGroupIds": list(network.endpoint_groups),
            "PrivateDnsEnabled": True,
            "TagSpecifications": [{"ResourceType": "vpc-endpoint", "Tags": tags}],
        }
        for name in (f"com.amazonaws.{region}.{service}" for service in _SSM_SERVICES)
        if name not in present
    ]


def _performance(volume: ManifestVolume) -> dict[str, Any]:
    ebs: dict[str, Any] = {"VolumeSize": volume.size, "VolumeType": volume.type}
    if volume.iops and volume.type in _PROVISIONED:
        ebs["Iops"] = volume.iops
    if volume.throughput and volume.type == "gp3":
        ebs["Throughput"] = volume.throughput
    return ebs


def volume_tags(volume: ManifestVolume) -> dict[str, str]:
    """The volume's own tags, as far as they fit beside those of the run: a launch gives all volumes the same."""
    return dict(list(user_tags(volume.tags).items())[: MAX_TAGS - OWN_TAGS])


def _own_tags(member: Member, run: Run, installation: str) -> dict[str, str]:
    return {
        run.request.mode.tag: run_tag(installation=installation, run=run.name),
        RECOVERED_FROM: member.point,
        RECOVERED_RESOURCE: member.resource,
    }


def _instance_tags(member: Member, manifest: Manifest, run: Run, installation: str) -> dict[str, str]:
    """A restore's instance carries its own tags, a drill's none: other tools act by tags, and would act on it."""
    assert manifest.instance is not None, "only an instance is launched"
    own = _own_tags(member, run, installation)
    if run.request.mode is Mode.DRILL:
        return {**own, "Name": f"hikae drill of {member.resource}"}
    return _fill(own, manifest.instance.tags)


def _fill(own: dict[str, str], carried: Mapping[str, str]) -> dict[str, str]:
    return own | dict(list(user_tags(carried).items())[: MAX_TAGS - len(own)])


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
