"""All workers of a site together stay under EC2's request rates, however many of them the template lets run."""

from collections.abc import Callable, Iterator

import pytest

from hikae.domain.pacing import COPYING, DELETING, REQUEST_RATES, Share, add_up
from hikae.runtime import wiring
from hikae.runtime.settings import Settings
from tests.template.sites import Site, as_list, load_template, primary, recovery, target

ACTIONS = {
    "SnapshotVolumes": wiring.PROTECTING,
    "BuildImages": wiring.PROTECTING,
    "CopyRecoveryPoints": COPYING,
    "PruneRecoveryPoints": DELETING,
}
FEW = {"Recover"}
"""It deregisters what a drill has registered, an image for each instance, between waits of its state machine."""
SITES = pytest.mark.parametrize("site", [primary, recovery], ids=["primary", "recovery"])


def settings_of(site: Site, function: str) -> Settings:
    variables = site.of_type("AWS::Lambda::Function")[function]["Environment"]["Variables"]
    plain = {key: value if isinstance(value, str) else target(value) for key, value in variables.items()}
    return Settings.from_env({**plain, "AWS_REGION": site.region})


def queues_of(site: Site) -> Iterator[tuple[str, int, bool]]:
    """Each function that a queue feeds, with its greatest concurrency, and whether the queue is a FIFO queue."""
    queues = site.of_type("AWS::SQS::Queue")
    for mapping in site.of_type("AWS::Lambda::EventSourceMapping").values():
        is_fifo = queues[target(mapping["EventSourceArn"])].get("FifoQueue", False)
        yield target(mapping["FunctionName"]), mapping["ScalingConfig"]["MaximumConcurrency"], is_fifo


def may(site: Site, function: str, action: str) -> bool:
    return any(f"ec2:{action}" in as_list(statement["Action"]) for statement in site.statements(site.role_of(function)))


@SITES
def test_a_worker_knows_how_many_there_are(site: Callable[[], Site]) -> None:
    for function, concurrency, is_fifo in queues_of(site()):
        # A FIFO queue of one message group runs one at a time, and the smallest concurrency there is is two.
        assert settings_of(site(), function).workers == (1 if is_fifo else concurrency)


@SITES
def test_the_shares_of_all_workers_add_up_to_no_more_than_the_accounts_rate(site: Callable[[], Site]) -> None:
    shares = []
    for function, actions in ACTIONS.items():
        if function in site().of_type("AWS::Lambda::Function"):
            sent = frozenset(action for action in actions if may(site(), function, action))
            assert sent, f"{function} sends nothing of what it is paced for"
            shares.append(wiring.share_of(settings_of(site(), function), sent))
    total = add_up(shares)
    for action, rate in total.items():
        whole = REQUEST_RATES[action]
        # One refill may be late: see Share.rates.
        assert rate.refill <= whole.refill, action
        assert rate.capacity <= whole.capacity - whole.refill, action


@SITES
def test_whatever_creates_copies_or_deletes_is_paced(site: Callable[[], Site]) -> None:
    for function in site().of_type("AWS::Lambda::Function"):
        for action in REQUEST_RATES:
            if not action.startswith("Describe") and may(site(), function, action):
                assert function in FEW or action in ACTIONS[function]


def test_a_site_leaves_something_to_other_tools_by_default() -> None:
    percent = int(load_template()["Parameters"]["RequestRatePercent"]["Default"])
    assert percent == Settings.__dataclass_fields__["request_rate_percent"].default
    total = add_up([Share(actions=COPYING, workers=1, percent=percent)])
    assert all(rate.refill < REQUEST_RATES[action].refill for action, rate in total.items())


def test_a_run_of_prune_gets_through_its_cap_in_its_time() -> None:
    site = primary()
    settings = settings_of(site, "PruneRecoveryPoints")
    timeout = site.of_type("AWS::Lambda::Function")["PruneRecoveryPoints"]["Timeout"]
    rate = wiring.share_of(settings, DELETING).rates()["DeleteSnapshot"]
    assert (settings.deletion_cap - rate.capacity) / rate.refill < timeout / 2


@SITES
def test_a_batch_of_jobs_has_its_tokens_well_before_the_timeout(site: Callable[[], Site]) -> None:
    mappings = site().of_type("AWS::Lambda::EventSourceMapping").values()
    for mapping in mappings:
        function = target(mapping["FunctionName"])
        timeout = site().of_type("AWS::Lambda::Function")[function]["Timeout"]
        if function in ("SnapshotVolumes", "BuildImages"):
            slowest = min(
                rate.refill
                for rate in wiring.share_of(settings_of(site(), function), wiring.PROTECTING).rates().values()
            )
            assert mapping["BatchSize"] / slowest < timeout / 4
