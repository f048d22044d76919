"""The task `find_caption_layout`: looks at a video sparsely and stores where its captions stand.

Belongs here: request to objects. Does not belong here: deciding (`layout`), drawing (`layout_preview`).
"""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path

from video_pipeline.captions.layout import LayoutFinder, moments_of
from video_pipeline.captions.layout_preview import render_preview
from video_pipeline.captions.plan import layout_prefix_of, open_source, read_model, source_of
from video_pipeline.captions.request import FindLayoutRequest, FindLayoutResult
from video_pipeline.media.probe import probe_video
from video_pipeline.media.sparse import picture_pairs
from video_pipeline.models.weights import load_caption_model
from video_pipeline.telemetry.timing import timed_operation
from video_pipeline.worker import TaskContext

GAP = Fraction(1, 3)
"""Seconds between the pictures of a pair: a caption stands that long, and little in a scene does."""


def run(request: FindLayoutRequest, context: TaskContext) -> FindLayoutResult:
    """The task `find_caption_layout`. Raises `BadInput` for media or a model that cannot be used."""
    import torch

    started = time.monotonic()
    store = context.store
    source = source_of(store, request.video_key)
    prefix = layout_prefix_of(store, request, source_version=source.version)
    torch.set_num_threads(1)
    key = request.model_key
    model = load_caption_model(None if key is None else read_model(store, key), name=key)
    finder = LayoutFinder(model.net)
    reader = open_source(store, request.video_key)
    try:
        probe = probe_video(reader, name=request.video_key)
        moments = moments_of(Fraction(probe.duration_seconds or 0))
        if not isinstance(reader, Path):
            reader.seek(0)
        with timed_operation("look_for_captions", {"moments": len(moments)}):
            pairs = picture_pairs(reader, name=request.video_key, moments=moments, gap=GAP)
            for done, pair in enumerate(pairs, 1):
                context.cancel.raise_if_cancelled()
                finder.add(pair)
                context.progress("find_caption_layout", done, len(moments), unit="moments", started=started)
    finally:
        if not isinstance(reader, Path):
            reader.close()
    layout = finder.finish()
    result = FindLayoutResult(
        crop_region=layout.region,
        found=layout.found,
        reasons=layout.reasons,
        moments=len(layout.moments),
        layout_key=prefix + "layout.json",
        preview_key=prefix + "preview.png",
        wall_seconds=round(time.monotonic() - started, 3),
        degraded=[] if layout.found else list(layout.reasons),
    )
    document = {
        "schema_version": 1,
        "source_key": request.video_key,
        "source_version": source.version,
        "crop_region": layout.region.model_dump(),
        "found": layout.found,
        "reasons": layout.reasons,
        "moments_s": [round(moment, 3) for moment in layout.moments],
        "bands": [
            {"top": round(band.top, 4), "height": band.height, "different_captions": round(band.score, 2)}
            for band in layout.bands
        ],
    }
    store.put(result.preview_key, render_preview(layout), content_type="image/png")
    # Last: a layout without its picture does not exist.
    store.put(result.layout_key, json.dumps(document, indent=1).encode(), content_type="application/json")
    return result
