"""`hikae restore`: says what it will do, asks, starts one run, shows it step by step, and needs no primary."""

import _thread
import json

import pytest

from local.inprocess import PRIMARY, RECOVERY, SNAPSHOT_PLAN, Installation, tags_of
from local.twin.faults import no_capacity, recorded, unreachable
from tests.functional.cli.json_services import AwsError, JsonServices
from tests.functional.cli.recovery_scene import PLAN, at_the_twins_time, protect_group, without_ids

FAST = ("--interval", "0")


@pytest.fixture
def installation(recovery_services: JsonServices) -> Installation:
    protect_group(recovery_services.installation)
    return recovery_services.installation


@pytest.fixture
def restore(hikae, installation: Installation):
    def run(*options: str, stdin: str | None = None):
        with at_the_twins_time(installation):
            return hikae("restore", *FAST, *options, stdin=stdin)

    return run


def restored(installation: Installation, run: str) -> list[dict]:
    pages = installation.twin.client("ec2", RECOVERY).describe_instances(
        Filters=[{"Name": "tag:hikae:recovery", "Values": [f"main/{run}"]}]
    )
    return [each for reservation in pages["Reservations"] for each in reservation["Instances"]]


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_a_group_is_restored_step_by_step_while_the_primary_region_is_gone(
    restore, installation, form, matches_snapshot
):
    options = ["--json"] if form == "jsonl" else []
    with unreachable(PRIMARY), recorded() as asked:
        result = restore("--plan", "production", "--group", "shop", "--yes", *options)
    assert result.exit_code == 0, result.output
    assert {each.region for each in asked} == {RECOVERY}
    matches_snapshot(without_ids(result.stdout), f"restore-group.{form}")
    [run] = [key.split("/")[1] for key in installation.recovery_site().documents.keys("recovery/") if "run.json" in key]
    assert len(restored(installation, run)) == 2
    record = json.loads(installation.document(f"evidence/{run}.json")["record"])
    assert record["request"]["started_by"].startswith("arn:aws:sts::")


def test_a_dry_run_says_all_of_it_and_starts_and_makes_nothing(restore, recovery_services, matches_snapshot):
    with recorded() as asked:
        result = restore("--plan", "production", "--dry-run")
    assert result.exit_code == 0
    matches_snapshot(without_ids(result.stdout), "restore-dry-run.txt")
    assert recovery_services.plays == {}
    assert len(asked) > 10
    reading = ("Describe", "Get", "List", "Head", "GET ", "HEAD ")
    assert [str(each) for each in asked if not each.action.startswith(reading)] == []


def test_what_went_within_the_day_is_restored_and_what_went_before_is_left_out_and_both_are_said(restore, installation):
    ec2 = installation.twin.client("ec2", PRIMARY)
    described = [each["Instances"][0] for each in ec2.describe_instances()["Reservations"]]
    ids = [each["InstanceId"] for each in described if each["State"]["Name"] == "running"]
    ec2.terminate_instances(InstanceIds=ids)
    installation.advance(minutes=5)
    installation.tick()
    installation.copy()
    why = f"it is not there any more, by inventory/123456789012/{PRIMARY}/latest.json"
    foreseen = restore("--plan", "production", "--dry-run")
    assert foreseen.exit_code == 0, foreseen.output
    assert foreseen.stdout.count(f"\n    {why}\n") == len(ids)
    members = json.loads(restore("--plan", "production", "--dry-run", "--json").stdout)["members"]
    assert {each["resource"]: each["notes"] for each in members} == {each: [why] for each in ids}
    installation.advance(days=2)
    installation.tick()
    installation.copy()
    late = restore("--plan", "production", "--dry-run")
    assert late.exit_code == 1
    for each in ids:
        assert f"{each}  left out: {why}; it is recovered if it is asked for by its id" in late.output
    assert restore(*ids, "--plan", "production", "--dry-run").exit_code == 0


def test_what_lacks_is_said_with_what_to_do_and_nothing_is_started(restore, installation, recovery_services):
    installation.set_recovery_settings("version: 1\n")
    result = restore("--plan", "production", "--yes")
    assert result.exit_code == 1
    assert "name it under subnets or default_subnets" in result.stdout
    assert "nothing was started: put right what is lacking, and start again" in result.stderr
    assert recovery_services.plays == {}


def test_what_lacks_for_one_need_not_stop_the_others(restore, installation, recovery_services):
    [first, second] = sorted(each["InstanceId"] for each in _protected(installation))
    vpc = installation.restore_vpc
    installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{vpc['a']}]\ndefault_security_groups: [{vpc['group']}]\n"
        f"instances: {{{first}: {{subnet: subnet-00000000000000000}}}}\n"
    )
    result = restore("--group", "shop", "--yes")
    assert result.exit_code == 1
    assert f"put right what is lacking, and start again, or add --partial to go on without {first}" in result.stderr
    assert recovery_services.plays == {}
    foreseen = restore("--group", "shop", "--partial", "--dry-run")
    assert foreseen.exit_code == 0
    assert f"  {first}  not recovered: subnet subnet-00000000000000000 is not there\n" in foreseen.stdout
    result = restore("--group", "shop", "--partial", "--yes", "--name", "restore-1")
    assert result.exit_code == 0, result.output
    assert f"  not recovered: {first}: subnet subnet-00000000000000000 is not there" in result.stdout
    [made] = restored(installation, "restore-1")
    assert tags_of(made)["hikae:recovered-resource"] == second


def test_a_dry_run_names_the_subnet_that_is_full_beside_the_way_that_is_left(restore, installation):
    ec2, vpc = installation.twin.client("ec2", RECOVERY), installation.restore_vpc
    full = ec2.create_subnet(VpcId=vpc["vpc"], CidrBlock="172.31.48.0/28", AvailabilityZone=f"{RECOVERY}a")["Subnet"]
    for _ in range(full["AvailableIpAddressCount"]):
        ec2.create_network_interface(SubnetId=full["SubnetId"])
    installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{full['SubnetId']}, {vpc['b']}]\ndefault_security_groups: [{vpc['group']}]\n"
    )
    result = restore("--group", "shop", "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"    m5.large in {vpc['b']} ({RECOVERY}b)\n" in result.stdout
    assert f"    not taken: subnet {full['SubnetId']} has no free address\n" in result.stdout
    for member in json.loads(restore("--group", "shop", "--dry-run", "--json").stdout)["members"]:
        assert member["refused_rungs"] == [f"subnet {full['SubnetId']} has no free address"]


def test_nobody_is_told_to_go_on_without_everything(restore, installation):
    installation.set_recovery_settings("version: 1\n")
    assert "--partial" not in restore("--group", "shop", "--yes").stderr


def test_a_group_is_found_without_its_plan_and_where_there_is_none_or_more_they_are_named(restore, installation):
    found = restore("--group", "shop", "--dry-run", "--json")
    assert len(json.loads(found.stdout)["members"]) == 2
    unknown = restore("--group", "shoop", "--dry-run")
    assert unknown.exit_code == 1
    assert "no plan has a group shoop; there are shop of production" in unknown.stderr
    installation.launch(tags={"Backup": "other", "Service": "shop"})
    installation.apply(
        "other", PLAN.replace("plan: production", "plan: other").replace("Backup: production", "Backup: other")
    )
    installation.back_up()
    installation.copy_all()
    several = restore("--group", "shop", "--dry-run")
    assert several.exit_code == 1
    assert "several plans have a group shop: give --plan with one of other, production" in several.stderr
    assert len(json.loads(restore("--plan", "other", "--group", "shop", "--dry-run", "--json").stdout)["members"]) == 1


def test_where_nothing_makes_groups_that_is_said(restore, installation):
    installation.apply("production", SNAPSHOT_PLAN)
    unknown = restore("--group", "shop", "--dry-run")
    assert unknown.exit_code == 1
    assert (
        "no plan has a group shop; there is no group at all (production: no drill with group_by, which makes groups); "
        "give RESOURCE or --plan" in unknown.stderr
    )
    named = restore("--plan", "production", "--group", "shop", "--dry-run")
    assert "plan production has no drill with group_by, so there is no group shop" in named.stdout
    installation.apply("production", SNAPSHOT_PLAN + 'drill: {schedule: "0 4 * * 6"}\n')
    named = restore("--plan", "production", "--group", "shop", "--dry-run")
    assert "the drill of plan production has no group_by, so there is no group shop" in named.stdout


def test_plans_that_cannot_be_read_are_named_where_a_group_is_not_found(restore, installation):
    installation.apply("broken", "version: 1\nplan: broken\n")
    result = restore("--group", "till", "--dry-run")
    assert result.exit_code == 1
    assert "no plan has a group till" in result.stderr
    assert "plans/broken.yaml" in result.stderr


def test_settings_that_cannot_be_read_say_where(restore, installation):
    installation.set_recovery_settings("version: 1\nsubnetz: {}\n")
    result = restore("--plan", "production", "--yes")
    assert result.exit_code == 1
    assert "subnetz: is not a key of the recovery settings" in result.stdout


def test_one_resource_is_restored_as_of_a_time_or_from_a_point(restore, installation):
    [listed, *_] = [
        row["resource"] for row in installation.document(f"inventory/123456789012/{PRIMARY}/latest.json")["resources"]
    ]
    older = restore(listed, "--at", "2026-11-22T10:59:00Z", "--dry-run", "--json")
    newest = restore(listed, "--dry-run", "--json")
    [first], [second] = (json.loads(each.stdout.splitlines()[0])["members"] for each in (older, newest))
    assert first["source_time"] < "2026-11-22T10:59:00Z" < second["source_time"]
    result = restore(listed, "--point", first["point"], "--yes", "--name", "restore-one")
    assert result.exit_code == 0, result.output
    [made] = restored(installation, "restore-one")
    assert tags_of(made)["hikae:recovered-from"] == first["point"]


def test_a_name_starts_once(restore, hikae, installation):
    arguments = ("--plan", "production", "--yes", "--name", "restore-once", "--no-wait")
    first = restore(*arguments)
    assert first.exit_code == 0
    assert "follow it with: hikae drill show restore-once --wait" in first.stdout
    assert hikae("drill", "show", "restore-once", "--wait", *FAST).exit_code == 0
    again = restore(*arguments)
    assert again.exit_code == 1
    assert "there has been a run restore-once in the last 90 days, and a name starts once" in again.stderr
    assert len(restored(installation, "restore-once")) == 2


def test_interrupting_it_leaves_the_run_going_and_says_how_to_follow_it(restore, hikae, recovery_services):
    looks = []

    def interrupt(play):
        looks.append(play.name)
        if len(looks) == 3:
            _thread.interrupt_main()

    recovery_services.on_describe = interrupt
    result = restore("--plan", "production", "--yes", "--name", "restore-1")
    assert result.exit_code == 130
    assert "restore-1 goes on; follow it with: hikae drill show restore-1 --wait" in result.stderr
    assert recovery_services.plays["restore-1"].status == "RUNNING"
    result = hikae("drill", "show", "restore-1", "--wait", *FAST)
    assert result.exit_code == 0, result.output
    assert "restore-1: restore succeeded" in result.stdout


def test_a_run_that_fails_says_why_and_fails(restore):
    with no_capacity():
        result = restore("--plan", "production", "--yes", "--name", "restore-1")
    assert result.exit_code == 1
    assert "restore-1: restore failed" in result.stdout
    assert "no capacity for any type in any zone" in result.stdout


@pytest.mark.parametrize(("answer", "started"), [("n", 0), ("y", 1)])
def test_somebody_at_a_terminal_is_asked(restore, recovery_services, monkeypatch, answer, started):
    monkeypatch.setattr("hikae_cli.run_starting.is_interactive", lambda: True)
    result = restore("--plan", "production", stdin=f"{answer}\n")
    assert "Restore 2 resources at recovery 123456789012/us-west-2? [y/N]" in result.stderr
    assert len(recovery_services.plays) == started
    assert result.exit_code == 1 - started


def test_what_was_restored_already_is_said_and_asked_about_and_no_error(
    restore, installation, recovery_services, monkeypatch
):
    assert restore("--plan", "production", "--yes", "--name", "restore-1").exit_code == 0
    made = {
        tags_of(each)["hikae:recovered-resource"]: each["InstanceId"] for each in restored(installation, "restore-1")
    }
    twice = [f"{of} was restored already as {there} by restore-1: two of it would run" for of, there in made.items()]
    foreseen = restore("--plan", "production", "--dry-run")
    assert foreseen.exit_code == 0
    for there in made.values():
        assert f"    was restored already as {there} (running) by restore-1\n" in foreseen.stdout
    members = json.loads(restore("--plan", "production", "--dry-run", "--json").stdout)["members"]
    assert {each["resource"]: each["restored_as"] for each in members} == {
        of: [{"id": there, "state": "running", "run": "restore-1"}] for of, there in made.items()
    }
    monkeypatch.setattr("hikae_cli.run_starting.is_interactive", lambda: True)
    asked = restore("--plan", "production", stdin="n\n")
    question = "Restore 2 resources at recovery 123456789012/us-west-2? [y/N]"
    assert asked.stderr.splitlines()[:2] == sorted(twice)
    assert asked.stderr.splitlines()[2].startswith(question)
    again = restore("--plan", "production", "--yes", "--name", "restore-2")
    assert again.exit_code == 0, again.output
    assert len(restored(installation, "restore-2")) == 2
    thrice = restore("--plan", "production", stdin="n\n").stderr
    assert all(f"{of} was restored already as " in thrice for of in made)
    assert thrice.count(": 3 of it would run") == 2


def test_what_was_restored_and_is_gone_and_what_a_drill_has_made_are_not_there_twice(restore, hikae, installation):
    assert restore("--plan", "production", "--yes", "--name", "restore-1").exit_code == 0
    ec2 = installation.twin.client("ec2", RECOVERY)
    ids = [each["InstanceId"] for each in restored(installation, "restore-1")]
    for each in ids:
        ec2.modify_instance_attribute(InstanceId=each, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=ids)
    with at_the_twins_time(installation):
        assert hikae("drill", "start", "production", "--no-wait", "--name", "drill-1").exit_code == 0
    for _ in range(9):
        hikae("drill", "show", "drill-1")
    assert [
        each
        for each in installation.recovery_site().recoverer.made(tag="hikae:drill", value="main/drill-1")
        if each.kind == "instance"
    ]
    assert "restored already" not in restore("--plan", "production", "--dry-run").output


def test_nobody_to_ask_means_that_nothing_is_started(restore, recovery_services):
    result = restore("--plan", "production")
    assert result.exit_code == 2
    assert "nobody to ask, so nothing was started" in result.stderr
    assert recovery_services.plays == {}


def test_a_volume_that_was_attached_to_nothing_is_made_again(restore, installation):
    volume = installation.detached_volume()
    installation.back_up()
    installation.copy_all()
    foreseen = restore(volume, "--dry-run")
    assert "    a volume of 10 GiB, gp3, attached to nothing\n" in foreseen.stdout
    assert json.loads(restore(volume, "--dry-run", "--json").stdout)["members"][0]["rungs"] == []
    result = restore(volume, "--yes", "--name", "restore-1")
    assert result.exit_code == 0, result.output
    [made] = installation.twin.client("ec2", RECOVERY).describe_volumes(
        Filters=[{"Name": "tag:hikae:recovery", "Values": ["main/restore-1"]}]
    )["Volumes"]
    assert f"  {volume} as {made['VolumeId']} from rp-" in result.stdout
    again = restore(volume, "--dry-run")
    assert f"    was restored already as {made['VolumeId']} (available) by restore-1\n" in again.stdout


def test_a_resource_without_a_point_is_named_unless_a_part_will_do(restore, installation):
    instances = [each["InstanceId"] for each in _protected(installation)]
    unknown = "i-00000000000000000"
    result = restore(instances[0], unknown, "--yes")
    assert result.exit_code == 1
    assert f"{unknown}: there is no recovery point of it here" in result.stdout
    assert restore(instances[0], unknown, "--yes", "--partial").exit_code == 0


def _protected(installation: Installation) -> list[dict]:
    pages = installation.twin.client("ec2", PRIMARY).describe_instances()
    return [each for reservation in pages["Reservations"] for each in reservation["Instances"]]


@pytest.mark.parametrize(
    ("action", "code", "complaint"),
    [
        ("StartExecution", "AccessDeniedException", "with states:StartExecution on it"),
        (
            "StartExecution",
            "StateMachineDoesNotExist",
            "there is no such state machine; deploy the recovery site again",
        ),
        ("DescribeExecution", "AccessDeniedException", "with states:DescribeExecution on its executions"),
    ],
)
def test_step_functions_that_do_not_answer_are_explained(restore, recovery_services, action, code, complaint):
    recovery_services.refusals[action] = AwsError(code)
    result = restore("--plan", "production", "--yes")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: state machine arn:aws:states:us-west-2:")
    assert complaint in result.stderr


def test_a_recovery_site_that_is_not_there_is_named(hikae, recovery_services):
    result = hikae("restore", "--plan", "production", "--installation", "other")
    assert result.exit_code == 1
    assert "function hikae-other-recovery-recover (Region us-west-2): there is no such function" in result.stderr


def test_a_site_that_stops_answering_does_not_hide_that_the_run_goes_on(restore, installation, recovery_services):
    looks = []

    def refuse(play):
        looks.append(play.name)
        if len(looks) == 3:
            recovery_services.refusals["DescribeExecution"] = AwsError("ServiceUnavailable")

    recovery_services.on_describe = refuse
    result = restore("--plan", "production", "--yes", "--name", "restore-1")
    assert result.exit_code == 1
    assert "restore-1 goes on all the same; follow it with: hikae drill show restore-1 --wait" in result.stderr
    assert recovery_services.plays["restore-1"].status == "RUNNING"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "nothing to restore: give RESOURCE, or --group, or --plan"),
        (["i-1", "--plan", "p", "--group", "shop"], "either RESOURCE or --group"),
        (["i-1", "i-2", "--point", "rp-1"], "--point goes with exactly one RESOURCE"),
        (["i-1", "--at", "yesterday"], "'yesterday' is not an RFC 3339 time"),
        (["i-1", "--region", "us-west"], "'us-west' is not a Region's code"),
        (["i-1", "--interval", "-1"], "-1.0 is not in the range"),
    ],
)
def test_options_that_make_no_sense_are_refused(hikae, options, complaint):
    result = hikae("restore", *options)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_a_name_that_is_none_is_refused(restore):
    result = restore("--plan", "production", "--yes", "--name", "Restore_1")
    assert result.exit_code == 2
    assert "'Restore_1' is not the name of a run" in result.stderr
