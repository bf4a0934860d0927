"""Network interfaces: as many as there were, where they belong, with their addresses as far as these can be had."""

from typing import Any

import pytest

from hikae.domain.manifest import ManifestInstance, read_manifest
from hikae.domain.networks import (
    Interface,
    Subnet,
    addresses_of,
    are_plain,
    can_have_ip,
    count_addresses,
    list_interfaces,
    place_interfaces,
    plan_interface,
)
from tests.unit.domain.test_manifest import written

FIRST = Subnet(id="subnet-a", zone="us-west-2a", vpc="vpc-1", cidr="10.0.0.0/24", free=10)
OTHER = Subnet(id="subnet-o", zone="us-west-2a", vpc="vpc-1", cidr="10.0.1.0/24", free=10, has_ipv6=True)
FAR = Subnet(id="subnet-f", zone="us-west-2b", vpc="vpc-1", cidr="10.0.2.0/24", free=10)
ALL = {each.id: each for each in (FIRST, OTHER, FAR)}


def instance(*interfaces: dict[str, Any]) -> ManifestInstance:
    document = written()
    document["source"]["network_interfaces"] = list(interfaces)
    found = read_manifest(document).instance
    assert found is not None
    return found


def test_interfaces_are_in_the_order_of_their_device_index_and_the_first_is_always_there():
    first, second = {"Attachment": {"DeviceIndex": 0}}, {"Attachment": {"DeviceIndex": 1}}
    assert list_interfaces(instance(second, first)) == (first, second)
    assert list_interfaces(instance(second)) == ({}, second)
    assert list_interfaces(instance()) == ({},)


def test_the_main_address_comes_first_and_another_may_take_its_place():
    described = {
        "PrivateIpAddresses": [
            {"PrivateIpAddress": "10.9.0.8", "Primary": False},
            {"PrivateIpAddress": "10.9.0.7", "Primary": True},
        ]
    }
    assert addresses_of(described) == ("10.9.0.7", "10.9.0.8")
    assert addresses_of(described, first="10.0.0.9") == ("10.0.0.9", "10.9.0.8")
    assert addresses_of({}, first="10.0.0.9") == ("10.0.0.9",)


@pytest.mark.parametrize(
    ("described", "is_plain"),
    [
        ({}, True),
        ({"PrivateIpAddresses": [{"PrivateIpAddress": "10.9.0.7"}]}, True),
        ({"PrivateIpAddresses": [{"PrivateIpAddress": "10.9.0.7"}, {"PrivateIpAddress": "10.9.0.8"}]}, False),
        ({"Ipv6Addresses": [{"Ipv6Address": "fd00::1"}]}, False),
        ({"InterfaceType": "efa"}, False),
        ({"Attachment": {"DeviceIndex": 0, "DeleteOnTermination": False}}, False),
        ({"ConnectionTrackingConfiguration": {"UdpTimeout": 40}}, False),
    ],
)
def test_only_what_a_launch_makes_by_itself_is_plain(described: dict[str, Any], is_plain: bool):  # noqa: FBT001 - a table
    assert are_plain([plan_interface(described, groups=["sg-1"])]) is is_plain


def test_two_interfaces_are_never_plain():
    assert not are_plain([Interface(), Interface(device=1)])


def request(interface: Interface, *, with_ip: bool = True) -> tuple[dict[str, Any], tuple[str, ...]]:
    placed = place_interfaces([interface], FIRST, ALL, with_ip=with_ip)
    return placed.requests[0], placed.notes


@pytest.mark.parametrize(
    ("addresses", "asked", "notes"),
    [
        (("10.0.0.9",), {"PrivateIpAddress": "10.0.0.9"}, 0),
        (
            ("10.0.0.9", "10.0.0.8"),
            {
                "PrivateIpAddresses": [
                    {"PrivateIpAddress": "10.0.0.9", "Primary": True},
                    {"PrivateIpAddress": "10.0.0.8", "Primary": False},
                ]
            },
            0,
        ),
        (("10.0.0.9", "10.9.0.8"), {"PrivateIpAddress": "10.0.0.9", "SecondaryPrivateIpAddressCount": 1}, 1),
        (("10.9.0.9", "10.0.0.8"), {"SecondaryPrivateIpAddressCount": 1}, 2),
        (("10.9.0.9", "10.9.0.8"), {"SecondaryPrivateIpAddressCount": 1}, 2),
    ],
)
def test_addresses_are_asked_for_by_name_where_the_subnet_has_them_and_by_number_elsewhere(
    addresses: tuple[str, ...], asked: dict[str, Any], notes: int
):
    found, said = request(Interface(addresses=addresses, count=len(addresses)))
    assert {key: value for key, value in found.items() if "PrivateIp" in key} == asked
    assert len(said) == notes
    by_number, _ = request(Interface(addresses=addresses, count=len(addresses)), with_ip=False)
    assert not {"PrivateIpAddress", "PrivateIpAddresses"} & set(by_number)
    assert by_number.get("SecondaryPrivateIpAddressCount", 0) == len(addresses) - 1


def test_an_interface_goes_into_its_own_subnet_if_that_is_in_the_same_zone():
    assert request(Interface(device=1, subnet="subnet-o"))[0]["SubnetId"] == "subnet-o"
    found, notes = request(Interface(device=1, subnet="subnet-f"))
    assert found["SubnetId"] == "subnet-a"
    assert notes == ("its network interface 1 is in subnet-a: subnet-f is not in us-west-2a",)


def test_ipv6_is_asked_for_only_where_the_subnet_has_it():
    assert request(Interface(device=1, subnet="subnet-o", ipv6_count=2))[0]["Ipv6AddressCount"] == 2
    assert "Ipv6AddressCount" not in request(Interface(ipv6_count=2))[0]


def test_kind_card_description_and_tracking_are_kept():
    described = {
        "NetworkInterfaceId": "eni-1",
        "Attachment": {"DeviceIndex": 2, "NetworkCardIndex": 1, "DeleteOnTermination": False},
        "InterfaceType": "efa",
        "Description": "fabric",
        "ConnectionTrackingConfiguration": {"UdpTimeout": 40},
    }
    found, _ = request(plan_interface(described, groups=["sg-1"]))
    assert found == {
        "DeviceIndex": 2,
        "NetworkCardIndex": 1,
        "SubnetId": "subnet-a",
        "Groups": ["sg-1"],
        "DeleteOnTermination": False,
        "Description": "fabric",
        "InterfaceType": "efa",
        "ConnectionTrackingSpecification": {"UdpTimeout": 40},
    }


def test_all_addresses_are_counted_in_the_subnet_that_they_take_them_from():
    interfaces = [Interface(count=3), Interface(device=1, subnet="subnet-o", count=2)]
    assert count_addresses(interfaces, "subnet-a") == 3
    assert count_addresses(interfaces, "subnet-o") == 5
    assert count_addresses([], "subnet-a") == 1


@pytest.mark.parametrize(
    ("address", "is_free"),
    [
        ("10.0.0.4", True),
        ("10.0.0.3", False),
        ("10.0.0.0", False),
        ("10.0.0.254", True),
        ("10.0.0.255", False),
        ("10.0.1.9", False),
        ("", False),
    ],
)
def test_aws_keeps_five_addresses_of_a_subnet(address: str, is_free: bool):  # noqa: FBT001 - a table's column
    assert can_have_ip(address, FIRST) is is_free
