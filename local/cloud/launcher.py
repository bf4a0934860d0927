"""Start, use and end a local cloud.

with LocalCloud() as cloud:
    cloud.deploy()
    cloud.invoke("ScheduleBackups", {}, region=cloud.primary_region)
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from local.cloud import deployment, processes, supervisor
from local.cloud.clients import CREDENTIALS, clients_of
from local.twin.services import loopback_block

Site = Literal["primary", "recovery"]

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
PREFIX = "hikae-cloud-"
LOST_REGION = "lost-region"
"""As `ministack_like_aws`, which nothing here can import, has it."""
FOR_TRYING_OUT = {
    # A fleet's seeded history is long, and most of it is due for pruning at once.
    "LineageDeletionPercent": "100",
    "TickSchedule": "rate(1 minute)",
    "SweepSchedule": "rate(1 minute)",
    "PruneSchedule": "rate(1 minute)",
    "RecoverySweepSchedule": "rate(1 minute)",
    "DrillSchedule": "rate(1 minute)",
    "ReportSchedule": "rate(1 minute)",
}

_SHORTEST_WAIT = 0.1
"""State machines wait shorter as EC2 gets faster, down to a tenth: a step itself takes as long as anywhere."""
_STALE_GRACE_SECONDS = 60
_ROOM_BYTES = 2 * 1024**3


class CloudError(Exception):
    """The local cloud cannot do what was asked; the message says why, with the end of the log where there is one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where a running cloud is."""

    folder: Path
    supervisor: int
    pids: Mapping[str, int]
    endpoint: str
    ec2_endpoint: str


class LocalCloud:
    """One local cloud: ministack, the EC2 twin and the event relay, on loopback, under one temporary folder.

    As a context manager it starts on entry and is gone on exit, with every process, port and file, also when the
    program that holds it is killed. `start(detached=True)` leaves it running for `attach` and `stop` in later programs.
    """

    def __init__(
        self,
        *,
        root: Path = ROOT,
        primary_region: str = "us-east-1",
        recovery_region: str = "us-west-2",
        installation: str = "main",
        scale: float = 60,
        parameters: Mapping[str, str] | None = None,
        say: Callable[[str], object] = lambda _: None,
        twin_command: list[str] | None = None,
        ministack_command: list[str] | None = None,
    ) -> None:
        self.root = root
        self.primary_region = primary_region
        self.recovery_region = recovery_region
        self.installation = installation
        self.scale = scale
        self.parameters = {"Installation": installation, **FOR_TRYING_OUT, **(parameters or {})}
        self.left_out: dict[str, str] = {}
        self.build_directory: Path | None = None
        self._say = say
        self._twin_command = twin_command
        # ministack's own Python, and nothing of this checkout on its path: the functions that it runs must not see it.
        self._ministack_command = ministack_command or [
            str(root / ".tools" / "ministack" / "bin" / "python"),
            "-P",
            str(root / "local" / "cloud" / "ministack_like_aws.py"),
        ]
        self._running: Running | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._clients: Callable[[str, str], Any] | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, detached: bool = False) -> None:
        """Start the three programs and wait until they answer.

        Raises CloudError, with the end of the log of the program that did not come up.
        """
        remove_leftovers()
        _require(Path(self._ministack_command[0]))
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_folders()[0])).resolve()
        for name in ("logs", "tmp", "home"):
            (folder / name).mkdir()
        (folder / "settings.json").write_text(json.dumps(self._settings(folder)))
        lock = os.open(folder / supervisor.LOCK, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            command = [sys.executable, "-m", "local.cloud.supervisor", "--folder", str(folder)]
            self._supervisor = processes.start(
                [*command, "--detached"] if detached else command,
                environment=self._base_environment(folder),
                folder=folder,
                log=folder / "logs" / "supervisor.log",
                cwd=self.root,
                dies_with_parent=False,  # it ends by itself, and cleans up, when our end of its standard input closes
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                pass_fds=[lock],
            )
        finally:
            os.close(lock)
        try:
            self._running = self._wait_for_supervisor(folder)
        except BaseException:
            self._end_supervisor(folder)
            raise

    def stop(self) -> None:
        """End every process and remove the folder; CloudError if anything is left."""
        running, self._running = self._running, None
        self._clients = None
        if running is None:
            return
        self._end_supervisor(running.folder, pid=running.supervisor)
        ports = [int(url.rpartition(":")[2]) for url in (running.endpoint, running.ec2_endpoint)]

        def left() -> list[str]:
            found = [f"process {pid}" for pid in processes.belonging_to(running.folder)]
            found += [f"port {port}" for port in ports if processes.is_listening(port)]
            return [*found, f"folder {running.folder}"] if running.folder.exists() else found

        if not processes.wait_until(lambda: not left(), seconds=3):
            raise CloudError(f"the local cloud left behind: {', '.join(left())}")

    def _end_supervisor(self, folder: Path, *, pid: int | None = None) -> None:
        child = self._supervisor
        if child is not None:
            pid = child.pid
            if child.stdin is not None:
                child.stdin.close()
        if pid is not None and is_held(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 15)
        is_ended = child.poll if child is not None else lambda: None if is_held(folder) else 0
        if not processes.wait_until(lambda: is_ended() is not None, seconds=20) or folder.exists():
            processes.end([child] if child is not None else [], folder=folder, patience=0)
            processes.remove(folder)
        self._supervisor = None

    def _wait_for_supervisor(self, folder: Path) -> Running:
        child = self._supervisor
        assert child is not None
        while child.poll() is None:
            if (folder / supervisor.READY).exists():
                facts = json.loads((folder / supervisor.READY).read_text())
                return Running(folder=folder, supervisor=child.pid, **facts)
            if (folder / supervisor.FAILED).exists():
                raise CloudError((folder / supervisor.FAILED).read_text())
            time.sleep(0.05)
        log = processes.tail(folder / "logs" / "supervisor.log")
        raise CloudError(f"the supervisor ended with status {child.returncode}; the end of its log:\n{log}")

    def _settings(self, folder: Path) -> dict[str, Any]:
        twin = [sys.executable, "-m", "local.twin.server", "--host", "127.0.0.1", "--port", "0"]
        twin += ["--port-file", "{port_file}", "--scale", f"{self.scale:g}", "--kms-endpoint", "{endpoint}"]
        relay = [sys.executable, "-m", "local.cloud.relay", "--events", "{ec2_endpoint}", "--endpoint", "{endpoint}"]
        return {
            "root": str(self.root),
            "environment": self._base_environment(folder),
            "ministack": self._ministack_command,
            "twin": self._twin_command or twin,
            "twin_health": "/_twin/health",
            "relay": relay,
        }

    def _base_environment(self, folder: Path) -> dict[str, str]:
        """What every process of the cloud sees, and nothing of the caller's own AWS settings."""
        return {
            "PATH": self._path(),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C.UTF-8",
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "S3_DATA_DIR": str(folder / "tmp" / "s3"),
            "STATE_DIR": str(folder / "tmp" / "state"),
            "SFN_WAIT_SCALE": f"{max(1 / self.scale, _SHORTEST_WAIT):g}",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MOTO_ACCOUNT_ID": ACCOUNT,
            **_credentials(self.primary_region),
        }

    def _path(self) -> str:
        own = [self.root / ".tools" / "bin", self.root / ".venv" / "bin", self.root / ".tools" / "uv" / "bin"]
        inherited = os.environ.get("PATH", os.defpath).split(os.pathsep)
        return os.pathsep.join(dict.fromkeys([*(str(path) for path in own), *inherited]))

    # --- the application ----------------------------------------------------------------------------------------------

    def build(self) -> Path:
        """Build the application unless these very sources are built already; answer the build directory."""
        _require(self.root / ".tools" / "bin" / "sam")
        begun = time.monotonic()
        self.build_directory, is_new = deployment.build(
            root=self.root, builds=self.root / ".local-cloud" / "builds", environment=self._tool_environment()
        )
        self._say(f"built in {time.monotonic() - begun:.1f} s" if is_new else "built before, sources unchanged")
        return self.build_directory

    def deploy(self) -> None:
        """Build, then deploy the recovery site and the primary site, connected with each other."""
        self.build()
        self.deploy_site("recovery")
        self.deploy_site("primary")

    def deploy_site(self, site: Site, **parameters: str) -> None:
        """Create or update one site's stack; `parameters` override the cloud's own for this call."""
        build_directory = self.build_directory or self.build()
        template, self.left_out = deployment.localise(build_directory)
        if self.left_out:
            reasons = "; ".join(f"{name} ({reason})" for name, reason in sorted(self.left_out.items()))
            self._say(f"left out of the local {site} site: {reasons}")
        begun = time.monotonic()
        deployment.deploy(
            template=template,
            stack=self.stack_name(site),
            region=self.region_of(site),
            parameters={**self.parameters, "Site": site, **self._connections(site), **parameters},
            environment=self._tool_environment(),
        )
        if site == "recovery":
            self._show_profile_to_twin()
        self._say(f"{site} site deployed to {self.region_of(site)} in {time.monotonic() - begun:.1f} s")

    def _connections(self, site: Site) -> dict[str, str]:
        if site == "recovery":
            return {"Primaries": f"{ACCOUNT}/{self.primary_region}", **self._drill_network()}
        outputs = self.stack_outputs("recovery")
        return {"WakeBusArn": outputs["WakeBusArn"]} if "WakeBusArn" in outputs else {}

    def _drill_network(self) -> dict[str, str]:
        """The drills' network, made in the twin once: the stack's own would be in ministack, where no instance is.

        Its addresses are loopback's, so that the probing function reaches what the twin's instances serve.
        """
        ec2 = self.client("ec2", self.recovery_region)
        name = f"hikae-{self.installation}-drills"
        ours = [{"Name": "tag:Name", "Values": [name]}]
        vpcs = ec2.describe_vpcs(Filters=ours)["Vpcs"]
        tags = [{"Key": "Name", "Value": name}]
        if not vpcs:
            block = loopback_block(urlsplit(self.running.ec2_endpoint).port or 0)
            specification = [{"ResourceType": "vpc", "Tags": tags}]
            vpcs = [ec2.create_vpc(CidrBlock=f"{block}.0.0/22", TagSpecifications=specification)["Vpc"]]
            vpc = vpcs[0]["VpcId"]
            for number, zone in enumerate("ab"):
                ec2.create_subnet(
                    VpcId=vpc, CidrBlock=f"{block}.{number}.0/24", AvailabilityZone=f"{self.recovery_region}{zone}"
                )
            ec2.create_security_group(GroupName=name, Description="drills", VpcId=vpc)
        vpc = vpcs[0]["VpcId"]
        inside = [{"Name": "vpc-id", "Values": [vpc]}]
        subnets = sorted(ec2.describe_subnets(Filters=inside)["Subnets"], key=lambda each: each["AvailabilityZone"])
        group = ec2.describe_security_groups(Filters=[*inside, {"Name": "group-name", "Values": [name]}])
        return {
            "DrillVpcId": vpc,
            "DrillSubnetIds": ",".join(subnet["SubnetId"] for subnet in subnets),
            "DrillSecurityGroupId": group["SecurityGroups"][0]["GroupId"],
        }

    def _show_profile_to_twin(self) -> None:
        """Let the twin know the drills' instance profile, which is ministack's: EC2 asks IAM whether there is one."""
        iam = clients_of(self.running.endpoint, iam=self.running.ec2_endpoint)("iam", self.recovery_region)
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_instance_profile(InstanceProfileName=self.resource("recovery", "DrillInstanceProfile"))

    def beside(self, recovery_region: str, *, installation: str | None = None, **parameters: str) -> Self:
        """This running cloud, seen with another recovery Region: for deploying and asking a further recovery site.

        It belongs to this one, which ends it. `parameters` override this one's; `installation` is another one in it.
        """
        name = installation or self.installation
        other = type(self)(
            root=self.root,
            primary_region=self.primary_region,
            recovery_region=recovery_region,
            installation=name,
            parameters={**self.parameters, "Installation": name, **parameters},
            say=self._say,
        )
        other.build_directory = self.build_directory
        other._running = self.running  # noqa: SLF001 - of its own class
        return other

    def delete_site(self, site: Site) -> None:
        """Delete one site's stack and wait until it is gone."""
        cloudformation = self.client("cloudformation", self.region_of(site))
        cloudformation.delete_stack(StackName=self.stack_name(site))
        waiter = cloudformation.get_waiter("stack_delete_complete")
        waiter.wait(StackName=self.stack_name(site), WaiterConfig={"Delay": 1, "MaxAttempts": 120})

    def stack_name(self, site: Site) -> str:
        return f"hikae-{self.installation}-{site}"

    def region_of(self, site: Site) -> str:
        return self.primary_region if site == "primary" else self.recovery_region

    def stacks(self) -> dict[Site, str]:
        """The status of each site's stack, where there is one."""
        found: dict[Site, str] = {}
        sites: tuple[Site, ...] = ("primary", "recovery")
        for site in sites:
            cloudformation = self.client("cloudformation", self.region_of(site))
            with contextlib.suppress(cloudformation.exceptions.ClientError):
                stack = cloudformation.describe_stacks(StackName=self.stack_name(site))["Stacks"][0]
                found[site] = stack["StackStatus"]
        return found

    def stack_outputs(self, site: Site) -> dict[str, str]:
        """The outputs of a site's stack; empty where the site is not deployed."""
        cloudformation = self.client("cloudformation", self.region_of(site))
        try:
            stack = cloudformation.describe_stacks(StackName=self.stack_name(site))["Stacks"][0]
        except cloudformation.exceptions.ClientError:
            return {}
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def resource(self, site: Site, logical_id: str) -> str:
        """The physical id of a resource of a site's stack; CloudError where there is none."""
        cloudformation = self.client("cloudformation", self.region_of(site))
        try:
            answer = cloudformation.describe_stack_resource(
                StackName=self.stack_name(site), LogicalResourceId=logical_id
            )
        except cloudformation.exceptions.ClientError as error:
            raise CloudError(f"the {site} site has no resource {logical_id}: {error}") from error
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    # --- use ----------------------------------------------------------------------------------------------------------

    @property
    def running(self) -> Running:
        """Where the cloud is; CloudError when it is not running, or a program of it has died."""
        if self._running is None:
            raise CloudError("the local cloud is not running")
        died = self._running.folder / supervisor.DIED
        if died.exists():
            raise CloudError(died.read_text())
        return self._running

    def client(self, service: str, region: str | None = None) -> Any:
        """A boto3 client of this cloud: EC2, and what refers to it, is the twin's, everything else ministack's."""
        running = self.running
        if self._clients is None:
            twin = dict.fromkeys(("ec2", "autoscaling", "rbin", "ssm"), running.ec2_endpoint)
            self._clients = clients_of(running.endpoint, **twin)
        return self._clients(service, region or self.primary_region)

    def invoke(self, function: str, payload: Any, region: str | None = None, *, site: Site | None = None) -> Any:
        """Invoke a deployed function by its logical id and answer what it returned; CloudError when it failed."""
        if site is None:
            site = "recovery" if region == self.recovery_region != self.primary_region else "primary"
        name = self.resource(site, function)
        answer = self.client("lambda", self.region_of(site)).invoke(FunctionName=name, Payload=json.dumps(payload))
        text = answer["Payload"].read().decode()
        if answer.get("FunctionError"):
            raise CloudError(f"{function} at the {site} site failed: {text}")
        return json.loads(text) if text else None

    def twin_control(self, path: str, payload: Any = None) -> Any:
        """Call one of the twin's control routes (`/_twin/…`): POST with a payload, GET without."""
        request = urllib.request.Request(  # noqa: S310 - always http on loopback
            self.running.ec2_endpoint + path,
            data=None if payload is None else json.dumps(payload).encode(),
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            text = response.read().decode()
        return json.loads(text) if text else None

    def pause(self, seconds: float) -> None:
        """Let the cloud go on for so long."""
        time.sleep(seconds)

    @contextlib.contextmanager
    def without(self, region: str) -> Iterator[None]:
        """While this lasts, `region` is lost: no request to any service there is carried out, its connection is reset.

        All Regions are at one address here, so the connection comes about first. What tests ask the twin beside EC2's
        API, and what runs inside of ministack by itself, goes on.
        """
        marker = self.running.folder / LOST_REGION
        marker.write_text(region)
        self.twin_control("/_twin/lose", {"region": region})
        try:
            yield
        finally:
            marker.unlink()
            self.twin_control("/_twin/lose", {"region": None})

    def log(self, name: str) -> Path:
        """The log file of `ministack`, `twin`, `relay` or `supervisor`."""
        return self.running.folder / "logs" / f"{name}.log"

    def environment(self) -> dict[str, str]:
        """What any AWS client needs to talk to this cloud."""
        running = self.running
        return {
            "AWS_ENDPOINT_URL": running.endpoint,
            "AWS_ENDPOINT_URL_EC2": running.ec2_endpoint,
            "AWS_ENDPOINT_URL_AUTO_SCALING": running.ec2_endpoint,
            "AWS_ENDPOINT_URL_RBIN": running.ec2_endpoint,
            "AWS_ENDPOINT_URL_SSM": running.ec2_endpoint,
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS": running.ec2_endpoint,
            **_credentials(self.primary_region),
            "AWS_SESSION_TOKEN": "",
            "HIKAE_PRIMARY_REGION": self.primary_region,
            "HIKAE_RECOVERY_REGION": self.recovery_region,
            "AWS_PAGER": "",
            "PATH": self._path(),
        }

    def _tool_environment(self) -> dict[str, str]:
        """The SAM CLI's: this cloud only, none of the user's AWS settings, temporary files in the cloud's folder."""
        folder = self.running.folder
        nothing = str(folder / "home" / "no-such-file")
        # Without compiled modules, which a caller may have switched off, each start of the SAM CLI takes 3 s longer.
        unwanted = {"VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "AWS_PROFILE"}
        return {
            **{name: value for name, value in os.environ.items() if name not in unwanted},
            **self.environment(),
            "AWS_CONFIG_FILE": nothing,
            "AWS_SHARED_CREDENTIALS_FILE": nothing,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_VERSION_CHECK": "0",
            "SAM_CLI_POLL_DELAY": "0.2",
            "__SAM_CLI_APP_DIR": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "NO_PROXY": "127.0.0.1",
            processes.MARK: str(folder),
        }

    # --- detached -----------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write down where this cloud is, for `attach` in a later program."""
        running = self.running
        facts = {
            "folder": str(running.folder),
            "supervisor": running.supervisor,
            "pids": dict(running.pids),
            "endpoint": running.endpoint,
            "ec2_endpoint": running.ec2_endpoint,
            "primary_region": self.primary_region,
            "recovery_region": self.recovery_region,
            "installation": self.installation,
            "parameters": self.parameters,
            "build_directory": str(self.build_directory) if self.build_directory else None,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(facts, indent=2) + "\n")
        draft.replace(path)

    @classmethod
    def attach(cls, path: Path, *, root: Path = ROOT, say: Callable[[str], object] = lambda _: None) -> Self | None:
        """The detached cloud that `save` wrote down in `path`, or None when there is none any more.

        What a killed cloud has left behind, the state file included, is cleaned up.
        """
        try:
            facts = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        folder = Path(facts["folder"])
        if not is_held(folder):
            _remove_leftover(folder)
            path.unlink(missing_ok=True)
            return None
        cloud = cls(
            root=root,
            primary_region=facts["primary_region"],
            recovery_region=facts["recovery_region"],
            installation=facts["installation"],
            parameters=facts["parameters"],
            say=say,
        )
        cloud.build_directory = Path(facts["build_directory"]) if facts["build_directory"] else None
        cloud._running = Running(
            folder=folder,
            **{key: facts[key] for key in ("supervisor", "pids", "endpoint", "ec2_endpoint")},
        )
        return cloud


def _require(tool: Path) -> None:
    if not tool.exists():
        raise CloudError(f"{tool.name} not found in {tool.parent}; `make setup` installs it")


def remove_leftovers() -> None:
    """Remove what clouds of this user have left behind that were killed together with their supervisors."""
    for folder in (found for place in _folders() for found in place.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid() and _is_leftover(folder):
                _remove_leftover(folder)


def _folders() -> list[Path]:
    """Where clouds live, the best place first: in memory where there is room, else on disk; in TMPDIR where it is set.

    Every Lambda worker unpacks the layer anew, thousands of files that live for minutes; some disks take longer to
    delete them than a test takes to run.
    """
    on_disk = Path(tempfile.gettempdir()).resolve()
    in_memory = Path("/dev/shm")  # noqa: S108 - every folder in it is made by mkdtemp
    if "TMPDIR" in os.environ or not os.access(in_memory, os.W_OK):
        return [on_disk]
    has_room = shutil.disk_usage(in_memory).free > _ROOM_BYTES
    return [in_memory, on_disk] if has_room else [on_disk, in_memory]


def _is_leftover(folder: Path) -> bool:
    if (folder / supervisor.LOCK).exists():
        return not is_held(folder)
    return time.time() - folder.stat().st_mtime > _STALE_GRACE_SECONDS  # else it may be about to be locked


def _remove_leftover(folder: Path) -> None:
    processes.end([], folder=folder, patience=0)
    processes.remove(folder)


def is_held(folder: Path) -> bool:
    """Whether a supervisor lives that holds the cloud in `folder`."""
    try:
        lock = os.open(folder / supervisor.LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _credentials(region: str) -> dict[str, str]:
    return {**CREDENTIALS, "AWS_DEFAULT_REGION": region}
