"""`hikae drill`: rehearse a recovery, see what became of runs, and check what they have proven."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hikae.domain.model import Region, SiteRole
from hikae.domain.naming import parse_time
from hikae.domain.runs import Mode, RunError
from hikae_cli.prune_commands import Moment
from hikae_cli.restore_commands import INTERVAL, RUN_NAME, as_run_name
from hikae_cli.run_report import Row, list_events, list_lines
from hikae_cli.site_options import find_region, installation_option
from hikae_cli.terminal import is_interactive, printable

if TYPE_CHECKING:
    from hikae_cli.recovery_access import Access

_region_option = click.option("--region", help="The recovery site's Region; by default that of HIKAE_RECOVERY_REGION.")
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_wait_option = click.option(
    "--wait/--no-wait", "waits", default=True, help="Show what happens until it is over (the default)."
)


@click.group("drill")
def drill_group() -> None:
    """Rehearse a recovery, and see what became of drills and restores."""


@drill_group.command("start")
@click.argument("plan")
@click.argument("resources", metavar="[RESOURCE]...", nargs=-1)
@click.option("--group", default="", help="Only those whose group_by tag has this value.")
@click.option("--at", type=Moment(), help="No point that is younger than this time, RFC 3339.")
@click.option("--partial", is_flag=True, help="Go on without what has no point or cannot be launched.")
@RUN_NAME
@click.option("--dry-run", is_flag=True, help="Say what it would do, and what lacks for it; start nothing.")
@_wait_option
@INTERVAL
@installation_option
@_region_option
@_json_option
def start_drill(  # noqa: PLR0913 - one argument per option
    *,
    plan: str,
    resources: tuple[str, ...],
    group: str,
    at: datetime | None,
    partial: bool,
    name: str | None,
    dry_run: bool,
    waits: bool,
    interval: float,
    installation: str,
    region: str | None,
    as_json: bool,
) -> None:
    """Drill the resources of PLAN, all of them, those of a group, or each RESOURCE, in the isolated network.

    Nothing that was there before is touched, and everything that the drill makes is torn down in every outcome, so it
    does not ask.

    Exit codes: 0 it succeeded (with --no-wait: it was started); 1 refused or failed; 2 wrong usage; 130 interrupted
    while the drill went on.
    """
    from hikae_cli.recovery_access import explained, open_site  # noqa: PLC0415 - other commands need no boto3
    from hikae_cli.run_starting import Manner, name_run, start, write_time  # noqa: PLC0415

    if group and resources:
        raise click.UsageError("either RESOURCE or --group")
    where = find_region(SiteRole.RECOVERY, region)
    now = datetime.now(tz=UTC)
    request = {
        "plan": plan,
        "group": group,
        "resources": list(resources),
        "before": write_time(at),
        "partial": partial,
    }
    manner = Manner(is_dry_run=dry_run, is_confirmed=True, waits=waits, interval=interval, as_json=as_json)
    with explained(f"recovery site in {where}"):
        access = open_site(installation=installation, region=where)
        start(access, Mode.DRILL, request, name=name or name_run(Mode.DRILL, request, now), manner=manner, now=now)


@drill_group.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, the newest first.")
@installation_option
@_region_option
@_json_option
def list_runs(*, limit: int, installation: str, region: str | None, as_json: bool) -> None:
    """List drills and restores, past ones by their evidence and those under way, the newest first.

    Those of which nothing says when they began come last, whatever the limit.

    Exit codes: 0 listed; 1 the site does not answer; 2 wrong usage.
    """
    from hikae_cli.recovery_access import explained, open_site  # noqa: PLC0415 - as above

    where = find_region(SiteRole.RECOVERY, region)
    with explained(f"recovery site in {where}"):
        rows = _rows(open_site(installation=installation, region=where))
    dated = [(row.began_at, row.run, row) for row in rows if row.began_at is not None]
    newest = [row for _, _, row in sorted(dated, key=lambda each: each[:2], reverse=True)[:limit]]
    shown = [*newest, *(row for row in rows if row.began_at is None)]
    for line in (json.dumps(row.as_json(), ensure_ascii=False) for row in shown) if as_json else list_lines(shown):
        click.echo(printable(line))


def _rows(access: "Access") -> list[Row]:
    from hikae_cli.run_following import list_documented, list_recorded, load_record  # noqa: PLC0415

    rows = []
    recorded = set(list_recorded(access))
    for name in sorted(recorded):
        try:
            rows.append(_row_of_record(name, load_record(access, name)))
        except (KeyError, TypeError, AttributeError, ValueError):
            # Its document may still say what it was of.
            rows.append(_row_of_document(access, name, "its evidence cannot be read"))
    under_way = {each.run: each.began_at for each in access.machine.under_way()}
    for name in sorted({*list_documented(access), *under_way} - recorded):
        state = "running" if name in under_way else "ended, not recorded yet"
        rows.append(_row_of_document(access, name, state, began_at=under_way.get(name)))
    return rows


def _row_of_record(name: str, record: Mapping[str, Any] | None) -> Row:
    """A run by its evidence; raises what reading something else of it raises."""
    if record is None:
        raise ValueError
    rpos = [member["achieved_rpo_seconds"] for member in record["members"]]
    return Row(
        run=name,
        mode=record["mode"],
        began_at=parse_time(record["began_at"]),
        state=record["outcome"],
        what=_what(record["request"]),
        started_by=record["request"].get("started_by") or "",
        rto=record["achieved_rto_seconds"],
        rpo=max(rpos, default=None),
    )


def _row_of_document(access: "Access", name: str, state: str, *, began_at: datetime | None = None) -> Row:
    """A run by its document, as far as it has one that can be read; `began_at` is what else is known."""
    from hikae.ports import Refused  # noqa: PLC0415 - as above
    from hikae_cli.run_following import load_run  # noqa: PLC0415

    unknown = Row(run=name, mode="", began_at=began_at, state=state, what="", started_by="")
    try:
        run = load_run(access, name)
    except (RunError, Refused):
        return replace(unknown, state=f"{state}; its document cannot be read")
    if run is None:
        return unknown
    request = run.request
    asked = {"plan": request.plan, "group": request.group, "resources": request.resources}
    return Row(
        run=name,
        mode=request.mode.value,
        began_at=run.began_at,
        state=state,
        what=_what(asked),
        started_by=request.started_by,
    )


def _what(request: dict[str, Any]) -> str:
    parts = [request.get("plan") or "", request.get("group") or "", *(request.get("resources") or ())]
    return " ".join(part for part in parts if part)


@drill_group.command("show")
@click.argument("run", callback=as_run_name)
@click.option("--wait/--no-wait", "waits", default=False, help="Show what happens until it is over (not by default).")
@INTERVAL
@click.option(
    "--evidence",
    type=click.Path(dir_okay=False),
    callback=lambda _, __, path: _check_directory(path),
    help="Also write the signed evidence to this file; with --wait, once it is over.",
)
@installation_option
@_region_option
@_json_option
def show_run(  # noqa: PLR0913 - one argument per option
    *,
    run: str,
    waits: bool,
    interval: float,
    evidence: str | None,
    installation: str,
    region: str | None,
    as_json: bool,
) -> None:
    """Show one drill or restore: its steps and times, achieved RPO and RTO, probes, what was torn down or remains.

    Exit codes: 0 it succeeded, or is under way; 1 it failed, there is none, or the site does not answer; 2 wrong usage;
    130 interrupted while the run went on.
    """
    from hikae_cli.recovery_access import UNDER_WAY, explained, open_site  # noqa: PLC0415 - as above
    from hikae_cli.run_following import load_record, load_run  # noqa: PLC0415
    from hikae_cli.run_starting import Manner, follow_to_the_end, show_record  # noqa: PLC0415

    where = find_region(SiteRole.RECOVERY, region)
    manner = Manner(interval=interval, as_json=as_json)
    with explained(f"recovery site in {where}"):
        access = open_site(installation=installation, region=where)
        status = access.machine.status(run)
        document, record = load_run(access, run), load_record(access, run)
        if status is None and document is None and record is None:
            raise click.ClickException(f"there is no run {run} at {access.name}; see hikae drill list")
        if waits:
            try:
                follow_to_the_end(access, run, manner=manner)
            except click.exceptions.Exit as ended:
                # What has failed is proven, too; what goes on is not.
                if evidence is not None and ended.exit_code == 1:
                    _save(access, run, evidence, is_under_way=False)
                raise
            if evidence is not None:
                _save(access, run, evidence, is_under_way=False)
            return
        for event in list_events(document) if document else ():
            line = json.dumps(event.as_json(), ensure_ascii=False) if as_json else str(event)
            click.echo(printable(line))
        if evidence is not None:
            _save(access, run, evidence, is_under_way=status in UNDER_WAY)
        if record is None and status in UNDER_WAY:
            click.echo(json.dumps({"record": "running", "run": run}) if as_json else f"{run} is under way")
            return
        show_record(access, run, record, as_json=as_json)


def _check_directory(path: str | None) -> str | None:
    """Said at once, and not when a run that was waited for is over."""
    if path is not None and not Path(path).parent.is_dir():
        raise click.BadParameter(f"there is no directory {Path(path).parent}; make it first, or give another file")
    return path


def _save(access: "Access", run: str, path: str, *, is_under_way: bool) -> None:
    from hikae.domain.naming import evidence_key  # noqa: PLC0415 - as above
    from hikae.ports import NotFound  # noqa: PLC0415

    try:
        document = access.site.documents.read(evidence_key(run))
    except NotFound as error:
        if is_under_way:
            message = f"{run} is not over, so there is no evidence yet; --wait writes it once it is"
        else:
            message = f"{run} is over and has no evidence (yet); the sweep records what its execution did not"
        raise click.ClickException(message) from error
    try:
        Path(path).write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")
    except OSError as error:
        raise click.ClickException(printable(f"the evidence of {run} was not written: {error}")) from error
    click.echo(f"written to {path}; check it with: hikae drill verify {path}", err=True)


@drill_group.command("stop")
@click.argument("run", callback=as_run_name)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_wait_option
@INTERVAL
@installation_option
@_region_option
@_json_option
def stop_run(  # noqa: PLR0913 - one argument per option
    *, run: str, yes: bool, waits: bool, interval: float, installation: str, region: str | None, as_json: bool
) -> None:
    """Stop a drill, or a restore. The sweep then tears down what a drill has made, and records it.

    Of a restore, what was launched stays, for a person to decide about.

    Exit codes: 0 it was stopped, and recorded unless --no-wait was given; 1 refused, there is none, it was over, or the
    sweep has not recorded it; 2 wrong usage; 130 interrupted.
    """
    from hikae_cli.recovery_access import UNDER_WAY, explained, open_site  # noqa: PLC0415 - as above
    from hikae_cli.run_starting import Manner, follow_to_the_end  # noqa: PLC0415

    where = find_region(SiteRole.RECOVERY, region)
    with explained(f"recovery site in {where}"):
        access = open_site(installation=installation, region=where)
        standing = access.machine.look(run)
        if standing is None or standing.status not in UNDER_WAY:
            said = "there is no such run" if standing is None else f"it is over: {standing.status}"
            raise click.ClickException(f"{run} was not stopped: {said}; see hikae drill list")
        if not yes:
            _confirm_stop(access, run, standing.mode)
        access.machine.stop(run, cause=_name_who_stops(where))
        click.echo(printable(f"{run} is stopped; {_what_becomes_of_it(access, run, standing.mode)}"), err=True)
        if not waits:
            return
        try:
            follow_to_the_end(access, run, manner=Manner(interval=interval, as_json=as_json))
        except click.exceptions.Exit as ended:
            # A run that was stopped has failed, and that is what was wanted.
            if ended.exit_code != 1:
                raise


def _name_who_stops(where: Region) -> str:
    """What the evidence says of it. That STS does not answer stops nobody from stopping."""
    from hikae_cli.recovery_access import find_caller  # noqa: PLC0415 - as above
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415

    try:
        return f"hikae drill stop by {find_caller(where)}"
    except SiteError:
        return "hikae drill stop"


def _confirm_stop(access: "Access", run: str, mode: Mode | None) -> None:
    if not is_interactive():
        raise click.UsageError("nobody to ask, so nothing was stopped; give --yes")
    what = f"the {mode} {run}" if mode else run
    question = f"Stop {what} at {access.name}? If so, {_what_becomes_of_it(access, run, mode)}"
    if not click.confirm(printable(question), err=True):
        raise click.ClickException("nothing was stopped")


def _what_becomes_of_it(access: "Access", run: str, mode: Mode | None) -> str:
    """Of what a run that is stopped has made: a drill's goes, a restore's stays, with the ids that EC2 shows now."""
    if mode is Mode.DRILL:
        return "what it has made is torn down by the sweep"
    stays = "what it has launched stays, for a person to decide about"
    if mode is None:
        return f"nobody can say whether it is a drill: if so, what it has made is torn down by the sweep, else {stays}"
    from hikae.domain.naming import run_tag  # noqa: PLC0415 - as above
    from hikae.domain.teardown import list_recovered  # noqa: PLC0415
    from hikae.ports import PortError  # noqa: PLC0415

    value = run_tag(installation=access.settings.installation, run=run)
    try:
        found = list_recovered(access.site.recoverer.made(tag=mode.tag, value=value))
    except PortError as error:
        # That EC2 does not answer keeps nobody from stopping.
        return f"{stays}; what that is, EC2 does not say now: {error}"
    if not found:
        return f"{stays}; EC2 shows nothing of it so far"
    return f"{stays}: {', '.join(f'{each.id} for {each.resource}' for each in found)}"


@drill_group.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--key", help="The key that it must be signed with: a file (PEM or DER), or a KMS key's ARN.")
@click.option("--json", "as_json", is_flag=True, help="The verified record as one JSON document.")
def verify(*, file: str, key: str | None, as_json: bool) -> None:
    """Verify the signature of the evidence in FILE, - for standard input, and show what it says.

    Without --key it needs nothing but the file, and says that the record is as whoever holds the key in it has signed
    it. That this is the site's own key, only --key can say: its ARN is the stack's output EvidenceKeyArn.

    Exit codes: 0 the signature is right; 1 it is not, or this is no evidence; 2 wrong usage.
    """
    from hikae_cli.evidence_files import EvidenceError, verify_evidence  # noqa: PLC0415 - nothing else needs it
    from hikae_cli.run_report import record_lines  # noqa: PLC0415

    with click.open_file(file, "rb") as stream:
        text = stream.read()
    try:
        verified = verify_evidence(text, key=_read_key(key))
        lines = [json.dumps(verified.record, ensure_ascii=False)] if as_json else list(record_lines(verified.record))
    except EvidenceError as error:
        raise click.ClickException(printable(f"{file}: {error}")) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise click.ClickException(
            printable(f"{file}: signed, but no record that this version reads: {error}")
        ) from error
    by = "the key that was given" if key else "the key in it, which --key can pin"
    click.echo(f"verified: signed with {by}; it says {verified.key_arn}", err=True)
    for line in lines:
        click.echo(printable(line))


def _read_key(key: str | None) -> bytes | None:
    if key is None:
        return None
    if key.startswith("arn:"):
        from hikae_cli.recovery_access import explained, read_public_key  # noqa: PLC0415 - as above

        with explained(key):
            return read_public_key(key)
    try:
        return Path(key).read_bytes()
    except OSError as error:
        raise click.UsageError(f"--key {key} is neither a file that can be read nor an ARN: {error}") from error
