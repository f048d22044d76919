"""The project's documents as tests read them: fenced blocks with their marks, headings, links, tables.

Belongs here: taking Markdown apart. Does not belong here: what must hold of a document (the tests).

A fenced block's first line is its language and its marks, of which readers see the language only:

- `run`: the block is run, in order with the others of its document, in a folder that looks like a checkout;
- `slow`: beside `run`, for what takes more than some seconds: in `make test-slow` only;
- `fails`: beside `run`, for a command whose exit code is not 0, which is what the document says of it;
- `file=NAME`: the block is written into that folder under this name, before what follows it runs;
- `output`: what the block before it printed, line by line; `…` stands for anything;
- `not-run="REASON"`: why it cannot run here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

COMMANDS = ("bash", "python")
SHOWN = ("text", "json", "yaml", "ini", "dotenv")
"""Languages of what is no command."""

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *$", re.M)
_CODE = re.compile(r"`([^`\n]+)`")


def documents() -> list[Path]:
    """Those that are written for people who use or change the project."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line` is that of its first line of text, from 1."""

    document: str
    line: int
    language: str
    marks: frozenset[str]
    text: str
    file: str | None = None
    not_run: str | None = None

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def runs(self) -> bool:
        return "run" in self.marks


def blocks_of(path: Path) -> list[Block]:
    """The document's fenced blocks, in order."""
    return list(blocks_in(path.read_text(encoding="utf-8"), name_of(path)))


def blocks_in(text: str, document: str) -> Iterator[Block]:
    for match in _FENCE.finditer(text):
        language, *marks = shlex.split(match["info"]) or [""]
        values: dict[str, str] = {}
        for mark in marks:
            name, _, value = mark.partition("=")
            values[name] = value
        indent = len(match["indent"])
        yield Block(
            document=document,
            line=text.count("\n", 0, match.start("body")) + 1,
            language=language,
            marks=frozenset(mark for mark in values if not values[mark]),
            text="".join(f"{line[indent:]}\n" for line in match["body"].splitlines()),
            file=values.get("file"),
            not_run=values.get("not-run"),
        )


def prose_of(text: str) -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", text)


def links_of(text: str) -> list[str]:
    """The targets of all links and pictures."""
    return [match["target"] for match in _LINK.finditer(prose_of(text))]


def code_spans_of(text: str) -> list[str]:
    return _CODE.findall(prose_of(text))


def anchors_of(text: str) -> set[str]:
    """What a link may name after `#`: headings, as GitHub turns them into anchors."""
    return {anchor_of(match["text"]) for match in _HEADING.finditer(prose_of(text))}


def anchor_of(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return kept.replace(" ", "-")


def table_under(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"no heading {heading!r}"
    rows: list[list[str]] = []
    for line in rest.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            break
    assert len(rows) > 2, f"no table under {heading!r}"
    return rows[2:]
