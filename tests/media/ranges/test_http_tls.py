"""A source over https: certificates, redirects between the schemes, cancelling an encrypted read."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.media.ranges.conftest import CONTENT, NAME
from tests.servers.ranges import Fault, RangeServer
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_pool import HttpPool
from video_pipeline.streaming.cancel import CancellationToken


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that it signed itself, valid for an hour, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "loopback.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def encrypted(directory: Path, certificate: Path) -> Iterator[RangeServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with RangeServer(directory, tls=context) as running:
        yield running


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL takes its root certificates from there."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


def read(source: HttpSource, start: int, stop: int, traffic: Traffic | None = None) -> bytes:
    return source.read(start, stop, purpose="media", traffic=traffic or Traffic())


@pytest.mark.usefixtures("trusted")
def test_ranges_are_read_over_kept_encrypted_connections(
    encrypted: RangeServer, pool: HttpPool, traffic: Traffic
) -> None:
    source = HttpSource(encrypted.url(NAME), pool=pool, first_wait_s=0.01)
    for start in range(0, 5000, 1000):
        assert read(source, start, start + 1000, traffic) == CONTENT[start : start + 1000]
    assert encrypted.connections == 1
    assert [record.sent for record in traffic.requests] == [logged.asked for logged in encrypted.log]
    encrypted.faults = [Fault("cut", nth={1}, after=100), Fault("reset", nth={2})]
    assert read(source, 0, 1000) == CONTENT[:1000]


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(
    encrypted: RangeServer, pool: HttpPool, traffic: Traffic
) -> None:
    with pytest.raises(BadInput, match="certificate") as caught:
        read(HttpSource(encrypted.url(NAME), pool=pool), 0, 10, traffic)
    assert caught.value.input == encrypted.url(NAME)
    assert [(record.sent, record.received) for record in traffic.requests] == [(0, 0)]
    assert encrypted.log == []


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_host_is_refused(encrypted: RangeServer, pool: HttpPool) -> None:
    with pytest.raises(BadInput, match="certificate"):
        read(HttpSource(encrypted.url(NAME, host="localhost"), pool=pool), 0, 10)


@pytest.mark.usefixtures("trusted")
def test_a_redirect_may_lead_to_https_and_not_away_from_it(
    server: RangeServer, encrypted: RangeServer, pool: HttpPool
) -> None:
    server.faults = [Fault("redirect", location=encrypted.url(NAME))]
    assert read(HttpSource(server.url(NAME), pool=pool), 0, 10) == CONTENT[:10]
    server.faults = []
    encrypted.faults = [Fault("redirect", location=f"{server.url(NAME)}?token=secret")]
    before = len(server.log)
    with pytest.raises(BadInput, match="from https to http") as caught:
        read(HttpSource(encrypted.url(NAME), pool=pool), 0, 10)
    assert "secret" not in str(caught.value)
    assert len(server.log) == before


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("kind", ["silent", "stall"])
def test_cancelling_ends_an_encrypted_read_that_waits(encrypted: RangeServer, kind) -> None:
    encrypted.faults = [Fault(kind, after=10)]
    cancel = CancellationToken()
    with HttpPool(stall_timeout_s=30.0) as pool:
        timer = threading.Timer(0.2, cancel.cancel, ["enough"])
        timer.start()
        began = time.perf_counter()
        with pytest.raises(Cancelled, match="enough"):
            read(HttpSource(encrypted.url(NAME), pool=pool, cancel=cancel), 0, 10_000)
        assert time.perf_counter() - began < 15
        timer.join()
