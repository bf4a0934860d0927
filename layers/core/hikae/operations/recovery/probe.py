"""Probe what was recovered, until every probe has an answer or the time for it is over."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from hikae.domain.launches import endpoint_requests
from hikae.domain.plan_grammar import DEFAULT_PROBE_TIMEOUT
from hikae.domain.runs import DONE, Member, Mode, ProbeResult, ProbeState, Run, Step, again
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import Refused

_POLL = 15
_COMMAND_RUNS: Final = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


def probe(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:
    """Ask once what has no answer yet. A probe that fails ends nothing: the others are asked, and all are recorded."""
    plan = site.plan_of(run)
    run = _let_ssm_in(run, site)
    timeout = plan.drill.probe_timeout if plan and plan.drill else DEFAULT_PROBE_TIMEOUT
    is_over = now - _began_at(run, now) >= timeout
    for member in run.members:
        asked = tuple(_ask(each, number, member, run, site, now) for number, each in enumerate(member.probes))
        run = run.with_member(replace(member, probes=asked))
        if any(new.reference != old.reference for new, old in zip(asked, member.probes, strict=True)):
            site.save(run)  # a command that was sent is not sent again
    run = _connect(run, site, now)
    if is_over:
        for member in run.members:
            given_up = tuple(_give_up(each, timeout, now) for each in member.probes)
            run = run.with_member(replace(member, probes=given_up))
    pending = [f"{m.resource} {p.kind}" for m in run.members for p in m.probes if p.state is ProbeState.PENDING]
    return (run, again(_POLL, f"{', '.join(pending)} unanswered")) if pending else (run, DONE)


def _let_ssm_in(run: Run, site: RecoverySite) -> Run:
    """A drill's network has no way to SSM but endpoints, which are there while somebody still waits for a command.

    One that is refused is noted: another drill may just have made it, and if none has, the probe says so.
    """
    waits = any(p.kind == "ssm" and p.state is ProbeState.PENDING for m in run.members for p in m.probes)
    if run.request.mode is Mode.DRILL and waits and site.network.vpc:
        present = site.recoverer.endpoints(site.network.vpc)
        for request in endpoint_requests(
            run, site.network, region=site.place.region, present=present, installation=site.installation
        ):
            try:
                site.recoverer.create_endpoint(request)
            except Refused as error:
                first = run.members[0]
                note = f"no endpoint for {request['ServiceName']}: {error}"
                run = run.with_member(replace(first, notes=tuple(dict.fromkeys([*first.notes, note]))))
    return run


def _began_at(run: Run, now: datetime) -> datetime:
    stage = run.stages.get("probe")
    return stage.began_at if stage else now


def _give_up(result: ProbeResult, timeout: timedelta, now: datetime) -> ProbeResult:
    if result.state is not ProbeState.PENDING:
        return result
    minutes = int(timeout.total_seconds() // 60)
    within = f"{minutes} minute{'' if minutes == 1 else 's'}"
    detail = f"no answer within {within}{f'; last: {result.detail}' if result.detail else ''}"
    return replace(result, state=ProbeState.FAILED, detail=detail, at=now)


def _ask(  # noqa: PLR0913, PLR0917 - whom, what, and where to write it
    result: ProbeResult, number: int, member: Member, run: Run, site: RecoverySite, now: datetime
) -> ProbeResult:
    if result.state is not ProbeState.PENDING:
        return result
    if result.kind == "ssm":
        return _command(result, number, member, run, site, now)
    if result.kind == "status-checks":
        return _answered(result, _status(member, site), now)
    if result.kind == "console":
        return _answered(result, _console(result.value, member, site), now)
    return result  # it goes over the network, with those of all members


def _answered(result: ProbeResult, answer: tuple[bool, str], now: datetime) -> ProbeResult:
    has_passed, detail = answer
    return replace(result, state=ProbeState.PASSED if has_passed else ProbeState.PENDING, detail=detail, at=now)


def _connect(run: Run, site: RecoverySite, now: datetime) -> Run:
    """Ask all that goes over the network at once: each that stays silent takes seconds, and a group may be large."""
    asked = [
        (member.resource, number)
        for member in run.members
        for number, each in enumerate(member.probes)
        if each.is_from_inside and each.state is ProbeState.PENDING
    ]
    if not asked:
        return run
    members = {member.resource: member for member in run.members}
    questions = [(members[resource].private_ip, members[resource].probes[number]) for resource, number in asked]
    for (resource, number), answer in zip(asked, site.prober.connect(questions), strict=True):
        member = run.member(resource)
        probes = [_answered(each, answer, now) if index == number else each for index, each in enumerate(member.probes)]
        run = run.with_member(replace(member, probes=tuple(probes)))
    return run


def _status(member: Member, site: RecoverySite) -> tuple[bool, str]:
    """Impaired may become ok again while it starts, so only time turns it into a failure."""
    instance, system = site.prober.status(member.instance)
    return instance == system == "ok", f"instance {instance}, system {system}"


def _console(pattern: str, member: Member, site: RecoverySite) -> tuple[bool, str]:
    found = re.search(pattern, site.prober.console(member.instance), re.MULTILINE)
    # What a console shows may be anything: only that it matched is written down.
    return found is not None, "matched" if found else "no match yet"


def _command(  # noqa: PLR0913, PLR0917 - whom, what, and where to write it
    result: ProbeResult, number: int, member: Member, run: Run, site: RecoverySite, now: datetime
) -> ProbeResult:
    if not result.reference:
        comment = f"hikae {run.name} {member.resource} {number}"[:100]
        try:
            reference = site.prober.send_command(member.instance, result.value, comment=comment)
        except Refused as error:
            return replace(result, detail=f"not sent: {error.code}", at=now)
        return replace(result, reference=reference, detail="sent", at=now)
    status, output = site.prober.command_result(member.instance, result.reference)
    if status in _COMMAND_RUNS:
        return replace(result, detail=status, at=now)
    is_expected = not result.expected or re.search(result.expected, output, re.MULTILINE) is not None
    state = ProbeState.PASSED if status == "Success" and is_expected else ProbeState.FAILED
    shown = output.strip().splitlines()[-1][:200] if output.strip() else ""
    detail = f"{status}: {shown}" if shown else status
    return replace(result, state=state, detail=detail if is_expected else f"{detail}; not as expected", at=now)
