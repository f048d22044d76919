"""`make eval`: the product on the evaluation set, each figure beside its target; exits 1 if one falls short.

    python -m evaluation.run [--programmes NAMES] [--limit N] [--no-text] [--model FILE] [--development]

Belongs here: running the product's tasks over each programme. Does not belong here: what is counted
(`score`), targets and tables (`report`).

Results of the whole set go to `evaluation/results/captions.json`, those of a part of it to
`.cache/evaluation/part.json`. `--development` takes the programmes that settings are chosen on instead.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.harness import machine
from evaluation.development import DEVELOPMENT
from evaluation.programmes import PROGRAMMES, Programme
from evaluation.report import figures_of, group_table, groups_of, network_line, table, write_results
from evaluation.score import Predicted, Records, joined, records_of
from evaluation.set import DEVELOPMENT_SET, MEDIA, ROOT, SEED, SET, choose, make_set
from evaluation.truth import Truth, read_truth
from video_pipeline.captions.document import CaptionsDocument
from video_pipeline.captions.extents import find_extents, read_probabilities
from video_pipeline.captions.manifest import Manifest
from video_pipeline.captions.train.media import Split
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.tasks import all_tasks
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext

RATE = Fraction(10)
RESULTS = ROOT / "evaluation" / "results" / "captions.json"
PASS, READ = "crop_and_infer_caption_frame_extents", "read_captions"
TENANT, VIDEO = "evaluation", "programme"
KEY, MODEL_KEY = f"{TENANT}/client/videos/{VIDEO}/video.mp4", f"{TENANT}/server/model.safetensors"


@dataclass(frozen=True)
class Outcome:
    """What the product made of a video: captions, pair probabilities (N - 1, 2, 5), whether it read texts."""

    captions: tuple[Predicted, ...]
    probabilities: np.ndarray
    texts: bool
    ocr_calls: int


def run_product(video: Path, crop_region: dict[str, float], *, text: bool, model: Path | None) -> Outcome:
    """The product's own tasks over one video, in a store of its own that is deleted again.

    `model` is a checkpoint to use in place of the shipped weights.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = _context(folder)
        context.store.put(KEY, video)
        request = {
            "video_key": KEY,
            "tenant_id": TENANT,
            "video_id": VIDEO,
            "crop_region": crop_region,
            "frame_rate": str(RATE),
            "model_key": None if model is None else MODEL_KEY,
        }
        if model is not None:
            context.store.put(MODEL_KEY, model)
        stages = ("cropped_frames", "caption_frame_extents")
        manifest = _run_task(PASS, request | {"stages": stages}, context, "extents")
        database = folder / "extents.db"
        database.write_bytes(context.store.get(manifest.objects[0].key))
        document = None
        if text and READ in all_tasks():
            manifest = _run_task(READ, request | {"chunks": False}, context, "captions")
            key = next(item.key for item in manifest.objects if item.key.endswith("captions.json"))
            document = CaptionsDocument.model_validate_json(context.store.get(key))
        return outcome_of(database, document)


def outcome_of(database: Path, document: CaptionsDocument | None) -> Outcome:
    """Captions from the document where there is one, otherwise from the extents database alone."""
    probabilities = read_probabilities(database)
    if document is None:
        found = [
            Predicted(extent.first_frame, extent.end_frame, extent.start_confidence, extent.end_confidence)
            for extent in find_extents(database)
        ]
        return Outcome(tuple(found), probabilities, texts=False, ocr_calls=0)
    found = [
        Predicted(
            caption.first_frame,
            caption.end_frame,
            caption.start.confidence,
            caption.end.confidence,
            caption.text,
        )
        for caption in document.captions
    ]
    calls = sum(caption.ocr_calls for caption in document.captions)
    return Outcome(tuple(found), probabilities, texts=document.ocr is not None, ocr_calls=calls)


def _context(folder: Path) -> TaskContext:
    settings = load_settings(store=str(folder / "store"))
    (folder / "scratch").mkdir()
    return TaskContext(
        store=open_store(settings),
        settings=settings,
        scratch=folder / "scratch",
        cancel=CancellationToken(),
        recorder=Recorder(),
        emit=lambda _event: None,
    )


def _run_task(name: str, request: Mapping[str, object], context: TaskContext, artefact: str) -> Manifest:
    """Runs a task of the product here and now; the manifest of the artefact it names."""
    task = all_tasks()[name]
    with contextlib.redirect_stdout(io.StringIO()):  # the pass prints its own report
        result = task.load()(task.parse_request(request), context)
    return Manifest.model_validate_json(context.store.get(getattr(result, artefact).manifest_key))


def evaluate(
    programmes: Sequence[Programme], *, text: bool, model: Path | None, folder: Path = SET
) -> tuple[Records, list[Truth]]:
    """Records of all programmes together, with their truths. Says on stderr how each went."""
    parts, truths = [], []
    for number, programme in enumerate(programmes, 1):
        started = time.monotonic()
        truth = read_truth(folder / f"{programme.name}.cues.json", RATE)
        outcome = run_product(truth.video, truth.crop_region, text=text, model=model)
        part = records_of(
            truth,
            outcome.captions,
            outcome.probabilities,
            texts=outcome.texts,
            ocr_calls=outcome.ocr_calls,
        )
        parts.append(part)
        truths.append(truth)
        right = sum(record.exact for record in part.predicted_boundaries)
        print(
            f"{number}/{len(programmes)} {truth.name}: {len(truth.captions)} captions, "
            f"{len(outcome.captions)} found, {right} of {len(part.predicted_boundaries)} boundaries exact, "
            f"{time.monotonic() - started:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    return joined(parts), truths


def weights_of(model: Path | None) -> str:
    """The hash that the product knows its weights by."""
    from video_pipeline.models.weights import weights_sha256

    return weights_sha256(model)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--programmes", help="names, separated by commas; all by default")
    parser.add_argument("--limit", type=int, help="only so many of them")
    parser.add_argument("--no-text", action="store_true", help="find captions without reading them")
    parser.add_argument("--model", type=Path, help="a checkpoint in place of the shipped weights")
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        help="other texts, times and shots for the same programmes, which nobody has looked at yet",
    )
    parser.add_argument("--development", action="store_true", help="programmes to choose settings on")
    arguments = parser.parse_args(argv)
    folder = DEVELOPMENT_SET if arguments.development else SET
    if arguments.seed != SEED:
        folder = folder.with_name(f"{folder.name}-{arguments.seed}")
    sets: dict[Split, tuple[Programme, ...]] = DEVELOPMENT if arguments.development else {"test": PROGRAMMES}
    programmes = choose(arguments.programmes, [each for some in sets.values() for each in some])
    programmes = programmes[: arguments.limit]
    for split, some in sets.items():
        made = [programme for programme in some if programme in programmes]
        make_set(made, root=MEDIA, output=folder, split=split, seed=arguments.seed)
    facts = machine() | {"weights": weights_of(arguments.model)}
    text = not arguments.no_text
    records, truths = evaluate(programmes, text=text, model=arguments.model, folder=folder)
    for by in ("programme", "language", "effect"):
        print(group_table(groups_of(records, by)), end="\n\n")
    figures = figures_of(records)
    print(table(figures))
    print(network_line(records))
    unseen = {truth.name: [caption.text for caption in truth.unseen] for truth in truths if truth.unseen}
    print(f"left out, shown by no sample: {sum(map(len, unseen.values()))} captions {json.dumps(unseen)}")
    whole = programmes == list(PROGRAMMES) and text and arguments.model is None
    path = RESULTS if whole else folder / "part.json"
    if whole and arguments.seed != SEED:
        path = RESULTS.with_name(f"captions-seed-{arguments.seed}.json")
    captions = sum(len(truth.captions) for truth in truths)
    seconds = sum(truth.frame_count for truth in truths) / float(RATE)
    facts |= {"programmes": len(truths), "captions": captions, "minutes": round(seconds / 60, 1)}
    write_results(path, records, facts | {"left_out": unseen})
    print(f"written: {path.relative_to(ROOT)}")
    short = [figure.what for figure in figures if not figure.holds]
    for what in short:
        print(f"falls short: {what}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
