"""Running tasks: one contract (`base`), local workers (`local`), Modal (`modal_calls`), the loop that waits
(`follow`).

Only `compute.modal` here, and `modal_ops`, may import Modal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from video_pipeline.compute.base import Compute
    from video_pipeline.settings import Settings
    from video_pipeline.store.base import ObjectStore


def open_compute(settings: Settings, store: ObjectStore) -> Compute:
    """The backend that the settings name."""
    if settings.compute == "modal":
        from video_pipeline.compute.modal_calls import ModalCompute

        return ModalCompute(settings, store)
    from video_pipeline.compute.local import LocalCompute

    return LocalCompute(settings, store)
