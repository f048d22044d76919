"""What series say together: the hardware of a function, costs, growth with length, and no more than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from experiments.answers import growth, hardware, operations, overlay_in_pieces
from experiments.schema import Comparison, Configuration, Series
from tests.experiments.series_made import call, cells, environment, run, series

TASK = "detect_players"


def held(
    ours: Sequence[float | None] = (3.0, 3.1, 3.3),
    *,
    usage: Mapping[str, Mapping[str, Any]] | None = None,
    tasks: tuple[tuple[str, ...], tuple[str, ...]] = ((TASK,), (TASK,)),
    kinds: tuple[str, str] = ("CPU", "GPU"),
    measures: Sequence[str] = ("wall_s",),
    **fields: Any,
) -> Series:
    """One task on two kinds of hardware: seconds of `gpu` against 9.0, 9.1 and 9.2 of `cpu`."""
    comparisons = [Comparison(name="gpu", baseline="cpu", measure=measure) for measure in measures]
    made = series("e3_cpu_vs_gpu", {"cpu": [9.0, 9.1, 9.2], "gpu": ours}, comparisons=comparisons, **fields)
    configurations = tuple(
        Configuration(name=name, what="", tasks=of, hardware=kind)
        for name, of, kind in zip(("cpu", "gpu"), tasks, kinds, strict=True)
    )
    runs = tuple(
        run.model_copy(update={"calls": (call((usage or {}).get(run.configuration, {})),)})
        for run in made.runs
    )
    return made.model_copy(update={"configurations": configurations, "runs": runs})


def row(*made: Series, task: str = TASK) -> list[str]:
    (found,) = [line for line in cells(hardware(made).partition("\n\n")[0]) if line[0] == task]
    return found


def test_hardware_is_named_by_the_gpu_that_calls_had() -> None:
    """What to use is a type, not that there was a GPU."""
    here = held(usage={"gpu": {"gpu_name": "NVIDIA H200"}})
    assert row(here) == [
        TASK,
        "T4",
        "CPU (2 cores here), NVIDIA H200 (2 cores here)",
        "NVIDIA H200 is faster than CPU (0.344x the time)",
    ]
    slower = held([19.0, 19.1, 19.2], usage={"gpu": {"gpu_name": "NVIDIA H200"}})
    assert row(slower)[-1] == "CPU is faster than NVIDIA H200 (2.10x the time)"
    modal = held(
        usage={"gpu": {"gpu_type": "L4", "gpu_name": "NVIDIA L4"}},
        kinds=("modal", "modal"),
        environment=environment(backend="modal"),
    )
    assert row(modal)[2:] == ["CPU (Modal), L4 (Modal)"]


def test_a_fan_out_is_named_by_what_its_own_call_ran_on() -> None:
    made = series("e1_baseline", {TASK: [1.0, 1.0, 1.0]})
    configuration = made.configurations[0].model_copy(update={"tasks": (TASK,)})
    calls = (call({}), call({"gpu_type": "T4"}, child=True))
    runs = tuple(run.model_copy(update={"calls": calls}) for run in made.runs)
    assert row(made.model_copy(update={"configurations": (configuration,), "runs": runs}))[2] == (
        "CPU (2 cores here)"
    )


def test_of_hardware_only_time_is_compared_and_what_is_open_is_said() -> None:
    assert row(held(measures=["wall_s", "usd"]))[-1] == "GPU is faster than CPU (0.344x the time)"
    assert row(held([1.0, 9.0, 19.0]))[-1] == "GPU against CPU: not decided"
    others = row(held(), task="probe")
    assert others == ["probe", "CPU", "nothing", "not tested"]


@pytest.mark.parametrize(
    "made",
    [
        held(kinds=("GPU", "GPU")),
        held(tasks=((TASK,), ("extract_clip",))),
        held(tasks=(("extract_clip",), (TASK,))),
        held(measures=["usd"]),
        held(measures=[]),
    ],
    ids=["one kind", "another task there", "another task here", "cost alone", "nothing compared"],
)
def test_nothing_is_chosen_without_two_kinds_of_hardware_on_one_task(made: Series) -> None:
    text = hardware([made])
    assert "better, of what was tested" not in text
    assert "No function was tested on two kinds of hardware" in text


def test_what_failed_or_was_part_of_something_longer_was_not_tested() -> None:
    assert row(held([None] * 3))[2] == "CPU (2 cores here)"
    longer = held(tasks=((TASK, "extract_clip"), (TASK, "extract_clip")))
    assert row(longer)[2] == "nothing"


def profiled(times: Mapping[str, Sequence[float]]) -> Series:
    made = series("profile", times)
    told = tuple(
        one.model_copy(update={"facts": {"video_seconds": float(one.name.split("_")[1])}})
        for one in made.configurations
    )
    return made.model_copy(update={"configurations": told})


def test_growth_is_told_with_its_intervals_and_not_from_one_length_or_a_failed_run() -> None:
    made = profiled(
        {
            "cut_5_s": [1.4, 1.7],
            "cut_30_s": [3.8, 4.3],
            "cut_120_s": [12.1, 13.6],
            "less_5_s": [4.0, 4.0],
            "less_30_s": [1.5, 1.5],
            "one_5_s": [1.0, 1.0],
        }
    )
    failed = run("cut_120_s", 2, 99, None).model_copy(update={"wall_s": 500.0})
    rows = cells(growth(made.model_copy(update={"runs": (*made.runs, failed)})))
    assert rows[0] == ["work", "runs", "s at the start", "ms for each second of video", "speed"]
    # (X'X)^-1 X'y, and t(4) = 2.7764 times the standard errors, worked out apart from the code.
    assert rows[1] == ["cut", "6", "1.08 ± 0.934", "98.1 ± 13.1", "10.2x"]
    assert rows[2][:2] == ["less", "4"]
    assert rows[2][3].startswith("-100")
    assert rows[2][4] == "—"
    assert rows[3] == ["one", "—", "not determined", "not determined", "—"]


def test_costs_of_operations_are_dollars_with_their_interval() -> None:
    (found,) = cells(operations(series("e1_baseline", {"probe": [9.0, 10.0, 11.0]})))[1:]
    assert found == [
        "probe",
        "what probe does",
        "3",
        "10.0 (7.52 to 12.5)",
        "1000 (752 to 1248)",
        "$0.0100 ($0.00752 to $0.0125)",
    ]


def test_pieces_of_an_overlay_decide_nothing_with_too_few_repeats() -> None:
    made = series("e7_parallel", {"overlay_sequential": [8.0, 8.0], "overlay_piece_of_4": [3.0, 3.0]})
    told = tuple(one.model_copy(update={"facts": {"pieces": 4.0}}) for one in made.configurations)
    made = made.model_copy(update={"configurations": told})
    (found,) = cells(overlay_in_pieces(made, series("fan_out_overhead", {"fan_out_4": [1.0, 1.0, 1.0]})))[1:]
    assert found[3:] == ["0.500x: not enough repeats", "1.50x: not enough repeats"]
