"""Reading through the proxies that the environment names, and around them."""

from __future__ import annotations

import threading
import time
import traceback
from base64 import b64encode

import pytest

from tests.media.ranges.conftest import CONTENT, NAME
from tests.media.ranges.loopback_proxy import LoopbackProxy
from tests.media.ranges.test_http_tls import certificate, encrypted
from tests.servers.ranges import Fault, RangeServer
from video_pipeline.errors import BadInput, Cancelled, Transient
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_address import parse_http_address
from video_pipeline.media.ranges.http_pool import HttpPool
from video_pipeline.media.ranges.http_proxy import Proxies
from video_pipeline.streaming.cancel import CancellationToken

__all__ = ["certificate", "encrypted"]

PASSWORD = "recognisable password"
BASIC = "Basic " + b64encode(f"someone:{PASSWORD}".encode()).decode()


def read(url: str, traffic: Traffic | None = None, **options) -> bytes:
    with HttpPool() as pool:
        source = HttpSource(url, pool=pool, first_wait_s=0.01, **options)
        data = source.read(100, 200, purpose="media", traffic=traffic or Traffic())
        assert source.read(200, 300, purpose="media", traffic=traffic or Traffic()) == CONTENT[200:300]
        return data


def test_http_is_asked_of_the_proxy_with_the_whole_url(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch, traffic: Traffic
) -> None:
    with LoopbackProxy(authorization=BASIC) as proxy:
        stated = proxy.url.replace("//", f"//someone:{PASSWORD.replace(' ', '%20')}@")
        monkeypatch.setenv("HTTP_PROXY", stated)
        url = f"{server.url(NAME)}?version=3"
        assert read(url, traffic) == CONTENT[100:200]
        assert [(asked.method, asked.target) for asked in proxy.log] == [("GET", url)] * 2
        assert {asked.headers["host"] for asked in proxy.log} == {f"127.0.0.1:{server.port}"}
        assert [record.sent for record in traffic.requests] == [
            len(head) - len(extra(head)) for head in proxy.heads
        ]
        assert not any("Proxy-Authorization" in logged.headers for logged in server.log)


def extra(head: bytes) -> bytes:
    """What http.client adds of its own to what it is told to send."""
    return b"".join(line + b"\r\n" for line in head.split(b"\r\n") if line.startswith(b"Connection:"))


def test_https_goes_through_a_tunnel_that_is_kept(
    encrypted: RangeServer, certificate, monkeypatch: pytest.MonkeyPatch, traffic: Traffic
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with LoopbackProxy(authorization=BASIC) as proxy:
        monkeypatch.setenv("https_proxy", f"someone:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{proxy.port}")
        assert read(encrypted.url(NAME), traffic) == CONTENT[100:200]
        assert [(asked.method, asked.target) for asked in proxy.log] == [
            ("CONNECT", f"127.0.0.1:{encrypted.port}")
        ]
        assert encrypted.connections == 1
        assert [record.sent for record in traffic.requests] == [logged.asked for logged in encrypted.log]
        assert not any("Proxy-Authorization" in logged.headers for logged in encrypted.log)


def test_a_tunnel_goes_through_a_proxy_that_speaks_tls_itself(
    encrypted: RangeServer, certificate, monkeypatch: pytest.MonkeyPatch, traffic: Traffic
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with LoopbackProxy(tls=encrypted.tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert read(encrypted.url(NAME), traffic) == CONTENT[100:200]
        assert [asked.method for asked in proxy.log] == ["CONNECT"]
        assert [record.attempt for record in traffic.requests] == [1, 1]


@pytest.mark.parametrize("exempt", ["127.0.0.1", "example.com, 127.0.0.1:{port}", "*"])
def test_a_host_in_no_proxy_is_asked_itself(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    with LoopbackProxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exempt.format(port=server.port))
        assert read(server.url(NAME)) == CONTENT[100:200]
        assert proxy.log == []


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": "http://one:3128"}, "one:3128", None),
        ({"HTTPS_PROXY": "one"}, None, "one:80"),
        ({"https_proxy": "https://one"}, None, "one:443"),
        ({"ALL_PROXY": "http://one:1", "http_proxy": "http://two:2"}, "two:2", "one:1"),
        ({"HTTP_PROXY": "http://one:1", "http_proxy": "http://two:2"}, "two:2", None),
        ({"ALL_PROXY": "http://one:1", "NO_PROXY": "example.com"}, None, None),
        ({"ALL_PROXY": "http://one:1", "NO_PROXY": "ample.com,example.com:8080"}, "one:1", "one:1"),
        ({"HTTP_PROXY": "http://one:1", "REQUEST_METHOD": "GET"}, None, None),
    ],
)
def test_the_environment_says_which_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], http: str | None, https: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxies = Proxies()
    found = [
        proxies.of(parse_http_address(f"{scheme}://video.example.com/a.mp4")) for scheme in ("http", "https")
    ]
    assert [proxy and proxy.name for proxy in found] == [http, https]


@pytest.mark.parametrize("stated", ["socks5://someone:secret@one:1080", "http://", "http://one:port"])
def test_a_proxy_that_is_no_http_proxy_is_refused_by_the_variables_name(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch, stated: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", stated)
    with pytest.raises(BadInput, match=r"ALL_PROXY names .* only HTTP proxies") as caught:
        read(server.url(NAME))
    assert caught.value.input == server.url(NAME)
    assert "NO_PROXY" in str(caught.value.what_to_do)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert server.log == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_says_so_without_telling_one(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with LoopbackProxy(authorization=BASIC) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url.replace("//", "//someone:mistaken@"))
        with pytest.raises(BadInput, match="asks for a user and a password") as caught:
            read(f"{scheme}://video.example.com/a.mp4")
        assert len(proxy.log) == 1
    assert "HTTPS_PROXY" in str(caught.value.what_to_do)
    assert "mistaken" not in "".join(traceback.format_exception(caught.value))


def test_a_tunnel_that_is_forbidden_is_refused_at_once_and_a_broken_one_tried_again(
    monkeypatch: pytest.MonkeyPatch, traffic: Traffic
) -> None:
    with LoopbackProxy(refusal=403) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(BadInput, match=f"the proxy 127.0.0.1:{proxy.port} refuses .*403"):
            read("https://video.example.com/a.mp4")
        assert len(proxy.log) == 1
        proxy.refusal = 502
        with pytest.raises(Transient, match="opens no tunnel: it answers 502"):
            read("https://video.example.com/a.mp4", traffic)
    assert [record.sent for record in traffic.requests] == [0] * 4


def test_a_proxy_that_is_not_there_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://someone:secret@127.0.0.1:9")
    for scheme in ("http", "https"):
        with pytest.raises(Transient, match=r"the proxy 127\.0\.0\.1:9 cannot be reached") as caught:
            read(f"{scheme}://video.example.com/a.mp4")
        assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("tls", [False, True])
def test_cancelling_ends_a_read_that_waits_behind_a_tunnel(
    encrypted: RangeServer, certificate, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    encrypted.faults = [Fault("silent")]
    cancel = CancellationToken()
    with LoopbackProxy(tls=encrypted.tls if tls else None) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        timer = threading.Timer(0.3, cancel.cancel, ("the test ends it",))
        timer.start()
        began = time.perf_counter()
        with pytest.raises(Cancelled):
            read(encrypted.url(NAME), cancel=cancel)
        assert time.perf_counter() - began < 9
