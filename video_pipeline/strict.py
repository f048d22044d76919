"""The base of everything that is JSON on the wire.

Belongs here: what every such model shares. Does not belong here: any model.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Unknown fields are refused: a misspelt option must not become a default. Instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
