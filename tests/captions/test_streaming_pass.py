"""The whole pass on the bundled clip: streaming against sequential, subsets, and every stage failing."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401  (loaded here, it is in nobody's time)

from video_pipeline.captions import streaming_pass
from video_pipeline.captions.checks import check_chunks, check_extents, check_frames
from video_pipeline.captions.database import read_stable_rows
from video_pipeline.captions.inference import PairClassifier
from video_pipeline.captions.intake import pass_request
from video_pipeline.captions.request import STAGES, CropAndInferRequest, CropAndInferResult
from video_pipeline.captions.streaming_pass import run
from video_pipeline.demo.run import VIDEO, store_demo_clip
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.keys import database_key
from video_pipeline.media.decode_software import SoftwareDecoder
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.pipeline import THREAD_PREFIX
from video_pipeline.worker import TaskContext

MakeContext = Callable[..., TaskContext]


def request(store: ObjectStore, *stages: str, **changes: Any) -> CropAndInferRequest:
    """The demo's request at 2 Hz: 84 frames, so that all levels and a tail exist and a run takes a second."""
    made = pass_request(store, VIDEO, stages or STAGES)
    return CropAndInferRequest.model_validate({**made.model_dump(), "frame_rate": 2, **changes})


def artefacts(store: ObjectStore) -> dict[str, bytes]:
    """Everything the pass made, by key; the database as its stable rows."""
    return {
        item.key: store.get(item.key) for item in store.list("demo/") if f"/videos/{VIDEO.video}/" in item.key
    }


def rows(store: ObjectStore, result: CropAndInferResult, folder: Path) -> dict[str, list[tuple[object, ...]]]:
    assert result.extents is not None
    path = folder / f"{len(list(folder.iterdir()))}.db"
    path.write_bytes(store.get(database_key(VIDEO, result.extents.recipe)))
    return read_stable_rows(path)


def stream_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]


@pytest.mark.slow
def test_streaming_and_sequential_runs_make_the_same(tmp_path: Path, make_context: MakeContext) -> None:
    made: list[tuple[dict[str, bytes], CropAndInferResult]] = []
    tables = []
    for sequential in (False, True):
        store = open_store(load_settings(store=str(tmp_path / f"store-{sequential}")))
        store_demo_clip(store)
        result = run(request(store), make_context(store), sequential=sequential)
        made.append((artefacts(store), result))
        (tmp_path / "tables").mkdir(exist_ok=True)
        tables.append(rows(store, result, tmp_path / "tables"))
    (streamed, first), (sequential_made, second) = made
    assert tables[0] == tables[1]
    assert len(tables[0]["pair_results"]) == 83
    assert streamed.keys() == sequential_made.keys()
    volatile = (
        {first.extents.manifest_key, database_key(VIDEO, first.extents.recipe)} if first.extents else set()
    )
    different = [key for key in streamed if streamed[key] != sequential_made[key] and key not in volatile]
    assert different == []
    assert first.model_dump(exclude={"durations", "wall_seconds", "extents"}) == second.model_dump(
        exclude={"durations", "wall_seconds", "extents"}
    )
    assert first.frame_count == 84


def test_progress_counts_what_is_encoded_and_uploaded_and_not_what_is_read(
    demo_store: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[dict[str, Any]] = []
    context, told, encode = make_context(demo_store, events), threading.Event(), streaming_pass._encode
    emit = context.emit

    def tell(event: dict[str, Any]) -> None:
        emit(event)
        if event["event"] == "progress":
            told.set()

    def encode_later(*job: Any) -> Any:
        assert told.wait(60)
        return encode(*job)

    context.emit = tell
    monkeypatch.setattr(streaming_pass, "_encode", encode_later)
    run(request(demo_store), context)
    progress = [event["done"] for event in events if event["event"] == "progress"]
    assert (progress[0], progress[-1]) == (0, 84)


@pytest.mark.parametrize("stage", STAGES)
def test_progress_ends_with_all_frames_whatever_is_made(
    stage: str, demo_store: ObjectStore, make_context: MakeContext
) -> None:
    events: list[dict[str, Any]] = []
    run(request(demo_store, stage), make_context(demo_store, events))
    (*_, last) = [event for event in events if event["event"] == "progress"]
    assert last["done"] == last["total"] == 84


def test_every_artefact_passes_its_checks_and_a_rerun_writes_nothing(
    demo_store: ObjectStore, make_context: MakeContext, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[dict[str, Any]] = []
    context = make_context(demo_store, events)
    result = run(request(demo_store), context)
    assert result.extents is not None
    assert result.chunks is not None
    assert check_frames(demo_store, result.frames.manifest_key) == []
    assert check_extents(demo_store, result.extents.manifest_key) == []
    assert check_chunks(demo_store, result.chunks.manifest_key) == []
    assert {"performance.txt", "timing_waterfall.html", "trace.json", "stages.json"} == set(context.reports)
    assert b"Pairs: 83 " in context.reports["performance.txt"][0]
    assert context.reports["performance.txt"][0].decode() in capsys.readouterr().out, "and in the call's log"
    assert b"Encoding elsewhere: encoding " in context.reports["performance.txt"][0]
    assert json.loads(context.reports["stages.json"][0])["offloading"]["ratio"] > 0
    progress = [event for event in events if event["event"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 84
    before = {item.key: item.version for item in demo_store.list("demo/")}
    again = run(request(demo_store), make_context(demo_store))
    assert {item.key: item.version for item in demo_store.list("demo/")} == before
    assert not again.frames.made
    assert again.label_counts == result.label_counts


@pytest.mark.slow
def test_a_subset_makes_only_itself_and_the_frames_it_refers_to(
    demo_store: ObjectStore, make_context: MakeContext
) -> None:
    extents = run(request(demo_store, "caption_frame_extents"), make_context(demo_store))
    assert extents.chunks is None
    assert extents.frames.made
    chunks = run(request(demo_store, "vp9_chunks"), make_context(demo_store))
    assert chunks.extents is None
    assert not chunks.frames.made
    assert chunks.chunks is not None
    assert chunks.chunks.made
    assert chunks.frames.recipe == extents.frames.recipe
    # An artefact whose manifest is gone is made again, and only that one.
    demo_store.delete(chunks.chunks.manifest_key)
    third = run(request(demo_store), make_context(demo_store))
    assert third.chunks is not None
    assert third.extents is not None
    assert (third.frames.made, third.extents.made, third.chunks.made) == (False, False, True)


def test_a_pass_that_samples_other_pictures_than_stored_is_a_defect(
    demo_store: ObjectStore, make_context: MakeContext
) -> None:
    result = run(request(demo_store, "cropped_frames"), make_context(demo_store))
    key = result.frames.manifest_key.replace("manifest.json", "frames.json")
    document = json.loads(demo_store.get(key))
    document["pts"][40] += 1
    demo_store.put(key, json.dumps(document).encode())
    with pytest.raises(Exception, match="other pictures"):
        run(request(demo_store, "vp9_chunks"), make_context(demo_store))


class Planted(Exception):
    """The error a test planted."""


def fail_at(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, raising at its call of that number."""
    count = 0
    lock = threading.Lock()

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        with lock:
            count += 1
            mine = count
        if mine == number:
            raise Planted(f"call {number}")
        return function(*arguments, **options)

    return wrapped


STAGE_CALLS = {"decode": 84, "infer": 84, "assemble": 84, "encode": 5, "upload": 5}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("stage", list(STAGE_CALLS))
def test_a_failure_in_any_stage_stops_all_and_publishes_nothing(
    demo_store: ObjectStore,
    make_context: MakeContext,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    where: str,
) -> None:
    calls = STAGE_CALLS[stage]
    number = {"first": 1, "middle": calls // 2 + 1, "last": calls}[where]
    match stage:
        case "decode":
            original = SoftwareDecoder.samples

            def samples(self: SoftwareDecoder) -> Iterator[Any]:
                for count, sample in enumerate(original(self), 1):
                    if count == number:
                        raise Planted(f"sample {number}")
                    yield sample

            monkeypatch.setattr(SoftwareDecoder, "samples", samples)
        case "infer":
            monkeypatch.setattr(PairClassifier, "push", fail_at(number, PairClassifier.push))
        case "assemble":
            monkeypatch.setattr(
                streaming_pass.ChunkAssembler, "push", fail_at(number, streaming_pass.ChunkAssembler.push)
            )
        case "encode":
            monkeypatch.setattr(streaming_pass, "encode_chunk", fail_at(number, streaming_pass.encode_chunk))
        case "upload":
            monkeypatch.setattr(streaming_pass, "put_object", fail_at(number, streaming_pass.put_object))
    with pytest.raises(Planted):
        run(request(demo_store), make_context(demo_store))
    assert stream_threads() == []
    assert [key for key in artefacts(demo_store) if key.endswith("manifest.json")] == []
    # The same request works once the cause is gone.
    monkeypatch.undo()
    result = run(request(demo_store), make_context(demo_store))
    assert result.chunks is not None
    assert check_chunks(demo_store, result.chunks.manifest_key) == []


def cancel_at_a_random_moment(store: ObjectStore, context: TaskContext, seed: int, longest_s: float) -> None:
    delay = random.Random(seed).uniform(0, longest_s)
    timer = threading.Timer(delay, context.cancel.cancel, [f"seed {seed}"])
    cancelled_at: list[float] = []
    context.cancel.add_callback(lambda: cancelled_at.append(time.process_time()))
    timer.start()
    error: Cancelled | None = None
    try:
        run(request(store), context)
    except Cancelled as cancelled:
        error = cancelled
    finally:
        timer.cancel()
        timer.join()
    if error is not None:
        assert f"seed {seed}" in str(error)
        # In processor seconds: with what else the machine does, it may take any time.
        assert time.process_time() - cancelled_at[0] < 3
    assert stream_threads() == []
    for item in list(store.list("demo/")):
        if "/frames/" in item.key or "/chunks/" in item.key or "/extents/" in item.key:
            store.delete(item.key)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_cancelling_at_a_random_moment_ends_in_time(
    demo_store: ObjectStore, make_context: MakeContext, seed: int
) -> None:
    cancel_at_a_random_moment(demo_store, make_context(demo_store), seed, 1.0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_cancelling_at_any_of_two_hundred_moments_ends_in_time(
    demo_store: ObjectStore, make_context: MakeContext
) -> None:
    for seed in range(200):
        cancel_at_a_random_moment(demo_store, make_context(demo_store), 1000 + seed, 1.2)


def test_a_missing_and_a_wrong_checkpoint_are_errors(
    demo_store: ObjectStore, make_context: MakeContext
) -> None:
    with pytest.raises(BadInput, match=r"mine\.safetensors"):
        run(request(demo_store, model_key="demo/server/mine.safetensors"), make_context(demo_store))
    demo_store.put("demo/server/mine.safetensors", b"not weights at all")
    with pytest.raises(BadInput, match=r"mine\.safetensors"):
        run(request(demo_store, model_key="demo/server/mine.safetensors"), make_context(demo_store))
    assert [key for key in artefacts(demo_store) if key.endswith("manifest.json")] == []
