"""The videos a render reads: from the store, by range, opened when they are needed.

Belongs here: opening inputs and the facts that frame arithmetic needs. Does not belong here: decoding.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from video_pipeline.errors import Transient
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.media.container import Source
from video_pipeline.media.mp4.headers_at_hand import (
    HEAD_BYTES,
    FragmentHeaders,
    Reader,
    ReadRange,
    fetch_headers,
)
from video_pipeline.media.part_reader import PartReader
from video_pipeline.media.segment_ends import SegmentEnds, segment_ends
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.reader import BlockReader, Fetch, FileReader, ReadStats, StoreReader
from video_pipeline.telemetry.timing import timed_operation

KEPT_BLOCK, KEPT_BYTES = 1 << 20, 16 << 20
"""Bytes of the largest block, and of all blocks together, that are kept for the next opening of a source."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """A source's displayed size in pixels, when its pictures begin and end, and its average frame rate."""

    width: int
    height: int
    start: Fraction
    stop: Fraction
    frame_rate: Fraction
    time_base: Fraction
    has_audio: bool
    notes: tuple[str, ...]

    @property
    def times(self) -> tuple[Fraction, Fraction]:
        return self.start, self.stop


class StoreSources:
    """The sources of one render, by number; the same object may stand at several.

    `versions` are the store's versions that the render is about, by key: a source that was replaced since is
    refused (Transient: asked for again, it is another clip).
    """

    def __init__(
        self, store: ObjectStore, source_keys: Sequence[str], versions: Mapping[str, str] | None = None
    ) -> None:
        self._store = store
        self._versions = versions or {}
        self._keys = list(source_keys)
        self._facts: dict[str, SourceFacts] = {}
        self._headers: dict[tuple[str, str], tuple[FragmentHeaders, SegmentEnds | None]] = {}
        self._blocks: OrderedDict[tuple[str, str, int, int], bytes] = OrderedDict()
        self._looking = threading.Lock()
        self._counting = threading.Lock()
        self.bytes_read = 0
        """Read from the store by what was opened and is closed again."""

    def name(self, number: int) -> str:
        """How errors call a source."""
        return f"{self._store.uri}/{self._keys[number]}"

    def key(self, number: int) -> str:
        return self._keys[number]

    def facts(self, number: int) -> SourceFacts:
        """Read once for each object. BadInput if it is no video."""
        key = self._keys[number]
        if key not in self._facts:
            with self.open(number) as source:
                self._facts[key] = SourceFacts(
                    source.width,
                    source.height,
                    source.start,
                    source.stop,
                    source.frame_rate,
                    source.time_base,
                    source.probe.has_audio,
                    source.notes,
                )
        return self._facts[key]

    @contextlib.contextmanager
    def open(self, number: int) -> Iterator[ClipSource]:
        with self.open_bytes(number) as reader, ClipSource(reader, name=self.name(number)) as source:
            yield source

    @contextlib.contextmanager
    def open_bytes(self, number: int) -> Iterator[Source]:
        """The object's bytes, seekable. Of a fragmented MP4 the headers are fetched by themselves, once for
        all times it is opened (see `media.mp4.headers_at_hand`)."""
        key = self._keys[number]
        with self._store.open_reader(key) as reader:
            if reader.version != self._versions.get(key, reader.version):
                raise Transient(
                    "the source was replaced while it was being rendered",
                    input=self.name(number),
                    what_to_do="run it again: the new source makes a clip of its own",
                )
            opened: list[StoreReader] = [reader]
            try:
                yield self._view(key, reader, opened)
            finally:
                for one in opened[1:]:
                    one.close()
                with self._counting:
                    self.bytes_read += sum(one.bytes_fetched for one in opened)

    def _view(self, key: str, reader: StoreReader, opened: list[StoreReader]) -> Source:
        """`reader`'s object with what makes parts of it cheap. Further readers it opens go to `opened`."""
        if isinstance(reader, FileReader):
            return self._headers_of(key, reader)[0].over(reader)

        def open_until(stop: int) -> BlockReader:
            size = min(stop, reader.size)
            another = BlockReader(fetch, name=reader.name, version=reader.version, size=size)
            opened.append(another)
            return another

        def open_part(stop: int) -> Reader:
            if len(opened) > 2:
                opened[-1].close()
            return headers.over(open_until(stop))

        fetch = self._fetch_of(key, reader.version)
        whole = open_until(reader.size)
        whole.read(
            1
        )  # every opening begins with the block that the first, which looks for headers, begins with
        whole.seek(0)
        headers, ends = self._headers_of(key, whole)
        return PartReader(headers.over(whole), open_part, ends)

    def _fetch_of(self, key: str, version: str) -> Fetch:
        """From the store, or from what an earlier opening fetched: each begins with the same blocks, of a
        film of ten minutes 2.3 MB."""

        def fetch(start: int, stop: int, *, stats: ReadStats, stopped: Callable[[], bool]) -> bytes:
            at = key, version, start, stop
            with self._counting:
                data = self._blocks.pop(at, None)
            if data is None:
                data = b"" if stopped() else self._store.get_range(key, start, stop, version=version)
                stats.add(requests=1, bytes_fetched=len(data))
            if len(data) == stop - start <= KEPT_BLOCK:
                with self._counting:
                    self._blocks[at] = data
                    while sum(map(len, self._blocks.values())) > KEPT_BYTES:
                        self._blocks.popitem(last=False)
            return data

        return fetch

    def _headers_of(self, key: str, reader: StoreReader) -> tuple[FragmentHeaders, SegmentEnds | None]:
        at = key, reader.version
        with self._looking:
            if at not in self._headers:
                with timed_operation("index", {"key": key}):
                    self._headers[at] = self._fetch_headers(key, reader)
                reader.seek(0)
            return self._headers[at]

    def _fetch_headers(self, key: str, reader: StoreReader) -> tuple[FragmentHeaders, SegmentEnds | None]:
        head = reader.read(HEAD_BYTES)
        if isinstance(reader, FileReader):
            # It reads no more than it is asked for, and has its version even if that is replaced meanwhile.
            return fetch_headers(_in_turn(reader), head, reader.size), None

        def read(start: int, stop: int) -> bytes:
            data = self._store.get_range(key, start, stop, version=reader.version)
            with self._counting:
                self.bytes_read += len(data)
            return data

        found = fetch_headers(read, head, reader.size)
        return found, None if found.kept else segment_ends(read, head, reader.size)

    def how_read(self, number: int) -> str | None:
        """What was done to read only parts of a fragmented source, or why nothing was, for people; None
        before it is opened."""
        found = [
            headers.note for (key, _), (headers, _) in self._headers.items() if key == self._keys[number]
        ]
        return found[-1] if found else None

    def notes(self) -> tuple[str, ...]:
        """What was done to the pictures of each source that was opened, said once."""
        return tuple(dict.fromkeys(note for facts in self._facts.values() for note in facts.notes))


def _in_turn(reader: StoreReader) -> ReadRange:
    """Ranges through a reader, which is for one thread at a time."""
    turn = threading.Lock()

    def read(start: int, stop: int) -> bytes:
        with turn:
            reader.seek(start)
            return reader.read(stop - start)

    return read
