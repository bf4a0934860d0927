"""An instance with every peculiarity comes back as it was; what cannot come back is in the record by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hikae.domain.runs import Mode, Request
from hikae.operations.recovery.foresee import foresee
from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of
from local.twin import faults
from tests.integration.operations.test_recovery import DRILL, Dying, described, leftovers, record_of, volumes_of

REQUEST = {"mode": "restore", "plan": "production", "started_by": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One peculiar instance, protected and copied, and what there is for it at the recovery site."""

    installation: Installation
    instance: str
    here: dict[str, str]
    group_here: str
    address_here: str
    settings: str

    def launched(self) -> dict[str, Any]:
        """What `GetLaunchTemplateData` says of the one instance that was restored."""
        ec2 = self.installation.twin.client("ec2", RECOVERY)
        data: dict[str, Any] = ec2.get_launch_template_data(InstanceId=self.restored()["InstanceId"])
        return data["LaunchTemplateData"]

    def restored(self) -> dict[str, Any]:
        ec2 = self.installation.twin.client("ec2", RECOVERY)
        filters = [{"Name": "tag-key", "Values": ["hikae:recovery"]}]
        [reservation] = ec2.describe_instances(Filters=filters)["Reservations"]
        found: dict[str, Any] = reservation["Instances"][0]
        return found

    def registered(self) -> list[dict[str, Any]]:
        elb = self.installation.twin.client("elbv2", RECOVERY)
        health = elb.describe_target_health(TargetGroupArn=self.group_here)["TargetHealthDescriptions"]
        return [each["Target"] for each in health]


def make_network(installation: Installation, region: Any, network: dict[str, str]) -> dict[str, str]:
    """A second subnet in the same zone, a second security group, an address and a target group."""
    ec2, elb = installation.twin.client("ec2", region), installation.twin.client("elbv2", region)
    second = ec2.create_subnet(VpcId=network["vpc"], CidrBlock="172.31.64.0/20", AvailabilityZone=f"{region}a")
    group = ec2.create_security_group(GroupName="storage", Description="x", VpcId=network["vpc"])
    targets = elb.create_target_group(Name="shop", Protocol="HTTP", Port=80, VpcId=network["vpc"])
    return network | {
        "second": second["Subnet"]["SubnetId"],
        "storage": group["GroupId"],
        "address": ec2.allocate_address(Domain="vpc")["AllocationId"],
        "targets": targets["TargetGroups"][0]["TargetGroupArn"],
    }


def make_scene(installation: Installation) -> Scene:
    there = make_network(installation, PRIMARY, installation._make_vpc("172.31.0.0/16", "172.31.{}.0/20", PRIMARY))
    here = make_network(installation, RECOVERY, installation.restore_vpc)
    [instance] = installation.launch(
        tags={"Backup": "production", "Name": "appliance"},
        CpuOptions={"CoreCount": 1, "ThreadsPerCore": 1},
        DisableApiTermination=True,
        DisableApiStop=True,
        InstanceInitiatedShutdownBehavior="terminate",
        Monitoring={"Enabled": True},
        EbsOptimized=True,
        HibernationOptions={"Configured": True},
        MaintenanceOptions={"AutoRecovery": "disabled"},
        PrivateDnsNameOptions={"HostnameType": "resource-name", "EnableResourceNameDnsARecord": True},
        CapacityReservationSpecification={"CapacityReservationPreference": "none"},
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        Placement={"Tenancy": "dedicated"},
        NetworkInterfaces=[
            {
                "DeviceIndex": 0,
                "SubnetId": there["a"],
                "Groups": [there["group"]],
                "Description": "front",
                "PrivateIpAddresses": [
                    {"PrivateIpAddress": "172.31.3.10", "Primary": True},
                    {"PrivateIpAddress": "172.31.3.11", "Primary": False},
                ],
            },
            {
                "DeviceIndex": 1,
                "SubnetId": there["second"],
                "Groups": [there["storage"]],
                "PrivateIpAddress": "172.31.65.7",
                "DeleteOnTermination": False,
            },
        ],
    )
    ec2 = installation.twin.client("ec2", PRIMARY)
    was = described(installation, instance, PRIMARY)
    for mapping in was["BlockDeviceMappings"]:
        tags = [{"Key": "Mount", "Value": mapping["DeviceName"]}, {"Key": "Tier", "Value": "gold"}]
        ec2.create_tags(Resources=[mapping["Ebs"]["VolumeId"]], Tags=tags)
    second = next(each for each in was["NetworkInterfaces"] if each["Attachment"]["DeviceIndex"] == 1)
    interface = second["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, SourceDestCheck={"Value": False})
    ec2.associate_address(AllocationId=there["address"], NetworkInterfaceId=interface)
    elb = installation.twin.client("elbv2", PRIMARY)
    elb.register_targets(TargetGroupArn=there["targets"], Targets=[{"Id": instance, "Port": 8080}])
    installation.apply("production", SNAPSHOT_PLAN + DRILL)
    installation.back_up()
    installation.copy_all()
    settings = (
        "version: 1\n"
        f"default_subnets: [{here['a']}]\n"
        f"subnets: {{{there['second']}: {here['second']}}}\n"
        f"security_groups: {{{there['group']}: {here['group']}, {there['storage']}: {here['storage']}}}\n"
        f"elastic_ips: {{{there['address']}: {here['address']}}}\n"
        f'target_groups: {{"{there["targets"]}": "{here["targets"]}"}}\n'
    )
    installation.set_recovery_settings(settings)
    return Scene(
        installation=installation,
        instance=instance,
        here=here,
        group_here=here["targets"],
        address_here=here["address"],
        settings=settings,
    )


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Installation() as installation:
        yield make_scene(installation)


def check(scene: Scene, was: dict[str, Any]) -> None:
    """Attribute by attribute, each as it was."""
    now = scene.restored()
    for key in (
        "InstanceType",
        "Architecture",
        "RootDeviceName",
        "EbsOptimized",
        "CpuOptions",
        "HibernationOptions",
        "MaintenanceOptions",
        "PrivateDnsNameOptions",
        "CapacityReservationSpecification",
        "MetadataOptions",
        "EnclaveOptions",
        "NetworkPerformanceOptions",
        "PrivateIpAddress",
        "Monitoring",
    ):
        assert now[key] == was[key], key
    assert now["Placement"]["Tenancy"] == "dedicated"
    launched = scene.launched()
    assert (launched["DisableApiTermination"], launched["DisableApiStop"]) == (True, True)
    assert launched["InstanceInitiatedShutdownBehavior"] == "terminate"

    def interfaces(of: dict[str, Any]) -> list[Any]:
        listed = sorted(of["NetworkInterfaces"], key=lambda each: each["Attachment"]["DeviceIndex"])
        return [
            (
                each["Attachment"]["DeviceIndex"],
                each["Attachment"]["DeleteOnTermination"],
                each["Description"],
                each["SourceDestCheck"],
                [(address["PrivateIpAddress"], address["Primary"]) for address in each["PrivateIpAddresses"]],
            )
            for each in listed
        ]

    assert interfaces(now) == interfaces(was)
    first, second = sorted(now["NetworkInterfaces"], key=lambda each: each["Attachment"]["DeviceIndex"])
    assert (first["SubnetId"], [group["GroupId"] for group in first["Groups"]]) == (
        scene.here["a"],
        [scene.here["group"]],
    )
    assert (second["SubnetId"], [group["GroupId"] for group in second["Groups"]]) == (
        scene.here["second"],
        [scene.here["storage"]],
    )
    ec2 = scene.installation.twin.client("ec2", RECOVERY)
    [address] = ec2.describe_addresses(AllocationIds=[scene.address_here])["Addresses"]
    assert (address["NetworkInterfaceId"], address["PrivateIpAddress"]) == (
        second["NetworkInterfaceId"],
        second["PrivateIpAddress"],
    )
    assert [(each["Id"], each["Port"]) for each in scene.registered()] == [(now["InstanceId"], 8080)]
    for device, volume in volumes_of(scene.installation, now["InstanceId"]).items():
        own = {key: value for key, value in tags_of(volume).items() if not key.startswith("hikae:")}
        assert own == {"Mount": device, "Tier": "gold"}
        assert tags_of(volume)["hikae:recovery"] == "main/restore-1"


def test_an_instance_with_every_peculiarity_is_restored_attribute_by_attribute(scene: Scene) -> None:
    was = described(scene.installation, scene.instance, PRIMARY)
    with faults.unreachable(PRIMARY):
        assert scene.installation.recover("restore-1").play({"request": REQUEST}) == "SUCCEEDED"
    check(scene, was)
    [member] = record_of(scene.installation, "restore-1")["members"]
    assert member["notes"] == []
    assert (member["rung"]["cores"], member["rung"]["threads"], member["rung"]["without"]) == (1, 1, [])


def test_every_step_of_it_may_come_twice(scene: Scene) -> None:
    was = described(scene.installation, scene.instance, PRIMARY)

    def call(event: dict[str, Any]) -> dict[str, Any]:
        scene.installation.run_step(event)
        return scene.installation.run_step(event)

    assert scene.installation.recover("restore-1", call=call).play({"request": REQUEST}) == "SUCCEEDED"
    check(scene, was)
    assert record_of(scene.installation, "restore-1")["members"][0]["notes"] == []


@pytest.mark.parametrize("phase", list(faults.Phase))
def test_it_may_be_killed_at_any_request(scene: Scene, phase: faults.Phase) -> None:
    was = described(scene.installation, scene.instance, PRIMARY)
    dying = Dying(scene.installation, phase)
    assert scene.installation.recover("restore-1", call=dying).play({"request": REQUEST}) == "SUCCEEDED"
    check(scene, was)
    assert record_of(scene.installation, "restore-1")["members"][0]["notes"] == []
    assert dying.deaths > 50


def test_a_drill_of_it_is_isolated_unprotected_and_leaves_no_interface(scene: Scene) -> None:
    installation = scene.installation
    seen: list[dict[str, Any]] = []

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = installation.run_step(event)
        if event["step"] == "probe":
            run = installation.recovery_site().load("drill-1")
            seen.extend(described(installation, member.instance) for member in run.members)
        return answer

    assert installation.recover("drill-1", call=call).play({"request": {**REQUEST, "mode": "drill"}}) == "SUCCEEDED"
    for interface in seen[0]["NetworkInterfaces"]:
        assert interface["SubnetId"] == installation.drill_vpc["a"]
        assert [group["GroupId"] for group in interface["Groups"]] == [installation.drill_vpc["group"]]
    assert len(seen[0]["NetworkInterfaces"]) == 2
    assert leftovers(installation) == []
    ec2 = installation.twin.client("ec2", RECOVERY)
    filters = [{"Name": "vpc-id", "Values": [installation.drill_vpc["vpc"]]}]
    assert ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"] == []
    assert scene.registered() == []


def test_what_the_settings_name_nothing_for_is_foreseen_and_recorded_by_name(scene: Scene) -> None:
    installation = scene.installation
    installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{scene.here['a']}]\ndefault_security_groups: [{scene.here['group']}]\n"
    )
    request = Request(mode=Mode.RESTORE, resources=(scene.instance,))
    foreseen = foresee("restore-1", request, installation.recovery_site(), now=installation.twin.clock.now())
    asked = {"mode": "restore", "resources": [scene.instance], "started_by": "test"}
    assert installation.recover("restore-1").play({"request": asked}) == "SUCCEEDED"
    notes = record_of(installation, "restore-1")["members"][0]["notes"]
    assert [each.split(" ")[:5] for each in foreseen.losses[scene.instance]] == [
        ["not", "restored:", "its", "network", "interface"],
        ["not", "restored:", "it", "had", "the"],
        ["not", "restored:", "it", "was", "in"],
    ]
    assert set(foreseen.losses[scene.instance]) < set(notes)
    assert notes[0] == "it has another private address: 172.31.65.7 is not in 172.31.0.0/20"
    restored = scene.restored()
    assert len(restored["NetworkInterfaces"]) == 2
    assert {each["SubnetId"] for each in restored["NetworkInterfaces"]} == {scene.here["a"]}


def test_a_placement_group_that_is_not_there_is_found_before_anything_is_launched(installation: Installation) -> None:
    ec2, here = (installation.twin.client("ec2", region) for region in (PRIMARY, RECOVERY))
    ec2.create_placement_group(GroupName="hpc", Strategy="partition", PartitionCount=3)
    installation.launch(Placement={"GroupName": "hpc", "PartitionNumber": 2})
    installation.apply("production", SNAPSHOT_PLAN + DRILL)
    installation.back_up()
    installation.copy_all()
    installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
        f"default_security_groups: [{installation.restore_vpc['group']}]\nplacement_groups: {{hpc: hpc-west}}\n"
    )
    assert installation.recover("restore-1").play({"request": REQUEST}) == "FAILED"
    assert "placement group hpc-west is not there" in record_of(installation, "restore-1")["failure"]
    assert installation.twin.count("RunInstances", region=RECOVERY) == 0
    here.create_placement_group(GroupName="hpc-west", Strategy="partition", PartitionCount=3)
    assert installation.recover("restore-2").play({"request": REQUEST}) == "SUCCEEDED"
    [member] = record_of(installation, "restore-2")["members"]
    placement = described(installation, member["instance"])["Placement"]
    assert (placement["GroupName"], placement["PartitionNumber"]) == ("hpc-west", 2)


def test_what_is_refused_while_connecting_is_noted_and_the_rest_is_done(scene: Scene) -> None:
    with faults.refused("CreateTags", "UnauthorizedOperation", status=403):
        assert scene.installation.recover("restore-1").play({"request": REQUEST}) == "SUCCEEDED"
    notes = record_of(scene.installation, "restore-1")["members"][0]["notes"]
    assert [note.partition(":")[0] for note in notes] == [
        f"it did not get the tags of its volume at {device}" for device in ("/dev/xvda", "/dev/sdf")
    ]
    assert len(scene.registered()) == 1


def test_an_address_that_is_taken_by_another_is_noted(scene: Scene) -> None:
    installation = scene.installation
    assert installation.recover("restore-1").play({"request": REQUEST}) == "SUCCEEDED"
    request = {"mode": "restore", "resources": [scene.instance], "started_by": "test"}
    assert installation.recover("restore-2").play({"request": request}) == "SUCCEEDED"
    notes = record_of(installation, "restore-2")["members"][0]["notes"]
    assert notes[0] == "it has other private addresses: one of 172.31.3.10, 172.31.3.11, 172.31.65.7 is taken"
    assert any(note.startswith(f"it did not get Elastic IP address {scene.address_here}") for note in notes)


def test_a_point_of_an_earlier_version_is_restored_and_says_what_it_does_not_know(scene: Scene) -> None:
    installation = scene.installation
    site = installation.recovery_site()
    for key in site.documents.keys("manifests/"):
        document = site.documents.read(key)
        for added in ("type", "launch", "target_groups", "unknown"):
            del document["source"][added]
        site.documents.write(key, document)
    assert installation.recover("restore-1").play({"request": REQUEST}) == "SUCCEEDED"
    notes = record_of(installation, "restore-1")["members"][0]["notes"]
    assert len(notes) == 2
    assert "nobody knows its credit option" in notes[0]
    assert "an earlier version of hikae wrote the manifest" in notes[0]
    assert "nobody knows the target groups" in notes[1]
