"""When encoding should leave the GPU's machine: above 1.5 times the GPU's stages, with all cores busy."""

from __future__ import annotations

import json

import pytest

from video_pipeline.captions.offloading import Offloading, offloading
from video_pipeline.streaming.stats import PipelineReport, StageStats


def a_pass(
    *, encode_s: float, workers: int = 4, infer_s: float = 10.0, decode_s: float = 4.0, cpu_s: float = 40.0
) -> PipelineReport:
    """Of 10 s on 4 cores. The stages' seconds are busy ones, of all their workers together."""
    stages = [
        StageStats("decode", busy_s=decode_s),
        StageStats("infer", busy_s=infer_s),
        StageStats("encode", workers=workers, busy_s=encode_s),
        StageStats("upload", workers=4, busy_s=100.0),
    ]
    return PipelineReport(stages=stages, wall_s=10.0, cores=4, process_cpu_s=cpu_s)


def judged(report: PipelineReport, *, has_gpu: bool = True) -> Offloading:
    found = offloading(report, has_gpu=has_gpu)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("encode_s", "cpu_s", "has_gpu", "worth_it", "words"),
    [
        (60.0, 40.0, True, False, "= 1.50, not above 1.5: encode beside the GPU"),
        (
            60.4,
            40.0,
            True,
            True,
            "= 1.51, above 1.5 with the cores 100% busy: the GPU waits 5 s of each pass",
        ),
        (80.0, 36.0, True, True, "= 2.00, above 1.5 with the cores 90% busy"),
        (80.0, 35.0, True, False, "above 1.5, but the cores were 88% busy: raise encoder_workers"),
        (80.0, 40.0, False, False, "no GPU was measured"),
    ],
)
def test_both_conditions_are_needed_and_the_figures_are_said(
    encode_s: float, cpu_s: float, has_gpu: bool, worth_it: bool, words: str
) -> None:
    found = judged(a_pass(encode_s=encode_s, cpu_s=cpu_s), has_gpu=has_gpu)
    assert found.worth_it == worth_it
    assert words in found.advice
    assert f"encoding {encode_s / 4:.2f} s / GPU stages 10.00 s" in found.advice


def test_the_slower_of_the_stages_on_the_gpu_is_what_encoding_is_held_against() -> None:
    assert judged(a_pass(encode_s=40.0, infer_s=5.0, decode_s=8.0)).ratio == pytest.approx(10 / 8)


def test_time_without_a_core_is_no_time_that_encoding_needs() -> None:
    report = a_pass(encode_s=80.0)
    report.stages[2].wait_cpu_s = 40.0
    assert judged(report).encode_s == pytest.approx(10.0)


def test_a_pass_that_encodes_nothing_says_nothing() -> None:
    report = a_pass(encode_s=1.0)
    report.stages = [stage for stage in report.stages if stage.name != "encode"]
    assert offloading(report, has_gpu=True) is None


def test_stages_that_took_no_time_give_json_all_the_same() -> None:
    found = judged(a_pass(encode_s=4.0, infer_s=0.0, decode_s=0.0))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["ratio"] is None
    assert told["worth_it"] is True
