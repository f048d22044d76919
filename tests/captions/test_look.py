"""The second look: every end and every caption once, pictures of the right side, nothing taken on trust."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from video_pipeline.captions import look as module
from video_pipeline.captions.belonging import Touching
from video_pipeline.captions.look import Change, Looked, look, watched
from video_pipeline.captions.narrow import Narrowed
from video_pipeline.captions.representative import CaptionText, Said
from video_pipeline.captions.strips import Beside
from video_pipeline.captions.windows import Span, Window
from video_pipeline.errors import Cancelled, Internal
from video_pipeline.media.frames import ColourTags, CroppedFrame, CroppedPicture
from video_pipeline.streaming.cancel import CancellationToken

ALONE = Beside(None, None, None, None)
SPAN = Span(1, "start", 3, "empty_valid", 1, 4)


def picture(pts: int, *samples: int) -> CroppedPicture:
    """A grey strip as bright as its PTS says."""
    chroma = np.full((8, 16), 128, np.uint8)
    frame = CroppedFrame(np.full((16, 32), 16 + pts, np.uint8), chroma, chroma, ColourTags(1, 1, 1, 1))
    return CroppedPicture(pts, range(samples[0], samples[-1] + 1) if samples else range(0), frame)


def pictures(count: int) -> list[CroppedPicture]:
    """Two pictures a sample: sample k shows the one at 20 k."""
    return [picture(pts, *([pts // 20] if pts % 20 == 0 else [])) for pts in range(0, 20 * count, 10)]


def brightness(jpeg: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(jpeg))).mean())


class Decoder:
    """A test double of an open decoder: gives out the pictures it was given."""

    device = "cpu"
    time_base = Fraction(1, 200)

    def __init__(self, shown: list[CroppedPicture]) -> None:
        self.shown = shown

    def pictures(self) -> Iterator[CroppedPicture]:
        yield from self.shown


class Mute:
    """A test double of the recogniser that is made and never asked."""


def looked(
    count: int = 8, *, given: int | None = None, cancel: CancellationToken | None = None, **asked: Any
) -> Looked:
    options: dict[str, Any] = {"spans": [], "strips": {}, "beside": {}, "on_progress": lambda *_: None}
    return look(
        Decoder(pictures(count if given is None else given)),  # pyright: ignore[reportArgumentType]
        torch.nn.Identity(),  # pyright: ignore[reportArgumentType]
        pts=[20 * k for k in range(count)],
        cancel=cancel or CancellationToken(),
        **(options | asked),
    )


@pytest.fixture
def narrowing(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """A test double of the narrower: the change lies between the window's second and third picture."""
    asked: list[Window] = []

    def found(_net: object, window: Window, time_base: Fraction, device: str) -> Narrowed:
        assert (time_base, device) == (Decoder.time_base, "cpu")
        asked.append(window)
        return Narrowed(7, window.pictures[1], window.pictures[2], 0.75, 3.0)

    monkeypatch.setattr(module, "narrowed", found)
    return asked


def test_pictures_pass_and_their_samples_are_told_at_the_beginning_and_at_the_end() -> None:
    told: list[tuple[int, int]] = []
    shown = pictures(5)
    passed = list(watched(iter(shown), [0, 20, 40, 60, 80], lambda done, total: told.append((done, total))))
    assert passed == shown
    assert told[0] == (1, 5)
    assert told[-2:] == [(5, 5), (5, 5)], "the last sample's picture, and the one after it"
    assert len(told) == 3, "once a second and no oftener"


def test_a_picture_that_shows_several_samples_counts_for_each() -> None:
    told: list[int] = []
    shown = [picture(0, 0, 1, 2), picture(10, 3)]
    list(watched(iter(shown), [0, 0, 0, 10], lambda done, _total: told.append(done)))
    assert told == [3, 4]


@pytest.mark.parametrize("place", [0, 3])
def test_a_source_that_shows_other_pictures_than_its_frames_file_says_is_a_defect(place: int) -> None:
    pts = [0, 20, 40, 60, 80]
    pts[place] += 1
    with pytest.raises(Internal, match=r"other pictures than its frames\.json"):
        list(watched(iter(pictures(5)), pts, lambda *_: None))


def test_an_end_is_told_with_its_picture_its_resolution_and_both_sides_of_it(narrowing: list[Window]) -> None:
    found = looked(spans=[SPAN])
    assert set(found.changes) == {(1, "start")}
    change = found.changes[1, "start"]
    # Its window begins with sample 1: the pictures at 20, 30, 40, … 80.
    assert [kept.pts for kept in narrowing[0].pictures] == [20, 30, 40, 50, 60, 70, 80]
    assert (change.number, change.end, change.sample, change.pts, change.resolution_ticks) == (
        1, "start", 7, 40, 10,
    )  # fmt: skip
    assert (change.confidence, change.odds) == (0.75, 3.0)
    levels = [(16 + pts - 16) * 255 / 219 for pts in (30, 40)]
    assert [brightness(change.before), brightness(change.after)] == pytest.approx(levels, abs=2)
    assert found.parts == {}
    assert set(found.durations) >= {"decode", "narrow", "read"}


def test_without_text_no_recogniser_is_made(monkeypatch: pytest.MonkeyPatch, narrowing: list[Window]) -> None:
    def fail() -> None:
        raise AssertionError("a recogniser was made")

    monkeypatch.setattr(module, "Recogniser", fail)
    assert set(looked(spans=[SPAN]).changes) == {(1, "start")}
    assert len(narrowing) == 1


def test_each_caption_is_read_once_from_its_own_pictures_and_those_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[tuple[Any, ...]] = []

    def reading(
        _: object, shown: list[np.ndarray], before: Any, after: Any, *, touching: Touching, stays: bool
    ) -> list[Said]:
        assert not stays
        assert all(strip.shape == (16, 32, 3) and strip.dtype == np.uint8 for strip in shown)
        levels = [round(float(strip.mean()) * 219 / 255) for strip in shown]
        sides = [
            None if side is None else round(float(side.mean()) * 219 / 255)
            for side in (before, after, *touching)
        ]
        read.append((levels, *sides))
        return [Said(slice(0, len(shown)), CaptionText(f"at {levels[0]}", 0.9, "Latn", None, 1))]

    monkeypatch.setattr(module, "Recogniser", Mute)
    monkeypatch.setattr(module, "read_caption", reading)
    found = looked(strips={2: 1, 3: 1, 5: 2}, beside={1: Beside(0, 4, None, 5), 2: Beside(4, None, 3, None)})
    assert sorted(read, key=str) == sorted(
        [([40, 60], 0, 80, None, 100), ([100], 80, None, 60, None)], key=str
    )
    said = {number: [(p.first, p.last, p.text.text) for p in parts] for number, parts in found.parts.items()}
    assert said == {1: [(2, 3, "at 40")], 2: [(5, 5, "at 100")]}


def test_parts_of_a_caption_are_told_by_the_samples_of_their_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three of its strips show one caption and two another."""

    def reading(*_: object, touching: Touching, stays: bool) -> list[Said]:
        texts = [CaptionText(text, 0.9, "Latn", None, 1) for text in ("one", "other")]
        return [Said(slice(0, 3), texts[0]), Said(slice(3, 5), texts[1])]

    monkeypatch.setattr(module, "Recogniser", Mute)
    monkeypatch.setattr(module, "read_caption", reading)
    found = looked(strips=dict.fromkeys((1, 2, 3, 5, 6), 1), beside={1: ALONE})
    assert [(part.first, part.last, part.text.text) for part in found.parts[1]] == [
        (1, 3, "one"),
        (5, 6, "other"),
    ]


def test_a_video_that_ends_too_early_leaves_no_end_and_no_text_out_silently(
    monkeypatch: pytest.MonkeyPatch, narrowing: list[Window]
) -> None:
    monkeypatch.setattr(module, "Recogniser", Mute)
    with pytest.raises(Internal, match=r"captions \[1\] were not looked at"):
        looked(spans=[SPAN], given=4)
    with pytest.raises(Internal, match=r"captions \[2\] were not looked at"):
        looked(strips={7: 2}, beside={2: ALONE}, given=4)
    assert narrowing == []


def test_a_cancel_ends_the_look(narrowing: list[Window]) -> None:
    token = CancellationToken()
    shown = itertools.count()

    def cancel_after_two(*_: int) -> None:
        if next(shown) == 0:
            token.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        looked(spans=[SPAN], cancel=token, on_progress=cancel_after_two)


def test_an_error_of_the_narrower_is_the_error_of_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(module, "narrowed", fail)
    with pytest.raises(OSError, match="no memory"):
        looked(spans=[SPAN])


def test_changes_are_kept_by_caption_and_end(narrowing: list[Window]) -> None:
    spans = [Span(1, "end", 2, "different", 1, 3), Span(2, "start", 2, "different", 1, 3)]
    found = looked(spans=spans)
    assert set(found.changes) == {(1, "end"), (2, "start")}
    assert all(isinstance(change, Change) for change in found.changes.values())
    assert len(narrowing) == 2
