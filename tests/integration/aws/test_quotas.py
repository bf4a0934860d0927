"""Quotas are found by their names, the account's before AWS's default, and an hour long."""

from collections.abc import Iterator

import pytest

from hikae.aws.quotas import ServiceQuotas
from hikae.ports import Unreachable
from local.twin.quotas import EC2, SNAPSHOT_COPIES, Quota
from local.twin.testing import Twin

REGION = "us-west-2"


@pytest.fixture
def twin() -> Iterator[Twin]:
    with Twin() as twin:
        yield twin


def quotas(twin: Twin) -> ServiceQuotas:
    return ServiceQuotas(lambda: twin.client("service-quotas", REGION))


def test_the_accounts_value_counts_and_where_none_was_applied_awss(twin: Twin) -> None:
    twin.world.quotas.set(SNAPSHOT_COPIES, 40)
    assert quotas(twin).snapshot_copies() == 40
    twin.world.quotas.set(SNAPSHOT_COPIES, None)
    assert quotas(twin).snapshot_copies() == 20


def test_what_aws_does_not_list_is_none_and_counts_as_soon_as_it_is_listed(twin: Twin) -> None:
    assert quotas(twin).image_copies() is None
    twin.world.quotas.add(Quota(service=EC2, name="Concurrent AMI copies per destination Region", default=300, value=7))
    assert quotas(twin).image_copies() == 7


def test_an_answer_holds_for_an_hour(twin: Twin) -> None:
    moments = [0.0]
    asked = ServiceQuotas(lambda: twin.client("service-quotas", REGION), clock=lambda: moments[-1])
    assert asked.snapshot_copies() == 20
    twin.world.quotas.set(SNAPSHOT_COPIES, 40)
    moments.append(3600.0)
    assert asked.snapshot_copies() == 20
    moments.append(3601.0)
    assert asked.snapshot_copies() == 40


def test_who_is_not_answered_knows_nothing(twin: Twin) -> None:
    twin.world.quotas.is_answering = False
    with pytest.raises(Unreachable, match="quotas of ebs: AccessDeniedException"):
        quotas(twin).snapshot_copies()
