"""What a probe says, what it refuses, and how little it reads."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.fixtures.media_factory import MediaFactory
from tests.media.test_decode_software import REFUSED, stored_pictures, to_the_end
from video_pipeline.errors import BadInput
from video_pipeline.media import probe
from video_pipeline.media.probe import VideoProbe, probe_video

ONLY_DECODING_TELLS = {"two_sizes", "corrupt_middle"}


def test_a_plain_file_is_described_in_full(media: MediaFactory) -> None:
    path = media.path("h264_b")
    assert probe_video(path, name="v") == VideoProbe(
        container="mov",
        codec="h264",
        profile="High",
        coded_width=320,
        coded_height=180,
        display_width=320,
        display_height=180,
        rotation=0,
        mirrored=False,
        time_base="1/12800",
        first_pts=0,
        duration_seconds="12/5",
        frame_count=60,
        average_rate="25",
        variable_frame_rate=False,
        pix_fmt="yuv420p",
        bit_depth=8,
        color_primaries=1,
        color_transfer=1,
        color_matrix=1,
        color_range=1,
        has_audio=True,
        audio_codec="aac",
        size_bytes=path.stat().st_size,
        end_checked=True,
    )


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("rotated_90", {"rotation": 90, "display_width": 180, "display_height": 320, "coded_width": 320}),
        ("rotated_270", {"rotation": 270, "display_width": 180}),
        ("mirrored", {"rotation": 0, "mirrored": True}),
        ("ten_bit", {"pix_fmt": "yuv420p10le", "bit_depth": 10, "codec": "hevc"}),
        ("odd_size", {"display_width": 319, "display_height": 179, "codec": "vp9", "container": "matroska"}),
        ("av1", {"codec": "av1", "has_audio": False, "audio_codec": None}),
        ("vfr", {"variable_frame_rate": True, "frame_count": 41}),
        ("ntsc", {"variable_frame_rate": False, "time_base": "1/30000"}),
        ("edit_trim", {"frame_count": 25, "duration_seconds": "1"}),
        ("edit_empty", {"first_pts": 5120, "frame_count": 60}),
        ("h264_mkv", {"frame_count": None, "variable_frame_rate": None, "duration_seconds": "12/5"}),
        ("h264_fragmented", {"frame_count": None, "variable_frame_rate": None}),
        ("one_picture", {"frame_count": 1, "variable_frame_rate": None}),
        ("h264_full_range", {"color_range": 2}),
        ("msmpeg4_avi", {"container": "avi", "codec": "msmpeg4", "frame_count": 60}),
        ("h264_ts", {"container": "mpegts", "frame_count": None, "end_checked": False}),
    ],
)
def test_what_is_unusual_is_told(media: MediaFactory, variant: str, expected: dict[str, Any]) -> None:
    probe = probe_video(media.path(variant), name="v").model_dump()
    assert {key: probe[key] for key in expected} == expected


@pytest.mark.parametrize("variant", sorted(set(REFUSED) - ONLY_DECODING_TELLS))
def test_bad_media_is_refused_before_anything_is_spent(media: MediaFactory, variant: str) -> None:
    with pytest.raises(BadInput, match=REFUSED[variant]):
        probe_video(media.path(variant), name="v")


def test_a_damaged_end_is_refused(media: MediaFactory) -> None:
    data = media.path("h264_p").read_bytes()
    end = data.index(b"moov") - 4
    refusals = []
    for place in range(end - 6000, end - 400, 400):
        try:
            probe_video(io.BytesIO(data[:place] + bytes(24) + data[place + 24 :]), name="v")
        except BadInput as error:
            refusals.append(error.message)
    # libav raises for some damage and only flags the picture for the rest.
    assert len(refusals) >= 8
    assert "the end of the video is damaged" in refusals


def test_a_file_that_ends_within_or_before_a_picture_of_its_index_is_refused(media: MediaFactory) -> None:
    path = media.path("h264_faststart")
    data = to_the_end(path.read_bytes())
    assert probe_video(io.BytesIO(data), name="v").end_checked
    (place, size), last = stored_pictures(path)[30], stored_pictures(path)[-1]
    for end, missing in ((place, 30), (place + size - 1, 30), (last[0] + last[1] - 1, 1)):
        with pytest.raises(BadInput, match=f"cut off: {missing} of its pictures lie beyond its end"):
            probe_video(io.BytesIO(data[:end]), name="v")


class Counting(io.BytesIO):
    """Counts the bytes that were read."""

    served = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.served += len(data)
        return data


def test_a_cut_before_or_in_the_last_picture_of_the_last_fragment_is_refused(media: MediaFactory) -> None:
    path = media.path("h264_fragmented")
    data = to_the_end(path.read_bytes())
    assert probe_video(io.BytesIO(data), name="v").end_checked
    place, size = stored_pictures(path)[-1]
    for end in (place, place + size - 1):
        with pytest.raises(BadInput, match="cut off: 1 of its pictures lie beyond its end"):
            probe_video(io.BytesIO(data[:end]), name="v")


def test_an_end_that_is_not_reached_is_told_as_not_checked(
    media: MediaFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = media.path("h264_p").read_bytes()
    assert probe_video(io.BytesIO(data), name="v").end_checked
    with monkeypatch.context() as limited:
        # libav reads 32 KiB at once: once for the first picture, and again for the last ones.
        limited.setattr(probe, "PROBE_BYTES", 33_000)
        assert not probe_video(io.BytesIO(data), name="v").end_checked
    with monkeypatch.context() as limited:
        limited.setattr(probe, "PROBE_PACKETS", 3)
        assert not probe_video(io.BytesIO(data), name="v").end_checked
    # Intra refresh: no picture comes out before all of it has been refreshed, and the video ends first.
    assert not probe_video(media.path("h264_intra_refresh"), name="v").end_checked


def test_a_probe_is_json_and_comes_back(media: MediaFactory) -> None:
    probe = probe_video(media.path("vp9"), name="v")
    assert VideoProbe.model_validate(json.loads(probe.model_dump_json())) == probe


def test_a_probe_reads_a_small_part_of_a_large_file(media: MediaFactory) -> None:
    # 30 MB between the sound and the picture data of a small file, as in a long one.
    data = media.path("h264_b").read_bytes()
    moov = data.rindex(b"moov") - 4
    filler = (8 + 30_000_000).to_bytes(4, "big") + b"free" + bytes(30_000_000)
    reader = Counting(data[:moov] + filler + data[moov:])
    assert probe_video(reader, name="v").end_checked
    assert reader.served < 1_000_000


def test_a_reader_stays_open_and_a_path_is_closed(media: MediaFactory) -> None:
    reader = io.BytesIO(media.path("h264_b").read_bytes())
    probe_video(reader, name="v")
    assert not reader.closed


def test_an_avi_that_states_no_size_states_no_length_either(media: MediaFactory) -> None:
    probe = probe_video(media.path("live_avi"), name="v")
    assert (probe.duration_seconds, probe.frame_count, probe.end_checked) == (None, None, True)
    assert probe_video(media.path("h264_avi"), name="v").frame_count == 60


@pytest.mark.parametrize("variant", ["live_webm_clusters", "live_avi"])
def test_where_the_end_of_a_cut_off_recording_does_not_decode_the_cut_is_what_is_told(
    media: MediaFactory, variant: str
) -> None:
    data = media.path(variant).read_bytes()
    for percent in (30, 61, 95):
        with pytest.raises(BadInput, match="cut off: its"):
            probe_video(io.BytesIO(data[: len(data) * percent // 100]), name="v")
