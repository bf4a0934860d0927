"""What the documents tell the reader to type is there, and what they link to, too."""

import re
import shlex
from pathlib import Path

import click
import pytest

from hikae.domain.plan import PlanError, parse_plan
from hikae_cli.main import main
from tests.functional.docs.documents import DOCUMENTS, EXAMPLES, ROOT, Block, blocks, commands, name_of, prose
from tests.template.sites import load_template

PLAN_BLOCKS = [block for block in blocks("yaml") if "plan:" in block.text]
# Written by `make bench` and `make chaos`.
GENERATED = {"docs/benchmarks.md", "docs/reliability.md"}


def mentions(pattern: str) -> set[str]:
    """What the pattern's group catches, in prose and in commands."""
    return {found for path in DOCUMENTS for found in re.findall(pattern, path.read_text())}


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_every_example_plan_is_valid(path: Path) -> None:
    assert parse_plan(path.read_text()).name == path.stem


@pytest.mark.parametrize("block", PLAN_BLOCKS, ids=str)
def test_every_plan_in_a_document_is_valid_and_is_the_example_of_its_name(block: Block) -> None:
    plan = parse_plan(block.text)
    assert plan == parse_plan((ROOT / "docs" / "examples" / f"{plan.name}.yaml").read_text())


def test_the_guide_shows_two_complete_plans() -> None:
    assert len([block for block in PLAN_BLOCKS if block.path.name == "plans.md"]) == 2


def test_the_refusals_that_the_guide_quotes_are_the_ones_that_are_given() -> None:
    quoted = re.findall(
        r"^plan\.yaml:\d+: (\S+): (.*?)(?:, …)?$", (ROOT / "docs/guide/plans.md").read_text(), re.MULTILINE
    )
    text = (ROOT / "docs/examples/by-hand.yaml").read_text()
    text = text.replace("protect: snapshots", "protect: snapshots\n    consistency: application")
    text = text.replace("keep_hourly: 6", "keep_dayly: 6")
    with pytest.raises(PlanError) as refusal:
        parse_plan(text)
    assert quoted
    for path, message in quoted:
        assert f"{path}: {message}" in str(refusal.value)


def test_every_key_of_a_plan_is_in_the_guide() -> None:
    guide = (ROOT / "docs/guide/plans.md").read_text()
    # Only a plan with nothing right in it makes the reader say what it knows.
    nonsense = """\
nonsense: 1
selection: {nonsense: 1}
rules:
  - {nonsense: 1, copies: [{nonsense: 1}], objectives: {nonsense: 1}}
"""
    with pytest.raises(PlanError) as refusal:
        parse_plan(nonsense)
    known = {key for keys in re.findall(r"the keys are ([a-z_, ]+)", str(refusal.value)) for key in keys.split(", ")}
    assert {"version", "exclude_tags", "start_window", "region", "rpo"} <= known
    assert not {key for key in known if not re.search(rf"`[\w\[\].]*\b{key}\b", guide)}


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {target for names in targets for target in names.split()}
    named = mentions(r"(?:^|[`(\"])make (?:-s )?([a-z][a-z-]*)") | {
        word for line in commands() for word in re.findall(r"\bmake (?:-s )?([a-z][a-z-]*)", line)
    }
    assert {"demo", "test", "local-up", "local-env", "invoke"} <= named
    assert not named - targets


def test_the_two_commands_are_in_the_readme() -> None:
    assert {"make demo", "make test"} <= {line.split("  ")[0] for line in commands()}


def test_every_use_of_the_command_is_one_that_it_understands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = [shlex.split(line.split(" > ")[0]) for line in commands() if re.search(r"\bhikae (plan|retention) ", line)]
    assert len(used) > 8
    every = every_command()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "production.yaml").touch()  # what a command before it writes
    for words in used:
        start = next(number for number, word in enumerate(words) if word in {"plan", "retention"})
        name, arguments = " ".join(words[start : start + 2]), words[start + 2 :]
        # Options and files are read, nothing is done.
        context = every[name].make_context(name, [str(ROOT / word) if "/" in word else word for word in arguments])
        assert context.params is not None


def test_every_use_of_prune_is_one_that_it_understands() -> None:
    used = [line.split(" > ")[0] for line in commands() if line.startswith("hikae prune")]
    assert used
    assert isinstance(main, click.Group)
    for line in used:
        context = main.commands["prune"].make_context("prune", shlex.split(line)[2:])
        assert context.params["site"]


def test_every_use_of_the_commands_of_recovery_is_one_that_they_understand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [shlex.split(line) for line in commands() if re.match(r"hikae (points|restore|drill|ready)\b", line)]
    assert len(used) > 15
    every = every_command()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "restore-shop-1.json").touch()  # what a command before it writes
    for _, *words in used:
        name = " ".join(words[:2]) if words[0] == "drill" else words[0]
        assert every[name].make_context(name, words[len(name.split()) :]).params is not None


@pytest.mark.parametrize("words", [("prune",), ("plan", "preview")], ids=" ".join)
def test_every_option_of_looking_ahead_is_documented(words: tuple[str, ...]) -> None:
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    options = {name for option in command.params for name in option.opts if name.startswith("--")}
    guide = (ROOT / "docs/guide/operate.md").read_text()
    assert not {option for option in options - {"--region", "--installation"} if option not in guide}


def test_every_use_of_the_command_on_jobs_is_one_that_it_understands() -> None:
    used = [shlex.split(line) for line in commands() if line.startswith("hikae jobs")]
    assert isinstance(main, click.Group)
    group = main.commands["jobs"]
    assert isinstance(group, click.Group)
    assert {words[2] for words in used} == set(group.commands)
    for words in used:
        # Options are read, nothing is done.
        context = group.commands[words[2]].make_context(words[2], words[3:])
        assert context.params["installation"] == "main"


def every_command() -> dict[str, click.Command]:
    """The commands by what is typed for them: `plan validate`."""
    assert isinstance(main, click.Group)
    found: dict[str, click.Command] = {}
    for first, command in main.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{first} {second}": each for second, each in command.commands.items()}
        else:
            found[first] = command
    return found


def options_of(command: click.Command) -> set[str]:
    return {
        name for option in command.params for name in (*option.opts, *option.secondary_opts) if name.startswith("--")
    }


def test_every_command_is_in_the_reference_with_all_its_options_and_no_other() -> None:
    sections = re.split(r"^## `hikae (.+)`$", (ROOT / "docs/reference/cli.md").read_text(), flags=re.MULTILINE)[1:]
    documented = dict(zip(sections[::2], sections[1::2], strict=True))
    every = every_command()
    assert set(documented) == set(every)
    for name, text in documented.items():
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) == options_of(every[name]), name


def test_every_function_that_is_invoked_and_every_event_file_exists() -> None:
    functions = {
        name
        for name, resource in load_template()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    invoked = mentions(r"FUNCTION=(\w+)") | mentions(r"sam local invoke (\w+)")
    assert invoked
    assert not invoked - functions
    events = mentions(r"(events/[\w./-]+\.json)")
    assert events
    assert not {event for event in events if not (ROOT / event).is_file()}


def test_every_deployed_function_that_is_named_has_a_name_that_the_template_gives() -> None:
    given = {
        resource["Properties"]["FunctionName"]["Fn::Sub"].replace("${Installation}", "main").replace("${Site}", site)
        for resource in load_template()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
        for site in ("primary", "recovery")
    }
    named = mentions(r"--function-name (\S+)") | mentions(r"/aws/lambda/(hikae-main-[\w-]+)")
    assert named
    assert not named - given


def test_every_deployment_environment_that_is_named_is_in_the_samconfig() -> None:
    samconfig = (ROOT / "samconfig.toml").read_text()
    named = {name for line in commands() for name in re.findall(r"--config-env (\w+)", line)}
    assert named == {"primary", "recovery", "standby", "failback"}
    assert all(f"[{name}.deploy.parameters]" in samconfig for name in named)
    assert all(f'"{name}"' in samconfig for name in mentions(r"--stack-name (hikae-\w+)"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(path)):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists() or name_of(linked) in GENERATED, f"{name_of(path)}: {target}"
        if anchor:
            assert anchor in headings(linked), f"{name_of(path)}: {target}"


def headings(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_no_document_names_a_path_of_somebodys_machine() -> None:
    assert not mentions(r"(?:^|[\s`(\"])(/(?:home|root|tmp|work|Users|opt)/\S*)")


def test_the_schedule_that_the_guide_shows_is_what_the_command_prints() -> None:
    printed = (ROOT / "tests/functional/cli/snapshots/plan-schedule-spring.txt").read_text()
    (shown,) = [block.text for block in blocks("") if block.text.startswith("rule nightly")]
    assert shown in printed
