"""Which implementation stands behind which port: the only place that knows both.

Clients are made once per process and first when they are needed; nothing is made at import.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from hikae.domain.model import Job, Kind, Place, Region, SiteRole
from hikae.domain.naming import bucket_name
from hikae.domain.pacing import COPYING, CREATING, DELETING, LOOKING, Share
from hikae.ports import Outcome
from hikae.runtime.settings import Settings, SettingsError

if TYPE_CHECKING:
    from hikae.aws.clients import Clients
    from hikae.aws.ec2 import Ec2Holdings, Ec2Sources
    from hikae.aws.quotas import ServiceQuotas
    from hikae.aws.usage import AwsUsage
    from hikae.operations.check_readiness import Readiness
    from hikae.operations.copy_recovery_points import Copying, SourceSite
    from hikae.operations.list_points import Listing
    from hikae.operations.prune_recovery_points import Pruned, Survey
    from hikae.operations.recovery.site import RecoverySite
    from hikae.operations.report_objectives import Report
    from hikae.operations.schedule_backups import Tick
    from hikae.ports import PlanStore, SlotLedger


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The function's settings, read at its first invocation."""
    return Settings.from_env()


@lru_cache(maxsize=8)
def clients_for(region: Region, share: Share | None = None) -> "Clients":
    """The boto3 clients of this process for one Region; with a `share`, it keeps to that of EC2's request rates."""
    from hikae.aws.clients import Clients  # noqa: PLC0415 - boto3 is the most expensive import there is
    from hikae.aws.pacing import Pacer  # noqa: PLC0415

    return Clients(region=region, pacer=Pacer(share))


def share_of(settings: Settings, actions: frozenset[str]) -> Share:
    """What this process may take of EC2's request rates for `actions`, beside the other workers of its function."""
    return Share(actions=actions, workers=settings.workers, percent=settings.request_rate_percent)


PROTECTING = CREATING | LOOKING
"""The actions that are paced where jobs are carried out."""


def _now() -> datetime:
    return datetime.now(tz=UTC)


def tick(settings: Settings, *, now: datetime) -> "Tick":
    """Run schedule_backups for this site."""
    from hikae.aws.documents import S3Documents, S3PlanStore  # noqa: PLC0415 - as above
    from hikae.aws.ec2 import Ec2Fleet, Ec2Holdings  # noqa: PLC0415
    from hikae.aws.queues import SqsJobQueue  # noqa: PLC0415
    from hikae.operations.schedule_backups import schedule_backups  # noqa: PLC0415

    clients = clients_for(settings.place.region)
    snapshots = SqsJobQueue(clients.sqs(), url=settings.snapshot_queue_url)
    images = SqsJobQueue(clients.sqs(), url=settings.image_queue_url)
    return schedule_backups(
        installation=settings.installation,
        plans=S3PlanStore(clients.s3(), bucket=settings.bucket),
        fleet=Ec2Fleet(clients.reading_ec2(), place=settings.place),
        holdings=Ec2Holdings(clients.reading_ec2(), place=settings.place),
        queues={Kind.SNAPSHOT_SET: snapshots, Kind.SNAPSHOT: snapshots, Kind.IMAGE: images},
        ledger=slot_ledger(settings),
        inventory=S3Documents(clients.s3(), bucket=settings.bucket),
        now=now,
    )


def protector(settings: Settings, *, now: datetime, clients: "Clients | None" = None) -> Callable[[Job], Outcome]:
    """What carries out one job of this site, whatever its kind; with `clients` in place of the process's own."""
    from hikae.aws.documents import S3Documents  # noqa: PLC0415 - as above
    from hikae.aws.ec2 import Ec2Creator, Ec2Holdings  # noqa: PLC0415
    from hikae.operations.protect import build_image, snapshot_volumes  # noqa: PLC0415

    clients = clients or clients_for(settings.place.region, share_of(settings, PROTECTING))

    def protect(job: Job) -> Outcome:
        operation = build_image if job.kind is Kind.IMAGE else snapshot_volumes
        return operation(
            job,
            holdings=Ec2Holdings(clients.reading_ec2(), place=settings.place),
            sources=_sources_of(clients),
            creator=Ec2Creator(clients.creating_ec2(), sleep=clients.pacer.sleep),
            manifests=S3Documents(clients.s3(), bucket=settings.bucket),
            now=now,
        )

    return protect


@lru_cache(maxsize=8)
def _sources_of(clients: "Clients") -> "Ec2Sources":
    """What looks at the resources of jobs: it remembers what many of them share."""
    from hikae.aws.ec2 import Ec2Sources  # noqa: PLC0415 - as above
    from hikae.aws.target_groups import TargetGroups  # noqa: PLC0415

    target_groups = TargetGroups(clients.glancing_elbv2, clock=clients.pacer.clock)
    return Ec2Sources(clients.reading_ec2(), target_groups=target_groups)


def broker(  # noqa: PLR0913 - what a run goes by
    settings: Settings,
    *,
    now: datetime,
    clock: Callable[[], datetime] = _now,
    observe: Callable[[Outcome], None] = lambda _: None,
    has_time: Callable[[], bool] = lambda: True,
    clients: "Clients | None" = None,
) -> "Copying":
    """Run copy_recovery_points for this site; `observe` hears of each outcome at once.

    `clients` take the place of the process's own.
    """
    from hikae.aws.documents import S3Documents, S3PlanStore  # noqa: PLC0415 - as above
    from hikae.aws.ec2 import Ec2Copier, Ec2Holdings  # noqa: PLC0415
    from hikae.aws.ledger import DynamoRecentCopies  # noqa: PLC0415
    from hikae.operations.copy_recovery_points import CopyLimits, copy_recovery_points  # noqa: PLC0415

    if not settings.copy_key_arn:
        raise SettingsError("HIKAE_COPY_KEY_ARN is not set: a copy without the recovery site's key is no copy")
    clients = clients or clients_for(settings.place.region, share_of(settings, COPYING))
    return copy_recovery_points(
        installation=settings.installation,
        plans=S3PlanStore(clients.s3(), bucket=settings.bucket),
        primaries={primary: partial(_source_site, settings, primary) for primary in settings.primaries},
        holdings=Ec2Holdings(clients.reading_ec2(), place=settings.place),
        documents=S3Documents(clients.s3(), bucket=settings.bucket),
        copier=Ec2Copier(clients.creating_ec2(), key_arn=settings.copy_key_arn, sleep=clients.pacer.sleep),
        recent=DynamoRecentCopies(clients.dynamodb(), table=settings.table),
        limits=CopyLimits(snapshots=settings.snapshot_copy_limit, images=settings.image_copy_limit),
        quotas=_quotas_of(clients),
        now=now,
        clock=clock,
        observe=observe,
        has_time=has_time,
    )


@lru_cache(maxsize=4)
def _quotas_of(clients: "Clients") -> "ServiceQuotas":
    """The quotas of these clients' account and Region: what was asked a moment ago still holds in the next run."""
    from hikae.aws.quotas import ServiceQuotas  # noqa: PLC0415 - as above

    return ServiceQuotas(clients.service_quotas)


def _source_site(settings: Settings, primary: Place) -> "SourceSite":
    from hikae.aws.clients import Clients  # noqa: PLC0415 - as above
    from hikae.aws.documents import S3Documents  # noqa: PLC0415
    from hikae.aws.ec2 import Ec2Holdings  # noqa: PLC0415
    from hikae.operations.copy_recovery_points import SourceSite  # noqa: PLC0415

    role_arn = settings.source_role_arns.get(primary.account)
    # A role's credentials end within the hour, the process may not: they are taken anew by every run.
    clients = clients_for(primary.region) if role_arn is None else Clients(region=primary.region, role_arn=role_arn)
    bucket = bucket_name(installation=settings.installation, site=SiteRole.PRIMARY, place=primary)
    return SourceSite(
        holdings=Ec2Holdings(clients.reading_ec2(), place=primary),
        documents=S3Documents(clients.s3(), bucket=bucket),
    )


def pruner(  # noqa: PLR0913 - the ways in which a run may differ
    settings: Settings,
    *,
    now: datetime,
    clock: Callable[[], datetime] = _now,
    dry_run: bool = False,
    lineage_percent: int | None = None,
    observe: Callable[[Outcome], None] = lambda _: None,
    clients: "Clients | None" = None,
    has_time: Callable[[], bool] = lambda: True,
) -> "Pruned":
    """Run prune_recovery_points for this site; `lineage_percent` takes the place of the setting in this one run.

    `observe` hears of each outcome at once. `clients` take the place of the process's own.
    """
    from hikae.aws.documents import S3Documents, S3PlanStore  # noqa: PLC0415 - as above
    from hikae.aws.ec2 import Ec2Fleet, Ec2Holdings, Ec2Remover  # noqa: PLC0415
    from hikae.domain.pruning import DeletionLimits  # noqa: PLC0415
    from hikae.operations.prune_recovery_points import prune_recovery_points  # noqa: PLC0415

    clients = clients or clients_for(settings.place.region, share_of(settings, DELETING))
    percent = settings.lineage_deletion_percent if lineage_percent is None else lineage_percent
    return prune_recovery_points(
        installation=settings.installation,
        site=settings.site,
        plans=S3PlanStore(clients.s3(), bucket=settings.bucket),
        holdings=Ec2Holdings(clients.reading_ec2(), place=settings.place),
        fleet=Ec2Fleet(clients.reading_ec2(), place=settings.place),
        usage=_usage(settings, clients),
        documents=S3Documents(clients.s3(), bucket=settings.bucket),
        remover=Ec2Remover(clients.reading_ec2(), sleep=clients.pacer.sleep),
        destinations=partial(_destination, settings, clients),
        limits=DeletionLimits(per_run=settings.deletion_cap, lineage_percent=percent),
        require_recycle_bin=settings.require_recycle_bin,
        now=now,
        clock=clock,
        dry_run=dry_run,
        observe=observe,
        has_time=has_time,
    )


def surveyor(
    settings: Settings, *, now: datetime, plans: "Callable[[PlanStore], PlanStore]" = lambda store: store
) -> "Survey":
    """Look at this site as its pruning would, read only; `plans` may put others in the place of the applied ones."""
    from hikae.aws.documents import S3Documents, S3PlanStore  # noqa: PLC0415 - as above
    from hikae.aws.ec2 import Ec2Fleet, Ec2Holdings  # noqa: PLC0415
    from hikae.operations.prune_recovery_points import survey_site  # noqa: PLC0415

    clients = clients_for(settings.place.region)
    return survey_site(
        installation=settings.installation,
        site=settings.site,
        plans=plans(S3PlanStore(clients.s3(), bucket=settings.bucket)),
        holdings=Ec2Holdings(clients.reading_ec2(), place=settings.place),
        fleet=Ec2Fleet(clients.reading_ec2(), place=settings.place),
        usage=_usage(settings, clients),
        documents=S3Documents(clients.s3(), bucket=settings.bucket),
        destinations=partial(_destination, settings, clients),
        now=now,
        require_recycle_bin=settings.require_recycle_bin,
    )


def _usage(settings: Settings, clients: "Clients") -> "AwsUsage":
    from hikae.aws.usage import AwsUsage  # noqa: PLC0415 - as above

    return AwsUsage(
        place=settings.place, ec2=clients.reading_ec2(), autoscaling=clients.autoscaling(), rbin=clients.rbin()
    )


def _destination(settings: Settings, clients: "Clients", region: Region) -> "Ec2Holdings":
    from hikae.aws.ec2 import Ec2Holdings  # noqa: PLC0415 - as above

    there = Place(account=settings.place.account, region=region)
    return Ec2Holdings(clients.reading_ec2(region), place=there)


def recovery_site(settings: Settings, *, clock: Callable[[], datetime] = _now) -> "RecoverySite":
    """What restores and drills of this site work with; nothing of it asks another Region."""
    from hikae.aws.documents import S3Documents, S3PlanStore  # noqa: PLC0415 - as above
    from hikae.aws.ec2 import Ec2Holdings  # noqa: PLC0415
    from hikae.aws.evidence import KmsSigner, StepFunctionsExecutions  # noqa: PLC0415
    from hikae.aws.quotas import ServiceQuotas  # noqa: PLC0415
    from hikae.aws.recovery import AwsProber, Ec2Recoverer, Ec2Surroundings, S3RecoverySettings  # noqa: PLC0415
    from hikae.domain.targets import DrillNetwork  # noqa: PLC0415
    from hikae.operations.recovery.site import RecoverySite  # noqa: PLC0415

    if not settings.copy_key_arn:
        raise SettingsError("HIKAE_COPY_KEY_ARN is not set: recovery is a recovery site's")
    clients = clients_for(settings.place.region)
    return RecoverySite(
        installation=settings.installation,
        place=settings.place,
        plans=S3PlanStore(clients.s3(), bucket=settings.bucket),
        holdings=Ec2Holdings(clients.reading_ec2(), place=settings.place),
        documents=S3Documents(clients.s3(), bucket=settings.bucket),
        settings=S3RecoverySettings(clients.s3(), bucket=settings.bucket),
        recoverer=Ec2Recoverer(
            creating=clients.creating_ec2(), reading=clients.reading_ec2(), load_balancing=clients.elbv2
        ),
        surroundings=Ec2Surroundings(
            clients.reading_ec2(),
            kms=clients.kms(),
            key_arn=settings.copy_key_arn,
            # Asked anew by every step: one that was raised a minute ago may be what a restore waits for.
            quotas=ServiceQuotas(clients.service_quotas),
            load_balancing=clients.glancing_elbv2,
        ),
        prober=AwsProber(
            clients.reading_ec2(),
            ssm=clients.ssm,
            sending_ssm=clients.sending_ssm,
            functions=clients.awslambda,
            function_name=settings.probe_function,
        ),
        signer=KmsSigner(clients.kms(), key_arn=settings.evidence_key_arn),
        executions=StepFunctionsExecutions(clients.stepfunctions(), state_machine_arn=settings.recover_arn),
        network=DrillNetwork(
            subnets=settings.drill_subnets,
            security_groups=settings.drill_security_groups,
            profile=settings.drill_profile,
            vpc=settings.drill_vpc,
            endpoint_groups=settings.drill_endpoint_groups,
        ),
        code_version=settings.code_version,
        clock=clock,
    )


def slot_ledger(settings: Settings) -> "SlotLedger":
    """Which slots of this site are done with."""
    from hikae.aws.ledger import DynamoSlotLedger  # noqa: PLC0415 - as above

    return DynamoSlotLedger(clients_for(settings.place.region).dynamodb(), table=settings.table)


def reporter(settings: Settings, *, now: datetime) -> "Report":
    """Run report_objectives for this site."""
    from hikae.aws.documents import S3Documents  # noqa: PLC0415 - as above
    from hikae.aws.ec2 import Ec2Holdings  # noqa: PLC0415
    from hikae.operations.report_objectives import report_objectives  # noqa: PLC0415

    clients = clients_for(settings.place.region)
    return report_objectives(
        installation=settings.installation,
        primaries=settings.primaries,
        holdings=Ec2Holdings(clients.reading_ec2(), place=settings.place),
        documents=S3Documents(clients.s3(), bucket=settings.bucket),
        now=now,
    )


def points_of(settings: Settings, resource: str, *, plan: str, limit: int) -> "Listing":
    """The newest `limit` points of a resource at this site; nothing of it asks another Region."""
    from hikae.aws.documents import S3Documents  # noqa: PLC0415 - as above
    from hikae.aws.ec2 import Ec2Holdings  # noqa: PLC0415
    from hikae.operations.list_points import list_points  # noqa: PLC0415

    clients = clients_for(settings.place.region)
    return list_points(
        resource,
        plan=plan,
        limit=limit,
        installation=settings.installation,
        holdings=Ec2Holdings(clients.reading_ec2(), place=settings.place),
        documents=S3Documents(clients.s3(), bucket=settings.bucket),
        usage=_usage(settings, clients),
    )


def readiness(settings: Settings, *, asks_primary: bool, imports_keys: bool, now: datetime) -> "Readiness":
    """Whether all that is protected could be restored at this recovery site.

    With `asks_primary` the public halves of key pairs are fetched from there, as far as it answers; with `imports_keys`
    those that lack here are imported.
    """
    from hikae.aws.readiness import Ec2KeyPairs, IamProfiles  # noqa: PLC0415 - as above
    from hikae.operations.check_readiness import check_readiness  # noqa: PLC0415

    clients = clients_for(settings.place.region)
    return check_readiness(
        recovery_site(settings),
        profiles=IamProfiles(clients.iam),
        passed_on=settings.restore_roles,
        public_keys=(lambda place: Ec2KeyPairs(clients.reading_ec2(place.region))) if asks_primary else None,
        importer=Ec2KeyPairs(clients.creating_ec2()) if imports_keys else None,
        now=now,
    )
