"""RunInstances' options beside image, type and volumes: EC2 API Reference, RunInstances and GetLaunchTemplateData."""

from collections.abc import Callable
from typing import Any

import pytest

REGION = "us-east-1"
Launch = Callable[..., dict[str, Any]]


def launched(cloud: Any, instance: dict[str, Any]) -> dict[str, Any]:
    ec2 = cloud.client("ec2", REGION)
    data: dict[str, Any] = ec2.get_launch_template_data(InstanceId=instance["InstanceId"])["LaunchTemplateData"]
    return data


@pytest.fixture
def subnet() -> Callable[[Any], dict[str, str]]:
    """A subnet of /24 with a security group."""

    def make(cloud: Any, *, zone: str = "a", cidr: str = "10.7.0.0/24") -> dict[str, str]:
        ec2 = cloud.client("ec2", REGION)
        vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
        return {"vpc": vpc, "subnet": made, "group": group}

    return make


def interface(made: dict[str, str], index: int = 0, **more: Any) -> dict[str, Any]:
    return {"DeviceIndex": index, "SubnetId": made["subnet"], "Groups": [made["group"]], **more}


def addresses(instance: dict[str, Any]) -> dict[int, list[str]]:
    return {
        each["Attachment"]["DeviceIndex"]: [address["PrivateIpAddress"] for address in each["PrivateIpAddresses"]]
        for each in instance["NetworkInterfaces"]
    }


def test_termination_protection_is_taken_at_launch(cloud: Any, launch: Launch) -> None:
    assert launched(cloud, launch(cloud, DisableApiTermination=True))["DisableApiTermination"] is True


def test_the_credit_option_is_what_was_asked_for(cloud: Any, launch: Launch) -> None:
    instance = launch(cloud, CreditSpecification={"CpuCredits": "unlimited"})
    assert launched(cloud, instance)["CreditSpecification"] == {"CpuCredits": "unlimited"}


def test_a_t3_is_unlimited_by_itself(cloud: Any, launch: Launch) -> None:
    assert launched(cloud, launch(cloud))["CreditSpecification"] == {"CpuCredits": "unlimited"}


def test_a_type_without_credits_has_no_credit_option_and_takes_none(
    twin: Any, launch: Launch, refused: Callable[[str], Any]
) -> None:
    ec2 = twin.client("ec2", REGION)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    request = {"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    with refused("InvalidParameterCombination"):
        ec2.run_instances(**request, CreditSpecification={"CpuCredits": "standard"})
    instance = ec2.run_instances(**request)["Instances"][0]
    assert "CreditSpecification" not in launched(twin, instance)


def test_cpu_options_are_described_whether_they_were_asked_for_or_not(cloud: Any, launch: Launch) -> None:
    assert launch(cloud)["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 2}
    asked = {"CoreCount": 1, "ThreadsPerCore": 1}
    assert launch(cloud, CpuOptions=asked)["CpuOptions"] == asked


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"CoreCount": 1}, "InvalidParameterCombination"),
        ({"CoreCount": 7, "ThreadsPerCore": 1}, "InvalidParameterValue"),
        ({"CoreCount": 1, "ThreadsPerCore": 3}, "InvalidParameterValue"),
    ],
)
def test_cpu_options_that_the_type_does_not_list_are_refused(
    cloud: Any, launch: Launch, refused: Callable[[str], Any], options: dict[str, Any], code: str
) -> None:
    with refused(code):
        launch(cloud, CpuOptions=options)


@pytest.mark.parametrize(
    ("request_", "key", "described"),
    [
        ({"MaintenanceOptions": {"AutoRecovery": "disabled"}}, "MaintenanceOptions", {"AutoRecovery": "disabled"}),
        ({"Placement": {"Tenancy": "dedicated"}}, "Placement", {"Tenancy": "dedicated"}),
        (
            {"CapacityReservationSpecification": {"CapacityReservationPreference": "none"}},
            "CapacityReservationSpecification",
            {"CapacityReservationPreference": "none"},
        ),
        (
            {"PrivateDnsNameOptions": {"HostnameType": "resource-name"}},
            "PrivateDnsNameOptions",
            {"HostnameType": "resource-name"},
        ),
    ],
)
def test_an_option_is_described_as_it_was_asked_for(
    cloud: Any, launch: Launch, request_: dict[str, Any], key: str, described: dict[str, Any]
) -> None:
    found = launch(cloud, **request_).get(key, {})
    assert described.items() <= found.items()


def test_interfaces_have_their_addresses_and_go_with_the_instance(
    cloud: Any, launch: Launch, subnet: Callable[..., dict[str, str]]
) -> None:
    made = subnet(cloud)
    first = [{"PrivateIpAddress": "10.7.0.9", "Primary": True}, {"PrivateIpAddress": "10.7.0.10", "Primary": False}]
    instance = launch(
        cloud,
        NetworkInterfaces=[
            interface(made, PrivateIpAddresses=first),
            interface(made, 1, SecondaryPrivateIpAddressCount=1, DeleteOnTermination=False),
        ],
    )
    found = addresses(instance)
    assert found[0] == ["10.7.0.9", "10.7.0.10"]
    assert len(set(found[1])) == 2
    assert not set(found[0]) & set(found[1])
    assert instance["SecurityGroups"][0]["GroupId"] == made["group"]
    fates = {
        each["Attachment"]["DeviceIndex"]: each["Attachment"]["DeleteOnTermination"]
        for each in instance["NetworkInterfaces"]
    }
    assert fates == {0: True, 1: False}


def test_an_instance_has_the_groups_of_its_primary_interface(
    cloud: Any, launch: Launch, subnet: Callable[..., dict[str, str]]
) -> None:
    made = subnet(cloud)
    instance = launch(cloud, NetworkInterfaces=[interface(made)])
    [primary] = instance["NetworkInterfaces"]
    assert instance["SecurityGroups"] == primary["Groups"] != []


def test_every_interface_has_its_own_groups_and_the_instance_those_of_the_first(
    cloud: Any, launch: Launch, subnet: Callable[..., dict[str, str]]
) -> None:
    made = subnet(cloud)
    ec2 = cloud.client("ec2", REGION)
    other = ec2.create_security_group(GroupName="other", Description="other", VpcId=made["vpc"])["GroupId"]
    instance = launch(cloud, NetworkInterfaces=[interface(made), interface(made, 1, Groups=[other])])
    groups = {
        each["Attachment"]["DeviceIndex"]: [group["GroupId"] for group in each["Groups"]]
        for each in instance["NetworkInterfaces"]
    }
    assert groups == {0: [made["group"]], 1: [other]}
    assert [group["GroupId"] for group in instance["SecurityGroups"]] == [made["group"]]


def test_tags_are_given_to_the_interfaces_that_a_launch_makes(cloud: Any, launch: Launch) -> None:
    tags = [{"Key": "run", "Value": "1"}]
    instance = launch(cloud, TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}])
    ids = [each["NetworkInterfaceId"] for each in instance["NetworkInterfaces"]]
    ec2 = cloud.client("ec2", REGION)
    assert ec2.describe_network_interfaces(NetworkInterfaceIds=ids)["NetworkInterfaces"][0]["TagSet"] == tags


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ([{}, {"DeviceIndex": 1}, {"DeviceIndex": 2}], "AttachmentLimitExceeded"),
        ([{}, {"DeviceIndex": 0}], "InvalidParameterValue"),
        ([{"SecondaryPrivateIpAddressCount": 5}], "PrivateIpAddressLimitExceeded"),
        ([{"PrivateIpAddress": "10.9.0.9"}], "InvalidParameterValue"),
        ([{}, {"DeviceIndex": 1, "PrivateIpAddress": "10.7.0.9"}], "InvalidIPAddress.InUse"),
        ([{"Ipv6AddressCount": 1}], "InvalidParameterValue"),
        (
            [
                {
                    "PrivateIpAddresses": [
                        {"PrivateIpAddress": "10.7.0.20", "Primary": True},
                        {"PrivateIpAddress": "10.7.0.21", "Primary": False},
                    ],
                    "SecondaryPrivateIpAddressCount": 1,
                }
            ],
            "InvalidParameterCombination",
        ),
    ],
)
def test_interfaces_that_cannot_be_had_are_refused_and_nothing_is_launched(  # noqa: PLR0917 - fixtures and a table
    cloud: Any,
    launch: Launch,
    refused: Callable[[str], Any],
    subnet: Callable[..., dict[str, str]],
    more: list[dict[str, Any]],
    code: str,
) -> None:
    made = subnet(cloud)
    launch(cloud, NetworkInterfaces=[interface(made, PrivateIpAddress="10.7.0.9")])
    with refused(code):
        launch(cloud, NetworkInterfaces=[interface(made) | each for each in more])
    assert len(cloud.client("ec2", REGION).describe_instances()["Reservations"]) == 1


def test_an_address_belongs_to_one_private_address_and_to_the_instance_of_its_interface(
    cloud: Any, launch: Launch, subnet: Callable[..., dict[str, str]]
) -> None:
    ec2 = cloud.client("ec2", REGION)
    wanted = [
        {"PrivateIpAddress": "10.7.0.9", "Primary": True},
        {"PrivateIpAddress": "10.7.0.10", "Primary": False},
    ]
    instance = launch(cloud, NetworkInterfaces=[interface(subnet(cloud), PrivateIpAddresses=wanted)])
    [eni] = instance["NetworkInterfaces"]
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    ec2.associate_address(
        AllocationId=allocation, NetworkInterfaceId=eni["NetworkInterfaceId"], PrivateIpAddress="10.7.0.10"
    )
    filters = [{"Name": "instance-id", "Values": [instance["InstanceId"]]}]
    [address] = ec2.describe_addresses(Filters=filters)["Addresses"]
    assert (address["InstanceId"], address["PrivateIpAddress"]) == (instance["InstanceId"], "10.7.0.10")


def test_an_address_cannot_be_given_to_a_private_address_that_is_not_there(
    cloud: Any, launch: Launch, refused: Callable[[str], Any]
) -> None:
    ec2 = cloud.client("ec2", REGION)
    interface_id = launch(cloud)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    with refused("InvalidParameterValue"):
        ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=interface_id, PrivateIpAddress="203.0.113.9")


def test_a_placement_group_is_there_before_anything_is_launched_into_it(
    twin: Any, launch: Launch, refused: Callable[[str], Any]
) -> None:
    ec2 = twin.client("ec2", REGION)
    with refused("InvalidPlacementGroup.Unknown"):
        launch(twin, Placement={"GroupName": "hpc"})
    ec2.create_placement_group(GroupName="hpc", Strategy="partition", PartitionCount=3)
    with refused("InvalidPlacementGroup.Duplicate"):
        ec2.create_placement_group(GroupName="hpc", Strategy="cluster")
    placement = launch(twin, Placement={"GroupName": "hpc", "PartitionNumber": 2})["Placement"]
    assert (placement["GroupName"], placement["PartitionNumber"]) == ("hpc", 2)
    filters = [{"Name": "group-name", "Values": ["hpc", "none"]}]
    assert [each["GroupName"] for each in ec2.describe_placement_groups(Filters=filters)["PlacementGroups"]] == ["hpc"]


@pytest.mark.parametrize("key", ["SecurityGroupIds", "PrivateIpAddress"])
def test_interfaces_and_what_speaks_of_the_first_one_exclude_each_other(
    cloud: Any, launch: Launch, refused: Callable[[str], Any], subnet: Callable[..., dict[str, str]], key: str
) -> None:
    made = subnet(cloud)
    given = {"SecurityGroupIds": [made["group"]], "PrivateIpAddress": "10.7.0.9"}[key]
    with refused("InvalidParameterCombination"):
        launch(cloud, NetworkInterfaces=[interface(made)], **{key: given})
