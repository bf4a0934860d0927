"""What the command may write to a terminal."""

import sys


def printable(text: str) -> str:
    """The text with everything that would steer a terminal, or break a line, escaped; tabs stay."""
    return "".join(
        letter if letter.isprintable() or letter == "\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()
