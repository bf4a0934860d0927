"""Record a run: one signed document that says what it proved."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime

from hikae.domain.evidence import EVIDENCE_VERSION, Objective, list_missed, make_record, outcome_of
from hikae.domain.naming import evidence_key
from hikae.domain.runs import DONE, Run, Step, failed
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import NotFound


def record(run: Run, site: RecoverySite, *, now: datetime) -> tuple[Run, Step]:
    """Write the evidence once; evidence that is there stays as it was signed."""
    run = replace(run, ended_at=run.ended_at or now)
    # Before its evidence: nobody looks after a run that has evidence, and one that was not over would be ended again
    # when the evidence has had its time.
    site.save(run)
    key = evidence_key(run.name)
    try:
        made = json.loads(site.documents.read(key)["record"])
    except NotFound:
        made = make_record(
            run,
            installation=site.installation,
            account=site.place.account,
            region=site.place.region,
            code_version=site.code_version,
            objectives=_objectives(run, site),
        )
        text = json.dumps(made, sort_keys=True, ensure_ascii=False)
        signature = site.signer.sign(text.encode())
        document = {
            "version": EVIDENCE_VERSION,
            "record": text,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "signature": signature.value,
            "algorithm": signature.algorithm,
            "key_arn": signature.key_arn,
            "public_key": signature.public_key,
        }
        if not site.documents.create(key, document):
            # Somebody else ended the run at the same time, and was faster: the machine and the sweep, or two sweeps.
            made = json.loads(site.documents.read(key)["record"])
    if outcome_of(run) == "succeeded":
        return run, replace(DONE, missed=list_missed(made))
    return run, failed(run.failure or _why(run))


def _objectives(run: Run, site: RecoverySite) -> dict[str, Objective]:
    """What the rules that made the points ask for."""
    plans = site.plans.load()
    objectives = {}
    for member in run.members:
        manifest_rule = _rule_of(member.manifest, site)
        plan = plans.find(manifest_rule[0])
        rule = plan.rule(manifest_rule[1]) if plan else None
        if rule is not None:
            objectives[member.resource] = Objective(rpo=rule.objectives.rpo, rto=rule.objectives.rto)
    return objectives


def _rule_of(key: str, site: RecoverySite) -> tuple[str, str]:
    try:
        document = site.documents.read(key)
    except NotFound:
        return "", ""
    return str(document.get("plan", "")), str(document.get("rule", ""))


def _why(run: Run) -> str:
    probes = [
        f"{member.resource}: probe {each.kind} {each.value}: {each.detail}".replace("  ", " ")
        for member in run.members
        for each in member.probes
        if each.state != "passed"
    ]
    missing = [f"{resource}: {reason}" for resource, reason in run.missing.items()]
    return "; ".join([*probes, *missing, *run.left_behind]) or "it ended before everything was probed"
