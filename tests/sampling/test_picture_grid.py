"""The sheet of sampled frames, by its pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from tests.sampling.results_made import made_result
from video_pipeline.sampling.picture_grid import (
    MAX_TILES,
    SHEET_WIDTH,
    _shortened,
    frame_caption,
    picture_grid,
    result_tiles,
    video_name,
)
from video_pipeline.sampling.runner import reports_of
from video_pipeline.sampling.sample_run import SampleRun
from video_pipeline.streaming.stats import PipelineReport
from video_pipeline.telemetry.timing import Recorder


def png(colour: tuple[int, int, int], size: tuple[int, int] = (320, 180)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def opened(data: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return np.asarray(picture)


def extent(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int]:
    """(width, height) of the box around all pixels of this colour."""
    rows, columns = np.where((sheet == colour).all(axis=2))
    assert len(rows), f"nothing is {colour}"
    return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def test_each_picture_keeps_its_shape_and_its_place() -> None:
    sheet = opened(
        picture_grid(
            [
                (png(RED, (1920, 1080)), "wide"),
                (png(GREEN, (400, 1600)), "tall"),
                (png(BLUE, (3000, 100)), "flat"),
            ],
            columns=3,
        )
    )
    cell = (SHEET_WIDTH - 12) // 3 - 12
    assert sheet.shape[1] <= SHEET_WIDTH
    assert extent(sheet, RED) == (cell, pytest.approx(cell * 9 / 16, abs=1))
    assert extent(sheet, GREEN) == (pytest.approx(cell / 4, abs=1), cell)
    assert extent(sheet, BLUE) == (cell, pytest.approx(cell / 30, abs=1))
    middles = [np.where((sheet == colour).all(axis=2))[1].mean() for colour in (RED, GREEN, BLUE)]
    assert middles == sorted(middles)


def test_a_tiny_picture_is_not_blown_up() -> None:
    assert extent(opened(picture_grid([(png(RED, (16, 16)), "tiny")])), RED) == (32, 32)


@pytest.mark.parametrize(("tiles", "columns"), [(1, 1), (2, 2), (5, 3), (12, 4), (30, 6), (200, 8)])
def test_any_number_of_tiles_stays_within_the_width(tiles: int, columns: int) -> None:
    sheet = opened(picture_grid([(png(RED), "a\nb")] * tiles))
    assert sheet.shape[1] <= SHEET_WIDTH
    inside = (sheet == RED).all(axis=2)
    starts = np.flatnonzero(np.diff(inside.any(axis=0).astype(int)) == 1)
    assert len(starts) == columns


def test_the_caption_is_under_its_picture() -> None:
    def below(caption: str) -> int:
        sheet = opened(picture_grid([(png(RED), caption)]))
        bottom = np.where((sheet == RED).all(axis=2))[0].max()
        return int((sheet[bottom + 1 :] > 120).any(axis=2).sum())

    assert below("") == 0
    assert 0 < below("cat") < below("cat\n1.25 s  walk.mp4")


def test_a_frame_that_failed_is_a_tile_that_says_why() -> None:
    def written(reason: str) -> int:
        sheet = opened(picture_grid([(png(RED), "fine"), (None, reason)]))
        tile = sheet[:, sheet.shape[1] // 2 + 6 :]
        assert ((tile == (76, 29, 32)).all(axis=2)).sum() > 10_000
        return int((tile > 200).all(axis=2).sum())

    assert written("") == 0
    assert 0 < written("404") < written("bad input: the server answers 404 Not Found\n1.00 s  walk.mp4")


def test_a_long_reason_is_not_written_over_the_next_row() -> None:
    def rows(reason: str) -> np.ndarray:
        return opened(picture_grid([(None, reason), (png(RED), "a")] + [(png(GREEN), "b")] * 2, columns=2))

    short, long = rows("404"), rows("word " * 3000 + "\n1.00 s  walk.mp4")
    second = int(np.where((short == GREEN).all(axis=2))[0].min())
    assert np.array_equal(short[second - 12 :], long[second - 12 :])
    assert (long != short).any()


def test_a_picture_that_is_none_becomes_a_tile_too() -> None:
    sheet = opened(picture_grid([(b"not a picture", "walk.mp4"), (png(GREEN), "fine")]))
    assert ((sheet == (76, 29, 32)).all(axis=2)).sum() > 10_000
    assert extent(sheet, GREEN) == (640, 360)


def test_more_frames_than_a_sheet_takes_are_counted_under_it() -> None:
    tile = (png(RED, (64, 36)), "x")
    full = opened(picture_grid([tile] * MAX_TILES))
    more = opened(picture_grid([tile] * (MAX_TILES + 1)))
    assert more.shape[0] > full.shape[0]
    assert (more[full.shape[0] :] > 100).any()
    assert np.array_equal(more[: full.shape[0] - 12], full[:-12])


def test_a_runs_grid_counts_the_frames_it_leaves_out() -> None:
    result, requests = made_result(videos=1, frames=MAX_TILES + 1)
    pngs = (png(RED, (64, 36)),) * (MAX_TILES + 1)
    run = SampleRun(result, pngs, requests, Recorder(), PipelineReport([], 1.0, 1, 1.0))
    assert reports_of(run)["picture_grid.png"] == picture_grid(result_tiles(result, pngs))


def test_the_same_tiles_give_the_same_bytes() -> None:
    tiles = [(png(RED), "a"), (png(BLUE), "b"), (None, "c")]
    assert picture_grid(tiles) == picture_grid(tiles)


@pytest.mark.parametrize(
    "text", ["a" * 400, "https://videos.example/" + "long/" * 40 + "end.mp4", "ünï" * 90]
)
def test_long_names_lose_their_middle(text: str) -> None:
    font = ImageFont.load_default(size=15)
    short = _shortened(text, 200, font)
    assert font.getlength(short) <= 200
    assert font.getlength(short) > 170, "more would have fitted"
    head, tail = short.split("…")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert _shortened("short.mp4", 200, font) == "short.mp4"


def test_the_tiles_of_a_result_follow_its_frames() -> None:
    result, _ = made_result(videos=2, frames=2, failed_videos=1)
    tiles = result_tiles(result, [b"first", b"second"])
    assert [data for data, _ in tiles] == [b"first", None, b"second", None]
    row = result.frames[0]
    assert row.prediction is not None
    assert frame_caption(row) == (
        f"{row.prediction.confidence:.0%} street sign\n{row.seconds:.2f} s  0000-a-walk-in-the-park.mp4"
    )
    assert tiles[1][1] == "bad input: the server answers 404 Not Found\n0001-a-walk-in-the-park.mp4"
    with pytest.raises(ValueError, match="1 pictures for 2 delivered frames"):
        result_tiles(result, [b"first"])


def test_a_name_has_no_signature_and_is_readable() -> None:
    assert video_name("https://u:p@x.example/a/K%C3%BCche%201.mp4?sig=secret") == "Küche 1.mp4"
    assert video_name("s3://bucket/") == "bucket"
    assert video_name("demo/videos/walk.mp4") == "walk.mp4"
    assert video_name("demo/client/videos/street/video.mp4") == "street/video.mp4"
    assert video_name("video.mp4") == "video.mp4"


@pytest.mark.parametrize("columns", [0, -1])
def test_no_tiles_and_no_columns_are_refused(columns: int) -> None:
    with pytest.raises(ValueError, match="columns"):
        picture_grid([(None, "a")], columns=columns)
    with pytest.raises(ValueError, match="one tile"):
        picture_grid([])
