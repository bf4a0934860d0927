"""The deployments of samconfig.toml, as the SAM CLI reads them."""

import shlex
import tomllib
from dataclasses import dataclass

from tests.template.sites import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What `sam deploy --config-env` takes from the file."""

    stack: str
    region: str
    capabilities: str
    parameters: dict[str, str]


def deployment(environment: str) -> Deployment:
    """One of them; fails where a parameter has no value, which the SAM CLI refuses (an empty one is written `""`)."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    settings = config[environment]["deploy"]["parameters"]
    pairs = [each.partition("=") for each in settings["parameter_overrides"]]
    assert [name for name, _, value in pairs if not value] == []
    return Deployment(
        stack=settings["stack_name"],
        region=settings["region"],
        capabilities=settings["capabilities"],
        parameters={name: "".join(shlex.split(value)) for name, _, value in pairs},
    )


def deployments() -> dict[str, Deployment]:
    """All of them, by the name that `--config-env` takes."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    return {name: deployment(name) for name, value in config.items() if isinstance(value, dict)}
