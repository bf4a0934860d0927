"""The recovery settings are read whole, or refused with every problem and its line."""

import pytest

from hikae.domain.document import PlanError
from hikae.domain.recovery_settings import InstanceSettings, RecoverySettings, read_settings

WHOLE = """\
version: 1
subnets: {subnet-1: subnet-9}
default_subnets: [subnet-9, subnet-8]
security_groups: {sg-1: sg-9}
default_security_groups: [sg-8]
key_pairs: {prod: prod-west}
instance_profiles: {app: app-west}
placement_groups: {hpc: hpc-west}
elastic_ips: {eipalloc-8: eipalloc-9}
target_groups: {"arn:there": "arn:here"}
instances:
  i-1: {subnet: subnet-7, private_ip: 10.0.0.5, elastic_ip: eipalloc-1, target_groups: ["arn:x"]}
"""


def test_all_of_it_is_read():
    assert read_settings(WHOLE) == RecoverySettings(
        subnets={"subnet-1": "subnet-9"},
        default_subnets=("subnet-9", "subnet-8"),
        security_groups={"sg-1": "sg-9"},
        default_security_groups=("sg-8",),
        key_pairs={"prod": "prod-west"},
        instance_profiles={"app": "app-west"},
        placement_groups={"hpc": "hpc-west"},
        elastic_ips={"eipalloc-8": "eipalloc-9"},
        target_groups={"arn:there": "arn:here"},
        instances={
            "i-1": InstanceSettings(
                subnet="subnet-7", private_ip="10.0.0.5", elastic_ip="eipalloc-1", target_groups=("arn:x",)
            )
        },
    )


def test_every_problem_is_named_with_its_line():
    with pytest.raises(PlanError) as caught:
        read_settings(
            "version: 2\nsubnet: x\nsubnets: [a]\ndefault_subnets: x\n"
            "instances:\n  i-1: {private_ip: ten, size: 1}\n  i-2: x\n"
        )
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [
        (1, "version"),
        (2, "subnet"),
        (3, "subnets"),
        (4, "default_subnets"),
        (6, "instances.i-1.size"),
        (6, "instances.i-1.private_ip"),
        (7, "instances.i-2"),
    ]


@pytest.mark.parametrize("text", ["", "- a", "version: 1\ninstances: []", "version: 1\ninstances: {i-1: {subnet: 1}}"])
def test_what_are_no_settings_is_refused(text: str):
    with pytest.raises(PlanError):
        read_settings(text)
