"""Where and as what an instance is launched."""

from dataclasses import replace

from hikae.domain.launches import (
    launch_request,
)
from hikae.domain.manifest import read_manifest
from hikae.domain.recovery_settings import InstanceSettings, RecoverySettings
from hikae.domain.targets import drill_target, restore_target
from tests.unit.domain.recovery_builders import NETWORK, RUN, RUNG, SUBNETS, manifest, member
from tests.unit.domain.test_manifest import written


def test_a_drill_has_all_interfaces_in_its_own_network_and_leaves_none():
    document = written()
    document["source"]["network_interfaces"] = [
        {
            "Attachment": {"DeviceIndex": number, "DeleteOnTermination": False},
            "SubnetId": f"subnet-{number}",
            "Groups": [{"GroupId": f"sg-{number}"}],
            "PrivateIpAddresses": [{"PrivateIpAddress": f"10.9.{number}.9", "Primary": True}],
        }
        for number in range(2)
    ]
    was = read_manifest(document)
    assert was.instance is not None
    target = drill_target(was.instance, NETWORK, own_profile=False)
    rung = replace(RUNG, subnet="subnet-a")
    request = launch_request(
        member(), was, RUN, target, rung=rung, with_ip=True, installation="main", subnets={"subnet-a": SUBNETS[0]}
    )
    assert [
        (each["DeviceIndex"], each["SubnetId"], each["Groups"], each["DeleteOnTermination"])
        for each in request["NetworkInterfaces"]
    ] == [(number, "subnet-a", list(NETWORK.security_groups), True) for number in range(2)]
    assert not {"SubnetId", "SecurityGroupIds", "PrivateIpAddress"} & set(request)


def test_every_interface_has_the_groups_and_the_subnet_that_stand_for_its_own():
    document = written()
    document["source"]["network_interfaces"] = [
        {
            "Attachment": {"DeviceIndex": number},
            "SubnetId": f"subnet-{number}",
            "Groups": [{"GroupId": f"sg-{number}"}],
        }
        for number in range(2)
    ]
    was = read_manifest(document)
    settings = RecoverySettings(
        default_subnets=("subnet-a",), subnets={"subnet-1": "subnet-o"}, security_groups={"sg-0": "sg-a"}
    )
    target = restore_target("i-1", was, settings)
    assert target.problems == ("no security group stands for sg-1; name it under security_groups",)
    target = restore_target("i-1", was, replace(settings, security_groups={"sg-0": "sg-a", "sg-1": "sg-b"}))
    assert [(each.subnet, each.groups) for each in target.interfaces] == [("", ("sg-a",)), ("subnet-o", ("sg-b",))]
    assert (target.all_subnets, target.all_security_groups) == (("subnet-a", "subnet-o"), ("sg-a", "sg-b"))
    assert target.problems == ()


def test_a_restore_goes_where_the_settings_say_and_names_what_they_do_not_answer():
    was = manifest(SubnetId="subnet-1", KeyName="prod", PrivateIpAddress="10.9.0.7")
    assert was.instance is not None
    settings = RecoverySettings(
        subnets={"subnet-1": "subnet-9"},
        default_subnets=("subnet-8", "subnet-9"),
        security_groups={"sg-1": "sg-9"},
        key_pairs={"prod": "prod-west"},
        instances={"i-1": InstanceSettings(subnet="subnet-7")},
    )
    target = restore_target("i-1", was, settings)
    assert target.subnets == ("subnet-7", "subnet-8", "subnet-9")
    assert (target.security_groups, target.key_name, target.private_ip) == (("sg-9",), "prod-west", "10.9.0.7")
    assert target.problems == ()
    nothing = restore_target("i-1", was, RecoverySettings())
    assert nothing.problems == (
        "no subnet stands for subnet-1; name it under subnets or default_subnets",
        "no security group stands for sg-1; name it under security_groups",
    )
