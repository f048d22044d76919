"""The dashboard's data against the ledger it is made of, and what a page may hold."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.costs.ledger_made import fill, made_entries
from video_pipeline.costs.dashboard import dashboard_figures, dashboard_page
from video_pipeline.costs.entries import LedgerEntry
from video_pipeline.costs.ledger import collect, load
from video_pipeline.store.directory import DirectoryStore


def ledger_of(folder: Path, entries: list[LedgerEntry]) -> pd.DataFrame:
    store = DirectoryStore(folder / "store")
    fill(store, entries)
    collect(store)
    return load(store)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return ledger_of(tmp_path_factory.mktemp("ledger"), made_entries())


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r"^const data = (.*);$", page, re.MULTILINE)
    assert found
    return json.loads(found.group(1))


def sums(data: dict[str, Any], *, task: str | None = None, backend: str | None = None) -> Counter[str]:
    """A filter's sums, as the page adds them up."""
    total: Counter[str] = Counter()
    for _, t, b, values, *_ in data["cells"]:
        if task in (None, data["tasks"][t]) and backend in (None, data["backends"][b]):
            for name, value in zip(data["sums"], values, strict=True):
                total[name] += value or 0
    return total


def part(data: dict[str, Any], number: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for cell in data["cells"]:
        total.update(cell[number])
    return total


def test_cells_add_up_to_the_ledger(ledger: pd.DataFrame) -> None:
    data = data_of(dashboard_page(ledger))
    total = sums(data)
    assert total["attempts"] == data["attempts"] == len(ledger)
    assert total["calls"] == ledger["key"].nunique()
    assert total["failed"] == (ledger["status"] == "error").sum() > 0
    for name in ("usd", "usd_gpu", "usd_cpu", "usd_memory", "machine_s"):
        assert total[name] == pytest.approx(ledger[name].sum(), rel=1e-4)
    for task in ledger["task"].unique():
        own = ledger[ledger["task"] == task]
        assert sums(data, task=task)["usd"] == pytest.approx(own["usd"].sum(), rel=1e-4)


def test_what_was_spent_and_what_local_calls_would_cost_are_never_one_sum(ledger: pd.DataFrame) -> None:
    data = data_of(dashboard_page(ledger))
    local = ledger[ledger["backend"] == "local"]
    assert sums(data, backend="local")["usd"] == 0
    assert sums(data, backend="modal")["usd_elsewhere"] == 0
    assert sums(data)["usd_elsewhere"] == pytest.approx(local["usd_on_modal"].sum(), rel=1e-4)
    figures = dashboard_figures(ledger)
    assert figures["spent_usd"] == pytest.approx(ledger["usd"].sum())
    assert figures["local_usd_on_modal"] == pytest.approx(local["usd_on_modal"].sum(), abs=1e-6)


def test_no_text_can_leave_the_data(ledger: pd.DataFrame) -> None:
    evil = "</script><script>alert(1)</script><!--\u2028"
    rows = ledger.assign(host=evil, task=evil, error_kind=evil, gpu_type=evil, partition=evil, tenant=evil)
    page = dashboard_page(rows, title=evil)
    assert page.count("<script>") == page.count("</script>") == 1
    assert "<!--" not in page
    data = data_of(page)
    assert data["tasks"] == [evil]
    assert data["title"] == data["slow"][0][data["slow_columns"].index("host")] == evil


def test_an_empty_ledger_makes_a_page(tmp_path: Path) -> None:
    for rows in (load(DirectoryStore(tmp_path / "store")), pd.DataFrame()):
        data = data_of(dashboard_page(rows))
        assert (data["attempts"], data["cells"], data["periods"], data["slow"]) == (0, [], [], [])
        assert dashboard_figures(rows)["attempts"] == 0


def test_a_page_loads_nothing_and_says_so_to_the_browser(ledger: pd.DataFrame) -> None:
    page = dashboard_page(ledger)
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", page) == []
    assert "@import" not in page
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {"http://www.w3.org/2000/svg"}
