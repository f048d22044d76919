"""The stream of one render: blending, what it tells, what it keeps, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from video_pipeline.clips.render import Rendered, Unchanged, blend, preview_frames, render_clip, transformed
from video_pipeline.clips.shots import OutputFrame, Shot
from video_pipeline.errors import Cancelled
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.h264 import H264Settings, VideoFormat
from video_pipeline.media.h264_parts import read_part
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder, use_recorder

TAGS = ColourTags(1, 1, 1, 1)
WIDTH, HEIGHT = 64, 48
FORMAT = VideoFormat(WIDTH, HEIGHT, Fraction(1, 50), Fraction(25))
SEGMENT = 50


def noise(seed: int) -> CroppedFrame:
    made = np.random.default_rng(seed)
    y, u, v = (made.integers(0, 256, (HEIGHT // part, WIDTH // part), dtype=np.uint8) for part in (1, 2, 2))
    return CroppedFrame(y, u, v, TAGS)


def flat(level: int) -> CroppedFrame:
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return CroppedFrame(np.full((HEIGHT, WIDTH), level, np.uint8), chroma, chroma, TAGS)


@pytest.mark.parametrize(
    "weights",
    [
        (Fraction(1, 3), Fraction(2, 3)),
        (Fraction(5, 11), Fraction(6, 11)),
        (Fraction(1, 4),),
        (Fraction(5, 6),),
    ],
)
def test_a_blend_is_the_weighted_sum_over_black_rounded_once(weights: tuple[Fraction, ...]) -> None:
    parts = [(noise(seed), weight) for seed, weight in enumerate(weights)]
    found = blend(parts)
    assert found.tags == TAGS
    rest = 1 - float(sum(weights))
    for name, black in (("y", 16), ("u", 128), ("v", 128)):
        exact = sum(getattr(frame, name) * float(weight) for frame, weight in parts) + rest * black
        assert np.abs(getattr(found, name) - exact).max() <= 0.5 + 1e-4


def test_one_picture_at_full_weight_is_left_alone() -> None:
    frame = noise(1)
    assert blend([(frame, Fraction(1))]) is frame
    assert blend([(frame, Fraction(1, 2))]) is not frame


class Brighter:
    """A transform that adds to luma, and remembers at what moments."""

    def __init__(self, by: int, moments: list[Fraction] | None = None) -> None:
        self.by, self.moments = by, [] if moments is None else moments

    def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        self.moments += [moment for _, moment in batch]
        return [CroppedFrame(frame.y + self.by, frame.u, frame.v, frame.tags) for frame, _ in batch]


def shot(clip: int, level: int, moment: Fraction, weight: Fraction = Fraction(1)) -> Shot:
    return Shot(clip, flat(level), moment, weight)


def test_each_clip_of_a_dissolve_goes_through_its_own_transform_before_it_is_added() -> None:
    transforms = [Brighter(1), Brighter(50)]
    batch = [
        OutputFrame(
            n,
            n,
            1,
            (shot(0, 40, Fraction(n), Fraction(3, 4)), shot(1, 100, Fraction(10 + n), Fraction(1, 4))),
        )
        for n in range(3)
    ]
    found = transformed(batch, transforms.__getitem__)
    assert [frame for frame, _ in found] == batch
    assert {int(level) for _, picture in found for level in np.unique(picture.y)} == {
        round(41 * 0.75 + 150 * 0.25)
    }
    assert [transform.moments for transform in transforms] == [[0, 1, 2], [10, 11, 12]]


def some_frames(first: int, count: int) -> Callable[[], Iterator[OutputFrame]]:
    """Frames whose luma is 40 and their number more, half a second of the source apart."""
    return lambda: (
        OutputFrame(n, 2 * n, 2, (shot(0, 40 + n, Fraction(n, 2)),)) for n in range(first, first + count)
    )


def render(
    path: Path, frames: Callable[[], Iterator[OutputFrame]], **how: Any
) -> tuple[Rendered, list[int], list[int]]:
    """A part at `path`; and what it told: frames that are done, and frames of each batch."""
    done: list[int] = []
    batches: list[int] = []
    wanted: dict[str, Any] = {
        "transforms": lambda _clip: Unchanged(),
        "total": 10,
        "cancel": CancellationToken(),
        **how,
    }
    rendered = render_clip(
        frames,
        wanted.pop("transforms"),
        FORMAT,
        H264Settings(16, "ultrafast"),
        path=path,
        sound=None,
        on_progress=done.append,
        on_frames=batches.append,
        **wanted,
    )
    return rendered, done, batches


@pytest.mark.parametrize("first", [0, SEGMENT])
@pytest.mark.parametrize(("total", "chosen"), [(10, 5), (1, 0), (40, 9)], ids=["middle", "fewer", "more"])
def test_a_render_says_what_it_wrote_and_keeps_the_pictures_of_its_middle_frame(
    tmp_path: Path, first: int, total: int, chosen: int
) -> None:
    rendered, done, batches = render(
        tmp_path / "part", some_frames(first, 10), transforms=lambda _: Brighter(30), first=first, total=total
    )
    assert rendered.frames == 10
    assert rendered.pts == [2 * n for n in range(first, first + 10)]
    assert rendered.end_pts == 2 * (first + 10)
    assert (rendered.before and rendered.before.time) == Fraction(first + chosen, 2)
    assert rendered.after is not None
    assert set(np.unique(rendered.after.y)) == {40 + first + chosen + 30}
    assert done[-1] == sum(batches) == 10
    assert max(batches) == 4
    part = read_part(tmp_path / "part", name="part")
    assert part.extradata == rendered.extradata != b""
    assert sorted(packet.pts for packet in part.packets) == rendered.pts


def test_in_a_dissolve_the_clip_that_is_seen_more_of_is_the_one_before(tmp_path: Path) -> None:
    def frames() -> Iterator[OutputFrame]:
        shots = (shot(0, 40, Fraction(1), Fraction(1, 3)), shot(1, 90, Fraction(2), Fraction(2, 3)))
        return iter([OutputFrame(0, 0, 2, shots)])

    rendered = render(tmp_path / "part", frames, total=1)[0]
    assert (rendered.before and rendered.before.clip) == 1


def test_the_work_is_timed_by_its_kind(tmp_path: Path) -> None:
    recorder = Recorder()
    with use_recorder(recorder):
        render(tmp_path / "part", some_frames(0, 10))
    assert {"decode", "transform", "encode", "mux"} <= {span.name for span in recorder.spans()}


@pytest.mark.parametrize("fails", ["a source", "a transform", "a person"])
def test_the_first_error_ends_a_render_closes_its_frames_and_leaves_no_file(
    tmp_path: Path, fails: str
) -> None:
    closed: list[bool] = []
    cancel = CancellationToken()

    def frames() -> Iterator[OutputFrame]:
        try:
            for one in some_frames(0, 200)():
                if one.number == 20 and fails == "a source":
                    raise ArithmeticError("broken")
                if one.number == 20 and fails == "a person":
                    cancel.cancel("a person")
                yield one
        finally:
            closed.append(True)

    class Fails(Brighter):
        def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
            if fails == "a transform" and batch[0][1] >= 10:
                raise ArithmeticError("broken")
            return super().apply(batch)

    with pytest.raises(Cancelled if fails == "a person" else ArithmeticError):
        render(tmp_path / "part", frames, transforms=lambda _: Fails(1), cancel=cancel)
    assert closed == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_preview_gives_the_asked_frames_through_the_same_transform() -> None:
    asked: list[tuple[int, int]] = []

    def frames(first: int, stop: int) -> Iterator[OutputFrame]:
        asked.append((first, stop))
        return some_frames(first, 5)()

    found = list(preview_frames(frames, lambda _clip: Brighter(7), [2, 9]))
    assert asked == [(2, 3), (9, 10)]
    assert [(number, int(picture.y[0, 0])) for number, picture in found] == [(2, 49), (9, 56)]
