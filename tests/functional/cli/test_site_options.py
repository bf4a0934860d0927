"""Which site a command is about, where its arguments do not say it."""

from collections.abc import Iterator

import click
import pytest

from hikae_cli.main import main


def _commands(command: click.Command, path: str = "hikae") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _commands(each, f"{path} {name}")
    else:
        yield path, command


def test_every_command_takes_the_installation_from_the_environment():
    asked = {
        path: option.envvar
        for path, command in _commands(main)
        for option in command.params
        if option.name == "installation"
    }
    assert "hikae prune" in asked
    assert set(asked.values()) == {"HIKAE_INSTALLATION"}


@pytest.mark.parametrize(
    "row", [("blue", (), "blue"), ("blue", ("--installation", "green"), "green"), ("", (), "main")]
)
def test_what_is_given_counts_before_the_environment(hikae, deployed, monkeypatch, row):
    variable, arguments, meant = row
    monkeypatch.setenv("HIKAE_INSTALLATION", variable)
    deployed.refusal = (404, "ResourceNotFoundException", "not found")
    result = hikae("prune", "--site", "primary", "--yes", *arguments)
    assert result.exit_code == 1
    assert f"function hikae-{meant}-primary-prune-recovery-points" in result.stderr


def test_an_installation_in_the_environment_that_is_none_is_refused(hikae, monkeypatch):
    monkeypatch.setenv("HIKAE_INSTALLATION", "Main")
    result = hikae("prune", "--site", "primary", "--yes")
    assert result.exit_code == 2
    assert "'Main' is not an installation; 1 to 16 small letters, digits and hyphens" in result.stderr
