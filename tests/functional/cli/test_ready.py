"""`hikae ready`: what lacks for restoring all that is protected, found before it is needed."""

import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.inprocess import PRIMARY, RECOVERY, Installation
from local.twin.faults import recorded, refused, unreachable
from local.twin.quotas import STANDARD_VCPUS
from tests.functional.cli.json_services import JsonServices
from tests.functional.cli.recovery_scene import PLAN, at_the_twins_time, without_ids

PUBLIC_KEY = (
    ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    .public_key()
    .public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
)


@pytest.fixture
def installation(recovery_services: JsonServices) -> Installation:
    """Two instances with a key pair, and a detached volume, protected and copied; nothing is prepared for a restore."""
    installation = recovery_services.installation
    installation.twin.client("ec2", PRIMARY).import_key_pair(KeyName="prod", PublicKeyMaterial=PUBLIC_KEY)
    installation.launch(2, tags={"Backup": "production", "Service": "shop"}, KeyName="prod")
    installation.detached_volume()
    installation.apply("production", PLAN)
    installation.back_up()
    installation.copy_all()
    return installation


@pytest.fixture
def ready(hikae, installation: Installation):
    def run(*options: str, later: timedelta = timedelta(0)):
        with at_the_twins_time(installation) as clock:
            clock.shift(later)
            return hikae("ready", *options)

    return run


def prepare(installation: Installation) -> None:
    installation.set_recovery_settings(
        f"version: 1\ndefault_subnets: [{installation.restore_vpc['a']}]\n"
        f"default_security_groups: [{installation.restore_vpc['group']}]\n"
    )


def key_pairs(installation: Installation) -> list[str]:
    return [each["KeyName"] for each in installation.twin.client("ec2", RECOVERY).describe_key_pairs()["KeyPairs"]]


@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_all_that_lacks_is_found_with_what_to_do(ready, installation, form, matches_snapshot):
    installation.twin.world.quotas.set(STANDARD_VCPUS, 3)
    result = ready(*(["--json"] if form == "jsonl" else []))
    assert result.exit_code == 1
    matches_snapshot(without_ids(result.stdout), f"ready-lacking.{form}")


def test_key_pairs_are_kept_while_the_primary_is_there_and_imported_when_it_is_gone(ready, installation):
    prepare(installation)
    first = ready()
    assert first.exit_code == 1
    assert "import it: hikae ready --import-keys; its public half is kept as key-pairs/" in first.stdout
    assert "public keys kept here: prod" in first.stdout
    with unreachable(PRIMARY):
        second = ready("--import-keys")
    assert second.exit_code == 0, second.output
    assert "key pairs imported: prod" in second.stdout
    assert "warning: public keys of 123456789012/us-east-1 were not fetched: " in second.stdout
    [pair] = installation.twin.client("ec2", RECOVERY).describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert (pair["KeyName"], pair["PublicKey"].split()[:2]) == ("prod", PUBLIC_KEY.decode().split()[:2])
    assert ready().stdout.endswith("\nready\n")


def test_nothing_is_asked_of_the_primary_where_it_is_not_to_be(ready, installation):
    prepare(installation)
    with recorded() as asked:
        result = ready("--no-primary")
    assert {each.region for each in asked} == {RECOVERY}
    assert "key pair prod is not in this Region" in result.stdout
    assert "run hikae ready while the primary answers" in result.stdout
    assert list(installation.recovery_site().documents.keys("key-pairs/")) == []


def test_what_lacks_only_at_the_primary_takes_nothing_away_that_was_kept(ready, installation):
    prepare(installation)
    ready()
    installation.twin.client("ec2", PRIMARY).delete_key_pair(KeyName="prod")
    assert ready("--import-keys").exit_code == 0
    assert key_pairs(installation) == ["prod"]


def test_a_key_pair_that_cannot_be_imported_says_so(ready, installation):
    prepare(installation)
    with refused("ImportKeyPair", "UnauthorizedOperation"):
        result = ready("--import-keys")
    assert result.exit_code == 1
    assert "lacking: key pair prod was not imported: UnauthorizedOperation" in result.stdout
    assert key_pairs(installation) == []


def test_an_instance_profile_is_looked_up_and_while_iam_is_gone_is_not_taken_for_missing(ready, installation):
    iam = installation.twin.client("iam", PRIMARY)
    iam.create_instance_profile(InstanceProfileName="app")
    _give_role(iam, "/apps/")
    [reservation] = installation.twin.client("ec2", PRIMARY).describe_instances()["Reservations"]
    arn = "arn:aws:iam::123456789012:instance-profile/app"
    for each in reservation["Instances"]:
        _say_in_the_manifest(installation, each["InstanceId"], {"IamInstanceProfile": {"Arn": arn}})
    prepare(installation)
    assert "instance profile" not in ready("--import-keys").stdout
    with unreachable(PRIMARY):
        result = ready()
    assert result.exit_code == 0
    assert "warning: nobody knows whether instance profile app exists: IAM does not answer" in result.stdout
    iam.remove_role_from_instance_profile(InstanceProfileName="app", RoleName="app")
    assert "lacking: instance profile app has no role" in ready().stdout
    iam.delete_role(RoleName="app")
    _give_role(iam, "/elsewhere/")
    result = ready()
    assert result.exit_code == 1
    arn = "arn:aws:iam::123456789012:role/elsewhere/app"
    assert f"lacking: {arn}, the role of instance profile app, may not be given to what is restored" in result.stdout
    iam.remove_role_from_instance_profile(InstanceProfileName="app", RoleName="app")
    iam.delete_instance_profile(InstanceProfileName="app")
    result = ready()
    assert result.exit_code == 1
    assert "lacking: instance profile app is not there" in result.stdout


def _give_role(iam, path: str) -> None:
    iam.create_role(RoleName="app", Path=path, AssumeRolePolicyDocument="{}")
    iam.add_role_to_instance_profile(InstanceProfileName="app", RoleName="app")


def _say_in_the_manifest(installation: Installation, resource: str, described: dict) -> None:
    """Let the instance have been described so; what runs in the twin has no profiles."""
    documents = installation.recovery_site().documents
    for key in list(documents.keys("manifests/")):
        if f"/{resource}/" in key:
            manifest = documents.read(key)
            manifest["source"]["instance"] |= described
            documents.write(key, manifest)


def test_a_resource_without_a_usable_point_is_a_gap(ready, installation):
    prepare(installation)
    documents = installation.recovery_site().documents
    [first, *_] = [key for key in documents.keys("manifests/") if "/i-" in key]
    documents.write(first, {"version": 1})
    result = ready("--import-keys")
    assert result.exit_code == 1
    assert "lacking: it has no usable recovery point here: " in result.stdout


def test_an_old_inventory_is_a_warning_and_none_at_all_a_gap(ready, installation):
    prepare(installation)
    old = ready("--import-keys", later=timedelta(days=2))
    assert old.exit_code == 0
    assert "what has been protected since is not looked at" in old.stdout
    for key in list(installation.recovery_site().documents.keys("inventory/")):
        installation.recovery_site().documents.delete(key)
    none = ready()
    assert none.exit_code == 1
    assert "lacking: this site has no inventory of any primary" in none.stdout


def test_a_quota_that_nobody_tells_is_a_warning(ready, installation):
    prepare(installation)
    installation.twin.world.quotas.is_answering = False
    result = ready("--import-keys")
    assert result.exit_code == 0
    assert "warning: nobody knows the quota 'Running On-Demand Standard" in result.stdout


def test_a_key_that_is_disabled_is_a_gap(ready, installation):
    prepare(installation)
    installation.twin.client("kms", RECOVERY).disable_key(KeyId=installation.key_arn.rpartition("/")[2])
    result = ready("--import-keys")
    assert result.exit_code == 1
    assert "lacking: the site's key, which every copy is encrypted with, is disabled" in result.stdout


def test_addresses_and_target_groups_of_the_settings_are_looked_for_and_stop_nothing(ready, installation):
    ec2, elb = (installation.twin.client(service, RECOVERY) for service in ("ec2", "elbv2"))
    instance = next(
        point.tags.identity.resource
        for point in installation.recovery_site().catalogue().points
        if point.tags.identity.resource.startswith("i-")
    )
    vpc = installation.restore_vpc
    group = elb.create_target_group(Name="shop", Protocol="HTTP", Port=80, VpcId=vpc["vpc"])["TargetGroups"][0]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]

    def ready_with(address: str, group: str):
        installation.set_recovery_settings(
            f"version: 1\ndefault_subnets: [{vpc['a']}]\ndefault_security_groups: [{vpc['group']}]\n"
            f'instances: {{{instance}: {{elastic_ip: {address}, target_groups: ["{group}"]}}}}\n'
        )
        result = ready("--import-keys")
        assert result.exit_code == 0, result.output
        return result.stdout

    fine = ready_with(address, group["TargetGroupArn"])
    assert "Elastic IP" not in fine
    assert "target group" not in fine
    gone = group["TargetGroupArn"].replace("/shop/", "/gone/")
    lacking = ready_with("eipalloc-00000000000000000", gone)
    assert f"warning: Elastic IP address eipalloc-00000000000000000 is not in this Region ({instance})" in lacking
    assert f"warning: target group {gone} is not in this Region ({instance})" in lacking
    interface = ec2.create_network_interface(SubnetId=vpc["a"])["NetworkInterface"]["NetworkInterfaceId"]
    ec2.associate_address(AllocationId=address, NetworkInterfaceId=interface)
    with refused("DescribeTargetGroups", "AccessDenied"):
        unsure = ready_with(address, group["TargetGroupArn"])
    assert f"warning: Elastic IP address {address} is associated with {interface}" in unsure
    assert f"warning: nobody knows whether target group {group['TargetGroupArn']} is here" in unsure


def test_settings_that_cannot_be_read_are_told(ready, installation):
    installation.set_recovery_settings("version: 2\n")
    result = ready()
    assert result.exit_code == 1
    assert "recovery/settings.yaml: " in result.stderr


def test_every_finding_is_about_something_and_says_what_to_do(ready):
    records = [json.loads(line) for line in ready("--json").stdout.splitlines()]
    findings = [each for each in records if each["record"] == "finding"]
    assert findings
    assert all(each["what"] and each["remedy"] for each in findings)
    assert records[-1]["record"] == "summary"
    assert len(records[-1]["instances"]) == 2
    assert len(records[-1]["volumes"]) == 1
