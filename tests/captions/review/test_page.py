"""The review page as a file: what is in it, what is not and is said, and texts that want to break out."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.captions.documents import boundary, caption, document
from video_pipeline.captions.chunks import all_chunks
from video_pipeline.captions.document import CaptionsDocument
from video_pipeline.captions.review.page import ReviewChunk, render_review_page
from video_pipeline.errors import Internal

WEBM = b"\x1a\x45\xdf\xa3"
JPEG = b"\xff\xd8\xff"
FRAMES = 600
DOCUMENT = document(caption(1, 5, 20, text="hello"), frame_count=FRAMES)


class Elements(HTMLParser):
    """Every element with an id and its text, every element's name, the policy, style and module."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.names: list[str] = []
        self.policy = self.style = self.module = ""
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.names.append(tag)
        if known.get("http-equiv") == "Content-Security-Policy":
            self.policy = known["content"] or ""
        self._open = "module" if known.get("type") == "module" else known.get("id") or tag
        self.texts.setdefault(self._open, "")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open] += data


def chunks(size: int = 1000) -> Iterator[ReviewChunk]:
    for level, window in all_chunks(FRAMES):
        name = f"{level} {window} ".encode()
        yield ReviewChunk(level, window, (WEBM + name).ljust(size, b"\0"))


def meta(page: str) -> dict[str, Any]:
    return json.loads(Elements(page).texts["page-json"])


def test_every_chunk_is_in_the_page_under_its_address():
    page = render_review_page(DOCUMENT, chunks(), {})
    texts = Elements(page).texts
    for chunk in chunks():
        assert base64.b64decode(texts[f"chunk-{chunk.level}-{chunk.window}"]) == chunk.data
    assert meta(page) == {
        "windows": {"16": [0, 512], "4": [0, 128, 256, 384, 512], "1": list(range(0, 600, 32))},
        "notices": [],
    }


def test_the_coarse_level_stands_before_the_others_so_that_a_loading_page_can_be_scrubbed():
    backwards = reversed(list(chunks()))
    page = render_review_page(DOCUMENT, backwards, {(1, "start"): (JPEG, JPEG)})
    order = [name for name in Elements(page).texts if name.startswith(("chunk-", "picture-"))]
    assert order[:4] == ["chunk-16-0", "chunk-16-512", "picture-1-start-before", "picture-1-start-after"]
    assert order[4:9] == [f"chunk-4-{window}" for window in (0, 128, 256, 384, 512)]


NASTY = [
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "]]> --> </style></title>",
    "{{script}} {{captions}} {{nothing}}",
    "a\u2028b\u2029c\\u003c \"quoted\" 'single' `${1}` \\",
    "&lt;b&gt; &amp; 你好 🎬",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_caption_may_hold_any_text_and_the_page_still_reads_back_the_same_document(text: str):
    captions = document(
        caption(1, 5, 20, text=text), notes=(text,), source_key=f"demo/{text}", frame_count=FRAMES
    )
    page = render_review_page(captions, chunks(), {})
    parsed = Elements(page)
    assert CaptionsDocument.model_validate_json(parsed.texts["captions-json"]) == captions
    plain = Elements(render_review_page(DOCUMENT, chunks(), {}))
    assert parsed.names == plain.names
    assert parsed.texts["module"] == plain.texts["module"]


def test_the_video_s_name_is_text_in_the_title():
    page = render_review_page(document(video="a<b>&c", frame_count=FRAMES), chunks(), {})
    assert f"<title>{html.escape('Captions of a<b>&c')}</title>" in page


def test_the_page_may_run_its_own_script_and_style_and_fetch_nothing():
    parsed = Elements(render_review_page(DOCUMENT, chunks(), {}))
    for name in ("module", "style"):
        digest = base64.b64encode(hashlib.sha256(parsed.texts[name].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in parsed.policy
    assert "default-src 'none'" in parsed.policy
    assert "unsafe" not in parsed.policy
    assert "http" not in parsed.policy
    # A comment's opening in the script would change how its end is found.
    assert "<!--" not in parsed.texts["module"]


@pytest.mark.parametrize(("limit", "levels"), [(26_000, (16, 4, 1)), (25_999, (16, 4)), (6_999, (16,))])
def test_what_is_too_large_is_left_out_from_the_finest_level_on_and_said(limit: int, levels: tuple[int, ...]):
    page = render_review_page(DOCUMENT, chunks(), {}, max_bytes=limit)
    found = meta(page)
    assert tuple(level for level in (16, 4, 1) if found["windows"][str(level)]) == levels
    assert page.count('id="chunk-') == {3: 26, 2: 7, 1: 2}[len(levels)]
    if len(levels) == 3:
        assert found["notices"] == []
    else:
        (notice,) = found["notices"]
        assert f"every {levels[-1]}th sample only" in notice


def test_the_order_in_which_chunks_come_changes_nothing():
    ordered = render_review_page(DOCUMENT, chunks(), {}, max_bytes=7_000)
    assert render_review_page(DOCUMENT, reversed(list(chunks())), {}, max_bytes=7_000) == ordered


def test_a_coarse_level_that_is_too_large_is_cut_at_its_end_and_said():
    found = meta(render_review_page(DOCUMENT, chunks(), {}, max_bytes=1_500))
    assert found["windows"] == {"16": [0], "4": [], "1": []}
    assert any("up to sample 512 only" in notice for notice in found["notices"])


def test_missing_chunks_are_said():
    some = [chunk for chunk in chunks() if chunk.level == 16]
    (notice,) = meta(render_review_page(DOCUMENT, some, {}))["notices"]
    assert notice.startswith("24 of the 26 files")


def test_boundary_pictures_that_do_not_fit_are_the_certain_ones_and_it_is_said():
    captions = document(
        caption(1, 5, 20, start=boundary(DOCUMENT.sample_time(5), confidence=0.99)),
        caption(2, 30, 40, end=boundary(DOCUMENT.sample_time(40), confidence=0.3)),
        frame_count=FRAMES,
    )
    picture = JPEG.ljust(100, b"\0")
    pictures = {(number, end): (picture, picture) for number in (1, 2) for end in ("start", "end")}
    page = render_review_page(captions, chunks(), pictures, max_picture_bytes=650)
    texts = Elements(page).texts
    assert base64.b64decode(texts["picture-2-end-before"]) == picture
    assert "picture-1-start-before" not in texts
    (notice,) = meta(page)["notices"]
    assert "1 of 4 boundaries" in notice


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([ReviewChunk(16, 0, b"no webm")], "not a WebM"),
        ([ReviewChunk(16, 1024, WEBM)], "no chunk of level 16 at frame 1024"),
        ([ReviewChunk(2, 0, WEBM)], "no chunk of level 2"),
        ([ReviewChunk(16, 0, WEBM)] * 2, "came twice"),
    ],
)
def test_a_chunk_that_cannot_be_the_document_s_is_refused(given: list[ReviewChunk], says: str):
    with pytest.raises(Internal, match=says):
        render_review_page(DOCUMENT, given, {})


def test_pictures_of_no_boundary_or_of_no_format_are_refused():
    with pytest.raises(Internal, match="no boundary"):
        render_review_page(DOCUMENT, chunks(), {(2, "start"): (JPEG, JPEG)})
    with pytest.raises(Internal, match="neither JPEG nor PNG"):
        render_review_page(DOCUMENT, chunks(), {(1, "end"): (JPEG, b"GIF89a")})
