"""`hikae jobs`: what waits in the sites' queues, what was given up, and doing it after all."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from hikae.domain.model import Place, SiteRole
from hikae.domain.naming import format_time
from hikae_cli.plan_changes import Site
from hikae_cli.site_options import find_region, installation_option
from hikae_cli.terminal import is_interactive, printable
from hikae_cli.waiting import QUEUES, SiteQueue, Waiting, shown_age

if TYPE_CHECKING:
    from hikae_cli.site_buckets import SiteError
    from hikae_cli.site_queues import Count, SiteQueues

_Command = TypeVar("_Command", bound=Callable[..., Any])

_MOST: Final = 1000
"""The most messages of one queue that are looked at; what is behind them comes with the next look."""


def _about_sites(command: _Command) -> _Command:
    """The options by which every command here is told what to look at."""
    options = (
        click.option(
            "--site",
            default="both",
            show_default=True,
            type=click.Choice(["primary", "recovery", "both"]),
            help="Whose queues.",
        ),
        installation_option,
        click.option(
            "--region", help="The site's Region; by default that of HIKAE_PRIMARY_REGION or HIKAE_RECOVERY_REGION."
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a queue, or a message."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group("jobs")
def jobs_group() -> None:
    """See what waits in the queues of the sites, and send again what was given up.

    Looking takes nothing out of a queue.
    """


@jobs_group.command("list")
@_about_sites
@click.option(
    "--waiting",
    is_flag=True,
    help="Also name the jobs that wait for their function. Each such look counts as one of a job's five receives.",
)
def list_jobs(*, site: str, installation: str, region: str | None, as_json: bool, waiting: bool) -> None:
    """List the queues of a site, or of both, and every message that was given up: a job, a run, a delivery.

    Exit code 1 where a site does not answer: the other site's queues are listed all the same.
    """
    now = datetime.now(tz=UTC)
    looks, errors = _look(site, installation, region, now=now, inside_work=waiting)
    for look in looks:
        if as_json:
            click.echo(json.dumps(_describe(look, now)))
        else:
            _show(look, now)
    _name(errors)
    if errors:
        raise click.exceptions.Exit(1)


@jobs_group.command("show")
@click.argument("message_id", metavar="MESSAGE-ID")
@_about_sites
def show(*, message_id: str, site: str, installation: str, region: str | None, as_json: bool) -> None:
    """Show one message that was given up, whole, as `hikae jobs list` names it."""
    now = datetime.now(tz=UTC)
    looks, errors = _look(site, installation, region, now=now, inside_work=False)
    found = [waiting for look in looks for waiting in look.messages if waiting.id == message_id]
    if not found:
        _name(errors)
        raise click.ClickException(_not_there([message_id], is_all=not errors))
    document = _whole(found[0], now)
    if as_json:
        click.echo(json.dumps(document))
        return
    for name, value in document.items():
        text = value if isinstance(value, str) else json.dumps(value)
        click.echo(printable(f"{name:<11} {text}"))


@jobs_group.command("redrive")
@click.argument("message_ids", metavar="[MESSAGE-ID]...", nargs=-1)
@_about_sites
@click.option(
    "--queue",
    "queues",
    multiple=True,
    type=click.Choice([queue.name for queue in QUEUES if not queue.is_work]),
    help="Everything in this queue; may be given several times.",
)
@click.option("--all", "everything", is_flag=True, help="Everything that was given up.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent where, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def redrive(  # noqa: PLR0913 - one keyword per option
    *,
    message_ids: tuple[str, ...],
    site: str,
    installation: str,
    region: str | None,
    as_json: bool,
    queues: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Send messages that were given up to where they came from: a job to its queue, a run to its function.

    A message is deleted once it was accepted there, and not before. That is safe to repeat: what is done is not done
    again. Exit code 1 where one was not sent, or a site does not answer: the other site's are sent all the same.
    """
    if bool(message_ids) + bool(queues) + everything != 1:
        raise click.UsageError("say what to send again: MESSAGE-ID..., --queue or --all, one of them")
    now = datetime.now(tz=UTC)
    looks, errors = _look(site, installation, region, now=now, inside_work=False)
    _name(errors)
    chosen = _choose(looks, ids=message_ids, queues=queues, everything=everything, is_all=not errors)
    due = [waiting for waiting in chosen if waiting.origin is not None]
    results = [_result(waiting, "refused", waiting.refusal) for waiting in chosen if waiting.origin is None]
    if not as_json:
        for waiting in chosen:
            _show_intention(waiting)
    if due and not dry_run:
        _confirm(len(due), is_confirmed=yes)
    results += [_result(waiting, "would be sent", "") for waiting in due] if dry_run else _redrive(looks, due, as_json)
    failed = [result for result in results if result["outcome"] not in {"sent", "would be sent"}]
    _show_results(results, as_json=as_json, is_all=not errors)
    if not message_ids:
        _say_what_is_behind(looks)
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(results)} were not sent again")
    if errors:
        raise click.exceptions.Exit(1)


def _show_results(results: Sequence[dict[str, Any]], *, as_json: bool, is_all: bool) -> None:
    """For programs; people have read of each what became of it."""
    if as_json:
        for result in results:
            click.echo(json.dumps(result))
    elif not results:
        click.echo("nothing was given up" if is_all else "nothing was given up at a site that answers")


def _say_what_is_behind(looks: Sequence["_Look"]) -> None:
    behind = sum(max(0, look.count.waiting - len(look.messages)) for look in looks if not look.queue.is_work)
    if behind:
        click.echo(f"about {behind} more were behind these; redrive again for them", err=True)


def _choose(
    looks: Sequence["_Look"], *, ids: Sequence[str], queues: Sequence[str], everything: bool, is_all: bool
) -> list[Waiting]:
    """The messages that are meant; an id that is nowhere is refused."""
    chosen = [
        waiting
        for look in looks
        for waiting in look.messages
        if everything or waiting.id in ids or look.queue.name in queues
    ]
    missing = [each for each in ids if each not in {waiting.id for waiting in chosen}]
    if missing:
        raise click.ClickException(_not_there(missing, is_all=is_all))
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One queue of one site, and the messages that were seen in it."""

    queues: "SiteQueues"
    queue: SiteQueue
    count: "Count"
    messages: tuple[Waiting, ...]

    @property
    def site(self) -> Site:
        return self.queues.site


def _look(
    site: str, installation: str, region: str | None, *, now: datetime, inside_work: bool
) -> tuple[list[_Look], list["SiteError"]]:
    """What is in the queues of each site that answers, and why the others do not.

    The account is asked for in each Region by itself: with all of one Region gone, the other site is still looked at.
    """
    from hikae_cli.site_buckets import SiteError, find_account  # noqa: PLC0415 - `hikae --help` needs no boto3
    from hikae_cli.site_queues import SiteQueues  # noqa: PLC0415

    roles = list(SiteRole) if site == "both" else [SiteRole(site)]
    if region is not None and len(roles) > 1:
        raise click.UsageError("--region is for a single site; set HIKAE_PRIMARY_REGION and HIKAE_RECOVERY_REGION")
    regions = {role: find_region(role, region) for role in roles}
    looks: list[_Look] = []
    errors: list[SiteError] = []
    for role in roles:
        try:
            place = Place(account=find_account(regions[role]), region=regions[role])
            queues = SiteQueues(Site(installation=installation, role=role, place=place))
            for queue in queues.existing():
                count = queues.count(queue)
                # While one message of a FIFO group is looked at, no other is given out: its work would stand still.
                is_open = not queue.is_work or (inside_work and not queue.name.endswith(".fifo"))
                messages = queues.peek(queue, now=now, limit=_MOST) if is_open else []
                looks.append(_Look(queues=queues, queue=queue, count=count, messages=tuple(messages)))
        except SiteError as error:
            errors.append(error)
    return looks, errors


def _name(errors: Sequence["SiteError"]) -> None:
    for error in errors:
        click.echo(f"Error: {printable(str(error))}", err=True)


def _show(look: _Look, now: datetime) -> None:
    count, oldest = look.count, _oldest(look, now)
    parts = [f"{max(count.waiting, len(look.messages))} waiting"]
    parts += [f"{count.in_hand} in hand"] if count.in_hand else []
    parts += [f"{count.delayed} delayed"] if count.delayed else []
    parts += [f"oldest {oldest}"] if oldest else []
    colour = "red" if look.messages and not look.queue.is_work else None
    click.secho(f"{look.site.role} {look.queue.name}: {', '.join(parts)}", fg=colour)
    for waiting in look.messages:
        age = shown_age(now - waiting.sent_at)
        click.echo(printable(f"  {waiting.id}  {age:>6}  {waiting.what}"))
    unseen = count.waiting - len(look.messages)
    if look.messages and unseen > 0:
        click.echo(f"  and about {unseen} more behind these")


def _oldest(look: _Look, now: datetime) -> str:
    return shown_age(now - look.messages[0].sent_at) if look.messages else ""


def _describe(look: _Look, now: datetime) -> dict[str, Any]:
    oldest = max((now - waiting.sent_at for waiting in look.messages), default=None)
    return {
        "site": look.site.role.value,
        "region": look.site.place.region,
        "queue": look.queue.name,
        "waiting": look.count.waiting,
        "in_hand": look.count.in_hand,
        "delayed": look.count.delayed,
        "oldest_seconds": int(oldest.total_seconds()) if oldest is not None else None,
        "messages": [
            {
                "id": waiting.id,
                "sent_at": format_time(waiting.sent_at),
                "receives": waiting.receives,
                "what": waiting.what,
                **waiting.decoded,
            }
            for waiting in look.messages
        ],
    }


def _whole(waiting: Waiting, now: datetime) -> dict[str, Any]:
    return {
        "id": waiting.id,
        "site": waiting.site.role.value,
        "queue": waiting.queue.name,
        "sent_at": format_time(waiting.sent_at),
        "age": shown_age(now - waiting.sent_at),
        "receives": waiting.receives,
        "what": waiting.what,
        "redrive": f"to {waiting.origin}" if waiting.origin else f"not possible: {waiting.refusal}",
        **waiting.decoded,
        "attributes": dict(waiting.attributes),
        "body": waiting.body,
    }


def _show_intention(waiting: Waiting) -> None:
    where = f"to {waiting.origin}" if waiting.origin else f"not possible: {waiting.refusal}"
    colour = "yellow" if waiting.is_late or waiting.origin is None else None
    click.secho(printable(f"{waiting.site.role} {waiting.queue.name} {waiting.id}: {waiting.what}"), fg=colour)
    click.echo(printable(f"  {where}"))


def _redrive(looks: Sequence[_Look], due: Sequence[Waiting], as_json: bool) -> list[dict[str, Any]]:  # noqa: FBT001 - said by the caller
    from hikae_cli.site_buckets import SiteError  # noqa: PLC0415 - as above

    results: dict[str, dict[str, Any]] = {}
    by_id = {waiting.id: waiting for waiting in due}
    for look in looks:
        ids = [waiting.id for waiting in look.messages if waiting.id in by_id]
        try:
            for message_id, problem in look.queues.redrive(look.queue, ids, limit=_MOST) if ids else ():
                results[message_id] = _result(by_id[message_id], "failed" if problem else "sent", problem)
        except SiteError as error:
            for message_id in ids:
                results.setdefault(message_id, _result(by_id[message_id], "failed", str(error)))
        for message_id in ids:
            gone = _result(by_id[message_id], "gone", "it is not there any more; somebody else may have taken it")
            results.setdefault(message_id, gone)
            if not as_json:
                _show_result(results[message_id])
    return list(results.values())


def _show_result(result: dict[str, Any]) -> None:
    reason = f": {result['reason']}" if result["reason"] else f" to {result['to']}"
    is_sent = result["outcome"] == "sent"
    click.secho(printable(f"{result['outcome']} {result['id']}{reason}"), fg="green" if is_sent else "red")


def _result(waiting: Waiting, outcome: str, reason: str) -> dict[str, Any]:
    return {
        "id": waiting.id,
        "site": waiting.site.role.value,
        "queue": waiting.queue.name,
        "what": waiting.what,
        "to": str(waiting.origin) if waiting.origin else None,
        "outcome": outcome,
        "reason": reason,
    }


def _not_there(message_ids: Sequence[str], *, is_all: bool) -> str:
    """`is_all`: every site was looked at."""
    ids = ", ".join(message_ids)
    where = "" if is_all else " at a site that answers"
    return printable(f"{ids}: no such message was given up{where}; `hikae jobs list` names those that were")


def _confirm(number: int, *, is_confirmed: bool) -> None:
    if is_confirmed:
        return
    what = f"{number} {'message' if number == 1 else 'messages'}"
    if not is_interactive():
        _refuse_unasked(what)
    if not click.confirm(f"Send {what} again?"):
        raise click.ClickException("nothing was sent")


def _refuse_unasked(what: str) -> NoReturn:
    raise click.UsageError(f"nobody to ask, so nothing was sent; give --yes to send {what} again")
