"""Runs made from known coefficients, so that a fit can be held against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from video_pipeline.costs.predict import Coefficients, Rates, Term, busy_factors, term_factors

TRUTH: dict[Term, float] = {
    "s_per_frame": 0.05,
    "startup_s": 3.0,
    "chunk_fixed_s": 2.0,
    "join_s_per_chunk": 0.3,
    "extra_s_per_frame": 0.01,
    "join_s": 1.0,
}


def seconds_of(truth: Mapping[Term, float], frames: int, chunks: int, **sizes: int | None) -> float:
    return sum(truth.get(term, 0.0) * by for term, by in term_factors(frames, chunks, **sizes).items())


def runs_made(
    frames: Sequence[int],
    chunks: Sequence[int],
    *,
    truth: Mapping[Term, float] = TRUTH,
    repeats: int = 1,
    spread: float = 0.0,
    seed: int = 0,
    busy: bool = False,
    **sizes: int | None,
) -> pd.DataFrame:
    """A run of each configuration and repeat, its time off by `spread` (standard deviation, as a part)."""
    noise = np.random.default_rng(seed)
    rows = []
    for length in frames:
        for count in chunks:
            for _ in range(repeats):
                row: dict[str, float] = {"frames": length, "chunks": count}
                row["wall_s"] = seconds_of(truth, length, count, **sizes) * (1 + spread * noise.normal())
                if busy:
                    paid = busy_factors(length, count, segment_frames=sizes.get("segment_frames"))
                    total = sum(truth.get(term, 0.0) * by for term, by in paid.items())
                    row["gpu_seconds"] = total * (1 + spread * noise.normal())
                rows.append(row)
    return pd.DataFrame(rows)


def known(**fields: object) -> Coefficients:
    """Coefficients that are just said."""
    facts = {
        "task": "t",
        "gpu": "T4",
        "backend": "modal",
        "terms": ("s_per_frame", "startup_s"),
        "startup_s": 10.0,
        "s_per_frame": 0.1,
        "n_runs": 12,
        "n_configurations": 4,
        "frames_range": (100, 1000),
        "chunks_range": (1, 8),
        "source": "experiments",
        "as_of": "2026-01-01",
    }
    return Coefficients.model_validate({**facts, **fields})


RATES = Rates(chunk_usd_per_s=0.001, whole_usd_per_s=0.001, orchestrator_usd_per_s=0.0001, as_of="2026-01-01")
