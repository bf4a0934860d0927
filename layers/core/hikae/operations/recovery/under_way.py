"""Which runs are not over yet, by their documents alone, and which points they recover from."""

from collections.abc import Mapping
from dataclasses import dataclass

from hikae.domain.naming import EVIDENCE, RUNS, run_key
from hikae.domain.runs import RunError, read_run
from hikae.ports import Documents, NotFound, PortError


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsInUse:
    """The run by the id of each point that it has chosen; by the name of each run that cannot be read, why.

    `choosing` are the runs that have begun and chosen nothing yet.
    """

    points: Mapping[str, str]
    unread: Mapping[str, str]
    choosing: frozenset[str] = frozenset()


def list_unrecorded(documents: Documents) -> list[str]:
    """The names of the runs that have a document and no evidence, sorted.

    Raises:
        Unreachable: the bucket does not answer.
    """
    recorded = {key.removeprefix(EVIDENCE).removesuffix(".json") for key in documents.keys(EVIDENCE)}
    found = []
    for key in documents.keys(RUNS):
        name, _, rest = key.removeprefix(RUNS).partition("/")
        if rest == "run.json" and name not in recorded:
            found.append(name)
    return sorted(found)


def find_points_in_use(documents: Documents) -> PointsInUse:
    """What the runs that are not over recover from, from the moment at which they have chosen it.

    Raises:
        Unreachable: the bucket does not answer.
    """
    points: dict[str, str] = {}
    unread: dict[str, str] = {}
    choosing: set[str] = set()
    for name in list_unrecorded(documents):
        try:
            run = read_run(documents.read(run_key(name)))
        except NotFound:
            continue  # its time was over since it was listed
        except (PortError, RunError) as error:
            unread[name] = str(error)
        else:
            if run.ended_at is None:
                points |= {member.point: name for member in run.members}
                if not run.members and not run.failure:
                    choosing.add(name)
    return PointsInUse(points=points, unread=unread, choosing=frozenset(choosing))
