"""What the commands about samples share: files that people name, and addresses that need the store.

Belongs here: that. Does not belong here: any command.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def files_named() -> Iterator[None]:
    """A file that cannot be read or written, as an error that names it."""
    from video_pipeline.errors import BadInput

    try:
        yield
    except OSError as error:
        raise BadInput(
            f"the file cannot be used: {error.strerror or error}",
            input=str(error.filename),
            what_to_do="check the path, and that you may use it.",
        ) from None


def needs_store(addresses: list[str]) -> bool:
    """A path needs none, and to open one could fail for reasons that are nobody's here."""
    return any(address.startswith("s3://") or not _is_path_or_url(address) for address in addresses)


def _is_path_or_url(address: str) -> bool:
    return "://" in address or Path(address).exists()
