"""The configuration of an instance's folder, `dagster.yaml`: copied from the packaged one, kept up with it.

Belongs here: telling an older copy from one that a person edited, and what to do about either. Does not
belong here: what the configuration says (`deploy/local/dagster.yaml`), or starting anything (`demo.ui`).

An upgrade of the project brings a new `dagster.yaml`, and the copy in the instance's folder would stay as it
was: what the new code relies on, such as a launcher of its own, would be missing without a word. Beside the
copy lies what it was copied from (`NOTE`). A copy that still is that, or is one of the files from before
there was a note (`OLDER`), is renewed. One that a person edited stays, and each start says which of its
sections are behind, until they are the packaged ones or the person has said that they shall stay.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from video_pipeline.errors import BadInput

CONFIG = "dagster.yaml"
NOTE = "dagster.yaml.packaged"
"""In the instance's folder: the packaged file with which the copy was brought in line last."""

OLDER = frozenset(
    {
        "12677c75164e6263a553c101674b9e8c2f372b8696cfb00ba9b1a6eccbcef252",
        "efd6d1d6d3410e82ac083ca10109ee21352231dd1b052d022399c6fd84b782dd",
        "8d80bd69a59ccb84895c705153f90e5b428881e4faa48cf8764bc05e647770bd",
        "0c9040766d60b04288a94baae82d22adc549817883d718c1bb16f72414b15089",
    }
)
"""SHA-256 of every packaged file that was copied without a note. It never grows: notes tell of all others."""


def renew_config(home: Path, packaged: Path) -> list[str]:
    """Brings `home/dagster.yaml` in line with the packaged file, if nobody edited it.

    Returns lines for a person: none where nothing had to be done. Raises `BadInput` where a file cannot be
    read as YAML.
    """
    copy, note, now = home / CONFIG, home / NOTE, packaged.read_bytes()
    mine = copy.read_bytes() if copy.exists() else None
    before = note.read_bytes() if note.exists() else None
    if mine is None or mine == now:
        _write(copy, now)
        _write(note, now)
        return []
    if mine == before or hashlib.sha256(mine).hexdigest() in OLDER:
        _write(copy, now)
        _write(note, now)
        return [f"{copy} was an unedited copy of an older version of {packaged}: renewed"]
    behind = _behind(_sections(copy, mine), _sections(packaged, now), _sections(note, before))
    if not behind:
        _write(note, now)
        return []
    return [
        f"{copy} is your own, and {packaged} has changed since it was made: {', '.join(behind)}",
        f"take over what you want of that; to keep yours as it is: cp {packaged} {note}",
    ]


def _behind(mine: dict[str, Any], now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """The sections that the packaged file changed and the edited one does not have as they are now."""
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    told = {
        name: "is no more" if name not in now else "is new" if name not in mine else "differs"
        for name in changed
    }
    return [f"{name} {told[name]}" for name in changed if mine.get(name) != now.get(name)]


def _sections(path: Path, content: bytes | None) -> dict[str, Any]:
    if content is None:
        return {}
    try:
        sections = yaml.safe_load(content) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(
            f"the instance's configuration is not valid YAML: {' '.join(str(error).split())}",
            input=str(path),
            what_to_do="correct it, or delete it to have the packaged one",
        ) from error
    if not isinstance(sections, dict):
        raise BadInput(
            "the instance's configuration has no sections",
            input=str(path),
            what_to_do="correct it, or delete it to have the packaged one",
        )
    return sections


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: half a configuration would start another instance than the one that is there."""
    if path.exists() and path.read_bytes() == content:
        return
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)
