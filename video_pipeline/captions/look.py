"""The second look at the source, decoded from its start: pictures around boundaries, and strips to read.

Belongs here: the stream that narrows the ends of captions and reads them. Does not belong here: where a
change lies (`narrow`), which pictures show it (`windows`) or a caption (`strips`), recognising
(`representative`), files (`reading`).

    pictures near each end, up to nine of each caption, and some beside it -> narrow -> read x N

Which samples are needed is known before (`windows`, `strips`): the strips of three captions and a few windows
of pictures wait at most.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from video_pipeline.captions.narrow import narrowed
from video_pipeline.captions.parts import Part
from video_pipeline.captions.recognise import Recogniser
from video_pipeline.captions.representative import read_caption
from video_pipeline.captions.strips import Beside, Gatherer, Strips
from video_pipeline.captions.windows import End, Span, Window, WindowGatherer
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
    """One end of caption `number`, now at `sample`: the first picture after the change, the ticks since the
    one looked at before it, both as JPEG, and what it says of confidence (`narrow.Narrowed`)."""

    number: int
    end: End
    sample: int
    pts: int
    resolution_ticks: int
    before: bytes
    after: bytes
    confidence: float | None
    odds: float = 1.0


@dataclass
class Looked:
    """What a look finds: changes by caption number and end, what each caption says by its number (several
    parts where several were taken for one), and each stage's busy seconds."""

    changes: dict[tuple[int, End], Change] = field(default_factory=dict)
    parts: dict[int, list[Part]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)


def look(
    decoder: SampledDecoder,
    net: CaptionPairNet,
    *,
    pts: list[int],
    spans: Sequence[Span],
    strips: Mapping[int, int],
    beside: Mapping[int, Beside],
    cancel: CancellationToken,
    on_progress: Callable[[int, int], None],
    longest: Fraction | None = None,
) -> Looked:
    """Narrows every end of `spans` and reads every caption that `strips` names, in one pass over the decoder.

    `pts` is each sample's; `spans` from `windows.spans`; `strips` from `representatives`, empty for no text;
    `beside` from `surroundings`, for the same captions; captions stand for `longest` samples at most.
    The decoder gives out the pictures inside `spans` besides those of samples. The first error
    of any stage ends the pass and is raised.
    """
    found = Looked()
    net.to(decoder.device)

    def collect(item: Any) -> None:
        if isinstance(item, Change):
            found.changes[item.number, item.end] = item
        else:
            number, parts = item
            found.parts[number] = parts

    pipeline = Pipeline(
        "decode",
        lambda: _needed(
            watched(decoder.pictures(), pts, on_progress), WindowGatherer(spans), Gatherer(strips, beside)
        ),
        [
            # Few wait: a window of 1080p video is up to 30 MB.
            Stage("narrow", lambda item: [_narrowed(item, net, decoder)], queue_size=2),
            Stage(
                "read",
                workers=usable_cores() if strips else 1,
                queue_size=8,
                ordered=False,
                setup=lambda: _reader(with_text=bool(strips), longest=longest),
            ),
        ],
        cancel=cancel,
        sink=collect,
    )
    with timed_operation("stream", {"stages": ["narrow", "read"]}):
        report = pipeline.run()
    found.durations = {stage.name: round(stage.busy_s, 3) for stage in report.stages}
    cancel.raise_if_cancelled()
    lost = {span.number for span in spans if (span.number, span.end) not in found.changes}
    lost |= set(strips.values()) - set(found.parts)
    if lost:
        raise Internal(f"captions {sorted(lost)[:5]} were not looked at")
    return found


def _needed(
    pictures: Iterator[CroppedPicture], windows: WindowGatherer, strips: Gatherer
) -> Iterator[Window | Strips]:
    """Each end's window and each caption's strips as soon as they are complete."""
    for picture in pictures:
        yield from windows.take(picture)
        for sample in picture.samples:
            yield from strips.take(sample, picture)


def watched(
    pictures: Iterator[CroppedPicture], pts: Sequence[int], tell: Callable[[int, int], None]
) -> Iterator[CroppedPicture]:
    """Passes pictures on and tells how many samples have gone by, once a second and at the end.

    Internal where a sample's picture is not the one of `pts`, each sample's timestamp."""
    done, due, total = 0, 0.0, len(pts)
    for picture in pictures:
        if any(pts[sample] != picture.pts for sample in picture.samples):
            raise Internal("the source shows other pictures than its frames.json says")
        done += len(picture.samples)
        if time.monotonic() >= due or done == total:
            due = time.monotonic() + 1
            tell(done, total)
        yield picture


def _narrowed(item: Window | Strips, net: CaptionPairNet, decoder: SampledDecoder) -> Change | Strips:
    if isinstance(item, Strips):
        return item
    found = narrowed(net, item, decoder.time_base, decoder.device)
    return Change(
        item.span.number,
        item.span.end,
        found.sample,
        found.after.pts,
        found.after.pts - found.before.pts,
        _jpeg(found.before),
        _jpeg(found.after),
        found.confidence,
        found.odds,
    )


def _reader(
    *, with_text: bool, longest: Fraction | None
) -> contextlib.AbstractContextManager[Callable[[Any], list[Any]]]:
    """A worker of the read stage, with a recogniser of its own."""
    recogniser = Recogniser() if with_text else None

    def read(item: Any) -> list[Any]:
        if not isinstance(item, Strips):
            return [item]
        assert recogniser is not None
        before, after, previous, following = (
            None if picture is None else _rgb(picture)
            for picture in (item.before, item.after, item.previous, item.following)
        )
        shown = [picture.samples for picture in item.pictures]
        stays = longest is not None and shown[-1][-1] - shown[0][0] > longest
        pictures = [_rgb(picture) for picture in item.pictures]
        said = read_caption(recogniser, pictures, before, after, touching=(previous, following), stays=stays)
        parts = [
            Part(shown[each.pictures.start][0], shown[each.pictures.stop - 1][-1], each.text) for each in said
        ]
        return [(item.number, parts)]

    return contextlib.nullcontext(read)


def _rgb(picture: CroppedPicture) -> np.ndarray:
    return frame_to_rgb(picture.frame.to_host())


def _jpeg(picture: CroppedPicture) -> bytes:
    """A strip to look at; quality 80 is about 15 kB at 1280x160."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_rgb(picture)).save(buffer, "jpeg", quality=80)
    return buffer.getvalue()
