"""Every command and snippet of the documents is run, or says why it cannot be."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.document import COMMANDS, SHOWN, Block, blocks_in, blocks_of, documents, name_of
from tests.docs.folder import Session

ALL = [block for path in documents() for block in blocks_of(path)]
QUICK = [
    path for path in documents() if any(block.runs and "slow" not in block.marks for block in blocks_of(path))
]
SLOW = [path for path in documents() if any("slow" in block.marks for block in blocks_of(path))]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    yield Session.open(tmp_path / "video_pipeline")
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_every_command_is_run_or_says_why_not() -> None:
    undecided = [
        str(block)
        for block in ALL
        if block.language in COMMANDS and not (block.runs or block.file) and not block.not_run
    ]
    assert not undecided, f"neither run nor marked with a reason: {undecided}"
    both = [str(block) for block in ALL if block.runs and block.not_run]
    assert not both, f"run, and marked with a reason not to: {both}"


def test_every_block_names_its_language() -> None:
    assert not [str(block) for block in ALL if block.language not in (*COMMANDS, *SHOWN)]


def test_every_mark_is_one_that_means_something() -> None:
    known = {"run", "slow", "fails", "output"}
    assert not [f"{block}: {block.marks - known}" for block in ALL if block.marks - known]
    assert not [str(block) for block in ALL if block.marks & {"slow", "fails"} and not block.runs]


def test_most_commands_run() -> None:
    """A document whose commands all say why not would pass every other test."""
    commands = [block for block in ALL if block.language in COMMANDS]
    assert sum(block.runs for block in commands) > 0.6 * len(commands)


@pytest.mark.parametrize("path", QUICK, ids=name_of)
def test_commands_do_what_the_document_says(path: Path, session: Session) -> None:
    run_all(blocks_of(path), session, without="slow")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", SLOW, ids=name_of)
def test_long_commands_do_what_the_document_says(path: Path, session: Session) -> None:
    run_all(blocks_of(path), session)


def test_output_that_is_not_printed_is_found(session: Session) -> None:
    """The harness itself: a wrong output, a wrong exit code and a command that is missing are seen."""
    right = "```bash run\nexport A=3\n```\n```bash run\necho one $A\n```\n```text output\none …\n```\n"
    run_all(list(blocks_in(right, "right.md")), session)
    with pytest.raises(AssertionError, match=r"wrong\.md:5"):
        run_all(
            list(blocks_in("```bash run\necho one\n```\n```text output\ntwo\n```\n", "wrong.md")), session
        )
    for text in (
        "```bash run\nfalse\n```\n",
        "```bash run\nno-such-command\n```\n",
        "```bash run fails\ntrue\n```\n",
    ):
        with pytest.raises(AssertionError, match=r"code\.md:2"):
            run_all(list(blocks_in(text, "code.md")), session)


def run_all(blocks: list[Block], session: Session, *, without: str | None = None) -> None:
    """Runs what is to be run, in order, but blocks with the mark `without`; an `output` is held against the
    block before it, if that ran."""
    printed: str | None = None
    for block in blocks:
        if block.file is not None:
            session.write(block)
        elif block.runs and without not in block.marks:
            printed = session.run(block)
        elif "output" in block.marks and printed is not None:
            hold(block, printed)
            printed = None
        elif block.language in COMMANDS:
            printed = None


def hold(block: Block, printed: str) -> None:
    """Every line of the block was printed, in this order; `…` stands for anything, alone for any lines."""
    lines = iter(plain(line) for line in printed.splitlines())
    for wanted in (plain(line) for line in block.text.splitlines()):
        if wanted in ("", "…"):
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in re.split(" ?… ?", wanted)))
        assert any(pattern.fullmatch(line) for line in lines), f"{block}: {wanted!r} is not in:\n{printed}"


def plain(line: str) -> str:
    return " ".join(line.split())
