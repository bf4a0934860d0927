"""An installation inside one process: the twin's EC2, moto's other services, and the product's own wiring.

Nothing of the product is replaced: buckets, tables, queues and keys exist, and its operations run against them as they
do when deployed. Tests and benchmarks move the twin's clock; no time passes by itself.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from hikae.aws.clients import Clients
from hikae.aws.pacing import Pacer
from hikae.domain.jobs import read_job
from hikae.domain.model import AccountId, Job, Place, Region, SiteRole
from hikae.domain.naming import bucket_name
from hikae.domain.pacing import COPYING, DELETING
from hikae.domain.runs import Step, describe_failure
from hikae.operations.copy_recovery_points import Copying
from hikae.operations.prune_recovery_points import Pruned
from hikae.operations.recovery.site import RecoverySite
from hikae.operations.recovery.start_drills import Started, start_drills
from hikae.operations.recovery.sweep import Swept, sweep
from hikae.operations.recovery.take_step import take_step
from hikae.operations.report_objectives import Report
from hikae.operations.schedule_backups import Tick
from hikae.ports import Outcome
from hikae.runtime import wiring
from hikae.runtime.settings import Settings
from local.state_machine import Player
from local.twin.services import loopback_block
from local.twin.testing import Twin
from local.twin.world import Durations
from local.workers import Turns

ACCOUNT = AccountId("123456789012")
PRIMARY = Region("us-east-1")
RECOVERY = Region("us-west-2")
START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

SNAPSHOT_PLAN = """\
version: 1
plan: production
timezone: UTC
selection:
  resources: [instance, volume]
  tags: {Backup: production}
rules:
  - name: hourly
    schedule: "0 * * * *"
    start_window: 1h
    protect: snapshots
    retention: {keep_last: 3}
    copies: [{region: us-west-2, retention: {keep_last: 2}}]
    objectives: {rpo: 2h, rto: 1h}
"""
IMAGE_PLAN = """\
version: 1
plan: web-images
timezone: UTC
selection: {resources: [instance], tags: {Backup: image}}
rules:
  - name: hourly
    schedule: "0 * * * *"
    start_window: 1h
    protect: image
    retention: {keep_last: 2}
    copies: [{region: us-west-2, retention: {keep_last: 2}}]
"""


@dataclass(slots=True, kw_only=True)
class Installation:
    """Two sites in one account: `us-east-1` is protected, `us-west-2` holds the copies, as may further sites."""

    now: datetime = START
    deletion_cap: int = 200
    lineage_percent: int = 75
    require_recycle_bin: bool = False
    snapshot_copy_limit: int = 20
    image_copy_limit: int = 50
    has_request_rates: bool = False
    durations: Durations | None = None
    name: str = "main"
    twin: Twin = field(init=False)
    key_arn: str = field(init=False, default="")
    primary: Settings = field(init=False)
    recovery: Settings = field(init=False)
    drill_vpc: dict[str, str] = field(init=False)
    restore_vpc: dict[str, str] = field(init=False)
    recovery_environment: dict[str, str] = field(init=False)
    _clients: dict[tuple[str, frozenset[str]], Clients] = field(init=False, default_factory=dict)

    def __enter__(self) -> Self:
        """Start the twin and make what the two stacks would make."""
        wiring.clients_for.cache_clear()
        self.twin = Twin(
            now=self.now, account_id=ACCOUNT, durations=self.durations, has_request_rates=self.has_request_rates
        )
        self.twin.__enter__()
        self._clients.clear()
        self._make_site(PRIMARY, SiteRole.PRIMARY)
        self.recovery_environment = self._make_recovery()
        self.recovery = self.add_recovery_site(RECOVERY, **self.recovery_environment)
        self.key_arn = self.recovery.copy_key_arn
        self.primary = Settings.from_env(self.environment(SiteRole.PRIMARY) | self._make_queues(PRIMARY))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the twin; nothing is left."""
        self.twin.__exit__(kind, error, trace)
        wiring.clients_for.cache_clear()

    def add_recovery_site(self, region: Region, **environment: str) -> Settings:
        """Make what one recovery stack in `region` would make; `environment` is what differs there."""
        self._make_site(region, SiteRole.RECOVERY)
        key_arn = self.twin.client("kms", region).create_key()["KeyMetadata"]["Arn"]
        own = {"AWS_REGION": region, "HIKAE_COPY_KEY_ARN": key_arn, "HIKAE_BUCKET": self._bucket_in(region)}
        return Settings.from_env(self.environment(SiteRole.RECOVERY) | own | environment)

    def turn_round(self) -> None:
        """Make what a way back deploys: a primary where was recovered, and a recovery site where the primary was.

        From here on these are the two sites; those of before are left as they are.
        """
        left = self.recovery
        self._make_site(RECOVERY, SiteRole.PRIMARY)
        own = {"AWS_REGION": RECOVERY, "HIKAE_BUCKET": self._bucket_in(RECOVERY, SiteRole.PRIMARY)}
        environment = self.environment(SiteRole.PRIMARY) | own | self._make_queues(RECOVERY)
        self.recovery = self.add_recovery_site(
            PRIMARY, HIKAE_PRIMARIES=f"{ACCOUNT}/{RECOVERY}", **self._make_recovery(PRIMARY)
        )
        self.key_arn = self.recovery.copy_key_arn
        self.primary = Settings.from_env(environment)
        for site in (left, self.recovery):
            self.twin.client("kms", site.place.region).create_alias(
                AliasName=f"alias/hikae-{self.name}", TargetKeyId=site.copy_key_arn
            )

    def environment(self, site: SiteRole) -> dict[str, str]:
        """What the template would put into the environment of every function of a site."""
        region = PRIMARY if site is SiteRole.PRIMARY else RECOVERY
        shared = {
            "AWS_REGION": region,
            "HIKAE_INSTALLATION": self.name,
            "HIKAE_SITE": site.value,
            "HIKAE_ACCOUNT": ACCOUNT,
            "HIKAE_BUCKET": self._bucket(site),
            "HIKAE_TABLE": f"hikae-{self.name}-{site}",
            "HIKAE_DELETION_CAP": str(self.deletion_cap),
            "HIKAE_LINEAGE_DELETION_PERCENT": str(self.lineage_percent),
            "HIKAE_REQUIRE_RECYCLE_BIN": str(self.require_recycle_bin).lower(),
        }
        if site is SiteRole.PRIMARY:
            return shared
        return shared | {
            "HIKAE_COPY_KEY_ARN": self.key_arn,
            "HIKAE_PRIMARIES": f"{ACCOUNT}/{PRIMARY}",
            "HIKAE_SNAPSHOT_COPY_LIMIT": str(self.snapshot_copy_limit),
            "HIKAE_IMAGE_COPY_LIMIT": str(self.image_copy_limit),
        }

    # --- what its user does -------------------------------------------------------------------------------------------

    def apply(self, name: str, text: str, sites: Iterable[SiteRole | Settings] = tuple(SiteRole)) -> None:
        """Apply a plan at the sites."""
        for site in sites:
            settings = self._settings(site)
            client = self.twin.client("s3", settings.place.region)
            client.put_object(Bucket=settings.bucket, Key=f"plans/{name}.yaml", Body=text.encode())

    def remove(self, name: str, sites: Iterable[SiteRole] = tuple(SiteRole)) -> None:
        """Remove a plan at the sites."""
        for site in sites:
            region = PRIMARY if site is SiteRole.PRIMARY else RECOVERY
            self.twin.client("s3", region).delete_object(Bucket=self._bucket(site), Key=f"plans/{name}.yaml")

    def launch(self, count: int = 1, *, tags: Mapping[str, str] | None = None, **arguments: Any) -> list[str]:
        """Run instances with a root and a data volume; they are running when this returns."""
        ec2 = self.twin.client("ec2", PRIMARY)
        base = next(
            image for image in ec2.describe_images(Owners=["amazon"])["Images"] if image["RootDeviceType"] == "ebs"
        )
        request = {
            "ImageId": base["ImageId"],
            "InstanceType": "m5.large",
            "BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}}],
            **arguments,
        }
        wanted = [{"Key": key, "Value": value} for key, value in (tags or {"Backup": "production"}).items()]
        specifications = [{"ResourceType": "instance", "Tags": wanted}]
        answer = ec2.run_instances(MinCount=count, MaxCount=count, TagSpecifications=specifications, **request)
        self.advance(minutes=5)
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def detached_volume(self, *, tags: Mapping[str, str] | None = None, **arguments: Any) -> str:
        """Make a volume that is attached to nothing."""
        wanted = [{"Key": key, "Value": value} for key, value in (tags or {"Backup": "production"}).items()]
        request = {"AvailabilityZone": f"{PRIMARY}a", "Size": 10, "VolumeType": "gp3", **arguments}
        volume = self.twin.client("ec2", PRIMARY).create_volume(
            TagSpecifications=[{"ResourceType": "volume", "Tags": wanted}], **request
        )
        self.advance(minutes=5)
        volume_id: str = volume["VolumeId"]
        return volume_id

    def advance(self, **duration: float) -> None:
        """Let time pass."""
        self.twin.clock.advance(timedelta(**duration))

    # --- what the functions do ----------------------------------------------------------------------------------------

    def tick(self, now: datetime | None = None) -> Tick:
        """One run of schedule_backups."""
        return wiring.tick(self.primary, now=now or self.twin.clock.now())

    def jobs(self) -> list[Job]:
        """Take every job that waits."""
        sqs = self.twin.client("sqs", self.primary.place.region)
        jobs = []
        for url in (self.primary.snapshot_queue_url, self.primary.image_queue_url):
            while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for message in messages:
                    jobs.append(read_job(message["Body"], installation=self.name, place=self.primary.place))
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return jobs

    def carry_out(self, job: Job, now: datetime | None = None) -> Outcome:
        """One run of snapshot_volumes or build_images over one job."""
        now = now or self.twin.clock.now()
        clients = self._clients_of(self.primary, wiring.PROTECTING)
        return wiring.protector(self.primary, now=now, clients=clients)(job)

    def work(self, workers: int, *, batch: int = 10, paced: frozenset[str] = wiring.PROTECTING) -> list[Outcome]:
        """All jobs that wait, carried out by so many workers of snapshot_volumes beside each other.

        Each takes a batch at a time, and its share of the request rates of the `paced` actions, as Lambda's pollers and
        the template have it.
        """
        settings = replace(self.primary, workers=workers)
        turns = Turns(self.twin.clock)
        waiting = deque(self.jobs())
        outcomes: list[Outcome] = []

        def worker(clients: Clients) -> None:
            while waiting:
                jobs = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
                protect = wiring.protector(settings, now=self.twin.clock.now(), clients=clients)
                outcomes.extend(protect(job) for job in jobs)

        each = [self.clients(settings, paced, sleep=turns.sleep) for _ in range(workers)]
        turns.run([partial(worker, clients) for clients in each])
        return outcomes

    def back_up(self) -> list[Outcome]:
        """A tick and all of its jobs; the points are complete when this returns."""
        self.tick()
        outcomes = [self.carry_out(job) for job in self.jobs()]
        self.advance(minutes=20)
        return outcomes

    def copy(self, site: Settings | None = None) -> Copying:
        """One run of copy_recovery_points."""
        site = site or self.recovery
        clock = self.twin.clock.now
        return wiring.broker(site, now=clock(), clock=clock, clients=self._clients_of(site, COPYING))

    def copy_all(self, site: Settings | None = None) -> list[Copying]:
        """The broker, woken until nothing is wanted and nothing is in flight."""
        runs = []
        for _ in range(1000):
            run = self.copy(site)
            runs.append(run)
            if not run.in_flight and not any(outcome.created for outcome in run.outcomes):
                return runs
            self.advance(minutes=5)
        raise AssertionError(f"copying does not come to an end: {runs[-1]}")

    def prune(
        self,
        site: SiteRole | Settings,
        *,
        now: datetime | None = None,
        dry_run: bool = False,
        lineage_percent: int | None = None,
    ) -> Pruned:
        """One run of prune_recovery_points."""
        settings = self._settings(site)
        return wiring.pruner(
            settings,
            now=now or self.twin.clock.now(),
            clock=self.twin.clock.now,
            dry_run=dry_run,
            lineage_percent=lineage_percent,
            clients=self._clients_of(settings, DELETING),
        )

    # --- recovery -----------------------------------------------------------------------------------------------------

    def recovery_site(self) -> RecoverySite:
        """The recovery site, as its steps see it."""
        return wiring.recovery_site(self.recovery, clock=self.twin.clock.now)

    def step(self, step: str, name: str, request: Mapping[str, Any] | None = None, *, failure: str = "") -> Step:
        """One step of a run."""
        return take_step(
            step, name, request=request or {}, failure=failure, site=self.recovery_site(), now=self.twin.clock.now()
        )

    def recover(self, name: str, *, call: Any = None) -> Player:
        """An execution of the recover state machine, to be played; `call` takes the place of the function."""
        client = self.twin.client("stepfunctions", RECOVERY)
        client.start_execution(stateMachineArn=self.recovery.recover_arn, name=name, input="{}")
        return Player(
            name=name,
            call=call or self.run_step,
            wait=lambda seconds: self.advance(seconds=seconds),
            now=self.twin.clock.now,
        )

    def run_step(self, event: dict[str, Any]) -> dict[str, Any]:
        """What the recover function answers to a step's event."""
        taken = take_step(
            event["step"],
            event["run"],
            request=event["request"],
            failure=describe_failure(event.get("failure")),
            started_by=event["started_by"],
            site=self.recovery_site(),
            now=self.twin.clock.now(),
        )
        return {"status": taken.status.value, "reason": taken.reason, "wait": taken.wait}

    def sweep(self) -> Swept:
        """One run of the sweep."""
        return sweep(self.recovery_site(), now=self.twin.clock.now())

    def start_drills(self, now: datetime | None = None) -> Started:
        """One look for drills that are due."""
        ledger = wiring.slot_ledger(self.recovery)
        return start_drills(self.recovery_site(), ledger=ledger, now=now or self.twin.clock.now())

    def end_execution(self, name: str) -> None:
        """The execution is over, for whatever reason."""
        arn = f"{self.recovery.recover_arn.replace(':stateMachine:', ':execution:')}:{name}"
        self.twin.client("stepfunctions", RECOVERY).stop_execution(executionArn=arn)

    def document(self, key: str) -> dict[str, Any]:
        """A document in the recovery site's bucket."""
        return wiring.recovery_site(self.recovery).documents.read(key)

    def set_recovery_settings(self, text: str) -> None:
        """Store the recovery settings."""
        self.twin.client("s3", RECOVERY).put_object(
            Bucket=self.recovery.bucket, Key="recovery/settings.yaml", Body=text.encode()
        )

    def _make_queues(self, region: Region) -> dict[str, str]:
        sqs = self.twin.client("sqs", region)
        return {
            f"HIKAE_{kind}_QUEUE_URL": sqs.create_queue(QueueName=f"{kind.lower()}-jobs")["QueueUrl"]
            for kind in ("SNAPSHOT", "IMAGE")
        }

    def _make_recovery(self, region: Region = RECOVERY) -> dict[str, str]:
        """What the template makes for recovery, and a network of the user's to restore into."""
        block = loopback_block(os.getpid())
        # Loopback's addresses, so that probes reach what the twin's instances serve.
        self.drill_vpc = self._make_vpc(f"{block}.0.0/16", f"{block}.{{}}.0/24", region)
        self.restore_vpc = self._make_vpc("172.31.0.0/16", "172.31.{}.0/20", region)
        kms = self.twin.client("kms", region)
        evidence_key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["Arn"]
        machine = self.twin.client("stepfunctions", region).create_state_machine(
            name=f"hikae-{self.name}-recovery-recover",
            definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/recover",
        )["stateMachineArn"]
        return {
            "HIKAE_DRILL_SUBNETS": f"{self.drill_vpc['a']},{self.drill_vpc['b']}",
            "HIKAE_DRILL_SECURITY_GROUPS": self.drill_vpc["group"],
            "HIKAE_DRILL_VPC": self.drill_vpc["vpc"],
            "HIKAE_DRILL_ENDPOINT_GROUPS": self.drill_vpc["group"],
            "HIKAE_RESTORE_ROLES": "arn:aws:iam::123456789012:role/apps/*",
            "HIKAE_PROBE_FUNCTION": f"hikae-{self.name}-recovery-probe-network",
            "HIKAE_EVIDENCE_KEY_ARN": evidence_key,
            "HIKAE_RECOVER_ARN": machine,
            "HIKAE_CODE_VERSION": "test",
        }

    def _make_vpc(self, cidr: str, subnet_cidr: str, region: Region) -> dict[str, str]:
        ec2 = self.twin.client("ec2", region)
        vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        made = {"vpc": vpc}
        for number, zone in ((0, "a"), (16, "b")):
            made[zone] = ec2.create_subnet(
                VpcId=vpc, CidrBlock=subnet_cidr.format(number), AvailabilityZone=f"{region}{zone}"
            )["Subnet"]["SubnetId"]
        made["group"] = ec2.create_security_group(GroupName=f"hikae-{cidr}", Description="x", VpcId=vpc)["GroupId"]
        return made

    def report(self, *, now: datetime | None = None) -> Report:
        """One run of report_objectives."""
        return wiring.reporter(self.recovery, now=now or self.twin.clock.now())

    def _clients_of(self, settings: Settings, actions: frozenset[str]) -> Clients:
        """Those of a site's one function that sends `actions`."""
        key = (settings.bucket, actions)
        if key not in self._clients:
            self._clients[key] = self.clients(settings, actions)
        return self._clients[key]

    def clients(
        self, settings: Settings, actions: frozenset[str], *, sleep: Callable[[float], None] | None = None
    ) -> Clients:
        """The clients of one process that waits for its tokens by the twin's clock: no time passes in the tests."""
        clock = self.twin.clock
        pacer = Pacer(
            wiring.share_of(settings, actions),
            clock=lambda: clock.now().timestamp(),
            sleep=sleep or (lambda seconds: clock.advance(timedelta(seconds=seconds))),
        )
        return Clients(region=settings.place.region, pacer=pacer)

    # --- what EC2 says ------------------------------------------------------------------------------------------------

    def snapshots(self, region: Region = PRIMARY) -> list[dict[str, Any]]:
        """Every snapshot that the account owns in a Region."""
        pages = self.twin.client("ec2", region).get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
        return [snapshot for page in pages for snapshot in page["Snapshots"]]

    def images(self, region: Region = PRIMARY) -> list[dict[str, Any]]:
        """Every image that the account owns in a Region."""
        pages = self.twin.client("ec2", region).get_paginator("describe_images").paginate(Owners=["self"])
        return [image for page in pages for image in page["Images"]]

    def _settings(self, site: SiteRole | Settings) -> Settings:
        if isinstance(site, Settings):
            return site
        return self.primary if site is SiteRole.PRIMARY else self.recovery

    def _bucket(self, site: SiteRole) -> str:
        region = PRIMARY if site is SiteRole.PRIMARY else RECOVERY
        return self._bucket_in(region, site)

    def _bucket_in(self, region: Region, site: SiteRole = SiteRole.RECOVERY) -> str:
        return bucket_name(installation=self.name, site=site, place=Place(account=ACCOUNT, region=region))

    def _make_site(self, region: Region, site: SiteRole) -> None:
        location = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3 = self.twin.client("s3", region)
        bucket = self._bucket_in(region, site)
        s3.create_bucket(Bucket=bucket, **location)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self.twin.client("dynamodb", region).create_table(
            TableName=f"hikae-{self.name}-{site}",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


def tags_of(resource: Mapping[str, Any]) -> dict[str, str]:
    """The tags of anything that EC2 describes."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
