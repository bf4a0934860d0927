"""The demo's fleet and plans in one process: an `Installation` as `local.fleet` and the demo see a cloud."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from local.demo.drills import let_listen
from local.demo.plans import choose_slot, fill_in
from local.fleet import Fleet, seed_fleet
from local.inprocess import ACCOUNT, PRIMARY, RECOVERY, Installation
from local.twin.control import Control
from tests.functional.cli.lambda_service import Deployed, serving
from tests.functional.handlers.conftest import Functions


@dataclass(kw_only=True)
class InProcessCloud:
    """What `local.fleet.Cloud` asks for. Its time passes as fast as that of the local cloud, by the twin's clock."""

    of: Installation
    primary_region: str = PRIMARY
    recovery_region: str = RECOVERY

    @property
    def installation(self) -> str:
        return self.of.name

    def client(self, service: str, region: str) -> Any:
        return self.of.twin.client(service, region)

    def twin_control(self, path: str, payload: Any = None) -> Any:
        method = "GET" if payload is None else "POST"
        asked = Request(EnvironBuilder(path, method=method, data=json.dumps(payload)).get_environ())
        answer = Control(world=self.of.twin.world, account_id=ACCOUNT).answer(asked)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return json.loads(answer.get_data())

    def stack_outputs(self, site: Any) -> dict[str, str]:
        return {"CopyKeyArn": self.of.key_arn}

    def pause(self, seconds: float) -> None:
        self.of.advance(seconds=seconds * 60)


@contextmanager
def protected_fleet() -> Iterator[tuple[InProcessCloud, Fleet]]:
    """The fleet, with a point of each resource that its plans select, copied."""
    with Installation() as installation, pytest.MonkeyPatch.context() as environment:
        cloud = InProcessCloud(of=installation)
        fleet = seed_fleet(cloud)
        let_listen(cloud, fleet)
        slot = choose_slot(installation.twin.clock.now())
        for plan in fill_in(slot):
            installation.apply(plan.name, plan.text)
        installation.advance(seconds=(slot - installation.twin.clock.now()).total_seconds())
        installation.back_up()
        installation.copy_all()
        with serving(Deployed(Functions(installation, environment))) as url:
            environment.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
            yield cloud, fleet
