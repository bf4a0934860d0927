"""Build the application with the SAM CLI and deploy it into a local cloud."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from local.cloud import processes

# Types that ministack 1.5.33 does not know; one of them fails the whole stack. Template tests cover them instead.
LEFT_OUT = {
    "AWS::CloudWatch::CompositeAlarm": "ministack evaluates single alarms only",
    "AWS::Events::Archive": "ministack keeps archives but cannot create one from a template",
    "AWS::Events::EventBusPolicy": "ministack lets every account of its own put events on every bus",
    "AWS::Logs::QueryDefinition": "ministack has no saved queries",
    "AWS::Rbin::Rule": "ministack has no Recycle Bin; the twin answers it",
}

_SOURCES = ("template.yaml", "functions", "layers", "statemachines")
_BUILDS_KEPT = 4


class DeploymentError(Exception):
    """A `sam` command failed; the message shows which and the end of what it said."""


def build(
    *, root: Path, builds: Path, environment: Mapping[str, str], template: str = "template.yaml"
) -> tuple[Path, bool]:
    """Build the sources in `root` once and answer (build directory, whether it had to be built).

    A build is kept under the digest of its sources, and appears there complete or not at all: clouds side by side share
    it, and neither can disturb the other.
    """
    target = builds / _digest(root)
    if target.exists():
        target.touch()
        return target / "build", False
    builds.mkdir(parents=True, exist_ok=True)
    # The built template names sources by paths relative to itself, so the draft lies as deep as the target. `sam build`
    # also writes beside its build directory; hence a folder around it.
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=builds))
    try:
        command = ["sam", "build", "--template-file", str(root / template), "--build-dir", str(draft / "build")]
        run([*command, "--base-dir", str(root)], environment=environment, cwd=root, what="sam build")
        try:
            draft.rename(target)
        except OSError:
            if not target.exists():  # else another cloud was faster with the same sources
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _drop_old_builds(builds)
    return target / "build", True


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(_source_files(root)):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _source_files(root: Path) -> Iterator[Path]:
    for source in _SOURCES:
        path = root / source
        if path.is_file():
            yield path
        for folder, folders, files in os.walk(path):
            folders[:] = [name for name in folders if name not in {"__pycache__", ".aws-sam"}]
            yield from (Path(folder) / name for name in files if not name.endswith(".pyc"))


def _drop_old_builds(builds: Path) -> None:
    complete = [path for path in builds.iterdir() if not path.name.startswith("draft-")]
    for path in sorted(complete, key=lambda path: path.stat().st_mtime, reverse=True)[_BUILDS_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in builds.glob("draft-*"):
        if time.time() - path.stat().st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)


def localise(build_directory: Path) -> tuple[Path, dict[str, str]]:
    """Write `local.json` beside the built template, without the resources in `LEFT_OUT`.

    Its functions take a `now` that is ahead of the clock: nothing real depends on them, and tests let clocks jump.

    Answer its path and what was left out, as logical id → reason.
    """
    template = read_template(build_directory)
    resources = template["Resources"]
    dropped = {name: LEFT_OUT[body["Type"]] for name, body in resources.items() if body["Type"] in LEFT_OUT}
    for name in dropped:
        del resources[name]
    for body in resources.values():
        if "DependsOn" in body:
            wanted = [body["DependsOn"]] if isinstance(body["DependsOn"], str) else body["DependsOn"]
            body["DependsOn"] = [name for name in wanted if name not in dropped]
    for name, body in resources.items():
        if body["Type"] == "AWS::Serverless::StateMachine":
            body["Properties"]["DefinitionUri"] = _as_json(build_directory, name, body["Properties"]["DefinitionUri"])
    shared = template.setdefault("Globals", {}).setdefault("Function", {}).setdefault("Environment", {})
    shared.setdefault("Variables", {})["HIKAE_TAKES_FUTURE_NOW"] = "true"
    outputs = template.get("Outputs", {})
    template["Outputs"] = {name: body for name, body in outputs.items() if not _mentions(body, dropped)}
    path = build_directory / "local.json"  # the SAM CLI parses the template seven times, JSON in no time
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(template, default=str))
    draft.replace(path)
    return path, dropped


def _as_json(build_directory: Path, name: str, uri: str) -> str:
    """A state machine's definition as JSON, which is all that ministack 1.5.33 parses; AWS takes YAML, too."""
    definition = yaml.safe_load((build_directory / uri).read_text())
    path = build_directory / f"{name}.asl.json"
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(definition))
    draft.replace(path)
    return path.name


def read_template(build_directory: Path) -> dict[str, Any]:
    """The built template, which `sam build` writes without short-form intrinsics."""
    text = (build_directory / "template.yaml").read_text()
    template: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe either way
    return template


def _mentions(body: Any, names: Mapping[str, str]) -> bool:
    """Whether a template fragment refers to one of `names` by Ref or GetAtt."""
    if isinstance(body, dict):
        target = body.get("Ref") or body.get("Fn::GetAtt")
        name = target[0] if isinstance(target, list) else str(target).split(".")[0]
        return name in names or any(_mentions(value, names) for value in body.values())
    return isinstance(body, list) and any(_mentions(value, names) for value in body)


def deploy(
    *,
    template: Path,
    stack: str,
    region: str,
    parameters: Mapping[str, str],
    environment: Mapping[str, str],
) -> None:
    """Create or update `stack` in `region` from a built template."""
    command = ["sam", "deploy", "--template-file", str(template), "--stack-name", stack, "--region", region]
    command += ["--resolve-s3", "--capabilities", "CAPABILITY_IAM"]
    command += ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar", "--disable-rollback"]
    command += ["--parameter-overrides", *(f"{name}={_quoted(value)}" for name, value in parameters.items())]
    run(command, environment=environment, cwd=template.parent, what=f"sam deploy of {stack} to {region}")


def _quoted(value: str) -> str:
    """The value as `sam deploy --parameter-overrides` reads it back."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def run(command: Sequence[str], *, environment: Mapping[str, str], cwd: Path, what: str) -> str:
    """Run a tool to its end and answer what it said; DeploymentError with the end of that when it failed."""
    process = subprocess.Popen(
        command,
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=processes.die_with_parent,  # noqa: PLW1509 - one call of libc, nothing that locks
    )
    with process:
        try:
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        said = "\n".join(f"    {line}" for line in output.splitlines()[-40:])
        raise DeploymentError(f"{what} failed with status {process.returncode}:\n{said}")
    return output
