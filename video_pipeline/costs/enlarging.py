"""Which attempts in the ledger went through the network that enlarges pictures.

Belongs here: telling the two kinds of work apart that stand under one task. Does not belong here: fitting
them (`refit.py`), which tasks there are two kinds of (`stored.ENLARGING`). pandas is imported inside
functions.

A render loads the network when the first crop needs it, so it has the phase `model_load` if and only if the
network worked on it; of a fan-out its chunks have it. A clip of which some pictures only are enlarged counts
as enlarged.
"""

from __future__ import annotations

from typing import Any

from video_pipeline.costs.stored import ENLARGING, Frame, family


def enlarged_rows(ledger: Frame) -> Any:
    """For each row of the ledger whether the network enlarged its pictures: nullable booleans with the
    ledger's index, NA for tasks that never load it. An attempt of a fan-out is told by all of its chunks."""
    import pandas as pd

    loaded: Any = ledger["model_load_time_ms"].notna()
    of_chunks = set(ledger.loc[loaded & ledger["parent"].notna(), "parent"])
    told = (loaded | ledger["key"].isin(of_chunks)).astype("boolean")
    return told.where(ledger["task"].map(family).isin(ENLARGING), pd.NA)
