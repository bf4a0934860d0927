"""Check whether all that is protected could be restored at this recovery site now, and keep what that will take.

The public halves of key pairs are read from the primary while it is there and kept in this site's bucket, so that they
can be imported when it is not.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hikae.domain.inventory import read_published_at
from hikae.domain.ladder import vcpu_quota_of
from hikae.domain.model import Place
from hikae.domain.naming import INVENTORY, KEY_PAIRS, format_time, key_pair_key
from hikae.domain.readiness import Finding, Need, Seen, Severity, find_gaps
from hikae.domain.recovery_settings import RecoverySettings
from hikae.domain.runs import Mode, Request, Run
from hikae.domain.targets import restore_target
from hikae.operations.recovery.choose import choose
from hikae.operations.recovery.site import RecoverySite
from hikae.ports import KeyPairImporter, NotFound, PortError, Profiles, PublicKeys, Refused

STALE: timedelta = timedelta(days=1)
"""An inventory that is older says little about what is protected now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What was looked at, what lacks, and the names of the key pairs whose public halves were fetched or imported."""

    instances: tuple[str, ...]
    volumes: tuple[str, ...]
    findings: tuple[Finding, ...]
    fetched: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()

    @property
    def gaps(self) -> tuple[Finding, ...]:
        """The findings that stop a restore."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.LACKING)

    @property
    def is_ready(self) -> bool:
        """Whether nothing lacks."""
        return not self.gaps


def check_readiness(  # noqa: PLR0913 - one keyword per port
    site: RecoverySite,
    *,
    profiles: Profiles,
    passed_on: Collection[str],
    public_keys: Callable[[Place], PublicKeys] | None,
    importer: KeyPairImporter | None,
    now: datetime,
) -> Readiness:
    """Look at everything in the inventories that this site has.

    `passed_on` are the ARNs of the roles that a restore may give to an instance, as patterns of IAM. `public_keys`
    gives what reads key pairs of a primary; None asks no primary. `importer` imports here those that lack and whose
    public half is kept; None imports nothing.

    Raises:
        Unreachable: this site does not answer.
        Refused: its settings cannot be read.
    """
    settings = site.settings.load()
    findings: list[Finding] = []
    protected = _protected(site, findings, now)
    needs, volumes = _needs(protected, site, settings, findings, now)
    fetched = _fetch(needs, site, public_keys, findings)
    seen = _look(needs, site, profiles, passed_on)
    imported = _import(needs, seen, site, importer, findings)
    if imported:
        seen = _look(needs, site, profiles, passed_on)
    return Readiness(
        instances=tuple(need.resource for need in needs),
        volumes=tuple(volumes),
        findings=(*findings, *find_gaps(needs, seen)),
        fetched=fetched,
        imported=imported,
    )


def _protected(site: RecoverySite, findings: list[Finding], now: datetime) -> dict[str, str]:
    """The resources that the primaries say they protect with copies for this Region, each with its plan."""
    protected: dict[str, str] = {}
    keys = [key for key in site.documents.keys(INVENTORY) if key.endswith("/latest.json")]
    for key in keys:
        try:
            inventory = site.documents.read(key)
        except (NotFound, Refused) as error:
            findings.append(
                _gap(f"{key} cannot be read: {error}", "see whether the primary ticks; its next tick writes it anew")
            )
            continue
        published_at = read_published_at(inventory)
        if published_at is None or now - published_at > STALE:
            when = format_time(published_at) if published_at else "an unknown time"
            findings.append(
                Finding(
                    severity=Severity.WARNING,
                    what=f"{key} is of {when}: what has been protected since is not looked at",
                    remedy="see whether the primary ticks and this site pulls its inventory",
                )
            )
        protected |= {
            str(row["resource"]): str(row["plan"])
            for row in _rows(inventory)
            if row.get("unprotectable") is None and site.place.region in row.get("destinations", ())
        }
    if not keys:
        findings.append(
            _gap("this site has no inventory of any primary", "see whether CopyRecoveryPoints reaches the primary")
        )
    return protected


def _rows(inventory: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    rows = inventory.get("resources")
    return [row for row in rows if isinstance(row, Mapping) and "resource" in row] if isinstance(rows, list) else []


def _needs(
    protected: Mapping[str, str], site: RecoverySite, settings: RecoverySettings, findings: list[Finding], now: datetime
) -> tuple[list[Need], list[str]]:
    """What each needs by its newest usable point, as a restore would select it."""
    if not protected:
        return [], []
    request = Request(mode=Mode.RESTORE, resources=tuple(sorted(protected)), partial=True)
    run, _ = choose(Run(name="ready", request=request, began_at=now), site, now=now)
    findings.extend(
        Finding(
            severity=Severity.LACKING,
            what=f"it has no usable recovery point here: {reason}",
            remedy="look at hikae points, and at the alarms of copying",
            resources=(resource,),
        )
        for resource, reason in sorted(run.missing.items())
    )
    plans = site.plans.load()
    needs, volumes = [], []
    for member in run.members:
        manifest = site.manifest(member)
        if manifest.instance is None:
            volumes.append(member.resource)
            continue
        plan = plans.find(protected[member.resource])
        needs.append(
            Need(
                resource=member.resource,
                manifest=manifest,
                target=restore_target(member.resource, manifest, settings),
                fallback_types=plan.recovery_types if plan else (),
            )
        )
    return needs, volumes


def _fetch(
    needs: Iterable[Need],
    site: RecoverySite,
    public_keys: Callable[[Place], PublicKeys] | None,
    findings: list[Finding],
) -> tuple[str, ...]:
    """Keep the public halves of all key pairs that the primaries still have. What was kept stays, come what may."""
    if public_keys is None:
        return ()
    names: dict[Place, set[str]] = {}
    for need in needs:
        if need.key_name:
            names.setdefault(need.manifest.place, set()).add(need.key_name)
    fetched = []
    for place, wanted in sorted(names.items(), key=lambda each: str(each[0])):
        try:
            found = public_keys(place).public_keys(sorted(wanted))
        except PortError as error:
            findings.append(
                Finding(
                    severity=Severity.WARNING,
                    what=f"public keys of {place} were not fetched: {error}",
                    remedy="those that were kept before can be imported; run it again when the primary answers",
                )
            )
            continue
        for name, material in sorted(found.items()):
            site.documents.write(
                key_pair_key(place, name), {"version": 1, "name": name, "place": str(place), "public_key": material}
            )
            fetched.append(name)
    return tuple(fetched)


def _look(needs: list[Need], site: RecoverySite, profiles: Profiles, passed_on: Collection[str]) -> Seen:
    surroundings = site.surroundings
    subnets = surroundings.subnets({each for need in needs for each in need.target.all_subnets})
    running = surroundings.running_types() if needs else {}
    names = {each for need in needs for each in (need.type, *need.fallback_types)}
    key_names = {need.target.key_name for need in needs if need.target.key_name}
    profile_names = {need.target.profile for need in needs if need.target.profile}
    zones = {subnet.zone for subnet in subnets.values()}
    return Seen(
        subnets=subnets,
        security_groups=surroundings.security_groups({each for n in needs for each in n.target.all_security_groups}),
        key_pairs=surroundings.key_pairs(key_names) if key_names else (),
        profiles=_ask(profiles.roles, profile_names),
        passed_on=passed_on,
        types=surroundings.types(names | set(running)) if names | set(running) else {},
        offered=surroundings.offered(names, zones) if names and zones else (),
        quotas=_quotas({vcpu_quota_of(name) for name in names} - {""}, site),
        running=running,
        is_key_usable=surroundings.is_key_usable(),
        stored_keys=_stored(needs, site),
        placement_groups=surroundings.placement_groups(
            {need.target.placement_group for need in needs if need.target.placement_group}
        ),
        addresses=_ask(surroundings.addresses, {each.id for n in needs for each in n.target.elastic_ips}),
        target_groups=_ask(surroundings.target_groups, {each.id for n in needs for each in n.target.target_groups}),
    )


def _ask(ask: Callable[[Collection[str]], Mapping[str, str]], wanted: set[str]) -> Mapping[str, str] | None:
    """None where nobody says; a restore may work all the same."""
    try:
        return ask(wanted)
    except PortError:
        return None


def _quotas(names: set[str], site: RecoverySite) -> Mapping[str, int]:
    try:
        return site.surroundings.vcpu_quotas(names)
    except PortError:
        return {}  # named as unknown


def _stored(needs: Iterable[Need], site: RecoverySite) -> dict[str, str]:
    """By the name here: a key pair that has another name here has the same public half."""
    kept = set(site.documents.keys(KEY_PAIRS))
    stored = {}
    for need in needs:
        key = key_pair_key(need.manifest.place, need.key_name)
        if need.key_name and key in kept:
            stored[need.target.key_name] = key
    return stored


def _import(
    needs: list[Need], seen: Seen, site: RecoverySite, importer: KeyPairImporter | None, findings: list[Finding]
) -> tuple[str, ...]:
    if importer is None:
        return ()
    imported = []
    for name in sorted({need.target.key_name for need in needs if need.target.key_name}):
        if name in seen.key_pairs or name not in seen.stored_keys:
            continue
        try:
            material = str(site.documents.read(seen.stored_keys[name])["public_key"])
            importer.import_key_pair(name, material)
        except (PortError, KeyError) as error:
            findings.append(_gap(f"key pair {name} was not imported: {error}", "import it yourself"))
        else:
            imported.append(name)
    return tuple(imported)


def _gap(what: str, remedy: str) -> Finding:
    return Finding(severity=Severity.LACKING, what=what, remedy=remedy)
