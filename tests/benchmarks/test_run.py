"""`make bench`: one table of all families, results kept, and an exit code that says if all figures hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import harness, run
from benchmarks.harness import Figure

GOOD = Figure("quick enough", 1.0, 0.5)
BAD = Figure("too slow", 1.0, 1.5)
TOLD = Figure("only told", None, 9.0)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Figure]]:
    """What each family is to have measured; the real ones take an hour."""
    families: dict[str, list[Figure]] = {family: [GOOD] for family in run.FAMILIES}
    for family in families:
        double = SimpleNamespace(measure=lambda family=family: families[family])
        monkeypatch.setitem(sys.modules, f"benchmarks.{family}", double)
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(run, "machine", lambda: {"cpu": "this", "cores": 2, "load_average_at_start": 0.1})
    return families


def test_it_ends_with_0_where_all_hold_and_keeps_each_familys_results(
    measured: dict[str, list[Figure]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured["decode"] = [GOOD, TOLD]
    assert run.main([]) == 0
    assert {path.stem for path in tmp_path.iterdir()} == set(run.FAMILIES)
    kept = json.loads((tmp_path / "decode.json").read_text())
    assert [figure["what"] for figure in kept["figures"]] == ["quick enough", "only told"]
    assert capsys.readouterr().out.count("quick enough") == len(run.FAMILIES)


@pytest.mark.parametrize("family", [run.FAMILIES[0], run.FAMILIES[-1]])
def test_it_ends_with_1_where_one_of_any_family_falls_short_and_names_it(
    measured: dict[str, list[Figure]], family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    measured[family] = [GOOD, BAD]
    assert run.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "falls short: too slow"
    assert run.main([family]) == 1
    assert run.main([run.FAMILIES[1]]) == 0


def test_a_family_there_is_not_is_refused(measured: dict[str, list[Figure]]) -> None:
    with pytest.raises(SystemExit) as caught:
        run.main(["decoding"])
    assert caught.value.code == 2
