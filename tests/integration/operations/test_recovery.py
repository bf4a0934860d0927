"""Restore and drill against the twin, the primary Region gone: the right bytes, the right instance, nothing left."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hikae.domain.model import SiteRole
from hikae.domain.teardown import GONE
from local.inprocess import IMAGE_PLAN, PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of
from local.state_machine import Stopped
from local.twin import faults
from local.twin.commands import Outcome
from local.twin.quotas import STANDARD_VCPUS

DRILL = """\
recovery: {instance_types: [m5a.large, m6g.large, m5.xlarge]}
drill:
  schedule: "0 4 * * 6"
  group_by: tag:Service
  order: tag:BootOrder
  probes: [status-checks]
"""
KEPT = ("InstanceType", "Architecture", "RootDeviceName", "EbsOptimized", "VirtualizationType", "EnaSupport")
FAST = {"Iops": 4000, "Throughput": 250}
SECRET = "export PASSWORD=hunter2-do-not-log"
GROUP = {"plan": "production", "group": "shop", "started_by": "test"}
DRILL_REQUEST = {"mode": "drill", **GROUP}
RESTORE_REQUEST = {"mode": "restore", **GROUP}


def put_group(installation: Installation, *, plan: str, count: int = 3, **arguments: Any) -> list[str]:
    """Instances of one group with content of their own, protected and copied."""
    value, text, name = {
        "snapshots": ("production", SNAPSHOT_PLAN, "production"),
        "image": ("image", IMAGE_PLAN, "web-images"),
    }[plan]
    instances = []
    for number in range(count):
        [instance] = installation.launch(
            tags={"Backup": value, "Service": "shop", "BootOrder": str(count - number), "Name": f"shop-{number}"},
            UserData=SECRET,
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
            BlockDeviceMappings=[
                {
                    "DeviceName": "/dev/sdf",
                    "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Iops": 4000, "Throughput": 250},
                },
                {
                    "DeviceName": "/dev/sdg",
                    "Ebs": {"VolumeSize": 30, "VolumeType": "io2", "Iops": 2000, "DeleteOnTermination": False},
                },
            ],
            **arguments,
        )
        for device in described(installation, instance, PRIMARY)["BlockDeviceMappings"]:
            installation.twin.write(device["Ebs"]["VolumeId"], f"{instance} {device['DeviceName']}".encode())
        instances.append(instance)
    installation.apply(name, text + DRILL)
    installation.back_up()
    installation.copy_all()
    return instances


@pytest.fixture
def group() -> Iterator[Installation]:
    with Installation() as installation:
        put_group(installation, plan="snapshots")
        installation.set_recovery_settings(
            f"""\
version: 1
default_subnets: [{installation.restore_vpc["a"]}, {installation.restore_vpc["b"]}]
default_security_groups: [{installation.restore_vpc["group"]}]
"""
        )
        yield installation


def described(installation: Installation, instance: str, region: str = RECOVERY) -> dict[str, Any]:
    ec2 = installation.twin.client("ec2", region)
    found: dict[str, Any] = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return found


def volumes_of(installation: Installation, instance: str) -> dict[str, dict[str, Any]]:
    ec2 = installation.twin.client("ec2", RECOVERY)
    mappings = described(installation, instance)["BlockDeviceMappings"]
    return {
        each["DeviceName"]: {
            **ec2.describe_volumes(VolumeIds=[each["Ebs"]["VolumeId"]])["Volumes"][0],
            "DeleteOnTermination": each["Ebs"]["DeleteOnTermination"],
        }
        for each in mappings
    }


def record_of(installation: Installation, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(installation.document(f"evidence/{name}.json")["record"])
    return record


def leftovers(installation: Installation) -> list[str]:
    """All that EC2 shows of anything that any drill has made, and of images that any restore has made for launching."""
    site = installation.recovery_site()
    drills = site.recoverer.made(tag="hikae:drill", value="*")
    restores = site.recoverer.made(tag="hikae:recovery", value="*")
    return [each.id for each in [*drills, *(r for r in restores if r.kind == "image")] if each.state not in GONE]


def points(installation: Installation) -> set[str]:
    return {snapshot["SnapshotId"] for snapshot in installation.snapshots(RECOVERY)} | {
        image["ImageId"] for image in installation.images(RECOVERY)
    }


@pytest.mark.parametrize("kind", ["snapshots", "image"])
def test_a_group_is_restored_with_the_bytes_of_its_points_while_the_primary_region_is_gone(kind: str) -> None:
    with Installation() as installation:
        put_group(installation, plan=kind)
        installation.set_recovery_settings(
            f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
            f"default_security_groups: [{installation.restore_vpc['group']}]\n"
        )
        before = points(installation)
        sources = {each["SnapshotId"]: each["VolumeId"] for each in installation.snapshots()}
        digests = {volume: installation.twin.digest_of(snapshot) for snapshot, volume in sources.items()}
        plan = {"snapshots": "production", "image": "web-images"}[kind]
        with faults.unreachable(PRIMARY):
            request = {"mode": "restore", "plan": plan, "group": "shop", "started_by": "test"}
            assert installation.recover("restore-1").play({"request": request}) == "SUCCEEDED"
            record = record_of(installation, "restore-1")
        assert record["outcome"] == "succeeded"
        assert len(record["members"]) == 3
        for member in record["members"]:
            manifest = manifest_of(installation, member)
            restored = volumes_of(installation, member["instance"])
            assert set(restored) == {"/dev/xvda", "/dev/sdf", "/dev/sdg"}
            for device in manifest["source"]["block_devices"]:
                volume = restored[device["device"]]
                expected = digests[device["volume"]["VolumeId"]]
                assert installation.twin.digest_of(volume["VolumeId"]) == expected, device["device"]
        assert points(installation) == before  # the images that were registered for launching are gone, nothing else
        assert leftovers(installation) == []


def manifest_of(installation: Installation, member: dict[str, Any]) -> dict[str, Any]:
    prefix = f"manifests/123456789012/{PRIMARY}/{member['resource']}/{member['point']}/1.json"
    return installation.document(prefix)


def test_what_is_restored_is_as_the_manifest_says_attribute_by_attribute(group: Installation) -> None:
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    for member in record_of(group, "restore-1")["members"]:
        source = manifest_of(group, member)["source"]
        was, now = source["instance"], described(group, member["instance"])
        for key in (
            "InstanceType",
            "Architecture",
            "RootDeviceName",
            "EbsOptimized",
            "VirtualizationType",
            "EnaSupport",
        ):
            assert now.get(key) == was.get(key), key
        assert now["Monitoring"]["State"] == was["Monitoring"]["State"]
        for key in ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "InstanceMetadataTags"):
            assert now["MetadataOptions"][key] == was["MetadataOptions"][key], key
        assert now["MetadataOptions"]["HttpTokens"] == "required"
        kept = {key: value for key, value in tags_of(now).items() if not key.startswith("hikae:")}
        assert kept == source["tags"]
        user_data = group.twin.client("ec2", RECOVERY).describe_instance_attribute(
            InstanceId=member["instance"], Attribute="userData"
        )["UserData"]["Value"]
        assert base64.b64decode(user_data).decode() == SECRET
        restored = volumes_of(group, member["instance"])
        assert len(restored) == len(source["block_devices"])
        for device in source["block_devices"]:
            volume, now_is = device["volume"], restored[device["device"]]
            for key in ("Size", "VolumeType"):
                assert now_is[key] == volume[key], (device["device"], key)
            if volume["VolumeType"] in ("gp3", "io2"):
                assert now_is["Iops"] == volume["Iops"]
            assert now_is.get("Throughput") == volume.get("Throughput")
            assert now_is["DeleteOnTermination"] == device["delete_on_termination"]
            assert (now_is["Encrypted"], now_is["KmsKeyId"]) == (True, group.key_arn)


def test_the_old_private_address_is_kept_where_the_subnet_has_it_free(group: Installation) -> None:
    address = "172.31.5.77"
    resources = _protected(group)
    group.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{group.restore_vpc['a']}]\n"
        f"default_security_groups: [{group.restore_vpc['group']}]\n"
        f"instances:\n  {resources[0]}: {{private_ip: {address}}}\n"
    )
    request = {"mode": "restore", "resources": [resources[0]], "started_by": "test"}
    assert group.recover("restore-1").play({"request": request}) == "SUCCEEDED"
    [member] = record_of(group, "restore-1")["members"]
    assert described(group, member["instance"])["PrivateIpAddress"] == address
    assert group.recover("restore-2").play({"request": request}) == "SUCCEEDED"
    [second] = record_of(group, "restore-2")["members"]
    assert described(group, second["instance"])["PrivateIpAddress"] != address
    assert f"it has another private address: {address} is taken" in second["notes"]
    dying = Dying(group, faults.Phase.AFTER)
    assert group.recover("restore-3", call=dying).play({"request": request}) == "SUCCEEDED"
    [third] = record_of(group, "restore-3")["members"]
    assert third["notes"] == second["notes"]  # of an instance that was launched, and taken over by the next attempt


def _protected(installation: Installation) -> list[str]:
    rows = installation.document(f"inventory/123456789012/{PRIMARY}/latest.json")["resources"]
    return [row["resource"] for row in rows if row["resource"].startswith("i-")]


def test_what_was_restored_can_be_protected_at_once_and_what_was_drilled_cannot(group: Installation) -> None:
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    for member in record_of(group, "restore-1")["members"]:
        tags = tags_of(described(group, member["instance"]))
        assert tags["Backup"] == "production"
        assert tags["hikae:recovery"] == "main/restore-1"
        assert tags["hikae:recovered-from"] == member["point"]
        assert "hikae:drill" not in tags


def test_a_drill_runs_isolated_without_the_users_tags_and_leaves_nothing(group: Installation) -> None:
    before = points(group)
    seen: list[dict[str, Any]] = []

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = group.run_step(event)
        if event["step"] == "probe":
            run = group.recovery_site().load("drill-1")
            seen.extend(described(group, member.instance) for member in run.members)
        return answer

    with faults.unreachable(PRIMARY):
        assert group.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    assert seen
    for instance in seen:
        assert instance["VpcId"] == group.drill_vpc["vpc"]
        assert group.drill_vpc["group"] in {each["GroupId"] for each in instance["SecurityGroups"]}
        assert "KeyName" not in instance
        assert {key for key in tags_of(instance) if not key.startswith("hikae:")} == {"Name"}
    assert leftovers(group) == []
    assert points(group) == before
    record = record_of(group, "drill-1")
    assert record["outcome"] == "succeeded"
    assert record["achieved_rto_seconds"] <= record["rto_objective_seconds"] == 3600
    assert record["rto_met"] is True
    assert all(member["rpo_met"] for member in record["members"])
    assert set(record["stages"]) >= {"select", "prepare", "preflight", "launch", "probe", "tear-down"}
    assert len(record["torn_down"]) == 7  # three instances, three images, their group; volumes go with the instances


def test_instances_start_in_the_order_of_their_tag(group: Installation) -> None:
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    members = record_of(group, "drill-1")["members"]
    assert [member["batch"] for member in members] == [0, 1, 2]
    launched = [member["launched_at"] for member in members]
    running = [member["running_at"] for member in members]
    assert launched[1] >= running[0]
    assert launched[2] >= running[1]


def test_user_data_is_nowhere_but_in_the_manifest(group: Installation, caplog: pytest.LogCaptureFixture) -> None:
    events = []

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = group.run_step(event)
        events.append(json.dumps([event, answer]))
        return answer

    assert group.recover("restore-1", call=call).play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    encoded = base64.b64encode(SECRET.encode()).decode()
    kept = [json.dumps(group.document(key)) for key in ("recovery/restore-1/run.json", "evidence/restore-1.json")]
    for text in (*events, *kept, caplog.text):
        assert SECRET not in text
        assert encoded not in text


def test_evidence_can_be_verified_with_nothing_but_itself(group: Installation) -> None:
    group.recover("drill-1").play({"request": DRILL_REQUEST})
    evidence = group.document("evidence/drill-1.json")
    key = load_der_public_key(base64.b64decode(evidence["public_key"]))
    assert isinstance(key, EllipticCurvePublicKey)
    signature = base64.b64decode(evidence["signature"])
    key.verify(signature, evidence["record"].encode(), ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, evidence["record"].replace("succeeded", "failed").encode(), ECDSA(hashes.SHA256()))


def test_every_step_may_come_twice(group: Installation) -> None:
    def call(event: dict[str, Any]) -> dict[str, Any]:
        group.run_step(event)
        return group.run_step(event)

    assert group.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    assert group.twin.count("RunInstances", region=RECOVERY, error=None) >= 3
    assert len(record_of(group, "drill-1")["torn_down"]) == 7
    assert leftovers(group) == []


def test_a_detached_volume_of_the_group_is_made_again() -> None:
    with Installation() as installation:
        volume = installation.detached_volume(tags={"Backup": "production", "Service": "shop"}, Size=33)
        installation.twin.write(volume, b"ledger")
        digest = installation.twin.digest_of(volume)
        installation.apply("production", SNAPSHOT_PLAN + DRILL)
        installation.back_up()
        installation.copy_all()
        installation.set_recovery_settings(f"version: 1\ndefault_subnets: [{installation.restore_vpc['b']}]\n")
        assert installation.recover("restore-1").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
        [member] = record_of(installation, "restore-1")["members"]
        ec2 = installation.twin.client("ec2", RECOVERY)
        [made] = ec2.describe_volumes(VolumeIds=[member["volume"]])["Volumes"]
        assert installation.twin.digest_of(made["VolumeId"]) == digest
        assert (made["Size"], made["AvailabilityZone"]) == (33, f"{RECOVERY}b")
        assert tags_of(made)["Service"] == "shop"


def test_what_went_although_its_answer_was_lost_is_recorded_as_torn_down() -> None:
    with Installation() as installation:
        volume = installation.detached_volume(tags={"Backup": "production", "Service": "shop"})
        installation.apply("production", SNAPSHOT_PLAN + DRILL)
        installation.back_up()
        installation.copy_all()
        # It is sent again, and what is on its way out cannot be deleted.
        with faults.answer_lost("DeleteVolume"):
            assert installation.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"
        record = record_of(installation, "drill-1")
        [member] = record["members"]
        assert member["resource"] == volume
        assert (record["torn_down"], record["left_behind"]) == ([member["volume"]], [])


def test_a_restore_gets_the_address_and_the_target_group_that_stand_for_its_own(group: Installation) -> None:
    ec2, elb = group.twin.client("ec2", RECOVERY), group.twin.client("elbv2", RECOVERY)
    [first, second, _] = _protected(group)
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    targets = elb.create_target_group(Name="shop", Protocol="TCP", Port=443, VpcId=group.restore_vpc["vpc"])
    arn = targets["TargetGroups"][0]["TargetGroupArn"]
    group.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{group.restore_vpc['a']}]\n"
        f"default_security_groups: [{group.restore_vpc['group']}]\n"
        f"instances:\n  {first}: {{elastic_ip: {allocation}, target_groups: ['{arn}']}}\n"
        f"  {second}: {{elastic_ip: {allocation}}}\n"
    )

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = group.run_step(event)
        if event["step"] == "network":  # as after a kill that lost the step's document
            site = group.recovery_site()
            run = site.load("restore-1")
            site.save(run.with_member(replace(run.member(first), networked=False)))
            answer = group.run_step(event)
        return answer

    assert group.recover("restore-1", call=call).play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    members = {member["resource"]: member for member in record_of(group, "restore-1")["members"]}
    [address] = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"]
    owner = {member["instance"]: resource for resource, member in members.items()}[address["InstanceId"]]
    assert owner in (first, second)
    [loser] = {first, second} - {owner}
    notes = {resource: [note for note in member["notes"] if "address" in note] for resource, member in members.items()}
    assert any(note.startswith(f"it did not get Elastic IP address {allocation}") for note in notes[loser])
    assert not any("did not get" in note for note in notes[owner])
    registered = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    assert [each["Target"]["Id"] for each in registered] == [members[first]["instance"]]


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_point_whose_manifest_is_corrupt_is_not_used_and_an_older_one_is(group: Installation) -> None:
    group.advance(minutes=60)
    group.back_up()
    group.copy_all()
    [victim, *_] = _protected(group)
    newest = max(
        (point for point in group.recovery_site().catalogue().points if point.tags.identity.resource == victim),
        key=lambda point: point.source_time,
    )
    key = f"manifests/123456789012/{PRIMARY}/{victim}/{newest.tags.point}/1.json"
    group.twin.client("s3", RECOVERY).put_object(Bucket=group.recovery.bucket, Key=key, Body=b'{"version": 1}')
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    record = record_of(group, "drill-1")
    [member] = [each for each in record["members"] if each["resource"] == victim]
    assert member["point"] != newest.tags.point
    assert list(record["rejected_points"]) == [newest.id]
    assert record["rejected_points"][newest.id].startswith("its manifest cannot be read: ")


def test_without_capacity_for_the_type_in_any_zone_the_next_type_that_can_boot_it_is_taken(group: Installation) -> None:
    with faults.no_capacity(instance_type="m5.large"):
        assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    for member in record_of(group, "drill-1")["members"]:
        assert (member["rung"]["type"], member["rung"]["number"]) == ("m5a.large", 3)
        refused = member["refused_rungs"]
        assert refused[0] == "m6g.large: it is not x86_64"
        assert refused[1:] == [f"m5.large in {RECOVERY}{zone}: InsufficientInstanceCapacity" for zone in "ab"]


def test_without_capacity_in_one_zone_the_other_is_taken(group: Installation) -> None:
    with faults.no_capacity(zone_subnets=[group.drill_vpc["a"]], code="Unsupported"):
        assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    zones = {member["rung"]["zone"] for member in record_of(group, "drill-1")["members"]}
    assert zones == {f"{RECOVERY}b"}


def test_no_capacity_anywhere_is_a_named_outcome_with_a_complete_teardown(group: Installation) -> None:
    with faults.no_capacity():
        assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "FAILED"
    record = record_of(group, "drill-1")
    assert record["outcome"] == "failed"
    assert "no capacity for any type in any zone" in record["failure"]
    assert leftovers(group) == []


def test_a_quota_without_room_is_found_before_anything_is_launched(group: Installation) -> None:
    group.twin.world.quotas.set(STANDARD_VCPUS, 5)  # three instances of two vCPUs each
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "FAILED"
    failure = record_of(group, "drill-1")["failure"]
    assert f"the quota '{STANDARD_VCPUS}' is 5 vCPUs, 0 are in use and the run needs 6" in failure
    assert group.twin.count("RunInstances", region=RECOVERY) == 0
    assert leftovers(group) == []


def test_quotas_that_nobody_tells_are_noted_and_left_to_the_launch(group: Installation) -> None:
    group.twin.world.quotas.is_answering = False
    group.twin.world.quotas.set(STANDARD_VCPUS, 5)
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "FAILED"
    record = record_of(group, "drill-1")
    assert "VcpuLimitExceeded" in record["failure"]
    assert any("nobody knows the quotas" in note for member in record["members"] for note in member["notes"])
    assert leftovers(group) == []


def test_a_disabled_key_is_found_before_anything_is_launched(group: Installation) -> None:
    group.twin.client("kms", RECOVERY).disable_key(KeyId=group.key_arn.rpartition("/")[2])
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "FAILED"
    assert record_of(group, "drill-1")["failure"].startswith("preflight: the site's key")
    assert group.twin.count("RunInstances", region=RECOVERY) == 0
    assert leftovers(group) == []


def test_a_key_that_is_disabled_after_the_preflight_lets_the_launch_fail_by_name(group: Installation) -> None:
    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "launch":
            group.twin.client("kms", RECOVERY).disable_key(KeyId=group.key_arn.rpartition("/")[2])
        return group.run_step(event)

    assert group.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "FAILED"
    record = record_of(group, "drill-1")
    assert record["outcome"] == "failed"
    assert record["rejected_points"]
    assert leftovers(group) == []


def test_a_probe_that_never_answers_fails_the_drill_and_not_its_teardown(group: Installation) -> None:
    group.apply(
        "production", SNAPSHOT_PLAN + DRILL.replace("[status-checks]", "[status-checks, {console: no such line}]")
    )
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "FAILED"
    record = record_of(group, "drill-1")
    for member in record["members"]:
        states = {probe["kind"]: (probe["state"], probe["detail"]) for probe in member["probes"]}
        assert states["status-checks"][0] == "passed"
        assert states["console"] == ("failed", "no answer within 15 minutes; last: no match yet")
    assert record["achieved_rto_seconds"] is None
    assert leftovers(group) == []


def probed(group: Installation, probes: str) -> dict[str, Any]:
    """The record of a drill of one instance with these probes."""
    group.apply("production", SNAPSHOT_PLAN + DRILL.replace("[status-checks]", probes))
    request = {"mode": "drill", "plan": "production", "resources": [_protected(group)[0]], "started_by": "test"}

    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "probe":
            run = group.recovery_site().load("drill-1")
            group.twin.print_to_console(run.members[0].instance, "booted\nlogin: ready", region=RECOVERY)
        return group.run_step(event)

    group.recover("drill-1", call=call).play({"request": request})
    assert leftovers(group) == []
    return record_of(group, "drill-1")


def test_a_command_that_succeeds_and_a_console_that_matches_prove_an_instance(group: Installation) -> None:
    record = probed(group, "[status-checks, {ssm: systemctl is-active app}, {console: '^login: ready$'}]")
    assert record["outcome"] == "succeeded"
    assert [probe["state"] for probe in record["members"][0]["probes"]] == ["passed"] * 3
    assert len(group.twin.shells(RECOVERY).sent) == 1
    assert group.twin.count("CreateVpcEndpoint", region=RECOVERY) == 2
    assert len([each for each in record["torn_down"] if each.startswith("vpce-")]) == 2


def test_what_ec2_still_shows_of_a_drill_that_is_over_is_nothing_to_sweep(group: Installation) -> None:
    probed(group, "[{ssm: uptime}]")
    group.end_execution("drill-1")
    endpoints = group.twin.client("ec2", RECOVERY).describe_vpc_endpoints()["VpcEndpoints"]
    assert {each["State"] for each in endpoints} == {"deleted"}
    assert group.sweep().outcomes == ()


def test_a_command_that_fails_fails_the_drill_with_what_it_said(group: Installation) -> None:
    command = "systemctl is-active app"
    group.twin.shells(RECOVERY).script[command] = Outcome(status="Failed", output="inactive")
    record = probed(group, f"[{{ssm: {command}}}]")
    assert record["outcome"] == "failed"
    [probe] = record["members"][0]["probes"]
    assert (probe["state"], probe["detail"]) == ("failed", "Failed: inactive")


def test_a_commands_output_has_to_be_as_expected(group: Installation) -> None:
    group.twin.shells(RECOVERY).script["uptime"] = Outcome(output="up 3 days\nload 0.1")
    record = probed(group, "[{ssm: uptime, output: '^up'}, {ssm: uptime, output: down}]")
    probes = record["members"][0]["probes"]
    assert [(probe["state"], probe["detail"]) for probe in probes] == [
        ("passed", "Success: load 0.1"),
        ("failed", "Success: load 0.1; not as expected"),
    ]


def test_an_endpoint_that_is_refused_is_noted_and_the_probe_has_the_last_word(group: Installation) -> None:
    with faults.refused("CreateVpcEndpoint", "UnauthorizedOperation", status=403):
        record = probed(group, "[{ssm: uptime}]")
    [member] = record["members"]
    assert record["outcome"] == "succeeded"  # the twin's agents need no endpoint
    assert [note.split(":")[0] for note in member["notes"]] == [
        f"no endpoint for com.amazonaws.{RECOVERY}.{service}" for service in ("ssm", "ssmmessages")
    ]


def test_an_agent_that_never_reports_is_named_when_the_time_is_over(group: Installation) -> None:
    group.twin.shells(RECOVERY).is_all_silent = True
    [probe] = probed(group, "[{ssm: uptime}]")["members"][0]["probes"]
    assert probe["detail"] == "no answer within 15 minutes; last: not sent: InvalidInstanceId"


def test_two_drills_at_once_leave_each_other_alone(group: Installation) -> None:
    first, second = group.recover("drill-1"), group.recover("drill-2")

    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "probe":
            assert second.play({"request": DRILL_REQUEST}) == "SUCCEEDED"
            first.call = group.run_step
        return group.run_step(event)

    first.call = call
    assert first.play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    made = [record_of(group, name) for name in ("drill-1", "drill-2")]
    instances = [{member["instance"] for member in record["members"]} for record in made]
    assert not instances[0] & instances[1]
    assert leftovers(group) == []


def test_nothing_that_a_drill_did_not_make_is_torn_down(group: Installation) -> None:
    ec2 = group.twin.client("ec2", RECOVERY)
    [base, *_] = [each for each in ec2.describe_images(Owners=["amazon"])["Images"] if each["RootDeviceType"] == "ebs"]
    bystander = ec2.run_instances(
        ImageId=base["ImageId"],
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "hikae:drill", "Value": "main/drill-1"}]},
        ],
    )["Instances"][0]["InstanceId"]
    group.recover("drill-1").play({"request": DRILL_REQUEST})
    assert described(group, bystander)["State"]["Name"] == "running"
    record = record_of(group, "drill-1")
    assert record["left_behind"] == [f"{bystander}: its tags do not say that main/drill-1 made it"]
    assert record["outcome"] == "failed"


def test_a_resource_without_a_point_fails_by_name_unless_a_part_will_do(group: Installation) -> None:
    [known, *_] = _protected(group)
    request = {"mode": "drill", "resources": [known, "i-00000000000000000"], "plan": "production"}
    assert group.recover("drill-1").play({"request": request}) == "FAILED"
    assert "i-00000000000000000: there is no recovery point of it here" in record_of(group, "drill-1")["failure"]
    assert group.recover("drill-2").play({"request": {**request, "partial": True}}) == "SUCCEEDED"


def test_what_the_primary_says_is_gone_is_left_out_by_name_and_the_others_are_recovered(group: Installation) -> None:
    first, *others = _protected(group)
    group.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=[first])
    group.advance(minutes=5)
    group.tick()
    group.copy()
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    record = record_of(group, "drill-1")
    reason = f"it is not there any more, by inventory/123456789012/{PRIMARY}/latest.json"
    assert record["left_out"] == {first: f"{reason}; it is recovered if it is asked for by its id"}
    assert {member["resource"] for member in record["members"]} == set(others)
    group.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=others)
    group.advance(minutes=5)
    group.tick()
    group.copy()
    assert group.recover("drill-2").play({"request": DRILL_REQUEST}) == "FAILED"
    failure = record_of(group, "drill-2")["failure"]
    assert failure.startswith("select: there is nothing to recover: ")
    assert all(f"{each}: {reason}" in failure for each in (first, *others))
    by_id = {"mode": "drill", "plan": "production", "resources": [first], "started_by": "test"}
    assert group.recover("drill-3").play({"request": by_id}) == "SUCCEEDED"


def test_a_restore_brings_back_what_went_within_the_day_before_and_no_drill_does(group: Installation) -> None:
    """Somebody has terminated the group: that is what a restore is for."""
    instances = _protected(group)
    accident = group.twin.clock.now()
    group.twin.client("ec2", PRIMARY).terminate_instances(InstanceIds=instances)
    group.advance(minutes=5)
    group.tick()
    group.copy()
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "FAILED"
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    group.advance(days=2)
    group.tick()
    group.copy()
    assert group.recover("restore-2").play({"request": RESTORE_REQUEST}) == "FAILED"
    assert set(record_of(group, "restore-2")["left_out"]) == set(instances)
    before = {**RESTORE_REQUEST, "before": accident.strftime("%Y-%m-%dT%H:%M:%SZ")}
    assert group.recover("restore-3").play({"request": before}) == "SUCCEEDED"
    for name in ("restore-1", "restore-3"):
        members = record_of(group, name)["members"]
        assert {member["resource"] for member in members} == set(instances)
        why = f"it is not there any more, by inventory/123456789012/{PRIMARY}/latest.json"
        assert all(why in member["notes"] for member in members)


def test_what_is_younger_than_the_inventory_is_not_taken_for_gone(group: Installation) -> None:
    """The tick that is made up for protects it, and publishes no inventory, since there is a newer one."""
    made_up_for = group.twin.clock.now()
    group.advance(minutes=5)
    group.tick()
    tags = {"Backup": "production", "Service": "shop", "BootOrder": "9", "Name": "shop-new"}
    [young] = group.launch(tags=tags)
    group.tick(made_up_for)
    for job in group.jobs():
        group.carry_out(job)
    group.advance(minutes=20)
    group.copy_all()
    assert young not in group.document(f"inventory/123456789012/{PRIMARY}/latest.json")["present"]
    assert group.recover("restore-1").play({"request": RESTORE_REQUEST}) == "SUCCEEDED"
    record = record_of(group, "restore-1")
    assert record["left_out"] == {}
    assert {member["resource"] for member in record["members"]} == {*_protected(group), young}


@pytest.mark.parametrize("step", ["select", "prepare", "preflight", "launch", "probe", "tear-down", "record"])
def test_a_drill_that_is_stopped_at_any_step_is_swept_and_recorded(group: Installation, step: str) -> None:
    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = group.run_step(event)
        if event["step"] == step and answer["status"] != "again":
            raise Stopped
        return answer

    def stop_before_record(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "record":
            raise Stopped
        return group.run_step(event)

    with pytest.raises(Stopped):
        group.recover("drill-1", call=stop_before_record if step == "record" else call).play({"request": DRILL_REQUEST})
    assert group.sweep().outcomes == ()  # its execution is still there: nobody takes its work away
    group.end_execution("drill-1")
    for _ in range(10):
        if not group.sweep().outcomes:
            break
        group.advance(minutes=1)
    assert leftovers(group) == []
    record = record_of(group, "drill-1")
    assert record["run"] == "drill-1"
    assert record["failure"].endswith(": it was stopped")
    assert group.sweep().outcomes == ()


def test_a_run_that_has_just_begun_is_not_swept_though_its_execution_does_not_show_yet(group: Installation) -> None:
    """DescribeExecution is eventually consistent, and a sweep comes every five minutes."""
    group.step("select", "drill-1", DRILL_REQUEST)
    group.advance(minutes=9)
    assert group.sweep().outcomes == ()
    assert group.recovery_site().load("drill-1").failure == ""
    group.advance(minutes=1)
    [outcome] = group.sweep().outcomes
    assert (outcome.resource, outcome.status) == ("drill-1", "deleted")
    assert record_of(group, "drill-1")["failure"] == "after select: its execution ended before it was recorded"


class Dying:
    """The function, dying at each of its requests in turn, and called again until it gets through."""

    def __init__(self, installation: Installation, phase: faults.Phase) -> None:
        self.deaths = 0
        self._installation = installation
        self._phase = phase

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        for number in range(1, 1000):
            with faults.killed(number, self._phase):
                try:
                    return self._installation.run_step(event)
                except faults.Killed:
                    self.deaths += 1
        raise AssertionError("it never gets through")


def test_a_step_that_is_killed_at_any_request_goes_on_where_it_was() -> None:
    """Before and after every request to any service, in every step that makes something."""
    for phase in faults.Phase:
        with Installation() as installation:
            put_group(installation, plan="snapshots", count=1)
            before = points(installation)

            dying = Dying(installation, phase)
            assert installation.recover("drill-1", call=dying).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
            record = record_of(installation, "drill-1")
            site = installation.recovery_site()
            made = site.recoverer.made(tag="hikae:drill", value="*")
            assert len([each for each in made if each.kind == "instance"]) == 1
            assert len(record["torn_down"]) == 2
            assert leftovers(installation) == []
            assert points(installation) == before
            assert dying.deaths > 50


def test_plans_are_applied_at_the_recovery_site_alone(group: Installation) -> None:
    group.remove("production", sites=[SiteRole.PRIMARY])
    assert group.recover("drill-1").play({"request": DRILL_REQUEST}) == "SUCCEEDED"


@pytest.mark.parametrize("answer", [faults.answer_failed, faults.answer_lost], ids=["a 500", "no answer"])
def test_a_command_whose_answer_is_lost_is_looked_for_and_not_sent_again(group: Installation, answer: Any) -> None:
    group.apply("production", SNAPSHOT_PLAN + DRILL.replace("[status-checks]", "[{ssm: systemctl is-active app}]"))
    waited: list[bool] = []

    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "probe" and not waited:
            group.advance(minutes=5)  # the agents are there, so the first command is really sent
            waited.append(True)
        return group.run_step(event)

    with answer("SendCommand"):
        assert group.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    comments = [command.comment for command in group.twin.shells(RECOVERY).sent]
    assert len(comments) == len(set(comments)) == 3
