import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cloud import CloudError, LocalCloud, processes
from local.cloud.launcher import PREFIX, is_held

PROGRAMS = str(Path(__file__).with_name("programs.py"))
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cloud's folder lies here, so that what other clouds on this machine do cannot disturb a test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    monkeypatch.undo()
    tempfile.tempdir = None


def make_cloud(*, ministack: tuple[str, ...] = (), twin: tuple[str, ...] = ()) -> LocalCloud:
    return LocalCloud(
        ministack_command=[sys.executable, PROGRAMS, "ministack", *ministack],
        twin_command=[sys.executable, PROGRAMS, "twin", "--port-file", "{port_file}", *twin],
    )


def ports_of(cloud: LocalCloud) -> list[int]:
    return [int(url.rpartition(":")[2]) for url in (cloud.running.endpoint, cloud.running.ec2_endpoint)]


def is_gone(folder: Path, ports: list[int]) -> bool:
    return not folder.exists() and not processes.belonging_to(folder) and not any(map(processes.is_listening, ports))


def start_in_another_process() -> tuple[subprocess.Popen[str], Path, list[int]]:
    """A program that holds a cloud, as `make demo` and pytest do, with the cloud's folder and ports."""
    code = (
        "import sys, time; sys.path[:0] = sys.argv[1:3]; import test_processes as t\n"
        "with t.make_cloud() as cloud:\n"
        "    print(cloud.running.folder, *t.ports_of(cloud), flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(Path(__file__).parent)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    folder, *ports = holder.stdout.readline().split()
    return holder, Path(folder), [int(port) for port in ports]


def test_a_cloud_leaves_no_process_no_port_and_no_folder() -> None:
    with make_cloud() as cloud:
        folder, ports = cloud.running.folder, ports_of(cloud)
        assert all(map(processes.is_listening, ports))
        assert len(processes.belonging_to(folder)) == 4
    assert is_gone(folder, ports)


def test_programs_that_ignore_sigterm_and_workers_in_sessions_of_their_own_are_ended_too() -> None:
    with make_cloud(ministack=("--stubborn",), twin=("--stubborn",)) as cloud:
        folder, ports = cloud.running.folder, ports_of(cloud)
        assert processes.wait_until(lambda: len(processes.belonging_to(folder)) == 5, seconds=30)
    assert is_gone(folder, ports)


def fail_inside(cloud: LocalCloud, found: list[tuple[Path, list[int]]]) -> None:
    with cloud:
        found.append((cloud.running.folder, ports_of(cloud)))
        raise ZeroDivisionError


def test_an_exception_ends_the_cloud() -> None:
    cloud = make_cloud()
    found: list[tuple[Path, list[int]]] = []
    with pytest.raises(ZeroDivisionError):
        fail_inside(cloud, found)
    ((folder, ports),) = found
    assert is_gone(folder, ports)


def test_a_program_that_dies_while_starting_is_named_with_the_end_of_its_log(own_temporary_folder: Path) -> None:
    cloud = make_cloud(ministack=("--dies",))
    with pytest.raises(CloudError, match=r"ministack ended with status 3 while starting[^~]*no room left for anything"):
        cloud.start()
    assert not list(own_temporary_folder.glob(f"{PREFIX}*"))


def test_a_program_that_dies_later_is_named_at_the_next_use() -> None:
    with make_cloud() as cloud:
        os.kill(cloud.running.pids["ministack"], signal.SIGKILL)
        folder = cloud.running.folder
        assert processes.wait_until((folder / "died.txt").exists, seconds=30)
        with pytest.raises(CloudError, match="ministack ended with status -9"):
            cloud.client("s3")


def test_a_relay_that_dies_is_started_again() -> None:
    with make_cloud() as cloud:
        relay = cloud.running.pids["relay"]
        os.kill(relay, signal.SIGKILL)
        folder = cloud.running.folder
        assert processes.wait_until(
            lambda: len(alive := processes.belonging_to(folder)) == 4 and relay not in alive, seconds=10
        )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_cloud_does_not_outlive_the_program_that_holds_it(number: int) -> None:
    holder, folder, ports = start_in_another_process()
    assert processes.belonging_to(folder)
    holder.send_signal(number)
    holder.communicate(timeout=30)
    assert processes.wait_until(lambda: is_gone(folder, ports), seconds=30)


def test_a_cloud_whose_supervisor_was_killed_as_well_is_cleaned_up_by_the_next_one() -> None:
    holder, folder, ports = start_in_another_process()
    supervisors = [
        pid for pid in processes.belonging_to(folder) if b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    for pid in [holder.pid, *supervisors]:
        os.kill(pid, signal.SIGKILL)
    holder.communicate(timeout=30)
    assert processes.wait_until(lambda: not is_held(folder), seconds=30)
    assert folder.exists()
    with make_cloud() as cloud:
        assert is_gone(folder, ports)
        assert all(map(processes.is_listening, ports_of(cloud)))


def test_two_clouds_side_by_side_do_not_disturb_each_other() -> None:
    with make_cloud() as first:
        with make_cloud() as second:
            assert not set(ports_of(first)) & set(ports_of(second))
            folder, ports = second.running.folder, ports_of(second)
        assert is_gone(folder, ports)
        assert all(map(processes.is_listening, ports_of(first)))
        assert len(processes.belonging_to(first.running.folder)) == 4


def test_a_detached_cloud_is_found_again_and_ended_by_a_later_program(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    cloud = make_cloud()
    cloud.start(detached=True)
    cloud.save(state)
    found = LocalCloud.attach(state)
    assert found is not None
    folder, ports = found.running.folder, ports_of(found)
    assert ports == ports_of(cloud)
    found.stop()
    assert is_gone(folder, ports)


def test_the_state_of_a_detached_cloud_that_was_killed_is_cleaned_up(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    cloud = make_cloud()
    cloud.start(detached=True)
    cloud.save(state)
    folder, ports = cloud.running.folder, ports_of(cloud)
    os.kill(cloud.running.supervisor, signal.SIGKILL)
    assert processes.wait_until(lambda: not any(map(processes.is_listening, ports)), seconds=30)
    assert LocalCloud.attach(state) is None
    assert not state.exists()
    assert is_gone(folder, ports)


def test_starting_sees_nothing_of_the_callers_own_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    with make_cloud() as cloud:
        for pid in cloud.running.pids.values():
            environment = Path(f"/proc/{pid}/environ").read_text()
            assert "production" not in environment
            assert "AKIAIOSFODNN7EXAMPLE" not in environment
        assert cloud.environment()["AWS_ACCESS_KEY_ID"] == "test"
