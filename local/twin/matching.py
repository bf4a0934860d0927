"""EC2's filters.

EC2 User Guide, "Find your Amazon EC2 resources", filtering considerations: up to 50 filters of up to 200 values of up
to 255 characters; `*` matches any number of characters, `?` none or one, a backslash takes the meaning of either away;
values are case-sensitive. The values of one filter are ORed, filters are ANDed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from local.twin.errors import refuse, unknown_filter

T = TypeVar("T")
Filters = Mapping[str, list[str]]
Readers = Mapping[str, Callable[[T], Any]]

MAX_FILTERS = 50
MAX_VALUES = 200
MAX_LENGTH = 255


def select(
    items: Iterable[T], filters: Filters | None, *, readers: Readers[T], tags: Callable[[T], Mapping[str, str]]
) -> Iterator[T]:
    """The items that pass every filter.

    `readers` tells the filters that an operation knows and what each reads from an item: a value, several, or None.
    Raises InvalidParameterValue for a filter that it does not know or a value that is too long, FilterLimitExceeded for
    too many filters or values.
    """
    if not filters:
        return iter(items)
    if len(filters) > MAX_FILTERS or any(len(values) > MAX_VALUES for values in filters.values()):
        raise refuse("FilterLimitExceeded", f"At most {MAX_FILTERS} filters with {MAX_VALUES} values each are allowed.")
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
