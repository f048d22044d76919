"""The choice of a night's backfill, as a pure function."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_pipeline.errors import BadInput, Transient
from video_pipeline.operations.backfill import AHEAD, READERS, READS, UNCHANGED, Limits, choose
from video_pipeline.operations.states import CAPTIONS, CLIPS, FailedRun, States

KEYS = [f"demo--{name}" for name in "abcdefghij"]


def failed(kind: str | None = None) -> FailedRun:
    return FailedRun("run", "caption_video", 0.0, 1.0, kind=kind)


@st.composite
def states(draw: st.DrawFn) -> States:
    registered = draw(st.lists(st.sampled_from(KEYS), unique=True))
    some = st.sets(st.sampled_from(registered)) if registered else st.just(set())
    broken = draw(some)
    done = draw(some) - broken
    kinds = st.sampled_from([None, "bad_input", "internal", "out_of_memory"])
    return States(
        registered,
        done=done,
        active=draw(some),
        failed={key: failed(draw(kinds)) for key in sorted(broken)},
        cancelled={key: failed("cancelled") for key in sorted(draw(some) - done)},
        stale=draw(some) & done,
    )


@settings(max_examples=300, deadline=None)
@given(
    states(),
    st.integers(-1, 12),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.floats(-5, 30),
    st.sets(st.sampled_from(KEYS)),
    st.sets(st.sampled_from(KEYS)),
    st.booleans(),
    st.booleans(),
)
def test_a_choice_keeps_every_promise(
    states: States,
    runs: int,
    each: float,
    usd: float,
    tonight: set[str],
    changed: set[str],
    stale: bool,
    cancelled: bool,
) -> None:
    choice = choose(
        CAPTIONS,
        states,
        Limits(runs, usd, each),
        asked_tonight=tonight,
        stale_too=stale,
        cancelled_too=cancelled,
        changed=lambda key, _run: key in changed,
    )
    keys = [key for key, _ in choice.chosen]
    assert len(set(keys)) == len(keys) <= max(0, runs)
    assert len(keys) * each <= max(0.0, usd) + 1e-3
    newest_first = [key for key in reversed(states.registered) if key in set(keys)]
    assert keys == newest_first
    assert not set(keys) & (set(states.active) | tonight)
    for key, why in choice.chosen:
        assert (why == "cancelled") == (key in states.cancelled)
        assert (why == "failed") == (key in states.failed and key not in states.cancelled)
        assert (why == "stale") == (key in states.done)
        assert why != "stale" or (stale and key in states.stale)
        assert why != "failed" or states.failed[key].kind != "bad_input" or key in changed
        assert why != "cancelled" or cancelled or key in changed
    # Nothing waits for another input that need not.
    assert not (cancelled and choice.left[UNCHANGED["cancelled"]])
    bad = sum(run.kind == "bad_input" for run in states.failed.values())
    assert choice.left[UNCHANGED["failed"]] <= bad
    # Nothing is passed over in silence: what could be run is chosen, or counted with a reason.
    candidates = [
        key
        for key in states.registered
        if key in states.failed
        or key in states.cancelled
        or key not in states.done
        or (stale and key in states.stale)
    ]
    assert len(choice.chosen) + choice.left.total() == len(candidates)


@given(st.integers(1, 40), st.floats(0.01, 30), st.floats(0, 500))
def test_as_many_runs_are_allowed_as_the_dollars_pay_for_and_no_more(
    runs: int, each: float, usd: float
) -> None:
    allowed = Limits(runs, usd, each).allowed
    assert allowed * each <= usd + 1e-3
    assert allowed == runs or (allowed + 1) * each > usd


def test_ten_runs_of_ten_cents_fit_in_a_dollar() -> None:
    assert Limits(50, 1.0, 0.1).allowed == 10


def test_an_input_is_looked_at_only_for_what_might_be_run() -> None:
    looked: list[str] = []

    def changed(key: str, _run: FailedRun) -> bool:
        looked.append(key)
        return True

    broken = {key: failed("bad_input") for key in KEYS}
    states = States(KEYS, failed=broken, active={KEYS[-1]})
    choice = choose(CAPTIONS, states, Limits(2), changed=changed)
    assert [key for key, _ in choice.chosen] == [KEYS[-2], KEYS[-3]]
    assert sorted(looked) == sorted(KEYS[:-1]), "each once, as fewer than are read ahead"
    looked.clear()
    choose(CAPTIONS, States(KEYS, failed={**broken, KEYS[0]: failed()}), Limits(0), changed=changed)
    assert looked == []


def test_inputs_of_a_thousand_failures_are_looked_at_beside_each_other_and_hardly_more_than_are_needed() -> (
    None
):
    """Each takes some 0.1 s in a bucket: one after the other they would take longer than a tick may."""
    registered = [f"demo--v{number}" for number in range(1000)]
    together = threading.Barrier(READERS, timeout=120)
    looked: list[str] = []

    def changed(key: str, _run: FailedRun) -> bool:
        looked.append(key)
        if len(looked) <= READERS:
            together.wait()  # ends only if so many look at once
        return True

    broken = {key: failed("bad_input") for key in registered[:500]}
    ended = {key: failed("cancelled") for key in registered[500:]}
    choice = choose(CAPTIONS, States(registered, failed=broken, cancelled=ended), Limits(10), changed=changed)
    assert [key for key, _ in choice.chosen] == registered[:-11:-1]
    assert len(looked) == len(set(looked)) == AHEAD


def test_inputs_are_looked_at_up_to_a_limit_and_the_rest_is_told() -> None:
    many = {f"demo--{number}": failed("cancelled") for number in range(READS + 7)}
    choice = choose(CAPTIONS, States(list(many), cancelled=many), Limits(5))
    assert not choice.chosen
    assert choice.left == {
        "cancelled by a person and not changed since": READS,
        "not looked at: too many requests to read": 7,
    }


def test_a_clip_that_has_all_its_request_asks_for_is_done() -> None:
    states = States(KEYS[:2], made={"clip": {KEYS[0]}, "framed_clip": set()})
    choice = choose(CLIPS, states, Limits(5), asked=lambda _key: {"clip", "multi_clip"})
    assert choice.chosen == [(KEYS[1], "missing")]


def test_requests_are_read_up_to_a_limit_and_the_rest_is_told() -> None:
    many = [f"demo--{number}" for number in range(READS + 7)]
    choice = choose(CLIPS, States(many), Limits(5), asked=lambda _key: frozenset())
    assert not choice.chosen
    assert choice.left["not looked at: too many requests to read"] == 7


def test_what_the_night_left_out_is_told_with_its_reason() -> None:
    states = States(KEYS[:3], active={KEYS[0]}, failed={KEYS[1]: failed("bad_input")})
    said = str(choose(CAPTIONS, states, Limits(0, 10, 20)))
    assert "nothing to do" in said
    assert "1 in progress" in said
    assert "number of runs" in said
    assert "cost limit" in str(choose(CAPTIONS, states, Limits(5, 10, 20)))


def test_requests_are_read_beside_each_other_and_hardly_more_than_are_needed() -> None:
    """5,000 requests of a bucket, one after the other, would take longer than a tick may."""
    registered = [f"demo--c{number}" for number in range(1000)]
    together = threading.Barrier(READERS, timeout=120)
    read: list[str] = []

    def asked(key: str) -> frozenset[str]:
        if len(read) < READERS:
            read.append(key)
            together.wait()  # ends only if so many read at once
        else:
            read.append(key)
        return frozenset({"clip"})

    choice = choose(CLIPS, States(registered), Limits(runs=10), asked=asked)
    assert [key for key, _ in choice.chosen] == registered[:-11:-1]
    assert len(read) == len(set(read)) == AHEAD


def test_a_request_that_cannot_be_read_now_is_told_only_where_it_is_needed() -> None:
    def asked(key: str) -> frozenset[str]:
        if key == "demo--c1":
            raise Transient("the bucket does not answer", input=key)
        if key == "demo--c2":
            raise BadInput("no JSON", input=key)
        return frozenset({"clip"})

    states = States([f"demo--c{number}" for number in range(4)])
    choice = choose(CLIPS, states, Limits(runs=2), asked=asked)
    assert [key for key, _ in choice.chosen] == ["demo--c3", "demo--c2"]
    with pytest.raises(Transient):
        choose(CLIPS, states, Limits(runs=3), asked=asked)
