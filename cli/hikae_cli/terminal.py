"""What the command reads from its arguments, and what it may write to a terminal."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from hikae.domain.model import Region
from hikae.domain.plan_grammar import REGION

FILES = click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
"""Plans in files; - is standard input."""


class AsRegion(click.ParamType[Region]):
    """The code of a Region."""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Region:
        """Take a Region's code, or refuse it."""
        if not REGION.fullmatch(value):
            self.fail(f"{value!r} is not a Region's code, such as us-west-2", param, ctx)
        return Region(value)


def refuse_stdin_twice(files: Sequence[str]) -> None:
    """Raise a `click.UsageError` where standard input would have to be read twice."""
    if files.count("-") > 1:
        raise click.UsageError("- is given twice; standard input can be read once")


def printable(text: str) -> str:
    """The text with everything that would steer a terminal, or break a line, escaped; tabs stay."""
    return "".join(
        letter if letter.isprintable() or letter == "\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()
