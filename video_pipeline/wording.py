"""How a count is written for people to read.

Belongs here: wording that every part of the package shares. Does not belong here: reports, tables, messages.
"""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """`1 run`, `3 runs`, `1,200 runs`: of what forms its plural with an s."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
