"""Starting a run by hand: say what it will do, ask, start it, and follow it to its end."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from hikae.domain.naming import format_time
from hikae.domain.runs import Mode, check_name, read_request
from hikae_cli.run_report import Event, doubled_lines, forecast_json, forecast_lines, record_lines
from hikae_cli.terminal import is_interactive, printable

if TYPE_CHECKING:
    from hikae.operations.recovery.find_group import FoundGroup
    from hikae.operations.recovery.foresee import Forecast
    from hikae_cli.recovery_access import Access

INTERRUPTED = 130
"""The exit code of a command that was interrupted, as shells have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a command goes about a run."""

    is_dry_run: bool = False
    is_confirmed: bool = False
    waits: bool = True
    interval: float = 3.0
    as_json: bool = False


def name_run(mode: Mode, request: Mapping[str, Any], now: datetime) -> str:
    """A name that says what the run is of and when it was asked for: no two within a second."""
    of = str(request.get("group") or request.get("plan") or request["resources"][0])
    label = re.sub(r"[^a-z0-9]+", "-", of.lower())[:30].strip("-") or "all"
    return f"{mode}-{label}-{now:%Y%m%dt%H%M%S}"


def find_plan(access: "Access", group: str) -> str:
    """The plan that has this group at the site.

    Raises:
        click.ClickException: none has it, or several have; it names them.
        Unreachable: the site does not answer.
    """
    from hikae.operations.recovery.find_group import find_group  # noqa: PLC0415 - other commands need no boto3

    found = find_group(group, access.site)
    if len(found.plans) == 1:
        return found.plans[0]
    if found.plans:
        problem = f"several plans have a group {group}: give --plan with one of {', '.join(found.plans)}"
    else:
        problem = f"no plan has a group {group}; {_which_groups_there_are(found)}"
    unread = [f"; {each}" for each in found.broken]
    raise click.ClickException(printable(f"{problem}{''.join(unread)}"))


def _which_groups_there_are(found: "FoundGroup") -> str:
    there = [f"{name} of {plan}" for plan, names in found.others.items() for name in names]
    without = f"{', '.join(found.ungrouped)}: no drill with group_by, which makes groups" if found.ungrouped else ""
    if there:
        return f"there are {', '.join(there)}"
    if without:
        return f"there is no group at all ({without}); give RESOURCE or --plan"
    return "there is no group at all: no plan is here, or no point carries the tag of its group_by; see hikae plan list"


def start(  # noqa: PLR0913 - what, where and how
    access: "Access", mode: Mode, request: Mapping[str, Any], *, name: str, manner: Manner, now: datetime
) -> None:
    """Foresee the run, ask, start it and follow it.

    Raises:
        click.ClickException: it would fail, nobody wanted it, or it was there before.
        click.exceptions.Exit: 1 where it failed, 130 where following it was interrupted.
        SiteError, RunError, PortError: the site does not answer, or the request makes no sense.
    """
    from hikae.operations.recovery.foresee import foresee  # noqa: PLC0415 - other commands need no boto3
    from hikae_cli.recovery_access import find_caller  # noqa: PLC0415

    check_name(name)
    asked = {"mode": mode.value, **{key: value for key, value in request.items() if value}}
    forecast = foresee(name, read_request(asked), access.site, now=now)
    if manner.as_json:
        _dump(forecast_json(forecast, now=now))
    else:
        for line in forecast_lines(forecast, where=access.name, now=now):
            click.echo(printable(line))
    if forecast.problems:
        without = {} if request.get("partial") else _without_what(name, asked, access, now)
        or_else = f", or add --partial to go on without {', '.join(without)}" if without else ""
        raise click.ClickException(f"nothing was started: put right what is lacking, and start again{or_else}")
    if manner.is_dry_run:
        return
    if not manner.is_confirmed:
        _confirm(mode, forecast, access.name)
    request_of_caller = {**asked, "started_by": find_caller(access.settings.place.region)}
    if not access.machine.start(name, request_of_caller):
        raise click.ClickException(
            f"there has been a run {name} in the last 90 days, and a name starts once; see hikae drill show {name}"
        )
    if manner.as_json:
        _dump({"record": "started", "run": name, "execution": access.machine.execution(name)})
    else:
        click.echo(f"started {name}")
    if manner.waits:
        follow_to_the_end(access, name, manner=manner)
    elif not manner.as_json:
        click.echo(f"follow it with: hikae drill show {name} --wait")


def _without_what(name: str, asked: Mapping[str, Any], access: "Access", now: datetime) -> Mapping[str, str]:
    """What a partial run would go on without; nothing where that would not start either."""
    from hikae.operations.recovery.foresee import foresee  # noqa: PLC0415 - as above

    forecast = foresee(name, read_request({**asked, "partial": True}), access.site, now=now)
    return {} if forecast.problems else forecast.run.missing


def _confirm(mode: Mode, forecast: "Forecast", where: str) -> None:
    if not is_interactive():
        raise click.UsageError(
            "nobody to ask, so nothing was started; give --yes, or --dry-run to see what it would do"
        )
    for line in doubled_lines(forecast):
        click.echo(printable(line), err=True)
    members = len(forecast.run.members)
    what = f"{mode} {members} resource{'' if members == 1 else 's'} at {where}"
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        raise click.ClickException("nothing was started")


def follow_to_the_end(access: "Access", name: str, *, manner: Manner) -> None:
    """Show what happens in a run, and in the end its record.

    Raises:
        click.ClickException: it cannot be looked at.
        click.exceptions.Exit: 1 where it did not succeed, 130 where somebody has had enough of looking.
    """
    from hikae.ports import PortError  # noqa: PLC0415 - as above
    from hikae_cli.run_following import follow  # noqa: PLC0415
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415

    def show(event: Event) -> None:
        if manner.as_json:
            _dump(event.as_json())
        else:
            click.echo(printable(str(event)))

    try:
        record = follow(access, name, interval=manner.interval, show=show)
    except KeyboardInterrupt:
        click.echo(f"\n{name} goes on; follow it with: hikae drill show {name} --wait", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except (SiteError, PortError) as error:
        # Whoever cannot look must not believe that nothing runs.
        message = f"{error}; {name} goes on all the same; follow it with: hikae drill show {name} --wait"
        raise click.ClickException(printable(message)) from error
    show_record(access, name, record, as_json=manner.as_json)


def show_record(access: "Access", name: str, record: Mapping[str, Any] | None, *, as_json: bool) -> None:
    """Show the record of a run that is over.

    Raises:
        click.ClickException: there is none.
        click.exceptions.Exit: the run did not succeed.
    """
    from hikae_cli.run_following import load_run  # noqa: PLC0415 - as above

    if record is None:
        run = load_run(access, name)
        if run is None:
            where = access.machine.execution(name)
            click.echo(f"{name} is over before it has begun anything; its execution says why: {where}", err=True)
            raise click.exceptions.Exit(1)
        why = f": {run.failure}" if run.failure else ""
        raise click.ClickException(
            printable(
                f"{name} is over and has no evidence{why}; the sweep records it, and its execution says more: "
                f"{access.machine.execution(name)}"
            )
        )
    if as_json:
        _dump({"record": "evidence", **record})
    else:
        for line in record_lines(record):
            click.echo(printable(line))
    if record.get("outcome") != "succeeded":
        raise click.exceptions.Exit(1)


def write_time(moment: datetime | None) -> str:
    """A time as a request has it; empty where there is none."""
    return "" if moment is None else format_time(moment)


def _dump(answer: Mapping[str, Any]) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False))
