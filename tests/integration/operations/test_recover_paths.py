"""Every way through the recover state machine is taken: each Next, Retry, Catch, branch, Default and timeout.

The ways are read from the definition and so is what takes each of them, so a state or a branch that is added is tested,
and fails here if nothing takes it. Whichever way a run goes, nothing is left in the end, and its evidence says the
same as the execution: `succeeded` only where it did.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
import yaml

from hikae.domain.plan_grammar import MAX_PROBE_TIMEOUT
from hikae.operations.recovery.tear_down import PATIENCE
from local import state_machine
from local.inprocess import Installation
from local.state_machine import Player, Way, ways_of
from tests.integration.operations.test_recovery import DRILL_REQUEST, leftovers, put_group, record_of

DEFINITION = yaml.safe_load(state_machine.DEFINITION.read_text())
Call = Callable[[dict[str, Any]], dict[str, Any]]


class Turn(NamedTuple):
    """What is done to a run that makes it take a way: in which step, and what happens there."""

    step: str = ""
    what: str = "nothing"


def turn_for(way: Way) -> Turn:
    """What makes a run take the way; by the kind of state and of way alone."""
    if not way.state:
        return Turn(what="every call is slow")
    body = DEFINITION["States"][way.state]
    if body["Type"] == "Choice":
        step = step_of(next(name for name, each in DEFINITION["States"].items() if each.get("Next") == way.state))
        branch = way.by.rpartition(" ")[2]
        if way.by == "Default":
            return Turn(step, "answers failed")
        return Turn() if branch == "done" else Turn(step, f"answers {branch} once")
    if body["Type"] == "Wait":
        return Turn(step_of(body["Next"]), "answers again once")
    if body["Type"] == "Pass" and way.state != DEFINITION["StartAt"]:
        caught = next((name for name, each in DEFINITION["States"].items() if _leads(each, way.state)), "")
        return Turn(step_of(caught), "raises") if caught else Turn()
    turns = {"Retry": "raises once", "Catch": "raises", "TimeoutSeconds": "is slow once"}
    return Turn(step_of(way.state), turns[way.by]) if way.by in turns else Turn()


def step_of(state: str) -> str:
    step: str = DEFINITION["States"][state]["Parameters"]["step"]
    return step


def _leads(body: dict[str, Any], state: str) -> bool:
    return any(catch["Next"] == state for catch in body.get("Catch", ()))


WAYS = ways_of(DEFINITION)
LOST = [Turn(step, "is slow") for step in ("attach", "tear-down", "record")]
"""A step that is carried out each time and never heard of: before the probes, and where the run ends."""
TURNS = sorted({*(turn_for(way) for way in WAYS), *LOST})


@dataclass
class Turned:
    """The function behind the machine, but for what happens in one step."""

    installation: Installation
    turn: Turn
    happened: int = 0
    _answer: Call = field(init=False)

    def __post_init__(self) -> None:
        self._answer = self.installation.run_step

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        what = self.turn.what.removesuffix(" once")
        is_over = self.happened and what != self.turn.what
        if what == "every call is slow":
            self.installation.advance(minutes=14)
            return {"status": "again", "reason": "", "wait": 1} if event["step"] == "launch" else self._answer(event)
        if event["step"] != self.turn.step or is_over:
            return self._answer(event)
        self.happened += 1
        if what == "raises":
            raise RuntimeError(f"{event['step']} was told to fail")
        if what == "is slow":
            answer = self._answer(event)
            self.installation.advance(seconds=DEFINITION["States"]["Select"]["TimeoutSeconds"] + 1)
            return answer
        return {"status": what.removeprefix("answers "), "reason": "it was told to", "wait": 1}


class Plays:
    """One run for each turn, played once, its leftovers swept as the rule on the execution's end would have them."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self._played: dict[Turn, tuple[Player, str, str]] = {}

    def of(self, turn: Turn) -> tuple[Player, str, str]:
        """The execution, how it ended, and the run's name."""
        if turn not in self._played:
            name = f"drill-{len(self._played)}"
            player = self.installation.recover(name, call=Turned(self.installation, turn))
            status = player.play({"request": DRILL_REQUEST})
            self.installation.end_execution(name)
            for _ in range(5):
                if not self.installation.sweep().outcomes:
                    break
                self.installation.advance(minutes=1)
            self._played[turn] = (player, status, name)
        return self._played[turn]


@pytest.fixture(scope="module")
def plays() -> Iterator[Plays]:
    with Installation() as installation:
        put_group(installation, plan="snapshots", count=1)
        yield Plays(installation)


def _name(each: tuple[str, ...]) -> str:
    return " ".join(part for part in each if part).replace("$.step.", "")


@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_the_way_is_taken(plays: Plays, way: Way) -> None:
    player, _, _ = plays.of(turn_for(way))
    assert way in player.taken


@pytest.mark.parametrize("turn", TURNS, ids=_name)
def test_nothing_is_left_and_the_evidence_says_how_it_ended(plays: Plays, turn: Turn) -> None:
    _, status, name = plays.of(turn)
    record = record_of(plays.installation, name)
    # A record whose answer was lost is signed all the same: what it says stands, and the run did succeed.
    is_proven = status == "SUCCEEDED" or turn == Turn("record", "is slow")
    assert record["outcome"] == ("succeeded" if is_proven else "failed")
    assert leftovers(plays.installation) == []


@pytest.mark.parametrize(
    "turn", [turn for turn in TURNS if turn.what in ("raises", "is slow") and turn.step != "record"], ids=_name
)
def test_the_evidence_names_the_step_that_never_got_through(plays: Plays, turn: Turn) -> None:
    _, status, name = plays.of(turn)
    failure = record_of(plays.installation, name)["failure"]
    assert status == "FAILED"
    before = {"select": "", "prepare": "after select: "}.get(turn.step)
    said = f"RuntimeError: {turn.step} was told to fail" if turn.what == "raises" else "States.Timeout: "
    assert said in failure
    assert before is None or failure.startswith(f"{before}{said}")


def test_a_run_that_lasts_too_long_is_stopped_where_it_is_and_recorded(plays: Plays) -> None:
    player, status, name = plays.of(Turn(what="every call is slow"))
    assert status == "TIMED_OUT"
    assert "TearDown" not in player.visited
    assert record_of(plays.installation, name)["stages"].keys() >= {"tear-down"}


def test_a_run_has_time_for_the_longest_probes_and_for_its_teardown() -> None:
    for_all_else = timedelta(hours=2)
    assert timedelta(seconds=DEFINITION["TimeoutSeconds"]) >= MAX_PROBE_TIMEOUT + PATIENCE + for_all_else
