"""What every step of a run has at hand: the ports of a recovery site, and the run's documents."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from hikae.domain.manifest import Manifest, ManifestError, check_manifest, read_manifest
from hikae.domain.model import Place, RecoveryPoint
from hikae.domain.naming import manifest_key, run_key, run_tag
from hikae.domain.plan import Plan
from hikae.domain.points import Catalogue, assemble
from hikae.domain.runs import Member, Mode, Run, read_run, write_run
from hikae.domain.targets import DrillNetwork
from hikae.domain.teardown import Made
from hikae.ports import (
    Documents,
    Executions,
    Holdings,
    PlanStore,
    Prober,
    Recoverer,
    SettingsStore,
    Signer,
    Surroundings,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySite:
    """A recovery site, as its runs see it. Nothing of it lies in the primary's Region.

    It is made for one step, which begins at the `now` that it is given and may take minutes: what has just come about
    has the time that `clock` says. What it has read of plans and manifests it does not read again: several members ask
    for the one plan, and choosing, looking around and foreseeing for the one manifest.
    """

    installation: str
    place: Place
    plans: PlanStore
    holdings: Holdings
    documents: Documents
    settings: SettingsStore
    recoverer: Recoverer
    surroundings: Surroundings
    prober: Prober
    signer: Signer
    executions: Executions
    network: DrillNetwork
    code_version: str
    clock: Callable[[], datetime]
    _manifests: dict[str, Manifest] = field(init=False, default_factory=dict, repr=False, compare=False)
    _plans: dict[str, Plan | None] = field(init=False, default_factory=dict, repr=False, compare=False)

    def load(self, name: str) -> Run:
        """The run of this name.

        Raises:
            NotFound: there is none.
            RunError: what there is cannot be read.
        """
        return read_run(self.documents.read(run_key(name)))

    def save(self, run: Run) -> None:
        """Keep the run as it is now."""
        self.documents.write(run_key(run.name), write_run(run))

    def catalogue(self) -> Catalogue:
        """Every point that the site holds."""
        # Points before manifests: a manifest is written before its point.
        snapshots = list(self.holdings.snapshots(installation=self.installation))
        images = list(self.holdings.images(installation=self.installation))
        manifests = set(self.documents.keys("manifests/"))
        return assemble(
            place=self.place, installation=self.installation, snapshots=snapshots, images=images, manifests=manifests
        )

    def manifest(self, member: Member) -> Manifest:
        """The manifest of the member's point.

        Raises:
            NotFound, Refused: it is not there, or is not JSON.
            ManifestError: it cannot be read, or is another's.
        """
        manifest = self._manifest(member.manifest)
        if (manifest.point, manifest.resource) != (member.point, member.resource):
            raise ManifestError([f"it is that of {manifest.point} of {manifest.resource}"])
        return manifest

    def manifest_of(self, point: RecoveryPoint) -> Manifest:
        """The manifest of a point.

        Raises:
            NotFound, Refused: it is not there, or is not JSON.
            ManifestError: it cannot be read, or is another's.
        """
        manifest = self._manifest(manifest_key(point.tags))
        check_manifest(manifest, point.tags)
        return manifest

    def _manifest(self, key: str) -> Manifest:
        if key not in self._manifests:
            self._manifests[key] = read_manifest(self.documents.read(key))
        return self._manifests[key]

    def fetch_manifests(self, keys: Iterable[str]) -> None:
        """Read these manifests beside each other; one that cannot be read says why when it is asked for."""
        for key, document in self.documents.read_all(set(keys) - set(self._manifests)):
            with suppress(ManifestError):
                self._manifests[key] = read_manifest(document)

    def plan_of(self, run: Run) -> Plan | None:
        """The plan that the run goes by; None where none was named."""
        name = run.request.plan
        if name and name not in self._plans:
            self._plans[name] = self.plans.load().find(name)
        return self._plans[name] if name else None

    def made(self, run: Run) -> list[Made]:
        """All that EC2 shows of what the run has made."""
        value = run_tag(installation=self.installation, run=run.name)
        return self.recoverer.made(tag=run.request.mode.tag, value=value)

    def restored(self) -> list[Made]:
        """All that EC2 shows of what any restore of the installation has made."""
        value = run_tag(installation=self.installation, run="*")
        return self.recoverer.made(tag=Mode.RESTORE.tag, value=value)
