"""Products that no pointer names because whoever wants them computes where they lie.

Belongs here: which layouts of a video and which detections of a clip are the ones in use. Does not belong
here: products that a pointer names (`retention_references`).

The layout in use is the newest that was made of the video's present source. Detections are in use as long as
what they were made of stays: of each clip and source, the newest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from video_pipeline.operations.retention_references import References
from video_pipeline.operations.retention_units import Owner, Place, Unit, place_of
from video_pipeline.store.base import ObjectMissing, ObjectStore

_LAYOUT, _DETECTIONS = "layout.json", "detections.json"


def keep_what_is_computed(
    references: References, units: Mapping[Place, Unit], stays: Callable[[Place], bool]
) -> None:
    """Adds them to the references. `stays`: whether a place is left where it is as far as is known."""
    newest: dict[tuple[Owner, str], Unit] = {}
    versions: dict[str, str | None] = {}
    for unit in units.values():
        last, owner = (unit.finished or "").rpartition("/")[2], unit.place.owner
        if last not in (_LAYOUT, _DETECTIONS) or owner is None:
            continue
        said = _read(references.store, unit.finished or "")
        source = said.get("source_key")
        if not isinstance(source, str):
            references.places[unit.place] = f"{unit.finished} does not say of what it was made"
            continue
        if source not in versions:
            versions[source] = _version(references.store, source)
        if last == _LAYOUT:
            in_use = versions[source] is not None and versions[source] == said.get("source_version")
        else:
            made_of = place_of(source)
            in_use = versions[source] is not None and (made_of is None or stays(made_of))
        before = newest.get((owner, source))
        if in_use and (before is None or before.since < unit.since):
            newest[owner, source] = unit
    for (_, source), unit in newest.items():
        references.places.setdefault(unit.place, f"it is the newest of {source}")


def _read(store: ObjectStore, key: str) -> dict[str, Any]:
    try:
        said = json.loads(store.get(key))
    except (ObjectMissing, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _version(store: ObjectStore, key: str) -> str | None:
    info = store.head(key)
    return None if info is None else info.version
