"""What a pass leaves, in which order, and that nothing lost on the way goes unnoticed."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save

from tests.captions.test_streaming_pass import artefacts, request
from tests.fixtures.media_factory import MediaFactory
from tests.media.conftest import media as media
from video_pipeline.captions import streaming_pass
from video_pipeline.captions.chunks import LEVELS, ChunkAssembler, windows
from video_pipeline.captions.contact_sheet import ContactSheet
from video_pipeline.captions.inference import PairClassifier
from video_pipeline.captions.intake import add_video, pass_request
from video_pipeline.captions.streaming_pass import run
from video_pipeline.errors import BadInput, Cancelled, Internal
from video_pipeline.keys import VideoId
from video_pipeline.media.decode_software import SoftwareDecoder
from video_pipeline.media.geometry import CropRegion
from video_pipeline.media.vp9 import encode_chunk
from video_pipeline.models.weights import SHIPPED_CAPTION_WEIGHTS
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.pipeline import Pipeline
from video_pipeline.worker import TaskContext

MakeContext = Callable[..., TaskContext]
FRAMES = 84


def manifests(store: ObjectStore) -> list[str]:
    return [key for key in artefacts(store) if key.endswith("manifest.json")]


def test_every_manifest_is_written_after_all_that_it_names(
    demo_store: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    put = type(demo_store).put

    def noting(self: Any, key: str, *arguments: Any, **options: Any) -> Any:
        done = put(self, key, *arguments, **options)
        written.append(key)
        return done

    monkeypatch.setattr(type(demo_store), "put", noting)
    run(request(demo_store), make_context(demo_store))
    assert len(written) == len(set(written)), "nothing is written twice"
    last = [place for place, key in enumerate(written) if key.endswith("manifest.json")]
    assert len(last) == 3
    named: set[str] = set()
    for place in last:
        objects = [item["key"] for item in json.loads(demo_store.get(written[place]))["objects"]]
        assert objects
        assert all(written.index(key) < place for key in objects)
        named |= set(objects)
    assert set(written) == named | {written[place] for place in last}, "nothing lies there unnamed"


class Watched:
    """What Python opens for writing and which processes it starts, while `active`. An audit hook stays for
    good, so there is one."""

    active = False
    opened: list[str] = []  # noqa: RUF012
    started: list[str] = []  # noqa: RUF012

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if not cls.active:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            cls.opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else "")
        elif event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system", "os.exec"):
            cls.started.append(event)


@pytest.fixture
def watched() -> Iterator[type[Watched]]:
    if not hasattr(Watched, "installed"):
        sys.addaudithook(Watched.hook)
        Watched.installed = True  # pyright: ignore[reportAttributeAccessIssue]
    Watched.opened, Watched.started, Watched.active = [], [], True
    yield Watched
    Watched.active = False


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what was written")
def test_no_pixel_touches_the_disk_and_no_other_program_is_needed(
    demo_store: ObjectStore, make_context: MakeContext, watched: type[Watched], tmp_path: Path
) -> None:
    def written() -> int:
        return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])

    context = make_context(demo_store)
    before = written()
    result = run(request(demo_store), context)
    by_all_means = written() - before
    watched.active = False
    assert watched.started == []
    store = (tmp_path / "store").as_posix()
    elsewhere = [path for path in watched.opened if path and not path.startswith((store, "/dev/", "/proc/"))]
    assert elsewhere == []
    assert [path.name for path in context.scratch.iterdir()] == ["caption_frame_extents.db"]
    assert result.extents is not None
    assert result.chunks is not None
    kept = sum(artefact.bytes for artefact in (result.frames, result.extents, result.chunks))
    pixels = FRAMES * result.frame_width * result.frame_height * 3 // 2
    # Each object goes into the store once, the database into the scratch folder before.
    assert by_all_means < 2 * kept + 300_000 < pixels


def test_the_frames_file_says_which_pictures_and_when(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory
) -> None:
    """A video whose first picture is shown at 0.4 s, and one that is shown upright by a quarter turn."""
    found: dict[str, dict[str, Any]] = {}
    band = CropRegion(left=0.1, top=0.5, width=0.8, height=0.4)
    for variant in ("edit_empty", "rotated_90"):
        video = VideoId("acme", variant.replace("_", "-"))
        add_video(store, video, media.path(variant), crop_region=band, frame_rate="25/3", preset="fast")
        result = run(pass_request(store, video, ("cropped_frames",)), make_context(store))
        found[variant] = json.loads(
            store.get(result.frames.manifest_key.replace("manifest.json", "frames.json"))
        )
    late, turned = found["edit_empty"], found["rotated_90"]
    assert late["first_picture_seconds"] == "2/5"
    assert late["time_base"] == "1/12800"
    assert late["pts"][:3] == [5120, 5120 + 3 * 512, 5120 + 6 * 512]
    assert (late["count"], late["frame_rate"]) == (len(late["pts"]), "25/3") == (20, "25/3")
    assert late["source_key"] == "acme/client/videos/edit-empty/video.mp4"
    assert (late["display_width"], late["display_height"], late["rotation"]) == (320, 180, 0)
    assert (turned["display_width"], turned["display_height"], turned["rotation"]) == (180, 320, 90)
    assert turned["crop"] == {"left": 18, "top": 160, "width": 144, "height": 128}
    assert Fraction(turned["first_picture_seconds"]) == 0


def test_the_result_counts_what_was_made(demo_store: ObjectStore, make_context: MakeContext) -> None:
    result = run(request(demo_store), make_context(demo_store))
    assert result.frame_count == FRAMES
    assert result.chunk_counts == {f"modulo_{level}": len(windows(level, FRAMES)) for level in LEVELS}
    assert sum(result.label_counts.values()) == FRAMES - 1
    assert (result.frame_width, result.frame_height) == (576, 72)
    assert {"decode", "infer", "assemble", "encode", "upload"} <= set(result.durations)
    assert all(seconds >= 0 for seconds in result.durations.values())
    assert result.decode["samples"] == FRAMES
    assert result.decode["packets"] == result.decode["pictures_decoded"] + result.decode["packets_dropped"]
    assert result.degraded == []
    for artefact in (result.frames, result.extents, result.chunks):
        assert artefact is not None
        stored = json.loads(demo_store.get(artefact.manifest_key))
        assert artefact.objects == stored["count"] == len(stored["objects"])
        assert artefact.bytes == sum(len(demo_store.get(item["key"])) for item in stored["objects"])
    assert result.contact_sheet_key is not None
    assert Image.open(io.BytesIO(demo_store.get(result.contact_sheet_key))).format == "PNG"


def own_checkpoint(note: str) -> bytes:
    """The shipped weights as a file of one's own: another hash, the same answers."""
    with safe_open(SHIPPED_CAPTION_WEIGHTS, framework="pt") as weights:
        tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
        return save(tensors, metadata={**weights.metadata(), "note": note})


def test_a_checkpoint_of_ones_own_is_used_and_named(
    demo_store: ObjectStore, make_context: MakeContext
) -> None:
    key = "demo/server/mine.safetensors"
    demo_store.put(key, own_checkpoint("mine"))
    shipped = run(request(demo_store, "caption_frame_extents"), make_context(demo_store))
    own = run(request(demo_store, "caption_frame_extents", model_key=key), make_context(demo_store))
    assert own.extents is not None
    assert shipped.extents is not None
    assert own.extents.made
    assert own.extents.recipe != shipped.extents.recipe
    assert own.frames.recipe == shipped.frames.recipe
    assert own.label_counts == shipped.label_counts
    summary = json.loads(demo_store.get(own.extents.manifest_key))["summary"]
    assert summary["model_key"] == key
    assert json.loads(demo_store.get(shipped.extents.manifest_key))["summary"]["model_key"] is None


def test_a_checkpoint_that_is_replaced_while_the_call_begins_is_refused(
    demo_store: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else pairs of other weights would lie below the recipe of these."""
    key = "demo/server/mine.safetensors"
    demo_store.put(key, own_checkpoint("mine"))
    monkeypatch.setattr(streaming_pass, "read_model", lambda *_: own_checkpoint("replaced"))
    with pytest.raises(BadInput, match="changed while the call began") as caught:
        run(request(demo_store, "caption_frame_extents", model_key=key), make_context(demo_store))
    assert caught.value.input == key
    assert manifests(demo_store) == []


def test_the_contact_sheet_is_drawn_once_and_not_for_frames_that_lie_there_already(
    demo_store: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(request(demo_store, "cropped_frames"), make_context(demo_store))
    assert first.contact_sheet_key is not None
    sheet = demo_store.get(first.contact_sheet_key)

    def drawn(*_: object) -> None:
        raise AssertionError("a contact sheet that nobody stores")

    monkeypatch.setattr(ContactSheet, "add", drawn)
    monkeypatch.setattr(ContactSheet, "render", drawn)
    second = run(request(demo_store, "vp9_chunks"), make_context(demo_store))
    assert second.contact_sheet_key == first.contact_sheet_key
    assert demo_store.get(first.contact_sheet_key) == sheet


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "stages", "leaving"),
    [("cpu", ["caption_frame_extents", "vp9_chunks"], {"infer", "encode"}), ("cuda", ["vp9_chunks"], set())],
)
def test_what_uses_a_core_leaves_one_to_a_decoder_that_uses_one(
    demo_store: ObjectStore,
    make_context: MakeContext,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    stages: list[str],
    leaving: set[str],
) -> None:
    told: dict[str, bool] = {}

    class Told(Pipeline):
        def __init__(self, name: str, source: Any, stages: list[Any], **options: Any) -> None:
            super().__init__(name, source, stages, **options)
            told.update({stage.name: stage.needs_core for stage in stages})

    monkeypatch.setattr(streaming_pass, "Pipeline", Told)
    # Says so only: it decodes as ever.
    monkeypatch.setattr(SoftwareDecoder, "device", device)
    run(request(demo_store, *stages), make_context(demo_store))
    assert {name for name, leaves in told.items() if leaves} == leaving
    assert "encode" in told


def test_a_sample_that_is_lost_in_the_decoder_is_a_defect(
    demo_store: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = SoftwareDecoder.samples

    def losing(self: SoftwareDecoder) -> Iterator[Any]:
        yield from (sample for sample in samples(self) if sample.index != 40)

    monkeypatch.setattr(SoftwareDecoder, "samples", losing)
    with pytest.raises(Internal, match="sample 41 came where 40 belongs"):
        run(request(demo_store, "cropped_frames"), make_context(demo_store))
    assert manifests(demo_store) == []


def test_tails_that_are_lost_are_a_defect(
    demo_store: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last pairs, and the chunks that the end of the video leaves unfilled."""
    with monkeypatch.context() as broken:
        broken.setattr(PairClassifier, "finish", lambda _self: [])
        with pytest.raises(Internal, match="84 frames make 83 pairs"):
            run(request(demo_store, "caption_frame_extents"), make_context(demo_store))
    with monkeypatch.context() as broken:
        broken.setattr(ChunkAssembler, "finish", lambda _self: [])
        with pytest.raises(Internal, match="84 frames were sampled, the chunks hold 48"):
            run(request(demo_store, "vp9_chunks"), make_context(demo_store))
    assert [key for key in manifests(demo_store) if "/frames/" not in key] == []


def test_a_chunk_that_came_out_wrong_is_not_stored(
    demo_store: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_short(frames: Any, **options: Any) -> bytes:
        return encode_chunk(frames[:-1], **options)

    monkeypatch.setattr(streaming_pass, "encode_chunk", one_short)
    with pytest.raises(Internal, match="a chunk is wrong"):
        run(request(demo_store, "vp9_chunks"), make_context(demo_store))
    assert [key for key in artefacts(demo_store) if key.endswith((".webm", "manifest.json"))] == []


def test_a_cancel_after_the_last_frame_still_publishes_nothing(
    demo_store: ObjectStore, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(demo_store)
    stream = Pipeline.run

    def cancelled_at_its_end(self: Pipeline) -> Any:
        report = stream(self)
        context.cancel.cancel("too late for the stream")
        return report

    monkeypatch.setattr(Pipeline, "run", cancelled_at_its_end)
    with pytest.raises(Cancelled, match="too late for the stream"):
        run(request(demo_store), context)
    assert manifests(demo_store) == []


def test_the_network_takes_one_core_and_leaves_the_rest_to_the_other_stages(
    demo_store: ObjectStore, make_context: MakeContext
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(request(demo_store, "caption_frame_extents"), make_context(demo_store))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_encoders_changes_no_byte(
    demo_store: ObjectStore, make_context: MakeContext, workers: int
) -> None:
    made: list[dict[str, bytes]] = []
    for encoder_workers in (workers, 2):
        result = run(
            request(demo_store, "vp9_chunks", encoder_workers=encoder_workers), make_context(demo_store)
        )
        assert result.chunks is not None
        assert result.chunks.made
        made.append({key: data for key, data in artefacts(demo_store).items() if "/chunks/" in key})
        for key in made[-1]:
            demo_store.delete(key)
    assert made[0] == made[1]
