"""How much of a file a part of it costs to read, by the kind of index the file has.

A fragmented file without `sidx` is opened by looking at the header of each fragment: that reads some 0.4 of
its bytes here, where each look reads on. The part itself costs no more than in a plain file. What a source in
a store costs, whose headers are fetched by themselves, is in `tests/clips/test_source_bytes.py`.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.fixtures.media_factory import ffmpeg
from tests.media.test_clip_source_manners import CountingReader
from video_pipeline.media.clip_source import ClipSource

FRAGMENTED = "+frag_keyframe+empty_moov+default_base_moof"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "opening"),
    [
        ("+faststart", 0.05),
        ("+frag_keyframe+dash+global_sidx", 0.05),
        (f"{FRAGMENTED}+skip_trailer", 0.6),
        (FRAGMENTED, 0.6),
    ],
    ids=["plain", "sidx", "fragments alone", "mfra"],
)
def test_two_seconds_of_75_cost_little_once_a_file_is_open(
    tmp_path: Path, flags: str, opening: float
) -> None:
    path = tmp_path / "film.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=75"]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-threads", "1"]
    ffmpeg([*picture, *encoder, "-movflags", flags, str(path)])
    size = path.stat().st_size
    with CountingReader(str(path)) as reader, ClipSource(reader, name="the video") as source:
        opened = reader.bytes_read
        assert opened < opening * size
        assert source.stop == 75
        found = reader.bytes_read
        assert found - opened < 0.05 * size
        assert len(list(source.pictures(Fraction(40), Fraction(42)))) == 50
        assert reader.bytes_read - found < 0.07 * size
