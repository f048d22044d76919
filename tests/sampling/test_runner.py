"""A sampling run delivers or names every frame, gives the same answer twice, and accounts for every byte."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.media_factory import MediaFactory
from tests.media.mp4.framemd5 import whole_decode
from tests.servers.ranges import Fault, RangeServer
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.sampling.runner import run_inference_impl
from video_pipeline.streaming.cancel import CancellationToken


def sample(server: RangeServer, *names: str, **options: Any) -> dict[str, Any]:
    return run_inference_impl(video_urls=[server.url(f"{name}.mp4") for name in names], **options)


def frames_of(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(row["batch"], row["video"], row["pts"], row["prediction"]) for row in result["frames"]]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_frames_and_answers_however_work_completes(server: RangeServer) -> None:
    names = ("h264_b", "h264_fragmented_mfra", "h264_faststart")
    first = sample(server, *names, num_batches=4, frames_per_sample=2)
    server.latency_s = 0.02
    # The first video's answers come last now.
    server.faults = [Fault("drip", "h264_b.mp4", after=4000, seconds=0.02)]
    second = sample(server, *names, num_batches=4, frames_per_sample=2)
    assert frames_of(first) == frames_of(second)
    assert [row["batch"] for row in first["frames"]] == sorted(row["batch"] for row in first["frames"])
    # The first and the last are the same film, and each has moments of its own.
    drawn = [[row["requested_seconds"] for row in first["frames"] if row["video"] == n] for n in (0, 2)]
    assert not set(drawn[0]) & set(drawn[1])
    other = sample(server, *names, num_batches=4, frames_per_sample=2, random_seed=7)
    assert [row["pts"] for row in other["frames"]] != [row["pts"] for row in first["frames"]]


def test_a_bad_video_is_one_recorded_error_and_every_other_frame_is_delivered(server: RangeServer) -> None:
    result = run_inference_impl(
        video_urls=[server.url("h264_b.mp4"), server.url("nowhere.mp4"), server.url("h264_faststart.mp4")],
        num_batches=3,
    )
    assert (result["requested"], result["delivered"], result["failed"]) == (9, 6, 3)
    assert [row["delivered"] for row in result["frames"]] == [True, False, True] * 3
    assert result["videos"][1]["error"]["kind"] == "bad_input"
    assert "nowhere.mp4" in result["videos"][1]["error"]["input"]
    assert len(result["top_classes"]) == len(result["confidences"]) == 6


def test_a_damaged_picture_costs_no_other_picture_of_its_video(
    server: RangeServer, media: MediaFactory
) -> None:
    times = [float(time) for time, _ in whole_decode(media.path("h264_b"))]
    result = sample(server, "corrupt_middle", timestamps=times)
    delivered = [row["requested_seconds"] for row in result["frames"] if row["delivered"]]
    assert result["requested"] == result["delivered"] + result["failed"] == len(times)
    # The damage lies in the second of three GOPs.
    assert {time for time in times if time < 1} <= set(delivered)
    assert {time for time in times if time >= 2} <= set(delivered)
    assert result["failed"]
    # What was read again for it is in the account too.
    assert result["bandwidth_total_upstream_bytes"] == server.sent()
    assert sum(row["media_bytes"] for row in result["frames"]) == result["media_bytes"]
    assert {row["error"]["kind"] for row in result["frames"] if not row["delivered"]} == {"bad_input"}


def test_every_byte_and_request_is_in_the_result_once(server: RangeServer) -> None:
    result = sample(server, "h264_b", "demo_fragmented", num_batches=6, offset_max_seconds=None)
    assert result["bandwidth_total_upstream_bytes"] == server.sent()
    assert result["bandwidth_num_proxy_requests"] == len(server.log)
    assert {logged.method for logged in server.log} == {"GET"}
    for name in ("requests", "index_bytes", "media_bytes", "useful_bytes"):
        whole = sum(row[name] for row in result["videos"])
        assert sum(row[name] for row in result["frames"]) == whole
    assert result["index_bytes"] + result["media_bytes"] == result["bandwidth_total_upstream_bytes"]
    assert result["minimum_bytes"] == result["useful_bytes"] <= result["media_bytes"]
    assert result["pictures_decoded"] == sum(row["pictures_decoded"] for row in result["frames"])


def test_little_more_is_read_than_the_pictures_and_a_video_says_how_it_was_decoded_and_why(
    server: RangeServer, media: MediaFactory
) -> None:
    """Without an index, whose place the headers of all fragments take: 1 KiB each, read by 4."""
    options: dict[str, Any] = {"num_batches": 3, "offset_max_seconds": None, "decoder": "pyav"}
    (video,) = sample(server, "demo_fragmented", **options)["videos"]
    whole = media.path("demo_fragmented").stat().st_size
    assert 0 < video["useful_bytes"] <= video["media_bytes"] < 1.05 * video["useful_bytes"]
    assert 0 < video["index_bytes"] < 0.1 * whole
    assert (video["decoder"], video["decoder_reason"]) == ("pyav", "asked for")


def test_each_frame_is_classified_as_it_would_be_alone(server: RangeServer, media: MediaFactory) -> None:
    """Batches of the network mix frames of several videos, failed ones between them."""
    names = ("h264_b", "gone", "demo_fragmented", "h264_faststart")
    result = sample(server, *names, num_batches=3, offset_max_seconds=None, inference_batch_size=5)
    assert (result["delivered"], result["failed"]) == (9, 3)
    for row in result["frames"]:
        if row["delivered"]:
            alone = sample(server, names[row["video"]], timestamps=[row["requested_seconds"]])["frames"][0]
            assert row["pts"] == alone["pts"]
            found, wanted = (one["prediction"]["top"][0] for one in (row, alone))
            assert found["label"] == wanted["label"]
            assert found["confidence"] == pytest.approx(wanted["confidence"], abs=1e-5)
    assert len(set(result["confidences"])) > 5


def test_neighbouring_gops_of_several_batches_are_one_request(server: RangeServer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"strategy": "uniform", "offset_max_seconds": None, "index_directory": tmp_path}
    sample(server, "h264_b", num_batches=1, **options)
    for batches, requests in ((12, 1), (16, 1), (17, 2)):
        server.log.clear()
        result = sample(server, "h264_b", num_batches=batches, **options)
        assert result["delivered"] == batches
        assert len(server.log) == requests


def test_a_kept_index_costs_no_request_until_the_file_changes(
    server: RangeServer, media: MediaFactory, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"num_batches": 2, "index_directory": tmp_path / "indexes", "random_seed": 5}
    served = media.directory / "changing.mp4"
    served.write_bytes(media.path("h264_faststart").read_bytes())
    cold = sample(server, "changing", **options)
    server.log.clear()
    warm = sample(server, "changing", **options)
    assert warm["index_bytes"] == 0
    assert warm["index_cache_hits"] == 2
    assert frames_of(warm) == frames_of(cold)

    served.write_bytes(media.path("h264_b").read_bytes() + bytes(8))
    changed = sample(server, "changing", **options)
    served.unlink()
    assert changed["delivered"] == 2
    assert changed["index_bytes"] > 0
    assert [row["pts"] for row in changed["frames"]] == [row["pts"] for row in cold["frames"]]


def test_frames_come_as_png_in_the_order_of_the_rows(server: RangeServer, media: MediaFactory) -> None:
    result = sample(server, "h264_b", timestamps=(2.0, 0.2), return_frame_png=True)
    pictures = [np.asarray(Image.open(io.BytesIO(png)), np.int16) for png in result["frame_png_bytes_list"]]
    for picture, seconds in zip(pictures, (2.0, 0.2), strict=True):
        import av

        with av.open(str(media.path("h264_b"))) as container:
            truth = next(f for f in container.decode(video=0) if abs((f.time or 0) - seconds) < 0.01)
        wanted = truth.to_ndarray(format="rgb24").astype(np.int16)
        assert picture.shape == wanted.shape
        # Other chroma interpolation, the same picture: another one differs by 20 and more.
        assert np.abs(picture - wanted).mean() < 2


def test_a_picture_behind_a_mere_recovery_point_is_decoded_from_further_back(media: MediaFactory) -> None:
    path = media.path("h264_intra_refresh")
    result = run_inference_impl(video_url=str(path), timestamps=[1.2, 2.2])
    assert result["delivered"] == 2
    assert [row["seconds"] for row in result["frames"]] == [1.2, 2.2]


def test_strategies_choose_what_they_say(server: RangeServer) -> None:
    uniform = sample(server, "h264_b", strategy="uniform", num_batches=4, offset_max_seconds=None)
    assert [row["requested_seconds"] for row in uniform["frames"]] == pytest.approx([0.3, 0.9, 1.5, 2.1])
    keys = sample(server, "h264_b", strategy="key_frames", num_batches=8, offset_max_seconds=None)
    assert {row["pictures_decoded"] for row in keys["frames"]} <= {0, 1}
    assert {row["seconds"] for row in keys["frames"]} <= {0.0, 1.0, 2.0}
    strided = sample(server, "h264_b", frames_per_sample=3, frame_stride_seconds=0.4)
    steps = np.diff([row["requested_seconds"] for row in strided["frames"]])
    assert steps == pytest.approx([0.4, 0.4])


def test_a_timestamp_outside_of_a_video_fails_that_frame_and_says_where_the_video_ends(
    server: RangeServer,
) -> None:
    result = sample(server, "h264_b", timestamps=(1.0, 50.0))
    assert [row["delivered"] for row in result["frames"]] == [True, False]
    assert "2.400 s" in result["frames"][1]["error"]["message"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_batches": 0}, "num_batches"),
        ({"strategy": "timestamps"}, "timestamps"),
        ({"frames": 3}, "frames"),
        ({"timestamps": (1.0, 2.0), "num_batches": 3}, "leave it out"),
    ],
)
def test_wrong_options_are_refused_by_name(server: RangeServer, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        sample(server, "h264_b", **options)
    assert not server.log


def test_a_wrong_classifier_ends_the_run_with_its_own_error(server: RangeServer, tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(b"no weights")
    with pytest.raises(BadInput, match=r"mine\.safetensors"):
        sample(server, "h264_b", classifier={"path": str(weights), "architecture": "efficientnet_lite0"})


def test_cancelling_ends_a_run_that_waits_for_a_server(server: RangeServer) -> None:
    server.faults = [Fault("stall", "h264_b.mp4")]
    cancel = CancellationToken()

    def stop(_snapshot: object) -> None:
        cancel.cancel("enough")

    with pytest.raises(Cancelled):
        sample(server, "h264_b", cancel=cancel, on_progress=stop)


def test_force_no_proxy_is_accepted_and_noted(server: RangeServer) -> None:
    result = sample(server, "h264_b", force_no_proxy=True)
    assert any("no proxy" in note for note in result["notes"])
