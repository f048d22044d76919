"""A bounded pool of hardware decoders: who may use which, when one is made, and when one is thrown away.

Belongs here: the pool and its figures. Does not belong here: what a decoder is (`nvdec_memory.py`), which
device decodes (`decoder_choice.py`).

Making an NVDEC session costs some 300 ms and memory for its surfaces, so sessions are kept and reused; one
that failed in any way is never used again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

from video_pipeline.errors import Internal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DecoderKey:
    """What a decoder is set up for: libav's name of the codec, the pictures' size and bits per component."""

    codec: str
    width: int
    height: int
    bit_depth: int = 8


class PooledDecoder(Protocol):
    """What the pool asks of a decoder. It calls each from one thread at a time."""

    def fits(self, key: DecoderKey) -> bool:
        """True if `reconfigure(key)` can work. Quick: called under the pool's lock."""
        ...

    def reconfigure(self, key: DecoderKey) -> None:
        """Become a decoder for `key`. One that raises is thrown away."""
        ...

    def close(self) -> None: ...


D = TypeVar("D", bound=PooledDecoder)


@dataclass(slots=True)
class PoolStats:
    """Every lease that was granted counts as one of `created`, `reused` or `reconfigured`.

    `recovered`: those created in place of one that raised. `replaced`: idle decoders ended to make room for
    one of another kind. `waits` and `wait_seconds`: leases that found the pool full, and for how long.
    """

    created: int = 0
    reused: int = 0
    reconfigured: int = 0
    recovered: int = 0
    replaced: int = 0
    waits: int = 0
    wait_seconds: float = 0.0
    most_in_use: int = 0

    @property
    def leases(self) -> int:
        return self.created + self.reused + self.reconfigured


class PoolClosed(Internal):
    """A lease was asked for after `close`, or while waiting the pool was closed."""


@dataclass(slots=True)
class _State(Generic[D]):
    """All that the lock guards. `idle` is ordered, the last one used at the end."""

    idle: list[tuple[DecoderKey, D]] = field(default_factory=list)
    waiting: deque[object] = field(default_factory=deque)
    in_use: int = 0
    broken: int = 0
    closed: bool = False
    stats: PoolStats = field(default_factory=PoolStats)


class DecoderPool(Generic[D]):
    """At most `limit` decoders exist at any time; leases are granted in the order they were asked for.

    `make(key)` gives a new decoder; what it raises is raised by the lease, and takes no place. It and the
    decoders' methods are called outside the lock, so a slow one holds up nobody else.
    """

    def __init__(self, make: Callable[[DecoderKey], D], limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a pool of {limit} decoders")
        self._make = make
        self._limit = limit
        self._state: _State[D] = _State()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def lease(self, key: DecoderKey) -> Iterator[D]:
        """A decoder for `key`, for the length of the block: an idle one of this key, else an idle one that
        can be reconfigured, else a new one, ending an idle one of another kind where the pool is full.

        Waits while `limit` leases are held. A block that raises anything (also by being cancelled) costs its
        decoder. Raises PoolClosed, and what making one raises.
        """
        self._enter()
        decoder: D | None = None
        try:
            decoder = self._obtain(key)
            yield decoder
        except BaseException:
            if decoder is not None:
                self._throw_away(decoder)
            self._leave(None)
            raise
        self._leave((key, decoder))

    def stats(self) -> PoolStats:
        with self._changed:
            return replace(self._state.stats)

    def close(self) -> None:
        """End the idle decoders now and each leased one when it comes back. Idempotent."""
        with self._changed:
            self._state.closed = True
            idle, self._state.idle = self._state.idle, []
            self._changed.notify_all()
        for _, decoder in idle:
            _end(decoder)

    def __enter__(self) -> DecoderPool[D]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enter(self) -> None:
        """Take one of the `limit` places, in order of arrival."""
        ticket, state = object(), self._state
        with self._changed:
            state.waiting.append(ticket)
            try:
                if self._must_wait(ticket):
                    state.stats.waits += 1
                    began = time.perf_counter()
                    try:
                        self._changed.wait_for(lambda: not self._must_wait(ticket))
                    finally:
                        state.stats.wait_seconds += time.perf_counter() - began
                if state.closed:
                    raise PoolClosed("the pool of decoders is closed")
                state.in_use += 1
                state.stats.most_in_use = max(state.stats.most_in_use, state.in_use)
            finally:
                state.waiting.remove(ticket)
                # The next in line may find a place too, or must learn that this one gave up.
                self._changed.notify_all()

    def _must_wait(self, ticket: object) -> bool:
        state = self._state
        return not state.closed and (state.waiting[0] is not ticket or state.in_use >= self._limit)

    def _leave(self, back: tuple[DecoderKey, D] | None) -> None:
        ended: D | None = None
        with self._changed:
            if back is not None and not self._state.closed:
                self._state.idle.append(back)
            elif back is not None:
                ended = back[1]
        if ended is not None:
            _end(ended)
        with self._changed:
            self._state.in_use -= 1
            self._changed.notify_all()

    def _obtain(self, key: DecoderKey) -> D:
        decoder = self._idle_one(key)
        if decoder is not None:
            return decoder
        with self._changed:
            found = next((pair for pair in self._state.idle if pair[1].fits(key)), None)
            if found is not None:
                self._state.idle.remove(found)
        if found is not None:
            try:
                found[1].reconfigure(key)
            except Exception as error:
                logger.warning("a decoder could not be reconfigured to %s, a new one is made: %s", key, error)
                self._throw_away(found[1])
            except BaseException:
                self._throw_away(found[1])
                raise
            else:
                with self._changed:
                    self._state.stats.reconfigured += 1
                return found[1]
        return self._new_one(key)

    def _idle_one(self, key: DecoderKey) -> D | None:
        with self._changed:
            # From the end: the one used last is the likeliest to have its memory at hand.
            for place in reversed(range(len(self._state.idle))):
                if self._state.idle[place][0] == key:
                    self._state.stats.reused += 1
                    return self._state.idle.pop(place)[1]
        return None

    def _new_one(self, key: DecoderKey) -> D:
        with self._changed:
            state = self._state
            victim = None
            if state.in_use + len(state.idle) > self._limit:
                victim = state.idle.pop(0)[1]
                state.stats.replaced += 1
        if victim is not None:
            _end(victim)
        decoder = self._make(key)
        with self._changed:
            state.stats.created += 1
            if state.broken:
                state.broken -= 1
                state.stats.recovered += 1
        return decoder

    def _throw_away(self, decoder: D) -> None:
        with self._changed:
            self._state.broken += 1
        _end(decoder)


def _end(decoder: PooledDecoder) -> None:
    try:
        decoder.close()
    except Exception:
        # It is gone either way; the error that matters is the one that led here, if there was one.
        logger.warning("a decoder did not close cleanly", exc_info=True)
