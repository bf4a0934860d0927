"""Tear down what a run made: all of it after a drill, after a restore only the images that were made for launching."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from hikae.domain.points import VISIBLE_WITHIN
from hikae.domain.runs import DONE, Mode, Run, Step, again, failed
from hikae.domain.teardown import decide_teardown, may_have_more, name_unrecorded
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import Refused

_POLL = 10
PATIENCE: Final = timedelta(minutes=30)
"""How long a run waits for what it removes; the sweep goes on after that."""


def tear_down(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:
    """Remove what is there, and come again until EC2 shows nothing of it. What a restore leaves is named."""
    made = site.made(run)
    if run.request.mode is Mode.RESTORE:
        run = name_unrecorded(run, made)
    decided = decide_teardown(made, mode=run.request.mode, run=run.name, installation=site.installation)
    refusals = dict.fromkeys(decided.kept)
    # Written down first: an image that is gone is not shown any more, and the record says what was torn down.
    # One that is refused stays in it until it is known to be left: what is on its way out, after an answer that was
    # lost, is refused, too.
    asked = tuple(dict.fromkeys([*run.torn_down, *(each.id for each in decided.remove)]))
    run = replace(run, torn_down=asked, left_behind=())
    site.save(run)
    for each in decided.remove:
        try:
            site.recoverer.remove(each)
        except Refused as error:
            refusals[f"{each.id}: {error}"] = None
    waiting = [each.id for each in (*decided.remove, *decided.going)]
    stage = run.stages.get("tear-down")
    waited = now - stage.began_at if stage else timedelta()
    if waiting and waited < PATIENCE:
        return run, again(_POLL, f"{', '.join(waiting)} not gone yet")
    if run.request.mode is Mode.RESTORE and may_have_more(run) and waited < VISIBLE_WITHIN:
        return run, again(_POLL, "EC2 may not show yet all that a step made which was cut off")
    left = tuple(dict.fromkeys([*waiting, *refusals]))
    if left:
        gone = tuple(each for each in run.torn_down if each not in waiting)
        return replace(run, torn_down=gone, left_behind=left), failed(f"left behind: {'; '.join(left)}")
    return run, DONE
