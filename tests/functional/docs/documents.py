"""The documents as tests see them: their files, code blocks and tables."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yaml"))

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced code block."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.path)}:{self.line}"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(language: str) -> list[Block]:
    """Every code block of a language, in every document."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        found += [
            Block(path=path, line=text.count("\n", 0, match.start()) + 1, language=match[2], text=match[3])
            for match in _BLOCK.finditer(text)
            if match[2] == language
        ]
    return found


def commands() -> list[str]:
    """Every line of every shell block, continued lines joined, comments cut off."""
    joined = "\n".join(block.text.replace("\\\n", " ") for block in blocks("sh"))
    return [line.split("  #")[0].strip() for line in joined.splitlines() if line.strip()]


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return _BLOCK.sub("", path.read_text())


def code_spans(path: Path) -> set[str]:
    """What a document's prose sets in code."""
    return set(re.findall(r"`([^`\n]+)`", prose(path)))


def rows(path: Path, *, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without the table's own header."""
    section = path.read_text().split(f"{heading}\n", 1)[1]
    lines = [line for line in re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0].splitlines() if line]
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def documented_names(path: Path, *, heading: str) -> set[str]:
    """The code spans in the first column of the table below a heading."""
    return {name for row in rows(path, heading=heading) for name in re.findall(r"`([^`]+)`", row[0])}
