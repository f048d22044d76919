"""`video-pipeline cost` and `video-pipeline ledger`, as a person calls them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.costs.ledgers import enter, enter_runs
from video_pipeline.cli import main
from video_pipeline.costs.ledger import load
from video_pipeline.costs.refit import refit
from video_pipeline.costs.stored import save
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

FRAMING = ["cost", "--task", "process_framing_ai", "--duration"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    return open_store(load_settings())


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def table(text: str) -> dict[int, tuple[float, float]]:
    """Seconds and dollars by chunks."""
    rows = re.findall(r"^ +(\d+) +([\d.]+) +\S+ to \S+ +([\d.]+)", text, re.MULTILINE)
    return {int(chunks): (float(seconds), float(usd)) for chunks, seconds, usd in rows}


def test_a_task_is_told_in_1_2_4_and_8_chunks_with_a_choice_and_where_it_is_from(
    store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, *FRAMING, "14")
    rows = table(text)
    assert list(rows) == [1, 2, 4, 7], "14 s are 7 segments"
    assert rows[4][0] < rows[2][0] < rows[1][0]
    assert re.search(r"^ +4 .*<- chosen", text, re.MULTILINE)
    assert "published single runs" in text
    assert "no promise" in text
    assert "Prices of 20" in text


def test_goals_choose_differently_and_a_deadline_that_cannot_be_kept_is_said(
    store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fastest = said(capsys, *FRAMING, "60", "--goal", "fastest")
    assert re.search(r"^ +8 .*<- chosen", fastest, re.MULTILINE)
    kept = said(capsys, *FRAMING, "60", "--deadline", "700")
    assert "at most 700 s" in kept
    assert said(capsys, *FRAMING, "60", "--goal", "deadline", "--deadline", "700") == kept
    assert "  outside of what was measured: 18000 frames" in said(capsys, *FRAMING, "600")
    assert "for want of one" in said(capsys, *FRAMING, "60", "--deadline", "20")


def test_frames_chunks_and_regions_count(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    plain, slow = table(said(capsys, *FRAMING, "30")), table(said(capsys, *FRAMING, "30", "--fps", "15"))
    assert slow[1][0] < 0.6 * plain[1][0]
    dear = table(said(capsys, *FRAMING, "30", "--region", "us", "--chunks", "3"))
    assert dear[1][1] == pytest.approx(1.5 * plain[1][1], rel=0.01)
    assert 3 in dear


def test_what_a_deployment_has_measured_takes_the_place_of_what_was_published(
    store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    enter_runs(store)
    save(store, "models", {"json": refit(load(store)).model_dump_json().encode()})
    text = said(capsys, "cost", "--task", "render_overlay", "--duration", "20")
    assert "12 calls in the ledger" in text
    assert "There is no other count to choose." in text
    assert "Work: what version 1 was asked for, all requests alike." in text
    assert table(text)[1][0] == pytest.approx(34, rel=0.05)
    assert main(["cost", "--task", "render_overlay", "--duration", "20", "--chunks", "2"]) == 2
    assert "render_overlay was never measured in several chunks" in capsys.readouterr().err
    assert "no forecast of Modal" not in text
    enter_runs(store, first=100, backend="local")
    save(store, "models", {"json": refit(load(store)).model_dump_json().encode()})
    text = said(capsys, "cost", "--task", "render_overlay", "--duration", "20", "--backend", "local")
    assert "on CPU (local)" in text
    assert (
        "These seconds are of a machine of one's own, where they cost nothing: no forecast of Modal." in text
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--task", "nonsense", "--duration", "5"], "there is no task 'nonsense'"),
        (["--task", "extract_clip", "--duration", "5"], "nothing was measured of extract_clip"),
        (["--task", "process_framing_ai"], "the length is missing"),
        (["--task", "process_framing_ai", "--duration", "-3"], "--duration"),
        (["--task", "process_framing_ai", "--duration", "nan"], "--duration"),
        (["--task", "process_framing_ai", "--duration", "3", "--fps", "0"], "--fps"),
        (["--task", "process_framing_ai", "--duration", "3", "--gpu", "T9"], "T9"),
        (["--task", "process_framing_ai", "--duration", "3", "--chunks", "0"], "--chunks"),
        (["--task", "process_framing_ai", "--duration", "3", "--goal", "deadline"], "no deadline"),
        (["--task", "process_framing_ai", "--duration", "3", "--region", "moon"], "moon"),
        (
            ["--task", "process_framing_ai", "--duration", "3", "--goal", "fastest", "--deadline", "9"],
            "a deadline does not go with",
        ),
        (["--mix", "/nowhere.json"], "cannot read the mix"),
        (["--mix", "ledger"], "the ledger has no job"),
        (["--mix", "ledger", "--duration", "3"], "--duration does not go with --mix"),
        (["--mix", "ledger", "--chunks", "0"], "--chunks does not go with --mix"),
        (["--mix", "ledger", "--backend", "local"], "--backend does not go with --mix"),
        (["--mix", "ledger", "--fps", "25"], "--fps does not go with --mix"),
        (["--task", "process_framing_ai", "--duration", "3", "--csv", "a.csv"], "no table to write"),
    ],
)
def test_wrong_input_is_one_line_that_names_it(
    store: ObjectStore, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert main(["cost", *arguments]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_a_mix_is_projected_and_written_as_csv(
    store: ObjectStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = [
        {"task": "process_framing_ai", "per_month": 200, "duration_s": 12},
        {"task": "process_framing_ai_parallel", "per_month": 20, "duration_s": 12, "chunks": 2},
    ]
    (tmp_path / "mix.json").write_text(json.dumps({"workloads": rows}))
    out = tmp_path / "month.csv"
    text = said(capsys, "cost", "--mix", str(tmp_path / "mix.json"), "--csv", str(out))
    found = list(csv.DictReader(out.open()))
    assert [row["task"] for row in found] == ["process_framing_ai", "process_framing_ai_parallel"]
    assert found[1]["chunks"] == "2"
    total = sum(float(row["usd"]) for row in found)
    assert f"**{total:.2f}**" in text
    assert all(float(row["usd_low"]) < float(row["usd"]) < float(row["usd_high"]) for row in found)


def test_what_was_paid_and_what_local_seconds_would_cost_are_two_sums(
    store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(store, 1, backend="local", usage={"wall_s": 100.0})
    rows: Any = load(store)
    alone: float = rows["usd_on_modal"].iloc[0]
    text = said(capsys, "ledger")
    assert "1 attempt, 0 of which failed: 100 machine seconds, 0.0000 USD paid. " in text
    assert f"at Modal's rates: {alone:.4f} USD in all, no forecast." in text
    enter(store, 2, usage={"wall_s": 100.0})
    rows = load(store)
    paid: float = rows["usd"].sum()
    assert paid > 0.001
    text = said(capsys, "ledger")
    assert f"2 attempts, 0 of which failed: 200 machine seconds, {paid:.4f} USD paid. " in text
    assert f"at Modal's rates: {alone:.4f} USD in all, no forecast." in text


def test_an_attempt_is_told_with_what_was_foretold_paid_and_made(
    store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = {"wall_s": 50.0, "machine_s": 53.0, "predicted_s": 44.4, "frames": 300, "chunks": 7}
    enter(store, 1, backend="local", usage=usage)
    enter(store, 2, status="error", error_kind="timeout", usage={"wall_s": 9.0})
    rows: Any = load(store)
    usd, on_modal = rows["usd"], rows["usd_on_modal"]
    text = said(capsys, "ledger")
    lines = [line.split() for line in text.splitlines()]
    first = ["ok", "50.0", "44.4", "300", "7", "0.0000", f"{on_modal[0]:.4f}", "0" * 12]
    assert lines[1][3:] == first
    assert lines[2][3:] == ["timeout", "9.0", "-", "-", "-", f"{usd[1]:.4f}", f"{usd[1]:.4f}", "0" * 12]
    assert "62 machine seconds" in text


def test_the_ledger_is_told_by_task_and_day_and_written_whole(
    store: ObjectStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert said(capsys, "ledger") == "no attempts\n"
    enter_runs(store)
    enter(
        store, 90, task="detect_players", day=3, status="error", error_kind="timeout", usage={"wall_s": 7.0}
    )
    whole = said(capsys, "ledger")
    assert "13 attempts, 1 of which failed" in whole
    assert "timeout" in whole
    assert "no forecast" not in whole, "all of it was on Modal and is paid"
    assert "6 attempts" in said(capsys, "ledger", "--task", "render_overlay", "--since", "2026-11-08")
    out = tmp_path / "ledger.csv"
    said(capsys, "ledger", "--csv", str(out))
    assert len(list(csv.DictReader(out.open()))) == 13
    enter_runs(store, repeats=10, first=200)
    newest = said(capsys, "ledger")
    assert "53 attempts, the newest 40 of them shown" in newest
    assert len(re.findall(r"^2026-", newest, re.MULTILINE)) == 40
    assert str(load(store)["started_at"].max())[:16] in newest
    assert main(["ledger", "--task", "probe"]) == 2
    assert "detect_players, render_overlay" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ledger", "--since", "yesterday"])
    assert "no date such as" in capsys.readouterr().err
    assert main(["ledger", "--csv", str(tmp_path / "no" / "where.csv")]) == 2
    assert "cannot write" in capsys.readouterr().err
