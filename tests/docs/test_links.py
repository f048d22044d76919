"""Links, pictures and files that the documents name are there."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT
from tests.docs.document import anchors_of, blocks_in, code_spans_of, documents, links_of, name_of

FILE = re.compile(
    r"[\w.-]+(?:/[\w.-]+)+\.(?:py|md|json|yaml|toml|html|js|sh|txt|css|mp4)|[\w-]+\.(?:toml|md)"
)
"""A code span that is a file's path within the checkout, as far as it can be told from results in a store."""

FROM = (ROOT, ROOT / "video_pipeline")
OTHERS = [ROOT / "deploy" / "README.md"]
"""Documents of others, of which the links are checked, too."""


@pytest.mark.parametrize("path", [*documents(), *OTHERS], ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    broken = [target for target in links_of(path.read_text(encoding="utf-8")) if not leads(path, target)]
    assert not broken


def leads(path: Path, target: str) -> bool:
    if target.startswith("https://"):
        return True
    name, _, anchor = target.partition("#")
    there = (path.parent / name).resolve() if name else path
    if not there.exists() or ROOT not in (there, *there.parents):
        return False
    return not anchor or anchor in anchors_of(there.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_files_that_are_named_exist(path: Path) -> None:
    made = {block.file for block in blocks_in(path.read_text(encoding="utf-8"), name_of(path))}
    named = [span for span in code_spans_of(path.read_text(encoding="utf-8")) if FILE.fullmatch(span)]
    missing = [
        span
        for span in named
        if span not in made and not any((folder / span).exists() for folder in (*FROM, path.parent))
    ]
    # What the pipeline makes where it runs, and what examples are called.
    made_there = ("acme/", "sample/", ".modal", ".dagster_home/")
    assert not [span for span in missing if not span.startswith(made_there)]


def test_a_broken_link_and_a_missing_heading_are_seen() -> None:
    here = ROOT / "README.md"
    assert leads(here, "docs/concepts.md#tasks")
    assert not leads(here, "docs/concepts.md#no-such-heading")
    assert not leads(here, "docs/nothing.md")
    assert not leads(here, "../outside.md")


def test_every_document_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        targets = [target.partition("#")[0] for target in links_of(path.read_text(encoding="utf-8"))]
        waiting += [
            (path.parent / name).resolve() for name in targets if name.endswith(".md") and "://" not in name
        ]
    assert set(documents()) <= reached


def test_every_picture_is_shown_somewhere() -> None:
    shown = {
        (path.parent / target).resolve()
        for path in documents()
        for target in links_of(path.read_text(encoding="utf-8"))
    }
    assert set((ROOT / "docs" / "pictures").iterdir()) <= shown


def test_the_picture_of_the_concepts_is_an_svg_that_says_what_it_shows() -> None:
    root = ElementTree.parse(ROOT / "docs" / "pictures" / "concepts.svg").getroot()
    texts = {child.tag.rpartition("}")[2]: child.text for child in root}
    assert texts["title"]
    assert texts["desc"]


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160
