"""One level of a store, on a directory and on a real S3 server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.servers.seaweedfs import SeaweedFS
from tests.store.conftest import s3_store
from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.store.base import HIDDEN_FOLDER, ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.store.folders import folders


def test_folders_right_under_a_prefix_are_listed_in_order_and_nothing_else(
    store: ObjectStore, prefix: str
) -> None:
    for key in ("b/deep/er", "a-b/x", "a/x", "file", "B/x", "\u00e4/x"):
        store.put(f"{prefix}/{key}", b"x")
    assert folders(store, f"{prefix}/") == ["B", "a", "a-b", "b", "\u00e4"]
    assert folders(store, f"{prefix}/b/") == ["deep"]
    assert folders(store, f"{prefix}/nothing/") == []
    assert folders(store, f"{prefix}/file/") == []
    assert "tests" in folders(store, "")


def test_what_is_no_folder_is_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(ValueError, match="ends in '/'"):
        folders(store, prefix)
    with pytest.raises(BadInput, match="not a clean object key"):
        folders(store, f"{prefix}/../")


def test_the_stores_own_folder_and_links_to_others_are_left_out(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put("a/x", b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "elsewhere")
    assert (tmp_path / "store" / HIDDEN_FOLDER).is_dir()
    assert folders(store, "") == ["a"]


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / "around").symlink_to("around")
    with pytest.raises(PipelineError, match="around"):
        folders(store, "around/")


def test_a_listing_of_many_folders_comes_in_pages(
    seaweedfs: SeaweedFS, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3_store(seaweedfs)
    names = [f"v{number}" for number in range(7)]
    for name in names:
        store.put(f"{prefix}/{name}/x", b"x")
    paginator = store._client.get_paginator

    class Small:
        def paginate(self, **arguments: Any) -> Any:
            return paginator("list_objects_v2").paginate(**arguments, PaginationConfig={"PageSize": 2})

    monkeypatch.setattr(store._client, "get_paginator", lambda _name: Small())
    assert folders(store, f"{prefix}/") == names


def test_a_bucket_that_is_not_there_is_named(seaweedfs: SeaweedFS) -> None:
    with pytest.raises(BadInput, match="there is no such bucket"):
        folders(s3_store(seaweedfs, bucket="no-such-bucket"), "")
