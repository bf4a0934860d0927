"""Deciding about a recovery: points, order, ladder, requests, teardown."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.manifest import Manifest, ManifestVolume, read_manifest
from hikae.domain.networks import Subnet, can_have_ip
from hikae.domain.recovery import (
    DrillNetwork,
    InstanceType,
    Made,
    build_ladder,
    choose_points,
    decide_teardown,
    drill_group_request,
    drill_target,
    find_lacking_vcpus,
    image_registration,
    launch_request,
    list_groups,
    losses_on,
    member_of,
    order_batches,
    restore_target,
    vcpu_quota_of,
    volume_request,
    volume_tags,
    why_it_cannot_boot,
)
from hikae.domain.recovery_settings import InstanceSettings, RecoverySettings
from hikae.domain.runs import Mode, Request, Run, Rung
from tests.unit.domain.builders import NOW, copy, hours_ago, point
from tests.unit.domain.test_manifest import written

ASKED = Request(mode=Mode.DRILL, plan="production")


def manifest(image: dict[str, Any] | None = None, **instance: Any) -> Manifest:
    document = written()
    document["source"]["instance"] |= instance
    document["source"]["image"] = image or {}
    return read_manifest(document)


def kind_of(name: str = "m5a.large", **differences: Any) -> InstanceType:
    known: dict[str, Any] = {
        "architectures": frozenset({"x86_64"}),
        "boot_modes": frozenset({"legacy-bios", "uefi"}),
        "virtualization": frozenset({"hvm"}),
        "ena": "required",
        "nvme": "required",
        "has_instance_store": False,
        "has_tpm": False,
        "vcpus": 2,
    }
    return InstanceType(name=name, **known | differences)


M5 = kind_of("m5.large", default_cpus=(1, 2))


# --- points -----------------------------------------------------------------------------------------------------------


def test_the_newest_complete_point_is_chosen():
    points = [copy(point(hours_ago(hours))) for hours in (3, 2, 1)]
    assert choose_points(points, ["i-1"], ASKED, rejected={}).points["i-1"] is points[2]


def test_a_point_that_is_not_complete_or_was_rejected_is_not():
    old, newer = copy(point(hours_ago(3))), copy(point(hours_ago(2)))
    newest = copy(point(hours_ago(1)), state="pending")
    chosen = choose_points([old, newer, newest], ["i-1"], ASKED, rejected={newer.id: "corrupt"})
    assert chosen.points["i-1"] is old


def test_no_point_younger_than_asked_for():
    points = [copy(point(hours_ago(hours))) for hours in (3, 2, 1)]
    chosen = choose_points(points, ["i-1"], replace(ASKED, before=hours_ago(2)), rejected={})
    assert chosen.points["i-1"] is points[1]


def test_the_very_point_that_was_asked_for():
    points = [copy(point(hours_ago(hours))) for hours in (3, 2, 1)]
    chosen = choose_points(points, ["i-1"], replace(ASKED, point=points[0].tags.point), rejected={})
    assert chosen.points["i-1"] is points[0]


@pytest.mark.parametrize(
    ("request_", "state", "rejected", "why"),
    [
        (ASKED, "completed", "its manifest cannot be read", "the newest, {id}: its manifest cannot be read"),
        (ASKED, "pending", "", "the newest, {id}: 1 of 1 are pending"),
        (replace(ASKED, before=hours_ago(5)), "completed", "", "none of its 1 points here is as old as"),
        (replace(ASKED, point="rp-0"), "completed", "", "none of its 1 points here is rp-0"),
    ],
)
def test_a_resource_without_a_usable_point_is_named_with_the_reason(
    request_: Request, state: str, rejected: str, why: str
):
    only = copy(point(hours_ago(1)), state=state)
    chosen = choose_points([only], ["i-1", "i-2"], request_, rejected={only.id: rejected} if rejected else {})
    assert why.format(id=only.tags.point) in chosen.missing["i-1"]
    assert chosen.missing["i-2"] == "there is no recovery point of it here"


def test_groups_are_what_the_newest_points_say():
    def tagged(resource: str, service: str, hours: float) -> Any:
        made = copy(point(hours_ago(hours), resource=resource))
        snapshot = replace(made.snapshots[0], tags={**made.snapshots[0].tags, "Service": service})
        return replace(made, snapshots=(snapshot,))

    points = [tagged("i-1", "old", 3), tagged("i-1", "shop", 1), tagged("i-2", "shop", 2), tagged("i-3", "", 1)]
    groups = list_groups(points, plan="production", group_by="Service")
    assert groups == {"shop": ["i-1", "i-2"], "": ["i-3"]}
    assert list_groups(points, plan="production", group_by="") == {"": ["i-1", "i-2", "i-3"]}
    assert list_groups(points, plan="other", group_by="Service") == {}


def test_batches_go_by_number_then_by_text_and_what_has_none_is_last():
    orders = {"a": "10", "b": "9", "c": "", "d": "late", "e": "9"}
    assert order_batches(orders) == {"b": 0, "e": 0, "a": 1, "d": 2, "c": 3}


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.text(max_size=3), min_size=1))
def test_batches_are_numbered_without_gaps_and_equal_values_start_together(orders: dict[str, str]):
    batches = order_batches(orders)
    assert set(batches.values()) == set(range(len(set(batches.values()))))
    for one, value in orders.items():
        assert all(batches[one] == batches[other] for other, equal in orders.items() if value == equal)


# --- the ladder -------------------------------------------------------------------------------------------------------

SUBNETS = (
    Subnet(id="subnet-a", zone="us-west-2a", vpc="vpc-1", cidr="10.0.0.0/24", free=10),
    Subnet(id="subnet-b", zone="us-west-2b", vpc="vpc-1", cidr="10.0.1.0/24", free=10),
)


def test_the_own_type_in_every_zone_comes_before_other_types():
    ladder = build_ladder(
        manifest(EnaSupport=True),
        subnets=SUBNETS,
        fallback_types=["m5a.large", "m6g.large", "m9.large"],
        types={
            "m5.large": M5,
            "m5a.large": kind_of(),
            "m6g.large": kind_of("m6g.large", architectures=frozenset({"arm64"})),
        },
        offered={(name, zone) for name in ("m5.large", "m6g.large") for zone in ("us-west-2a", "us-west-2b")}
        | {("m5a.large", "us-west-2b")},
    )
    assert [(rung.type, rung.subnet) for rung in ladder.rungs] == [
        ("m5.large", "subnet-a"),
        ("m5.large", "subnet-b"),
        ("m5a.large", "subnet-b"),
    ]
    assert ladder.refusals == ("m6g.large: it is not x86_64", "m9.large: it does not exist in this Region")


def test_an_own_type_that_is_offered_nowhere_is_named_and_left_out():
    ladder = build_ladder(manifest(), subnets=SUBNETS, fallback_types=[], types={"m5.large": M5}, offered=frozenset())
    assert (ladder.rungs, ladder.refusals) == ((), ("m5.large: it is not offered in us-west-2a, us-west-2b",))


@pytest.mark.parametrize(
    ("candidate", "instance", "image", "reason"),
    [
        ({}, {"EnaSupport": True}, {}, ""),
        ({"architectures": frozenset({"arm64"})}, {"EnaSupport": True}, {}, "it is not x86_64"),
        ({}, {"EnaSupport": False}, {}, "it requires ENA, which the image does not have"),
        ({}, {}, {"EnaSupport": True}, ""),
        ({"ena": "supported"}, {}, {}, ""),
        ({"boot_modes": frozenset({"legacy-bios"})}, {"EnaSupport": True, "BootMode": "uefi"}, {}, "in mode uefi"),
        ({"boot_modes": frozenset({"uefi"})}, {"EnaSupport": True}, {}, "in mode legacy-bios"),
        ({"boot_modes": frozenset({"legacy-bios"})}, {"EnaSupport": True}, {"BootMode": "uefi-preferred"}, ""),
        ({}, {"EnaSupport": True, "VirtualizationType": "paravirtual"}, {}, "it has no paravirtual virtualization"),
        ({}, {"EnaSupport": True}, {"TpmSupport": "v2.0"}, "it has no NitroTPM"),
        ({}, {"EnaSupport": True, "TpmSupport": "v2.0"}, {}, "it has no NitroTPM"),
        ({}, {"EnaSupport": True, "EnclaveOptions": {"Enabled": True}}, {}, "it has no Nitro Enclaves"),
        ({"has_enclaves": True}, {"EnaSupport": True, "EnclaveOptions": {"Enabled": True}}, {}, ""),
        ({}, {"EnaSupport": True, "CpuOptions": {"AmdSevSnp": "enabled"}}, {}, "it has no AMD SEV-SNP"),
        ({"has_sev_snp": True}, {"EnaSupport": True, "CpuOptions": {"AmdSevSnp": "enabled"}}, {}, ""),
        (
            {"cores": frozenset({2}), "threads": frozenset({1, 2})},
            {"EnaSupport": True, "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1}},
            {},
            "it does not take 1 cores with 1 threads each",
        ),
        (
            {"cores": frozenset({1}), "threads": frozenset({2})},
            {"EnaSupport": True, "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1}},
            {},
            "it does not take 1 cores with 1 threads each",
        ),
        (
            {"cores": frozenset({2}), "threads": frozenset({2})},
            {"EnaSupport": True, "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 2}},
            {},
            "",  # its type's own: nobody asked for them
        ),
        ({"most_volumes": 2}, {"EnaSupport": True}, {}, "it takes 2 attachments at most"),
    ],
)
def test_a_type_that_cannot_boot_the_image_is_refused_by_reason(
    candidate: dict[str, Any], instance: dict[str, Any], image: dict[str, Any], reason: str
):
    found = why_it_cannot_boot(manifest(image, **instance), kind_of(**candidate), source=M5)
    assert (reason in found) if reason else (found == "")


def test_nvme_is_only_taken_for_granted_where_the_instance_had_it():
    was = manifest(EnaSupport=True)
    xen = kind_of("m4.large", nvme="unsupported", ena="supported")
    assert "NVMe" in why_it_cannot_boot(was, kind_of(), source=xen)
    assert "NVMe" in why_it_cannot_boot(was, kind_of(), source=None)
    assert why_it_cannot_boot(was, xen, source=xen) == ""


@pytest.mark.parametrize(
    ("interfaces", "candidate", "reason"),
    [
        ([{}, {"Attachment": {"DeviceIndex": 1}}], {"most_interfaces": 1}, "it takes 1 network interfaces"),
        ([{}, {"Attachment": {"DeviceIndex": 1}}], {"most_interfaces": 2}, ""),
        (
            [{"PrivateIpAddresses": [{"PrivateIpAddress": "10.9.0.7"}, {"PrivateIpAddress": "10.9.0.8"}]}],
            {"most_addresses": 1},
            "its network interfaces take 1 private addresses each",
        ),
        (
            [{"Ipv6Addresses": [{"Ipv6Address": "fd00::1"}]}],
            {"most_ipv6_addresses": 0},
            "its network interfaces take 0 IPv6 addresses each",
        ),
        ([{"InterfaceType": "efa"}], {}, "it has no Elastic Fabric Adapter, and the instance had one"),
        ([{"InterfaceType": "efa"}], {"has_efa": True}, ""),
    ],
)
def test_a_type_that_cannot_have_the_interfaces_is_refused_by_reason(
    interfaces: list[dict[str, Any]], candidate: dict[str, Any], reason: str
):
    document = written()
    document["source"]["instance"]["EnaSupport"] = True
    document["source"]["network_interfaces"] = interfaces
    assert why_it_cannot_boot(read_manifest(document), kind_of(**candidate), source=M5) == reason


def test_what_the_manifest_says_of_the_type_counts_where_the_region_does_not_have_it():
    document = written()
    document["source"]["instance"]["EnaSupport"] = True
    document["source"]["type"] = {
        "InstanceType": "m5.large",
        "EbsInfo": {"NvmeSupport": "required"},
        "InstanceStorageSupported": False,
    }

    def ladder(was: Manifest) -> list[str]:
        found = build_ladder(
            was,
            subnets=SUBNETS,
            fallback_types=["m5a.large"],
            types={"m5a.large": kind_of()},
            offered={("m5a.large", "us-west-2a")},
        )
        return [rung.type for rung in found.rungs]

    assert ladder(read_manifest(document)) == ["m5a.large"]
    document["source"]["type"]["InstanceStorageSupported"] = True
    assert ladder(read_manifest(document)) == []
    del document["source"]["type"]
    assert ladder(read_manifest(document)) == []


def test_without_knowing_the_instances_type_no_type_is_taken_that_could_lack_an_instance_store():
    xen = kind_of("m4.large", nvme="unsupported", ena="supported")
    reason = why_it_cannot_boot(manifest(EnaSupport=True), xen, source=None)
    assert reason == "it has no instance store, and nobody knows whether the instance had one"
    assert why_it_cannot_boot(manifest(EnaSupport=True), replace(xen, has_instance_store=True), source=None) == ""


def test_a_rung_says_which_cpus_are_asked_for_and_what_the_type_cannot_have():
    document = written()
    document["source"]["instance"] |= {
        "EnaSupport": True,
        "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1},
        "HibernationOptions": {"Configured": True},
        "NetworkPerformanceOptions": {"BandwidthWeighting": "vpc-1"},
    }
    document["source"]["launch"]["CreditSpecification"] = {"CpuCredits": "unlimited"}
    was = read_manifest(document)
    able = {
        "can_hibernate": True,
        "has_credits": True,
        "bandwidth_weightings": frozenset({"vpc-1"}),
        "cores": frozenset({1}),
        "threads": frozenset({1, 2}),
    }
    ladder = build_ladder(
        was,
        subnets=SUBNETS[:1],
        fallback_types=["m5a.large"],
        types={
            "m5.large": replace(M5, **able),
            "m5a.large": kind_of(cores=frozenset({1}), threads=frozenset({1, 2})),
        },
        offered={("m5.large", "us-west-2a"), ("m5a.large", "us-west-2a")},
    )
    own, other = ladder.rungs
    assert (own.cores, own.threads, own.without) == (1, 1, ())
    assert (other.cores, other.threads) == (1, 1)
    assert other.without == ("hibernation", "bandwidth weighting vpc-1", "credit option unlimited")
    target = restore_target("i-1", was, RecoverySettings(default_subnets=("s",), default_security_groups=("g",)))

    def asked(rung: Rung) -> dict[str, Any]:
        return launch_request(member(), was, RESTORE, target, rung=rung, with_ip=False, installation="main")

    first, second = asked(own), asked(other)
    assert first["CpuOptions"] == second["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 1}
    assert first["HibernationOptions"] == {"Configured": True}
    assert first["CreditSpecification"] == {"CpuCredits": "unlimited"}
    assert first["NetworkPerformanceOptions"] == {"BandwidthWeighting": "vpc-1"}
    assert not {"HibernationOptions", "CreditSpecification", "NetworkPerformanceOptions"} & set(second)
    said = losses_on(other, target, own_type="m5.large")
    assert said[0] == "it is a m5a.large; it was a m5.large"
    assert "as a m5a.large it has no hibernation" in said


def test_a_restore_is_protected_as_the_instance_was_and_a_drill_never_is():
    document = written()
    document["source"]["launch"] = {
        "DisableApiTermination": True,
        "DisableApiStop": True,
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    was = read_manifest(document)
    assert was.instance is not None
    settings = RecoverySettings(default_subnets=("s",), default_security_groups=("g",))
    restored, drilled = (
        launch_request(member(), was, run, target, rung=RUNG, with_ip=False, installation="main")
        for run, target in (
            (RESTORE, restore_target("i-1", was, settings)),
            (RUN, drill_target(was.instance, NETWORK, own_profile=False)),
        )
    )
    assert (restored["DisableApiTermination"], restored["DisableApiStop"]) == (True, True)
    assert not {"DisableApiTermination", "DisableApiStop"} & set(drilled)
    assert restored["InstanceInitiatedShutdownBehavior"] == drilled["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_a_restore_goes_into_the_placement_group_that_stands_for_the_old_one_and_a_drill_into_none():
    was = manifest(Placement={"GroupName": "hpc", "PartitionNumber": 2, "Tenancy": "dedicated"})
    assert was.instance is not None
    settings = RecoverySettings(
        default_subnets=("s",), default_security_groups=("g",), placement_groups={"hpc": "hpc-west"}
    )
    restored = launch_request(
        member(), was, RESTORE, restore_target("i-1", was, settings), rung=RUNG, with_ip=False, installation="main"
    )
    assert restored["Placement"] == {"Tenancy": "dedicated", "GroupName": "hpc-west", "PartitionNumber": 2}
    target = drill_target(was.instance, NETWORK, own_profile=False)
    drilled = launch_request(member(), was, RUN, target, rung=RUNG, with_ip=False, installation="main")
    assert drilled["Placement"] == {"Tenancy": "dedicated"}


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


def test_an_instance_store_is_not_given_up():
    stored = kind_of("m5d.large", has_instance_store=True)
    reason = why_it_cannot_boot(manifest(EnaSupport=True), kind_of(), source=stored)
    assert reason == "it has no instance store, and the instance had one"


STANDARD = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"
VCPUS = {"m5.large": 2, "m5a.large": 2, "g5.xlarge": 4}


@pytest.mark.parametrize(
    ("kind", "quota"),
    [("m5.large", STANDARD), ("im4gn.large", STANDARD), ("g5.xlarge", "Running On-Demand G and VT instances")],
)
def test_a_type_counts_in_the_quota_of_its_family(kind: str, quota: str):
    assert vcpu_quota_of(kind) == quota
    assert vcpu_quota_of("mac1.metal") == ""


def ways(*kinds: str) -> list[Rung]:
    return [Rung(type=kind, subnet="s", zone="z") for kind in kinds]


def test_a_quota_is_lacking_where_what_runs_and_what_is_needed_exceed_it():
    needed = {"i-1": ways("m5.large", "m5a.large"), "i-2": ways("m5.large")}
    running = {"m5.large": 1, "g5.xlarge": 9}
    assert find_lacking_vcpus(needed, vcpus=VCPUS, running=running, quotas={STANDARD: 6}) == []
    [problem] = find_lacking_vcpus(needed, vcpus=VCPUS, running=running, quotas={STANDARD: 5})
    assert "is 5 vCPUs, 2 are in use and the run needs 4" in problem
    assert find_lacking_vcpus(needed, vcpus=VCPUS, running=running, quotas={}) == []


def test_a_resource_with_ways_in_two_quotas_is_left_to_the_ladder():
    needed = {"i-1": ways("m5.large", "g5.xlarge")}
    assert find_lacking_vcpus(needed, vcpus=VCPUS, running={}, quotas={STANDARD: 0}) == []


# --- requests ---------------------------------------------------------------------------------------------------------

RUN = Run(name="drill-1", request=ASKED, began_at=NOW)
RESTORE = replace(RUN, name="restore-1", request=replace(ASKED, mode=Mode.RESTORE))
RUNG = Rung(type="m5.large", subnet="subnet-a", zone="us-west-2a")
NETWORK = DrillNetwork(subnets=("subnet-a",), security_groups=("sg-d",), profile="drill-profile")


def member(**differences: Any) -> Any:
    made = replace(
        member_of(copy(point(hours_ago(1))), order="", batch=0), snapshots={"vol-1": "snap-1", "vol-2": "snap-2"}
    )
    return replace(made, registered="ami-1", **differences)


def test_an_image_is_registered_as_the_instance_was_and_not_as_ec2_would_by_default():
    was = manifest(
        {"ImdsSupport": "v2.0", "TpmSupport": "v2.0"}, EnaSupport=True, BootMode="uefi", Architecture="arm64"
    )
    request = image_registration(member(), was, RUN, installation="main")
    expected = {
        "Name": "hikae/main/run/drill-1/i-1/1",
        "Architecture": "arm64",
        "VirtualizationType": "hvm",
        "EnaSupport": True,
        "BootMode": "uefi",
        "TpmSupport": "v2.0",
        "ImdsSupport": "v2.0",
        "RootDeviceName": "/dev/xvda",
    }
    assert {key: request[key] for key in expected} == expected
    assert [each["Ebs"]["SnapshotId"] for each in request["BlockDeviceMappings"]] == ["snap-1", "snap-2"]
    assert all("Encrypted" not in each["Ebs"] for each in request["BlockDeviceMappings"])


def tags_in(request: dict[str, Any], kind: str) -> dict[str, str]:
    [tags] = [each["Tags"] for each in request["TagSpecifications"] if each["ResourceType"] == kind]
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_a_drill_carries_its_id_and_none_of_the_users_tags():
    was = manifest(IamInstanceProfile={"Arn": "arn:aws:iam::1:instance-profile/app"}, KeyName="prod")
    assert was.instance is not None
    target = drill_target(was.instance, NETWORK, own_profile=False)
    request = launch_request(member(), was, RUN, target, rung=RUNG, with_ip=False, installation="main")
    assert tags_in(request, "instance")["hikae:drill"] == "main/drill-1"
    assert set(tags_in(request, "instance")) == {
        "hikae:drill",
        "hikae:recovered-from",
        "hikae:recovered-resource",
        "Name",
    }
    assert request["IamInstanceProfile"] == {"Name": "drill-profile"}
    assert "KeyName" not in request
    assert all(each["Ebs"]["DeleteOnTermination"] for each in request["BlockDeviceMappings"])
    own = drill_target(was.instance, NETWORK, own_profile=True)
    assert own.profile == "app"


def test_a_restore_carries_all_tags_that_fit_and_the_volumes_own_fate():
    document = written()
    document["source"]["tags"] = {f"key-{number:02}": "x" for number in range(50)} | {"aws:x": "y", "hikae:hold": "z"}
    was = read_manifest(document)
    target = restore_target("i-1", was, RecoverySettings(default_subnets=("s",), default_security_groups=("g",)))
    request = launch_request(member(), was, RESTORE, target, rung=RUNG, with_ip=False, installation="main")
    tags = tags_in(request, "instance")
    assert len(tags) == 50
    assert tags["hikae:recovery"] == "main/restore-1"
    assert not {"aws:x", "hikae:hold"} & set(tags)
    assert [each["Ebs"]["DeleteOnTermination"] for each in request["BlockDeviceMappings"]] == [True, False]


def test_tokens_differ_by_rung_and_address_and_are_equal_for_a_retry():
    was = manifest()
    target = replace(drill_target(was.instance, NETWORK, own_profile=False), private_ip="10.0.0.9")

    def token(rung: Rung = RUNG, *, with_ip: bool = False, **differences: Any) -> str:
        request = launch_request(
            member(**differences), was, RUN, target, rung=rung, with_ip=with_ip, installation="main"
        )
        found: str = request["ClientToken"]
        return found

    assert token() == token()
    others = [token(replace(RUNG, type="m5a.large")), token(replace(RUNG, subnet="subnet-b"))]
    others += [token(with_ip=True), token(attempt=2)]
    assert len({token(), *others}) == 5
    assert all(len(each) == 64 for each in [token(), *others])


def test_performance_is_asked_for_only_where_it_can_be():
    document = written()
    for device, kind in zip(document["source"]["block_devices"], ("gp2", "st1"), strict=True):
        device["volume"] |= {"VolumeType": kind, "Iops": 300}
    was = read_manifest(document)
    target = drill_target(was.instance, NETWORK, own_profile=False)
    request = launch_request(member(), was, RUN, target, rung=RUNG, with_ip=False, installation="main")
    assert [set(each["Ebs"]) for each in request["BlockDeviceMappings"]] == [
        {"VolumeSize", "VolumeType", "DeleteOnTermination"}
    ] * 2


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
    assert can_have_ip(address, SUBNETS[0]) is is_free


@pytest.mark.parametrize(
    ("described", "is_asked_for"),
    [
        ({"VolumeType": "io2", "Iops": 1000, "MultiAttachEnabled": True}, True),
        ({"VolumeType": "io2", "Iops": 1000, "MultiAttachEnabled": False}, False),
        ({"VolumeType": "gp3", "MultiAttachEnabled": True}, False),
    ],
)
def test_a_detached_volume_is_made_for_several_instances_where_it_was(described: dict[str, Any], is_asked_for: bool):  # noqa: FBT001 - a table's column
    document = written()
    document |= {"kind": "snapshot", "members": 1}
    document["source"] = {"volume": {"VolumeId": "vol-1", "Size": 8, **described}}
    was = read_manifest(document)
    request = volume_request(member(), was, RESTORE, zone="us-west-2a", installation="main")
    assert ("MultiAttachEnabled" in request) is is_asked_for


def test_a_volumes_own_tags_leave_room_for_those_of_the_run():
    tags = {f"key-{number:02}": "x" for number in range(50)} | {"aws:backup:x": "y", "hikae:volume": "z"}
    own = volume_tags(ManifestVolume(id="vol-1", device="/dev/sdf", size=8, type="gp3", tags=tags))
    assert len(own) == 47
    assert not {"aws:backup:x", "hikae:volume"} & set(own)


# --- teardown ---------------------------------------------------------------------------------------------------------


def made(kind: str, **differences: Any) -> Made:
    tags = {"hikae:drill": "main/drill-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"}
    known: dict[str, Any] = {"id": f"{kind}-1", "state": "running", "tags": tags}
    return Made(kind=kind, **known | differences)


def test_a_drill_removes_all_that_it_made_instances_first():
    everything = [made("image"), made("volume"), made("instance"), made("endpoint")]
    decided = decide_teardown(everything, mode=Mode.DRILL, run="drill-1", installation="main")
    assert [each.kind for each in decided.remove] == ["instance", "volume", "image", "endpoint"]
    assert (decided.going, decided.kept) == ((), ())


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"hikae:drill": "main/drill-1"},
        {"hikae:drill": "main/drill-2", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"},
        {"hikae:drill": "other/drill-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"},
        {"hikae:recovery": "main/drill-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"},
    ],
)
def test_what_does_not_say_that_this_drill_made_it_stays(tags: dict[str, str]):
    decided = decide_teardown([made("instance", tags=tags)], mode=Mode.DRILL, run="drill-1", installation="main")
    assert decided.remove == ()
    assert decided.kept == ("instance-1: its tags do not say that main/drill-1 made it",)


def test_what_is_on_its_way_out_is_waited_for():
    everything = [made("instance", state="shutting-down"), made("volume", attached_to="instance-1")]
    decided = decide_teardown(everything, mode=Mode.DRILL, run="drill-1", installation="main")
    assert (decided.remove, len(decided.going)) == ((), 2)
    gone = decide_teardown([made("instance", state="terminated")], mode=Mode.DRILL, run="drill-1", installation="main")
    assert (gone.remove, gone.going, gone.kept) == ((), (), ())


def test_a_security_group_goes_when_no_instance_of_the_drill_is_left():
    for state in ("running", "shutting-down"):
        everything = [made("security-group"), made("instance", state=state)]
        decided = decide_teardown(everything, mode=Mode.DRILL, run="drill-1", installation="main")
        assert [each.kind for each in decided.going if each.kind != "instance"] == ["security-group"]
    everything = [made("security-group"), made("instance", state="terminated")]
    decided = decide_teardown(everything, mode=Mode.DRILL, run="drill-1", installation="main")
    assert [each.kind for each in decided.remove] == ["security-group"]


def test_a_drills_security_group_carries_what_lets_it_be_found_and_removed():
    request = drill_group_request(RUN, replace(NETWORK, vpc="vpc-1"), installation="main")
    assert (request["GroupName"], request["VpcId"]) == (f"hikae/main/run/{RUN.name}", "vpc-1")
    [specification] = request["TagSpecifications"]
    tags = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
    group = Made(id="sg-1", kind="security-group", state="available", tags=tags)
    decided = decide_teardown([group], mode=Mode.DRILL, run=RUN.name, installation="main")
    assert decided.remove == (group,)


def test_a_restore_keeps_all_but_its_images():
    tags = {"hikae:recovery": "main/restore-1", "hikae:recovered-from": "rp-1", "hikae:recovered-resource": "i-1"}
    everything = [made(kind, tags=tags) for kind in ("instance", "volume", "image")]
    decided = decide_teardown(everything, mode=Mode.RESTORE, run="restore-1", installation="main")
    assert [each.kind for each in decided.remove] == ["image"]
    assert (decided.going, decided.kept) == ((), ())


@given(st.dictionaries(st.sampled_from(["hikae:drill", "hikae:recovered-from", "Name"]), st.text(max_size=12)))
def test_nothing_without_the_exact_tag_is_ever_removed(tags: dict[str, str]):
    decided = decide_teardown([made("instance", tags=tags)], mode=Mode.DRILL, run="drill-1", installation="main")
    assert decided.remove == ()


def test_a_copys_snapshots_are_known_by_the_volume_in_their_tag():
    made_of = copy(point(hours_ago(1)))
    tagged = replace(made_of.snapshots[0], tags={**made_of.snapshots[0].tags, "hikae:volume": "vol-source"})
    chosen = member_of(replace(made_of, snapshots=(tagged,)), order="2", batch=1)
    assert chosen.snapshots == {"vol-source": tagged.id}
    assert (chosen.order, chosen.batch, chosen.source_time) == ("2", 1, hours_ago(1))
