"""One local cloud for all end-to-end tests: both sites deployed by the SAM CLI, gone when the session ends."""

import sys
from collections.abc import Iterator

import pytest

from local.cloud import LocalCloud
from tests.e2e.drilled_group import Group, make_group


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud(say=lambda line: sys.stderr.write(f"local cloud: {line}\n")) as cloud:
        cloud.deploy()
        yield cloud


@pytest.fixture(scope="session")
def group(cloud: LocalCloud) -> Group:
    """Three instances with points at the recovery site; the tests of recovery share them."""
    return make_group(cloud)
