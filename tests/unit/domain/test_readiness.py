"""Readiness: each thing that a restore takes and that lacks is a finding with what to do, and only then."""

from dataclasses import replace
from typing import Any

import pytest

from hikae.domain.ladder import InstanceType, vcpu_quota_of
from hikae.domain.manifest import Manifest, read_manifest
from hikae.domain.networks import Interface, Subnet
from hikae.domain.readiness import SETTINGS, Need, Seen, Severity, find_gaps
from hikae.domain.recovery_settings import RecoverySettings
from hikae.domain.targets import StandIn, Target, restore_target
from tests.unit.domain.test_manifest import written


def manifest(**described: Any) -> Manifest:
    document = written()
    document["source"]["instance"] |= described
    return read_manifest(document)


def need(resource: str = "i-1", **target: Any) -> Need:
    given = {"subnets": ("subnet-a",), "security_groups": ("sg-a",), "key_name": "prod", "profile": "app", **target}
    return Need(resource=resource, manifest=manifest(KeyName="prod"), target=Target(**given))


def instance_type(name: str = "m5.large", *, vcpus: int = 2) -> InstanceType:
    return InstanceType(
        name=name,
        architectures=frozenset({"x86_64"}),
        boot_modes=frozenset({"legacy-bios", "uefi"}),
        virtualization=frozenset({"hvm"}),
        ena="supported",
        nvme="required",
        has_instance_store=False,
        has_tpm=True,
        vcpus=vcpus,
    )


TYPE = need().type
QUOTA = vcpu_quota_of(TYPE)
SUBNET = Subnet(id="subnet-a", zone="us-west-2a", vpc="vpc-a", cidr="10.0.0.0/24", free=100)
ROLE = "arn:aws:iam::123456789012:role/apps/app"
ALL_THERE = Seen(
    subnets={"subnet-a": SUBNET},
    security_groups={"sg-a": "vpc-a"},
    key_pairs={"prod"},
    profiles={"app": ROLE},
    passed_on=(ROLE,),
    types={TYPE: instance_type(TYPE)},
    offered={(TYPE, "us-west-2a")},
    quotas={QUOTA: 8},
    running={},
    is_key_usable=True,
)


def test_where_all_is_there_nothing_is_found() -> None:
    assert find_gaps([need()], ALL_THERE) == ()
    assert find_gaps([], ALL_THERE) == ()


@pytest.mark.parametrize("pattern", ["*", "arn:aws:iam::123456789012:role/apps/*", "arn:*:role/apps/a?p"])
def test_roles_may_be_named_by_patterns_as_in_policies(pattern: str) -> None:
    assert find_gaps([need()], replace(ALL_THERE, passed_on=(pattern,))) == ()


@pytest.mark.parametrize(
    ("seen", "what", "remedy"),
    [
        ({"is_key_usable": False}, "the site's key", "aws kms enable-key"),
        ({"subnets": {}}, "subnet subnet-a is not there", SETTINGS),
        ({"security_groups": {}}, "security group sg-a is not there", SETTINGS),
        ({"security_groups": {"sg-a": "vpc-b"}}, "sg-a is of vpc-b, the subnets are of vpc-a", "of one VPC"),
        ({"key_pairs": ()}, "key pair prod is not in this Region", "while the primary answers"),
        (
            {"key_pairs": (), "stored_keys": {"prod": "key-pairs/x.json"}},
            "key pair prod is not in this Region",
            "hikae ready --import-keys; its public half is kept as key-pairs/x.json",
        ),
        ({"profiles": {}}, "instance profile app is not there", "RestoreRoleArns"),
        ({"profiles": {"app": ""}}, "instance profile app has no role", "add-role-to-instance-profile"),
        ({"passed_on": ()}, f"{ROLE}, the role of instance profile app, may not be given", "RestoreRoleArns"),
        ({"passed_on": (f"{ROLE}-2", "arn:aws:iam::*:role/app")}, "may not be given", "RestoreRoleArns"),
        ({"offered": ()}, "there is no way to launch it", "other Availability Zones"),
        ({"types": {}}, "it does not exist in this Region", "recovery.instance_types"),
        ({"quotas": {QUOTA: 1}}, "is 1 vCPUs, 0 are in use and the run needs 2", "ask for more"),
        ({"running": {TYPE: 4}}, "is 8 vCPUs, 8 are in use and the run needs 2", "ask for more"),
        (
            {"subnets": {"subnet-a": replace(SUBNET, free=0)}},
            "subnet subnet-a has 0 free addresses, 1 are needed",
            "larger",
        ),
    ],
)
def test_what_lacks_is_found_with_what_to_do(seen: dict[str, Any], what: str, remedy: str) -> None:
    [finding] = find_gaps([need()], replace(ALL_THERE, **seen))
    assert finding.severity is Severity.LACKING
    assert what in finding.what
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("seen", "what"),
    [({"profiles": None}, "IAM does not answer"), ({"quotas": {}}, f"nobody knows the quota {QUOTA!r}")],
)
def test_what_nobody_knows_is_a_warning_and_no_gap(seen: dict[str, Any], what: str) -> None:
    [finding] = find_gaps([need()], replace(ALL_THERE, **seen))
    assert finding.severity is Severity.WARNING
    assert what in finding.what


ADDRESS, GROUP = "eipalloc-1", "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/shop/1"
CONNECTED = replace(ALL_THERE, addresses={ADDRESS: ""}, target_groups={GROUP: "vpc-a"})


def connected() -> Need:
    return need(elastic_ips=(StandIn(id=ADDRESS),), target_groups=(StandIn(id=GROUP), StandIn(id=GROUP)))


def test_an_address_and_a_target_group_that_are_there_are_nothing_to_say() -> None:
    assert find_gaps([connected()], CONNECTED) == ()


@pytest.mark.parametrize(
    ("seen", "what", "remedy"),
    [
        ({"addresses": {}}, f"Elastic IP address {ADDRESS} is not in this Region", "aws ec2 allocate-address"),
        ({"addresses": {ADDRESS: "i-9"}}, f"{ADDRESS} is associated with i-9", "aws ec2 disassociate-address"),
        ({"addresses": None}, f"nobody knows whether Elastic IP address {ADDRESS}", "ec2:DescribeAddresses"),
        ({"target_groups": {}}, f"target group {GROUP} is not in this Region", "aws elbv2 create-target-group"),
        ({"target_groups": {GROUP: "vpc-b"}}, "is of vpc-b, the subnets are of vpc-a", "of one VPC"),
        ({"target_groups": {GROUP: ""}}, "is of no VPC, the subnets are of vpc-a", "of one VPC"),
        (
            {"target_groups": None},
            f"nobody knows whether target group {GROUP}",
            "elasticloadbalancing:DescribeTargetGroups",
        ),
    ],
)
def test_what_a_restore_works_without_is_a_warning(seen: dict[str, Any], what: str, remedy: str) -> None:
    [finding] = find_gaps([connected()], replace(CONNECTED, **seen))
    assert finding.severity is Severity.WARNING
    assert what in finding.what
    assert remedy in finding.remedy
    assert finding.resources == ("i-1",)


def test_another_type_that_can_boot_it_is_a_warning() -> None:
    seen = replace(
        ALL_THERE,
        types={TYPE: instance_type(TYPE), "m5a.large": instance_type("m5a.large")},
        offered={("m5a.large", "us-west-2a")},
    )
    [finding] = find_gaps([replace(need(), fallback_types=("m5a.large",))], seen)
    assert finding.severity is Severity.WARNING
    assert finding.what == f"{TYPE} cannot be had in the subnets' zones; it would be launched as m5a.large"


def test_the_same_gap_of_several_is_one_finding_that_names_them_all() -> None:
    needs = [need("i-2"), need("i-1"), need("i-3", key_name="")]
    [finding] = find_gaps(needs, replace(ALL_THERE, key_pairs=()))
    assert finding.resources == ("i-1", "i-2")


def test_what_a_restore_would_not_bring_back_is_a_warning_where_something_can_be_done_about_it() -> None:
    was = manifest(PublicIpAddress="203.0.113.5", Placement={"GroupName": "hpc"})
    losses = restore_target("i-1", was, RecoverySettings()).losses
    assert len(losses) == 2
    [finding] = find_gaps([need(losses=losses)], ALL_THERE)
    assert finding.severity is Severity.WARNING
    assert finding.what == "not restored as things are: it was in the placement group hpc"
    assert finding.remedy == f"make one here, and name it under placement_groups in {SETTINGS}"


def test_a_placement_group_that_the_settings_name_has_to_be_there() -> None:
    needs = [need(placement_group="hpc-west")]
    [finding] = find_gaps(needs, ALL_THERE)
    assert (finding.severity, finding.what) == (Severity.LACKING, "placement group hpc-west is not there")
    assert find_gaps(needs, replace(ALL_THERE, placement_groups=("hpc-west",))) == ()


def test_the_subnets_and_groups_of_further_interfaces_count_and_so_do_all_addresses() -> None:
    interfaces = (
        Interface(count=4, groups=("sg-a",)),
        Interface(device=1, subnet="subnet-x", groups=("sg-x",)),
    )
    found = find_gaps([need(interfaces=interfaces)], ALL_THERE)
    assert [finding.what for finding in found][:2] == [
        "subnet subnet-x is not there",
        "security group sg-x is not there",
    ]
    subnet = replace(ALL_THERE.subnets["subnet-a"], free=3)
    seen = replace(ALL_THERE, subnets={**ALL_THERE.subnets, "subnet-a": subnet})
    [finding] = find_gaps([need(interfaces=interfaces[:1])], seen)
    assert finding.what == "subnet subnet-a has 3 free addresses, 4 are needed"


def test_a_further_interface_takes_its_addresses_where_it_goes() -> None:
    interfaces = (Interface(groups=("sg-a",)), Interface(device=1, subnet="subnet-x", groups=("sg-a",), count=3))
    full = replace(SUBNET, id="subnet-x", free=5)
    needs = [need("i-1", interfaces=interfaces), need("i-2", interfaces=interfaces)]
    seen = replace(ALL_THERE, subnets={**ALL_THERE.subnets, "subnet-x": full})
    [finding] = find_gaps(needs, seen)
    assert (finding.what, finding.resources) == ("subnet subnet-x has 5 free addresses, 6 are needed", ("i-1", "i-2"))
    # A launch in another zone makes it in the first one's subnet.
    elsewhere = replace(ALL_THERE, subnets={**ALL_THERE.subnets, "subnet-x": replace(full, zone="us-west-2b")})
    assert find_gaps(needs, elsewhere) == ()


def test_subnets_that_several_may_go_to_are_counted_together() -> None:
    other = replace(SUBNET, id="subnet-b", free=1)
    seen = replace(ALL_THERE, subnets={"subnet-a": replace(SUBNET, free=1), "subnet-b": other})
    needs = [need(f"i-{number}", subnets=("subnet-a", "subnet-b")) for number in (1, 2, 3)]
    assert find_gaps(needs[:2], seen) == ()
    [finding] = find_gaps(needs, seen)
    assert finding.what == "subnets subnet-a, subnet-b together have 2 free addresses, 3 are needed"


def test_an_address_that_several_are_given_is_a_warning_that_names_them() -> None:
    shared = (StandIn(id="eipalloc-1"),)
    seen = replace(ALL_THERE, addresses={"eipalloc-1": "", "eipalloc-2": ""})
    other = (StandIn(id="eipalloc-2"),)
    assert find_gaps([need("i-1", elastic_ips=shared), need("i-2", elastic_ips=other)], seen) == ()
    [finding] = find_gaps([need("i-1", elastic_ips=shared), need("i-2", elastic_ips=shared)], seen)
    assert finding.severity is Severity.WARNING
    assert finding.what == "Elastic IP address eipalloc-1 is for 2 instances, and one gets it"
    assert finding.resources == ("i-1", "i-2")


def test_a_private_address_that_several_have_in_one_subnet_is_a_warning_that_names_them() -> None:
    both = [need("i-1", private_ip="10.0.0.7"), need("i-2", private_ip="10.0.0.7")]
    [finding] = find_gaps(both, ALL_THERE)
    assert finding.severity is Severity.WARNING
    assert finding.what == "private address 10.0.0.7 in subnet-a is for 2 instances, and one gets it"
    assert finding.resources == ("i-1", "i-2")
    # One that the subnet cannot have is nobody's there, and each subnet has addresses of its own.
    away = replace(ALL_THERE, subnets={"subnet-a": replace(SUBNET, cidr="10.9.0.0/24")})
    assert find_gaps(both, away) == ()
    seen = replace(ALL_THERE, subnets={**ALL_THERE.subnets, "subnet-b": replace(SUBNET, id="subnet-b")})
    assert find_gaps([both[0], need("i-2", private_ip="10.0.0.7", subnets=("subnet-b",))], seen) == ()


def test_what_is_mapped_to_nothing_says_where_to_map_it() -> None:
    was = manifest(SubnetId="subnet-there", SecurityGroups=[{"GroupId": "sg-there"}])
    target = restore_target("i-1", was, RecoverySettings())
    found = find_gaps([replace(need(), target=replace(target, key_name="", profile=""))], ALL_THERE)
    assert [(each.what, each.remedy) for each in found] == [
        ("no subnet stands for subnet-there", f"name it under subnets or default_subnets in {SETTINGS}"),
        ("no security group stands for sg-there", f"name it under security_groups in {SETTINGS}"),
    ]


def test_neither_a_key_pair_nor_a_profile_is_needed_where_the_instance_has_none() -> None:
    assert find_gaps([need(key_name="", profile="")], replace(ALL_THERE, key_pairs=(), profiles={})) == ()


def test_those_who_may_go_to_the_same_subnets_share_their_addresses() -> None:
    seen = replace(ALL_THERE, subnets={"subnet-a": replace(SUBNET, free=2)})
    assert find_gaps([need("i-1"), need("i-2")], seen) == ()
    [finding] = find_gaps([need("i-1"), need("i-2"), need("i-3")], seen)
    assert finding.what == "subnet subnet-a has 2 free addresses, 3 are needed"


def test_a_quota_is_of_all_that_counts_towards_it_and_of_nothing_else() -> None:
    types = {TYPE: instance_type(TYPE), "t3.micro": instance_type("t3.micro"), "g5.xlarge": instance_type("g5.xlarge")}
    running = {"t3.micro": 2, "g5.xlarge": 30, "unknown.type": 9}
    seen = replace(ALL_THERE, types=types, running=running)
    assert find_gaps([need("i-1"), need("i-2")], seen) == ()
    [finding] = find_gaps([need("i-1"), need("i-2"), need("i-3")], seen)
    assert "4 are in use and the run needs 6" in finding.what
