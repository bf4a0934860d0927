"""How a run ended, and what is wrong with that: compared with a run that met no fault, and with what is never right."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import FakeDeleteMarker, s3_backends

from hikae.domain import naming
from hikae.domain.model import Region
from hikae.domain.naming import RECOVERED_FROM
from local.chaos import machines, records
from local.chaos.alarms import Alarm, which_go_off
from local.chaos.stage import TIMED_OUT, VOLATILE_TAGS, Invocation, Removal, Stage
from local.chaos.template import read_deployment
from local.inprocess import ACCOUNT, PRIMARY, RECOVERY
from local.twin.inspection import compare_state, digest_of

_TIMES = frozenset({"written_at", "published_at", "dispatched_at", "expires_at", "attempt"})
_LIMITED = ("CopySnapshot", "CopyImage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of one run: what there is, without ids, times, attempt numbers and locks, and how it came about.

    `state` is by Region and kind, each a list in which what is there twice is listed twice.
    """

    state: Mapping[str, tuple[str, ...]]
    removals: tuple[Removal, ...]
    mixed: tuple[str, ...]
    made_twice: tuple[str, ...] = ()
    foreign_removals: tuple[str, ...] = ()
    refused_for_limit: int
    highest_in_flight: int
    limit: int
    waiting: Mapping[str, int]
    dead: Mapping[str, int]
    failed_runs: tuple[str, ...]
    invocations: tuple[Invocation, ...]
    alarms: tuple[Alarm, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Equal for two runs that ended alike."""
        return digest_of({name: list(each) for name, each in self.state.items()})

    def without(self, *texts: str) -> "Ending":
        """The same ending without what mentions any of these texts."""
        state = {
            kind: tuple(each for each in listed if not any(text in each for text in texts))
            for kind, listed in self.state.items()
        }
        return replace(self, state=state)

    def lines(self, **wanted: Any) -> list[Mapping[str, Any]]:
        """What the functions logged with these fields."""
        return [
            line
            for invocation in self.invocations
            for line in invocation.lines
            if all(line.get(key) == value for key, value in wanted.items())
        ]

    def names_as_failed(self, resource: str) -> bool:
        """Whether an error names the resource, and that very invocation brings an alarm to ALARM.

        By a metric of its own; or, where it gave messages back until they were given up, by those in its dead letters.
        """
        for invocation in self.invocations:
            told = [line for line in invocation.lines if line.get("levelname") == "ERROR"]
            is_named = resource in invocation.error or any(
                resource in json.dumps(line, default=str) for line in told
            )  # Lambda logs what a function raises
            if is_named and self._is_heard(invocation):
                return True
        return False

    def unheard(self) -> Iterable[str]:
        """What was given up, and what failed, without an alarm that goes off."""
        for invocation in self.invocations:
            if invocation.error and not self._is_heard(invocation):
                yield f"{invocation.function} at {invocation.at}: {invocation.error}"
        ringing = {queue for alarm in self.alarms for name, queue in alarm.dimensions if name == "QueueName"}
        if self.failed_runs and "FailedRunsQueue" not in ringing:
            yield from self.failed_runs
        letters = {f"{name}Dead": queue.dead_letters for name, queue in read_deployment().queues.items()}
        for name, count in self.dead.items():
            if letters[name] not in ringing:
                yield f"{count} messages in {letters[name]}"

    def _is_heard(self, invocation: Invocation) -> bool:
        if any(alarm.watches(datum) and datum.value for alarm in self.alarms for datum in invocation.data):
            return True
        deployment = read_deployment()
        queue = deployment.queues.get(deployment.functions[invocation.function].queue)
        return queue is not None and any(("QueueName", queue.dead_letters) in alarm.dimensions for alarm in self.alarms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What is wrong with an ending. All of it is to be nothing."""

    missed: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    wrong_deletions: tuple[str, ...] = ()
    over_limit: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()

    @property
    def are_none(self) -> bool:
        """Whether nothing is wrong."""
        return not any(getattr(self, each.name) for each in fields(self))

    def __str__(self) -> str:
        """All of it, one a line."""
        return "\n".join(f"{each.name}: {text}" for each in fields(self) for text in getattr(self, each.name))


def digest_now(stage: Stage) -> str:
    """What `Ending.digest` would be if the run ended now."""
    return digest_of({name: list(each) for name, each in _state(stage).items()})


def digest_before_step(stage: Stage, run: str) -> str:
    """All that a step of a run could go by, apart from the time: equal where what follows is the same."""
    bucket = s3_backends[ACCOUNT]["aws"].buckets[stage.installation.recovery.bucket]
    document = bucket.keys.get(naming.run_key(run))
    written = "" if document is None else records.rename(document.value.decode())
    commands = sorted(each.comment for each in stage.twin.shells(RECOVERY).sent)
    return digest_of({**{name: list(each) for name, each in _state(stage).items()}, run: [written, *commands]})


def _state(stage: Stage) -> dict[str, tuple[str, ...]]:
    return {**_ec2(stage), **machines.describe(stage), **_documents(stage), **_slots(stage)}


def look(stage: Stage) -> Ending:
    """How the run of `stage` has ended."""
    calls = stage.twin.world.calls
    waiting = stage.waiting()
    data = [datum for invocation in stage.invocations for datum in invocation.data]
    return Ending(
        state=_state(stage),
        removals=tuple(stage.removals),
        mixed=tuple(_mixed(stage)),
        made_twice=tuple(machines.made_twice(stage)),
        foreign_removals=tuple(stage.foreign_removals),
        refused_for_limit=sum(calls.count(name, region=RECOVERY, error="ResourceLimitExceeded") for name in _LIMITED),
        highest_in_flight=calls.high_water["pending copies", RECOVERY],
        limit=stage.installation.snapshot_copy_limit,
        waiting={name: count for name, count in waiting.items() if count and not name.endswith("Dead")},
        dead={name: count for name, count in waiting.items() if count and name.endswith("Dead")},
        failed_runs=tuple(stage.failed_runs),
        invocations=tuple(stage.invocations),
        alarms=which_go_off([*data, *stage.published()]),
        runs=tuple(stage.runs.ended),
    )


def judge(ending: Ending, clean: Ending, *, unnamed: Iterable[str] = ()) -> Faults:
    """What is wrong with `ending`, where `clean` is how it should have ended. `unnamed` should have been named."""
    missing: list[str] = []
    duplicates: list[str] = []
    orphans: list[str] = []
    for kind in sorted({*ending.state, *clean.state}):
        there, wanted = Counter(ending.state.get(kind, ())), Counter(clean.state.get(kind, ()))
        missing.extend((wanted - there).elements())
        for extra in (there - wanted).elements():
            (duplicates if extra in wanted else orphans).append(extra)
    over = [f"{ending.refused_for_limit} copies were asked for beyond the limit"] if ending.refused_for_limit else []
    if ending.highest_in_flight > ending.limit:
        over.append(f"{ending.highest_in_flight} copies in flight, the limit is {ending.limit}")
    unfinished = [
        # A wake is only a hint: one that is left says nothing that the next look would not find.
        *(f"{count} messages are left in {name}" for name, count in ending.waiting.items() if name != "WakeQueue"),
        *(f"gave up: {run}" for run in ending.failed_runs),
        *(f"cut off: {each.function} at {each.at}" for each in ending.invocations if TIMED_OUT in each.error),
    ]
    return Faults(
        missed=tuple(missing),
        duplicates=(*duplicates, *ending.made_twice),
        mixed=ending.mixed,
        orphans=tuple(orphans),
        wrong_deletions=(*_wrong_deletions(ending, clean), *ending.foreign_removals),
        over_limit=tuple(over),
        unfinished=tuple(unfinished),
        unnamed=(*unnamed, *ending.unheard()),
    )


def judge_ended(ending: Ending, clean: Ending, *, unnamed: Iterable[str] = ()) -> Faults:
    """What is wrong with the end of runs that may have failed, where `clean` is that of some that have not.

    Nothing of a drill may be left. What a restore has made stays, and its evidence names it. Either way there is one
    record of each run, and it says why where it tells of no success. One that was stopped before it had written down
    that it begins has done nothing, and there is no record of it.
    """
    found = judge(_without_runs(ending), _without_runs(clean), unnamed=unnamed)
    documents = ending.state[f"{RECOVERY} documents"]
    told = [json.loads(each.partition(": ")[2]) for each in documents if each.startswith("evidence/")]
    problems = [each for each in documents if "run.json: under way" in each]
    records_of = Counter(said["run"] for said in told)
    begun = [run for run in ending.runs if any(each.startswith(naming.run_key(run)) for each in documents)]
    problems.extend(f"{records_of[run]} records of {run}" for run in begun if records_of[run] != 1)
    silent = []
    remains: Counter[str] = Counter()
    for said in told:
        remains.update(said["remains"])
        if not said["is signed"]:
            problems.append(f"the record of {said['run']} is not what was signed")
        if (said["outcome"] == "succeeded") != (said["failure"] is None):
            problems.append(f"the record of {said['run']} says {said['outcome']}: {said['failure']}")
        if said["outcome"] != "succeeded" and "FailedRuns" not in {alarm.name for alarm in ending.alarms}:
            silent.append(f"no alarm on {said['run']}")
    there = Counter({"i": len(_own(ending, "instances")), "vol": len(_own(ending, "volumes"))})
    orphans = [f"there are {dict(there)} of runs, and the records name {dict(remains)}"] if +there != +remains else []
    return replace(
        found,
        missed=(*found.missed, *problems),
        orphans=(*found.orphans, *orphans),
        duplicates=(*found.duplicates, *ending.made_twice),
        unnamed=(*found.unnamed, *silent),
    )


def _own(ending: Ending, kind: str) -> list[str]:
    return [each for each in ending.state[f"{RECOVERY} {kind}"] if RECOVERED_FROM in each]


def _without_runs(ending: Ending) -> Ending:
    """Without what a restore leaves to a person, and without what tells of the run."""
    state = {
        kind: tuple(each for each in listed if RECOVERED_FROM not in each and not each.startswith(_TELLING))
        for kind, listed in ending.state.items()
    }
    return replace(ending, state=state, made_twice=())


_TELLING = ("evidence/", "recovery/restore", "recovery/drill")


def _wrong_deletions(ending: Ending, clean: Ending) -> Iterable[str]:
    """What was complete and needed, and was deleted although nothing like it was left."""
    needed = {(region, each) for region in (PRIMARY, RECOVERY) for each in _resources(clean, region)}
    for removal in ending.removals:
        if removal.is_complete and not removal.left and (removal.region, removal.identity) in needed:
            yield removal.identity


def _resources(ending: Ending, region: Region) -> Sequence[str]:
    return (*ending.state[f"{region} snapshots"], *ending.state[f"{region} images"])


def _ec2(stage: Stage) -> dict[str, tuple[str, ...]]:
    state = {}
    for region in (PRIMARY, RECOVERY):
        for kind, each in compare_state(stage.twin.backend(region), leave_out=VOLATILE_TAGS).items():
            state[f"{region} {kind}"] = tuple(each)
    return state


def _documents(stage: Stage) -> dict[str, tuple[str, ...]]:
    """Every document of both buckets: manifests, inventories, plans."""
    state = {}
    for region, settings in ((PRIMARY, stage.installation.primary), (RECOVERY, stage.installation.recovery)):
        documents = []
        for key, found in s3_backends[ACCOUNT]["aws"].buckets[settings.bucket].keys.items():
            if isinstance(found, FakeDeleteMarker):
                continue
            # A manifest's key ends in the attempt; what it says is the same for each.
            name = key.rpartition("/")[0] if key.startswith("manifests/") else key
            reduced = records.reduce(key, found.value.decode())
            documents.append(f"{name}: {_timeless(found.value.decode())}" if reduced is None else reduced)
        state[f"{region} documents"] = tuple(sorted(records.count_once(documents)))
    return state


def _timeless(text: str) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return text
    return json.dumps({key: value for key, value in document.items() if key not in _TIMES}, sort_keys=True)


def _slots(stage: Stage) -> dict[str, tuple[str, ...]]:
    """What both tables remember, apart from locks."""
    state = {}
    for region, settings in ((PRIMARY, stage.installation.primary), (RECOVERY, stage.installation.recovery)):
        items = [
            item.to_json()["Attributes"]
            for item in dynamodb_backends[ACCOUNT][region].tables[settings.table].all_items()
        ]
        kept = [
            json.dumps({key: value for key, value in item.items() if key not in _TIMES}, sort_keys=True)
            for item in items
            if not item["pk"]["S"].startswith("lock#")
        ]
        state[f"{region} slots"] = tuple(sorted(kept))
    return state


def _mixed(stage: Stage) -> Iterable[str]:
    """The sets that the product takes for complete although their members are of different instants."""
    made = {each.id: each for each in stage.twin.world.snapshots_made}
    for region in (PRIMARY, RECOVERY):
        backend = stage.twin.backend(region)
        sets: dict[tuple[str, ...], list[Any]] = {}
        for snapshot in backend.snapshots.values():
            tags = backend.tags_of(snapshot.id)
            if tags.get("hikae:kind") != "snapshot-set" or snapshot.owner_id != ACCOUNT:
                continue
            time = tags.get("hikae:source-time") or naming.format_time(snapshot.start_time.replace(microsecond=0))
            kind = "copy" if naming.COPY_OF in tags else "source"
            key = (tags[naming.POINT], tags[naming.ATTEMPT], str(time), kind)
            sets.setdefault(key, []).append(made[snapshot.copy.source_id] if snapshot.copy else snapshot)
        for name, sources in sets.items():
            if len({id(source.set) for source in sources}) > 1:
                yield f"{region} {'/'.join(name)}"
