"""`hikae prune`: what pruning would do at a site, and one run of it by hand."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hikae.domain.model import SiteRole
from hikae.domain.naming import parse_time
from hikae.ports import PortError
from hikae_cli.site_options import find_region, installation_option
from hikae_cli.terminal import is_interactive, printable

if TYPE_CHECKING:
    from hikae_cli.deployed_functions import DeployedFunction

_READING = "the reading actions of the function's own role"


class Moment(click.ParamType[datetime]):
    """An RFC 3339 time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or refuse it."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("prune")
@click.option("--site", required=True, type=click.Choice([role.value for role in SiteRole]), help="Whose points.")
@installation_option
@click.option("--region", help="The site's Region; by default that of HIKAE_PRIMARY_REGION or HIKAE_RECOVERY_REGION.")
@click.option("--dry-run", is_flag=True, help="Decide, say everything, delete nothing.")
@click.option("--now", type=Moment(), help="With --dry-run: decide as of this time, RFC 3339, in place of the clock.")
@click.option(
    "--lineage-percent",
    type=click.IntRange(0, 100),
    help="In place of LineageDeletionPercent, for this run only; 100 lets a run go that is held back.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; without --dry-run, one in all.")
def prune(  # noqa: PLR0913 - one argument per option
    *,
    site: str,
    installation: str,
    region: str | None,
    dry_run: bool,
    now: datetime | None,
    lineage_percent: int | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete the recovery points of one site that nothing keeps, or say which they are.

    With --dry-run the same code decides here, from the live state and with the limits of the deployed function; it
    reads with your credentials and changes nothing. Without, the deployed function does it, under its own role, and
    its answer is printed: your credentials delete nothing.

    Exit codes: 0 done, or decided; 1 refused or failed, or some of it failed, could not be asked or is a plan that
    cannot be read; 2 wrong usage.
    """
    from hikae_cli.deployed_functions import DeployedFunction  # noqa: PLC0415 - other commands need no boto3

    if now is not None and not dry_run:
        raise click.UsageError("--now is for --dry-run; a run that deletes goes by the clock")
    role = SiteRole(site)
    function = DeployedFunction(installation=installation, site=role, region=find_region(role, region))
    if dry_run:
        _show_what_would_go(function, now=now or datetime.now(tz=UTC), percent=lineage_percent, as_json=as_json)
    else:
        _run(function, percent=lineage_percent, is_confirmed=yes, as_json=as_json)


def _show_what_would_go(function: "DeployedFunction", *, now: datetime, percent: int | None, as_json: bool) -> None:
    from hikae.runtime import wiring  # noqa: PLC0415 - as above
    from hikae_cli import prune_report  # noqa: PLC0415
    from hikae_cli.site_buckets import SiteError, find_remedy  # noqa: PLC0415

    try:
        settings = function.settings()
        pruned = wiring.pruner(settings, now=now, dry_run=True, lineage_percent=percent)
    except SiteError as error:
        raise click.ClickException(printable(str(error))) from error
    except PortError as error:
        where = f"{settings.site} {settings.place}"
        remedy = find_remedy(error.code, needs=_READING)
        raise click.ClickException(printable(f"{where}: {error}; {remedy}")) from error
    in_force = settings.lineage_deletion_percent if percent is None else percent
    show = prune_report.as_json if as_json else prune_report.as_table
    for line in show(pruned, settings, percent=in_force, now=now):
        click.echo(line)
    if prune_report.has_failures(pruned):
        raise click.exceptions.Exit(1)


def _run(function: "DeployedFunction", *, percent: int | None, is_confirmed: bool, as_json: bool) -> None:
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415 - as above

    event: dict[str, Any] = {} if percent is None else {"lineage_percent": percent}
    try:
        if not is_confirmed:
            _confirm(function, event)
        answer = function.invoke(event)
    except SiteError as error:
        raise click.ClickException(printable(str(error))) from error
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
    else:
        _show_answer(function, answer)
    if answer.get("failed") or answer.get("unreachable") or answer.get("broken_plans"):
        raise click.exceptions.Exit(1)


def _confirm(function: "DeployedFunction", event: Mapping[str, Any]) -> None:
    """Ask, with what the function itself says that it would delete."""
    if not is_interactive():
        raise click.UsageError("nobody to ask, so nothing was deleted; give --yes, or --dry-run to see what would go")
    place = function.settings().place
    answer = function.invoke({**event, "dry_run": True})
    would_go = len(answer.get("expired", {})) + answer.get("not_shown", {}).get("expired", 0)
    where = f"function {function.name} (account {place.account}, Region {place.region})"
    if not click.confirm(f"{where} would delete {would_go} points and leftovers. Let it?", err=True):
        raise click.ClickException("nothing was deleted")


def _show_answer(function: "DeployedFunction", answer: Mapping[str, Any]) -> None:
    click.echo(f"{function} has answered:")
    for name, reasons in answer.get("expired", {}).items():
        click.echo(printable(f"  expired {name}: {'; '.join(reasons)}"))
    for what in ("failed", "unclear"):
        for name, reason in answer.get(what, {}).items():
            click.echo(printable(f"  {what} {name}: {reason}"))
    for what in ("unreachable", "broken_plans"):
        for line in answer.get(what, ()):
            click.echo(printable(f"  {what.replace('_', ' ')} {line}"))
    for what, number in answer.get("not_shown", {}).items():
        click.echo(f"  {what.replace('_', ' ')}: {number} more, which the log of the function names")
    counts = ("kept", "deleted", "capped", "held_back")
    click.echo(", ".join(f"{name.replace('_', ' ')} {answer.get(name, 0)}" for name in counts))
