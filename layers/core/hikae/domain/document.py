"""A YAML document as hikae reads one: plain values, the line of each, and everything that is wrong with it at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml.reader import ReaderError

MAX_BYTES: Final = 64 * 1024
MAX_NODES: Final = 5_000
MAX_KEY: Final = 200
"""Letters of a key; a path is made of keys, and of a short text a long one can be made many times."""

_LAST_STEP = re.compile(r"(\.[^.\[]+|\[\d+\]|^[^.\[]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a plan: where in the document, on which line (from 1), what would be right."""

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        """`line 7: rules[0].schedule: …`, without what is not known."""
        where = ": ".join(part for part in (f"line {self.line}" if self.line else "", self.path) if part)
        return f"{where}: {self.message}" if where else self.message


class PlanError(ValueError):
    """A plan that is refused, with all its problems."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a text says: its value (None: it is empty), the line of each path, and what YAML lets pass and hikae not."""

    value: Any
    lines: Mapping[str, int]
    problems: tuple[Problem, ...]


def read_document(text: str) -> Document:
    """Read one YAML document, within the limits of this module.

    Raises:
        PlanError: it is not YAML, or exceeds a limit.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise _refused(f"the document is larger than {MAX_BYTES} bytes")
    values = _Values()
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        value = None if node is None else values.read(loader, node, "")
    except PlanError:
        raise
    except ReaderError as error:
        before = text.count("\n", 0, error.position)
        raise _refused(f"not YAML: character #x{error.character:04x} is not allowed", line=before + 1) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise _refused(f"not YAML: {error.problem or error.context}", line=line) from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # PyYAML's constructors let all of these out, of `!!bool maybe` for one.
        raise _refused(f"not YAML: {type(error).__name__}: {error}") from error
    return Document(value=value, lines=values.lines, problems=tuple(values.problems))


def find_line(lines: Mapping[str, int], path: str) -> int | None:
    """The line of `path`, or of the nearest that is above it in the document."""
    line = lines.get(path)
    while line is None and path:
        above = _LAST_STEP.sub("", path)
        path = above if above != path else ""
        line = lines.get(path)
    return line


def join_path(path: str, key: str) -> str:
    """The path of `key` in the mapping at `path`."""
    return f"{path}.{key}" if path else key


class _Values:
    """Turns YAML's nodes into values, noting where each is."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def read(self, loader: yaml.SafeLoader, node: yaml.Node, path: str) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _refused(f"the document has more than {MAX_NODES} values")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(loader, item, f"{path}[{number}]") for number, item in enumerate(node.value)]
        return loader.construct_object(node, deep=True)

    def _mapping(self, loader: yaml.SafeLoader, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                # It is not even shown: a list of lists of … unfolds to more than memory holds.
                self.problems.append(Problem(path=path, message="a key must be text", line=line))
                continue
            if len(key_node.value) > MAX_KEY:
                message = f"the key {key_node.value[:40]!r}… is longer than {MAX_KEY} letters"
                self.problems.append(Problem(path=path, message=message, line=line))
                continue
            key = loader.construct_object(key_node)
            below = join_path(path, key_node.value)
            if not isinstance(key, str):
                message = f'a key must be text; write "{key_node.value}"'
                self.problems.append(Problem(path=below, message=message, line=line))
                key = key_node.value
            if key in mapping:
                self.problems.append(Problem(path=below, message="given twice; keep one of them", line=line))
            self.lines.setdefault(below, line)
            mapping[key] = self.read(loader, value_node, below)
        return mapping


def _refused(message: str, *, line: int | None = None) -> PlanError:
    return PlanError((Problem(path="", message=message, line=line),))
