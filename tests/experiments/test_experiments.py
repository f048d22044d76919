"""The experiments themselves: what they ask about, and that each of them runs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from experiments import e2_frame_reading, gpus, run_all
from experiments.e3_cpu_vs_gpu import GPU_TASKS
from experiments.films import SPORT
from experiments.harness import Experiment, Options
from experiments.in_short import in_short
from experiments.place import Place
from experiments.read import all_series
from experiments.run_all import EXPERIMENTS
from experiments.tasks import FAN_OUT, TRIVIAL
from tests.experiments.series_made import series
from video_pipeline.tasks import BUILT_IN, find_task

MAKES_FILMS = pytest.mark.slow
"""Asking an experiment for its works makes the films they are about: up to two minutes of 1080p."""


@MAKES_FILMS
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_request_is_valid_and_every_comparison_is_of_two_configurations(
    place: Place, name: str
) -> None:
    found = importlib.import_module(f"experiments.{name}").experiment(place, Options())
    names = [work.name for work in found.works]
    assert len(set(names)) == len(names)
    for comparison in found.comparisons:
        assert {comparison.name, comparison.baseline} <= set(names)
    for work in found.works:
        for step in (*work.before, *work.steps):
            find_task(step.task, place.settings).parse_request(
                step.request(f"{work.name}-1".replace("_", "-"))
            )
    assert found.name == name


@MAKES_FILMS
def test_the_questions_of_the_earlier_series_are_asked(place: Place) -> None:
    """What the series is about: these lengths, counts, switches and pairs, whatever else it holds."""
    names = {
        module: {work.name for work in _experiment(module, place).works}
        for module in ("e7_parallel", "profile", "fan_out_overhead", "b1_multi_clip", "e3_cpu_vs_gpu")
    }
    assert {"framing_sequential", *(f"framing_{n}_chunks" for n in (2, 4, 8))} <= names["e7_parallel"]
    assert {"overlay_sequential", *(f"overlay_piece_of_{n}" for n in (2, 4, 8))} <= names["e7_parallel"]
    kinds = ("extract", "overlay", "framing")
    assert {f"{kind}_{length}_s" for kind in kinds for length in (5, 30, 120)} <= names["profile"]
    assert {f"fan_out_{n}" for n in (1, 2, 4, 8)} <= names["fan_out_overhead"]
    assert {f"one_{how}_{n}" for how in ("call", "each") for n in (2, 4)} <= names["b1_multi_clip"]
    asked = {work.name.rpartition("_")[0] for work in _experiment("e3_cpu_vs_gpu", place).works}
    assert {"process_framing_ai", "detect_players_batch", "render_overlay"} <= asked
    reading = _experiment("e2_frame_reading", place)
    for work in reading.works:
        assert {"vfr", "cfr"} <= set(work.steps[0].request("x")["films"])
    switches = _experiment("e6_gpu_comparison", place)
    told = " ".join([*(work.what for work in switches.works), *(one.what for one in switches.not_tested)])
    for switch in ("cudnn.benchmark", "torch.compile", "TF32", "channels", "half precision", "batch"):
        assert switch in told
    for gpu in ("T4", "L4", "A10", "A100-40GB", "H100"):
        assert f"GPU {gpu}" in told


def _experiment(module: str, place: Place) -> Experiment:
    return importlib.import_module(f"experiments.{module}").experiment(place, Options())


NOTHING_MADE = {"probe", TRIVIAL, FAN_OUT}
"""Tasks without an output that could be wrong."""


@MAKES_FILMS
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_output_is_compared(place: Place, name: str) -> None:
    """No experiment of the earlier suite checked that its outputs were right."""
    found = importlib.import_module(f"experiments.{name}").experiment(place, Options())
    unchecked = [
        work.name
        for work in found.works
        if work.equal_outputs is None and not {step.task for step in work.steps} <= NOTHING_MADE
    ]
    assert not unchecked


def test_the_baseline_covers_every_function_of_the_table(place: Place) -> None:
    found = importlib.import_module("experiments.e1_baseline").experiment(place, Options())
    assert {work.name for work in found.works} == {task.name for task in BUILT_IN}
    assert all(work.steps[0].task == work.name for work in found.works)


def with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where GPU types can be chosen; what is asked of them is looked at, and nothing run."""
    monkeypatch.setattr("experiments.gpus.absent", lambda place: None)
    monkeypatch.setattr("experiments.gpus.types_not_reached", lambda place: "")


def test_gpu_types_are_held_against_a_t4_in_what_the_product_runs_on_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU that is half precision; float32 alone would choose by what nobody runs."""
    with_gpus(monkeypatch)
    found = _experiment("e6_gpu_comparison", place)
    works = {work.name: work for work in found.works}
    compared = {(one.name, one.baseline, one.measure) for one in found.comparisons}
    assert {name for one in compared for name in one[:2]} <= set(works)
    for kind in gpus.TYPES[1:]:
        for how in ("plain", "float16"):
            assert (
                works[f"{kind.lower()}_{how}"].steps[0].gpu == works[f"{kind.lower()}_{how}"].hardware == kind
            )
            for measure in ("steady_ms", "wall_s", "usd"):
                assert (f"{kind.lower()}_{how}", f"t4_{how}", measure) in compared
        assert (f"{kind.lower()}_float16", f"{kind.lower()}_plain", "steady_ms") in compared
    assert ("l4_batch_4", "l4_plain", "usd") in compared
    assert not any(name == baseline for name, baseline, _ in compared)
    assert {name for name in works if name.startswith("h100_")} == {"h100_plain", "h100_float16"}


@pytest.mark.parametrize("there", [False, True], ids=["no GPU", "GPUs"])
def test_several_calls_are_asked_about_with_the_network_where_there_are_gpus(
    place: Place, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """How many GPUs pay is a question about what needs them."""
    monkeypatch.setattr("experiments.gpus.absent", lambda place: None if there else "none")
    monkeypatch.setattr("experiments.e7_parallel.sport_of", lambda folder, seconds: SPORT)
    works = {work.name: work for work in _experiment("e7_parallel", place).works}
    for name in ("framing_sequential", "framing_2_chunks", "framing_4_chunks", "framing_8_chunks"):
        request = works[name].steps[0].request("a-name")
        assert request["upscale"] == ("auto" if there else "never")
        widths = [crop["width"] < request["output_width"] for crop in request["keyframes"]]
        assert all(widths), "narrower than what comes out"
        assert request.get("num_chunks") == works[name].chunks
    how = "through" if there else "without"
    assert works["framing_sequential"].what == f"16 s re-framed {how} the network, in one call"


def test_a_function_with_a_gpu_is_held_against_itself_without_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.gpus.absent", lambda place: None)
    found = _experiment("e3_cpu_vs_gpu", place)
    works = {work.name: work for work in found.works}
    assert {work.name.rpartition("_")[0] for work in found.works} == {*GPU_TASKS, "render_overlay"}
    for task in GPU_TASKS:
        on_cpu, on_gpu = works[f"{task}_cpu"], works[f"{task}_gpu"]
        assert on_cpu.steps[0].request("a") == on_gpu.steps[0].request("a"), "the same work"
        assert on_cpu.steps[0].variables == {"CUDA_VISIBLE_DEVICES": ""}, "a GPU that is there is hidden"
        assert on_gpu.steps[0].variables == {}
        assert (on_cpu.hardware, on_gpu.hardware) == ("CPU", "GPU")
        assert on_cpu.equal_outputs != on_gpu.equal_outputs, "GPUs round differently"
    assert [(one.name, one.baseline) for one in found.comparisons] == [
        (f"{task}_gpu", f"{task}_cpu") for task in GPU_TASKS
    ]
    assert [one.what for one in found.not_tested] == ["render_overlay on a GPU"]


def test_on_modal_a_function_with_a_gpu_is_not_asked_for_without_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no such function to call."""
    monkeypatch.setattr(place, "settings", place.settings.model_copy(update={"compute": "modal"}))
    found = _experiment("e3_cpu_vs_gpu", place)
    assert {work.name for work in found.works} == {
        *(f"{task}_gpu" for task in GPU_TASKS),
        "render_overlay_cpu",
    }
    assert not found.comparisons
    assert {one.what for one in found.not_tested} == {
        *(f"{task} on a CPU" for task in GPU_TASKS),
        "render_overlay on a GPU",
    }
    assert not any(step.variables for work in found.works for step in work.steps)


def test_one_call_for_many_clips_is_asked_for_what_a_call_for_each_makes(place: Place) -> None:
    works = {work.name: work for work in _experiment("b1_multi_clip", place).works}
    for number in (1, 2, 4):
        (together,) = works[f"one_call_{number}"].steps
        each = [step.request("a") for step in works[f"one_each_{number}"].steps]
        request = together.request("a")
        assert len(each) == number
        shared = {
            key: request[key] for key in ("output_width", "output_height", "fps", "upscale", "encoding")
        }
        assert [{**clip, **shared} for clip in request["clips"]] == [
            {key: value for key, value in one.items() if key not in ("tenant_id", "clip_id")} for one in each
        ]
        assert len({one["trim_start"] for one in each}) == number, "no two parts are one call"
        assert [one["trim_end"] - one["trim_start"] for one in each] == pytest.approx([0.2] * number)


def test_a_profile_asks_for_as_much_video_as_it_says(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line is through these lengths."""
    films: list[float] = []
    monkeypatch.setattr(
        "experiments.profile.small_sport_of", lambda folder, seconds: films.append(seconds) or SPORT
    )
    for work in _experiment("profile", place).works:
        request, said = work.steps[0].request("a"), float(work.facts["video_seconds"])
        kind = work.name.partition("_")[0]
        if kind == "extract":
            assert request["end"] - request["start"] == pytest.approx(said - 0.2)
        elif kind == "overlay":
            assert {region["end_time"] for region in request["highlight_regions"]} == {said}
        else:
            assert request["trim_end"] - request["trim_start"] == said
    assert set(films) == {5.0, 30.0, 120.0}


def test_a_piece_of_an_overlay_is_of_the_length_that_a_chunk_would_have(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.gpus.absent", lambda place: "none")
    lengths: list[float] = []
    monkeypatch.setattr(
        "experiments.e7_parallel.sport_of", lambda folder, seconds: lengths.append(seconds) or SPORT
    )
    works = [work for work in _experiment("e7_parallel", place).works if work.name.startswith("overlay")]
    assert lengths == [16.0, 16.0, 8.0, 4.0, 2.0], "the whole for framing, then each piece's"
    for work, length in zip(works, lengths[1:], strict=True):
        assert work.facts["pieces"] == 16.0 / length
        request = work.steps[0].request("a")
        assert {region["end_time"] for region in request["highlight_regions"]} == {length}


def test_a_fan_out_is_asked_for_as_many_calls_as_it_is_named_for(place: Place) -> None:
    works = _experiment("fan_out_overhead", place).works[1:]
    for work, count in zip(works, (1, 2, 4, 8), strict=True):
        assert (work.name, work.chunks) == (f"fan_out_{count}", count)
        assert work.steps[0].request("a")["children"] == count


def test_what_a_reader_told_is_read_again_by_the_first_lines_of_the_findings() -> None:
    read = {
        "asked": 12,
        "right": 3,
        "one_later": 8,
        "counted": 61,
        "pictures": 60,
        "ranges": 0,
        "ranges_right": 0,
    }
    told = e2_frame_reading._answers([{"films": {"cfr": read, "vfr": {**read, "one_later": 0, "ranges": 6}}}])
    assert told == {
        "cfr: moments right": "3 of 12 (8 one later)",
        "cfr: pictures counted": "61 of 60",
        "vfr: moments right": "3 of 12",
        "vfr: pictures counted": "61 of 60",
        "vfr: parts right": "0 of 6",
    }
    made = series("e2_frame_reading", {"a": [1.0] * 3}, values={"a": told})
    assert "`a` 6 of 24 moments right (8 one later)." in in_short([made])


def test_the_series_passes_its_options_on_and_its_exit_code_is_the_worst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[tuple[str, list[str]]] = []
    written: list[bool] = []
    codes = {"e2_frame_reading": 1}

    def run_one(name: str, options: list[str]) -> int:
        ran.append((name, options))
        return codes.get(name, 0)

    monkeypatch.setattr(run_all, "run_one", run_one)
    monkeypatch.setattr("experiments.findings.write", lambda: written.append(True))
    asked = ["--compute", "modal", "--repeats", "5", "--seed", "7"]
    assert run_all.main([*asked, "--only", "e2_frame_reading", "e1_baseline"]) == 1
    passed = ["--seed", "7", "--compute", "modal", "--repeats", "5"]
    assert ran == [("e2_frame_reading", passed), ("e1_baseline", passed)]
    assert written == [True]
    ran.clear()
    assert run_all.main(["--quick"]) == 1
    assert ran == [(name, ["--seed", "0", "--quick"]) for name in EXPERIMENTS]
    assert written == [True], "quick series are no findings"
    ran.clear()
    assert run_all.main(["--only", "e1_baseline", "--repeats", "0"]) == 0
    assert ran == [("e1_baseline", ["--seed", "0", "--repeats", "0"])], (
        "refused there, not taken for none said"
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_series_runs_in_little_and_writes_nothing_among_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_all, "run_one", lambda name, options: _quick(name, options, tmp_path))
    monkeypatch.setattr("experiments.findings.write", lambda: pytest.fail("quick series are no findings"))
    assert run_all.main(["--quick", "--compute", "local"]) == 0, capsys.readouterr().out
    found = all_series(tmp_path)
    assert {series.experiment for series in found} == set(EXPERIMENTS)
    assert all(series.quick and not series.enough for series in found)
    assert all(run.wall_s for series in found for run in series.runs)
    reading = next(series for series in found if series.experiment == "e2_frame_reading")
    (ours,) = reading.ok_runs("clip_source")
    for name in ("cfr", "vfr"):
        assert ours.values[f"{name}: moments right"] == "3 of 3"
        assert ours.values[f"{name}: pictures counted"] == "60 of 60"
        assert ours.values[f"{name}: parts right"] == "2 of 2"


def _quick(name: str, options: list[str], folder: Path) -> int:
    from experiments.harness import main

    return main(name, [*options, "--out", str(folder)])
