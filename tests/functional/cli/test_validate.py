import subprocess
import sys
from pathlib import Path

import pytest

from hikae.domain.plan import MAX_BYTES


def test_a_valid_plan_is_said_to_be_valid(hikae, write_plan):
    result = hikae("plan", "validate", write_plan())
    assert result.output == "production.yaml: plan production is valid (rules: hourly)\n"
    assert result.exit_code == 0


def test_every_problem_of_every_file_is_named_with_its_place(hikae, write_plan):
    first, second = write_plan("one"), write_plan("two")
    Path(first).write_text(Path(first).read_text().replace("UTC", "Utopia").replace("keep_hourly", "keep_hurly"))
    Path(second).write_text(Path(second).read_text().replace("snapshots", "everything"))
    result = hikae("plan", "validate", first, write_plan("three"), second)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "one.yaml:3: timezone: 'Utopia' is not a time zone; an IANA name, such as Asia/Tokyo or UTC" in lines
    assert any(line.startswith("one.yaml:9: rules[0].retention.keep_hurly: is not a key") for line in lines)
    assert "two.yaml:8: rules[0].protect: is 'everything'; either snapshots or image" in lines
    assert "three.yaml: plan three is valid (rules: hourly)" in lines


def test_one_name_in_two_files_is_a_problem_of_the_second(hikae, write_plan):
    result = hikae("plan", "validate", write_plan(), write_plan(file="copy.yaml"))
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "production.yaml: plan production is valid (rules: hourly)",
        "copy.yaml:2: plan: 'production' is the name of the plan in production.yaml, too; names must differ",
    ]


def test_one_name_is_found_twice_in_flow_style_too(hikae, write_plan):
    flow = "{version: 1, plan: production, timezone: UTC, selection: {resources: [instance], tags: {a: b}}, rules: ["
    flow += "{name: r, schedule: 0 1 * * *, protect: image, retention: {keep_last: 1}}]}"
    result = hikae("plan", "validate", write_plan(), "-", stdin=flow)
    assert "<stdin>:1: plan: 'production' is the name of the plan in production.yaml, too" in result.output


def test_standard_input_is_a_file_too(hikae, write_plan):
    text = Path(write_plan()).read_text()
    assert hikae("plan", "validate", "-", stdin=text).output == "<stdin>: plan production is valid (rules: hourly)\n"
    broken = hikae("plan", "validate", "-", stdin=text.replace("version: 1", "version: 2"))
    assert broken.output == "<stdin>:1: version: is 2; this version of hikae reads version: 1\n"
    assert broken.exit_code == 1


def test_standard_input_cannot_be_read_twice(hikae):
    result = hikae("plan", "validate", "-", "-", stdin="")
    assert result.exit_code == 2
    assert "- is given twice; standard input can be read once" in result.output


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "plan.yaml: the document is empty; a mapping with version, plan, timezone, selection, rules"),
        (b"# nothing\n", "plan.yaml: the document is empty; a mapping with version, plan, timezone, selection, rules"),
        (b"version: 1\nplan: caf\xe9\n", "plan.yaml:2: not UTF-8: byte 0xe9; save the file as UTF-8"),
        (b"version: 1\nplan: [\n", "plan.yaml:3: not YAML: "),
        (b"#" * (MAX_BYTES + 1), f"plan.yaml: the document is larger than {MAX_BYTES} bytes"),
        (b"\xff" * (MAX_BYTES + 1), f"plan.yaml: the document is larger than {MAX_BYTES} bytes"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_in_one_line(hikae, tmp_path, monkeypatch, content, problem):
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_bytes(content)
    result = hikae("plan", "validate", "plan.yaml")
    assert result.exit_code == 1
    assert result.output.startswith(problem)
    assert result.output.count("\n") == 1


def test_a_byte_order_mark_and_windows_line_ends_are_taken(hikae, write_plan):
    path = Path(write_plan())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert hikae("plan", "validate", path).exit_code == 0


def test_what_a_file_says_cannot_steer_the_terminal(hikae, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text('"\\e[31mred\\n": 1\n')
    result = hikae("plan", "validate", "plan.yaml")
    assert "plan.yaml:1: \\x1b[31mred\\n: is not a key of a plan here" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Missing argument 'FILE...'"),
        (("nowhere.yaml",), "File 'nowhere.yaml' does not exist"),
        (("folder",), "File 'folder' is a directory"),
    ],
)
def test_wrong_usage_exits_with_2(hikae, tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    result = hikae("plan", "validate", *arguments)
    assert result.exit_code == 2
    assert problem in result.output


def test_a_file_that_vanishes_while_it_is_read_is_wrong_usage(hikae, write_plan, monkeypatch):
    def vanish(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    path = write_plan()
    monkeypatch.setattr(Path, "open", vanish)
    result = hikae("plan", "validate", path)
    assert result.exit_code == 2
    assert "production.yaml cannot be read: No such file or directory" in result.output


def test_the_installed_command_validates_and_knows_its_version(write_plan):
    command = [str(Path(sys.executable).with_name("hikae"))]
    valid = subprocess.run([*command, "plan", "validate", write_plan()], capture_output=True, text=True, check=False)
    assert (valid.returncode, valid.stdout) == (0, "production.yaml: plan production is valid (rules: hourly)\n")
    piped = subprocess.run(
        [*command, "plan", "validate", "-"], input="version: 1", capture_output=True, text=True, check=False
    )
    assert piped.returncode == 1
    assert "<stdin>:1: plan: is missing" in piped.stdout
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert version == "hikae 0.1.0\n"


def test_an_endless_file_is_refused_without_being_read_to_its_end():
    command = [str(Path(sys.executable).with_name("hikae")), "plan", "validate", "/dev/zero"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 1
    assert result.stdout == f"/dev/zero: the document is larger than {MAX_BYTES} bytes\n"


def test_validating_does_not_load_the_aws_sdk(write_plan):
    code = "import sys; from hikae_cli.main import main; main(sys.argv[1:], standalone_mode=False)"
    code += "; assert 'boto3' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, "plan", "validate", write_plan()], check=True, capture_output=True)


# --- what is unwise ---------------------------------------------------------------------------------------------------

UNWISE = """\
version: 1
plan: unwise
timezone: Europe/Berlin
selection:
  resources: [instance]
  tags: {Backup: unwise}
rules:
  - name: nightly
    schedule: "0 3 * * *"
    protect: snapshots
    retention:
      keep_daily: 30
      keep_weekly: 4
    copies:
      - {region: us-west-2, retention: {keep_daily: 7}}
      - {region: eu-west-1, retention: {keep_last: 1}}
    objectives:
      rpo: 12h
  - name: never
    schedule: "0 3 */31 2 1#3"
    protect: image
    retention: {keep_last: 1}
"""


@pytest.fixture
def unwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("unwise.yaml").write_text(UNWISE)
    return "unwise.yaml"


FLEET = ("--recovery-region", "us-west-2", "--recovery-region", "ap-northeast-1", "--instances", "900")
FLEET += ("--volumes", "9000", "--detached", "7", "--primary-region", "eu-central-1")


def test_what_is_unwise_is_said_with_its_lines(hikae, unwise, write_plan, matches_snapshot):
    Path("broken.yaml").write_text(UNWISE.replace("Berlin", "Berlln").replace("keep_weekly", "keep_weakly"))
    Path(unwise).write_text(UNWISE)
    result = hikae("plan", "validate", unwise, "broken.yaml", write_plan(), *FLEET)
    assert result.exit_code == 1
    matches_snapshot(result.stdout, "plan-validate.txt")


def test_the_capacity_of_one_plan_is_judged_with_the_lines_of_its_rules(hikae, unwise, matches_snapshot):
    Path(unwise).write_text(UNWISE[: UNWISE.index("  - name: never")].replace("rpo: 12h", "rpo: 26h"))
    result = hikae("plan", "validate", unwise, "--instances", "900", "--volumes", "9000", "--copy-duration", "10m")
    assert result.exit_code == 0  # warnings alone
    matches_snapshot(result.stdout, "plan-validate-capacity.txt")


def test_it_validates_for_programs(hikae, unwise, matches_snapshot):
    result = hikae("plan", "validate", unwise, *FLEET, "--json")
    assert result.exit_code == 1
    matches_snapshot(result.stdout, "plan-validate.json")


def test_detached_volumes_alone_are_a_fleet_too(hikae, write_plan):
    path = Path(write_plan())
    path.write_text(path.read_text().replace("[instance]", "[volume]"))
    result = hikae("plan", "validate", path, "--detached", "10")
    assert (
        "0 instances with 0 volumes and 10 detached ones come to 240 points of 240 snapshots in the " in result.output
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--recovery-region", "oregon"), "'oregon' is not a Region's code, such as us-west-2"),
        (("--volumes", "3"), "--volumes are those of instances; give --instances, too"),
        (("--instances", "3", "--volumes", "2"), "3 instances have at least 3 volumes; --volumes is 2"),
        (("--instances", "-1"), "-1 is not in the range"),
        (("--instances", "1", "--copy-duration", "soon"), "'soon' is not a duration such as 30m, 8h or 1d12h"),
        (("--primary-region", "us-east-1"), "--primary-region and --copy-duration are for a fleet; give --instances"),
    ],
)
def test_a_fleet_that_cannot_be_is_wrong_usage(hikae, write_plan, arguments, problem):
    result = hikae("plan", "validate", write_plan(), *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
