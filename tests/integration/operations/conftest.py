from collections.abc import Iterator

import pytest

from local.inprocess import Installation


@pytest.fixture
def installation() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation
