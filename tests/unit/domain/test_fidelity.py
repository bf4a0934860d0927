"""Every attribute of an instance comes back, is named, or is another by nature: none goes without a word."""

from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from hikae.aws import ec2 as described_by
from hikae.domain.fidelity import FATES, Fate, Loss, find_differences, find_losses
from hikae.domain.launches import launch_request
from hikae.domain.manifest import Manifest, read_manifest
from hikae.domain.model import Kind
from hikae.domain.networks import Subnet
from hikae.domain.recovery_settings import InstanceSettings, RecoverySettings
from hikae.domain.runs import Member, Mode, Request, Run, Rung
from hikae.domain.targets import restore_target
from tests.unit.domain.builders import NOW
from tests.unit.domain.test_manifest import written

MODEL = botocore.session.get_session().get_service_model("ec2")
SETTINGS = RecoverySettings(default_subnets=("subnet-a",), default_security_groups=("sg-a",))
SUBNET = Subnet(id="subnet-a", zone="us-west-2a", vpc="vpc-1", cidr="10.0.0.0/24", free=10, has_ipv6=True)


def manifest(source: dict[str, Any] | None = None, **described: Any) -> Manifest:
    document = written(**(source or {}).pop("document", {}) if source else {})
    document["source"]["instance"] |= described
    document["source"] |= source or {}
    return read_manifest(document)


def losses(was: Manifest, settings: RecoverySettings = SETTINGS) -> list[Loss]:
    return list(find_losses("i-1", was, settings))


def test_every_attribute_that_ec2_describes_has_a_fate():
    assert set(FATES) == set(MODEL.shape_for("Instance").members)


def test_all_that_is_restored_or_named_is_in_the_manifest():
    elsewhere = {"BlockDeviceMappings", "NetworkInterfaces", "Tags"}  # in keys of their own
    wanted = {name for name, fate in FATES.items() if fate is not Fate.NEW} - elsewhere
    assert not wanted - set(described_by._INSTANCE_FIELDS)


def sample(shape: Any) -> Any:
    """A value with every member that EC2 could say."""
    if shape.type_name == "structure":
        return {name: sample(member) for name, member in shape.members.items()}
    if shape.type_name == "list":
        return [sample(shape.member)]
    known = {"boolean": True, "integer": 1, "long": 1, "timestamp": "2026-11-22T10:00:00Z", "double": 1.0}
    return known.get(shape.type_name) or (shape.enum[-1] if getattr(shape, "enum", None) else "x")


@pytest.mark.parametrize("mode", list(Mode))
def test_whatever_ec2_says_of_an_instance_makes_a_request_that_ec2_takes(mode: Mode):
    """Describes have keys that requests do not: one of them, passed on, and nothing could be restored."""
    described = sample(MODEL.shape_for("Instance"))
    interfaces = described.pop("NetworkInterfaces")
    for interface in interfaces:
        interface["Attachment"]["DeviceIndex"] = 0
    launch = sample(MODEL.shape_for("ResponseLaunchTemplateData"))
    was = manifest({"network_interfaces": interfaces, "launch": launch}, **described)
    member = Member(
        resource="i-1", kind=Kind.SNAPSHOT_SET, point="rp-1", set_id="s", source_time=NOW, manifest="m", account="1",
        region="us-east-1", registered="ami-1",
    )  # fmt: skip
    run = Run(name="run-1", request=Request(mode=mode, resources=("i-1",)), began_at=NOW)
    request = launch_request(
        member,
        was,
        run,
        restore_target("i-1", was, SETTINGS),
        rung=Rung(type="m5.large", subnet="subnet-a", zone="us-west-2a", cores=1, threads=1),
        with_ip=True,
        installation="main",
        subnets={"subnet-a": SUBNET},
    )
    report = ParamValidator().validate(request, MODEL.operation_model("RunInstances").input_shape)
    assert report.generate_report() == ""


@pytest.mark.parametrize(
    ("source", "described", "expected"),
    [
        ({"launch": {}, "unknown": {"launch": "UnauthorizedOperation"}}, {}, "whether it was protected against being"),
        (
            {"unknown": {"target_groups": "Throttling"}},
            {},
            "nobody knows the target groups that it was in (Throttling)",
        ),
        (
            {},
            {"Placement": {"GroupName": "hpc", "PartitionNumber": 2}},
            "the placement group hpc, partition 2; make one",
        ),
        (
            {},
            {"Placement": {"Tenancy": "host", "HostId": "h-1"}},
            "it ran on h-1, and is launched with default tenancy",
        ),
        (
            {},
            {"CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": "cr-1"}}},
            "it was launched into cr-1",
        ),
        (
            {},
            {"CapacityReservationSpecification": {"CapacityReservationPreference": "capacity-reservations-only"}},
            "it was launched into Capacity Reservations only",
        ),
        ({}, {"OutpostArn": "arn:outpost"}, "it ran on the Outpost arn:outpost"),
        ({}, {"Operator": {"Managed": True, "Principal": "eks"}}, "it was managed by eks"),
        ({}, {"InstanceLifecycle": "spot"}, "it was bought as spot, and is launched On-Demand"),
        ({}, {"Licenses": [{"LicenseConfigurationArn": "arn:lic"}]}, "its license configurations arn:lic"),
        ({"tags": {"aws:autoscaling:groupName": "web"}}, {}, "it belonged to web"),
        ({}, {"KernelId": "aki-1"}, "its kernel aki-1"),
        ({}, {"ProductCodes": [{"ProductCodeId": "abc"}]}, "the product codes abc"),
        ({}, {"MaintenanceOptions": {"RebootMigration": "disabled"}}, "its reboot migration was disabled"),
        ({}, {"PublicIpAddress": "203.0.113.5"}, "its public address 203.0.113.5 was EC2's"),
        ({"elastic_ips": [{"PublicIp": "203.0.113.9"}]}, {}, "it had the Elastic IP address 203.0.113.9"),
        ({"target_groups": [{"TargetGroupArn": "arn:tg", "Id": "i-1"}]}, {}, "it was in the target groups arn:tg"),
        (
            {"document": {"left_out": {"vol-2": "scratch"}, "members": 1}},
            {},
            "vol-2 at /dev/sdf is in no point: scratch",
        ),
        ({"network_interfaces": [{"Ipv6Addresses": [{"Ipv6Address": "fd00::1"}]}]}, {}, "interface 0 had fd00::1"),
        ({"network_interfaces": [{"Ipv4Prefixes": [{"Ipv4Prefix": "10.0.0.16/28"}]}]}, {}, "0 had 10.0.0.16/28"),
        ({"network_interfaces": [{"Attachment": {"EnaQueueCount": 8}}]}, {}, "interface 0 had 8 ENA queues"),
        (
            {"network_interfaces": [{"Attachment": {"EnaSrdSpecification": {"EnaSrdEnabled": True}}}]},
            {},
            "interface 0 had ENA Express",
        ),
        (
            {
                "network_interfaces": [
                    {"SubnetId": "subnet-1", "Attachment": {"DeviceIndex": 0}},
                    {"SubnetId": "subnet-2", "Attachment": {"DeviceIndex": 1}},
                ]
            },
            {},
            "interface 1 was in subnet-2, and goes where the first one goes; name it under subnets",
        ),
        ({}, {"SecondaryInterfaces": [{}]}, "its 1 interfaces of a secondary network"),
        ({"tags": {f"key-{number:02}": "x" for number in range(48)}}, {}, "its tags key-47 did not fit"),
    ],
)
def test_what_does_not_come_back_is_named(source: dict[str, Any], described: dict[str, Any], expected: str):
    found = losses(manifest(source, **described))
    assert len(found) == 1
    assert expected in str(found[0])


def test_an_instance_without_peculiarities_loses_nothing():
    assert losses(manifest()) == []


@pytest.mark.parametrize(
    "settings",
    [
        RecoverySettings(elastic_ips={"203.0.113.9": "eipalloc-9"}, target_groups={"arn:tg": "arn:here"}),
        RecoverySettings(elastic_ips={"eipalloc-1": "eipalloc-9"}, target_groups={"arn:tg": "arn:here"}),
        RecoverySettings(instances={"i-1": InstanceSettings(elastic_ip="eipalloc-9", target_groups=("arn:here",))}),
    ],
)
def test_what_the_settings_name_a_stand_in_for_is_not_lost(settings: RecoverySettings):
    source: dict[str, Any] = {
        "elastic_ips": [{"PublicIp": "203.0.113.9", "AllocationId": "eipalloc-1", "PrivateIpAddress": "10.9.0.7"}],
        "target_groups": [{"TargetGroupArn": "arn:tg", "Id": "i-1", "Port": 8080}],
    }
    was = manifest(source, PrivateIpAddress="10.9.0.7")
    assert losses(was, settings) == []
    target = restore_target("i-1", was, settings)
    assert [each.id for each in target.elastic_ips] == ["eipalloc-9"]
    assert [each.id for each in target.target_groups] == ["arn:here"]


def test_stand_ins_go_to_the_interface_address_and_port_of_what_they_stand_for():
    interfaces = [
        {"Attachment": {"DeviceIndex": 0}, "PrivateIpAddresses": [{"PrivateIpAddress": "10.9.0.7", "Primary": True}]},
        {
            "Attachment": {"DeviceIndex": 1},
            "PrivateIpAddresses": [
                {"PrivateIpAddress": "10.9.1.9", "Primary": False},
                {"PrivateIpAddress": "10.9.1.8", "Primary": True},
            ],
        },
    ]
    source: dict[str, Any] = {
        "network_interfaces": interfaces,
        "elastic_ips": [{"PublicIp": "203.0.113.9", "PrivateIpAddress": "10.9.1.9"}],
        "target_groups": [{"TargetGroupArn": "arn:tg", "Id": "10.9.1.8", "Port": 8080, "TargetType": "ip"}],
    }
    settings = RecoverySettings(elastic_ips={"203.0.113.9": "eipalloc-9"}, target_groups={"arn:tg": "arn:here"})
    target = restore_target("i-1", manifest(source, PrivateIpAddress="10.9.0.7"), settings)
    [address], [group] = target.elastic_ips, target.target_groups
    assert (address.device, address.position) == (1, 1)
    assert (group.device, group.position, group.port, group.is_address) == (1, 0, 8080, True)


AS_IT_WAS: dict[str, Any] = {
    "InstanceType": "m5.large",
    "Architecture": "x86_64",
    "RootDeviceName": "/dev/xvda",
    "PlatformDetails": "Windows",
    "EbsOptimized": True,
    "Monitoring": {"State": "enabled"},
    "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1},
    "HibernationOptions": {"Configured": False},
    "BlockDeviceMappings": [{"DeviceName": device, "Ebs": {}} for device in ("/dev/xvda", "/dev/sdf")],
    "NetworkInterfaces": [{"NetworkInterfaceId": "eni-9"}],
}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({}, ()),
        ({"Monitoring": {"State": "pending"}}, ()),
        ({"HibernationOptions": {}}, ()),
        ({"TpmSupport": "v2.0"}, ()),  # nobody said then that it had none
        ({"PlatformDetails": "Linux/UNIX"}, ("it has PlatformDetails Linux/UNIX, and had Windows",)),
        ({"PlatformDetails": None}, ("it has PlatformDetails nothing, and had Windows",)),
        ({"EbsOptimized": False}, ("it has EbsOptimized false, and had true",)),
        ({"Monitoring": {"State": "disabled"}}, ("it has Monitoring.State disabled, and had enabled",)),
        (
            {"CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 2}},
            ("it has CpuOptions.ThreadsPerCore 2, and had 1",),
        ),
        ({"CpuOptions": {"CoreCount": 2, "ThreadsPerCore": 2}, "InstanceType": "m5a.xlarge"}, ()),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {}}]}, ("it has no volume at /dev/sdf",)),
        ({"NetworkInterfaces": []}, ("it has 0 network interfaces, and had 1",)),
    ],
)
def test_what_differs_once_it_runs_is_found(now: dict[str, Any], expected: tuple[str, ...]):
    was = {key: value for key, value in AS_IT_WAS.items() if key not in ("BlockDeviceMappings", "NetworkInterfaces")}
    assert find_differences(manifest(**was), AS_IT_WAS | now) == expected
