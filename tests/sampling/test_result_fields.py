"""The fields that users of the earlier runner know, each under its own name and with its own meaning."""

from __future__ import annotations

import io
import sys
import time
from fractions import Fraction
from platform import machine

import pytest
import torch
from PIL import Image

from tests.servers.ranges import Fault, RangeServer
from video_pipeline.sampling.runner import run_inference_impl

TIMES = ("model_load", "frame_extraction", "preprocess", "inference", "total_pipeline")


def test_every_documented_field_is_there_and_says_what_its_name_says(server: RangeServer) -> None:
    server.latency_s = 0.05
    server.faults = [Fault("cut", name="h264_b.mp4", nth={2}, after=100)]
    began = time.perf_counter()
    result = run_inference_impl(
        video_urls=[server.url("h264_b.mp4"), server.url("gone.mp4"), server.url("demo_fragmented.mp4")],
        random_seed=42,
        offset_max_seconds=2.0,
        num_batches=2,
        return_frame_png=True,
        device="cpu",
        decoder="pyav",
    )
    wall = time.perf_counter() - began

    assert result["platform"] == ("mac" if (sys.platform, machine()) == ("darwin", "arm64") else "cpu")
    assert (result["device"], result["gpu_name"], result["cuda_version"]) == ("cpu", None, None)
    assert result["torch_version"] == torch.__version__
    assert (result["requested"], result["delivered"], result["failed"]) == (6, 4, 2)

    rows = [row for row in result["frames"] if row["delivered"]]
    assert list(result["top_classes"]) == [row["prediction"]["top"][0]["label"] for row in rows]
    assert all(name and not name.isdecimal() for name in result["top_classes"])
    assert list(result["confidences"]) == [row["prediction"]["top"][0]["confidence"] for row in rows]
    assert all(0 < confidence <= 1 for confidence in result["confidences"])
    assert list(result["selected_timestamps_seconds"]) == [row["seconds"] for row in rows]
    assert all(0 <= seconds < 2.0 for seconds in result["selected_timestamps_seconds"])
    assert all(row["seconds"] == float(row["pts"] * Fraction(row["time_base"])) for row in rows)
    assert all(row["seconds"] <= row["requested_seconds"] for row in rows)

    spent = {name: result[f"{name}_time_seconds"] for name in TIMES}
    assert all(0 < seconds <= spent["total_pipeline"] for seconds in spent.values())
    assert spent["total_pipeline"] <= wall

    upstream, downstream = (result[f"bandwidth_total_{way}_bytes"] for way in ("upstream", "downstream"))
    assert upstream == server.sent()
    assert 0 < downstream < upstream
    assert result["bandwidth_total_upstream_mb"] == pytest.approx(upstream / 1e6)
    assert result["bandwidth_total_downstream_mb"] == pytest.approx(downstream / 1e6)
    assert result["bandwidth_num_proxy_requests"] == len(server.log)

    waited = max(len(server.requests(f"{name}.mp4")) for name in ("h264_b", "demo_fragmented"))
    assert spent["frame_extraction"] >= 0.05 * waited >= 0.1

    plain, gone, fragmented = result["videos"]
    assert [video["retries"] for video in result["videos"]] == [1, 0, 0]
    assert (plain["error"], gone["error"]["kind"], fragmented["error"]) == (None, "bad_input", None)
    assert all(video["index_bytes"] > 0 and video["media_bytes"] > 0 for video in (plain, fragmented))

    pictures = [Image.open(io.BytesIO(data)) for data in result["frame_png_bytes_list"]]
    assert [(one.format, *one.size) for one in pictures] == [
        ("PNG", row["width"], row["height"]) for row in rows
    ]
