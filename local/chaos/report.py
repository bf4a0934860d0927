"""What the fault suite found, as a page: one line an operation, one line a scenario, and zeros."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from local.chaos.crashes import Report, Trial
from local.chaos.scenarios import Played
from local.chaos.verdict import Faults

COUNTED = tuple(each.name for each in fields(Faults))
_WORDS = {name: name.replace("_", " ") for name in COUNTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All that was tried of one operation: its calls, how many faults of each kind, and what was wrong."""

    operation: str
    calls: int
    crashes: int
    deliveries: int
    ec2: int
    wrong: dict[str, int]


def sum_up(report: Report) -> Line:
    """One operation's line."""
    kinds = [trial.kind for trial in report.trials]
    return Line(
        operation=report.operation,
        calls=len(report.calls),
        crashes=kinds.count("crash"),
        deliveries=kinds.count("delivery"),
        ec2=kinds.count("EC2"),
        wrong=_count(trial.faults for trial in report.trials),
    )


def write_page(lines: Sequence[Line], played: Sequence[Played]) -> str:
    """The page."""
    kinds = sorted({each.kind for each in played})
    return "\n".join(
        [
            "# Reliability",
            "",
            "Written by `make chaos`; do not edit. Every figure is exact and the same on every machine.",
            "",
            "The functions run as they are deployed, against the EC2 twin and moto's DynamoDB, SQS, S3, KMS and",
            "Step Functions, with the time limits, batch sizes, visibility timeouts and retries of `template.yaml`",
            "and the state machine of `statemachines/`. A run without faults records the calls that an operation",
            "makes. Then, for every one of them, a run of its own meets a fault there; what Lambda, SQS, Scheduler",
            "and Step Functions do follows, the hour goes by with its ticks, sweeps and prunes, and the end must be",
            "the end of the run without faults: the same snapshots, images, manifests, slots, instances, volumes,",
            "endpoints, reports and evidence, apart from ids, times, attempt numbers and locks.",
            "",
            "A restore and a drill are operations with a line for each step of theirs. They recover an instance,",
            "and from snapshots a detached volume beside it, with a probe of every kind.",
            "",
            "## Operations",
            "",
            "*Crash points*: the function is killed just before and just after each call, the latter also while",
            "EC2 does not show for four minutes what the call made, and in a run of recovery also with its",
            "execution, which somebody stops. *Delivery*: at each call, another worker carries out the same event,",
            "or prune runs at both sites and beside a run the sweep and the start of drills; messages, events and",
            "schedules come twice, late, backwards or not at all. *EC2*: each call is throttled, finds no",
            "connection, or is carried out and answered with a 500 or not at all; a connection of `probe_network`",
            "is refused, unanswered, broken off or silent. Polls that find what the one before has found, and ask",
            "the same, are tried once.",
            "",
            _row("operation", "calls", "crash points", "delivery", "EC2", *_WORDS.values()),
            _row("---", *("---:" for _ in range(4 + len(COUNTED)))),
            *(
                _row(
                    line.operation,
                    *map(str, (line.calls, line.crashes, line.deliveries, line.ec2)),
                    *(str(line.wrong[name]) for name in COUNTED),
                )
                for line in lines
            ),
            "",
            "*Missed*: something of the end without faults is not there, evidence of a run included.",
            "*Duplicates*: something is there twice after prune, or a run has ever made two instances for one",
            "resource, or sent one command twice. *Mixed*: a set whose members are of different instants counts as",
            "complete. *Orphans*: something is there that belongs to nothing, such as anything of a drill that is",
            "over. *Wrong deletions*: something that was needed was deleted, or by a run anything that no run has",
            "made. *Over limit*: more copies were asked for or in flight than allowed. *Unfinished*: messages are",
            "left over, or a run was cut off or given up. *Unnamed*: what could not be done is in no error line of",
            "an invocation whose metrics bring an alarm of the template to ALARM, by its dimensions, period,",
            "statistic and threshold; or what a function raised, or what was given up, brings none there. A run",
            "without faults must not bring any there.",
            "",
            "## Scenarios",
            "",
            *(line for kind in kinds for line in _section(kind, [each for each in played if each.kind == kind])),
        ]
    )


def _section(kind: str, played: Sequence[Played]) -> Iterable[str]:
    yield f"### {kind[0].upper()}{kind[1:]}"
    yield ""
    yield _row("what happens", "to", "wrong", "alarms that go off")
    yield _row("---", "---", "---:", "---")
    for each in played:
        yield _row(
            each.scenario, each.world, str(sum(_count([each.faults]).values())), ", ".join(each.alarms) or "none"
        )
    yield ""


def _count(faults: Iterable[Faults]) -> dict[str, int]:
    found = list(faults)
    return {name: sum(len(getattr(each, name)) for each in found) for name in COUNTED}


def explain(trials: Iterable[Trial], played: Iterable[Played]) -> Iterable[str]:
    """Everything that went wrong, one paragraph each."""
    for trial in trials:
        if not trial.faults.are_none:
            yield f"{trial.operation}: {trial.what}\n{trial.faults}"
    for each in played:
        if not each.faults.are_none:
            yield f"{each.world}: {each.scenario}\n{each.faults}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
