"""From seconds of a machine to dollars.

Belongs here: the shape of a price list and its arithmetic. Does not belong here: how many seconds something
takes, or what is too much. Pure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from video_pipeline.errors import Internal, problems_of
from video_pipeline.strict import StrictModel

Usd = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Prices(StrictModel):
    """US dollars a second, as of a date. A CPU core is a physical one, memory is in GiB."""

    as_of: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    source: str
    note: str
    gpu_per_s: dict[str, Usd]
    cpu_core_per_s: Usd
    memory_gib_per_s: Usd

    def per_s(self, *, gpu: str | None, cpu_cores: float, memory_mib: float) -> float:
        """What a machine costs a second. `gpu` is a name of the list, or None. `Internal` without a price."""
        if gpu is not None and gpu not in self.gpu_per_s:
            raise Internal(
                f"there is no price for the GPU {gpu!r} in the list of {self.as_of}",
                input=gpu,
                what_to_do="add its price to modal_ops/prices.json with the date of the list",
            )
        return (
            (self.gpu_per_s[gpu] if gpu is not None else 0.0)
            + cpu_cores * self.cpu_core_per_s
            + memory_mib / 1024 * self.memory_gib_per_s
        )


def read_prices(path: Path) -> Prices:
    """A price list from its file. Internal if the file is not one: it ships with the package."""
    try:
        return Prices.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise Internal(f"not a price list: {problems_of(error, 'file')}", input=str(path)) from None
