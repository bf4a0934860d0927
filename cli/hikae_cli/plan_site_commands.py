"""`hikae plan`: the commands that talk to the sites' buckets."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from hikae.domain.model import Place, Region, SiteRole
from hikae.domain.naming import format_time
from hikae.domain.plan_grammar import NAME
from hikae.domain.review import Severity
from hikae_cli.plan_changes import Change, Site, difference, plan_changes, plan_key, warn_of_copies_elsewhere
from hikae_cli.plan_files import FileProblem, PlanFile, read_plan_files
from hikae_cli.plan_listing import Listed, Row, list_site, read_listed, side_by_side
from hikae_cli.plan_removal import Removal
from hikae_cli.plan_review import review_files
from hikae_cli.site_options import installation_option
from hikae_cli.terminal import FILES, AsRegion, is_interactive, printable, refuse_stdin_twice

if TYPE_CHECKING:  # it loads the AWS SDK, which checking a plan does without
    from hikae_cli.site_buckets import SiteBuckets, SiteError, Version

_REGION_VARIABLE = {SiteRole.PRIMARY: "HIKAE_PRIMARY_REGION", SiteRole.RECOVERY: "HIKAE_RECOVERY_REGION"}


def _site_options(default: str | None, help_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that say which sites are meant."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        choice = click.Choice(["primary", "recovery", "both"])
        whether_required: Any = {"default": default, "show_default": True} if default else {"required": True}
        for option in (
            click.option(
                "--region",
                help="The site's Region; by default that of HIKAE_PRIMARY_REGION or HIKAE_RECOVERY_REGION.",
            ),
            installation_option,
            click.option("--site", type=choice, help=help_text, **whether_required),
        ):
            command = option(command)
        return command

    return add


# --- apply ------------------------------------------------------------------------------------------------------------


@click.command("apply")
@FILES
@_site_options(None, "Who gets the plans.")
@click.option(
    "--recovery-region",
    "served",
    type=AsRegion(),
    multiple=True,
    help="A Region that has a recovery site; give all of them. Copies to any other are refused.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def apply(  # noqa: PLR0913 - one for each option
    *,
    files: tuple[str, ...],
    site: str,
    installation: str,
    region: str | None,
    served: tuple[Region, ...],
    yes: bool,
) -> None:
    """Give the plans in FILE... (- is standard input) to a site, or to both.

    Shows what would change and asks. All files are checked first, and if anything is wrong with any of them, nothing is
    applied. A plan that somebody else changed after the difference was shown is not overwritten.
    """
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415 - see above

    refuse_stdin_twice(files)
    regions = _find_regions(_roles(site), region)
    valid = _read_or_refuse(files, served)
    for warning in [] if served else _warnings(valid, regions):
        click.echo(f"warning: {printable(warning)}", err=True)
    try:
        buckets, sites = _find_sites(site, installation, regions)
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
            buckets.write(change.site, change.key, change.file.content, instead_of=change.there)
        except SiteError as error:
            left = f"{number} of {len(due)} applied; apply again for the rest"
            raise click.ClickException(f"{printable(str(error))}\n{left}") from error
        click.echo(f"applied {change.file.plan.name} to {change.site.role}")


def _read_or_refuse(files: Sequence[str], served: Sequence[Region]) -> list[PlanFile]:
    """The plans, with a warning of what is unwise; refused where anything is wrong with any of them."""
    valid, problems = read_plan_files(files)
    problems += review_files(valid, served=frozenset(served) if served else None)
    for problem in problems:
        click.echo(str(problem), err=True)
    bad = {problem.file for problem in problems if problem.severity is Severity.ERROR}
    if bad:
        raise click.ClickException(
            f"refused as a whole, nothing was applied: {len(bad)} of {len(files)} files have problems"
        )
    return valid


def _warnings(files: Sequence[PlanFile], regions: Mapping[SiteRole, Region]) -> list[str]:
    recovery_region = regions.get(SiteRole.RECOVERY)
    return warn_of_copies_elsewhere(files, recovery_region=recovery_region) if recovery_region else []


def _show(change: Change) -> None:
    colours = {"new": "green", "changed": "yellow"}
    kind = click.style(change.kind, fg=colours.get(change.kind))
    click.echo(f"{change.site.role} {change.site.place}: {change.file.plan.name}: {kind}")
    _show_difference(change.diff)


def _show_difference(lines: Sequence[str]) -> None:
    for line in lines:
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


# --- remove -----------------------------------------------------------------------------------------------------------


@click.command("remove")
@click.argument("plan")
@_site_options(None, "Who is to lose the plan.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(*, plan: str, site: str, installation: str, region: str | None, yes: bool) -> None:
    """Remove PLAN, by its name, from a site or from both; what was made by it stays, under what it says now.

    Says what follows, and asks. A plan that somebody else changed after that was shown is not removed. Its versions
    stay in the site's bucket: `hikae plan history` names them.
    """
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415 - see above

    _check_name(plan)
    regions = _find_regions(_roles(site), region)
    try:
        buckets, sites = _find_sites(site, installation, regions)
        there = {each.role: buckets.read(each, plan_key(plan)) for each in sites}
    except SiteError as error:
        raise click.ClickException(printable(str(error))) from error
    due = [
        Removal(site=each, listed=read_listed(plan_key(plan), stored))
        for each in sites
        if (stored := there[each.role]) is not None
    ]
    if not due:
        where = "neither site has" if len(sites) > 1 else f"{sites[0].role} {sites[0].place} does not have"
        raise click.ClickException(f"{where} a plan {plan}; `hikae plan list` names those that are there")
    for each in sites:
        _show_removal(plan, each, next((removal for removal in due if removal.site is each), None))
    _confirm_removal(plan, due, is_confirmed=yes)
    for number, removal in enumerate(due):
        try:
            buckets.remove(removal.site, removal.listed.key, instead_of=removal.listed.stored)
        except SiteError as error:
            left = f"{number} of {len(due)} removed; remove again for the rest"
            raise click.ClickException(f"{printable(str(error))}\n{left}") from error
        click.echo(f"removed {plan} from {removal.site.role}")


def _show_removal(plan: str, site: Site, removal: Removal | None) -> None:
    since = f"of {format_time(removal.listed.stored.since)}" if removal else "is not there"
    click.echo(f"{site.role} {site.place}: {plan}: {since}")
    for line in removal.consequences if removal else ():
        click.echo(printable(f"  {line}"))


def _confirm_removal(plan: str, due: Sequence[Removal], *, is_confirmed: bool) -> None:
    if is_confirmed:
        return
    if not is_interactive():
        raise click.UsageError(f"nobody to ask, so nothing was removed; give --yes to remove {plan}")
    where = " and ".join(f"{each.site.role} {each.site.place}" for each in due)
    if not click.confirm(f"Remove {plan} from {where}? Nothing is made by it there any more; what was made stays"):
        raise click.ClickException("nothing was removed")


# --- diff -------------------------------------------------------------------------------------------------------------


@click.command("diff")
@FILES
@_site_options("both", "Which sites' plans are compared.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a plan at a site.")
def diff(*, files: tuple[str, ...], site: str, installation: str, region: str | None, as_json: bool) -> None:
    """Show how the plans in FILE... (- is standard input) differ from what a site has, or both.

    Exit code 0 where nothing differs, 1 where anything does, 2 where it could not be compared.
    """
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415 - see above

    refuse_stdin_twice(files)
    regions = _find_regions(_roles(site), region)
    valid, problems = read_plan_files(files)
    if problems:
        _name(problems)
        raise _Trouble("nothing was compared: what is no plan has no name to look for")
    try:
        buckets, sites = _find_sites(site, installation, regions)
        changes = plan_changes(sites, valid, read=buckets.read)
    except SiteError as error:
        raise _Trouble(printable(str(error))) from error
    for change in changes:
        if as_json:
            click.echo(_change_as_json(change))
        else:
            _show(change)
    if any(change.kind != "unchanged" for change in changes):
        raise click.exceptions.Exit(1)


def _name(problems: Sequence[FileProblem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)


def _change_as_json(change: Change) -> str:
    answer = {
        "plan": change.file.plan.name,
        "file": change.file.name,
        "site": change.site.role.value,
        "account": change.site.place.account,
        "region": change.site.place.region,
        "change": change.kind,
        "difference": change.diff,
    }
    return json.dumps(answer, ensure_ascii=False)


class _Trouble(click.ClickException):
    """What could not be compared: it is neither the same nor different."""

    exit_code = 2


# --- list -------------------------------------------------------------------------------------------------------------


@click.command("list")
@_site_options("both", "Which sites' plans are listed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_plans(*, site: str, installation: str, region: str | None, as_json: bool) -> None:
    """List the plans that the sites have, side by side, and when each was applied there.

    Exit code 1 where a site does not answer, or a plan there is broken: the other site's plans are listed all the same.
    """
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415 - see above

    regions = _find_regions(_roles(site), region)
    found: dict[SiteRole, dict[str, Listed]] = {}
    errors: list[SiteError] = []
    places: dict[SiteRole, Place] = {}
    for buckets, each in _each_site(site, installation, regions, errors):
        try:
            found[each.role] = list_site(each, keys=buckets.keys, read=buckets.read)
            places[each.role] = each.place
        except SiteError as error:
            errors.append(error)
    rows = side_by_side(found)
    for line in map(_row_as_json, rows) if as_json else _rows_as_table(rows, places):
        click.echo(printable(line))
    broken = [listed for row in rows for listed in row.at.values() if listed.problems]
    if not as_json:
        for line in _broken_plans(rows):
            click.echo(printable(line))
    for failure in errors:
        click.echo(f"Error: {printable(str(failure))}", err=True)
    if errors or broken:
        raise click.exceptions.Exit(1)


def _row_as_json(row: Row) -> str:
    answer: dict[str, Any] = {"plan": row.name, "state": row.state or None}
    for role, listed in row.at.items():
        problems = [
            {"line": problem.line, "path": problem.path, "message": problem.message} for problem in listed.problems
        ]
        answer[role.value] = {"applied_at": format_time(listed.stored.since), "problems": problems}
    return json.dumps(answer, ensure_ascii=False)


def _rows_as_table(rows: Sequence[Row], places: Mapping[SiteRole, Place]) -> Iterator[str]:
    if not rows:
        yield from (f"{role} {place}: no plans" for role, place in places.items())
        return
    header = ["PLAN", *(f"{role} {place}" for role, place in places.items())]
    table = [[*header, "" if len(places) == 1 else "STATE"]]
    table += [[row.name, *(_cell(row.at.get(role)) for role in places), row.state] for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(header) + 1)]
    for line in table:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(listed: Listed | None) -> str:
    if listed is None:
        return "-"
    since = format_time(listed.stored.since)
    return f"{since} broken" if listed.problems else since


def _broken_plans(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        for role, listed in row.at.items():
            yield from (f"{role} {listed.key}: broken: {problem}" for problem in listed.problems)


# --- history ----------------------------------------------------------------------------------------------------------


@click.command("history")
@click.argument("plan")
@_site_options("both", "Which sites' versions are listed.")
@click.option("--diff", "with_difference", is_flag=True, help="Show what each version changed.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=10_000),
    default=50,
    show_default=True,
    help="How many versions of each site are shown at the most.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def history(  # noqa: PLR0913 - one for each option
    *,
    plan: str,
    site: str,
    installation: str,
    region: str | None,
    with_difference: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List each version of PLAN that a site has had, and its deletions, the newest first.

    Exit code 1 where a site does not answer or none ever had the plan.
    """
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415 - see above

    _check_name(plan)
    regions = _find_regions(_roles(site), region)
    errors: list[SiteError] = []
    seen = 0
    for buckets, each in _each_site(site, installation, regions, errors):
        try:
            # One more than is shown: it is what the oldest one that is shown is compared with.
            versions = list(islice(buckets.versions(each, plan_key(plan)), limit + 1))
            seen += len(versions)
            _show_versions(buckets, each, plan, versions, limit, as_json=as_json, with_difference=with_difference)
        except SiteError as error:
            errors.append(error)
    for failure in errors:
        click.echo(f"Error: {printable(str(failure))}", err=True)
    if errors:
        raise click.exceptions.Exit(1)
    if not seen:
        where = "neither site has ever had" if site == "both" else f"the {site} site has never had"
        raise click.ClickException(f"{where} a plan {plan}; `hikae plan list` names those that are there")


def _check_name(plan: str) -> None:
    if not NAME.fullmatch(plan):
        raise click.BadParameter(f"{plan!r} is not the name of a plan; not its file, but what it says in plan:")


def _show_versions(  # noqa: PLR0913 - as history was asked
    buckets: "SiteBuckets",
    site: Site,
    plan: str,
    versions: Sequence["Version"],
    limit: int,
    *,
    as_json: bool,
    with_difference: bool,
) -> None:
    if not as_json:
        number = len(versions[:limit])
        click.echo(f"{site.role} {site.place}: {plan}: {number or 'no'} {'version' if number == 1 else 'versions'}")
    for number, version in enumerate(versions[:limit]):
        lines: list[str] = []
        if with_difference:
            previous = versions[number + 1] if number + 1 < len(versions) else None
            lines = _changed_by(buckets, site, plan, version, previous)
        if as_json:
            click.echo(_version_as_json(site, version, lines if with_difference else None))
            continue
        what = ("deleted" if version.is_deletion else "applied") + (", the current one" if version.is_latest else "")
        click.echo(printable(f"  {format_time(version.at)}  {version.id}  {what}"))
        _show_difference([f"  {line}" for line in lines])
    if len(versions) > limit:
        click.echo(f"{site.role}: there are more than {limit} versions; give a larger --limit", err=True)


def _changed_by(
    buckets: "SiteBuckets", site: Site, plan: str, version: "Version", previous: "Version | None"
) -> list[str]:
    if version.is_deletion:
        return []
    key = plan_key(plan)
    old = b"" if previous is None or previous.is_deletion else buckets.read_version(site, key, previous.id)
    before = "nothing" if previous is None or previous.is_deletion else previous.id
    return difference(old, buckets.read_version(site, key, version.id), old_name=before, new_name=version.id)


def _version_as_json(site: Site, version: "Version", lines: list[str] | None) -> str:
    answer: dict[str, Any] = {
        "site": site.role.value,
        "version": version.id,
        "at": format_time(version.at),
        "is_deletion": version.is_deletion,
        "is_current": version.is_latest,
    }
    if lines is not None:
        answer["difference"] = lines
    return json.dumps(answer, ensure_ascii=False)


# --- sites ------------------------------------------------------------------------------------------------------------


def _roles(site: str) -> list[SiteRole]:
    return list(SiteRole) if site == "both" else [SiteRole(site)]


def _find_regions(roles: Sequence[SiteRole], region: str | None) -> dict[SiteRole, Region]:
    """The Region of each site that is meant, and of the recovery site where it is known."""
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


def _find_sites(site: str, installation: str, regions: Mapping[SiteRole, Region]) -> tuple["SiteBuckets", list[Site]]:
    """Every site that is meant, each with a bucket that is there.

    Raises:
        SiteError: one of them is not, or does not answer.
    """
    errors: list[SiteError] = []
    found = list(_each_site(site, installation, regions, errors))
    for error in errors:
        raise error
    return found[0][0], [each for _, each in found]


def _each_site(
    site: str, installation: str, regions: Mapping[SiteRole, Region], errors: list["SiteError"]
) -> Iterator[tuple["SiteBuckets", Site]]:
    """Each site that is meant and answers; why the others do not is added to `errors`.

    The account is asked for in each Region by itself: with all of one Region gone, the other site is still found.
    """
    from hikae_cli.site_buckets import SiteBuckets, SiteError, find_account  # noqa: PLC0415 - see above

    buckets = SiteBuckets()
    for role in _roles(site):
        region = regions[role]
        try:
            each = Site(installation=installation, role=role, place=Place(account=find_account(region), region=region))
            buckets.check(each)
        except SiteError as error:
            errors.append(error)
        else:
            yield buckets, each
