from __future__ import annotations

import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from comfyui_runtime.errors import CancelledError
from comfyui_runtime.run.cancellation import Cancellation
from handler.contract.errors import FetchError


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, issuer, signing_key, key, extension):
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name_of(subject))
        .issuer_name(name_of(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .add_extension(extension, critical=False)
        .sign(signing_key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


class Authority:
    """Issues certificates that this machine's TLS clients trust while a test runs."""

    def __init__(self, folder):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        root = certificate(
            "ca", "ca", self.key, self.key, x509.BasicConstraints(ca=True, path_length=None)
        )
        self.root_file = folder / "ca.pem"
        self.root_file.write_bytes(root)

    def server_context(self, host, names_asked_for):
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        chain = certificate(host, "ca", self.key, key, names) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        chain_file = self.folder / f"{host}.pem"
        chain_file.write_bytes(chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain_file)
        context.sni_callback = lambda _socket, name, _context: names_asked_for.append(name)
        return context


@pytest.fixture
def authority(tmp_path, monkeypatch):
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root_file))
    return authority


@pytest.fixture
def fetch_public(fetch, internet):
    """Fetches from names that all have the same public address."""

    def run(source, **settings):
        return fetch(source, resolve=lambda *_: ["93.184.215.14"], network=internet, **settings)

    return run


def test_tls_is_for_the_name_although_the_connection_is_to_the_checked_address(
    authority, secure_site, fetch_public, internet, photo
):
    asked_for = []
    site = secure_site(authority.server_context("photos.test", asked_for))
    site.page("/photo", photo)
    image = fetch_public(f"https://photos.test:{site.port}/photo")
    assert image.width == 32
    assert asked_for == ["photos.test"]
    assert internet.connected == ["93.184.215.14"]
    assert site.requests[0][1]["Host"] == f"photos.test:{site.port}"


def test_a_certificate_for_another_name_is_refused_at_once(
    authority, secure_site, fetch_public, internet
):
    site = secure_site(authority.server_context("other.test", []))
    with pytest.raises(FetchError, match="TLS certificate") as caught:
        fetch_public(f"https://photos.test:{site.port}/photo")
    assert not caught.value.retryable
    assert len(internet.connected) == 1
    assert all(connected.fileno() == -1 for connected in internet.sockets)


def test_a_job_cancelled_before_the_handshake_leaves_no_connection(
    authority, secure_site, fetch_public, internet
):
    site = secure_site(authority.server_context("photos.test", []))
    cancellation = Cancellation()
    internet.when_connected = cancellation.cancel
    with pytest.raises(CancelledError):
        fetch_public(f"https://photos.test:{site.port}/photo", cancellation=cancellation)
    assert [connected.fileno() for connected in internet.sockets] == [-1]


def test_http_may_redirect_to_https(authority, secure_site, site, fetch_public, photo):
    secure = secure_site(authority.server_context("photos.test", []))
    secure.page("/photo", photo)
    site.redirect("/photo", f"https://photos.test:{secure.port}/photo")
    assert fetch_public(site.url("/photo", "photos.test")).width == 32


def test_https_may_not_redirect_to_http(authority, secure_site, site, fetch_public, photo):
    secure = secure_site(authority.server_context("photos.test", []))
    site.page("/photo", photo)
    secure.redirect("/photo", site.url("/photo", "photos.test"))
    with pytest.raises(FetchError, match="from https to http"):
        fetch_public(f"https://photos.test:{secure.port}/photo")
    assert site.requests == []
