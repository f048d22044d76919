"""The sample table of an unfragmented track: where each sample lies, when it is decoded and shown.

Belongs here: `stts ctts stss stsc stsz stz2 stco co64` (ISO/IEC 14496-12:2022, sections 8.6 and 8.7) as numpy
arrays. Does not belong here: edit lists, sample entries (`movie.py`), fragments.
"""

from __future__ import annotations

import numpy as np

from video_pipeline.media.mp4.boxes import Body, Malformed
from video_pipeline.media.mp4.track import Samples

MAX_SAMPLES = 20_000_000
"""Two days at 120 pictures a second. A damaged count must not ask for more memory than that is worth."""


def read_samples(table: Body, entries: int, file_size: int) -> Samples:
    """All samples of an `stbl` box, in decode order; none for a track whose samples are in fragments.

    Raises Malformed when the boxes disagree about how many samples there are.
    """
    sizes = _sizes(table, file_size)
    count = len(sizes)
    durations = _runs(table.need("stts"), count, "u4") if count else np.empty(0, np.int64)
    dts = np.zeros(count, np.int64)
    np.cumsum(durations[:-1], out=dts[1:])
    composition = table.only("ctts")
    offsets_to_pts = (
        _composition(composition, count) if composition is not None else np.zeros(count, np.int64)
    )
    chunk_of, entry = (
        _chunks(table, count, entries) if count else (np.empty(0, np.int64), np.empty(0, np.uint8))
    )
    return Samples(
        offsets=_offsets(table, sizes, chunk_of),
        sizes=sizes,
        dts=dts,
        pts=dts + offsets_to_pts,
        durations=durations,
        key=_sync(table.only("stss"), count),
        entry=entry,
    )


def _array(box: Body, count: int, kind: str) -> np.ndarray:
    """`count` big-endian numbers at the cursor, in the machine's byte order."""
    width = np.dtype(kind).itemsize
    return np.frombuffer(box.take(count * width), f">{kind}").astype(np.int64)


def _sizes(table: Body, file_size: int) -> np.ndarray:
    box = table.only("stsz")
    if box is not None:
        box.full()
        same, count = box.unsigned(4), box.unsigned(4)
        _check_count(count)
        # One size for all costs no byte a sample: the file itself bounds how many there can be.
        if same * count > file_size:
            raise Malformed(f"stsz states {count} samples of {same} bytes, more than the file has")
        return np.full(count, same, np.int64) if same else _array(box, count, "u4")
    box = table.need("stz2")
    box.full()
    width, count = box.unsigned(4) & 0xFF, box.unsigned(4)
    _check_count(count)
    if width == 4:
        packed = np.frombuffer(box.take((count + 1) // 2), np.uint8)
        return np.column_stack((packed >> 4, packed & 15)).ravel()[:count].astype(np.int64)
    if width not in (8, 16):
        raise Malformed(f"stz2 has fields of {width} bits")
    return _array(box, count, f"u{width // 8}")


def _check_count(count: int) -> None:
    if count > MAX_SAMPLES:
        raise Malformed(f"the video track states {count} samples, more than {MAX_SAMPLES}")


def _runs(box: Body, count: int, kind: str) -> np.ndarray:
    """Run-length coded values, one for each of `count` samples. Fewer in the box is an error; of more, as
    some writers leave behind, the rest is not needed."""
    box.full()
    pairs = np.frombuffer(box.take(box.unsigned(4) * 8), np.dtype([("n", ">u4"), ("value", f">{kind}")]))
    ends = np.cumsum(pairs["n"].astype(np.int64))
    if not len(ends) or ends[-1] < count:
        raise Malformed(f"{box.kind} describes {int(ends[-1]) if len(ends) else 0} of {count} samples")
    lengths = np.diff(np.minimum(ends, count), prepend=0)
    return np.repeat(pairs["value"].astype(np.int64), lengths)


def _composition(box: Body, count: int) -> np.ndarray:
    """Composition offsets. Version 0 is unsigned by the letter, but writers put negative numbers there too,
    and every reader takes them so; an offset of 2^31 ticks would be no offset."""
    return _runs(box, count, "i4") if count else np.empty(0, np.int64)


def _sync(box: Body | None, count: int) -> np.ndarray:
    """Without `stss` every sample is a sync sample (8.6.2.1)."""
    if box is None:
        return np.ones(count, bool)
    box.full()
    numbers = _array(box, box.unsigned(4), "u4")
    if len(numbers) and not (numbers.min() >= 1 and numbers.max() <= max(count, 1)):
        raise Malformed("stss names samples that do not exist")
    key = np.zeros(count, bool)
    key[numbers - 1] = True
    return key


def _chunks(table: Body, count: int, entries: int) -> tuple[np.ndarray, np.ndarray]:
    """For each sample the number (from 0) of its chunk, and the index of its sample entry."""
    box = table.need("stsc")
    box.full()
    rows = _array(box, box.unsigned(4) * 3, "u4").reshape(-1, 3)
    first, per_chunk, entry = rows.T
    if not len(rows) or first[0] != 1 or (np.diff(first) <= 0).any() or (per_chunk == 0).any():
        raise Malformed("stsc does not describe the chunks in order")
    if entry.min() < 1 or entry.max() > entries:
        raise Malformed("stsc names a sample entry that does not exist")
    spans = np.diff(first)
    # In floating point, so that numbers made up by damage cannot wrap around.
    if (spans.astype(float) * per_chunk[:-1]).sum() > 2 * MAX_SAMPLES:
        raise Malformed("stsc describes more samples than there can be")
    before = int((spans * per_chunk[:-1]).sum())
    # The last row holds for every chunk that is left: enough chunks for the samples that are left.
    spans = np.append(spans, max(0, -(-(count - before) // int(per_chunk[-1]))))
    held, used = np.repeat(per_chunk, spans), np.repeat(entry - 1, spans)
    ends = np.cumsum(held)
    if not len(ends) or ends[-1] < count:
        raise Malformed(f"stsc describes fewer than the track's {count} samples")
    held = np.diff(np.minimum(ends, count), prepend=0)
    return np.repeat(np.arange(len(held)), held), np.repeat(used, held).astype(np.uint8)


def _offsets(table: Body, sizes: np.ndarray, chunk_of: np.ndarray) -> np.ndarray:
    """A chunk's samples follow each other without gaps (8.7.1)."""
    if not len(sizes):
        return np.empty(0, np.int64)
    box, kind = table.only("co64"), "u8"
    if box is None:
        box, kind = table.need("stco"), "u4"
    box.full()
    chunks = _array(box, box.unsigned(4), kind)
    if len(chunks) <= chunk_of[-1] or (chunks < 0).any():
        raise Malformed(f"{box.kind} has {len(chunks)} chunks, the samples lie in {int(chunk_of[-1]) + 1}")
    before = np.cumsum(sizes) - sizes
    first_of_chunk = np.searchsorted(chunk_of, np.arange(chunk_of[-1] + 1))
    return chunks[chunk_of] + before - before[np.minimum(first_of_chunk, len(sizes) - 1)][chunk_of]
