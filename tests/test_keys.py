from __future__ import annotations

from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_pipeline import keys
from video_pipeline.errors import BadInput
from video_pipeline.keys import ClipId, SampleId, VideoId

VIDEO = VideoId("acme", "night-shift_2")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "a--b",
        "-a",
        "a-",
        "a__b",
        "a b",
        "a/b",
        "..",
        "a.b",
        "é",
        "a\n",
        "a\x00",
        "x" * 65,
        "a-_b",
        "a,b",
        # Cut at 64 characters, a suggestion would end in the '-' that stands for the space.
        "x" * 63 + " y",
    ],
)
def test_a_name_outside_the_grammar_is_refused_with_a_suggestion(name: str) -> None:
    with pytest.raises(BadInput, match="use '") as caught:
        keys.check_name("video", name)
    suggestion = str(caught.value).rsplit("use '", 1)[1].rstrip("'")
    assert keys.check_name("video", suggestion) == suggestion


@given(st.text(max_size=200))
def test_every_suggestion_is_a_valid_name(text: str) -> None:
    suggestion = keys.suggest_name(text)
    assert keys.check_name("video", suggestion) == suggestion


NAMES = st.from_regex(r"[a-z0-9]{1,8}([_-][a-z0-9]{1,8}){0,3}", fullmatch=True)


@given(NAMES, NAMES)
def test_a_partition_key_is_taken_apart_as_it_was_made(tenant: str, video: str) -> None:
    made = VideoId(tenant, video)
    assert VideoId.from_partition_key(made.partition_key) == made


@pytest.mark.parametrize("key", ["acme", "acme-video", "a--b--c", "--b", "a--", "A--b", "a---b"])
@pytest.mark.parametrize("identity", [VideoId, SampleId, ClipId])
def test_a_wrong_partition_key_is_refused(
    key: str, identity: type[VideoId] | type[SampleId] | type[ClipId]
) -> None:
    with pytest.raises(BadInput) as caught:
        identity.from_partition_key(key)
    assert ("is not a partition key" in str(caught.value)) is (key in ("acme", "acme-video", "a--b--c"))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "acme",
        "/acme/x",
        "acme/",
        "acme//x",
        "acme/../other/x",
        "acme/./x",
        "other/x",
        "acme2/x",
        "acme/a\x00b",
        "acme/a\nb",
        "acme\\x",
        "acme/a\u202eb",
        "acme/" + "x" * 1024,
        "acme/" + "é" * 510,  # S3 counts bytes: 1,025
    ],
)
def test_a_key_that_is_unclean_or_of_another_tenant_is_refused(key: str) -> None:
    with pytest.raises(BadInput):
        keys.check_key(key, tenant="acme")


def test_a_clean_key_of_the_tenant_is_accepted() -> None:
    for key in ("acme/client/Ünï/a b.mp4", "acme/x" + "é" * 509):  # the latter of 1,024 bytes
        assert keys.check_key(key, tenant="acme") == key


def test_every_object_lies_where_the_design_says() -> None:
    recipe = "0123456789abcdef"
    assert keys.source_key(VIDEO, "mp4") == "acme/client/videos/night-shift_2/video.mp4"
    assert keys.caption_request_key(VIDEO) == "acme/server/videos/night-shift_2/caption_request.json"
    assert keys.frames_prefix(VIDEO, recipe) == f"acme/client/videos/night-shift_2/frames/{recipe}/"
    assert (
        keys.chunk_key(VIDEO, recipe, 16, 512)
        == f"acme/client/videos/night-shift_2/chunks/{recipe}/modulo_16/chunk_0000000512.webm"
    )
    assert (
        keys.database_key(VIDEO, recipe)
        == f"acme/server/videos/night-shift_2/extents/{recipe}/caption_frame_extents.db"
    )
    assert keys.current_key(VIDEO) == "acme/client/videos/night-shift_2/current.json"
    assert keys.call_key("acme", recipe * 2) == f"acme/server/calls/{recipe * 2}.json"
    assert keys.result_key("acme", recipe * 2) == f"acme/server/results/{recipe * 2}.json"
    assert keys.ledger_entries_prefix() == "system/server/ledger/entries/"
    # Keys with a time in them sort by it, whatever the zone in which it was told.
    late = datetime(2026, 11, 21, 23, 30, 0, 250, tzinfo=timezone(timedelta(hours=-5)))
    assert keys.ledger_entry_key(late, recipe, 2) == (
        f"system/server/ledger/entries/2026-11-22/20261122T043000000250Z_{recipe}_2.json"
    )
    assert keys.deployment_key("app", late) == "system/server/deployments/app/20261122T043000.000250Z.json"


@pytest.mark.parametrize(("level", "window"), [(16, 1), (4, 32), (1, 16), (2, 0), (16, -512)])
def test_a_chunk_that_no_level_has_cannot_be_named(level: int, window: int) -> None:
    with pytest.raises(ValueError, match="no chunk"):
        keys.chunk_key(VIDEO, "0" * 16, level, window)


def test_equal_parts_give_equal_recipes_in_any_order() -> None:
    first = keys.recipe_hash(rate=Fraction(30000, 1001), crop={"left": 1, "top": 2})
    second = keys.recipe_hash(crop={"top": 2, "left": 1}, rate=Fraction(60000, 2002))
    assert first == second
    assert len(first) == 16
    assert first != keys.recipe_hash(rate=Fraction(30), crop={"left": 1, "top": 2})


def test_a_recipe_takes_no_float() -> None:
    with pytest.raises(TypeError, match="float"):
        keys.recipe_hash(rate=29.97)
