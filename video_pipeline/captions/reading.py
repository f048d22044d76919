"""The task `read_captions`: from extents to captions with exact times and text, files, and a review page.

Belongs here: the request's meaning, the document, and what is left in the store. Does not belong here:
finding captions (`extents`), looking at the source again (`doubts`, `look`), file formats (`subtitles`,
`review`).

The source is decoded again, as by every subset of the stages; never the chunks, which are lossy. Where pairs
left doubts it is decoded twice: which strips and pictures are needed is known only when captions are.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_pipeline.captions.document import Boundary, Caption, CaptionsDocument, Edge, Strip
from video_pipeline.captions.doubts import Pairs, opinions, reconsidered
from video_pipeline.captions.extents import (
    STANDS_S,
    Extent,
    extents_of,
    read_probabilities,
    stands_throughout,
)
from video_pipeline.captions.look import Looked, look, watched
from video_pipeline.captions.manifest import (
    Manifest,
    ManifestObject,
    put_object,
    read_manifest,
    write_manifest,
)
from video_pipeline.captions.parts import divided
from video_pipeline.captions.plan import CaptionPlan, open_source, plan_for, read_model, text_recipe_of
from video_pipeline.captions.recognise import recogniser_version
from video_pipeline.captions.representative import CaptionText
from video_pipeline.captions.request import Artefact, ReadCaptionsRequest, ReadCaptionsResult
from video_pipeline.captions.review.page import ReviewChunk, render_review_page
from video_pipeline.captions.settle import settled
from video_pipeline.captions.strips import representatives, surroundings
from video_pipeline.captions.subtitles import to_srt, to_vtt
from video_pipeline.captions.windows import End, Wanted, clear_cuts, spans
from video_pipeline.errors import BadInput
from video_pipeline.keys import captions_prefix
from video_pipeline.machine import usable_cores
from video_pipeline.media.decode import SampledDecoder, open_decoder
from video_pipeline.media.frames import CroppedPicture
from video_pipeline.models.weights import LoadedModel, load_caption_model
from video_pipeline.telemetry.timing import timed_operation
from video_pipeline.worker import TaskContext

if TYPE_CHECKING:
    import numpy as np


def run(request: ReadCaptionsRequest, context: TaskContext) -> ReadCaptionsResult:
    """The task `read_captions`.

    Raises `BadInput` where the extents (or the chunks, if asked for) are not there yet, `Cancelled` when the
    token says so, and the first error of any stage otherwise; no manifest is written then.
    """
    started = time.monotonic()
    plan = plan_for(context.store, request.as_pass())
    _require(plan, ("frames", "extents", *(("chunks",) if request.chunks else ())))
    task = _Reading(request, context, plan, started)
    done = read_manifest(context.store, task.prefix)
    if done is not None:
        return task.result(done[0], made=False)
    return task.result(task.make(), made=True)


def _require(plan: CaptionPlan, kinds: Iterable[str]) -> None:
    stages = {"frames": "cropped_frames", "extents": "caption_frame_extents", "chunks": "vp9_chunks"}
    for kind in kinds:
        if kind not in plan.existing:
            raise BadInput(
                f"the {kind} of the video are not there for the request as it is now",
                input=plan.request.video.partition_key,
                what_to_do=f"materialise {stages[kind]} first",
            )


class _Reading:
    """One run of the task over one plan."""

    def __init__(
        self, request: ReadCaptionsRequest, context: TaskContext, plan: CaptionPlan, started: float
    ) -> None:
        self.request, self.context, self.plan, self.started = request, context, plan, started
        self.store = context.store
        self.ocr = recogniser_version() if request.ocr else None
        self.recipe = text_recipe_of(plan, ocr_version=self.ocr, chunks=request.chunks)
        self.prefix = captions_prefix(plan.request.video, self.recipe)
        self.looked = Looked()
        self.texts: dict[int, CaptionText] = {}
        self.notes: list[str] = []
        self.longest = STANDS_S * request.frame_rate
        self.looks, self.looks_done = 1, 0

    def make(self) -> Manifest:
        """Looks, reads and writes everything; the manifest last."""
        frames = json.loads(self.store.get(self.plan.prefix("frames") + "frames.json"))
        with timed_operation("find_extents"):
            database = self.context.scratch / "extents.db"
            database.write_bytes(self.store.get(self.plan.existing["extents"].objects[0].key))
            probabilities = read_probabilities(database)
            extents = extents_of(probabilities)
        if len(probabilities):
            extents = self._reconsider(Pairs.of(probabilities), extents, frames["pts"])
        if stands_throughout(extents, len(frames["pts"]), self.request.frame_rate):
            extents = []
            self.notes.append(
                "lettering that stands from the first picture to the last was taken for a logo, not a caption"
            )
        self.looked = self._look(extents, frames["pts"], clear_cuts(probabilities))
        extents, changes = settled(extents, self.looked.changes)
        found = divided(extents, changes, self.looked.parts, probabilities, self.longest)
        extents, self.looked.changes, self.texts, left_out = found
        if left_out:
            self.notes.append(
                f"{len(left_out)} stretches of more than {STANDS_S} s were left out: what stands there is no "
                "caption's lettering"
            )
        document = self._document(extents, frames)
        with timed_operation("write_captions"):
            return self._write(document)

    def _look(self, extents: list[Extent], pts: list[int], clear: np.ndarray) -> Looked:
        windows = spans(extents, self.request.frame_rate, len(pts), clear)
        strips = representatives(extents) if self.ocr else {}
        if not windows and not strips:
            return Looked()
        with self._decoder(Wanted(pts, windows).between) as decoder:
            return look(
                decoder,
                self.model.net,
                pts=pts,
                spans=windows,
                strips=strips,
                beside=surroundings(extents, len(pts)),
                cancel=self.context.cancel,
                on_progress=self._progress,
                longest=self.longest,
            )

    def _reconsider(self, pairs: Pairs, extents: list[Extent], pts: list[int]) -> list[Extent]:
        """The extents, after a look at what pairs left in doubt."""
        if not pairs.doubtful.any():
            return extents
        self.looks = 2
        # Nothing runs beside this decoder, as it does beside others. Four threads outrun the comparing.
        threads = min(4, usable_cores())
        with timed_operation("doubts"), self._decoder(threads=threads) as decoder:
            net = self.model.net.to(decoder.device)
            said = opinions(net, pairs, self._until_cancelled(decoder, pts), decoder.device)
        self.looks_done = 1
        return reconsidered(pairs, said)

    def _until_cancelled(self, decoder: SampledDecoder, pts: list[int]) -> Iterator[CroppedPicture]:
        for picture in watched(decoder.pictures(), pts, self._progress):
            self.context.cancel.raise_if_cancelled()
            yield picture

    @contextlib.contextmanager
    def _decoder(
        self, also: Callable[[int], bool] = lambda _pts: False, *, threads: int = 1
    ) -> Iterator[SampledDecoder]:
        """The source from its start, with the pictures that `also` names besides those of samples."""
        reader = open_source(self.store, self.request.video_key)
        with contextlib.ExitStack() as stack:
            if not isinstance(reader, Path):
                stack.callback(reader.close)
            decoder = open_decoder(
                reader,
                name=self.request.video_key,
                crop_region=self.request.crop_region,
                rate=self.request.frame_rate,
                also=also,
                decoder_threads=threads,
            )
            stack.callback(decoder.close)
            yield decoder

    @cached_property
    def model(self) -> LoadedModel:
        import torch

        torch.set_num_threads(1)  # one thread per stage, as in the pass
        key = self.request.model_key
        model = load_caption_model(None if key is None else read_model(self.store, key), name=key)
        if model.sha256 != self.plan.weights_sha256:
            raise BadInput(
                "the model checkpoint changed while the call began",
                input=key,
                what_to_do="run the call again",
            )
        return model

    def _progress(self, done: int, total: int) -> None:
        done, total = self.looks_done * total + done, self.looks * total
        self.context.progress("read_captions", done, total, unit="frames", started=self.started)

    # The files

    def _document(self, extents: list[Extent], frames: Mapping[str, Any]) -> CaptionsDocument:
        pts: list[int] = frames["pts"]
        time_base, rate = Fraction(frames["time_base"]), self.request.frame_rate
        first = Fraction(frames["first_picture_seconds"])

        def boundary(number: int, end: End, sample: int, confidence: float, beside: Edge) -> Boundary:
            change = self.looked.changes.get((number, end))
            if change is not None and change.resolution_ticks > 0:
                known = (change.pts * time_base, change.resolution_ticks * time_base, change.pts)
            elif sample == 0:
                known = (first, Fraction(0), pts[0])
            else:
                known = (first + sample / rate, 1 / rate, None)
            exact, resolution, stamp = known
            sure = min(max(confidence, 0.0), 1.0)
            return Boundary(
                exact=exact, resolution=resolution, pts=stamp, confidence=round(sure, 6), beside=beside
            )

        captions = []
        for number, extent in enumerate(extents, 1):
            text = self.texts.get(number)
            captions.append(
                Caption(
                    number=number,
                    first_frame=extent.first_frame,
                    end_frame=extent.end_frame,
                    start=boundary(
                        number, "start", extent.first_frame, extent.start_confidence, extent.start_beside
                    ),
                    end=boundary(number, "end", extent.end_frame, extent.end_confidence, extent.end_beside),
                    text=text.text if text else None,
                    text_confidence=round(text.confidence, 4) if text and text.text is not None else None,
                    script=text.script if text else None,
                    unread=text.unread if text else "no_ocr",
                    ocr_calls=text.ocr_calls if text else 0,
                )
            )
        crop = self.plan.crop
        return CaptionsDocument(
            tenant=self.request.tenant_id,
            video=self.request.video_id,
            source_key=self.request.video_key,
            source_version=self.plan.source.version,
            frames_recipe=self.plan.recipes["frames"],
            extents_recipe=self.plan.recipes["extents"],
            text_recipe=self.recipe,
            frame_rate=rate,
            frame_count=len(pts),
            time_base=time_base,
            first_picture=first,
            strip=Strip(
                left=crop.left,
                top=crop.top,
                width=crop.width,
                height=crop.height,
                display_width=frames["display_width"],
                display_height=frames["display_height"],
            ),
            ocr=self.ocr,
            captions=tuple(captions),
            notes=(*self._degraded(), *self.notes),
        )

    def _degraded(self) -> list[str]:
        if self.request.ocr and self.ocr is None:
            return [
                "captions have no text: the extra 'ocr' is not installed (pip install 'video-pipeline[ocr]')"
            ]
        return []

    def _write(self, document: CaptionsDocument) -> Manifest:
        pictures: dict[tuple[int, str], tuple[bytes, bytes]] = {
            (number, end): (change.before, change.after)
            for (number, end), change in self.looked.changes.items()
        }
        # One at a time: of a long video only the coarse levels fit into the page.
        chunks = (
            ReviewChunk(*_level_and_window(item.key), self.store.get(item.key))
            for item in (self.plan.existing["chunks"].objects if self.request.chunks else ())
        )
        page = render_review_page(document, chunks, pictures)
        files = (
            ("captions.json", document.model_dump_json(indent=1), "application/json"),
            ("captions.srt", to_srt(document), "application/x-subrip"),
            ("captions.vtt", to_vtt(document), "text/vtt"),
            ("review.html", page, "text/html"),
        )
        objects: list[ManifestObject] = [
            put_object(self.store, self.prefix + name, text.encode(), kind) for name, text, kind in files
        ]
        manifest = Manifest(
            kind="captions",
            tenant=document.tenant,
            video=document.video,
            recipe=self.recipe,
            frames_recipe=document.frames_recipe,
            source_key=document.source_key,
            source_version=document.source_version,
            frame_count=document.frame_count,
            frame_rate=str(document.frame_rate),
            count=len(objects),
            objects=tuple(objects),
            summary=_summary(document),
        )
        write_manifest(self.store, self.prefix, manifest)
        return manifest

    def result(self, manifest: Manifest, *, made: bool) -> ReadCaptionsResult:
        if made:
            usage = self.context.usage
            usage.frames = manifest.frame_count
            usage.video_seconds = float(manifest.frame_count / self.request.frame_rate)
            usage.bytes_written = manifest.total_bytes
        return ReadCaptionsResult(
            captions=Artefact(
                recipe=manifest.recipe,
                manifest_key=self.prefix + "manifest.json",
                made=made,
                objects=manifest.count,
                bytes=manifest.total_bytes,
            ),
            durations=self.looked.durations,
            wall_seconds=round(time.monotonic() - self.started, 3),
            degraded=self._degraded(),
            **manifest.summary,
        )


def _level_and_window(key: str) -> tuple[int, int]:
    level, name = key.split("/modulo_")[1].split("/chunk_")
    return int(level), int(name.removesuffix(".webm"))


def _summary(document: CaptionsDocument) -> dict[str, Any]:
    """What the result says about the captions; in the manifest, so that a rerun says the same."""
    captions = document.captions
    unread = Counter(caption.unread for caption in captions if caption.unread is not None)
    return {
        "caption_count": len(captions),
        "with_text": sum(caption.text is not None for caption in captions),
        "unread": dict(sorted(unread.items())),
        "ocr_calls": sum(caption.ocr_calls for caption in captions),
        "least_certain": min((caption.confidence for caption in captions), default=None),
        "preview": [
            f"{caption.start.seconds:.3f} to {caption.end.seconds:.3f} s: "
            + (caption.text or f"[{caption.unread}]").replace("\n", " / ")
            for caption in captions[:10]
        ],
    }
