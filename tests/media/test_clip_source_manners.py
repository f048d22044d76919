"""What a clip source says, refuses and costs: notes, times, damage, bytes read, its life."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction
from pathlib import Path

import pytest

from tests.fixtures.media_factory import MediaFactory, ffmpeg, place_to_make
from video_pipeline.errors import BadInput, Transient
from video_pipeline.media.clip_source import ClipSource, sane_rate
from video_pipeline.media.picture_range import PictureRange


class CountingReader(io.FileIO):
    """Counts the bytes that were read."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self.bytes_read += len(data)
        return data


def long_file(media: MediaFactory, variant: str, suffix: str) -> Path:
    """75 seconds: the variant thirty-one times."""
    target = media.directory / f"long_{variant}{suffix}"
    with place_to_make(target) as folder:
        if folder:
            made = folder / target.name
            ffmpeg(["-stream_loop", "30", "-i", str(media.path(variant)), "-c", "copy", str(made)])
            made.rename(target)
    return target


@pytest.mark.parametrize(
    ("variant", "suffix"),
    [
        ("h264_b", ".mp4"),
        ("h264_b", ".mkv"),
        ("hevc_open_gop", ".mp4"),
        ("mpeg4_avi", ".avi"),
        ("vp9", ".webm"),
    ],
)
def test_a_second_of_a_long_video_costs_a_small_part_of_its_bytes(
    media: MediaFactory, variant: str, suffix: str
) -> None:
    path = long_file(media, variant, suffix)
    with CountingReader(str(path)) as reader, ClipSource(reader, name="the video") as source:
        assert source.stop > 70
        opened, decoded = reader.bytes_read, source.stats.pictures_decoded
        pictures = list(source.pictures(Fraction(50), Fraction(51)))
        assert len(pictures) in (25, 26)
        size = path.stat().st_size
        assert opened < 0.12 * size
        # One second, up to a group of pictures before it and the look-ahead behind: about 4 of 75 seconds.
        assert reader.bytes_read - opened < 0.07 * size
        assert source.stats.pictures_decoded - decoded < 120


@pytest.mark.parametrize("variant", ["h264_intra_refresh", "h264_open_gop", "hevc_open_gop"])
def test_decoding_begins_where_whole_pictures_come_out(media: MediaFactory, variant: str) -> None:
    suffix = media.path(variant).suffix
    path = long_file(media, variant, suffix)
    with ClipSource(path, name="the video") as source:
        whole = {picture.pts: picture.frame for picture in source.pictures(None, Fraction(8))}
        for start in range(1, 7):
            for picture in source.pictures(Fraction(start), start + Fraction(1, 2)):
                assert (picture.frame.y == whole[picture.pts].y).all()


def test_times_outside_the_video_are_refused_before_anything_is_decoded(media: MediaFactory) -> None:
    with ClipSource(media.path("h264_b"), name="the video") as source:
        decoded = source.stats.pictures_decoded
        for start, stop in ((-1, 1), (0, 3), ("2.4", None), (3, 4), (None, 3)):
            with pytest.raises(BadInput, match=r"is not in the video, which goes from 0.000 s to 2.400 s"):
                source.pictures(*(None if t is None else Fraction(t) for t in (start, stop)))
        for start, stop in ((1, 1), (2, 1)):
            with pytest.raises(BadInput, match="is empty"):
                source.pictures(Fraction(start), Fraction(stop))
        assert source.stats.pictures_decoded == decoded


def test_a_stop_rounded_up_to_milliseconds_is_the_end(media: MediaFactory) -> None:
    with ClipSource(media.path("ntsc"), name="the video") as source:
        assert source.stop == Fraction(59 * 1001 + 1200, 30000)  # 2.00863
        assert len(list(source.pictures(Fraction(1), Fraction(2009, 1000)))) == 31


def test_a_start_before_a_late_first_picture_begins_with_it(media: MediaFactory) -> None:
    with ClipSource(media.path("edit_empty"), name="the video") as source:
        assert source.start == Fraction(2, 5)
        first = next(iter(source.pictures(Fraction(0), Fraction(1))))
        assert first.pts * source.time_base == source.start
        with pytest.raises(
            BadInput, match=r"from 0.000 s to 0.400 s is not in the video, which goes from 0.400"
        ):
            source.pictures(Fraction(0), Fraction(2, 5))


def test_neighbouring_parts_share_no_picture_and_miss_none(media: MediaFactory) -> None:
    with ClipSource(media.path("h264_open_gop"), name="the video") as source:
        borders = [Fraction(n, 25) for n in (0, 7, 8, 31, 50, 60)]
        pts: list[int] = []
        for start, stop in itertools.pairwise(borders):
            pts += [picture.pts for picture in source.pictures(start, stop)]
        assert pts == [512 * n for n in range(60)]


def test_times_rounded_to_the_nearest_tick_find_their_picture(media: MediaFactory) -> None:
    with ClipSource(media.path("vfr_mkv"), name="the video") as source:
        pictures = list(source.pictures())
        for picture in pictures[5:30:4]:
            for off in (Fraction(-4, 10), Fraction(4, 10)):
                start = (picture.pts + off) * source.time_base
                assert next(source.pictures(start, source.stop)).pts == picture.pts


def test_a_stop_rounded_to_the_nearest_tick_leaves_out_the_picture_that_it_means(media: MediaFactory) -> None:
    with ClipSource(media.path("vfr_mkv"), name="the video") as source:
        times = [picture.pts for picture in source.pictures()]
        for before, at in itertools.pairwise(times[5:30:4]):
            for off in (Fraction(-4, 10), Fraction(0), Fraction(4, 10)):
                start, stop = before * source.time_base, (at + off) * source.time_base
                shown = [picture.pts for picture in source.pictures(start, stop)]
                assert shown == [pts for pts in times if before <= pts < at]


def test_damage_in_the_part_is_told_and_elsewhere_does_not_matter(media: MediaFactory) -> None:
    with ClipSource(media.path("corrupt_middle"), name="the video") as source:
        with pytest.raises(BadInput, match="damaged at"):
            list(source.pictures())
        assert len(list(source.pictures(Fraction(21, 10), source.stop))) == 8
        assert len(list(source.pictures(Fraction(0), Fraction(1, 5)))) == 5


def test_a_change_of_size_is_told(media: MediaFactory) -> None:
    with (
        ClipSource(media.path("two_sizes"), name="the video") as source,
        pytest.raises(BadInput, match="picture size changes"),
    ):
        list(source.pictures())


@pytest.mark.parametrize(
    "variant", ["text", "audio_only", "no_pictures", "rotated_37", "truncated_faststart_60", "truncated_webm"]
)
def test_what_is_no_whole_video_is_refused_at_once(media: MediaFactory, variant: str) -> None:
    with pytest.raises(BadInput) as caught:
        ClipSource(media.path(variant), name="the video")
    assert "[the video]" in str(caught.value)


def test_an_error_of_the_reader_passes_unchanged(media: MediaFactory) -> None:
    class Breaking(CountingReader):
        """Fails once it has given out so many bytes."""

        limit = 1 << 60

        def read(self, size: int | None = -1, /) -> bytes:
            if self.bytes_read > self.limit:
                raise Transient("the store does not answer")
            return super().read(size)

    path = long_file(media, "h264_b", ".mp4")
    with Breaking(str(path)) as reader, ClipSource(reader, name="the video") as source:
        reader.limit = reader.bytes_read
        with pytest.raises(Transient):
            list(source.pictures(Fraction(50), Fraction(51)))


def test_an_iterator_whose_source_went_on_does_not_end_as_if_it_were_done(media: MediaFactory) -> None:
    with media.path("h264_b").open("rb") as reader:
        source = ClipSource(reader, name="the video")
        first = source.pictures()
        next(first)
        second = source.pictures(Fraction(1), Fraction(2))
        with pytest.raises(RuntimeError, match="asked for something else"):
            next(first)
        next(second)
        assert source.stop == Fraction(12, 5)
        with pytest.raises(RuntimeError, match="asked for something else"):
            next(second)
        third = source.pictures()
        assert len(list(third)) == 60
        fourth = source.pictures()
        source.close()
        source.close()
        with pytest.raises(RuntimeError, match="closed"):
            next(fourth)
        assert not reader.closed


def test_an_iterator_left_early_does_not_disturb_the_next(media: MediaFactory) -> None:
    with ClipSource(media.path("h264_open_gop"), name="the video") as source:
        whole = [picture.frame.y for picture in source.pictures()]
        for _ in range(3):
            left = source.pictures(Fraction(1), Fraction(2))
            assert (next(left).frame.y == whole[25]).all()


def test_several_threads_give_the_same_pictures(media: MediaFactory) -> None:
    with (
        ClipSource(media.path("h264_b"), name="the video") as one,
        ClipSource(media.path("h264_b"), name="the video", threads=4) as four,
    ):
        part = (Fraction(3, 2), Fraction(2))
        for a, b in zip(one.pictures(*part), four.pictures(*part), strict=True):
            assert a.pts == b.pts
            assert (a.frame.y == b.frame.y).all()


@pytest.mark.parametrize(
    ("variant", "notes"),
    [
        ("h264_b", ()),
        ("h264_full_range", ("converted from full range",)),
        ("ten_bit", ("reduced from 10 to 8 bits",)),
        ("odd_size", ("odd last column left out", "odd last row left out")),
        ("h264_interlaced", ("interlaced pictures are not de-interlaced",)),
        ("mpeg4_avi", ("converted from BT.601 (assumed by its size: it is not tagged)",)),
    ],
)
def test_what_is_done_to_the_pictures_is_said(
    media: MediaFactory, variant: str, notes: tuple[str, ...]
) -> None:
    with ClipSource(media.path(variant), name="the video") as source:
        assert source.notes == notes


@pytest.mark.parametrize(
    ("stated", "sane"),
    [
        (Fraction(25), Fraction(25)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (Fraction(2997, 100), Fraction(30000, 1001)),
        (Fraction(19001, 317), Fraction(60000, 1001)),
        (Fraction(299999, 10000), Fraction(30)),
        (Fraction(90000, 3754), Fraction(24000, 1001)),
        (Fraction(25, 2), Fraction(25, 2)),
        (Fraction(1234567, 50000), Fraction(1234567, 50000).limit_denominator(1001)),
        (Fraction(1, 4), Fraction(1, 4)),
    ],
)
def test_a_stated_rate_becomes_the_usual_one_near_it(stated: Fraction, sane: Fraction) -> None:
    assert sane_rate(stated) == sane


def test_a_first_picture_that_stands_longer_does_not_slow_a_fragmented_video(tmp_path: Path) -> None:
    """FFmpeg writes so where sound is primed: the first picture at 0, the others 23 ms later."""
    picture = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=3"]
    sound = ["-f", "lavfi", "-i", "sine=duration=3", "-c:a", "aac"]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-threads", "1"]
    path = tmp_path / "indexed.mp4"
    ffmpeg([*picture, *sound, *encoder, "-movflags", "+frag_keyframe+dash+global_sidx", str(path)])
    with ClipSource(path, name="the video") as source:
        times = [shown.pts * source.time_base for shown in itertools.islice(source.pictures(), 3)]
        assert times[1] - times[0] > Fraction(6, 100)
        assert times[2] - times[1] == Fraction(1, 25)
        assert source.frame_rate == 25


def test_the_rate_of_a_fragmented_video_of_uneven_steps_is_their_average(
    media: MediaFactory, tmp_path: Path
) -> None:
    path = tmp_path / "uneven.mp4"
    movflags = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]
    ffmpeg(["-i", str(media.path("vfr")), "-c", "copy", *movflags, str(path)])
    with ClipSource(path, name="the video") as source:
        pictures = list(source.pictures())
        lasts = (pictures[-1].stop - pictures[0].pts) * source.time_base
        assert source.frame_rate == pytest.approx(len(pictures) / lasts, rel=0.1)
        assert source.frame_rate < 20


def test_of_pictures_with_equal_times_the_last_is_shown() -> None:
    chosen = PictureRange(None, None, 50)
    taken = [chosen.push(pts) for pts in (0, 40, 40, 80)] + [chosen.finish(None)]
    assert [len(samples) for samples in taken] == [0, 1, 0, 1, 1]
    assert chosen.stops == {0: 40, 40: 80, 80: 120}


def test_a_last_picture_without_a_duration_lasts_as_long_as_the_one_before_it_or_as_usual() -> None:
    alone = PictureRange(None, None, 50)
    assert [len(alone.push(0)), len(alone.finish(0))] == [0, 1]
    assert alone.stops == {0: 50}
    after_another = PictureRange(None, None, 50)
    after_another.push(0)
    after_another.push(40)
    after_another.finish(None)
    assert after_another.stops == {0: 40, 40: 80}


def test_pictures_out_of_order_are_a_defect_of_what_decodes_them() -> None:
    chosen = PictureRange(None, None, 40)
    chosen.push(40)
    with pytest.raises(ValueError, match="PTS 0 after 40"):
        chosen.push(0)
