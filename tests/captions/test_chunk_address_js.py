"""The player's addressing function against Python's, in the Node that playwright brings along."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import playwright
import pytest

from video_pipeline.captions import chunks

MODULE = Path(chunks.__file__).parent / "player" / "chunk_address.js"
NODE = Path(playwright.__file__).parent / "driver" / "node"
FRAMES = 5000


def run_js(program: str) -> Any:
    """What `program` prints as JSON; it may import the module as `m`."""
    script = f"""
      import * as m from {json.dumps(MODULE.as_uri())};
      const answer = await (async () => {{ {program} }})();
      console.log(JSON.stringify(answer));
    """
    done = subprocess.run(
        [NODE, "--input-type=module", "-"], input=script, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("rate", [Fraction(10), Fraction(10_000, 1001), Fraction(25, 3), Fraction(30)])
def test_both_functions_agree_on_the_first_5000_frames_and_on_far_ones(rate: Fraction):
    indices = [*range(FRAMES), 10**6 + 3, 36_000 * 24, 2**40 + 5]
    fraction = {"num": rate.numerator, "den": rate.denominator}
    found = run_js(f"return {indices}.map((i) => m.chunkAddress(i, {json.dumps(fraction)}))")
    for index, address in zip(indices, found, strict=True):
        level, window, position = chunks.chunk_address(index)
        assert address == {
            "level": level,
            "window": window,
            "position": position,
            "name": chunks.chunk_name(level, window),
            "seekSeconds": float((position + Fraction(1, 2)) / rate),
        }


def test_a_rate_may_be_a_fraction_a_text_or_a_number():
    program = "return [{num: 25, den: 2}, '25/2', 12.5].map((rate) => m.chunkAddress(77, rate).seekSeconds)"
    position = chunks.position_in_chunk(77)
    assert run_js(program) == [(position + 0.5) / 12.5] * 3
    assert run_js("return m.chunkAddress(77, '10').seekSeconds") == (position + 0.5) / 10


def test_windows_and_their_frames_agree_for_every_tail():
    program = """
      const out = [];
      for (let count = 0; count < 1100; count += 7)
        out.push(m.LEVELS.map((level) =>
          m.windowsOfLevel(level, count).map((window) => [window, m.framesInChunk(level, window, count)])));
      return out;"""
    for count, levels in zip(range(0, 1100, 7), run_js(program), strict=True):
        assert levels == [
            [
                [window, chunks.pictures_in_window(level, window, count)]
                for window in chunks.windows(level, count)
            ]
            for level in chunks.LEVELS
        ]


@pytest.mark.parametrize(
    "call",
    [
        "m.chunkAddress(-1, 10)", "m.chunkAddress(1.5, 10)", "m.chunkAddress('7', 10)",
        "m.chunkAddress(2**53, 10)",
        "m.chunkAddress(1)", "m.chunkAddress(1, 0)", "m.chunkAddress(1, -10)", "m.chunkAddress(1, NaN)",
        "m.chunkAddress(1, 'ten')", "m.chunkAddress(1, {num: 10})", "m.chunkAddress(1, {num: 10, den: 0})",
        "m.chunkAddress(1, '10/0')", "m.chunkAddress(1, null)", "m.chunkAddress(1, Infinity)",
        "m.chunkName(16, 32)", "m.chunkName(8, 0)", "m.framesInChunk(1, 0, -1)", "m.windowsOfLevel(3, 10)",
    ],
)  # fmt: skip
def test_what_names_no_frame_is_a_range_error(call: str):
    assert run_js(f"try {{ return {call} }} catch (error) {{ return error.name }}") == "RangeError"
