"""URLs: names without secrets, cache keys without signatures, where redirects may lead."""

from __future__ import annotations

import pytest

from video_pipeline.errors import BadInput
from video_pipeline.media.ranges.http_address import parse_http_address, redirected, without_secrets

PLAIN = "https://media.example.com/a/video.mp4"


@pytest.mark.parametrize(
    "signature",
    [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F2026&X-Amz-Date=1&X-Amz-Expires=9"
        "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t&x-amz-signature=s",
        "AWSAccessKeyId=AK&Signature=s%2B&Expires=1",
        "Policy=p&Signature=s&Key-Pair-Id=k",
        "sv=2024-11-04&se=2026-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=abc%3D",
        "X-Goog-Algorithm=a&X-Goog-Signature=s",
        "GoogleAccessId=i&Expires=1&Signature=s",
    ],
)
def test_signatures_are_no_part_of_the_cache_key(signature: str) -> None:
    assert parse_http_address(f"{PLAIN}?{signature}").cache_key == PLAIN
    assert parse_http_address(f"{PLAIN}?versionId=7&{signature}&b=2").cache_key == f"{PLAIN}?versionId=7&b=2"
    assert parse_http_address(f"{PLAIN}?{signature}").name == PLAIN


def test_parameters_that_tell_files_apart_stay_in_the_cache_key() -> None:
    """Without `sig`, two letters of a SAS are anything else, for example a start and an end."""
    for query in ("id=5", "st=1&se=2&sp=3", "versionId=1", "flag", "b=2&a=1"):
        assert parse_http_address(f"{PLAIN}?{query}").cache_key == f"{PLAIN}?{query}"


def test_user_and_password_and_fragment_are_in_no_name() -> None:
    address = parse_http_address("HTTPS://ann:se%63ret@Media.Example.com:443/a b.mp4?token=t#part")
    assert address.name == "https://media.example.com/a%20b.mp4"
    assert address.cache_key == f"{address.name}?token=t"
    assert address.url == address.cache_key
    assert address.authorization == "Basic YW5uOnNlY3JldA=="
    assert address.host_header == "media.example.com"
    assert parse_http_address("http://example.com:8080").host_header == "example.com:8080"
    assert parse_http_address("http://[::1]:81/a").name == "http://[::1]:81/a"


@pytest.mark.parametrize(
    "url",
    ["", "video.mp4", "ftp://example.com/a", "http://", "http://host:99999/a", "https:///a", "http://a:b:c/"],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="not an http or https URL"):
        parse_http_address(url)


def test_an_error_about_a_url_holds_no_secret() -> None:
    with pytest.raises(BadInput) as caught:
        parse_http_address("htp://ann:secret@example.com/a?token=secret#secret")
    assert "secret" not in str(caught.value)
    assert without_secrets("//ann:secret@example.com/a?secret") == "//example.com/a"


def test_a_redirect_leads_where_its_location_says() -> None:
    address = parse_http_address("http://ann:p@example.com/a/b.mp4?x=1")
    for location, expected in [
        ("/c.mp4", "http://example.com/c.mp4"),
        ("c.mp4?y=2", "http://example.com/a/c.mp4?y=2"),
        ("//other.org/d", "http://other.org/d"),
        ("https://bob:q@other.org/d#part", "https://other.org/d"),
        ("/caf\u00c3\u00a9", "http://example.com/caf%C3%A9"),
    ]:
        found = redirected(address, location)
        assert found.url == expected
        assert found.userinfo is None


@pytest.mark.parametrize(
    ("location", "match"),
    [
        (None, "without saying where"),
        ("", "without saying where"),
        ("ftp://example.com/", "not an http or https URL"),
        ("http://[bad/", "not an http or https URL"),
        ("http://example.com/v?token=secret", "from https to http"),
    ],
)
def test_a_redirect_that_may_not_be_followed_is_refused(location: str | None, match: str) -> None:
    with pytest.raises(BadInput, match=match) as caught:
        redirected(parse_http_address(f"{PLAIN}?token=secret"), location)
    assert caught.value.input == PLAIN
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "trusts"),
    [
        ("http://a.org/x", "http://a.org/y", True),
        ("http://a.org/x", "https://a.org/x", True),
        ("http://a.org/x", "http://a.org:8080/x", False),
        ("http://a.org:8080/x", "https://a.org/x", False),
        ("https://a.org/x", "https://b.a.org/x", False),
        ("https://a.org/x", "http://a.org/x", False),
    ],
)
def test_credentials_are_only_for_the_same_server(first: str, second: str, trusts: bool) -> None:
    assert parse_http_address(first).trusts(parse_http_address(second)) is trusts
