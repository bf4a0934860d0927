"""`hikae drill`: start one, see what became of all, stop one, and check what one has proven."""

import base64
import hashlib
import json
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from hikae.domain.teardown import GONE
from local.inprocess import PRIMARY, RECOVERY, Installation
from local.twin.faults import no_capacity, recorded, refused, unreachable
from tests.functional.cli.json_services import JsonServices
from tests.functional.cli.recovery_scene import at_the_twins_time, protect_group, without_ids

FAST = ("--interval", "0")


@pytest.fixture
def installation(recovery_services: JsonServices) -> Installation:
    protect_group(recovery_services.installation, hours=1)
    return recovery_services.installation


@pytest.fixture
def drill(hikae, installation: Installation):
    def run(*arguments: str, stdin: str | bytes | None = None):
        with at_the_twins_time(installation):
            return hikae("drill", *arguments, stdin=stdin)

    return run


@pytest.fixture
def evidence(drill, tmp_path: Path) -> Path:
    """The evidence of a drill that has succeeded, as a file."""
    assert drill("start", "production", "--name", "drill-1", *FAST).exit_code == 0
    path = tmp_path / "drill.json"
    result = drill("show", "drill-1", "--evidence", str(path))
    assert result.exit_code == 0
    assert f"written to {path}; check it with: hikae drill verify {path}" in result.stderr
    return path


def leftovers(installation: Installation) -> list[str]:
    made = installation.recovery_site().recoverer.made(tag="hikae:drill", value="*")
    return [each.id for each in made if each.state not in GONE]


def test_a_drill_is_shown_step_by_step_and_leaves_nothing_while_the_primary_region_is_gone(
    drill, installation, matches_snapshot
):
    with unreachable(PRIMARY), recorded() as asked:
        result = drill("start", "production", "--group", "shop", *FAST)
    assert result.exit_code == 0, result.output
    assert {each.region for each in asked} == {RECOVERY}
    matches_snapshot(without_ids(result.stdout), "drill-start.txt")
    assert leftovers(installation) == []


def test_runs_are_listed_newest_first_those_under_way_among_them(drill, installation, matches_snapshot):
    assert drill("start", "production", *FAST).exit_code == 0
    installation.advance(minutes=7)
    assert drill("start", "production", "--group", "shop", "--no-wait", "--name", "drill-2").exit_code == 0
    drill("show", "drill-2")
    installation.advance(minutes=7)
    assert drill("start", "production", "--no-wait", "--name", "drill-3").exit_code == 0
    result = drill("list")
    assert result.exit_code == 0
    matches_snapshot(without_ids(result.stdout), "drill-list.txt")
    rows = [json.loads(line) for line in drill("list", "--json", "--limit", "2").stdout.splitlines()]
    assert [(row["run"], row["state"]) for row in rows] == [("drill-3", "running"), ("drill-2", "running")]


def test_a_document_that_cannot_be_read_hides_no_other(drill, installation, evidence):
    s3 = installation.twin.client("s3", RECOVERY)
    s3.put_object(Bucket=installation.recovery.bucket, Key="evidence/odd.json", Body=b"{}")
    s3.put_object(Bucket=installation.recovery.bucket, Key="evidence/other.json", Body=b'{"record": "{}"}')
    s3.put_object(Bucket=installation.recovery.bucket, Key="recovery/worse/run.json", Body=b"{}")
    result = drill("list", "--json")
    states = {json.loads(line)["run"]: json.loads(line)["state"] for line in result.stdout.splitlines()}
    assert states == {
        "drill-1": "succeeded",
        "odd": "its evidence cannot be read",
        "other": "its evidence cannot be read",
        "worse": "ended, not recorded yet; its document cannot be read",
    }
    shown = [json.loads(line)["run"] for line in drill("list", "--json", "--limit", "1").stdout.splitlines()]
    assert shown == ["drill-1", "odd", "other", "worse"]


@pytest.mark.usefixtures("evidence")
def test_of_a_run_whose_evidence_cannot_be_read_its_document_tells_what_it_was(drill, installation):
    s3 = installation.twin.client("s3", RECOVERY)
    [known] = [json.loads(line) for line in drill("list", "--json").stdout.splitlines()]
    s3.put_object(Bucket=installation.recovery.bucket, Key="evidence/drill-1.json", Body=b"{}")
    s3.put_object(Bucket=installation.recovery.bucket, Key="evidence/odd.json", Body=b"{}")
    rows = [json.loads(line) for line in drill("list", "--json").stdout.splitlines()]
    unproven = {
        "state": "its evidence cannot be read",
        "achieved_rto_seconds": None,
        "worst_achieved_rpo_seconds": None,
    }
    assert rows[0] == known | unproven
    assert (rows[1]["run"], rows[1]["began_at"]) == ("odd", None)
    [_, _, odd] = drill("list").stdout.splitlines()
    assert odd.split() == ["unknown", "odd", "its", "evidence", "cannot", "be", "read"]


def test_one_that_is_under_way_is_shown_as_far_as_it_is(drill, recovery_services):
    drill("start", "production", "--no-wait", "--name", "drill-1")
    for _ in range(3):
        result = drill("show", "drill-1")
        assert result.exit_code == 0
    assert result.stdout.splitlines()[0].endswith("select: began")
    assert result.stdout.splitlines()[-1] == "drill-1 is under way"
    assert recovery_services.plays["drill-1"].status == "RUNNING"
    assert json.loads(drill("show", "drill-1", "--json").stdout.splitlines()[-1]) == {
        "record": "running",
        "run": "drill-1",
    }


def test_one_that_is_over_is_shown_with_its_record(drill, evidence, matches_snapshot):
    result = drill("show", "drill-1")
    assert result.exit_code == 0
    matches_snapshot(without_ids(result.stdout), "drill-show.txt")


@pytest.mark.parametrize("fails", [False, True])
def test_evidence_is_saved_after_a_run_was_followed_to_its_end(drill, installation, tmp_path, fails):
    drill("start", "production", "--no-wait", "--name", "drill-1")
    path = tmp_path / "drill.json"
    with no_capacity() if fails else nullcontext():
        result = drill("show", "drill-1", "--wait", "--evidence", str(path), *FAST)
    assert result.exit_code == int(fails), result.output
    assert f"written to {path}" in result.stderr
    assert json.loads(drill("verify", str(path), "--json").stdout)["outcome"] == ("failed" if fails else "succeeded")


def test_there_is_no_evidence_of_a_run_that_is_not_over(drill, tmp_path):
    drill("start", "production", "--no-wait", "--name", "drill-1")
    path = tmp_path / "drill.json"
    result = drill("show", "drill-1", "--evidence", str(path))
    assert result.exit_code == 1
    assert "Error: drill-1 is not over, so there is no evidence yet; --wait writes it once it is\n" in result.stderr
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_said(drill, evidence, tmp_path):
    nowhere = tmp_path / "nowhere" / "drill.json"
    result = drill("show", "drill-1", "--evidence", str(nowhere))
    assert result.exit_code == 2
    assert f"there is no directory {nowhere.parent}; make it first, or give another file" in result.stderr
    result = drill("show", "drill-1", "--evidence", str(tmp_path / ("long" * 100)))
    assert result.exit_code == 1
    assert "Error: the evidence of drill-1 was not written: " in result.stderr


def test_one_that_was_stopped_before_it_had_begun_anything_is_not_waited_for(drill, installation, recovery_services):
    drill("start", "production", "--no-wait", "--name", "drill-1")
    recovery_services.plays["drill-1"].stop("too early")
    result = drill("show", "drill-1", "--wait", *FAST)
    assert result.exit_code == 1
    assert "drill-1 is over before it has begun anything; its execution says why: arn:aws:states:" in result.stderr
    assert leftovers(installation) == []


@pytest.mark.parametrize("steps", [1, 5, 9])
def test_one_that_is_stopped_is_torn_down_and_recorded(drill, installation, steps):
    drill("start", "production", "--no-wait", "--name", "drill-1")
    for _ in range(steps):
        drill("show", "drill-1")
    result = drill("stop", "drill-1", "--yes", *FAST)
    assert result.exit_code == 0, result.output
    assert "drill-1 is stopped; what it has made is torn down by the sweep" in result.stderr
    [failure] = [line for line in result.stdout.splitlines() if "failure: " in line]
    assert re.search(r"(prepare|launch|probe): it was stopped: hikae drill stop by arn:aws:sts::", failure)
    assert leftovers(installation) == []
    again = drill("stop", "drill-1", "--yes")
    assert again.exit_code == 1
    assert "drill-1 was not stopped: it is over: ABORTED" in again.stderr


def test_stopping_asks_first(drill, recovery_services, monkeypatch):
    drill("start", "production", "--no-wait", "--name", "drill-1")
    assert "nobody to ask, so nothing was stopped; give --yes" in drill("stop", "drill-1").stderr
    monkeypatch.setattr("hikae_cli.drill_commands.is_interactive", lambda: True)
    result = drill("stop", "drill-1", stdin="n\n")
    assert (result.exit_code, recovery_services.plays["drill-1"].status) == (1, "RUNNING")
    assert (
        "Stop the drill drill-1 at recovery 123456789012/us-west-2? If so, what it has made is torn down by the sweep "
        "[y/N]" in result.stderr
    )
    assert drill("stop", "drill-1", "--no-wait", stdin="y\n").exit_code == 0
    assert recovery_services.plays["drill-1"].status == "ABORTED"


@pytest.fixture
def restoring(hikae, drill, recovery_services):
    """A restore that is under way; it goes on by so many steps."""

    def start(steps: int) -> None:
        with at_the_twins_time(recovery_services.installation):
            arguments = ("--plan", "production", "--yes", "--no-wait", "--name", "restore-1")
            assert hikae("restore", *arguments).exit_code == 0
        for _ in range(steps):
            drill("show", "restore-1")

    return start


def launched(installation: Installation) -> dict[str, str]:
    """What the restore has launched, by what it stands for."""
    made = installation.recovery_site().recoverer.made(tag="hikae:recovery", value="main/restore-1")
    return {each.resource: each.id for each in made if each.kind == "instance" and each.state not in GONE}


@pytest.mark.parametrize("answer", ["question", "--yes"])
def test_of_a_restore_that_is_stopped_what_it_launched_is_named_and_stays(
    drill, installation, restoring, monkeypatch, answer
):
    restoring(steps=9)
    there = launched(installation)
    assert there
    stays = "what it has launched stays, for a person to decide about: "
    named = stays + ", ".join(f"{made} for {resource}" for resource, made in sorted(there.items()))
    if answer == "question":
        monkeypatch.setattr("hikae_cli.drill_commands.is_interactive", lambda: True)
        asked = drill("stop", "restore-1", stdin="n\n")
        assert f"Stop the restore restore-1 at recovery 123456789012/us-west-2? If so, {named} [y/N]" in asked.stderr
    result = drill("stop", "restore-1", "--yes", *FAST)
    assert result.exit_code == 0, result.output
    assert f"restore-1 is stopped; {named}\n" in result.stderr
    assert "torn down" not in result.stderr
    assert launched(installation) == there


def test_a_restore_that_is_stopped_before_it_launched_anything_says_so(drill, restoring):
    restoring(steps=0)
    result = drill("stop", "restore-1", "--yes", "--no-wait")
    assert result.exit_code == 0, result.output
    assert "for a person to decide about; EC2 shows nothing of it so far" in result.stderr


def test_that_ec2_does_not_answer_keeps_nobody_from_stopping(drill, restoring, recovery_services):
    restoring(steps=8)
    recovery_services.sweeps = False  # it would need EC2
    with refused("DescribeVolumes", "InternalError", status=500):
        result = drill("stop", "restore-1", "--yes", "--no-wait")
    assert result.exit_code == 0, result.output
    assert (
        "what it has launched stays, for a person to decide about; what that is, EC2 does not say now" in result.stderr
    )
    assert recovery_services.plays["restore-1"].status == "ABORTED"


def test_of_a_run_that_was_started_with_something_else_both_are_said(drill, recovery_services):
    drill("start", "production", "--no-wait", "--name", "drill-1")
    recovery_services.plays["drill-1"].given = "{}"
    result = drill("stop", "drill-1", "--yes", "--no-wait")
    assert (
        "nobody can say whether it is a drill: if so, what it has made is torn down by the sweep, else" in result.stderr
    )


@pytest.mark.parametrize("command", ["show", "stop"])
def test_a_run_that_is_not_there_is_named(drill, command):
    result = drill(command, "drill-0")
    assert result.exit_code == 1
    assert "drill-0" in result.stderr
    assert "see hikae drill list" in result.stderr


@pytest.mark.parametrize("command", [("show", "Drill_1"), ("stop", "Drill_1"), ("start", "p", "--name", "Drill_1")])
def test_what_is_no_name_of_a_run_is_wrong_usage(hikae, command):
    result = hikae("drill", *command)
    assert result.exit_code == 2
    assert "'Drill_1' is not the name of a run: 1 to 63 small letters, digits and hyphens" in result.stderr


def test_a_plan_that_is_not_there_starts_nothing(drill, recovery_services):
    result = drill("start", "other")
    assert result.exit_code == 1
    assert "  plan other is not at this site" in result.stdout
    assert recovery_services.plays == {}


# --- verify: needs nothing but the file ------------------------------------------------------------------------------


def test_evidence_is_verified_without_any_call(drill, evidence, installation, matches_snapshot):
    with recorded() as asked:
        result = drill("verify", str(evidence))
    assert result.exit_code == 0
    assert asked == []
    assert result.stderr == (
        f"verified: signed with the key in it, which --key can pin; it says {installation.recovery.evidence_key_arn}\n"
    )
    matches_snapshot(without_ids(result.stdout), "drill-verify.txt")
    piped = drill("verify", "-", "--json", stdin=evidence.read_bytes())
    assert json.loads(piped.stdout)["run"] == "drill-1"


def test_the_key_can_be_pinned_by_its_arn_or_by_a_file(drill, evidence, installation, tmp_path):
    document = json.loads(evidence.read_text())
    der = base64.b64decode(document["public_key"])
    (tmp_path / "key.der").write_bytes(der)
    (tmp_path / "key.pem").write_bytes(_pem_of(der))
    for key in (installation.recovery.evidence_key_arn, tmp_path / "key.der", tmp_path / "key.pem"):
        result = drill("verify", str(evidence), "--key", str(key))
        assert result.exit_code == 0, result.output
        assert "signed with the key that was given" in result.stderr


def test_evidence_that_was_signed_with_another_key_is_refused(drill, evidence, tmp_path):
    """Somebody who changes a record can sign it anew with a key of their own: only a pinned key tells."""
    other = ec.generate_private_key(ec.SECP256R1())
    document = json.loads(evidence.read_text())
    own = tmp_path / "own.pem"
    own.write_bytes(_pem_of(base64.b64decode(document["public_key"])))
    record = document["record"].replace('"rto_met": true', '"rto_met": false')
    forged = {
        **document,
        "record": record,
        "sha256": hashlib.sha256(record.encode()).hexdigest(),
        "signature": base64.b64encode(other.sign(record.encode(), ec.ECDSA(SHA256()))).decode(),
        "public_key": base64.b64encode(
            other.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).decode(),
    }
    evidence.write_text(json.dumps(forged))
    assert drill("verify", str(evidence)).exit_code == 0
    result = drill("verify", str(evidence), "--key", str(own))
    assert result.exit_code == 1
    assert "it was signed with another key than the one that was given" in result.stderr


def _pem_of(der: bytes) -> bytes:
    return load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"record": '{"run": "another"}'}, "the record is not the one that was signed: its SHA-256 is another"),
        ({"sha256": "0" * 64}, "its SHA-256 is another"),
        ({"signature": "!"}, "its signature is not base64"),
        ({"signature": "AAAA"}, "the signature is not that of the record and the key"),
        ({"public_key": "AAAA"}, "the key in it is no public key, PEM or DER"),
        ({"algorithm": "RSASSA_PSS_SHA_256"}, "it says that it is signed by 'RSASSA_PSS_SHA_256'"),
        ({"version": 2}, "its version is 2; this version of hikae reads 1"),
        ({"key_arn": None}, "no evidence: it has no key_arn"),
    ],
)
def test_evidence_that_was_changed_is_refused_with_what_is_wrong(drill, evidence, change, complaint):
    evidence.write_text(json.dumps({**json.loads(evidence.read_text()), **change}))
    result = drill("verify", str(evidence))
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(("text", "complaint"), [("{", "it is not JSON"), ("[]", "it is not a JSON object")])
def test_a_file_that_is_no_evidence_is_refused(hikae, tmp_path, text, complaint):
    path = tmp_path / "odd.json"
    path.write_text(text)
    result = hikae("drill", "verify", str(path))
    assert result.exit_code == 1
    assert f"{path}: no evidence: {complaint}" in result.stderr


def test_a_key_that_is_none_is_refused(drill, evidence, tmp_path):
    result = drill("verify", str(evidence), "--key", str(tmp_path / "nothing"))
    assert result.exit_code == 2
    assert "is neither a file that can be read nor an ARN" in result.stderr
    wrong = tmp_path / "rsa.pem"
    wrong.write_bytes(
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    result = drill("verify", str(evidence), "--key", str(wrong))
    assert result.exit_code == 1
    assert "the key that was given is not of an elliptic curve" in result.stderr
    missing = "arn:aws:kms:us-west-2:123456789012:key/00000000-0000-0000-0000-000000000000"
    result = drill("verify", str(evidence), "--key", missing)
    assert result.exit_code == 1
    assert f"Error: {missing}: " in result.stderr
