"""Calls wait for their tokens, every client says how it retries, and throttling is the only thing sent again."""

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hikae.aws.clients import Clients
from hikae.aws.errors import send
from hikae.aws.pacing import Pacer
from hikae.domain.pacing import Share
from hikae.ports import LimitReached, Throttled
from local.twin.faults import refused
from local.twin.testing import Twin

ROOT = Path(__file__).parents[3]
REGION = "us-east-1"


@pytest.fixture
def twin() -> Iterator[Twin]:
    with Twin() as twin:
        yield twin


def paced(twin: Twin, *actions: str, workers: int = 1, percent: int = 100) -> Clients:
    """The clients of a worker that waits by the twin's clock."""
    clock = twin.clock
    pacer = Pacer(
        Share(actions=frozenset(actions), workers=workers, percent=percent),
        clock=lambda: clock.now().timestamp(),
        sleep=lambda seconds: clock.advance(timedelta(seconds=seconds)),
    )
    return Clients(region=REGION, pacer=pacer)


@pytest.mark.parametrize("kind", ["reading_ec2", "creating_ec2"])
def test_whichever_client_sends_it_a_call_takes_a_token_of_its_action(twin: Twin, kind: str) -> None:
    ec2 = getattr(paced(twin, "DescribeImages"), kind)()
    began = twin.clock.now()
    for _ in range(36 + 9):  # 45 % of 100 - 20 at once, then of 20 a second
        ec2.describe_images(Owners=["self"])
    assert (twin.clock.now() - began).total_seconds() == pytest.approx(1.0)
    for _ in range(5):
        ec2.describe_volumes()
    assert (twin.clock.now() - began).total_seconds() == pytest.approx(1.0)


def test_all_clients_of_a_worker_take_from_one_bucket(twin: Twin) -> None:
    clients = paced(twin, "DescribeImages", workers=10)
    began = twin.clock.now()
    for _ in range(5):
        clients.reading_ec2().describe_images(Owners=["self"])
        clients.creating_ec2().describe_images(Owners=["self"])
    assert (twin.clock.now() - began).total_seconds() > 0


def test_another_region_has_other_buckets(twin: Twin) -> None:
    clients = paced(twin, "DescribeImages", workers=1000)
    began = twin.clock.now()
    for _ in range(10):
        clients.reading_ec2("us-west-2").describe_images(Owners=["self"])
    assert twin.clock.now() == began


def test_without_a_share_nothing_waits(twin: Twin) -> None:
    clients = Clients(region=REGION, pacer=Pacer(sleep=pytest.fail))
    for _ in range(150):
        clients.reading_ec2().describe_images(Owners=["self"])


def test_a_throttled_call_takes_a_token_again_each_time_it_is_sent(twin: Twin) -> None:
    clients = paced(twin, "DeleteSnapshot", workers=95)
    pauses: list[float] = []
    began = twin.clock.now()
    with refused("DeleteSnapshot", "RequestLimitExceeded", status=503), pytest.raises(Throttled):
        send(
            lambda: clients.creating_ec2().delete_snapshot(SnapshotId="snap-0123456789abcdef0"),
            resource="snap-0123456789abcdef0",
            sleep=pauses.append,
        )
    assert len(pauses) == 5
    assert twin.count("DeleteSnapshot", error="RequestLimitExceeded") == 0  # the fault is before the twin
    # One token at once, five more at 5/95 a second each.
    assert (twin.clock.now() - began).total_seconds() == pytest.approx(5 * 95 / 5)


def test_a_limit_is_not_sent_again(twin: Twin) -> None:
    clients = paced(twin)
    with refused("CopySnapshot", "ResourceLimitExceeded"), pytest.raises(LimitReached):
        send(
            lambda: clients.creating_ec2().copy_snapshot(
                SourceRegion="us-west-2", SourceSnapshotId="snap-0123456789abcdef0"
            ),
            resource="snap-0123456789abcdef0",
            sleep=pytest.fail,
        )


# --- every client says how it retries ---------------------------------------------------------------------------------

MAKERS = [
    name
    for name in vars(Clients)
    if not name.startswith("_") and name not in ("region", "pacer") and callable(getattr(Clients, name))
]


def test_there_are_clients() -> None:
    assert len(MAKERS) >= 8


@pytest.mark.parametrize("name", MAKERS)
def test_every_client_says_how_often_it_tries_and_how_long_it_waits(twin: Twin, name: str) -> None:
    config = getattr(Clients(region=REGION), name)().meta.config
    assert config.retries["mode"] == "standard"
    attempts = {"creating_ec2": 1, "sending_ssm": 1, "glancing_elbv2": 2}  # what may as well fail is not waited for
    assert config.retries["total_max_attempts"] == attempts.get(name, 5)
    assert (config.connect_timeout, config.read_timeout) != (60, 60)  # botocore's own


def calls_of(path: Path) -> Iterator[ast.Call]:
    """Where a module makes a client of boto3's."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MAKING:
            yield node


MAKING = {"client", "resource"}
SOURCES = [path for folder in ("layers/core/hikae", "cli", "functions") for path in (ROOT / folder).rglob("*.py")]


def test_no_client_is_made_without_saying_so() -> None:
    made = [(path.name, {keyword.arg for keyword in call.keywords}) for path in SOURCES for call in calls_of(path)]
    assert len(made) >= 4
    assert all("config" in keywords for _, keywords in made), made
