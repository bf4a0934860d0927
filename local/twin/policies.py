"""IAM policies: whether they allow an action on a resource under given conditions. Pure.

Source: IAM User Guide, "Policy evaluation logic" (an explicit Deny wins, without an Allow the answer is no), "IAM JSON
policy elements: Condition operators", "Multivalued context keys". A key that the request does not have fails an
operator, unless it is negated or ends in IfExists. An operator that is not here is refused rather than passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Context = Mapping[str, Sequence[str]]
Compare = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May somebody do `action` (`ec2:DeleteSnapshot`) to `resource` (an ARN, or `*`), the request being as `context`?

    Keys of `context` are in lower case.
    """

    action: str
    resource: str
    context: Context


def is_allowed(documents: Iterable[str | Mapping[str, Any]], question: Question) -> bool:
    """Whether the policies allow it. Raises NotImplementedError for a condition operator that is not known here."""
    answers = [
        statement["Effect"]
        for document in documents
        for statement in read_statements(document)
        if _is_about(statement, question) and _holds(statement.get("Condition", {}), question.context)
    ]
    return "Allow" in answers and "Deny" not in answers


def read_statements(document: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy, given as JSON or parsed."""
    parsed = json.loads(document) if isinstance(document, str) else document
    return as_list(parsed["Statement"])


def as_list(value: Any) -> list[Any]:
    """What IAM lets stand alone or in a list, as a list."""
    return value if isinstance(value, list) else [value]


def _is_about(statement: Mapping[str, Any], question: Question) -> bool:
    action = question.action.lower()
    if "NotAction" in statement:
        is_action = not any(_is_like(action, each.lower()) for each in as_list(statement["NotAction"]))
    else:
        is_action = any(_is_like(action, each.lower()) for each in as_list(statement["Action"]))
    if "NotResource" in statement:
        return is_action and not any(_is_like(question.resource, each) for each in as_list(statement["NotResource"]))
    return is_action and any(_is_like(question.resource, each) for each in as_list(statement.get("Resource", "*")))


def _is_like(text: str, pattern: str) -> bool:
    return _pattern(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in text), re.DOTALL)


_OPERATORS: Mapping[str, Compare] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringEqualsIgnoreCase": lambda value, wanted: value.lower() == wanted.lower(),
    "StringLike": _is_like,
    "ArnEquals": _is_like,
    "ArnLike": _is_like,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
    "NumericEquals": lambda value, wanted: float(value) == float(wanted),
    "NumericLessThan": lambda value, wanted: float(value) < float(wanted),
    "NumericLessThanEquals": lambda value, wanted: float(value) <= float(wanted),
    "NumericGreaterThan": lambda value, wanted: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda value, wanted: float(value) >= float(wanted),
}
_NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
}


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    return all(
        _passes(operator, context.get(key.lower()), [_spelt(each) for each in as_list(wanted)])
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _spelt(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _passes(operator: str, values: Sequence[str] | None, wanted: Sequence[str]) -> bool:
    quantifier, _, rest = operator.rpartition(":")
    name = rest.removesuffix("IfExists")
    if name == "Null":
        return (values is None) == (wanted[0] == "true")
    is_negated = name in _NEGATED
    compare = _OPERATORS.get(_NEGATED.get(name, name))
    if compare is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise NotImplementedError(f"the IAM condition operator {operator}")

    def matches(value: str) -> bool:
        return any(compare(value, each) for each in wanted) != is_negated

    if quantifier == "ForAllValues":
        return all(matches(value) for value in values or ())
    if values is None:
        return name != rest or (is_negated and not quantifier)
    return any(matches(value) for value in values) if quantifier else all(matches(value) for value in values)
