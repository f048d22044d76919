"""Indexes of the videos a run looks into: opened once, kept in memory and between runs.

Belongs here: one index per video and run however many frames want it, and finding and keeping the stored
form. Does not belong here: reading an index from a video (`media.mp4`), or its stored format
(`media.mp4.sidecar`).

Stored indexes are keyed by the address, never trusted for another version of the file: size and tag must
agree with the first answer of this run. A file whose server gives no tag is told apart by size alone, so its
index is not kept.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.index import VideoIndex
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.mp4.seek import Search
from video_pipeline.media.mp4.sidecar import SUFFIX, dump_index, load_index
from video_pipeline.media.ranges.base import RangeSource, Traffic
from video_pipeline.sampling.keeping import Keeper

log = logging.getLogger(__name__)


@dataclass
class Indexes:
    """Safe to use from several threads. `keeper` keeps indexes between runs; None keeps them in memory
    alone."""

    keeper: Keeper | None = None
    search: Search | None = None
    _open: dict[str, Future[VideoIndex]] = field(default_factory=dict)
    _saved: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, source: RangeSource, traffic: Traffic) -> tuple[VideoIndex, bool]:
        """The video's index, and whether it was at hand: in memory, or stored. A failure is remembered too:
        the same video is not tried again within a run."""
        with self._lock:
            known = self._open.get(source.cache_key)
            if known is None:
                mine: Future[VideoIndex] = Future()
                self._open[source.cache_key] = mine
        if known is not None:
            return known.result(), True
        stored = self._load(source)
        return self._fill(mine, source, traffic, stored), stored is not None

    def renew(self, stale: VideoIndex, source: RangeSource, traffic: Traffic) -> VideoIndex:
        """The index read again, where a stored one was of another version of the file; once for all who
        ask."""
        with self._lock:
            known = self._open[source.cache_key]
            if known.result() is stale:
                mine: Future[VideoIndex] = Future()
                self._open[source.cache_key] = mine
                self._saved.pop(source.cache_key, None)
            else:
                return known.result()
        log.info("%s: the file is another one than its stored index was made of", source.name)
        return self._fill(mine, source, traffic, None)

    def _fill(
        self, mine: Future[VideoIndex], source: RangeSource, traffic: Traffic, stored: VideoIndex | None
    ) -> VideoIndex:
        try:
            index = stored or open_index(source, traffic, search=self.search)
        except BaseException as error:
            mine.set_exception(error)
            raise
        mine.set_result(index)
        return index

    def save(self, source: RangeSource | None = None) -> tuple[str, ...]:
        """Keep the video's index, or every one, if it has grown since it was last kept. For each that is not
        kept, why; a sample goes on without."""
        if self.keeper is None:
            return ()
        refused: list[str] = []
        for key in [source.cache_key] if source is not None else list(self._open):
            future = self._open[key]
            if not future.done() or future.exception() is not None:
                continue
            index = future.result()
            extent = len(index.fragments.loaded()) if index.fragments is not None else 0
            if index.identity.tag is None:
                refused.append("the server gives no strong ETag, which alone tells a changed file")
                continue
            with self._lock:
                if self._saved.get(key) == extent:
                    continue
                self._saved[key] = extent
            if why := self.keeper.put(stored_name(key), dump_index(index)):
                refused.append(why)
        return tuple(refused)

    def _load(self, source: RangeSource) -> VideoIndex | None:
        name = stored_name(source.cache_key)
        data = self.keeper.get(name) if self.keeper is not None else None
        if data is None:
            return None
        try:
            index = load_index(data, source, name=name)
        except BadInput as error:
            log.info("%s: its index is read again (%s)", source.name, error)
            return None
        extent = len(index.fragments.loaded()) if index.fragments is not None else 0
        self._saved[source.cache_key] = extent
        return index


def stored_name(cache_key: str) -> str:
    """The name under which an index is kept."""
    return f"{hashlib.sha256(cache_key.encode()).hexdigest()[:32]}{SUFFIX}"


def is_stale(index: VideoIndex, source: RangeSource) -> bool:
    """Whether the file turned out to be another version than the index is of. Meaningful after an answer."""
    return source.identity is not None and source.identity != index.identity
