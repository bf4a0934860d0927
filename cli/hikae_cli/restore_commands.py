"""`hikae restore`: start resources again at the recovery site, from their recovery points."""

from datetime import UTC, datetime

import click

from hikae.domain.model import SiteRole
from hikae.domain.runs import Mode, RunError, check_name
from hikae_cli.prune_commands import Moment
from hikae_cli.site_options import find_region, installation_option

INTERVAL = click.option(
    "--interval",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="Seconds between two looks at a run that is waited for.",
)


def as_run_name(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    """The name of a run, as a command is given it."""
    try:
        return None if name is None else check_name(name)
    except RunError as error:
        raise click.BadParameter(str(error)) from error


RUN_NAME = click.option(
    "--name",
    callback=as_run_name,
    help="The run's name; a name starts once in 90 days. By default made of what and when.",
)


@click.command("restore")
@click.argument("resources", metavar="[RESOURCE]...", nargs=-1)
@click.option("--plan", default="", help="The resources of this plan; with RESOURCE, its types and probes.")
@click.option(
    "--group", default="", help="Only those whose group_by tag has this value; --plan where two plans have it."
)
@click.option("--at", type=Moment(), help="No point that is younger than this time, RFC 3339.")
@click.option("--point", default="", help="This very point (rp-...), of exactly one RESOURCE.")
@click.option("--partial", is_flag=True, help="Go on without what has no point or cannot be launched.")
@RUN_NAME
@click.option("--dry-run", is_flag=True, help="Say what it would do, and what lacks for it; start nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", "waits", default=True, help="Show what happens until it is over (the default).")
@INTERVAL
@installation_option
@click.option("--region", help="The recovery site's Region; by default that of HIKAE_RECOVERY_REGION.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def restore(  # noqa: PLR0913 - one argument per option
    *,
    resources: tuple[str, ...],
    plan: str,
    group: str,
    at: datetime | None,
    point: str,
    partial: bool,
    name: str | None,
    dry_run: bool,
    yes: bool,
    waits: bool,
    interval: float,
    installation: str,
    region: str | None,
    as_json: bool,
) -> None:
    """Restore each RESOURCE, an id at the primary, or the resources of a plan, for good.

    Says first which points it would use and how old they are, as what and where it would launch them, and what lacks
    for it; then asks. The run goes on whatever becomes of this command, and needs nothing of the primary's Region.

    Exit codes: 0 it succeeded (with --no-wait: it was started; with --dry-run: nothing lacks); 1 refused or failed; 2
    wrong usage; 130 interrupted while the run went on.
    """
    from hikae_cli.recovery_access import explained, open_site  # noqa: PLC0415 - other commands need no boto3
    from hikae_cli.run_starting import Manner, find_plan, name_run, start, write_time  # noqa: PLC0415

    _check(resources, plan, group, point)
    where = find_region(SiteRole.RECOVERY, region)
    now = datetime.now(tz=UTC)
    request = {
        "plan": plan,
        "group": group,
        "resources": list(resources),
        "before": write_time(at),
        "point": point,
        "partial": partial,
    }
    manner = Manner(is_dry_run=dry_run, is_confirmed=yes, waits=waits, interval=interval, as_json=as_json)
    with explained(f"recovery site in {where}"):
        access = open_site(installation=installation, region=where)
        if group and not plan:
            request["plan"] = find_plan(access, group)
        start(access, Mode.RESTORE, request, name=name or name_run(Mode.RESTORE, request, now), manner=manner, now=now)


def _check(resources: tuple[str, ...], plan: str, group: str, point: str) -> None:
    if not resources and not plan and not group:
        raise click.UsageError("nothing to restore: give RESOURCE, or --group, or --plan")
    if group and resources:
        raise click.UsageError("either RESOURCE or --group")
    if point and len(resources) != 1:
        raise click.UsageError("--point goes with exactly one RESOURCE")
