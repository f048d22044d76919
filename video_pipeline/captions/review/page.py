"""The review page: one HTML file with everything in it, opened from a disk, without a server or a network.

Belongs here: putting the document, the chunks and the boundary pictures into the page, and saying what did
not fit. The page itself is `review.html`, `review.css` and the scripts of `js/`, which share one module with
the player's `chunk_address.js`. Does not belong here: reading the store, making pictures.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

from video_pipeline.captions.chunks import LEVELS, windows
from video_pipeline.captions.document import CaptionsDocument
from video_pipeline.errors import Internal

MAX_BYTES = 60_000_000
"""Of chunks in a page, before base64 adds a third. With as many pictures as may be that makes 120 MB: in
Chromium on two cores it answers after half a second and is all there after one."""

MAX_PICTURE_BYTES = 30_000_000
"""Of boundary pictures in a page: at 10 kB a picture those of 750 captions."""

MODEL_SCRIPTS = ("fraction", "model", "export", "review")
"""Captions, edits and files: they touch no page, so a test runs them without one."""

VIEW_SCRIPTS = ("pictures", "stage", "timeline", "list", "details", "app")
"""In this order: classes are defined before the line that uses them runs."""

_WEBM = b"\x1a\x45\xdf\xa3"
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG")


@dataclass(frozen=True, slots=True)
class ReviewChunk:
    """One published chunk: `data` is its WebM file; `level` and `window` as in `captions.chunks`."""

    level: int
    window: int
    data: bytes


def render_review_page(
    document: CaptionsDocument,
    chunks: Iterable[ReviewChunk],
    boundary_pictures: Mapping[tuple[int, str], tuple[bytes, bytes]],
    *,
    max_bytes: int = MAX_BYTES,
    max_picture_bytes: int = MAX_PICTURE_BYTES,
) -> str:
    """The page as text, to be written as UTF-8.

    `boundary_pictures` maps (caption number, "start" or "end") to the strip just before and just after that
    boundary, JPEG or PNG. Where there are none the page shows the samples on either side.

    Chunks of more than `max_bytes` together are embedded from coarse to fine as far as whole levels fit:
    16, then 4, then 1; if even level 16 is too large, its first windows. Boundary pictures of more than
    `max_picture_bytes` are embedded from the least certain boundary on. What is left out, or was not given,
    the page says at its top. Held in memory at once: what is embedded, and a level 16 that is too large.

    Raises `Internal` for a chunk or a picture that cannot belong to the document.
    """
    kept, notices = _fitting_chunks(document.frame_count, chunks, max_bytes)
    pictures, more = _fitting_pictures(document, boundary_pictures, max_picture_bytes)
    page = {
        "windows": {str(level): sorted(kept[level]) for level in LEVELS},
        "notices": notices + more,
    }
    # The coarse level first: a page that is still loading can already be scrubbed.
    parts = [*_chunk_elements(16, kept[16]), *pictures]
    parts += [element for level in (4, 1) for element in _chunk_elements(level, kept[level])]
    style, script = _read("review.css"), _script()
    return _fill(
        _read("review.html"),
        {
            "policy": _policy(style, script),
            "title": html.escape(f"Captions of {document.video}"),
            "style": style,
            "captions": _for_script(document.model_dump_json()),
            "page": _for_script(json.dumps(page, separators=(",", ":"))),
            "script": script,
            "pictures": "\n".join(parts),
        },
    )


def _fitting_chunks(
    frame_count: int, chunks: Iterable[ReviewChunk], max_bytes: int
) -> tuple[dict[int, dict[int, bytes]], list[str]]:
    """The chunks to embed, by level and window, and what to say of the others."""
    expected = {level: set(windows(level, frame_count)) for level in LEVELS}
    seen: dict[int, set[int]] = {level: set() for level in LEVELS}
    kept: dict[int, dict[int, bytes]] = {level: {} for level in LEVELS}
    sizes = dict.fromkeys(LEVELS, 0)
    dropped: set[int] = set()
    for chunk in chunks:
        if chunk.level not in LEVELS or chunk.window not in expected[chunk.level]:
            raise Internal(f"the video has no chunk of level {chunk.level} at frame {chunk.window}")
        if chunk.window in seen[chunk.level]:
            raise Internal(f"the chunk of level {chunk.level} at frame {chunk.window} came twice")
        if not chunk.data.startswith(_WEBM):
            raise Internal(f"the chunk of level {chunk.level} at frame {chunk.window} is not a WebM file")
        seen[chunk.level].add(chunk.window)
        kept[chunk.level][chunk.window] = chunk.data
        sizes[chunk.level] += len(chunk.data)
        # As soon as a level cannot fit below the coarser ones it is let go: a film has a gigabyte of them.
        dropped |= {fine for fine in (4, 1) if sum(sizes[at] for at in LEVELS if at >= fine) > max_bytes}
        for level in dropped:
            kept[level].clear()
    notices = _cut_coarse_level(kept[16], max_bytes)
    if dropped:
        finest = 16 if 4 in dropped else 4
        total = sum(sizes.values())
        notices.insert(
            0,
            f"This page has the picture of every {finest}th sample only: all pictures are {_mb(total)}, and "
            f"a page takes {_mb(max_bytes)}. Between them it shows the sample before, and says so.",
        )
    missing = sum(len(expected[level] - seen[level]) for level in LEVELS)
    if missing:
        count = sum(map(len, expected.values()))
        notices.append(f"{missing} of the {count} files of pictures were not there when this page was made.")
    return kept, notices


def _cut_coarse_level(level: dict[int, bytes], max_bytes: int) -> list[str]:
    """Takes the last windows away, in place, until the rest fits."""
    total = sum(map(len, level.values()))
    size, last = total, None
    for window in sorted(level, reverse=True):
        if size <= max_bytes:
            break
        size -= len(level.pop(window))
        last = window
    if last is None:
        return []
    return [
        f"This page has pictures up to sample {last} only: even those of every 16th sample are {_mb(total)}."
    ]


def _fitting_pictures(
    document: CaptionsDocument, pictures: Mapping[tuple[int, str], tuple[bytes, bytes]], max_bytes: int
) -> tuple[list[str], list[str]]:
    """Elements of the boundary pictures that fit, and what to say of the others."""
    confidence = {
        (caption.number, end): boundary.confidence
        for caption in document.captions
        for end, boundary in (("start", caption.start), ("end", caption.end))
    }
    unknown = sorted(set(pictures) - set(confidence))
    if unknown:
        raise Internal(f"there is no boundary {unknown[0]} to show pictures of")
    elements: list[str] = []
    size = left_out = 0
    for key in sorted(pictures, key=lambda key: (confidence[key], key)):
        number, end = key
        pair = pictures[key]
        if not all(picture.startswith(_PICTURES) for picture in pair):
            raise Internal(f"a picture at the {end} of caption {number} is neither JPEG nor PNG")
        if left_out or size + sum(map(len, pair)) > max_bytes:
            left_out += 1
            continue
        size += sum(map(len, pair))
        for side, picture in zip(("before", "after"), pair, strict=True):
            elements.append(_element(f"picture-{number}-{end}-{side}", picture))
    if not left_out:
        return elements, []
    return elements, [
        f"The pictures of {left_out} of {len(pictures)} boundaries, the most certain ones, are left out: a "
        f"page takes {_mb(max_bytes)} of them. There it shows the samples on either side."
    ]


def _chunk_elements(level: int, data: Mapping[int, bytes]) -> Iterator[str]:
    for window in sorted(data):
        yield _element(f"chunk-{level}-{window}", data[window])


def _element(name: str, data: bytes) -> str:
    """A block of data: a script of a type that no browser runs, and whose text costs no layout."""
    return f'<script type="text/plain" id="{name}">{base64.b64encode(data).decode("ascii")}</script>'


def _script() -> str:
    player = files("video_pipeline.captions") / "player" / "chunk_address.js"
    return "\n".join(
        [
            player.read_text(encoding="utf-8"),
            *(_read(f"js/{name}.js") for name in MODEL_SCRIPTS + VIEW_SCRIPTS),
        ]
    )


def _read(name: str) -> str:
    return files("video_pipeline.captions.review").joinpath(name).read_text(encoding="utf-8")


def _for_script(data: str) -> str:
    """JSON that cannot end its script element ("</script>") nor open a comment in it ("<!--"): "<" as an
    escape (HTML Living Standard, section 4.12.1.3)."""
    return data.replace("<", "\\u003c")


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy under which only this style and script run, and nothing is ever fetched: a
    page full of texts that were read from strangers' videos needs a second lock."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "img-src data: blob:; media-src blob:; base-uri 'none'; form-action 'none'"
    )


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Only the template's own `{{name}}` are places: one in a caption's text is text."""
    parts = re.split(r"\{\{(\w+)\}\}", template)
    parts[1::2] = [values[name] for name in parts[1::2]]
    return "".join(parts)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
