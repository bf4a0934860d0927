"""Odd cases, all at once, on the deployed application: what was made, copied, kept and deleted is asked of EC2.

One primary site and three recovery sites, one of them in the primary's own Region. Everything is seeded, then tick,
jobs, brokers and prune run once, and each test looks at one case. The few that need a second run stand at the end, in
order.
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hikae.domain.model import Kind, Place, SiteRole
from local.cloud import LocalCloud
from local.demo.journal import read_log
from tests.e2e.odd_fleet import (
    ACCOUNT,
    DAY,
    IRELAND,
    PRIMARY,
    WEST,
    Past,
    Present,
    Seeded,
    Site,
    read_plan_texts,
    tag_list,
    tags_of,
    wait_until_empty,
)

pytestmark = pytest.mark.e2e

PARAMETERS = {
    # Nothing runs by itself: what a run did must be known.
    "TickSchedule": "rate(30 minutes)",
    "SweepSchedule": "rate(1 day)",
    "PruneSchedule": "rate(1 day)",
    "LineageDeletionPercent": "75",
}
SITES = ("primary", "west", "ireland", "here")


@dataclass(kw_only=True)
class Scene:
    """The sites, what was seeded, and what every function answered in the one run."""

    sites: Mapping[str, Site]
    slot: datetime
    made: dict[str, str] = field(default_factory=dict)
    old: dict[str, Seeded] = field(default_factory=dict)
    tick: dict[str, Any] = field(default_factory=dict)
    copying: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pruning: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    outcomes: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    wrong_clock: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, set[str]] = field(default_factory=dict)

    # --- what EC2 shows -----------------------------------------------------------------------------------------------

    def snapshots(self, site: str, **tags: str) -> list[dict[str, Any]]:
        """The snapshots of a site's Region that carry these `hikae:` tags; copies at recovery sites, else sources."""
        filters = [{"Name": f"tag:hikae:{key}", "Values": [value]} for key, value in tags.items()]
        pages = self.sites[site].ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=filters)
        return [
            each
            for page in pages
            for each in page["Snapshots"]
            if ("hikae:copy-of" in tags_of(each)) == (self.sites[site].role is SiteRole.RECOVERY)
        ]

    def images(self, site: str = "primary") -> list[dict[str, Any]]:
        answer = self.sites[site].ec2.describe_images(Owners=["self"], IncludeDisabled=True)
        return list(answer["Images"])

    def left(self, name: str, site: str = "primary") -> set[str]:
        """What EC2 still shows of something that was seeded."""
        return self.shown[site] & set(self.old[name].ids)

    def look(self) -> None:
        """Ask EC2 what there is, in every Region."""
        for name, site in self.sites.items():
            pages = site.ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
            self.shown[name] = {each["SnapshotId"] for page in pages for each in page["Snapshots"]}
            self.shown[name] |= {each["ImageId"] for each in self.images(name)}

    def is_whole(self, name: str, site: str = "primary") -> bool:
        return self.left(name, site) == set(self.old[name].ids)

    def new(self, site: str, resource: str, plan: str, rule: str = "daily") -> list[dict[str, Any]]:
        """The snapshots of this slot's point."""
        when = f"{self.slot:%Y-%m-%dT%H:%M:%SZ}"
        return self.snapshots(site, resource=self.made[resource], plan=plan, rule=rule, slot=when)

    def devices(self, resource: str, plan: str, rule: str = "daily") -> set[str]:
        """The devices whose volumes are in this slot's point."""
        instance = self.sites["primary"].ec2.describe_instances(InstanceIds=[self.made[resource]])
        mappings = instance["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
        by_volume = {mapping["Ebs"]["VolumeId"]: mapping["DeviceName"] for mapping in mappings}
        return {by_volume[each["VolumeId"]] for each in self.new("primary", resource, plan, rule)}

    # --- what the functions said --------------------------------------------------------------------------------------

    def why(self, name: str, site: str = "primary") -> str:
        """The verdict on something that was seeded, with all its reasons."""
        found = [why for point, why in self.reasons[site].items() if point.startswith(self.old[name].name)]
        assert len(found) == 1, (name, found)
        return "; ".join(found[0])

    def assert_kept(self, name: str, why: str, site: str = "primary") -> None:
        assert self.is_whole(name, site), f"{name} is gone: {self.why(name, site)}"
        assert why in self.why(name, site)
        assert self.why(name, site).startswith("keep")

    def assert_gone(self, name: str, why: str, site: str = "primary") -> None:
        assert self.left(name, site) == set(), f"{name} is there: {self.why(name, site)}"
        assert why in self.why(name, site)

    def rules(self, plan: str) -> dict[str, Any]:
        return {rule["rule"]: rule for rule in self.tick["rules"] if rule["plan"] == plan}

    def log(self, site: str, function: str) -> list[Mapping[str, Any]]:
        where = self.sites[site]
        name = where.cloud.resource(where.role.value, function)
        return list(read_log(where.cloud.client("logs", where.place.region), name))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with LocalCloud(installation="odd", parameters=PARAMETERS, say=_say) as cloud:
        slot = datetime.now(tz=UTC).replace(second=0, microsecond=0)
        cloud.build()
        scene = Scene(sites=_name_sites(cloud), slot=slot)
        deploying = _Deploying(scene.sites)
        deploying.start()
        _launch(scene, Present(cloud))
        deploying.finish()
        _seed_past(scene, Past(scene.sites, slot=slot), Present(cloud))
        _apply_plans(scene)
        _run(scene)
        yield scene


def _say(line: str) -> None:
    sys.stderr.write(f"local cloud of odd cases: {line}\n")


def _name_sites(cloud: LocalCloud) -> dict[str, Site]:
    clouds = {
        "primary": cloud,
        "west": cloud,
        "ireland": cloud.beside(IRELAND, RequireRecycleBin="true"),
        "here": cloud.beside(PRIMARY, DeletionCap="2"),
    }
    regions = {"primary": PRIMARY, "west": WEST, "ireland": IRELAND, "here": PRIMARY}
    return {
        name: Site(
            cloud=clouds[name],
            role=SiteRole.PRIMARY if name == "primary" else SiteRole.RECOVERY,
            place=Place(account=ACCOUNT, region=regions[name]),
        )
        for name in SITES
    }


class _Deploying(threading.Thread):
    """Deploys the sites while the fleet is launched."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        super().__init__(name="deploying")
        self._sites = sites
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            for name in ("west", "primary", "ireland", "here"):
                self._sites[name].cloud.deploy_site(self._sites[name].role.value)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error

    def finish(self) -> None:
        self.join()
        if self._error is not None:
            raise self._error


# --- the fleet --------------------------------------------------------------------------------------------------------


def _launch(scene: Scene, fleet: Present) -> None:
    blue, green = {"Team": "blue", "Tier": "gold", "Pictures": "yes"}, {"Team": "green"}
    made = scene.made
    made["both"] = fleet.instance("both", blue, devices="fgh")
    made["silver"] = fleet.instance("silver", {"Team": "blue", "Tier": "silver"})
    made["half"] = fleet.instance("half", {"Team": "blue", "Tier": "bronze"})
    made["other"] = fleet.instance("other", green, InstanceType="m5d.large")
    made["skipped"] = fleet.instance("skipped", {**green, "Skip": "yes"})
    made["bundle"] = fleet.on_instance_store("bundle", green)
    made["ending"] = fleet.instance("ending", green)
    made["drilled"] = fleet.instance("drilled", {**green, "hikae:drill": "drill-7"})
    made["drilled volume"] = fleet.volume("drilled volume", {**green, "hikae:drill": "drill-7"})
    made["detached"] = fleet.volume("detached", green)
    for name, tag in (("vault", "Vault"), ("hoard", "Hoard"), ("far", "Far"), ("near", "Near")):
        made[name] = fleet.instance(name, {tag: "yes"})
    made["pictures"] = fleet.instance("pictures", {"Pictures": "yes"})
    key = fleet.cloud.client("kms", PRIMARY).create_key(Description="the fleet's own")["KeyMetadata"]["Arn"]
    made["customer key"] = fleet.volume("customer key", {"Keys": "yes"}, Encrypted=True, KmsKeyId=key)
    made["managed key"] = fleet.volume("managed key", {"Keys": "yes"}, Encrypted=True)
    fleet.wait_for_states("running")
    for volume in ("customer key", "managed key", "detached", "drilled volume"):
        fleet.ec2.get_waiter("volume_available").wait(VolumeIds=[made[volume]], WaiterConfig={"Delay": 1})
    scratch = fleet.volume_at(made["both"], "/dev/sdg")
    fleet.ec2.create_tags(Resources=[scratch], Tags=tag_list({"Scratch": "true"}))
    fleet.ec2.stop_instances(InstanceIds=[made["silver"]])
    fleet.cloud.twin_control("/_twin/stick", {"region": PRIMARY, "instance_id": made["ending"]})
    fleet.ec2.terminate_instances(InstanceIds=[made["ending"]])
    fleet.wait_for_states("running", "stopped", "shutting-down")


# --- its past ---------------------------------------------------------------------------------------------------------


def _seed_past(scene: Scene, past: Past, fleet: Present) -> None:
    _seed_sets(scene, past, fleet)
    _seed_images(scene, past, fleet)
    _seed_gone(scene, past)
    _seed_copies(scene, past)


def _seed_sets(scene: Scene, past: Past, fleet: Present) -> None:
    """Points of `vault`, which keeps two: each of the others has something that keeps it, or nothing."""
    vault, old, ec2 = scene.made["vault"], scene.old, fleet.ec2
    names = ("held", "governed", "compliant", "archived", "imaged", "templated", "drilled", "drilled by a volume")
    names += ("free", "freed", "tampered with")
    for days, name in enumerate(names, start=10):
        old[name] = past.point("vault", vault, days * DAY, volumes=2)
    second = {name: old[name].snapshots[1] for name in names}
    ec2.create_tags(Resources=[second["held"]], Tags=tag_list({"hikae:hold": "case 4711"}))
    ec2.lock_snapshot(SnapshotId=second["governed"], LockMode="governance", LockDuration=3)
    ec2.lock_snapshot(SnapshotId=second["compliant"], LockMode="compliance", LockDuration=3)
    ec2.modify_snapshot_tier(SnapshotId=second["archived"], StorageTier="archive")
    scene.made["by hand"] = fleet.image_of(second["imaged"], "by-hand")
    mapping = {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": second["templated"]}}
    scene.made["snapshot template"] = fleet.old_version("disks", BlockDeviceMappings=[mapping])
    for made, of in (("drilled", "drilled"), ("drilled volume", "drilled by a volume")):
        recovered = {"hikae:recovered-from": old[of].tags.point}
        ec2.create_tags(Resources=[scene.made[made]], Tags=tag_list(recovered))
    ec2.create_tags(Resources=[second["tampered with"]], Tags=tag_list({"hikae:rule": "another"}))
    # Two complete sets of one point, of which neither may lend the other a member; and the rest of a third.
    old["first of two"] = past.point("vault", vault, 2 * DAY, volumes=2)
    old["second of two"] = past.point("vault", vault, 2 * DAY, volumes=2, attempt=2, late=timedelta(minutes=1))
    # `hoard` keeps everything, and yet not what can never become complete.
    hoard = scene.made["hoard"]
    old["half, old"] = past.point("hoard", hoard, 3 * DAY, members=2)
    old["half, young"] = past.point("hoard", hoard, timedelta(hours=2), members=2)
    old["whole"] = past.point("hoard", hoard, 5 * DAY, volumes=2)
    wait_until_empty(
        lambda: [
            each["SnapshotId"]
            for each in ec2.describe_snapshots(SnapshotIds=[second["archived"]])["Snapshots"]
            if each["StorageTier"] != "archive"
        ],
        seconds=30,
    )


def _seed_images(scene: Scene, past: Past, fleet: Present) -> None:
    """Images of `pictures`, which keeps two."""
    pictures, old, ec2 = scene.made["pictures"], scene.old, fleet.ec2
    names = (
        "plain",
        "stale",
        "disabled",
        "protected",
        "running",
        "old version",
        "configured",
        "grouped",
        "shared",
        "stubborn",
    )
    for days, name in enumerate(names, start=10):
        old[name] = past.point("pictures", pictures, days * DAY, volumes=2, kind=Kind.IMAGE)
    image = {name: old[name].image for name in names}
    ec2.disable_image(ImageId=image["disabled"])
    ec2.enable_image_deregistration_protection(ImageId=image["protected"])
    scene.made["from an image"] = fleet.instance("from an image", {}, ImageId=image["running"], BlockDeviceMappings=[])
    scene.made["image template"] = fleet.old_version("web", ImageId=image["old version"])
    autoscaling = fleet.cloud.client("autoscaling", PRIMARY)
    autoscaling.create_launch_configuration(
        LaunchConfigurationName="lone", ImageId=image["configured"], InstanceType="t3.small"
    )
    autoscaling.create_launch_configuration(
        LaunchConfigurationName="of-the-group", ImageId=image["grouped"], InstanceType="t3.small"
    )
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="web",
        LaunchConfigurationName="of-the-group",
        MinSize=0,
        MaxSize=0,
        AvailabilityZones=[f"{PRIMARY}a"],
    )
    scene.made["sharing"] = fleet.image_of(old["shared"].snapshots[1], "sharing")
    refused = {"region": PRIMARY, "snapshot_id": old["stubborn"].snapshots[1], "code": "internal-error"}
    fleet.cloud.twin_control("/_twin/refuse-deletion", refused)
    orphan = {"kind": Kind.IMAGE, "volumes": 2, "is_orphan": True}
    old["orphan"] = past.point("pictures", pictures, 30 * DAY, **orphan)
    old["orphan on hold"] = past.point("pictures", pictures, 31 * DAY, **orphan)
    ec2.create_tags(
        Resources=[old["orphan on hold"].snapshots[0]], Tags=tag_list({"hikae:hold": "somebody looks into it"})
    )
    fleet.wait_for_states("running", "stopped", "shutting-down")


def _seed_gone(scene: Scene, past: Past) -> None:
    """Points of instances that do not exist any more, under plans that do and one that does not."""
    for plan, ages in {"former": (10, 11, 12), "vault": (50,), "retiring": (10,), "pinned": range(10, 16)}.items():
        resource = past.gone()
        for number, days in enumerate(ages):
            scene.old[f"{plan}, gone, {number}"] = past.point(plan, resource, days * DAY)
    retired = past.gone()
    for number, days in enumerate((40, 41)):
        scene.old[f"retired, {number}"] = past.point("retiring", retired, days * DAY)
    scene.old["retired, half"] = past.point("retiring", past.gone(), 42 * DAY, members=2)


def _seed_copies(scene: Scene, past: Past) -> None:
    old, sites = scene.old, scene.sites
    for number in range(3):
        source = past.point("far", scene.made["far"], (number + 1) * DAY, volumes=2)
        old[f"far, {number}"] = source
        for site in ("west", "ireland", "here"):
            old[f"far, {number}, {site}"] = past.copy(source, sites[site])
    # Where no rule of the Recycle Bin covers them.
    resource = past.gone()
    for number in range(4):
        source = past.point("binless", resource, (number + 1) * DAY)
        old[f"binless, {number}"] = past.copy(source, sites["ireland"])
    # More than a run may delete where the cap is two, and one set that is larger than the cap.
    for number in range(5):
        source = past.point("near", scene.made["near"], (number + 4) * DAY)
        old[f"near, {number}"] = past.copy(source, sites["here"])
    resource = past.gone()
    for number in range(3):
        source = past.point("near", resource, (number + 20) * DAY, volumes=3)
        old[f"wide, {number}"] = past.copy(source, sites["here"])
    # A key that was disabled since, and a copy that failed an hour ago.
    kms = sites["primary"].cloud.client("kms", PRIMARY)
    key = kms.create_key(Description="disabled since")["KeyMetadata"]["Arn"]
    volume = past.gone("vol")
    old["unreadable"] = past.point("keys", volume, 2 * DAY, kind=Kind.SNAPSHOT, key=key)
    old["readable"] = past.point("keys", volume, DAY, kind=Kind.SNAPSHOT)
    kms.disable_key(KeyId=key)
    old["failed once"] = past.point("keys", past.gone("vol"), timedelta(hours=1), kind=Kind.SNAPSHOT)
    old["its failed copy"] = past.copy(old["failed once"], sites["west"], error="Internal error")
    rule = (
        sites["ireland"]
        .cloud.client("rbin", IRELAND)
        .create_rule(
            ResourceType="EBS_SNAPSHOT",
            RetentionPeriod={"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"},
            ResourceTags=[{"ResourceTagKey": "hikae:plan", "ResourceTagValue": "far"}],
        )
    )
    since = {"region": IRELAND, "rule_id": rule["Identifier"], "created_at": (scene.slot - DAY).isoformat()}
    sites["ireland"].cloud.twin_control("/_twin/backdate-bin-rule", since)


# --- the run ----------------------------------------------------------------------------------------------------------


def _apply_plans(scene: Scene) -> None:
    for name, text in read_plan_texts(scene.slot).items():
        for site in scene.sites.values():
            site.put(f"plans/{name}.yaml", text)
    primary = scene.sites["primary"]
    s3 = primary.cloud.client("s3", PRIMARY)
    s3.delete_object(Bucket=primary.bucket, Key="plans/former.yaml")


def _run(scene: Scene) -> None:
    primary = scene.sites["primary"]
    scene.tick = primary.invoke("ScheduleBackups", {"now": f"{scene.slot + timedelta(seconds=30):%Y-%m-%dT%H:%M:%SZ}"})
    wait_until_empty(lambda: _under_way(scene, "primary"), seconds=240)
    for site in ("west", "ireland", "here"):
        scene.copying[site] = _copy_all(scene, site)
    scene.wrong_clock = _prune(scene, "primary", now=f"{scene.slot - 20 * DAY:%Y-%m-%dT%H:%M:%SZ}")
    scene.reasons["a clock behind"] = scene.reasons["primary"]
    ahead = f"{scene.slot + 1000 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    _prune(scene, "primary", now=ahead, dry_run=True)
    scene.reasons["a clock ahead"] = scene.reasons["primary"]
    for site in SITES:
        _prune(scene, site)
    scene.look()


def _under_way(scene: Scene, site: str) -> list[str]:
    """Jobs that wait or are in hand, and what is pending in EC2."""
    where = scene.sites[site]
    found = [
        f"{each['SnapshotId']} is pending"
        for each in where.ec2.describe_snapshots(
            OwnerIds=["self"], Filters=[{"Name": "status", "Values": ["pending"]}]
        )["Snapshots"]
    ]
    found += [f"{each['ImageId']} is pending" for each in scene.images(site) if each["State"] == "pending"]
    if where.role is SiteRole.PRIMARY:
        sqs, outputs = where.cloud.client("sqs", PRIMARY), where.cloud.stack_outputs("primary")
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for queue in ("SnapshotJobsQueueUrl", "ImageJobsQueueUrl"):
            counts = sqs.get_queue_attributes(QueueUrl=outputs[queue], AttributeNames=names)["Attributes"]
            found += [f"{queue} has {counts}"] * any(int(counts[name]) for name in names)
    if found and where.role is SiteRole.PRIMARY:
        returned = (line for line in scene.log(site, "SnapshotVolumes") if "goes back" in str(line.get("message")))
        found += [f"a job has come back: {line.get('error')}" for line in returned]
    return found


def _copy_all(scene: Scene, site: str) -> list[dict[str, Any]]:
    """The broker's answers until it has nothing more to start."""
    answers = []
    for _ in range(10):
        answer = scene.sites[site].invoke("CopyRecoveryPoints", {"Records": []})
        answers.append(answer)
        wait_until_empty(lambda: _under_way(scene, site), seconds=240)
        if not (answer["started"] or answer["later"] or answer["in_flight"]):
            return answers
    raise AssertionError(f"the broker at {site} does not come to an end: {answers[-1]}")


def _prune(scene: Scene, site: str, **event: Any) -> dict[str, Any]:
    """One run of prune, which says of everything why it stays."""
    where = scene.sites[site]
    _say_everything(where)
    before = len(scene.log(site, "PruneRecoveryPoints"))
    answer = where.invoke("PruneRecoveryPoints", event)
    lines: list[Mapping[str, Any]] = []

    def unsaid() -> list[str]:
        lines[:] = scene.log(site, "PruneRecoveryPoints")[before:]
        # It is the last line of a run, and they come in order, a little later than the answer.
        return [] if any(line.get("message") == "pruning" for line in lines) else ["the run's summary"]

    wait_until_empty(unsaid, seconds=60)
    scene.pruning[site] = answer
    scene.reasons[site] = {
        str(line["point"]): [str(line["message"]), *line["reasons"]]
        for line in lines
        if line.get("message") in {"keep", "expire"}
    }
    scene.outcomes[site] = {
        str(line["resource"]): (str(line["message"]), str(line["reason"]))
        for line in lines
        if line.get("message") in {"kept", "deleted", "failed"}
    }
    return answer


def _say_everything(site: Site) -> None:
    lambdas = site.cloud.client("lambda", site.place.region)
    name = site.cloud.resource(site.role.value, "PruneRecoveryPoints")
    variables = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    if variables.get("POWERTOOLS_LOG_LEVEL") != "DEBUG":
        variables = {**variables, "POWERTOOLS_LOG_LEVEL": "DEBUG"}
        lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


# --- what is chosen ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "devices"),
    [
        pytest.param("both", {"/dev/xvda", "/dev/sdf"}, id="both tags of one alternative"),
        pytest.param("silver", {"/dev/xvda", "/dev/sdf"}, id="another value of a tag, and stopped"),
        pytest.param("other", {"/dev/xvda", "/dev/sdf"}, id="the other alternative"),
        pytest.param("half", set(), id="only one tag of two"),
        pytest.param("skipped", set(), id="an excluded tag"),
        pytest.param("bundle", set(), id="on an instance store"),
        pytest.param("ending", set(), id="shutting down"),
        pytest.param("drilled", set(), id="made by a drill"),
    ],
)
def test_tags_and_states_choose_instances(scene: Scene, resource: str, devices: set[str]) -> None:
    made = scene.new("primary", resource, "chosen")
    assert {each["State"] for each in made} <= {"completed"}
    assert (scene.devices(resource, "chosen") if made else set()) == devices


def test_the_stopped_instance_was_really_stopped_and_the_ending_one_is_still_there(scene: Scene) -> None:
    states = {
        name: scene.sites["primary"].ec2.describe_instances(InstanceIds=[scene.made[name]])["Reservations"][0][
            "Instances"
        ][0]["State"]["Name"]
        for name in ("silver", "ending")
    }
    assert states == {"silver": "stopped", "ending": "shutting-down"}


def test_a_detached_volume_is_chosen_and_a_drills_is_not(scene: Scene) -> None:
    assert [each["VolumeId"] for each in scene.new("primary", "detached", "chosen")] == [scene.made["detached"]]
    assert scene.new("primary", "drilled volume", "chosen") == []


@pytest.mark.parametrize(
    ("rule", "devices"),
    [
        pytest.param("daily", {"/dev/xvda", "/dev/sdf"}, id="by tag and by device"),
        pytest.param("data-only", {"/dev/sdf", "/dev/sdg", "/dev/sdh"}, id="the boot volume"),
        pytest.param("boot-only", {"/dev/xvda"}, id="data volumes"),
    ],
)
def test_volumes_are_left_out_by_rule_and_the_rest_is_a_whole_set(scene: Scene, rule: str, devices: set[str]) -> None:
    assert scene.devices("both", "chosen", rule) == devices
    members = {tags_of(each)["hikae:members"] for each in scene.new("primary", "both", "chosen", rule)}
    assert members == {str(len(devices))}


def test_one_resource_under_two_plans_has_a_point_of_every_rule(scene: Scene) -> None:
    assert scene.devices("both", "pictures") == {"/dev/xvda", "/dev/sdf", "/dev/sdh"}
    when = f"{scene.slot:%Y-%m-%dT%H:%M:%SZ}"
    of_it = scene.snapshots("primary", resource=scene.made["both"], slot=when)
    assert len({tags_of(each)["hikae:point"] for each in of_it}) == 4


def test_what_cannot_be_protected_is_named_with_its_reason(scene: Scene) -> None:
    rule = scene.rules("chosen")["daily"]
    assert list(rule["unprotectable"]) == [scene.made["bundle"]]
    assert "instance store" in rule["unprotectable"][scene.made["bundle"]]
    assert set(rule["skipped"]) == {scene.made[name] for name in ("ending", "drilled", "drilled volume", "other")}
    assert rule["skipped"][scene.made["ending"]] == "it is shutting down for good"
    assert rule["skipped"][scene.made["drilled"]] == "the drill drill-7 made it"
    assert "instance-store volumes of 75 GB" in rule["skipped"][scene.made["other"]]


# --- what keeps a set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("held", "is on hold"),
        ("governed", "is locked (governance until "),
        ("compliant", "is locked (compliance until "),
        ("archived", "is in the archive tier"),
        ("drilled", "the run drill-7 recovers from it"),
        ("drilled by a volume", "the run drill-7 recovers from it"),
    ],
)
def test_what_keeps_one_snapshot_keeps_its_whole_set(scene: Scene, name: str, why: str) -> None:
    scene.assert_kept(name, why)


def test_a_set_that_an_image_uses_is_kept(scene: Scene) -> None:
    scene.assert_kept("imaged", f"{scene.old['imaged'].snapshots[1]} is referenced by {scene.made['by hand']}")


def test_a_set_that_an_old_version_of_a_launch_template_names_is_kept(scene: Scene) -> None:
    scene.assert_kept("templated", f"is referenced by launch template {scene.made['snapshot template']}")
    assert "version 1" in scene.why("templated")


@pytest.mark.parametrize("name", ["free", "freed"])
def test_what_nothing_keeps_is_gone(scene: Scene, name: str) -> None:
    scene.assert_gone(name, "no rule keeps it")


def test_a_set_of_which_one_snapshot_cannot_be_accounted_for_is_not_torn_apart(scene: Scene) -> None:
    good, spoilt = scene.old["tampered with"].snapshots
    scene.assert_kept("tampered with", f"{spoilt} carries its id and cannot be accounted for")
    assert good in scene.left("tampered with")
    assert "hikae:point" in scene.pruning["primary"]["unclear"][spoilt]


def test_of_two_complete_sets_of_a_point_the_earlier_is_left_whole(scene: Scene) -> None:
    scene.assert_kept("first of two", "last snapshot")
    scene.assert_gone("second of two", f"duplicate of {scene.old['first of two'].name}")


def test_an_incomplete_set_goes_a_day_after_it_was_of_use(scene: Scene) -> None:
    scene.assert_gone("half, old", "is complete and more than a day younger")
    scene.assert_kept("half, young", "incomplete: 1 of 2 snapshots are there and completed")
    scene.assert_kept("whole", "last snapshot")


# --- what keeps an image ----------------------------------------------------------------------------------------------


def test_an_image_goes_with_all_of_its_snapshots_in_one_call(scene: Scene) -> None:
    scene.assert_kept("plain", "last snapshot")
    scene.assert_gone("stale", "no rule keeps it")
    deregistered = [
        call
        for call in scene.sites["primary"].cloud.twin_control("/_twin/calls")
        if call["action"] == "DeregisterImage" and call["parameters"]["ImageId"] == scene.old["stale"].image
    ]
    assert len(deregistered) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("disabled", "was disabled by somebody"),
        ("protected", "is protected from deregistration (enabled-without-cooldown)"),
        ("configured", "is referenced by launch configuration lone"),
        ("grouped", "is referenced by Auto Scaling group web"),
    ],
)
def test_what_keeps_an_image_keeps_its_snapshots(scene: Scene, name: str, why: str) -> None:
    scene.assert_kept(name, why)


def test_an_image_that_an_instance_runs_from_is_kept(scene: Scene) -> None:
    scene.assert_kept("running", f"is referenced by {scene.made['from an image']}")


def test_an_image_that_an_old_version_of_a_launch_template_names_is_kept(scene: Scene) -> None:
    scene.assert_kept("old version", f"is referenced by launch template {scene.made['image template']}")


def test_an_image_whose_snapshot_another_image_uses_is_kept(scene: Scene) -> None:
    scene.assert_kept("shared", f"{scene.old['shared'].snapshots[1]} is referenced by {scene.made['sharing']}")


def test_the_snapshots_of_a_vanished_image_go_and_those_that_stay_are_named(scene: Scene) -> None:
    scene.assert_gone("orphan", "its image is not there")
    scene.assert_kept("orphan on hold", "is on hold")
    for snapshot in scene.old["orphan on hold"].snapshots:
        status, reason = scene.outcomes["primary"][snapshot]
        assert (status, reason.startswith("orphan: "), "on hold" in reason) == ("kept", True, True)


# --- what is left of what is gone -------------------------------------------------------------------------------------


def test_points_of_a_removed_plan_stay_under_what_it_said_last(scene: Scene) -> None:
    for number in (0, 1):
        scene.assert_kept(f"former, gone, {number}", "by the last plan former that had the rule daily")
    scene.assert_gone("former, gone, 2", "by the last plan former that had the rule daily")


def test_the_newest_point_of_a_deleted_instance_stays_and_says_what_it_costs(scene: Scene) -> None:
    scene.assert_kept("vault, gone, 0", "its newest point, of volumes of 8 GiB, is kept for ever")
    scene.assert_kept("retiring, gone, 0", "is kept until ")


def test_only_retire_after_releases_the_newest_point(scene: Scene) -> None:
    for name in ("retired, 0", "retired, 1", "retired, half"):
        scene.assert_gone(name, "is older than retire_after")


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_lineage_that_would_lose_too_much_at_once_loses_nothing(scene: Scene) -> None:
    for number in range(1, 6):
        scene.assert_kept(f"pinned, gone, {number}", "5 of the 6 complete points of ")
    assert scene.pruning["primary"]["held_back"] == 5
    _assert_alarmed(scene, "primary", "HeldBackDeletions", 5)


def test_a_run_stops_at_its_cap_and_raises_an_alarm(scene: Scene) -> None:
    for number in (4, 3):
        scene.assert_gone(f"near, {number}", "no rule keeps it", "here")
    for name in ("near, 1", "near, 2", "far, 2, here"):
        scene.assert_kept(name, "above this run's cap of 2 deletions", "here")
    assert scene.pruning["here"]["deleted"] == 2
    _assert_alarmed(scene, "here", "CappedDeletions", scene.pruning["here"]["capped"])


def test_a_set_above_the_cap_stays_whole_and_somebody_hears_of_it(scene: Scene) -> None:
    scene.assert_kept("wide, 2", "needs 3 deletions, the cap of a run is 2", "here")
    [said] = scene.pruning["here"]["failed"].values()
    assert "DeletionCap is at least 3" in said
    _assert_alarmed(scene, "here", "FailedResources", 1)


def _assert_alarmed(scene: Scene, site: str, metric: str, value: int) -> None:
    """The run has emitted the metric with a value above the threshold of an alarm that watches it."""
    where = scene.sites[site]
    emitted = [line for line in scene.log(site, "PruneRecoveryPoints") if "_aws" in line and metric in line]
    assert emitted[-1][metric] == [value]
    [described] = emitted[-1]["_aws"]["CloudWatchMetrics"]
    dimensions = {name: emitted[-1][name] for name in described["Dimensions"][0]}
    alarms = where.cloud.client("cloudwatch", where.place.region).describe_alarms()["MetricAlarms"]
    watching = [
        alarm
        for alarm in alarms
        if (alarm["Namespace"], alarm["MetricName"]) == (described["Namespace"], metric)
        and {each["Name"]: each["Value"] for each in alarm["Dimensions"]} == dimensions
    ]
    assert len(watching) == 1
    assert watching[0]["ComparisonOperator"].startswith("GreaterThan")
    assert value >= max(1, watching[0]["Threshold"])
    assert watching[0]["AlarmActions"]


def test_where_the_recycle_bin_is_required_only_what_it_covers_is_deleted(scene: Scene) -> None:
    for number in range(1, 4):
        scene.assert_kept(f"binless, {number}", "no Recycle Bin rule covers", "ireland")
    binned = {each["SnapshotId"] for each in scene.sites["ireland"].ec2.list_snapshots_in_recycle_bin()["Snapshots"]}
    assert binned == {each for number in range(3) for each in scene.old[f"far, {number}, ireland"].ids}


def test_a_clock_that_jumped_back_deletes_nothing(scene: Scene) -> None:
    assert (scene.wrong_clock["deleted"], scene.wrong_clock["expired"]) == (0, {})
    assert "the clock says" in scene.why("free", "a clock behind")


def test_a_clock_that_jumped_ahead_gives_nothing_up(scene: Scene) -> None:
    for name in ("retired, 0", "retired, 1", "retired, half", "retiring, gone, 0"):
        assert scene.why(name, "a clock ahead").startswith("keep")
    assert "although it is past retire_after: the clock says" in scene.why("retired, 0", "a clock ahead")


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["west", "ireland", "here"])
def test_each_destination_has_the_new_point_once_under_its_own_key(scene: Scene, site: str) -> None:
    sources = {each["SnapshotId"]: each for each in scene.new("primary", "far", "far")}
    copies = scene.new(site, "far", "far")
    assert {tags_of(each)["hikae:copy-of"] for each in copies} == set(sources)
    assert len(copies) == len(sources) == 2
    assert {each["State"] for each in copies} == {"completed"}
    assert {each["KmsKeyId"] for each in copies} == {scene.sites[site].key}
    _assert_same_contents(scene, site, copies)


def test_the_keys_of_the_destinations_differ(scene: Scene) -> None:
    assert len({scene.sites[site].key for site in ("west", "ireland", "here")}) == 3


def test_each_destination_keeps_by_its_own_retention(scene: Scene) -> None:
    scene.assert_kept("far, 0, west", "last snapshot", "west")
    for name, site in (("far, 1, west", "west"), ("far, 2, west", "west"), ("far, 0, ireland", "ireland")):
        scene.assert_gone(name, "no rule keeps it", site)
    for name, points in (("west", 2), ("ireland", 1)):
        left = scene.snapshots(name, resource=scene.made["far"])
        assert len({tags_of(each)["hikae:point"] for each in left}) == points


def test_a_recovery_site_in_the_same_region_copies_and_neither_prunes_the_others(scene: Scene) -> None:
    sources = {each["SnapshotId"] for each in scene.new("primary", "near", "near")}
    copies = scene.new("here", "near", "near")
    assert {tags_of(each)["hikae:copy-of"] for each in copies} == sources
    assert {each["State"] for each in copies} == {"completed"}
    deleted = {
        site: {resource for resource, (status, _) in scene.outcomes[site].items() if status == "deleted"}
        for site in ("primary", "here")
    }
    copied = {each for name, seeded in scene.old.items() if seeded.is_copy for each in seeded.ids}
    assert deleted["primary"].isdisjoint(copied)
    assert deleted["here"] <= copied


def _assert_same_contents(scene: Scene, site: str, copies: list[dict[str, Any]]) -> None:
    """By the digests that only the twin knows."""
    cloud = scene.sites["primary"].cloud
    here = cloud.twin_control(f"/_twin/state/{PRIMARY}")["snapshots"]
    there = cloud.twin_control(f"/_twin/state/{scene.sites[site].place.region}")["snapshots"]
    for copy in copies:
        assert there[copy["SnapshotId"]]["digest"] == here[tags_of(copy)["hikae:copy-of"]]["digest"]


@pytest.mark.parametrize("volume", ["customer key", "managed key"])
def test_an_encrypted_source_is_copied_under_the_key_of_the_destination(scene: Scene, volume: str) -> None:
    [source], [copy] = (scene.new(site, volume, "keys") for site in ("primary", "west"))
    assert source["Encrypted"]
    assert copy["State"] == "completed"
    assert copy["KmsKeyId"] == scene.sites["west"].key != source["KmsKeyId"]
    _assert_same_contents(scene, "west", [copy])


def test_a_source_whose_key_cannot_be_used_is_named_with_the_remedy_and_not_counted_as_copied(scene: Scene) -> None:
    [source] = scene.old["unreadable"].snapshots
    [copy] = [each for each in scene.snapshots("west") if tags_of(each)["hikae:copy-of"] == source]
    assert (copy["State"], copy["StateMessage"]) == ("error", "Given key ID is not accessible")
    said = scene.copying["west"][-1]["failed"][source]
    for words in ("Given key ID is not accessible", "SourceKeyArns", "the next attempt is due at"):
        assert words in said
    scene.assert_kept("unreadable", "its copy to us-west-2 is wanted and not complete")


def test_a_copy_that_failed_is_made_again_as_a_new_attempt_and_the_failed_one_goes(scene: Scene) -> None:
    [source] = scene.old["failed once"].snapshots
    [copy] = [each for each in scene.snapshots("west") if tags_of(each)["hikae:copy-of"] == source]
    assert (copy["State"], tags_of(copy)["hikae:copy-attempt"]) == ("completed", "2")
    assert scene.left("its failed copy", "west") == set()
    assert scene.outcomes["west"][scene.old["its failed copy"].snapshots[0]][0] == "deleted"


# --- what only a second run can do ------------------------------------------------------------------------------------


def test_a_deregistration_that_failed_half_way_is_named_and_finished_by_the_next_run(scene: Scene) -> None:
    stubborn = scene.old["stubborn"]
    assert scene.left("stubborn") == {stubborn.snapshots[1]}
    assert "internal-error" in scene.pruning["primary"]["failed"][stubborn.snapshots[1]]
    cloud = scene.sites["primary"].cloud
    request = {"region": PRIMARY, "snapshot_id": stubborn.snapshots[1], "code": None}
    cloud.twin_control("/_twin/refuse-deletion", request)
    scene.sites["primary"].ec2.deregister_image(ImageId=scene.made["sharing"])
    before = {name: set(shown) for name, shown in scene.shown.items()}

    _prune(scene, "primary", lineage_percent=100)
    scene.look()

    scene.assert_gone("stubborn", "its image is not there")
    scene.assert_gone("shared", "no rule keeps it")
    for number in range(1, 6):
        scene.assert_gone(f"pinned, gone, {number}", "no rule keeps it")
    expected = {stubborn.snapshots[1], *scene.old["shared"].ids, scene.made["sharing"]}
    expected |= {each for number in range(1, 6) for each in scene.old[f"pinned, gone, {number}"].ids}
    assert before["primary"] - scene.shown["primary"] == expected


def test_the_next_run_goes_on_below_the_cap(scene: Scene) -> None:
    _prune(scene, "here")
    scene.look()
    for name in ("near, 1", "near, 2"):
        scene.assert_gone(name, "no rule keeps it", "here")
    scene.assert_kept("far, 2, here", "above this run's cap", "here")
    scene.assert_kept("wide, 2", "needs 3 deletions", "here")


def test_everything_once_more_changes_nothing(scene: Scene) -> None:
    """But for what the cap has kept; the same slot makes no further point and no further copy."""
    before = {name: set(shown) for name, shown in scene.shown.items()}
    tick = scene.sites["primary"].invoke(
        "ScheduleBackups", {"now": f"{scene.slot + timedelta(seconds=40):%Y-%m-%dT%H:%M:%SZ}"}
    )
    assert tick["jobs_sent"] == 0
    for site in ("west", "ireland", "here"):
        assert scene.sites[site].invoke("CopyRecoveryPoints", {"Records": []})["started"] == 0
    for site in ("primary", "west", "ireland"):
        assert _prune(scene, site)["deleted"] == 0
    scene.look()
    assert scene.shown == before
