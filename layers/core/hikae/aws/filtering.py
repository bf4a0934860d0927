"""The filters of EC2's describes. By id EC2 refuses all where one is gone; a filter finds those that are there."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_AT_ONCE: Final = 100
"""How many values one call asks for: EC2 takes 200 in all of a call's filters together, and others may be among them.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
"""


def filters_by(name: str, values: Iterable[str], *others: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The filters of each call that it takes to ask for all of these values of one filter; none for no values.

    Every call has the `others`, too, which may have 100 values together.
    """
    wanted = [literal(value) for value in sorted(set(values))]
    for begin in range(0, len(wanted), _AT_ONCE):
        yield [{"Name": name, "Values": wanted[begin : begin + _AT_ONCE]}, *others]


def literal(value: str) -> str:
    """A filter value that matches only itself: `*`, `?` and the backslash are EC2's wildcards and escape."""
    return re.sub(r"([*?\\])", r"\\\1", value)
