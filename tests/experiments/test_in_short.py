"""The first lines of FINDINGS.md: what was decided, and no more than that."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.answers import hardware
from experiments.findings import document
from experiments.in_short import gpus_in_short, in_short
from experiments.schema import Comparison, Configuration, Series
from tests.experiments.series_made import run, series


def facts(made: Series, facts: Mapping[str, Mapping[str, float | str]]) -> Series:
    told = tuple(one.model_copy(update={"facts": facts.get(one.name, {})}) for one in made.configurations)
    return made.model_copy(update={"configurations": told})


def test_decided_measures_of_a_pair_are_told_together_and_open_pairs_by_name_alone() -> None:
    comparisons = [
        *(
            Comparison(name="b", baseline="a", measure=measure)
            for measure in ("wall_s", "usd", "gpu_seconds")
        ),
        Comparison(name="c", baseline="a"),
    ]
    made = series(
        "x", {"a": [10.0, 11.0, 12.0], "b": [5.0, 5.5, 6.0], "c": [12.0, 9.0, 13.0]}, comparisons=comparisons
    )
    assert in_short([made]) == (
        "- What is asked? (x, local on 2 cores) `b` took 0.500x the time, 0.500x the cost of `a` "
        "(not decided: gpu_seconds). Not decided: `c` against `a`."
    )


def test_what_decides_nothing_says_so_and_too_few_repeats_are_marked() -> None:
    comparison = Comparison(name="b", baseline="a")
    open_one = series("x", {"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]}, comparisons=[comparison])
    assert "Nothing was decided. Not decided: `b` against `a`." in in_short([open_one])
    short = series("x", {"a": [1.0, 1.0], "b": [9.0, 9.0]}, comparisons=[comparison])
    assert "(x, local on 2 cores; 2 repeats: not enough to conclude) Nothing was decided." in in_short(
        [short]
    )


def test_a_failed_run_decides_nothing() -> None:
    made = series(
        "x", {"a": [None, 9.0, 9.1], "b": [1.0, 1.1, 0.9]}, comparisons=[Comparison(name="b", baseline="a")]
    )
    assert "Nothing was decided." in in_short([made])


def test_what_is_decided_of_a_pair_is_never_told_without_what_is_not() -> None:
    """Compiling took seven times the time of 16 pictures, and not one of them took longer."""
    comparisons = [Comparison(name="b", baseline="a", measure=measure) for measure in ("steady_ms", "wall_s")]
    values = {"a": {"steady_ms": 46.0}, "b": {"steady_ms": 46.0}}
    made = series("x", {"a": [2.0] * 3, "b": [14.0] * 3}, comparisons=comparisons, values=values)
    assert "`b` took 7.00x the time of `a` (not decided: the time per picture)." in in_short([made])
    assert "Not decided" not in in_short([made])


def test_growth_is_told_as_speed_beside_what_a_call_takes_first() -> None:
    times = {"cut_5_s": [1.5, 1.5, 1.5], "cut_30_s": [4.0, 4.0, 4.0], "other": [9.0, 9.0, 9.0]}
    times |= {"less_5_s": [4.0, 4.0, 4.0], "less_30_s": [1.5, 1.5, 1.5]}
    facts_of = {name: {"video_seconds": float(name.split("_")[1])} for name in times if name != "other"}
    said = in_short([facts(series("profile", times), facts_of)])
    assert said.endswith("on 2 cores) cut 10.0x as fast as the video plays, after 1.00 s.")


def test_moments_are_added_over_films_and_not_where_repeats_told_different_things() -> None:
    values = {
        "ours": {
            "cfr: moments right": "10 of 12 (2 one later)",
            "vfr: moments right": "11 of 12 (1 one later)",
        },
        "theirs": {"cfr: moments right": "3 of 12", "cfr: pictures counted": "60 of 60"},
    }
    made = series("e2", {"ours": [1.0] * 3, "theirs": [1.0] * 3}, values=values)
    assert "`ours` 21 of 24 moments right (3 one later), `theirs` 3 of 12 moments right." in in_short([made])
    torn = tuple(
        run.model_copy(update={"values": {"cfr: moments right": f"{run.repeat} of 12"}})
        if run.configuration == "theirs"
        else run
        for run in made.runs
    )
    assert "theirs" not in in_short([made.model_copy(update={"runs": torn})])
    failed = run("theirs", 3, 9, None, values={"cfr: moments right": "0 of 12"})
    assert in_short([made.model_copy(update={"runs": (*made.runs, failed)})]) == in_short([made])


def test_a_fan_out_is_told_by_its_calls() -> None:
    values = {"fan_out_1": {"fan_out_s": 0.5}, "fan_out_4": {"fan_out_s": 1.25}}
    made = series(
        "fan_out_overhead", {"fan_out_1": [1.0] * 3, "fan_out_4": [1.0] * 3}, values=values,
        chunks={"fan_out_4": 4},
    )  # fmt: skip
    assert in_short([made]).endswith("0.500 s for 1 call, 1.25 s for 4 calls.")


def test_a_series_that_answers_nothing_in_a_line_is_left_out() -> None:
    made = series("e1_baseline", {"probe": [1.0, 1.0, 1.0]})
    assert in_short([made]) == ""
    here = made.environment.model_copy(update={"gpus": ("Tesla T4",)})
    found = made.model_copy(update={"environment": here})
    assert "## In short\n\nNothing was compared.\n" in document([found])


def test_as_long_as_no_series_has_seen_a_gpu_it_is_said_where_to_look_and_that_nothing_is_decided() -> None:
    made = series("x", {"a": [1.0] * 3, "b": [2.0] * 3}, comparisons=[Comparison(name="b", baseline="a")])
    said = gpus_in_short([made])
    assert f"{in_short([made])}\n{said}\n" in document([made])
    # Six pairs of 1, 2, 4 and 8 GPUs, one of types, six of switches.
    assert "they decide none of 13 pairs: " in said
    assert "449 frames took 310 s on 1, 160.8 s on 2, 87 s on 4, 103.3 s on 8 x T4" in said
    assert "L4 took 1.40x the time of T4" in said
    modal = made.model_copy(update={"environment": made.environment.model_copy(update={"backend": "modal"})})
    assert gpus_in_short([modal]) == gpus_in_short([made, modal]) == ""
    assert "(x, modal)" in in_short([modal])


def test_without_two_kinds_of_hardware_it_is_said_once_what_would_choose() -> None:
    made = series("e1_baseline", {"probe": [1.0, 1.0, 1.0]})
    text = hardware([made])
    assert "better, of what was tested" not in text
    assert text.count("No function was tested on two kinds of hardware") == 1
    assert "| probe " in text
    compared = series(
        "e3", {"cpu": [9.0, 9.1, 9.2], "gpu": [3.0, 3.1, 3.3]},
        comparisons=[Comparison(name="gpu", baseline="cpu")],
    )  # fmt: skip
    kinds = tuple(
        Configuration(name=name, what="", tasks=("probe",), hardware=name.upper()) for name in ("cpu", "gpu")
    )
    text = hardware([compared.model_copy(update={"configurations": kinds})])
    assert "No function was tested" not in text
    assert "GPU is faster than CPU (0.344x the time)" in text
