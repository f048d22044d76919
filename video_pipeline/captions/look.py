"""The second, sparse look at the source: pictures around boundaries, and strips to read.

Belongs here: the stream that narrows boundaries and reads captions. Does not belong here: where a change lies
(`narrow`), which samples show a caption (`strips`), recognising (`representative`), files (`reading`).

    pictures near boundaries, up to nine of each caption, and one before and after it -> narrow -> read x N

Which samples are needed is known before (`strips`): the strips of three captions and one window of pictures
wait at most.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from video_pipeline.captions.extents import Extent
from video_pipeline.captions.labels import Label
from video_pipeline.captions.narrow import Gathered, first_after_change
from video_pipeline.captions.recognise import Recogniser
from video_pipeline.captions.representative import CaptionText, read_caption
from video_pipeline.captions.strips import Beside, Gatherer, Strips
from video_pipeline.errors import Internal
from video_pipeline.machine import usable_cores
from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.decode import SampledDecoder
from video_pipeline.media.frames import CroppedPicture
from video_pipeline.models.caption_pairs import CaptionPairNet
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import Pipeline, Stage
from video_pipeline.telemetry.timing import timed_operation


@dataclass(frozen=True)
class Change:
    """The first picture after a change, the ticks since the one looked at before it, and both as JPEG."""

    sample: int
    pts: int
    resolution_ticks: int
    before: bytes
    after: bytes


@dataclass
class Looked:
    """What a look finds: changes by sample, texts by caption number, and each stage's busy seconds."""

    changes: dict[int, Change] = field(default_factory=dict)
    texts: dict[int, CaptionText] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Window:
    """The pictures from the one before a boundary's window to the one after it."""

    sample: int
    label: Label
    pictures: list[CroppedPicture]


def look(
    decoder: SampledDecoder,
    net: CaptionPairNet,
    *,
    pts: list[int],
    changes: Mapping[int, Label],
    strips: Mapping[int, int],
    beside: Mapping[int, Beside],
    cancel: CancellationToken,
    on_progress: Callable[[int, int], None],
) -> Looked:
    """Narrows every change and reads every caption that `strips` names, in one pass over the decoder.

    `pts` is each sample's; `changes` from `changes_of`; `strips` from `representatives`, empty for no text;
    `beside` from `without_caption`, for the same captions.
    The decoder gives out the pictures inside the windows of `changes` besides the samples. The first error
    of any stage ends the pass and is raised.
    """
    found = Looked()
    net.to(decoder.device)

    def collect(item: Any) -> None:
        if isinstance(item, Change):
            found.changes[item.sample] = item
        else:
            number, text = item
            found.texts[number] = text

    pipeline = Pipeline(
        "decode",
        lambda: _needed(
            _watched(decoder.pictures(), len(pts), on_progress), pts, changes, Gatherer(strips, beside)
        ),
        [
            Stage("narrow", lambda item: [_narrowed(item, net, decoder.device)], queue_size=8),
            Stage(
                "read",
                workers=usable_cores() if strips else 1,
                queue_size=8,
                ordered=False,
                setup=lambda: _reader(with_text=bool(strips)),
            ),
        ],
        cancel=cancel,
        sink=collect,
    )
    with timed_operation("stream", {"stages": ["narrow", "read"]}):
        report = pipeline.run()
    found.durations = {stage.name: round(stage.busy_s, 3) for stage in report.stages}
    cancel.raise_if_cancelled()
    lost = (set(changes) - set(found.changes)) | (set(strips.values()) - set(found.texts))
    if lost:
        raise Internal(f"boundaries or captions {sorted(lost)[:5]} were not looked at")
    return found


def changes_of(extents: Iterable[Extent]) -> dict[int, Label]:
    """Every boundary inside the video: its sample, and the label of the pair it lies in."""
    changes: dict[int, Label] = {}
    for extent in extents:
        if extent.start_beside != "video_edge":
            changes[extent.first_frame] = (
                "different" if extent.start_beside == "other_caption" else "empty_valid"
            )
        if extent.end_beside != "video_edge":
            changes[extent.end_frame] = "different" if extent.end_beside == "other_caption" else "valid_empty"
    return changes


def _needed(
    pictures: Iterator[CroppedPicture],
    pts: list[int],
    changes: Mapping[int, Label],
    gatherer: Gatherer,
) -> Iterator[_Window | Strips]:
    """Each boundary's window and each caption's strips as soon as they are complete."""
    window: Gathered | None = None
    for picture in pictures:
        shows = picture.samples
        if not shows:
            if window is not None:
                window.add(picture)
            continue
        if any(pts[sample] != picture.pts for sample in shows):
            raise Internal("the source shows other pictures than its frames.json says")
        if window is not None and window.sample == shows[0]:
            yield _Window(window.sample, window.label, [window.first, *window.inner, picture])
            window = None
        for sample in shows[1:]:
            if sample in changes:  # a rate above the video's: both samples show this picture
                yield _Window(sample, changes[sample], [picture, picture])
        following = shows[-1] + 1
        if following in changes:
            window = Gathered(following, changes[following], picture)
        for sample in shows:
            yield from gatherer.take(sample, picture)


def _watched(
    pictures: Iterator[CroppedPicture], total: int, tell: Callable[[int, int], None]
) -> Iterator[CroppedPicture]:
    """Passes pictures on and tells how many samples have gone by, once a second and at the end."""
    done, due = 0, 0.0
    for picture in pictures:
        done += len(picture.samples)
        if time.monotonic() >= due or done == total:
            due = time.monotonic() + 1
            tell(done, total)
        yield picture


def _narrowed(item: _Window | Strips, net: CaptionPairNet, device: str) -> Change | Strips:
    if isinstance(item, Strips):
        return item
    after = first_after_change(net, item.label, item.pictures, device)
    earlier, later = item.pictures[after - 1], item.pictures[after]
    return Change(item.sample, later.pts, later.pts - earlier.pts, _jpeg(earlier), _jpeg(later))


def _reader(*, with_text: bool) -> contextlib.AbstractContextManager[Callable[[Any], list[Any]]]:
    """A worker of the read stage, with a recogniser of its own."""
    recogniser = Recogniser() if with_text else None

    def read(item: Any) -> list[Any]:
        if not isinstance(item, Strips):
            return [item]
        assert recogniser is not None
        before, after = (None if picture is None else _rgb(picture) for picture in (item.before, item.after))
        return [(item.number, read_caption(recogniser, [_rgb(p) for p in item.pictures], before, after))]

    return contextlib.nullcontext(read)


def _rgb(picture: CroppedPicture) -> np.ndarray:
    return frame_to_rgb(picture.frame.to_host())


def _jpeg(picture: CroppedPicture) -> bytes:
    """A strip to look at; quality 80 is about 15 kB at 1280x160."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_rgb(picture)).save(buffer, "jpeg", quality=80)
    return buffer.getvalue()
