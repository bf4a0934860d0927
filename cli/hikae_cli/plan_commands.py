"""`hikae plan`: check plans, and give them to the sites."""

import os
import re
from collections.abc import Sequence

import click

from hikae.domain.model import Place, Region, SiteRole
from hikae_cli.plan_changes import Change, Site, plan_changes, warn_of_copies_elsewhere
from hikae_cli.plan_files import FileProblem, PlanFile, read_plan_files
from hikae_cli.terminal import is_interactive, printable

_INSTALLATION = re.compile(r"[a-z0-9-]{1,16}")
_REGION_VARIABLE = {SiteRole.PRIMARY: "HIKAE_PRIMARY_REGION", SiteRole.RECOVERY: "HIKAE_RECOVERY_REGION"}
_FILES = click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)


@click.group("plan")
def plan_group() -> None:
    """Check plans, and give them to the sites that carry them out."""


@plan_group.command("validate")
@_FILES
def validate(files: tuple[str, ...]) -> None:
    """Say everything that is wrong with each plan in FILE... (- is standard input).

    Exit code 1 where there is anything.
    """
    _refuse_stdin_twice(files)
    valid, problems = read_plan_files(files)
    for file in valid:
        rules = ", ".join(rule.name for rule in file.plan.rules)
        click.echo(printable(f"{file.name}: plan {file.plan.name} is valid (rules: {rules})"))
    for problem in problems:
        click.echo(str(problem))
    if problems:
        raise click.exceptions.Exit(1)


def _check_installation(_: click.Context, __: click.Parameter, value: str) -> str:
    if not _INSTALLATION.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not an installation; 1 to 16 small letters, digits and hyphens")
    return value


@plan_group.command("apply")
@_FILES
@click.option("--site", required=True, type=click.Choice(["primary", "recovery", "both"]), help="Who gets the plans.")
@click.option(
    "--installation", default="main", show_default=True, callback=_check_installation, help="The stacks' Installation."
)
@click.option("--region", help="The site's Region; by default that of HIKAE_PRIMARY_REGION or HIKAE_RECOVERY_REGION.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def apply(*, files: tuple[str, ...], site: str, installation: str, region: str | None, yes: bool) -> None:
    """Give the plans in FILE... (- is standard input) to a site, or to both.

    Shows what would change and asks. All files are checked first, and if anything is wrong with any of them, nothing is
    applied.
    """
    from hikae_cli.site_buckets import SiteBuckets, SiteError, find_account  # noqa: PLC0415 - validate needs no boto3

    _refuse_stdin_twice(files)
    roles = list(SiteRole) if site == "both" else [SiteRole(site)]
    regions = _find_regions(roles, region)
    valid, problems = read_plan_files(files)
    if problems:
        _refuse(problems, len(files))
    for warning in _warnings(valid, regions):
        click.echo(f"warning: {printable(warning)}", err=True)
    buckets = SiteBuckets()
    try:
        account = find_account(regions[roles[0]])
        sites = [
            Site(installation=installation, role=role, place=Place(account=account, region=regions[role]))
            for role in roles
        ]
        for each in sites:
            buckets.check(each)
        changes = plan_changes(sites, valid, read=buckets.read)
    except SiteError as error:
        raise click.ClickException(printable(str(error))) from error
    for change in changes:
        _show(change)
    due = [change for change in changes if change.kind != "unchanged"]
    if not due:
        click.echo("nothing to do")
        return
    _confirm(due, is_confirmed=yes)
    for number, change in enumerate(due):
        try:
            buckets.write(change.site, change.key, change.file.content)
        except SiteError as error:
            left = f"{number} of {len(due)} applied; apply again for the rest"
            raise click.ClickException(f"{printable(str(error))}\n{left}") from error
        click.echo(f"applied {change.file.plan.name} to {change.site.role}")


def _refuse_stdin_twice(files: Sequence[str]) -> None:
    if files.count("-") > 1:
        raise click.UsageError("- is given twice; standard input can be read once")


def _find_regions(roles: Sequence[SiteRole], region: str | None) -> dict[SiteRole, Region]:
    """The Region of each site that gets plans, and of the recovery site where it is known."""
    if region is not None and len(roles) > 1:
        raise click.UsageError(
            "--region is for a single site; with --site both set HIKAE_PRIMARY_REGION and HIKAE_RECOVERY_REGION"
        )
    regions = {role: Region(os.environ[name]) for role, name in _REGION_VARIABLE.items() if os.environ.get(name)}
    if region is not None:
        regions[roles[0]] = Region(region)
    for role in roles:
        if not regions.get(role):
            also = " or give --region" if len(roles) == 1 else ""
            raise click.UsageError(f"the Region of the {role} site is not known; set {_REGION_VARIABLE[role]}{also}")
    return regions


def _refuse(problems: Sequence[FileProblem], total: int) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)
    bad = len({problem.file for problem in problems})
    raise click.ClickException(f"refused as a whole, nothing was applied: {bad} of {total} files have problems")


def _warnings(files: Sequence[PlanFile], regions: dict[SiteRole, Region]) -> list[str]:
    recovery_region = regions.get(SiteRole.RECOVERY)
    return warn_of_copies_elsewhere(files, recovery_region=recovery_region) if recovery_region else []


def _show(change: Change) -> None:
    colours = {"new": "green", "changed": "yellow"}
    kind = click.style(change.kind, fg=colours.get(change.kind))
    click.echo(f"{change.site.role} {change.site.place}: {change.file.plan.name}: {kind}")
    for line in change.diff:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.secho(f"  {printable(line)}", fg=colour)


def _confirm(due: Sequence[Change], *, is_confirmed: bool) -> None:
    if is_confirmed:
        return
    what = f"{len(due)} {'plan' if len(due) == 1 else 'plans'}"
    if not is_interactive():
        raise click.UsageError(f"nobody to ask, so nothing was applied; give --yes to apply {what}")
    if not click.confirm(f"Apply {what}?"):
        raise click.ClickException("nothing was applied")
