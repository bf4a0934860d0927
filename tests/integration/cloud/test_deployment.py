import json
from pathlib import Path

import pytest
import yaml

from local.cloud.deployment import LEFT_OUT, DeploymentError, build, localise, run

FAKE_SAM = """#!/bin/sh
echo run >> "$BUILDS_LOG"
while [ "$1" != --build-dir ]; do shift; done
mkdir -p "$2" && cp template.yaml "$2/template.yaml"
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "functions" / "one").mkdir(parents=True)
    (root / "functions" / "one" / "app.py").write_text("first = True\n")
    (root / "template.yaml").write_text("Resources: {}\n")
    return root


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sam").write_text(FAKE_SAM)
    (tools / "sam").chmod(0o755)
    return {"PATH": f"{tools}:/usr/bin:/bin", "BUILDS_LOG": str(tmp_path / "log")}


def test_the_same_sources_are_built_once_and_changed_ones_again(
    sources: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", environment["PATH"])
    builds = tmp_path / "builds"
    first, is_first_new = build(root=sources, builds=builds, environment=environment)
    again, is_again_new = build(root=sources, builds=builds, environment=environment)
    (sources / "functions" / "one" / "app.py").write_text("first = False\n")
    changed, is_changed_new = build(root=sources, builds=builds, environment=environment)
    assert (is_first_new, is_again_new, is_changed_new) == (True, False, True)
    assert first == again != changed
    assert (first / "template.yaml").exists()
    assert len((tmp_path / "log").read_text().split()) == 2
    assert not list(builds.glob("draft-*"))


def test_a_build_that_fails_leaves_nothing_and_shows_what_sam_said(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"sam build failed with status 7:\n +it is raining"):
        run(["sh", "-c", "echo it is raining; exit 7"], environment={}, cwd=sources, what="sam build")


def test_what_ministack_does_not_know_is_left_out_with_its_reason_and_every_mention(tmp_path: Path) -> None:
    template = {
        "Resources": {
            "Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": "bus"}, "DependsOn": ["Policy", "Topic"]},
            "Policy": {"Type": "AWS::Events::EventBusPolicy", "Properties": {"EventBusName": {"Ref": "Bus"}}},
            "Alarm": {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": {}},
            "Topic": {"Type": "AWS::SNS::Topic", "DependsOn": "Alarm"},
        },
        "Outputs": {
            "BusArn": {"Value": {"Fn::GetAtt": ["Bus", "Arn"]}},
            "AlarmArn": {"Value": {"Fn::GetAtt": "Alarm.Arn"}},
            "Policy": {"Value": {"Fn::Join": ["", ["x", {"Ref": "Policy"}]]}},
        },
    }
    (tmp_path / "template.yaml").write_text(yaml.safe_dump(template))
    path, left_out = localise(tmp_path)
    local = json.loads(path.read_text())
    assert left_out == {
        "Policy": LEFT_OUT["AWS::Events::EventBusPolicy"],
        "Alarm": LEFT_OUT["AWS::CloudWatch::CompositeAlarm"],
    }
    assert set(local["Resources"]) == {"Bus", "Topic"}
    assert local["Resources"]["Bus"]["DependsOn"] == ["Topic"]
    assert set(local["Outputs"]) == {"BusArn"}


def test_functions_take_a_time_that_is_ahead_of_the_clock_beside_what_the_template_tells_them(tmp_path: Path) -> None:
    shared = {"Function": {"Environment": {"Variables": {"HIKAE_SITE": "primary"}}}}
    (tmp_path / "template.yaml").write_text(yaml.safe_dump({"Globals": shared, "Resources": {}}))
    path, _ = localise(tmp_path)
    variables = json.loads(path.read_text())["Globals"]["Function"]["Environment"]["Variables"]
    assert variables == {"HIKAE_SITE": "primary", "HIKAE_TAKES_FUTURE_NOW": "true"}
