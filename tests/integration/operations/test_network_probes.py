"""Network probes really connect: the probing function asks what drilled instances serve on loopback.

Nothing of the product is replaced: Recover invokes the function by Lambda's API, the function is its own handler, and
the address that it is given is the one that EC2 shows.
"""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from local.inprocess import RECOVERY, SNAPSHOT_PLAN, Installation
from local.twin.services import Service
from tests.functional.cli.lambda_service import Deployed, serving
from tests.functional.handlers.conftest import Functions
from tests.integration.operations.test_recovery import DRILL, DRILL_REQUEST, leftovers, put_group, record_of


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """A group of one instance, and Lambda with the function that probes it."""
    with Installation() as installation:
        put_group(installation, plan="snapshots", count=1)
        with serving(Deployed(Functions(installation, monkeypatch))) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
            yield installation


def drill(one: Installation, probes: str, *services: Service) -> dict[str, tuple[str, str]]:
    """What each probe found in a drill of an instance that serves this, by kind and value."""
    one.apply("production", SNAPSHOT_PLAN + DRILL.replace("[status-checks]", f"{probes}\n  probe_timeout: 1m"))
    for service in services:
        one.twin.serve(service, tags={"hikae:drill": "main/drill-1"}, region=RECOVERY)
    status = one.recover("drill-1").play({"request": DRILL_REQUEST})
    record = record_of(one, "drill-1")
    assert (status == "SUCCEEDED") == (record["outcome"] == "succeeded")
    assert leftovers(one) == []
    [member] = record["members"]
    return {f"{each['kind']} {each['value']}": (each["state"], each["detail"]) for each in member["probes"]}


def test_what_serves_as_it_should_proves_the_instance(one: Installation) -> None:
    found = drill(
        one,
        "[{tcp: 5432}, {http: 8080/health, body: '^all is well$'}, {https: /login, status: 401}, {http: '8081/'}]",
        Service(port=5432, kind="tcp"),
        Service(port=8080, body="so far\nall is well\n"),
        Service(port=443, kind="https", status=401),
        Service(port=8081, seconds=0.3),
    )
    assert found == {
        "tcp 5432": ("passed", "port 5432 is open"),
        "http 8080/health": ("passed", "status 200"),
        "https /login": ("passed", "status 401"),
        "http 8081/": ("passed", "status 200"),
    }


def test_what_serves_something_else_fails_the_drill_by_name(one: Installation) -> None:
    found = drill(
        one,
        "[{tcp: 22}, {http: '8080/', body: welcome}, {http: '8081/'}, {http: '8082/'}, {https: '5432/'}]",
        Service(port=8080, body="sorry\n"),
        Service(port=8081, status=302, location="http://elsewhere.example/"),
        Service(port=8082, status=503),
        Service(port=5432, kind="http"),
    )
    given_up = "no answer within 1 minute; last: "
    assert {probe: state for probe, (state, _) in found.items()} == dict.fromkeys(found, "failed")
    details = {probe: detail.removeprefix(given_up) for probe, (_, detail) in found.items()}
    assert details["tcp 22"].startswith("ConnectionRefusedError: ")
    assert details["http 8080/"] == "status 200, body not as expected"
    assert details["http 8081/"] == "status 302"  # a redirect is not followed: it leads out of the drill
    assert details["http 8082/"] == "status 503"
    assert details["https 5432/"].startswith("SSLError: ")


def test_what_never_answers_fails_when_its_time_is_over(one: Installation) -> None:
    found = drill(one, "[{tcp: 5432}]", Service(port=5432, kind="silent"))
    assert found == {"tcp 5432": ("failed", "no answer within 1 minute; last: TimeoutError: timed out")}


def test_what_comes_up_late_is_asked_again_until_it_answers(one: Installation) -> None:
    one.apply("production", SNAPSHOT_PLAN + DRILL.replace("[status-checks]", "[{http: '8080/'}]"))
    asked: list[dict[str, Any]] = []

    def call(event: dict[str, Any]) -> dict[str, Any]:
        answer = one.run_step(event)
        if event["step"] == "probe":
            asked.append(answer)
            run = one.recovery_site().load("drill-1")
            if len(asked) == 2:
                serve_now(one, run.members[0].instance, Service(port=8080))
        return answer

    assert one.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    assert [answer["status"] for answer in asked] == ["again", "again", "done"]


def serve_now(one: Installation, instance: str, service: Service) -> None:
    """As a program that its instance starts late."""
    one.twin.serve(service, tags={"hikae:drill": "main/drill-1"}, region=RECOVERY)
    one.twin.client("ec2", RECOVERY).stop_instances(InstanceIds=[instance])
    one.advance(minutes=1)
    one.twin.client("ec2", RECOVERY).start_instances(InstanceIds=[instance])
    one.advance(minutes=1)


def test_a_port_is_open_only_while_its_instance_runs(one: Installation) -> None:
    addresses = []
    service = Service(port=5432, kind="tcp")

    def call(event: dict[str, Any]) -> dict[str, Any]:
        if event["step"] == "tear-down" and not addresses:
            run = one.recovery_site().load("drill-1")
            addresses.append(run.members[0].private_ip)
            socket.create_connection((addresses[0], 5432), timeout=5).close()
        return one.run_step(event)

    one.twin.serve(service, tags={"hikae:drill": "main/drill-1"}, region=RECOVERY)
    assert one.recover("drill-1", call=call).play({"request": DRILL_REQUEST}) == "SUCCEEDED"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((addresses[0], 5432), timeout=5)
