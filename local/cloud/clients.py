"""boto3 clients of a local cloud."""

from collections.abc import Callable
from typing import Any, cast

import boto3
from botocore.config import Config

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def clients_of(endpoint: str, **other_endpoints: str) -> Callable[[str, str], Any]:
    """A maker of clients by (service, Region) that makes each only once.

    Every service is at `endpoint`, except those named in `other_endpoints`.
    """
    made: dict[tuple[str, str], Any] = {}
    session = cast(
        "Any",
        boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        ),
    )
    config = Config(connect_timeout=5, read_timeout=120, retries={"total_max_attempts": 2}, proxies={})

    def client(service: str, region: str) -> Any:
        if (service, region) not in made:
            url = other_endpoints.get(service, endpoint)
            made[service, region] = session.client(service, region_name=region, endpoint_url=url, config=config)
        return made[service, region]

    return client
