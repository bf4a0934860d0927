"""What a cold start costs, against the least that any EC2 function pays: boto3 and one EC2 client."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

ROOT = Path(__file__).parents[1]
RUNS = 20
BASELINE = "import boto3; boto3.client('ec2', region_name='us-east-1')"
HANDLERS = (
    "schedule_backups",
    "snapshot_volumes",
    "build_images",
    "copy_recovery_points",
    "prune_recovery_points",
    "report_objectives",
)
EVENTS = {
    "schedule_backups": "schedule_backups/tick",
    "snapshot_volumes": "snapshot_volumes/past-deadline",
    "build_images": "build_images/no-reboot",
    "copy_recovery_points": "copy_recovery_points/sweep",
    "prune_recovery_points": "prune_recovery_points/dry-run",
    "report_objectives": "report_objectives/report",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """One handler's cold start. The import time is a median of fresh processes, in seconds."""

    handler: str
    import_seconds: float
    ratio: float
    first_invocation_seconds: float
    peak_memory_mib: float


def measure_startup() -> tuple[float, list[Startup]]:
    """The baseline's seconds, and every handler's start; they take turns, so that all meet the same load."""
    seconds: dict[str, list[float]] = {name: [] for name in ("", *HANDLERS)}
    for _ in range(RUNS):
        for name, taken in seconds.items():
            taken.append(_seconds(BASELINE if not name else "import app", name))
    baseline = statistics.median(seconds[""])
    starts = []
    with _services() as endpoint:
        for name in HANDLERS:
            first, memory = _first_invocation(name, endpoint)
            median = statistics.median(seconds[name])
            starts.append(
                Startup(
                    handler=name,
                    import_seconds=median,
                    ratio=median / baseline,
                    first_invocation_seconds=first,
                    peak_memory_mib=memory,
                )
            )
    return baseline, starts


def _seconds(statement: str, function: str) -> float:
    program = f"import time\nstart = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    return float(_run(program, function).splitlines()[-1])


_FIRST = """\
import json, re, time
start = time.perf_counter()
import app

class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "bench"
    def get_remaining_time_in_millis(self):
        return 60000

event = json.loads(open({event!r}).read())
app.handler(event, Context())
# Not getrusage: its peak is that of the process which started this one, too.
peak = int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read()).group(1)) / 1024
print(json.dumps([time.perf_counter() - start, peak]))
"""


def _first_invocation(function: str, endpoint: str) -> tuple[float, float]:
    """Import and first answer, in a fresh process against the local services; seconds and MiB."""
    program = _FIRST.format(event=str(ROOT / "events" / f"{EVENTS[function]}.json"))
    site = "recovery" if function in {"copy_recovery_points", "report_objectives"} else "primary"
    region = "us-west-2" if site == "recovery" else "us-east-1"
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": region,
        "HIKAE_INSTALLATION": "main",
        "HIKAE_SITE": site,
        "HIKAE_ACCOUNT": "123456789012",
        "HIKAE_BUCKET": f"hikae-main-{site}-123456789012-{region}",
        "HIKAE_TABLE": f"hikae-main-{site}",
        "HIKAE_SNAPSHOT_QUEUE_URL": f"{endpoint}/123456789012/jobs",
        "HIKAE_IMAGE_QUEUE_URL": f"{endpoint}/123456789012/jobs",
        "HIKAE_COPY_KEY_ARN": "arn:aws:kms:us-west-2:123456789012:key/00000000-0000-4000-8000-000000000000",
        "HIKAE_PRIMARIES": "123456789012/us-east-1",
        "POWERTOOLS_SERVICE_NAME": function,
        "POWERTOOLS_METRICS_NAMESPACE": "hikae",
    }
    first, peak = json.loads(_run(program, function, environment).splitlines()[-1])
    return float(first), float(peak)


def _run(program: str, function: str, environment: dict[str, str] | None = None) -> str:
    path = os.pathsep.join([str(ROOT / "functions" / function), str(ROOT / "layers" / "core")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | _CREDENTIALS | {"PYTHONPATH": path} | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"the measured process for {function or 'the baseline'} failed:\n{done.stderr}")
    return done.stdout


_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def _services() -> Iterator[str]:
    """The twin's server with the buckets, tables and the queue that the handlers ask for."""
    with TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        server = subprocess.Popen(
            [sys.executable, "-m", "local.twin.server", "--port-file", str(port_file)],
            cwd=ROOT,
            env=os.environ | _CREDENTIALS | {"MOTO_ACCOUNT_ID": "123456789012"},
        )
        try:
            deadline = monotonic() + 60
            while not port_file.exists():
                if server.poll() is not None or monotonic() > deadline:
                    raise RuntimeError("the twin's server did not start")
                sleep(0.1)
            endpoint = f"http://127.0.0.1:{port_file.read_text()}"
            _run(_PREPARE, "", {"AWS_ENDPOINT_URL": endpoint})
            yield endpoint
        finally:
            server.terminate()
            server.wait(timeout=20)


_PREPARE = """\
import boto3
for site, region in (("primary", "us-east-1"), ("recovery", "us-west-2")):
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    boto3.client("s3", region_name=region).create_bucket(Bucket=f"hikae-main-{site}-123456789012-{region}", **where)
    boto3.client("dynamodb", region_name=region).create_table(
        TableName=f"hikae-main-{site}",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
boto3.client("sqs", region_name="us-east-1").create_queue(QueueName="jobs")
"""
