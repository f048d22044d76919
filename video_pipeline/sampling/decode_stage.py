"""The stage that decodes: from a group's bytes to frames prepared for the network.

Belongs here: decoding groups, trying each picture of a damaged one by itself, going further back where a key
frame is only a recovery point, preparing, PNGs. Does not belong here: decoders (`media`), what is wanted and
fetched (`stream`), how frames are prepared (`preprocess`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from video_pipeline.errors import Cancelled, PipelineError
from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.decode_memory import NoPicture
from video_pipeline.media.frames import CroppedFrame, DeviceFrame
from video_pipeline.media.mp4.index import Selection, ticks
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.sampling.fetch import Fetched, Group, fetch_unit, plan_units, shares
from video_pipeline.sampling.frames import Cost, Delivered, Failed, FetchedGroup, PlannedUnit
from video_pipeline.sampling.preprocess import prepare
from video_pipeline.sampling.request import SampleOptions
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
    from video_pipeline.models.image_classifier import Classifier

MAX_BACK = 16
"""Key frames gone back before a picture that a decoder does not give is given up."""


class Charge(Protocol):
    """Puts requests to a video's account, and evenly to those of the frames they were for."""

    def __call__(self, video: int, traffic: Traffic, costs: Sequence[Cost], /) -> None: ...


class DecodeStage:
    """Safe from any thread."""

    def __init__(self, options: SampleOptions, classifier: Future[Classifier], charge: Charge) -> None:
        self._options, self._classifier, self._charge = options, classifier, charge

    def decode(self, item: FetchedGroup | Failed) -> list[Delivered | Failed]:
        if isinstance(item, Failed):
            return [item]
        work, group = item.work, item.group
        numbers = dict(group.wanted)
        out: dict[int, Delivered | Failed] = {}
        try:
            self._decode_group(work, group, item.fetched, out)
        except Cancelled:
            raise
        except PipelineError:
            # One damaged picture must not cost those beside it: each is tried by itself.
            for number in numbers:
                if number not in out:
                    out[number] = self._decode_alone(work, number, numbers[number])
        return [out[number] for number in sorted(out)]

    def _decode_group(
        self, work: PlannedUnit, group: Group, fetched: Fetched, out: dict[int, Delivered | Failed]
    ) -> None:
        by_pts: dict[int, list[tuple[int, Selection]]] = {}
        for number, selection in group.wanted:
            by_pts.setdefault(selection.media_pts, []).append((number, selection))
        with timed_operation("decode_pictures", {"url": work.index.name, "pictures": len(group.samples)}):
            run = fetched.run(group, work.index)
            frames = list(work.decoder.decode(run, set(by_pts)))
        for place, cost in enumerate(shares(len(group.samples), [1] * len(group.wanted))):
            work.costs[group.wanted[place][0]].pictures_decoded += cost
        for pts, frame in frames:
            for number, selection in by_pts[pts]:
                out[number] = self._delivered(work, number, selection, frame)

    def _decode_alone(self, work: PlannedUnit, number: int, selection: Selection) -> Delivered | Failed:
        """One picture by a run of its own; from further back where a key frame is only a recovery point."""
        wanted, traffic, out = work.wanted[number], Traffic(), {}
        assert wanted.seconds is not None
        error: PipelineError | None = None
        for back in range(MAX_BACK + 1):
            try:
                if back:
                    moment = ticks(wanted.seconds, work.index.track.time_base)
                    selection = work.index.select(moment, traffic, back=back)
                (unit,) = plan_units({number: selection})
                with timed_operation("fetch_again", {"url": work.index.name, "back": back}):
                    fetched = fetch_unit(unit, work.source, traffic)
                self._decode_group(work, unit.groups[0], fetched, out)
                break
            except NoPicture as missing:
                error = error or missing
            except Cancelled:
                raise
            except PipelineError as other:
                error = error or other
                break
        self._charge(work.video, traffic, [work.costs[number]])
        return out[number] if number in out else Failed(wanted, error or _unknown(work), work.costs[number])

    def _delivered(
        self, work: PlannedUnit, number: int, selection: Selection, frame: CroppedFrame | DeviceFrame
    ) -> Delivered:
        classifier = self._classifier.result()
        with timed_operation("preprocess"):
            pixels = prepare([frame], classifier.spec, classifier.device)
        png = None
        if self._options.return_frame_png:
            with timed_operation("png"):
                png = as_png(frame.to_host())
        return Delivered(
            work.wanted[number],
            selection,
            work.index.track.time_base,
            frame.width,
            frame.height,
            work.decoder.backend,
            work.costs[number],
            pixels,
            png,
        )


def as_png(frame: CroppedFrame) -> bytes:
    """The whole picture, 8-bit RGB."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    # Level 1 is three times as fast as the default, and 8 % larger.
    Image.fromarray(frame_to_rgb(frame)).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def _unknown(work: PlannedUnit) -> PipelineError:
    return NoPicture(
        f"no decoder gave a picture, beginning up to {MAX_BACK} key frames back",
        input=work.index.name,
        what_to_do="choose another picture, or re-encode the video.",
    )
