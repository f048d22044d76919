"""Which prediction stands for which truth: boundaries by their moment, captions by their overlap. Pure.

Belongs here: one-to-one matching. Does not belong here: figures made of it.
"""

from __future__ import annotations

from collections.abc import Sequence


def match_moments(true: Sequence[int], predicted: Sequence[int], tolerance: int) -> list[tuple[int, int]]:
    """As many pairs of positions as there can be whose moments differ by `tolerance` samples or less.

    Both are ascending. Taking the earliest pair that fits is optimal on a line.
    """
    pairs, left, right = [], 0, 0
    while left < len(true) and right < len(predicted):
        apart = predicted[right] - true[left]
        if abs(apart) <= tolerance:
            pairs.append((left, right))
            left, right = left + 1, right + 1
        elif apart > 0:
            left += 1
        else:
            right += 1
    return pairs


def match_spans(
    true: Sequence[tuple[int, int]], predicted: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Pairs of positions of half-open spans, in order of time: as many as there can be, and of those the
    ones that share most samples. A pair shares at least half of the shorter span.

    So a caption found in two pieces is one found and one phantom, and two found as one are one found and one
    lost; both lists are ascending and do not overlap within themselves.
    """
    rows, columns = len(true), len(predicted)
    best = [[(0, 0)] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], _with(best[i + 1][j + 1], true[i], predicted[j]))
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            pairs.append((i, j))
            i, j = i + 1, j + 1
    return pairs


def _with(after: tuple[int, int], true: tuple[int, int], predicted: tuple[int, int]) -> tuple[int, int]:
    shared = min(true[1], predicted[1]) - max(true[0], predicted[0])
    shorter = min(true[1] - true[0], predicted[1] - predicted[0])
    return (after[0] + 1, after[1] + shared) if shared > 0 and 2 * shared >= shorter else (-1, 0)
