"""The scenarios that have found something: each of them was wrong once."""

import pytest

from local.chaos.report import explain
from local.chaos.scenarios import SCENARIOS, play_scenarios

NAMES = (
    "a batch that takes longer than the function may",
    "the snapshot of an st1 volume fails later",
)


@pytest.fixture(scope="module")
def played():
    return list(play_scenarios(scenario for scenario in SCENARIOS if scenario.name in NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_ends_as_it_should(played, name):
    mine = [each for each in played if each.scenario == name]
    assert mine
    assert "\n".join(explain((), mine)) == ""
