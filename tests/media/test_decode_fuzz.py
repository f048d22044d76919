"""Damaged files by the hundred: samples or BadInput, never a crash, never a hang.

Each batch runs in a process of its own, so that a crash inside libav is a failed batch with its seeds named,
and a hang is ended by a time limit.
"""

from __future__ import annotations

import faulthandler
import json
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from tests.fixtures.media_factory import MediaFactory

BATCH = 125
SEEDS = 1000
SECONDS_PER_BATCH = 120
VARIANTS = (
    "h264_b", "h264_faststart", "h264_fragmented", "hevc", "vp9", "av1", "h264_mkv", "h264_ts", "msmpeg4_avi",
    "edit_trim", "ten_bit", "tuned_in", "mpeg4_avi", "vp8",
)  # fmt: skip


def damage(data: bytes, seed: int) -> bytes:
    """Flip bits, overwrite runs, cut off, cut out or repeat: one to six times."""
    rng = random.Random(seed)
    changed = bytearray(data)
    # Half of the seeds aim at the header and the index, which hold few of a file's bytes.
    moov = data.find(b"moov")
    for _ in range(rng.randint(1, 6)):
        if len(changed) < 64:
            break
        aim = rng.random()
        if aim < 0.25:
            place = rng.randrange(min(400, len(changed)))
        elif aim < 0.5 and 0 <= moov < len(changed) - 16:
            place = min(len(changed) - 1, moov + rng.randrange(1500))
        else:
            place = rng.randrange(len(changed))
        kind = rng.randrange(6)
        length = rng.choice((1, 4, 16, 200, 3000))
        if kind <= 1:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[place : place + length] = rng.randbytes(len(changed[place : place + length]))
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = changed[place : place + length]
        elif rng.random() < 0.3:
            del changed[max(64, place) :]
    return bytes(changed)


def outcome(data: bytes) -> str:
    import io

    import av.logging

    from video_pipeline.errors import BadInput
    from video_pipeline.media.decode_software import SoftwareDecoder
    from video_pipeline.media.geometry import CropRegion
    from video_pipeline.media.probe import probe_video

    av.logging.set_level(None)
    region = CropRegion(left=0.1, top=0.6, width=0.8, height=0.3)
    try:
        probe_video(io.BytesIO(data), name="fuzz")
        told = "probed"
    except BadInput:
        told = "refused"
    try:
        decoder = SoftwareDecoder(io.BytesIO(data), name="fuzz", crop_region=region, rate=Fraction(10))
        indices = [sample.index for sample in decoder.samples()]
    except BadInput as error:
        named = error.input == "fuzz" and error.what_to_do
        return f"{told}, refused" if named else f"refused without a name: {error!r}"
    whole = indices and indices == list(range(len(indices)))
    return f"{told}, decoded" if whole else f"samples missing: {indices}"


def main(first: int, paths: list[str]) -> None:
    faulthandler.enable()
    counts: dict[str, int] = {}
    for seed in range(first, first + BATCH):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        told = outcome(damage(Path(paths[seed % len(paths)]).read_bytes(), seed))
        counts[told] = counts.get(told, 0) + 1
    print(json.dumps(counts))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_damaged_files_give_samples_or_bad_input(media: MediaFactory, first: int) -> None:
    paths = [str(media.path(variant)) for variant in VARIANTS]
    command = [sys.executable, "-m", "tests.media.test_decode_fuzz", str(first), *paths]
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_PER_BATCH, cwd=root, check=False
        )
    except subprocess.TimeoutExpired as hang:
        pytest.fail(f"a hang: {str(hang.stderr)[-200:]}")
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout)
    assert sum(counts.values()) == BATCH
    assert set(counts) <= {f"{a}, {b}" for a in ("probed", "refused") for b in ("decoded", "refused")}, counts
    assert any(told.endswith("refused") for told in counts)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
