"""What tests of recovery are made of: a manifest, an instance type, a run, a member."""

from dataclasses import replace
from typing import Any

from hikae.domain.choice import member_of
from hikae.domain.ladder import InstanceType
from hikae.domain.manifest import Manifest, read_manifest
from hikae.domain.networks import Subnet
from hikae.domain.runs import Mode, Request, Run, Rung
from hikae.domain.targets import DrillNetwork
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


RUN = Run(name="drill-1", request=ASKED, began_at=NOW)


RESTORE = replace(RUN, name="restore-1", request=replace(ASKED, mode=Mode.RESTORE))


RUNG = Rung(type="m5.large", subnet="subnet-a", zone="us-west-2a")


NETWORK = DrillNetwork(subnets=("subnet-a",), security_groups=("sg-d",), profile="drill-profile")


def member(**differences: Any) -> Any:
    made = replace(
        member_of(copy(point(hours_ago(1))), order="", batch=0), snapshots={"vol-1": "snap-1", "vol-2": "snap-2"}
    )
    return replace(made, registered="ami-1", **differences)


SUBNETS = (
    Subnet(id="subnet-a", zone="us-west-2a", vpc="vpc-1", cidr="10.0.0.0/24", free=10),
    Subnet(id="subnet-b", zone="us-west-2b", vpc="vpc-1", cidr="10.0.1.0/24", free=10),
)
