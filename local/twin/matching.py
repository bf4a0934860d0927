"""EC2's filters.

EC2 User Guide, "Find your Amazon EC2 resources", filtering considerations: up to 50 filters, up to 200 values, of up
to 255 characters; `*` matches any number of characters, `?` none or one, a backslash takes the meaning of either away;
values are case-sensitive. The values of one filter are ORed, filters are ANDed. Whether the 200 are of a filter or of
a call no page says, the error itself does: "The maximum number of filter values specified on a single call is 200".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from moto.ec2.exceptions import EC2ClientError

from local.twin.errors import refuse, unknown_filter

T = TypeVar("T")
Filters = Mapping[str, list[str]]
Readers = Mapping[str, Callable[[T], Any]]

MAX_FILTERS = 50
MAX_VALUES = 200
MAX_LENGTH = 255


def find_excess(filters: Sequence[Mapping[str, Any]]) -> EC2ClientError | None:
    """FilterLimitExceeded for more filters, or more values in all of them, than one call takes."""
    if len(filters) > MAX_FILTERS:
        return refuse("FilterLimitExceeded", f"The maximum number of filters on a single call is {MAX_FILTERS}")
    if sum(len(each.get("Values", [])) for each in filters) > MAX_VALUES:
        return refuse(
            "FilterLimitExceeded", f"The maximum number of filter values specified on a single call is {MAX_VALUES}"
        )
    return None


def select(
    items: Iterable[T], filters: Filters | None, *, readers: Readers[T], tags: Callable[[T], Mapping[str, str]]
) -> Iterator[T]:
    """The items that pass every filter.

    `readers` tells the filters that an operation knows and what each reads from an item: a value, several, or None.
    Raises InvalidParameterValue for a filter that it does not know or a value that is too long.
    """
    if not filters:
        return iter(items)
    tests = [_test(name, values, readers=readers, tags=tags) for name, values in filters.items()]
    return (item for item in items if all(test(item) for test in tests))


def _test(
    name: str, values: list[str], *, readers: Readers[T], tags: Callable[[T], Mapping[str, str]]
) -> Callable[[T], bool]:
    if any(len(value) > MAX_LENGTH for value in values):
        raise refuse("InvalidParameterValue", f"A value of filter '{name}' is longer than {MAX_LENGTH} characters.")
    matches = _matcher(tuple(str(value) for value in values))
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda item: key in (found := tags(item)) and matches(found[key])
    if name == "tag-key":
        return lambda item: any(map(matches, tags(item)))
    if name not in readers:
        raise unknown_filter(name)
    read = readers[name]
    return lambda item: any(map(matches, _texts(read(item))))


def _matcher(values: tuple[str, ...]) -> Callable[[str], bool]:
    plain = frozenset(value for value in values if not set(value) & set("*?\\"))
    patterns = tuple(_compile(value) for value in values if value not in plain)
    return lambda text: text in plain or any(pattern.fullmatch(text) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compile(value: str) -> re.Pattern[str]:
    parts = []
    characters = iter(value)
    for character in characters:
        if character == "\\":
            parts.append(re.escape(next(characters, "\\")))
        else:
            parts.append({"*": ".*", "?": ".?"}.get(character, re.escape(character)))
    return re.compile("".join(parts), re.DOTALL)


def _texts(value: Any) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, datetime):
        yield value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _texts(each)
    else:
        yield str(value)
