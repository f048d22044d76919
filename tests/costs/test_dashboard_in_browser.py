"""The dashboard as a person uses it: filters, sorting, pointing; both schemes, wide and narrow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page
from scipy.stats import binomtest, norm

from tests.browser import chromium
from tests.costs.ledger_made import entry, fill, key_of, made_entries
from video_pipeline.costs.dashboard import dashboard_page
from video_pipeline.costs.entries import LedgerEntry
from video_pipeline.costs.ledger import collect, load
from video_pipeline.costs.plan import shipped_plan
from video_pipeline.store.directory import DirectoryStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def ledger_of(folder: Path, entries: list[LedgerEntry]) -> pd.DataFrame:
    store = DirectoryStore(folder / "store")
    fill(store, entries)
    collect(store)
    return load(store)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return ledger_of(tmp_path_factory.mktemp("ledger"), made_entries(days=14))


def opened(
    browser: Browser,
    folder: Path,
    ledger: pd.DataFrame,
    *,
    width: int = 1280,
    scheme: Any = "light",
    **more: Any,
) -> tuple[Page, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on(
        "request", lambda asked: problems.append(asked.url) if not asked.url.startswith("file:") else None
    )
    plan = shipped_plan()
    (folder / "costs.html").write_text(dashboard_page(ledger, plan.coefficients, plan, **more))
    page.goto((folder / "costs.html").as_uri())
    return page, problems


def cells(page: Page, name: str) -> list[list[str]]:
    return page.eval_on_selector_all(
        f"#{name} tbody tr", "rows => rows.map(row => [...row.children].map(cell => cell.textContent))"
    )


def card(page: Page, says: str) -> str:
    return page.locator(".card", has_text=says).locator("b").inner_text()


def usd(text: str) -> float:
    return float(text.removeprefix("$").replace(",", ""))


def test_the_page_tells_what_was_spent_by_task(
    browser: Browser, tmp_path: Path, ledger: pd.DataFrame
) -> None:
    page, problems = opened(browser, tmp_path, ledger)
    assert usd(card(page, "spent on Modal")) == pytest.approx(ledger["usd"].sum(), abs=0.005)
    by_task = {task: own["usd"].sum() for task, own in ledger.groupby("task")}
    rows = cells(page, "by-task")
    assert {row[0] for row in rows} == set(by_task)
    for row in rows:
        assert usd(row[1]) == pytest.approx(by_task[row[0]], rel=0.06)
    bars = page.eval_on_selector_all("#spent rect.bar", "bars => bars.map(bar => bar.lines[1])")
    assert sum(usd(line.split()[0]) for line in bars) == pytest.approx(ledger["usd"].sum(), rel=0.03)
    assert problems == []


def test_filters_take_effect_everywhere_and_are_taken_back(
    browser: Browser, tmp_path: Path, ledger: pd.DataFrame
) -> None:
    page, problems = opened(browser, tmp_path, ledger)
    page.get_by_role("group", name="Tasks").get_by_role("button", name="process_framing_ai_chunk").click()
    page.fill("#from", "2026-11-04")
    page.fill("#to", "2026-11-06")
    day = ledger["started_at"].dt.strftime("%Y-%m-%d")
    own = ledger[(ledger["task"] == "process_framing_ai_chunk") & day.between("2026-11-04", "2026-11-06")]
    assert card(page, "attempts of") == f"{len(own)}"
    assert usd(card(page, "spent on Modal")) == pytest.approx(own["usd"].sum(), abs=0.005)
    assert [row[0] for row in cells(page, "by-task")] == ["process_framing_ai_chunk"]
    assert {row[7][:10] for row in cells(page, "slow")} <= {"2026-11-04", "2026-11-05", "2026-11-06"}
    assert page.inner_text("#predicted-says").startswith("No successful attempt")
    page.get_by_role("group", name="Backends").get_by_role("button", name="local").click()
    assert page.is_visible("#none")
    page.get_by_role("button", name="Show all").click()
    assert page.is_hidden("#none")
    assert card(page, "attempts of") == f"{len(ledger)}"
    assert problems == []


def test_a_click_on_a_heading_sorts_and_says_so(
    browser: Browser, tmp_path: Path, ledger: pd.DataFrame
) -> None:
    page, _ = opened(browser, tmp_path, ledger)
    assert page.get_attribute("#by-task th[aria-sort]", "aria-sort") == "descending"
    page.click("#by-task thead >> text=attempts")
    attempts = [int(row[8]) for row in cells(page, "by-task")]
    assert attempts == sorted(attempts, reverse=True)
    page.keyboard.press("Enter")
    assert [int(row[8]) for row in cells(page, "by-task")] == sorted(attempts)
    assert page.get_attribute("#by-task th[aria-sort]", "aria-sort") == "ascending"


def test_intervals_are_wilsons(browser: Browser, tmp_path: Path, ledger: pd.DataFrame) -> None:
    page, _ = opened(browser, tmp_path, ledger)
    for failed, of in ((0, 9), (3, 40), (17, 17), (400, 90_000)):
        low, high = page.evaluate(f"wilson({failed}, {of})")
        right = binomtest(failed, of).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((right.low, right.high), abs=1e-6)
    rows = {row[0]: row for row in cells(page, "workers-table")}
    assert {"1", "2", "4", "8"} >= set(rows) >= {"1", "2", "4"}


def test_a_trend_of_failures_is_told_from_chance(
    browser: Browser, tmp_path: Path, ledger: pd.DataFrame
) -> None:
    """The statistic is r sqrt(N), with r the correlation of score and failure over all jobs."""
    page, _ = opened(browser, tmp_path, ledger)
    for groups in ([[0, 4, 90], [1, 5, 60], [2, 9, 50]], [[0, 20, 400], [1, 3, 300], [3, 1, 20]]):
        scores = np.concatenate([np.full(of, score) for score, _, of in groups])
        failures = np.concatenate([np.arange(of) < failed for _, failed, of in groups])
        z = float(np.corrcoef(scores, failures)[0, 1] * np.sqrt(len(scores)))
        found = page.evaluate(f"trend({json.dumps(groups)})")
        assert found["z"] == pytest.approx(z, abs=1e-6)
        assert found["p"] == pytest.approx(2 * norm.sf(abs(z)), abs=1e-6)


def test_more_failures_of_more_workers_are_said_to_be(browser: Browser, tmp_path: Path) -> None:
    made = []
    for job in range(40):
        for chunk in range(4):
            made.append(entry(1000 + job * 10 + chunk, task="process_framing_ai_chunk", parent=key_of(job)))
        bad: dict[str, Any] = {"status": "error", "error_kind": "internal"} if job % 3 == 0 else {}
        made.append(entry(job, task="process_framing_ai_parallel", chunks=4, **bad))
        made.append(entry(500 + job))
    page, _ = opened(browser, tmp_path, ledger_of(tmp_path, made))
    assert page.inner_text("#workers-says").startswith(
        "Jobs with more workers failed more often (trend z = 4.1"
    )
    assert [row[:4] for row in cells(page, "workers-table")] == [
        ["1", "40", "0", "0 %"],
        ["4", "40", "14", "35 %"],
    ]


def test_points_lie_where_prediction_and_outcome_say(browser: Browser, tmp_path: Path) -> None:
    made = [entry(n, wall_s=wall, predicted_s=50.0) for n, wall in enumerate((50.0, 44.0, 100.0))]
    page, _ = opened(browser, tmp_path, ledger_of(tmp_path, made))
    circles = page.eval_on_selector_all(
        "#scatter circle", "all => all.map(c => [c.lines[1], +c.getAttribute('cx'), +c.getAttribute('cy')])"
    )
    places = {said.split("took ")[1]: (x, y) for said, x, y in circles}
    line = page.evaluate(
        "['x1', 'y1', 'x2', 'y2'].map(n => +document.querySelector('#scatter g line').getAttribute(n))"
    )
    x, y = places["50.0 s"]
    assert (y - line[1]) / (line[3] - line[1]) == pytest.approx((x - line[0]) / (line[2] - line[0]))
    assert places["100.0 s"][1] < y < places["44.0 s"][1]
    (row,) = cells(page, "errors-by-task")
    assert row[:4] == ["process_framing_ai", "3", "14 %", "67 %"]
    assert [worst[3] for worst in cells(page, "worst")] == ["50 %", "14 %", "0 %"]


def test_pointing_at_a_bar_says_what_it_is(browser: Browser, tmp_path: Path, ledger: pd.DataFrame) -> None:
    page, _ = opened(browser, tmp_path, ledger)
    page.locator("#spent rect.bar").first.hover()
    assert re.search(r"process_framing_ai_chunk\n\$[\d.]+ of \$[\d.]+\nNov 2, 2026", page.inner_text("#tip"))


def test_names_are_text_and_only_addresses_are_links(
    browser: Browser, tmp_path: Path, ledger: pd.DataFrame
) -> None:
    evil = "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    rows = ledger.assign(task=evil, host=evil, error_kind=evil, gpu_type=evil, partition=evil)
    links = iter(["javascript:alert(1)", "https://calls.example/a", "file:///calls/b"] * 10_000)
    page, problems = opened(browser, tmp_path, rows, title=evil, link_of=lambda tenant, key: next(links))
    assert page.title() == page.inner_text("h1") == evil
    assert page.locator("img").count() == 0
    assert cells(page, "kinds")[0][0] == cells(page, "gpus")[0][0] == evil
    found = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
    assert {address.split(":")[0] for address in found} == {"https", "file"}
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_never_wider_than_the_window(
    browser: Browser, tmp_path: Path, ledger: pd.DataFrame, width: int, scheme: str
) -> None:
    long = ledger.assign(task=ledger["task"] + "_" + "x" * 90, partition="p" * 120)
    for number, rows in enumerate((ledger, long, ledger.iloc[:0])):
        page, problems = opened(browser, tmp_path, rows, width=width, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width, number
        assert problems == []
    page.set_viewport_size({"width": 700, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 700


def test_charts_and_tables_have_names(browser: Browser, tmp_path: Path, ledger: pd.DataFrame) -> None:
    page, _ = opened(browser, tmp_path, ledger)
    labels = page.eval_on_selector_all(
        "svg[role=img]", "all => all.map(svg => svg.getAttribute('aria-label'))"
    )
    assert len(labels) == 6
    assert all(labels)
    assert page.eval_on_selector_all("table", "all => all.every(t => t.caption.textContent)")
    fields = page.eval_on_selector_all("input", "all => all.every(i => i.labels.length === 1)")
    assert fields
    assert page.locator("main section[aria-labelledby]").count() == page.locator("main section").count() > 7


def test_an_empty_ledger_says_what_to_do(browser: Browser, tmp_path: Path, ledger: pd.DataFrame) -> None:
    page, problems = opened(browser, tmp_path, ledger.iloc[:0])
    assert "usage_ledger" in page.inner_text("#empty")
    assert "make demo" in page.inner_text("#empty")
    assert page.is_hidden("#main")
    assert problems == []


def test_what_a_page_does_not_hold_is_said_in_it(
    browser: Browser, tmp_path: Path, ledger: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.costs.dashboard_attempts.MAX_POINTS", 10)
    monkeypatch.setattr("video_pipeline.costs.dashboard_attempts.MAX_SLOW", 30)
    page, _ = opened(browser, tmp_path, ledger)
    assert re.search(
        r"the newest 10; \d+ older ones are not in this page", page.inner_text("#predicted-says")
    )
    assert re.search(r"the 30 slowest of all; \d+ are not in this page", page.inner_text("#slow-says"))
    assert len(cells(page, "slow")) == 20


def test_every_length_has_its_line_in_the_tables_of_chunks(
    browser: Browser, tmp_path: Path, ledger: pd.DataFrame
) -> None:
    page, _ = opened(browser, tmp_path, ledger)
    framing, overlay = cells(page, "plan-0"), cells(page, "plan-1")
    assert [row[1] for row in framing] == ["1", "2", "4"]
    assert framing[-1][0] == "any longer"
    assert all(re.fullmatch(r"\d+ s", row[0]) for row in framing[:-1])
    assert overlay == [["any length", "1", "sequential"]]
