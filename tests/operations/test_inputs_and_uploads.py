"""Finding inputs in real stores, and deciding what to do about them."""

from __future__ import annotations

import errno
import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers.seaweedfs import SeaweedFS
from tests.store.conftest import s3_store, seaweedfs
from video_pipeline import keys
from video_pipeline.errors import PipelineError, Transient
from video_pipeline.keys import ClipId, VideoId
from video_pipeline.operations import inputs
from video_pipeline.operations.changes import last_change
from video_pipeline.operations.inputs import (
    SETTLED_S,
    Inputs,
    _whose_turn,
    kind_of,
    look,
    tenants_of,
)
from video_pipeline.operations.states import FailedRun, States
from video_pipeline.operations.uploads import Table, decide
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.store.folders import folders

__all__ = ["seaweedfs"]

VIDEOS = kind_of("videos")


def later() -> float:
    """A time at which all that was stored up to now has settled."""
    return time.time() + 2 * SETTLED_S


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    server: SeaweedFS = request.getfixturevalue("seaweedfs")
    return s3_store(server)


@pytest.fixture
def tenant() -> str:
    """The bucket is shared: a tenant of the test's own."""
    return f"t{uuid.uuid4().hex[:12]}"


def source(tenant: str, name: str, extension: str = "mp4") -> str:
    return keys.source_key(VideoId(tenant, name), extension)


def test_sources_and_requests_are_found_and_results_are_not(store: ObjectStore, tenant: str) -> None:
    store.put(source(tenant, "a"), b"a film")
    store.put(f"{tenant}/client/videos/a/chunks/0123456789abcdef/modulo_1/video.mp4", b"no source")
    store.put(f"{tenant}/client/videos/b/video.mp4.part", b"on its way")
    store.put(f"{tenant}/client/videos/b/video.txt", b"no video")
    store.put(f"{tenant}/client/videos/Bad Name/video.mp4", b"x")
    store.put(f"{tenant}/server/videos/b/caption_request.json", b"{}")
    store.put(f"{tenant}/server/videos/c/caption_request.json", b"{}")
    store.put("system/client/videos/ours/video.mp4", b"x")
    store.put("Not A Tenant/client/videos/a/video.mp4", b"x")
    store.put(f"{tenant}/server/samples/s/request.json", b"{}")
    store.put(f"{tenant}/server/samples/s/result/0123456789abcdef/frame.png", b"x")
    seen = look(store, VIDEOS, tenant, now=later())
    assert set(seen.found) == {f"{tenant}--a"}
    assert list(seen.refused) == ["Bad Name"]
    assert set(look(store, kind_of("samples"), tenant, now=later()).found) == {f"{tenant}--s"}
    assert tenant in tenants_of(store)
    assert not {"system", "Not A Tenant"} & set(tenants_of(store))
    assert folders(store, f"{tenant}/client/videos/") == ["Bad Name", "a", "b"]


def test_the_fingerprint_changes_with_the_source_and_with_the_request(
    store: ObjectStore, tenant: str
) -> None:
    def fingerprint() -> str:
        return look(store, VIDEOS, tenant, now=later()).found[f"{tenant}--a"].fingerprint

    store.put(source(tenant, "a"), b"first")
    prints = [fingerprint(), fingerprint()]
    assert prints[0] == prints[1]
    store.put(source(tenant, "a"), b"second")
    prints.append(fingerprint())
    store.put(keys.caption_request_key(VideoId(tenant, "a")), b'{"frame_rate": "5"}')
    prints.append(fingerprint())
    assert len(set(prints)) == 3


def test_the_last_change_counts_what_a_request_names(store: ObjectStore, tenant: str) -> None:
    film = source(tenant, "film")
    request = f"{tenant}/server/clips/goal/request.json"
    store.put(request, f'{{"source_key": "{film}", "start": 0, "end": 1}}'.encode())
    before = last_change(store, kind_of("clips"), f"{tenant}--goal")
    assert before is not None
    time.sleep(1.1)  # S3 tells times in seconds
    store.put(film, b"the film")
    after = last_change(store, kind_of("clips"), f"{tenant}--goal")
    assert after is not None
    assert after > before
    assert last_change(store, kind_of("clips"), f"{tenant}--nothing") is None


def test_the_last_change_counts_objects_that_a_request_names_in_a_list_and_no_others(
    store: ObjectStore, tenant: str
) -> None:
    film, request = source(tenant, "film"), f"{tenant}/server/clips/best_of/request.json"
    other = "another/client/videos/a/video.mp4"
    named = f'["{tenant}/../x", "{tenant}//y", "{tenant}/not/there", "{other}", "{film}"]'
    store.put(request, f'{{"compilation": {{"clips": {named}}}}}'.encode())
    store.put(other, b"of another tenant")
    before = last_change(store, kind_of("clips"), f"{tenant}--best_of")
    time.sleep(1.1)  # S3 tells times in seconds
    store.put(other, b"changed")
    assert last_change(store, kind_of("clips"), f"{tenant}--best_of") == before
    store.put(film, b"the film")
    after = last_change(store, kind_of("clips"), f"{tenant}--best_of")
    assert before is not None
    assert after is not None
    assert after > before


def test_a_file_that_came_with_its_old_time_has_arrived_just_now(tmp_path: Path) -> None:
    """`cp -p` and `mv` keep a file's time of change."""
    store = DirectoryStore(tmp_path)
    request = f"{keys.clips_prefix('demo')}goal/request.json"
    store.put(request, f'{{"source_key": "{source("demo", "a")}"}}'.encode())
    before = last_change(store, kind_of("clips"), "demo--goal")
    time.sleep(0.02)
    store.put(source("demo", "a"), b"a film")
    path = store.local_path(source("demo", "a"))
    assert path is not None
    os.utime(path, (1e9, 1e9))
    assert look(store, VIDEOS, "demo", now=path.stat().st_ctime + 1).unsettled == ["demo--a"]
    found = look(store, VIDEOS, "demo", now=later()).found["demo--a"]
    assert found.modified > time.time() - 60
    after = last_change(store, kind_of("clips"), "demo--goal")
    assert before is not None
    assert after is not None
    assert after > before


def test_a_file_from_the_time_to_come_is_found_all_the_same(tmp_path: Path) -> None:
    """A clock that was put back must not hide what was uploaded before that."""
    store = DirectoryStore(tmp_path)
    store.put(source("demo", "a"), b"a film")
    assert set(look(store, VIDEOS, "demo", now=time.time() - 3600).found) == {"demo--a"}


def test_a_folder_of_a_videos_name_is_no_video(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / source("demo", "a")).mkdir(parents=True)
    assert look(store, VIDEOS, "demo", now=later()).found == {}


def test_a_folder_that_cannot_be_read_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)
    store.put(source("demo", "a"), b"a film")
    scandir = os.scandir

    def refuses(folder: str) -> object:
        if str(folder).endswith("videos/a/"):
            raise OSError(errno.EIO, "Input/output error")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuses)
    with pytest.raises(Transient, match="Input/output error"):
        look(store, VIDEOS, "demo", now=later())


def test_a_file_that_is_still_being_copied_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "SETTLED_S", 60.0)  # a busy machine needs more than 3 s for these lines
    store = DirectoryStore(tmp_path)
    store.put(source("demo", "a"), b"the first half")
    assert look(store, VIDEOS, "demo").unsettled == ["demo--a"]
    assert not look(store, VIDEOS, "demo").found
    assert set(look(store, VIDEOS, "demo", now=time.time() + 100).found) == {"demo--a"}


def test_a_store_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="not there"):
        look(DirectoryStore(tmp_path / "unmounted"), VIDEOS, "demo")
    with pytest.raises(Transient, match="not there"):
        tenants_of(DirectoryStore(tmp_path / "unmounted"))


def test_a_bucket_that_cannot_be_listed_is_no_empty_one(seaweedfs: SeaweedFS) -> None:
    for wrong in (
        s3_store(seaweedfs, bucket="no-such-bucket"),
        s3_store(seaweedfs, endpoint_url="http://127.0.0.1:9", attempts=1, connect_timeout_s=0.5),
    ):
        with pytest.raises(PipelineError):
            look(wrong, VIDEOS, "demo")


def test_in_a_bucket_new_uploads_come_first_and_the_others_in_turn(seaweedfs: SeaweedFS, tenant: str) -> None:
    store = s3_store(seaweedfs)
    names = [f"v{number}" for number in range(7)]
    for name in names:
        store.put(source(tenant, name), name.encode())
    known = [f"{tenant}--{name}" for name in names[:6]]
    seen: set[str] = set()
    for turn in range(3):
        found = look(store, VIDEOS, tenant, known=known, turn=turn, checks=3)
        assert f"{tenant}--v6" in found.found
        assert len(found.found) == 3
        assert not found.whole
        seen |= set(found.found)
    assert seen == {f"{tenant}--{name}" for name in names}


@pytest.mark.parametrize(
    ("new", "known", "checks"), [(0, 50, 7), (50, 0, 7), (50, 20, 7), (3, 20, 8), (9, 1, 2)]
)
def test_every_folder_is_looked_at_in_its_turn_however_many_hold_no_source(
    new: int, known: int, checks: int
) -> None:
    fresh, old = [f"n{number}" for number in range(new)], [f"k{number}" for number in range(known)]
    seen: set[str] = set()
    for turn in range(60):
        chosen = _whose_turn(fresh + old, set(old), turn, checks)
        assert len(chosen) == len(set(chosen)) == min(checks, new + known)
        seen |= set(chosen)
    assert seen == {*fresh, *old}


def test_a_request_of_brackets_within_brackets_names_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    key = keys.clip_request_key(ClipId("demo", "deep"))
    store.put(key, b"[" * 100_000)
    assert last_change(store, kind_of("clips"), "demo--deep") is not None


KEYS = [f"demo--{name}" for name in "abcdef"]
some_keys = st.sets(st.sampled_from(KEYS))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from("xyz")),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from("xyz")),
    some_keys,
    some_keys,
    some_keys,
    some_keys,
    some_keys,
    st.integers(0, 7),
)
def test_every_change_is_run_once_or_met_again(
    there: dict[str, str],
    known: dict[str, str],
    registered: set[str],
    active: set[str],
    made: set[str],
    broken: set[str],
    ended: set[str],
    most: int,
) -> None:
    found = {key: Inputs(content, 10.0) for key, content in there.items()}
    failed = {key: FailedRun("r", "j", began=20.0, ended=21.0) for key in broken}
    cancelled = {key: FailedRun("r", "j", began=20.0, ended=21.0) for key in ended}
    states = States(sorted(registered), active=active, made={"end": made}, failed=failed, cancelled=cancelled)
    tried = made | broken | ended
    decision = decide(found, known, sorted(registered), [states], max_runs=most)
    asked = dict(decision.run)
    assert len(asked) == len(decision.run) <= most
    changed = {key for key in there if known.get(key) != there[key]}
    assert set(asked) <= changed - active
    for key in changed:
        remembered = decision.known.get(key) == there[key]
        old_news = key not in known and key in tried and key not in active
        # Remembered exactly when it is dealt with: asked for, or made before the sensor was there.
        assert remembered == (key in asked or old_news)
        assert not (key in asked and old_news)
    assert set(decision.register) == changed - registered
    old = sum(key not in known and key in tried and key not in active for key in changed)
    assert len(decision.waiting) + decision.later + len(asked) + old == len(changed)
    assert decision.later >= 0
    # The next tick, with nothing changed and nothing running, asks for what was left and for nothing else.
    again = decide(found, decision.known, sorted(registered | changed), [States([])])
    assert {key for key, _ in again.run} == {key for key in changed if decision.known.get(key) != there[key]}


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_an_upload_after_the_attempt_that_failed_or_was_cancelled_is_news(how: str) -> None:
    last = {"demo--a": FailedRun("r", "j", began=20.0, ended=21.0)}
    ended: dict[str, Any] = {how: last}
    states = [States(["demo--a"], **ended)]
    for modified, runs in ((19.0, 0), (22.0, 1)):
        decision = decide({"demo--a": Inputs("x", modified)}, {}, ["demo--a"], states)
        assert len(decision.run) == runs


def test_an_upload_waits_for_runs_of_each_product_and_counts_the_last_attempt_of_any() -> None:
    found = {"demo--a": Inputs("x", 30.0)}
    busy = [States(["demo--a"]), States(["demo--a"], active={"demo--a"})]
    assert decide(found, {}, ["demo--a"], busy).waiting == ["demo--a"]
    tried = [
        States(["demo--a"], failed={"demo--a": FailedRun("r", "j", began=began, ended=began)})
        for began in (20.0, 40.0)
    ]
    assert decide(found, {}, ["demo--a"], tried).run == []


def test_the_newest_uploads_are_run_first() -> None:
    found = {f"demo--{name}": Inputs("x", float(when)) for name, when in (("a", 2), ("b", 3), ("c", 1))}
    decision = decide(found, {}, [], [States([])], max_runs=2)
    assert [key for key, _ in decision.run] == ["demo--b", "demo--a"]
    assert decision.later == 1


@given(st.dictionaries(st.sampled_from(["videos", "clips"]), st.dictionaries(st.text(), st.text())))
def test_a_table_comes_back_as_it_was(known: dict[str, dict[str, str]]) -> None:
    assert Table.from_json(Table(7, known).to_json()) == Table(7, known)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"generation": "x", "known": {}}', '{"known": 3}'])
def test_what_is_no_table_is_an_empty_one(text: str | None) -> None:
    assert Table.from_json(text) == Table()


def test_a_directory_store_looks_at_no_content(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(source("demo", "a"), b"x")
    path = store.local_path(source("demo", "a"))
    assert path is not None
    os.truncate(path, 1 << 40)  # a sparse terabyte: reading it would take an hour
    began = time.monotonic()
    assert look(store, VIDEOS, "demo", now=later()).found
    assert time.monotonic() - began < 60
