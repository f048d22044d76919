"""From seconds to dollars: the arithmetic of a price list, and what is no price list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from video_pipeline.costs.estimate import Prices, read_prices
from video_pipeline.errors import BadInput, Internal

LIST: dict[str, Any] = {
    "as_of": "2026-07-01",
    "source": "a page",
    "note": "",
    "region_factors": {"any": 1.0, "us": 1.5},
    "gpu_per_s": {"T4": 0.5, "A10": 0.75},
    "cpu_core_per_s": 0.01,
    "memory_gib_per_s": 0.002,
}
PRICES = Prices.model_validate(LIST)


def test_a_machine_costs_its_gpu_its_cores_and_its_memory() -> None:
    assert PRICES.per_s(gpu="T4", cpu_cores=4, memory_mib=3072) == pytest.approx(0.5 + 0.04 + 0.006)
    assert PRICES.per_s(gpu=None, cpu_cores=0.5, memory_mib=512) == pytest.approx(0.005 + 0.001)
    assert PRICES.gpu_s(None) == 0
    assert PRICES.gpu_s("A10") == 0.75


def test_a_chosen_region_multiplies_all_of_it_and_none_nothing() -> None:
    plain = PRICES.per_s(gpu="A10", cpu_cores=2, memory_mib=1024)
    assert PRICES.per_s(gpu="A10", cpu_cores=2, memory_mib=1024, region="any") == plain
    assert PRICES.per_s(gpu="A10", cpu_cores=2, memory_mib=1024, region="us") == pytest.approx(1.5 * plain)


def test_a_region_that_is_not_on_the_list_is_named_with_those_that_are() -> None:
    with pytest.raises(BadInput, match="'moon' in the list of 2026-07-01") as refused:
        PRICES.per_s(gpu=None, cpu_cores=1, memory_mib=1, region="moon")
    assert refused.value.what_to_do == "use one of any, us"


def test_a_gpu_without_a_price_is_a_defect_and_never_free() -> None:
    with pytest.raises(Internal, match="no price for the GPU 'H900'"):
        PRICES.per_s(gpu="H900", cpu_cores=1, memory_mib=1)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"as_of": "July"}, "as_of"),
        ({"as_of": "2026-07-01 or so"}, "as_of"),
        ({"cpu_core_per_s": 0}, "cpu_core_per_s"),
        ({"memory_gib_per_s": -1}, "memory_gib_per_s"),
        ({"gpu_per_s": {"T4": 0}}, "T4"),
        ({"gpu_per_s": {"T4": float("inf")}}, "T4"),
        ({"region_factors": {"us": 1.5}}, "no 'any'"),
        ({"more": 1}, "more"),
        ({"source": None}, "source"),
    ],
)
def test_what_is_no_price_list_is_a_defect_that_names_file_and_field(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(LIST))
    assert read_prices(path) == PRICES
    path.write_text(json.dumps({**LIST, **change}))
    with pytest.raises(Internal, match="not a price list") as refused:
        read_prices(path)
    assert problem in refused.value.message
    assert refused.value.input == str(path)
