"""Parameters that make no site are refused before anything is made."""

import pytest

from tests.template.deployments import deployments
from tests.template.sites import PRIMARY, RECOVERY, RECOVERY_REGION, load_template, refusals

NETWORK = {
    "DrillSubnetIds": "subnet-0123456789abcdef0,subnet-0fedcba9876543210",
    "DrillVpcId": "vpc-0123456789abcdef0",
    "DrillSecurityGroupId": "sg-0123456789abcdef0",
}


def refused(parameters: dict[str, str]) -> str:
    return " ".join(refusals(load_template(), parameters, region=RECOVERY_REGION))


@pytest.mark.parametrize("parameters", [PRIMARY, RECOVERY, RECOVERY | NETWORK], ids=["primary", "recovery", "network"])
def test_what_makes_a_site_is_not_refused(parameters: dict[str, str]):
    assert refused(parameters) == ""


def test_no_deployment_of_samconfig_is_refused():
    assert {name: refused(each.parameters) for name, each in deployments().items() if refused(each.parameters)} == {}


def test_a_recovery_site_knows_its_primaries():
    assert "needs Primaries" in refused({"Site": "recovery"})


@pytest.mark.parametrize("site", [PRIMARY, RECOVERY], ids=["primary", "recovery"])
def test_other_accounts_are_refused_in_words(site: dict[str, str]):
    given = {"SourceRoleArns": "arn:aws:iam::222222222222:role/hikae-source"}
    assert "SourceRoleArns is reserved" in refused(site | given)


@pytest.mark.parametrize("missing", NETWORK)
def test_a_network_for_drills_is_given_whole(missing: str):
    assert "all three" in refused(RECOVERY | {name: value for name, value in NETWORK.items() if name != missing})
    assert "all three" in refused(RECOVERY | {missing: NETWORK[missing]})
