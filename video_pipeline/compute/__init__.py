"""Running tasks: one contract (`base`), a local implementation (`local`), the loop that waits (`follow`).

A Modal implementation has its place beside `local` as `compute/modal.py`; no other module may import Modal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from video_pipeline.errors import BadInput

if TYPE_CHECKING:
    from video_pipeline.compute.base import Compute
    from video_pipeline.settings import Settings
    from video_pipeline.store.base import ObjectStore


def open_compute(settings: Settings, store: ObjectStore) -> Compute:
    """The backend that the settings name."""
    if settings.compute == "local":
        from video_pipeline.compute.local import LocalCompute

        return LocalCompute(settings, store)
    raise BadInput(
        f"this version runs tasks locally only, not on {settings.compute}",
        input="VIDEO_PIPELINE_COMPUTE",
        what_to_do="set VIDEO_PIPELINE_COMPUTE=local",
    )
