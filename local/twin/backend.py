"""The twin's EC2, put together, and put into moto's place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import moto.ec2.urls
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.responses import EC2Response

from local.twin.image_requests import ImagesResponse
from local.twin.images import ImagesBackend
from local.twin.world import World, install_world, remove_world


class TwinBackend(ImagesBackend):
    """EC2 of one account in one Region."""


class TwinResponse(ImagesResponse):
    """One request to EC2."""


@contextmanager
def installed(world: World) -> Iterator[None]:
    """Let moto's EC2 of this process be the twin, living in `world`, until the block ends."""
    backends: Any = ec2_backends
    backends.clear()
    backends.backend = TwinBackend
    moto.ec2.urls.url_paths["{0}/"] = TwinResponse.dispatch
    install_world(world)
    try:
        yield
    finally:
        backends.clear()
        backends.backend = EC2Backend
        moto.ec2.urls.url_paths["{0}/"] = EC2Response.dispatch
        remove_world()
