"""The ways to launch an instance, and the quotas."""

from dataclasses import replace
from typing import Any

import pytest

from hikae.domain.ladder import build_ladder, find_lacking_vcpus, vcpu_quota_of, why_it_cannot_boot
from hikae.domain.launches import (
    launch_request,
    losses_on,
)
from hikae.domain.manifest import Manifest, read_manifest
from hikae.domain.recovery_settings import RecoverySettings
from hikae.domain.runs import Rung
from hikae.domain.targets import restore_target
from tests.unit.domain.recovery_builders import M5, RESTORE, SUBNETS, kind_of, manifest, member
from tests.unit.domain.test_manifest import written


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
