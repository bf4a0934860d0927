"""What every step of a run has at hand: the ports of a recovery site, and the run's documents."""

from dataclasses import dataclass

from hikae.domain.manifest import Manifest, ManifestError, read_manifest
from hikae.domain.model import Place
from hikae.domain.naming import run_key, run_tag
from hikae.domain.plan import Plan
from hikae.domain.points import Catalogue, assemble
from hikae.domain.runs import Member, Run, read_run, write_run
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
    """A recovery site, as its runs see it. Nothing of it lies in the primary's Region."""

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
        manifest = read_manifest(self.documents.read(member.manifest))
        if (manifest.point, manifest.resource) != (member.point, member.resource):
            raise ManifestError([f"it is that of {manifest.point} of {manifest.resource}"])
        return manifest

    def plan_of(self, run: Run) -> Plan | None:
        """The plan that the run goes by; None where none was named."""
        return self.plans.load().find(run.request.plan) if run.request.plan else None

    def made(self, run: Run) -> list[Made]:
        """All that EC2 shows of what the run has made."""
        value = run_tag(installation=self.installation, run=run.name)
        return self.recoverer.made(tag=run.request.mode.tag, value=value)
