"""The bytes that are asked for: every picture that is needed, joined where that saves a request, and no
more."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.media.mp4.index import Selection
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.mp4.track import SampleEntry, Samples, needed_for
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource
from video_pipeline.sampling.fetch import GAP_BYTES, fetch_unit, plan_units, shares

ENTRY = SampleEntry("avc1", "h264", b"", 64, 64, None)


def a_film(gops: list[int], sizes: list[int], gaps: list[int]) -> Samples:
    """Samples in decode order: GOPs of these lengths, sizes and bytes between samples taken in turn."""
    count = sum(gops)
    size = np.array([sizes[n % len(sizes)] for n in range(count)], np.int64)
    gap = np.array([gaps[n % len(gaps)] for n in range(count)], np.int64)
    key = np.zeros(count, bool)
    key[np.cumsum([0, *gops[:-1]])] = True
    times = np.arange(count, dtype=np.int64) * 512
    offsets = 1000 + np.cumsum(size + gap) - size
    return Samples(offsets, size, times, times, np.full(count, 512), key, np.zeros(count, np.uint8))


def selection_of(film: Samples, target: int) -> Selection:
    run = needed_for(film, target)
    assert run is not None
    return Selection(int(film.pts[target]), int(film.pts[target]), film.part(*run), ENTRY, target)


films = st.builds(
    a_film,
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.lists(st.integers(1, 60_000), min_size=1, max_size=9),
    st.lists(st.sampled_from([0, 0, 400, GAP_BYTES, GAP_BYTES + 1, 200_000]), min_size=1, max_size=5),
)


@given(films, st.lists(st.integers(0, 95), min_size=1, max_size=8))
def test_every_picture_of_a_run_lies_whole_in_one_span_of_its_unit(film: Samples, targets: list[int]) -> None:
    wanted = {number: selection_of(film, target % len(film)) for number, target in enumerate(targets)}
    units = plan_units(wanted)
    seen: list[int] = []
    for unit in units:
        for group in unit.groups:
            for offset, size in zip(group.samples.offsets, group.samples.sizes, strict=True):
                assert sum(start <= offset and offset + size <= stop for start, stop in unit.spans) == 1
            for number, selection in group.wanted:
                seen.append(number)
                assert set(selection.samples.offsets) <= set(group.samples.offsets)
            assert (np.diff(group.samples.dts) > 0).all()
    assert sorted(seen) == sorted(wanted)


@given(films, st.lists(st.integers(0, 95), min_size=1, max_size=8))
def test_spans_never_touch_and_hold_nothing_but_pictures_and_small_gaps(
    film: Samples, targets: list[int]
) -> None:
    wanted = {number: selection_of(film, target % len(film)) for number, target in enumerate(targets)}
    units = plan_units(wanted)
    spans = sorted({span for unit in units for span in unit.spans})
    assert len(spans) == sum(len(unit.spans) for unit in units)
    for (_, stop), (start, _) in itertools.pairwise(spans):
        assert start - stop > GAP_BYTES
    needed: dict[int, int] = {}
    for selection in wanted.values():
        needed |= dict(zip(selection.samples.offsets.tolist(), selection.samples.sizes.tolist(), strict=True))
    for start, stop in spans:
        at = start
        for offset in sorted(offset for offset in needed if start <= offset < stop):
            assert offset - at <= GAP_BYTES
            at = offset + needed[offset]
        assert at == stop
    assert sum(unit.minimum_bytes for unit in units) == sum(needed.values())


@given(st.integers(0, 10**9), st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_shares_add_up_and_follow_the_weights(total: int, weights: list[int]) -> None:
    parts = shares(total, weights)
    assert sum(parts) == total
    assert all(part >= 0 for part in parts)
    if sum(weights):
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - total * weight / sum(weights)) < 1


def test_what_is_read_is_each_pictures_own_bytes(media: MediaFactory) -> None:
    path = media.path("h264_b")
    source, traffic = FileSource(path), Traffic()
    index = open_index(source, Traffic())
    wanted = {number: index.select(512 * number, Traffic()) for number in (3, 5, 40)}
    film, read = path.read_bytes(), 0
    for unit in plan_units(wanted):
        fetched = fetch_unit(unit, source, traffic)
        assert [(start, start + len(data)) for start, data in fetched.spans] == list(unit.spans)
        for group in unit.groups:
            run = fetched.run(group, index)
            places = zip(group.samples.offsets, group.samples.sizes, strict=True)
            assert [bytes(one.data) for one in run.pictures] == [film[at : at + size] for at, size in places]
            assert [one.pts for one in run.pictures] == group.samples.pts.tolist()
            assert [one.dts for one in run.pictures] == group.samples.dts.tolist()
            assert [one.key for one in run.pictures] == group.samples.key.tolist()
            read += len(run.pictures)
    assert read == len({int(at) for one in wanted.values() for at in one.samples.offsets})
    assert traffic.received("media") == traffic.received()
