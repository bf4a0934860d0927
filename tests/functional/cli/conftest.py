import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from moto import mock_aws

from hikae_cli.main import main
from local.inprocess import Installation
from tests.functional.cli.json_services import JsonServices, serving_json
from tests.functional.cli.lambda_service import Deployed, serving
from tests.functional.handlers.conftest import Functions

ACCOUNT = "123456789012"  # moto's
PRIMARY = "us-east-1"
RECOVERY = "us-west-2"
PLAN = """\
version: 1
plan: {name}
timezone: UTC
selection: {{resources: [instance], tags: {{Backup: {name}}}}}
rules:
  - name: hourly
    schedule: "0 * * * *"
    protect: snapshots
    retention: {{keep_hourly: {keep}}}
    copies: [{{region: {region}, retention: {{keep_daily: 7}}}}]
drill: {{schedule: "0 4 * * 6"}}
"""


@pytest.fixture(autouse=True)
def regions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIKAE_PRIMARY_REGION", PRIMARY)
    monkeypatch.setenv("HIKAE_RECOVERY_REGION", RECOVERY)


@pytest.fixture
def hikae() -> Callable[..., Result]:
    """Run the command in this process; `stdin` is what is piped into it."""

    def run(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def matches_snapshot() -> Callable[[str, str], None]:
    """Compare output with the file of this name in `snapshots`; `RENEW_SNAPSHOTS=1 pytest tests/functional/cli` writes
    the files anew, and their difference is then to be read like any other change."""

    def matches(output: str, name: str) -> None:
        path = Path(__file__).parent / "snapshots" / name
        if os.environ.get("RENEW_SNAPSHOTS"):
            path.write_text(output)
        assert output == path.read_text()

    return matches


@pytest.fixture
def write_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A valid plan in a file of the working directory; its name is returned."""
    monkeypatch.chdir(tmp_path)

    def write(name: str = "production", *, file: str | None = None, keep: int = 24, region: str = RECOVERY) -> str:
        path = Path(file or f"{name}.yaml")
        path.write_text(PLAN.format(name=name, keep=keep, region=region))
        return str(path)

    return write


class Buckets:
    """Both sites' buckets, looked at with S3 itself."""

    def __init__(self) -> None:
        self.primary = f"hikae-main-primary-{ACCOUNT}-{PRIMARY}"
        self.recovery = f"hikae-main-recovery-{ACCOUNT}-{RECOVERY}"
        self.s3: Any = boto3.client("s3", region_name="us-east-1")

    def create(self, name: str, region: str) -> None:
        client = boto3.client("s3", region_name=region)
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != "us-east-1" else {}
        client.create_bucket(Bucket=name, **elsewhere)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def keys(self, bucket: str) -> list[str]:
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def content(self, bucket: str, key: str) -> str:
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()

    def versions(self, bucket: str, key: str) -> int:
        return len(self.s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", []))


@pytest.fixture
def no_buckets() -> Iterator[Buckets]:
    with mock_aws():
        yield Buckets()


@pytest.fixture
def buckets(no_buckets: Buckets) -> Buckets:
    no_buckets.create(no_buckets.primary, PRIMARY)
    no_buckets.create(no_buckets.recovery, RECOVERY)
    return no_buckets


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """Both sites in one process, with the function that prunes; EC2 is the twin."""
    with Installation() as installation:
        service = Deployed(Functions(installation, monkeypatch))
        with serving(service) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
            yield service


@pytest.fixture
def recovery_services(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Iterator[JsonServices]:
    """Both sites, with executions that play the state machine."""
    installation = deployed.functions.installation
    services = JsonServices(installation)
    with serving_json(services) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", url)
        yield services
