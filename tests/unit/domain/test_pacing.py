"""A worker's share of EC2's request rates is never refused, and the shares add up to no more than the account's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikae.domain.pacing import (
    COPYING,
    CREATING,
    DELETING,
    LOOKING,
    REQUEST_RATES,
    Bucket,
    Rate,
    Share,
    add_up,
    shortest,
)


def drain(bucket: Bucket, calls: int, *, at: float = 0.0) -> list[float]:
    """When each of so many calls may be sent, one right after the other."""
    sent = []
    for _ in range(calls):
        bucket, seconds = bucket.take(at=at)
        at += seconds
        sent.append(at)
    return sent


def test_a_full_bucket_gives_what_it_holds_at_once_and_then_one_token_at_a_time():
    assert drain(Bucket.full(Rate(3, 2), at=0.0), 6) == [0, 0, 0, 0.5, 1.0, 1.5]


def test_a_bucket_fills_up_while_nobody_takes_from_it_and_not_beyond_its_size():
    bucket, _ = Bucket.full(Rate(2, 1), at=0.0).take(at=0.0)
    assert drain(bucket, 3, at=100.0) == [100, 100, 101]


def test_a_clock_that_goes_back_gives_no_tokens():
    bucket, _ = Bucket.full(Rate(1, 1), at=10.0).take(at=10.0)
    _, seconds = bucket.take(at=5.0)
    assert seconds == 1.0


def test_every_worker_of_a_function_gets_the_same_part():
    rates = Share(actions=frozenset({"CreateSnapshots"}), workers=5, percent=100).rates()
    assert rates == {"CreateSnapshots": Rate(19.0, 1.0)}


def test_a_worker_can_always_take_one_token():
    rates = Share(actions=CREATING, workers=1000, percent=1).rates()
    assert all(rate.capacity == 1 for rate in rates.values())


def test_every_action_is_of_one_kind():
    assert set(REQUEST_RATES) == CREATING | COPYING | DELETING | LOOKING
    assert len(CREATING) + len(COPYING) + len(DELETING) + len(LOOKING) == len(REQUEST_RATES)


def test_both_functions_that_take_jobs_may_read_at_once():
    jobs = Share(actions=CREATING | LOOKING, workers=5, percent=100)
    total = add_up([jobs, jobs])
    assert all(total[action].refill <= REQUEST_RATES[action].refill for action in LOOKING)
    assert all(total[action].capacity <= REQUEST_RATES[action].capacity for action in LOOKING)


class Ec2Bucket:
    """EC2's own bucket, which gets its tokens in one go, a whole second after it was first drawn on."""

    def __init__(self, rate: Rate) -> None:
        self.rate, self.tokens, self.at = rate, rate.capacity, 0.0

    def is_let_in(self, at: float) -> bool:
        steps = (at - self.at) // 1
        self.tokens = min(self.rate.capacity, self.tokens + steps * self.rate.refill)
        self.at = at if self.tokens == self.rate.capacity else self.at + steps
        self.tokens -= 1
        return self.tokens >= -1e-6


@given(
    action=st.sampled_from(sorted(REQUEST_RATES)),
    workers=st.integers(1, 8),
    pauses=st.lists(st.tuples(st.integers(0, 7), st.floats(0, 3, width=32)), min_size=1, max_size=400),
)
def test_whatever_the_workers_do_when_none_of_them_is_throttled(action, workers, pauses):
    share = Share(actions=frozenset({action}), workers=workers, percent=100)
    buckets = [Bucket.full(share.rates()[action], at=0.0) for _ in range(workers)]
    now, sent = [0.0] * workers, []
    for number, pause in pauses:
        worker = number % workers
        buckets[worker], seconds = buckets[worker].take(at=now[worker] + pause)
        now[worker] += pause + seconds
        sent.append(now[worker])
    ec2 = Ec2Bucket(REQUEST_RATES[action])
    assert all(ec2.is_let_in(at) for at in sorted(sent))


@pytest.mark.parametrize(
    ("calls", "rate", "seconds"),
    [
        (0, Rate(100, 5), 0),
        (100, Rate(100, 5), 0),
        (101, Rate(100, 5), 1),
        (105, Rate(100, 5), 1),
        (106, Rate(100, 5), 2),
        (400, Rate(100, 5), 60),
        (110, Rate(100, 1), 10),
    ],
)
def test_the_best_possible_time_is_that_of_the_tokens(calls, rate, seconds):
    assert shortest(calls, rate) == seconds


@pytest.mark.parametrize(("calls", "most"), [(200, 1.10), (400, 1.10), (1000, 1.10)])
def test_the_default_share_of_five_workers_is_hardly_slower_than_the_account(calls, most):
    rate = Share(actions=CREATING, workers=5, percent=98).rates()["CreateSnapshots"]
    slowest = max(drain(Bucket.full(rate, at=0.0), calls // 5))
    assert slowest <= most * shortest(calls, REQUEST_RATES["CreateSnapshots"])
