"""The runbooks work: every command of them is executed in its order, with nothing but what the runbook says there is.

In process: EC2 is the twin, S3, KMS and STS are moto's, Lambda's configuration and Step Functions answer on loopback,
and an execution plays the product's own definition. `sam` is not run here; that the stacks deploy is shown elsewhere.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hikae.domain.model import SiteRole
from hikae.domain.naming import format_time
from hikae.runtime import wiring
from hikae.runtime.settings import Settings
from local.inprocess import ACCOUNT, PRIMARY, RECOVERY, Installation, tags_of
from local.twin.faults import Asked, recorded, unreachable
from tests.functional.cli.json_services import JsonServices, serving_json
from tests.functional.cli.lambda_service import Deployed, serving
from tests.functional.cli.recovery_scene import protect_group
from tests.functional.docs.documents import ROOT
from tests.functional.docs.shell import Shell, commands_of
from tests.functional.handlers.conftest import Functions
from tests.template.deployments import deployment
from tests.template.sites import as_list, load_template, resolve

REGION_LOSS = ROOT / "docs/runbooks/region-loss.md"
FAILBACK = ROOT / "docs/runbooks/failback.md"
PUBLIC_KEY = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
OLD = "i-0123456789abcdef0"
RESTORED = "i-0fedcba9876543210"


class DeployedNow(Deployed):
    """The functions of the sites that the installation has at the moment."""

    def configuration(self, name: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        installation = self.functions.installation
        role = self._site_of(name)
        settings = installation.primary if role is SiteRole.PRIMARY else installation.recovery
        return 200, {"FunctionName": name, "Environment": {"Variables": _variables(settings)}}, {}


def _variables(settings: Settings) -> dict[str, str]:
    return {
        "HIKAE_INSTALLATION": settings.installation,
        "HIKAE_SITE": settings.site.value,
        "HIKAE_ACCOUNT": settings.place.account,
        "HIKAE_BUCKET": settings.bucket,
        "HIKAE_TABLE": settings.table,
        "HIKAE_COPY_KEY_ARN": settings.copy_key_arn,
        "HIKAE_DRILL_SUBNETS": ",".join(settings.drill_subnets),
        "HIKAE_DRILL_SECURITY_GROUPS": ",".join(settings.drill_security_groups),
        "HIKAE_EVIDENCE_KEY_ARN": settings.evidence_key_arn,
        "HIKAE_RECOVER_ARN": settings.recover_arn,
        "HIKAE_CODE_VERSION": settings.code_version,
    }


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[JsonServices]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hikae_cli.run_starting.is_interactive", lambda: True)
    with Installation() as installation:
        services = JsonServices(installation)
        with serving_json(services) as json_url, serving(DeployedNow(Functions(installation, monkeypatch))) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", json_url)
            yield services


@pytest.fixture
def old(services: JsonServices) -> list[str]:
    """A group at the primary, protected, copied, and prepared for a restore as `hikae ready` asks for it."""
    installation = services.installation
    installation.twin.client("ec2", PRIMARY).import_key_pair(KeyName="prod", PublicKeyMaterial=PUBLIC_KEY)
    instances = protect_group(installation, KeyName="prod")
    wiring.readiness(installation.recovery, asks_primary=True, imports_keys=False, now=installation.twin.clock.now())
    return instances


def newest_run(installation: Installation) -> str:
    documents = installation.recovery_site().documents
    runs = [documents.read(key) for key in documents.keys("recovery/") if key.endswith("/run.json")]
    return str(max(runs, key=lambda run: run["began_at"])["name"])


def restored(installation: Installation, region: str) -> list[dict[str, Any]]:
    pages = installation.twin.client("ec2", region).describe_instances(
        Filters=[{"Name": "tag-key", "Values": ["hikae:recovery"]}]
    )
    found = [each for reservation in pages["Reservations"] for each in reservation["Instances"]]
    return sorted(found, key=lambda each: tags_of(each)["Name"])


def digests(installation: Installation, instance: dict[str, Any]) -> dict[str, str]:
    return {
        each["DeviceName"]: installation.twin.digest_of(each["Ebs"]["VolumeId"])
        for each in instance["BlockDeviceMappings"]
    }


def keys_of(installation: Installation, instances: list[dict[str, Any]], region: str) -> set[str]:
    """The keys that the volumes of instances are encrypted with; None for one that is not."""
    ids = [device["Ebs"]["VolumeId"] for each in instances for device in each["BlockDeviceMappings"]]
    return {
        each.get("KmsKeyId")
        for each in installation.twin.client("ec2", region).describe_volumes(VolumeIds=ids)["Volumes"]
    }


def keys_read_through(name: str, filled_in: dict[str, str]) -> list[str]:
    """The keys of sources that a deployment of samconfig.toml may copy from."""
    wanted = deployment(name)
    assert filled_in.keys() <= wanted.parameters.keys()
    site = resolve(load_template(), wanted.parameters | filled_in, region=wanted.region)
    statements = site.statements(site.role_of("CopyRecoveryPoints"))
    return [key for each in statements if each["Sid"] == "ReadThroughSourceKeys" for key in as_list(each["Resource"])]


def described(installation: Installation, instance: str, region: str) -> dict[str, Any]:
    ec2 = installation.twin.client("ec2", region)
    found: dict[str, Any] = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return found


def test_a_lost_region_is_recovered_by_the_runbook_with_nothing_but_the_recovery_region(
    services: JsonServices, old: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = services.installation
    shell = Shell(
        installation,
        names={
            OLD: lambda: old[0],
            "restore-shop-1": lambda: newest_run(installation),
            "2026-11-22T11:30:00Z": lambda: format_time(installation.twin.clock.now() - timedelta(minutes=30)),
        },
        setenv=monkeypatch.setenv,
    )
    was = [digests(installation, described(installation, each, PRIMARY)) for each in old]
    monkeypatch.delenv("HIKAE_PRIMARY_REGION", raising=False)
    typed = commands_of(REGION_LOSS)
    asked: list[Asked]
    with unreachable(PRIMARY), recorded() as asked:
        for line in typed:
            if not stops_or_starts_pruning(line):  # only where the Region is there, and its data is not
                shell.run(line)
    assert len(asked) > 100
    assert {each.region for each in asked} == {RECOVERY}
    failed = {line: result.exit_code for line, result in shell.results.items() if result.exit_code}
    assert failed == {"hikae ready --no-primary": 1}, {line: shell.results[line].output for line in failed}
    assert "lacking: key pair prod is not in this Region" in shell.results["hikae ready --no-primary"].output
    assert "a recovery would choose this one" in shell.results[f"hikae points {OLD}"].output
    now = restored(installation, RECOVERY)
    assert [digests(installation, each) for each in now] == was
    assert [each["KeyName"] for each in now] == ["prod", "prod"]
    [found] = shell.answers.values()
    assert {each[0] for each in found} == {each["InstanceId"] for each in now}
    verified = shell.results["hikae drill verify restore-shop-1.json"]
    assert verified.stdout.startswith(f"{newest_run(installation)}: restore succeeded")


def stops_or_starts_pruning(line: str) -> bool:
    return line.startswith("aws lambda ")


def test_pruning_is_stopped_by_the_runbook_until_it_is_let_go_on(
    services: JsonServices, old: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = services.installation
    shell = Shell(installation, names={}, setenv=monkeypatch.setenv)
    monkeypatch.setenv("HIKAE_PRIMARY_REGION", PRIMARY)
    monkeypatch.setenv("HIKAE_RECOVERY_REGION", RECOVERY)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    typed = [line for line in commands_of(REGION_LOSS) if stops_or_starts_pruning(line)]
    stops = [line for line in typed if "put-function-concurrency" in line]
    starts = [line for line in typed if "delete-function-concurrency" in line]
    assert typed == stops + starts
    for _ in range(4):  # more than the plan keeps
        installation.back_up()
        installation.copy_all()
        installation.advance(minutes=60 - installation.twin.clock.now().minute)
    prunes = [f"hikae prune --site {site} --yes" for site in SiteRole]
    for line in stops:
        shell.run(line)
    before = {region: snapshots_in(installation, region) for region in (PRIMARY, RECOVERY)}
    for line in prunes:
        shell.run(line)
        assert "Rate Exceeded" in shell.results[line].output
    assert {region: snapshots_in(installation, region) for region in before} == before
    for line in [*starts, *prunes]:
        shell.run(line)
    assert [shell.results[line].exit_code for line in prunes] == [0, 0]
    assert all(snapshots_in(installation, region) < before[region] for region in before)


def snapshots_in(installation: Installation, region: str) -> set[str]:
    pages = installation.twin.client("ec2", region).describe_snapshots(OwnerIds=["self"])
    return {each["SnapshotId"] for each in pages["Snapshots"]}


def test_a_standby_without_a_plan_makes_and_deletes_nothing_beside_the_recovery_site(
    services: JsonServices,
    old: list[str],  # it has copies at the recovery site
) -> None:
    installation = services.installation
    before = snapshots_in(installation, RECOVERY)
    assert before
    installation.turn_round()
    installation.advance(hours=1)
    tick = installation.tick()
    assert (tick.jobs_sent, tick.missed, tick.failures, installation.jobs()) == (0, 0, (), [])
    pruned = installation.prune(SiteRole.PRIMARY)
    assert (pruned.outcomes, pruned.unreachable, pruned.broken_plans, pruned.unclear) == ((), (), (), ())
    assert snapshots_in(installation, RECOVERY) == before


def test_the_way_back_is_gone_by_the_runbook(
    services: JsonServices, old: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = services.installation
    setenv = monkeypatch.setenv
    lost = Shell(installation, names={}, setenv=setenv)
    with unreachable(PRIMARY):
        lost.run("export HIKAE_RECOVERY_REGION=us-west-2")
        lost.run("hikae ready --no-primary --import-keys")
        lost.run("hikae restore --plan production --group shop --yes")
    here = restored(installation, RECOVERY)
    assert len(here) == 2
    # Work goes on where it was restored; this is what must come back.
    for each in here:
        for device in each["BlockDeviceMappings"]:
            content = f"written after the loss to {device['DeviceName']} of {each['InstanceId']}".encode()
            installation.twin.write(device["Ebs"]["VolumeId"], content, region=RECOVERY)

    def next_hour() -> None:
        installation.advance(minutes=60 - installation.twin.clock.now().minute)
        installation.back_up()

    def prepare_settings() -> None:
        Path("settings.yaml").write_text(
            f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
            f"security_groups: {{{here[0]['SecurityGroups'][0]['GroupId']}: {installation.restore_vpc['group']}}}\n"
        )

    def copy_what_is_stopped() -> None:
        next_hour()
        installation.copy_all()

    stop = f"aws ec2 stop-instances --region us-west-2 --instance-ids {RESTORED}"
    last = f"hikae points {RESTORED} --limit 1"
    typed = commands_of(FAILBACK)
    [put] = [line for line in typed if line.startswith("aws s3api put-object")]
    [first_apply, second_apply] = [line for line in typed if line.startswith("hikae plan apply")]
    shell = Shell(
        installation,
        names={OLD: lambda: old[0], RESTORED: lambda: here[0]["InstanceId"], "111122223333": lambda: ACCOUNT},
        setenv=setenv,
        before={
            first_apply: installation.turn_round,  # what the two `sam deploy` make
            f"hikae points {RESTORED} --site primary": next_hour,
            put: prepare_settings,
            f"hikae points {RESTORED}": installation.copy_all,
            last: copy_what_is_stopped,
        },
    )
    assert {first_apply, stop, last, put, second_apply} <= set(typed)
    assert set(shell.before) <= set(typed)
    for line in typed:
        if line.startswith("aws ec2 start-instances"):
            continue  # only where the way back has failed
        if line == stop:
            stopped_at = installation.twin.clock.now()
        shell.run(line)
    failed = {line: result.output for line, result in shell.results.items() if result.exit_code}
    assert failed == {}
    assert [" ".join(words) for words in shell.sam] == [
        "build",
        "deploy --config-env standby",
        "build",
        "deploy --config-env failback",
        "deploy --config-env recovery",
        "delete --config-env failback",
    ]
    there = restored(installation, PRIMARY)
    # The keys that the runbook has the reader look up are those that the sites have to read through.
    looked_up = [answer for line, answer in shell.answers.items() if line.startswith("aws kms describe-key")]
    for name, region, instances, key in (
        ("failback", RECOVERY, here, looked_up[0]),
        ("recovery", PRIMARY, there, looked_up[1]),
    ):
        assert keys_of(installation, instances, region) == {key}
        assert key in keys_read_through(name, {"SourceKeyArns": key})
        assert key not in keys_read_through(name, {"SourceKeyArns": ""})
    assert [digests(installation, each) for each in there] == [digests(installation, each) for each in here]
    assert [tags_of(each)["hikae:recovered-resource"] for each in there] == [each["InstanceId"] for each in here]
    record = json.loads(installation.document(f"evidence/{newest_run(installation)}.json")["record"])
    assert (record["mode"], record["outcome"]) == ("restore", "succeeded")
    assert all(member["source_time"] > format_time(stopped_at) for member in record["members"])
    assert {tags_of(each)["Backup"] for each in there} == {"production"}  # so its old plan protects it at once
