"""A real player: Chromium seeks every frame of every chunk by the addressing function and must show it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser import chromium
from tests.captions.barcodes import BITS, BLOCK, HEIGHT, WIDTH, barcode_frame
from tests.captions.range_server import range_server
from video_pipeline.captions import chunks
from video_pipeline.captions.chunks import ChunkAssembler, ChunkJob
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.vp9 import Preset, encode_chunk, verify_chunk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FRAMES = 603
"""Tails on all levels: 6 of 32, 17 of 24 and 20 of 24 pictures, and none of them ends with its window."""

PLAYER = Path(chunks.__file__).parent / "player" / "chunk_address.js"

PAGE = f"""<!doctype html><meta charset="utf-8"><title>chunks</title>
<video id="video" muted preload="auto"></video><canvas id="canvas" width="{WIDTH}" height="{HEIGHT}"></canvas>
<script type="module">
import * as player from "./chunk_address.js";
const video = document.getElementById("video");
const context = document.getElementById("canvas").getContext("2d", {{ willReadFrequently: true }});

const happens = (event, start) => new Promise((resolve, reject) => {{
  const broken = () => reject(new Error(`${{video.src}}: ${{video.error?.message}}`));
  video.addEventListener(event, () => {{ video.removeEventListener("error", broken); resolve(); }}, {{ once: true }});
  video.addEventListener("error", broken, {{ once: true }});
  start();
}});

function readBarcode() {{
  context.drawImage(video, 0, 0);
  const row = context.getImageData(0, {HEIGHT // 4}, {WIDTH}, 1).data;
  let number = 0;
  for (let bit = 0; bit < {BITS}; bit++) number = 2 * number + (row[4 * (bit * {BLOCK} + {BLOCK // 2})] > 125 ? 1 : 0);
  return number;
}}

async function load(name) {{
  if (video.src.endsWith(name)) return;
  await happens("loadeddata", () => {{ video.src = name; }});
}}

// What the compositor last put on the screen; "seeked" and "ended" may come before it has.
let mediaTime = NaN;
const watch = (_, metadata) => {{ mediaTime = metadata.mediaTime; video.requestVideoFrameCallback(watch); }};
video.requestVideoFrameCallback(watch);

/**
 * Waits for the picture that is on show at `seconds`: its time began at most one picture's time before.
 * Gives up after 30 s, so that a file whose times are wrong is read as it is shown.
 */
async function onScreen(seconds, rate) {{
  const deadline = performance.now() + 30000;
  while (performance.now() < deadline) {{
    if (mediaTime <= seconds && seconds < mediaTime + rate.den / rate.num) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }}
}}

/** Seeks each frame in the order given; returns what was on the screen. */
window.show = async (frames, rate) => {{
  const shown = [];
  for (const frame of frames) {{
    const address = player.chunkAddress(frame, rate);
    await load(address.name);
    mediaTime = NaN;
    await happens("seeked", () => {{ video.currentTime = address.seekSeconds; }});
    await onScreen(address.seekSeconds, rate);
    shown.push(readBarcode());
  }}
  return shown;
}};

/** Plays a chunk from its start to its end; returns its duration, its size and the last picture. */
window.play = async (name, pictures, rate) => {{
  await load(name);
  await happens("ended", () => video.play());
  await onScreen(player.seekSeconds(pictures - 1, rate), rate);
  return {{
    duration: video.duration, width: video.videoWidth, height: video.videoHeight, last: readBarcode(),
  }};
}};

window.allAddresses = (count, rate) => Array.from({{ length: count }}, (_, i) => player.chunkAddress(i, rate));
window.ready = true;
</script>"""  # noqa: E501 - the page's lines, not Python's


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page()


def write_pyramid(
    folder: Path,
    rate: Fraction,
    preset: Preset = "fast",
    frame_of: Callable[[int], CroppedFrame] = barcode_frame,
) -> list[ChunkJob[CroppedFrame]]:
    """All chunks of FRAMES frames as files under `folder`, with the page and the player beside them."""
    assembler: ChunkAssembler[CroppedFrame] = ChunkAssembler()
    jobs = [job for index in range(FRAMES) for job in assembler.push(index, frame_of(index))]
    jobs += assembler.finish()
    for job in jobs:
        data = encode_chunk(job.frames, rate=rate, preset=preset)
        verify_chunk(data, frames=len(job.frames), width=WIDTH, height=HEIGHT, rate=rate)
        path = folder / job.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    shutil.copy(PLAYER, folder)
    (folder / "index.html").write_text(PAGE, encoding="utf-8")
    return jobs


def open_page(page: Page, url: str) -> None:
    page.goto(f"{url}/index.html")
    page.wait_for_function("window.ready")


def as_js(rate: Fraction) -> dict[str, int]:
    return {"num": rate.numerator, "den": rate.denominator}


def scrambled(indices: tuple[int, ...]) -> list[int]:
    """Every index once, far jumps forwards and backwards, the last frame early."""
    rest = list(indices)
    order = []
    while rest:
        order.append(rest.pop())
        if rest:
            order.append(rest.pop(len(rest) // 3))
    return order


@pytest.mark.parametrize(
    ("rate", "preset"),
    [
        (Fraction(10), "fast"),
        (Fraction(30_000, 1001) / 3, "fast"),
        (Fraction(25, 3), "small"),
        (Fraction(30), "fast"),
    ],
    ids=["10", "10000-1001", "25-3 small", "30"],
)
def test_a_player_shows_every_frame_of_every_level_it_seeks(
    page: Page, tmp_path: Path, rate: Fraction, preset: Preset
):
    jobs = write_pyramid(tmp_path, rate, preset)
    seen: list[int] = []
    with range_server(tmp_path) as url:
        open_page(page, url)
        for job in jobs:
            order = scrambled(job.indices)
            shown = page.evaluate("([frames, rate]) => window.show(frames, rate)", [order, as_js(rate)])
            assert shown == order, f"{job.name} at {rate} Hz"
            seen += shown
    assert sorted(seen) == list(range(FRAMES))


def test_a_player_that_scrubs_across_chunks_sees_the_right_frame_each_time(page: Page, tmp_path: Path):
    rate = Fraction(10)
    write_pyramid(tmp_path, rate)
    path = [*range(120, 140), FRAMES - 1, 0, FRAMES - 2, 1, 512, 511, 513, 480, 4, 16, 15, 17, 602, 592, 596]
    with range_server(tmp_path) as url:
        open_page(page, url)
        assert page.evaluate("([frames, rate]) => window.show(frames, rate)", [path, as_js(rate)]) == path


def test_a_player_plays_chunks_to_their_last_picture(page: Page, tmp_path: Path):
    rate = Fraction(30)
    jobs = write_pyramid(tmp_path, rate)
    of_level = [[job for job in jobs if job.level == level] for level in chunks.LEVELS]
    with range_server(tmp_path) as url:
        open_page(page, url)
        for job in [job for level in of_level for job in (level[0], level[-1])]:
            played: dict[str, Any] = page.evaluate(
                "([name, pictures, rate]) => window.play(name, pictures, rate)",
                [job.name, len(job.indices), as_js(rate)],
            )
            assert (played["width"], played["height"]) == (WIDTH, HEIGHT)
            assert played["duration"] == pytest.approx(float(len(job.indices) / rate), abs=0.0005001)
            assert played["last"] == job.indices[-1], job.name


def test_a_chunk_of_one_frame_can_be_seeked(page: Page, tmp_path: Path):
    write_pyramid(tmp_path, Fraction(10))
    single = tmp_path / chunks.chunk_name(16, 0)
    single.write_bytes(encode_chunk([barcode_frame(0)], rate=Fraction(10)))
    with range_server(tmp_path) as url:
        open_page(page, url)
        assert page.evaluate(
            "([frames, rate]) => window.show(frames, rate)", [[0, 0], as_js(Fraction(10))]
        ) == [0, 0]


def test_the_browser_computes_the_addresses_that_python_does(page: Page, tmp_path: Path):
    rate = Fraction(30_000, 1001) / 3
    shutil.copy(PLAYER, tmp_path)
    (tmp_path / "index.html").write_text(PAGE, encoding="utf-8")
    with range_server(tmp_path) as url:
        open_page(page, url)
        found = page.evaluate("([count, rate]) => window.allAddresses(count, rate)", [5000, as_js(rate)])
    for index, address in enumerate(found):
        level, window, position = chunks.chunk_address(index)
        assert (address["level"], address["window"], address["position"]) == (level, window, position)
        assert address["name"] == chunks.chunk_name(level, window)
        assert address["seekSeconds"] == float((position + Fraction(1, 2)) / rate)
