"""What a recovery leaves when it ends: what of it may be removed, and what nobody has written down yet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from hikae.domain.naming import RECOVERED_FROM, RECOVERED_RESOURCE, run_tag
from hikae.domain.runs import Member, Mode, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Something that a run made, as EC2 shows it: an instance, volume, image, endpoint or security group.

    Absent facts are empty.
    """

    id: str
    kind: str
    state: str
    tags: Mapping[str, str]
    reason: str = ""
    type: str = ""
    subnet: str = ""
    zone: str = ""
    private_ip: str = ""
    image: str = ""
    attached_to: str = ""

    @property
    def resource(self) -> str:
        """What it stands for."""
        return self.tags.get(RECOVERED_RESOURCE, "")

    @property
    def run(self) -> str:
        """The restore or drill that made it."""
        return next((self.tags[mode.tag].partition("/")[2] for mode in Mode if mode.tag in self.tags), "")

    @property
    def point(self) -> str:
        """The point that it was made from."""
        return self.tags.get(RECOVERED_FROM, "")


GONE: Final = frozenset({"terminated", "deleted", "deregistered"})
GOING: Final = frozenset({"shutting-down", "deleting"})


def list_recovered(made: Iterable[Made]) -> list[Made]:
    """What stands here for an instance, or for a volume that was attached to nothing; an instance's own volumes do not.

    In the order of what they stand for; without what is gone or going.
    """
    there = [
        each
        for each in made
        if each.state not in GONE | GOING
        and (each.kind == "instance" or (each.kind == "volume" and each.resource.startswith("vol-")))
    ]
    return sorted(there, key=lambda each: (each.resource, each.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Teardown:
    """What is to be removed now, what is on its way out, and what stays with the reason."""

    remove: tuple[Made, ...]
    going: tuple[Made, ...]
    kept: tuple[str, ...]


def decide_teardown(made: Iterable[Made], *, mode: Mode, run: str, installation: str) -> Teardown:
    """What may be removed at the end of a run: only what carries the run's own tag and says what it stands for.

    A drill leaves nothing. A restore leaves everything but the images that it registered for launching. A volume goes
    with its instance, and by itself only once nothing has it attached; a security group goes when no instance is left.
    """
    wanted = run_tag(installation=installation, run=run)
    remove: list[Made] = []
    going: list[Made] = []
    kept: list[str] = []
    for each in sorted(made, key=lambda one: (_ORDER.index(one.kind), one.id)):
        if each.state in GONE:
            continue
        if each.tags.get(mode.tag) != wanted or RECOVERED_FROM not in each.tags or not each.resource:
            kept.append(f"{each.id}: its tags do not say that {wanted} made it")
        elif mode is Mode.RESTORE and each.kind != "image":
            continue
        elif each.state in GOING or _is_held(each, (*remove, *going)):
            going.append(each)
        else:
            remove.append(each)
    return Teardown(remove=tuple(remove), going=tuple(going), kept=tuple(kept))


def name_unrecorded(run: Run, made: Iterable[Made]) -> Run:
    """The run with the instances and volumes that EC2 shows of it and that no step lived to write down.

    A step that is stopped right after it has launched something leaves that to whoever ends the run. After a restore it
    stays, and the record has to name it.
    """
    there = [each for each in made if each.state not in GONE | GOING]
    for member in run.members:
        kind = "instance" if member.is_instance else "volume"
        found = next((each.id for each in there if each.kind == kind and each.resource == member.resource), "")
        if not found or not _is_unnamed(member):
            continue
        note = f"{found} was made by a step that ended before it could say so: it was neither connected nor probed"
        named = replace(member, instance=found) if member.is_instance else replace(member, volume=found)
        run = run.with_member(replace(named, notes=(*member.notes, note)))
    return run


def may_have_more(run: Run) -> bool:
    """Whether a step was cut off that makes things: EC2 may not show yet what it made last."""
    stages = [run.stages[name] for name in ("launch", "attach") if name in run.stages]
    return any(stage.ended_at is None for stage in stages) and any(_is_unnamed(member) for member in run.members)


def _is_unnamed(member: Member) -> bool:
    return not (member.instance or member.volume)


_ORDER: Final = ("instance", "volume", "image", "endpoint", "security-group")


def _is_held(made: Made, others: Iterable[Made]) -> bool:
    """Whether it cannot be removed yet: a volume that is attached, a security group while there are instances."""
    if made.kind == "security-group":
        return any(each.kind == "instance" for each in others)
    return made.kind == "volume" and bool(made.attached_to)
