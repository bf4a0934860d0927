"""`make invoke`: run one built function by hand, as AWS runs it, without Docker.

The function's code and the layer come from `sam build`, its environment from the function that is deployed in the
running local cloud; AWS's Runtime Interface Emulator, which the SAM CLI ships, drives AWS's own runtime client.
https://docs.aws.amazon.com/lambda/latest/dg/python-image.html#python-image-clients
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.cloud import processes
from local.cloud.__main__ import STATE
from local.cloud.deployment import DeploymentError, read_template
from local.cloud.launcher import ROOT, CloudError, LocalCloud, Site

_RUNTIME_START_SECONDS = 20


class InvokeError(Exception):
    """The function cannot be run; the message says why."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.invoke")
    parser.add_argument("--function", required=True, help="logical id, for example SnapshotVolumes")
    parser.add_argument("--event", required=True, help="event file, for example events/snapshot_volumes/….json")
    parser.add_argument("--site", choices=["primary", "recovery"], default="primary")
    arguments = parser.parse_args()
    try:
        has_failed, answer = _invoke(function=arguments.function, event=arguments.event, site=arguments.site)
    except (InvokeError, CloudError, DeploymentError) as error:
        print(f"invoke: {error}", file=sys.stderr)
        return 2
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return 1 if has_failed else 0


def _invoke(*, function: str, event: str, site: Site) -> tuple[bool, Any]:
    if not function or not event:
        raise InvokeError("say what to run: make invoke FUNCTION=SnapshotVolumes EVENT=events/snapshot_volumes/….json")
    cloud = LocalCloud.attach(STATE)
    if cloud is None:
        raise InvokeError("the local cloud is not running; `make local-up` starts it")
    return run(cloud, function=function, event=_read_event(Path(event)), site=_site_of(function, asked_for=site))


def _read_event(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvokeError(f"{path} cannot be read as JSON: {error}") from error


def _site_of(function: str, *, asked_for: Site) -> Site:
    """Functions that exist at one site only run there, whatever was asked for."""
    return "recovery" if function in {"CopyRecoveryPoints", "ReportObjectives"} else asked_for


def run(cloud: LocalCloud, *, function: str, event: Any, site: Site) -> tuple[bool, Any]:
    """Run a built function once against `cloud`; answer (whether it failed, what it answered)."""
    build_directory = cloud.build()
    code, layer, handler = _built(build_directory, function=function)
    region = cloud.region_of(site)
    deployed = cloud.client("lambda", region).get_function_configuration(FunctionName=cloud.resource(site, function))
    with tempfile.TemporaryDirectory(prefix="hikae-invoke-", dir=cloud.running.folder / "tmp") as temporary:
        environment = {
            **cloud.environment(),
            **deployed.get("Environment", {}).get("Variables", {}),
            **_lambda_environment(deployed, region=region, handler=handler, code=code),
            "PYTHONPATH": os.pathsep.join([str(code), str(layer / "python")]),
            "PYTHONPYCACHEPREFIX": str(ROOT / ".local-cloud" / "pycache"),
            "HOME": temporary,
            "TMPDIR": temporary,
        }
        return _under_emulator(
            event,
            environment=environment,
            code=code,
            handler=handler,
            timeout=int(deployed.get("Timeout", 3)),
            temporary=Path(temporary),
        )


def _built(build_directory: Path, *, function: str) -> tuple[Path, Path, str]:
    """The folders of a built function and of the layer, and the handler."""
    resources = read_template(build_directory)["Resources"]
    functions = {name: body for name, body in resources.items() if body["Type"] == "AWS::Serverless::Function"}
    layers = [body for body in resources.values() if body["Type"] == "AWS::Serverless::LayerVersion"]
    if function not in functions:
        raise InvokeError(f"there is no function {function!r}; there are {', '.join(sorted(functions))}")
    code = (build_directory / functions[function]["Properties"]["CodeUri"]).resolve()
    layer = (build_directory / layers[0]["Properties"]["ContentUri"]).resolve()
    return code, layer, functions[function]["Properties"].get("Handler", "app.handler")


def _lambda_environment(deployed: Mapping[str, Any], *, region: str, handler: str, code: Path) -> dict[str, str]:
    """What Lambda sets for every function.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    """
    return {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_LAMBDA_FUNCTION_NAME": deployed["FunctionName"],
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(deployed.get("MemorySize", 128)),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(deployed.get("Timeout", 3)),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{deployed['FunctionName']}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "invoked-by-hand",
        "LAMBDA_TASK_ROOT": str(code),
        "_HANDLER": handler,
        "TZ": ":UTC",
    }


def _under_emulator(
    event: Any, *, environment: Mapping[str, str], code: Path, handler: str, timeout: int, temporary: Path
) -> tuple[bool, Any]:
    port = processes.free_port()
    command = [str(_emulator()), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{processes.free_port()}", "--log-level", "error"]
    command += [str(ROOT / ".tools" / "rie" / "bin" / "python"), "-m", "awslambdaric", handler]
    log = temporary / "emulator.log"
    child = processes.start(command, environment=environment, folder=temporary, log=log, cwd=code)
    try:
        answered = processes.wait_until(
            lambda: processes.is_listening(port) or child.poll() is not None, seconds=_RUNTIME_START_SECONDS
        )
        if not answered or child.poll() is not None:
            raise InvokeError(f"the Runtime Interface Emulator did not start:\n{processes.tail(log)}")
        return _call(port, event, seconds=timeout + 10)
    finally:
        survivors = processes.end([child], folder=temporary, patience=1)
        sys.stderr.write(log.read_text(errors="replace"))
        if survivors:
            raise InvokeError(f"processes left behind: {survivors}")


def _emulator() -> Path:
    machine = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    pattern = f"sam/lib/python3.*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
    found = sorted((ROOT / ".tools").glob(pattern))
    if not found or sys.platform != "linux":
        raise InvokeError(
            "the Runtime Interface Emulator runs on Linux only; elsewhere use `sam local invoke` with Docker"
        )
    return found[0]


def _call(port: int, event: Any, *, seconds: float) -> tuple[bool, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations", data=json.dumps(event).encode()
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as response:
            text = response.read().decode()
    except urllib.error.HTTPError as error:
        return True, error.read().decode()
    except (subprocess.SubprocessError, OSError) as error:
        return True, str(error)
    try:
        answer = json.loads(text) if text else None
    except ValueError:
        return True, text  # the emulator speaks JSON for the function, plain text for itself
    return isinstance(answer, dict) and "errorType" in answer, answer


if __name__ == "__main__":
    sys.exit(main())
