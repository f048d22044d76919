"""Taking what signs a URL out of anything that is shown or kept.

Belongs here: that, for texts and what is made of them. Does not belong here: parsing addresses
(`media.ranges.http_address`). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from video_pipeline.media.ranges.http_address import without_secrets

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\]+")


def without_signatures(value: Any) -> Any:
    """The same value; each URL in its texts, at any depth, without user, password, query and fragment."""
    if isinstance(value, str):
        return _URL.sub(lambda found: without_secrets(found.group()), value)
    if isinstance(value, Mapping):
        return {without_signatures(key): without_signatures(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_signatures(item) for item in value]
    return value
