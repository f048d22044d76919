"""Runs of an experiment: shuffled from a seed, each checked before it counts, on real local calls."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import costing, harness
from experiments.harness import Experiment, Options, Step, Work, order_of, run_series, unequal_outputs
from experiments.place import Place
from experiments.rows import Results, check_length, figures_of, frames_of, was_there
from experiments.schema import NotTested, Unequal
from experiments.tasks import FAN_OUT, TRIVIAL, TrivialResult
from tests.experiments.series_made import BEGAN, call, run, series
from video_pipeline.calls import ResultRecord, WorkerIdentity
from video_pipeline.compute.base import CallOptions, Event, Handle
from video_pipeline.errors import Internal
from video_pipeline.modal_ops.guard import prices
from video_pipeline.telemetry.usage import Usage

NAMES = ["a", "b", "c", "d", "e"]


def test_every_configuration_runs_once_in_each_repeat() -> None:
    order = order_of(NAMES, 4, seed=1)
    assert [repeat for repeat, _ in order] == sorted(repeat for repeat, _ in order)
    assert Counter(order) == {(repeat, name): 1 for repeat in range(4) for name in NAMES}


def test_the_order_is_drawn_from_the_seed_anew_for_each_repeat() -> None:
    order = order_of(NAMES, 4, seed=1)
    assert order == order_of(NAMES, 4, seed=1)
    assert order != order_of(NAMES, 4, seed=2)
    blocks = {tuple(name for repeat, name in order if repeat == number) for number in range(4)}
    assert len(blocks) > 1


def _double(name: str, output=lambda results, place: "same", **fields: Any) -> Work:
    """The double of a task: fails or returns as it is told."""
    return Work(
        name=name,
        what=name,
        steps=[Step("double", lambda run: {"journal": None, **fields})],
        equal_outputs="all",
        output=output,
    )


def _series(place: Place, *works: Work, repeats: int = 2):
    said: list[str] = []
    return run_series(
        Experiment("x", "?", works), place, Options(repeats=repeats, warm_up=False), said.append
    ), said


def test_runs_are_calls_of_their_own_with_their_usage_and_environment(place: Place) -> None:
    made, said = _series(place, _double("plain"))
    assert [found.status for found in made.runs] == ["ok", "ok"]
    assert len({call.key for found in made.runs for call in found.calls}) == 2
    for found in made.runs:
        (call,) = found.calls
        assert found.wall_s == pytest.approx(call.usage["wall_s"], abs=1e-3)
        assert found.machine_s is not None
        assert found.caller_wall_s is not None
        assert found.caller_wall_s > found.machine_s > (found.wall_s or 0) > 0
        assert found.cpu_s is not None
        assert found.cpu_s > 0
        assert found.usd is not None
        assert found.usd > 0
    assert made.environment.cores > 0
    assert made.environment.prices_as_of
    assert len(said) == 2


@pytest.mark.slow
def test_a_run_that_fails_is_a_row_with_its_reason_and_the_others_go_on(place: Place) -> None:
    made, _ = _series(place, _double("good"), _double("bad", do="bad_input"), _double("dies", do="die"))
    assert {found.configuration for found in made.failed_runs()} == {"bad", "dies"}
    assert len(made.ok_runs("good")) == 2
    reasons = {found.configuration: found.reason for found in made.failed_runs()}
    assert str(reasons["bad"]).startswith("bad_input: "), "a failed call's own kind, not its caller's"
    assert "this input is wrong" in str(reasons["bad"])
    assert "preempted" in str(reasons["dies"])
    assert all(found.wall_s is None for found in made.failed_runs())
    assert not made.unequal


def test_outputs_that_differ_are_flagged_with_the_runs_that_gave_them() -> None:
    works = [_double("a"), _double("b")]
    runs = [run("a", 0, 0, 1.0, output="x"), run("b", 0, 1, 1.0, output="y"), run("a", 1, 2, 1.0, output="x")]
    (found,) = unequal_outputs(works, runs)
    assert (found.group, found.outputs) == ("all", {"x": (0, 2), "y": (1,)})
    assert unequal_outputs(works, runs[::2]) == ()


def test_a_failed_run_is_not_held_against_the_outputs_of_others() -> None:
    runs = [run("a", 0, 0, 1.0, output="x"), run("b", 0, 1, None)]
    assert unequal_outputs([_double("a"), _double("b")], runs) == ()


def test_unequal_outputs_of_real_calls_reach_the_series(place: Place) -> None:
    made, _ = _series(place, _double("a", output=lambda results, place: results[0]["scratch"]))
    (found,) = made.unequal
    assert sorted(orders for orders in found.outputs.values()) == [(0,), (1,)]


def test_a_call_answered_from_an_older_one_fails(place: Place) -> None:
    work = _double("a")
    first = harness._run(work, place, repeat=0, order=0, series_id=7)
    again = harness._run(work, place, repeat=0, order=0, series_id=7)
    assert first.status == "ok"
    assert again.status == "failed"
    assert "made before" in str(again.reason)


def _fan(name: str, children: int, chunks: int | None = None, called: str | None = None) -> Work:
    fields = {"tenant_id": "experiments", "children": children}
    return Work(
        name=name,
        what="calls",
        steps=[Step(FAN_OUT, lambda run: {**fields, "name": called or run})],
        chunks=chunks,
    )


@pytest.mark.slow
def test_a_fan_out_whose_calls_were_answered_from_older_ones_fails(place: Place) -> None:
    """Its own call is new, and took no time, for all its work had been done."""
    work = _fan("fan", 2, called="always-the-same")
    made, _ = _series(place, work)
    first, second = made.runs
    assert (first.status, second.status) == ("ok", "failed")
    assert "made before" in str(second.reason)


@pytest.mark.parametrize(
    ("result", "there"),
    [
        ({"made": False}, True),
        ({"chunks": {"made": False}, "frame_extents": {"made": True}}, True),
        ({"made": True, "chunks": {"made": True}}, False),
        ({"frames": 3, "chunks": None}, False),
    ],
)
def test_an_output_that_was_there_already_is_noticed(result: dict[str, Any], there: bool) -> None:
    assert was_there(result) is there


def test_a_call_on_modal_costs_gpu_cores_and_memory_for_what_its_worker_was_charged(place: Place) -> None:
    """Not its caller's seconds, and not the GPU alone."""
    usage = Usage(wall_s=90, machine_s=100, cpu_user_s=5)
    settings = place.settings.model_copy(update={"compute": "modal"})
    per_s = 0.000164 + 8 * 0.0000131 + 8 * 0.00000222
    assert costing.usd("process_framing_ai", None, usage, settings) == pytest.approx(100 * per_s)
    dearer = costing.usd("process_framing_ai", "H100", usage, settings)
    assert dearer == pytest.approx(100 * (per_s - 0.000164 + prices().gpu_s("H100")))


@pytest.mark.slow
def test_a_run_in_fewer_chunks_than_it_is_named_for_fails(place: Place) -> None:
    made, _ = _series(place, _fan("fan of 3", 2, chunks=3), _fan("fan of 2", 2, chunks=2), repeats=1)
    assert len(made.ok_runs("fan of 2")) == 1
    (failed,) = made.failed_runs()
    assert "2 calls were started, not 3" in str(failed.reason)


def test_a_run_whose_output_has_to_be_equal_and_is_not_told_fails(place: Place) -> None:
    made, _ = _series(place, _double("silent", output=lambda results, place: None))
    assert [found.status for found in made.runs] == ["failed", "failed"]
    assert "nothing told what it is" in str(made.runs[0].reason)


def test_a_run_of_another_length_than_it_is_named_for_fails() -> None:
    """A run of 90 s stood in an earlier table as one of 6 s."""
    work = replace(_double("6 s"), facts={"video_seconds": 6.0})
    check_length(work, [call({"video_seconds": 5.8}), call({"video_seconds": 90.0}, child=True)])
    check_length(work, [call({})])
    with pytest.raises(Internal, match="90 s of video were made, not 6 s"):
        check_length(work, [call({"video_seconds": 90.0})])
    # Half a second of a short one, a tenth of a long one.
    for said, near, far in ((1.0, 0.6, 0.4), (120.0, 109.0, 107.0)):
        work = replace(work, facts={"video_seconds": said})
        check_length(work, [call({"video_seconds": near})])
        with pytest.raises(Internal):
            check_length(work, [call({"video_seconds": far})])


def test_calls_side_by_side_on_one_machine_cost_what_they_used_of_it(place: Place) -> None:
    """Twice as long because two share the cores is not twice as dear; nor is waiting."""
    alone = Usage(wall_s=10, machine_s=10, cpu_user_s=18, cpu_system_s=2)
    shared = alone.model_copy(update={"wall_s": 20, "machine_s": 20})
    assert costing.usd("probe", None, alone, place.settings) == pytest.approx(20 * 0.0000131)
    assert costing.usd("probe", None, shared, place.settings) == pytest.approx(20 * 0.0000131)
    fat = alone.model_copy(update={"peak_memory_mib": 2048.0, "wall_s": 8})
    assert costing.usd("probe", None, fat, place.settings) == pytest.approx(
        20 * 0.0000131 + 10 * 2 * 0.00000222
    )


def test_the_calls_of_a_fan_out_are_rows_and_their_machine_time_counts(place: Place) -> None:
    fan_out = Work(
        name="fan",
        what="two calls",
        steps=[Step(FAN_OUT, lambda name: {"tenant_id": "experiments", "name": name, "children": 2})],
    )
    made, _ = _series(place, fan_out, repeats=1)
    (found,) = made.runs
    assert found.reason is None
    assert [(call.task, call.child) for call in found.calls] == [
        (FAN_OUT, False),
        (TRIVIAL, True),
        (TRIVIAL, True),
    ]
    assert found.chunks == 2
    assert found.wall_s == pytest.approx(found.calls[0].usage["wall_s"], abs=1e-3)
    assert found.machine_s == pytest.approx(sum(call.usage["machine_s"] for call in found.calls), abs=1e-3)


def test_the_figures_of_a_run_are_of_its_calls_and_of_those_they_started() -> None:
    """The caller's clock and the run's own time are of its own calls; what is paid is of all."""
    usage = {"wall_s": 4.0, "machine_s": 5.0, "cpu_user_s": 2.0, "cpu_system_s": 1.0, "gpu_seconds": 0.5}
    small, large = usage | {"peak_memory_mib": 100.0}, usage | {"peak_memory_mib": 300.0}
    calls = [
        call(small).model_copy(update={"usd": 0.25}),
        call(small).model_copy(update={"usd": 0.25}),
        call(large, child=True).model_copy(update={"usd": 1.5}),
    ]
    results = [{"frames": 3, "degraded": ["without sound"]}, {"delivered": 4, "degraded": None}]
    work = replace(_double("a"), values=lambda told: {"first": told[0]["frames"]})
    assert figures_of(work, calls, results, 9.00001) == {
        "status": "ok",
        "wall_s": 8.0,
        "caller_wall_s": 9.0,
        "machine_s": 15.0,
        "cpu_s": 9.0,
        "gpu_seconds": 1.5,
        "peak_memory_mib": 300.0,
        "frames": 7,
        "chunks": 1,
        "usd": 2.0,
        "values": {"first": 3},
        "degraded": ("without sound",),
    }
    named = replace(work, frames=lambda told: 99, chunks=4)
    found = figures_of(named, calls, results, 9.0)
    assert (found["frames"], found["chunks"]) == (99, 4)
    assert figures_of(work, calls[:2], results, 9.0)["chunks"] == 1


@pytest.mark.parametrize(
    ("results", "frames"),
    [
        ([{"frames": 3}], 3),
        ([{"frame_count": 3}, {"frame_count": 4}], 7),
        ([{"delivered": 3}], 3),
        ([{"detected_pictures": 3}], 3),
        ([{"frames": ["a", "b"]}], None),
        ([{}], None),
    ],
)
def test_frames_are_counted_by_whatever_name_a_task_has_for_them(
    results: list[dict[str, Any]], frames: int | None
) -> None:
    assert frames_of(results) == frames


class Calls:
    """The double of `run_call`: notes what is asked and in what environment, and answers as workers do."""

    def __init__(
        self, usage: Usage | None = None, result: Mapping[str, Any] | None = None, started: str | None = None
    ) -> None:
        self.result, self.started = result or {}, started
        self.usage = usage or Usage(wall_s=2.0, machine_s=2.5, cpu_user_s=1.0)
        self.asked: list[tuple[str, str, str | None]] = []
        self.options: list[CallOptions] = []

    def __call__(self, compute: object, task: str, request: Any, options: CallOptions, **told: Any):
        self.asked.append((task, request["name"], os.environ.get("A_SWITCH")))
        self.options.append(options)
        key = f"{len(self.asked):032x}"
        if self.started is not None:
            told["on_event"](Event("fan_out", {"call": self.started, "tenant": "experiments"}))
        record = ResultRecord(
            key=key,
            task=task,
            version=1,
            status="ok",
            result={"name": request["name"], **self.result},
            worker=WorkerIdentity(host="here", pid=1),
            started_at=BEGAN,
            finished_at=BEGAN,
            usage=self.usage,
        )
        return Handle("experiments", key, task, "local"), record


def _step(variables: Mapping[str, str | None] | None = None, gpu: str | None = None, note: str = "") -> Step:
    return Step(TRIVIAL, lambda name: {"tenant_id": "experiments", "name": name + note}, gpu, variables or {})


def test_what_runs_before_does_not_count_and_variables_are_of_their_step_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls()
    monkeypatch.setattr(harness, "run_call", calls)
    monkeypatch.setattr(costing, "usd", lambda task, gpu, usage, settings: 1.0 if gpu is None else 2.5)
    steps = [_step({"A_SWITCH": "on"}, "L4"), _step(note="-second")]
    work = Work(name="a_name", what="", steps=steps, before=[_step(note="-before")])
    found = harness._run(work, place, repeat=2, order=3, series_id=7)
    assert found.reason is None
    name = "a-name-7003"
    assert calls.asked == [
        (TRIVIAL, f"{name}-before", None),
        (TRIVIAL, name, "on"),
        (TRIVIAL, f"{name}-second", None),
    ]
    assert [(one.gpu, one.repeat, one.max_attempts) for one in calls.options] == [
        (None, 7003, 1),
        ("L4", 7003, 1),
        (None, 7003, 1),
    ]
    assert [(row.gpu, row.usd) for row in found.calls] == [("L4", 2.5), (None, 1.0)]
    assert (found.repeat, found.order, found.wall_s, found.machine_s) == (2, 3, 4.0, 5.0)


def test_what_a_run_made_is_deleted_when_it_has_been_looked_at(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of runs would fill the disk."""
    monkeypatch.setattr(harness, "run_call", Calls())
    monkeypatch.setattr(TrivialResult, "output_keys", lambda result: [f"made/{result.name}"], raising=False)
    place.store.put("made/a-7000", b"clip")
    place.store.put("made/other", b"clip")
    seen: list[bytes] = []

    def output(results: Results, place: Place) -> str:
        seen.append(place.store.get("made/a-7000"))
        return "a text"

    work = Work(name="a", what="", steps=[_step()], equal_outputs="all", output=output)
    found = harness._run(work, place, repeat=0, order=0, series_id=7)
    assert found.reason is None
    assert seen == [b"clip"]
    assert place.store.head("made/a-7000") is None
    assert place.store.head("made/other") is not None
    assert found.output == hashlib.sha256(b"a text").hexdigest()


def test_a_run_of_another_length_than_its_configuration_says_is_no_result(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "run_call", Calls(Usage(wall_s=2.0, video_seconds=90.0)))
    work = Work(name="a", what="", steps=[_step()], facts={"video_seconds": 6.0})
    found = harness._run(work, place, repeat=0, order=0, series_id=7)
    assert (found.status, found.reason) == ("failed", "internal: 90 s of video were made, not 6 s [a]")


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ({"result": {"made": False}}, "the output was there already"),
        ({"started": "f" * 32}, "a call of the fan-out left no result"),
    ],
)
def test_a_run_that_made_nothing_or_lost_a_part_is_no_result(
    place: Place, monkeypatch: pytest.MonkeyPatch, calls: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(harness, "run_call", Calls(**calls))
    monkeypatch.setattr(harness, "_forget", lambda work, results, place: None)
    found = harness._run(Work(name="a", what="", steps=[_step()]), place, repeat=0, order=0, series_id=7)
    assert found.status == "failed"
    assert reason in str(found.reason)


def test_the_exit_code_says_whether_a_run_failed_or_outputs_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert harness.report(series("x", {"a": [1.0] * 3})) == 0
    assert harness.report(series("x", {"a": [1.0, None, 1.0]})) == 1
    assert "failed: a #2: internal: it broke" in capsys.readouterr().out
    unequal = [Unequal(group="clip", outputs={"x": (0,), "y": (1,)})]
    missing = [NotTested(what="GPU L4", reason="no account")]
    assert harness.report(series("x", {"a": [1.0] * 2}, unequal=unequal, not_tested=missing)) == 1
    printed = capsys.readouterr().out
    assert "What is asked? not enough to conclude" in printed
    assert "unequal outputs in clip" in printed
    assert "not tested here: GPU L4: no account" in printed


def test_a_series_goes_where_it_is_asked_to_and_a_quick_one_nowhere_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str | None, Options]] = []

    def execute(module: str, compute: str | None, options: Options):
        asked.append((compute, options))
        return series(module, {"a": [1.0] * 3}, quick=options.quick)

    monkeypatch.setattr(harness, "execute", execute)
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    assert harness.main("fan_out_overhead", ["--quick"]) == 0
    assert not list(tmp_path.iterdir())
    assert harness.main("fan_out_overhead", ["--seed", "4", "--compute", "modal"]) == 0
    assert (tmp_path / "results" / "fan_out_overhead-local.json").exists()
    assert harness.main("fan_out_overhead", ["--out", str(tmp_path / "there"), "--repeats", "5"]) == 0
    assert (tmp_path / "there" / "fan_out_overhead-local.json").exists()
    assert asked == [
        (None, Options(quick=True, repeats=1)),
        ("modal", Options(repeats=3, seed=4)),
        (None, Options(repeats=5)),
    ]


def test_quick_runs_never_go_among_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        harness.main("fan_out_overhead", ["--quick", "--out", str(harness.RESULTS)])
    assert "no results" in capsys.readouterr().err


def test_no_repeats_at_all_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        harness.main("fan_out_overhead", ["--repeats", "0", "--out", str(tmp_path)])
    assert "--repeats must be at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_the_series_and_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = harness.main("fan_out_overhead", ["--quick", "--compute", "local", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert code == 0
    assert "QUICK" in printed
    assert "fan_out_2" in printed
    assert (tmp_path / "fan_out_overhead-local.json").exists()
