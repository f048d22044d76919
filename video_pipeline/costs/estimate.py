"""From seconds of a machine to dollars.

Belongs here: the shape of a price list and its arithmetic. Does not belong here: how many seconds something
takes, or what is too much. Pure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from video_pipeline.errors import BadInput, Internal, problems_of
from video_pipeline.strict import StrictModel

ANY_REGION = "any"

Usd = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Prices(StrictModel):
    """US dollars a second, as of a date. A CPU core is a physical one, memory is in GiB."""

    as_of: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    source: str
    note: str
    region_factors: dict[str, Usd]
    """What every price is multiplied by where functions run in a chosen region; `any` is no choice."""
    gpu_per_s: dict[str, Usd]
    cpu_core_per_s: Usd
    memory_gib_per_s: Usd

    @model_validator(mode="after")
    def _no_choice_has_a_factor(self) -> Prices:
        if ANY_REGION not in self.region_factors:
            raise ValueError(f"region_factors has no {ANY_REGION!r}")
        return self

    def region_factor(self, region: str) -> float:
        """`BadInput` for a region that is not on the list."""
        if region not in self.region_factors:
            raise BadInput(
                f"there is no price for the region {region!r} in the list of {self.as_of}",
                input=region,
                what_to_do=f"use one of {', '.join(self.region_factors)}",
            )
        return self.region_factors[region]

    def gpu_s(self, gpu: str | None) -> float:
        """What a GPU of a type costs a second in no chosen region. `Internal` without a price."""
        if gpu is None:
            return 0.0
        if gpu not in self.gpu_per_s:
            raise Internal(
                f"there is no price for the GPU {gpu!r} in the list of {self.as_of}",
                input=gpu,
                what_to_do="add its price to modal_ops/prices.json with the date of the list",
            )
        return self.gpu_per_s[gpu]

    def per_s(
        self, *, gpu: str | None, cpu_cores: float, memory_mib: float, region: str = ANY_REGION
    ) -> float:
        """What a machine costs a second. `gpu` is a name of the list, or None. `Internal` without a price,
        `BadInput` for an unknown region."""
        plain = self.gpu_s(gpu) + cpu_cores * self.cpu_core_per_s + memory_mib / 1024 * self.memory_gib_per_s
        return plain * self.region_factor(region)


def read_prices(path: Path) -> Prices:
    """A price list from its file. Internal if the file is not one: it ships with the package."""
    try:
        return Prices.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise Internal(f"not a price list: {problems_of(error, 'file')}", input=str(path)) from None
