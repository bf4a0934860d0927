import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hikae.domain.model import SiteRole
from hikae.runtime import entry, reporting, wiring
from local.inprocess import Installation

ROOT = Path(__file__).parents[3]
Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Context:
    """What Lambda hands to a handler beside the event."""

    function_name: str
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:test"
    aws_request_id: str = "52fdfc07-2182-454f-963f-5f0f9a621d72"
    ends_at: float = field(default_factory=lambda: time.monotonic() + 180)

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.ends_at - time.monotonic()) * 1000))


@dataclass(slots=True)
class Functions:
    """The deployed functions of both sites, in this process.

    The twin's clock is moved by hand, so that they take a `now` that is ahead of the real one, unless told otherwise.
    """

    installation: Installation
    monkeypatch: pytest.MonkeyPatch
    takes_future_now: bool = True

    def invoke(
        self, name: str, event: dict[str, Any], *, site: SiteRole = SiteRole.PRIMARY, seconds: float = 180
    ) -> dict[str, Any]:
        settings = self.installation.primary if site is SiteRole.PRIMARY else self.installation.recovery
        environment = self.installation.environment(site) | {
            "HIKAE_SNAPSHOT_QUEUE_URL": settings.snapshot_queue_url,
            "HIKAE_IMAGE_QUEUE_URL": settings.image_queue_url,
            "HIKAE_EVIDENCE_KEY_ARN": settings.evidence_key_arn,
            "HIKAE_RECOVER_ARN": settings.recover_arn,
            "HIKAE_TAKES_FUTURE_NOW": str(self.takes_future_now).lower(),
            "POWERTOOLS_SERVICE_NAME": name,
            "POWERTOOLS_METRICS_NAMESPACE": "hikae",
        }
        for key, value in environment.items():
            self.monkeypatch.setenv(key, value)
        # As a new execution environment would be.
        wiring.load_settings.cache_clear()
        reporting.get_logger.cache_clear()
        entry.get_looks.cache_clear()
        return load_handler(name)(event, Context(function_name=name, ends_at=time.monotonic() + seconds))


def load_handler(name: str) -> Handler:
    spec = importlib.util.spec_from_file_location(f"{name}_app", ROOT / "functions" / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Handler = module.handler
    return handler


def load_event(name: str, **renamed: str) -> dict[str, Any]:
    """An event file, with the ids that it names replaced by ids that exist."""
    text = (ROOT / "events" / f"{name}.json").read_text()
    for old, new in renamed.items():
        text = text.replace(old.replace("_", "-"), new)
    event: dict[str, Any] = json.loads(text)
    return event


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Functions]:
    with Installation() as installation:
        yield Functions(installation, monkeypatch)
