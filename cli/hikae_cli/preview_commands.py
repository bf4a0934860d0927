"""`hikae plan preview`: what a plan would make, copy, keep and delete over the next days."""

from datetime import UTC, datetime

import click

from hikae.domain.model import SiteRole
from hikae.domain.plan import Plan
from hikae.domain.preview import MAX_DAYS, Preview, PreviewError
from hikae_cli import preview_report
from hikae_cli.plan_files import read_plan_files
from hikae_cli.plan_times import read_time
from hikae_cli.preview_points import Start, start_empty, start_with_points
from hikae_cli.site_options import find_region, installation_option
from hikae_cli.terminal import printable


@click.command("preview")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--days", type=click.IntRange(1, MAX_DAYS), default=7, show_default=True, help="How many days.")
@click.option("--from", "start", metavar="TIME", help="When they begin; by default now.")
@click.option(
    "--points",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help='Begin with these points: JSON Lines, {"id": …, "time": RFC 3339} and what else is known; - is stdin.',
)
@click.option("--live", is_flag=True, help="Begin with what both sites have now; reads with your credentials.")
@installation_option
@click.option("--region", help="With --live, the primary site's Region; by default that of HIKAE_PRIMARY_REGION.")
@click.option("--resource", "resources", multiple=True, help="Only this instance or volume; may be given repeatedly.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: events, days, what is held at the end.")
def preview(  # noqa: PLR0913 - one argument per option
    *,
    file: str,
    days: int,
    start: str | None,
    points: str | None,
    live: bool,
    installation: str,
    region: str | None,
    resources: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what the plan in FILE (- is standard input) would make, copy, keep and delete, day by day, and why.

    The decisions are those of the real runs, over time that is simulated; nothing is changed anywhere. It begins with
    the points of a file, with the live state, or else with nothing and one resource that is taken to be selected.
    Points and copies are taken to be complete at once, and pruning to run every hour. A TIME is RFC 3339, or a date or
    a time without an offset, which is then the plan's local one.

    Exit codes: 0 shown, 1 refused or failed, 2 wrong usage.
    """
    if points is not None and live:
        raise click.UsageError("--points and --live are two beginnings; give one of them")
    if points == file == "-":
        raise click.UsageError("- is given twice; standard input can be read once")
    plan = _read_plan(file)
    at = datetime.now(tz=UTC).replace(microsecond=0) if start is None else read_time(plan, "--from", start)
    only = frozenset(resources)
    if live:
        begin = _start_live(plan, installation=installation, region=region, at=at, only=only)
    elif points is not None:
        begin = start_with_points(plan, points, at=at, only=only)
    else:
        begin = start_empty(plan, at=at)
    show = preview_report.as_json if as_json else preview_report.as_text
    try:
        for line in show(Preview(begin.beginning, days=days), begin):
            click.echo(line)
    except PreviewError as error:
        raise click.ClickException(printable(str(error))) from error


def _read_plan(file: str) -> Plan:
    valid, problems = read_plan_files([file])
    for problem in problems:
        click.echo(str(problem), err=True)
    if problems:
        raise click.ClickException("nothing was previewed: the plan has problems")
    return valid[0].plan


def _start_live(plan: Plan, *, installation: str, region: str | None, at: datetime, only: frozenset[str]) -> Start:
    from hikae_cli.live_sites import start_live  # noqa: PLC0415 - only this needs boto3
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415

    home = find_region(SiteRole.PRIMARY, region)
    try:
        return start_live(plan, installation=installation, region=home, at=at, only=only)
    except SiteError as error:
        raise click.ClickException(printable(str(error))) from error
