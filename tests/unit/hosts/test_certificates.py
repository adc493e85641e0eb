"""Certificates for localhost: made, kept, renewed, and good for nothing else."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from hosts.http import certificates
from hosts.http.certificates import AUTHORITY_FILE, AUTHORITY_KEY_FILE, LOCALHOST_FILE, renew
from lattice.errors import DeniedError, InvalidError

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "certificates"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def names_of(path: Path) -> list[str]:
    found = x509.load_pem_x509_certificate(path.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in names]


def shake_hands(server: ssl.SSLContext, authority: Path, name: str) -> list[tuple[str, str]]:
    """Return the names of the certificate that a strict client of this name is shown.

    Raises:
        ssl.SSLError: the client does not trust it.
    """
    client = ssl.create_default_context(cafile=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(down, up, server_hostname=name)
    answering = server.wrap_bio(up, down, server_side=True)
    waiting = [asking, answering]
    while waiting:
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    certificate = asking.getpeercert()
    assert certificate is not None
    return list(certificate["subjectAltName"])


def test_files_are_made_once_and_nobody_else_can_read_them(directory: Path):
    renew(directory, NOW)
    before = contents(directory)
    assert set(before) == {AUTHORITY_FILE, AUTHORITY_KEY_FILE, LOCALHOST_FILE}
    assert b"PRIVATE" not in before[AUTHORITY_FILE]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert names_of(directory / LOCALHOST_FILE) == ["localhost", "*.localhost", "127.0.0.1", "::1"]
    renew(directory, NOW + 59 * DAY)
    assert contents(directory) == before


def test_a_certificate_is_renewed_a_month_before_it_ends_by_the_same_authority(directory: Path):
    renew(directory, NOW)
    before = contents(directory)
    renew(directory, NOW + 61 * DAY)
    after = contents(directory)
    assert {name for name in after if after[name] != before[name]} == {LOCALHOST_FILE}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"junk"),
        lambda path: path.unlink(),
        lambda path: path.chmod(0o644),
        lambda path: path.write_bytes((path.parent / AUTHORITY_KEY_FILE).read_bytes()),
    ],
    ids=["damaged", "missing", "readable", "another"],
)
def test_a_certificate_that_cannot_be_shown_is_made_anew(directory: Path, damage):
    renew(directory, NOW)
    damage(directory / LOCALHOST_FILE)
    renew(directory, NOW)
    assert names_of(directory / LOCALHOST_FILE)[0] == "localhost"
    assert (directory / LOCALHOST_FILE).stat().st_mode & 0o777 == 0o600


def test_an_authority_that_ends_is_made_anew_with_what_it_signed(directory: Path, caplog):
    renew(directory, NOW)
    before = contents(directory)
    renew(directory, NOW + certificates.AUTHORITY_LIFE - 80 * DAY)
    after = contents(directory)
    assert all(after[name] != before[name] for name in before)
    assert "a new one is to be trusted" in caplog.text


def test_a_foreign_file_in_place_of_the_authority_is_left_alone(directory: Path):
    renew(directory, NOW)
    path = directory / AUTHORITY_KEY_FILE
    path.write_bytes(b"mine")
    with pytest.raises(InvalidError, match="holds no certificate"):
        renew(directory, NOW)
    assert path.read_bytes() == b"mine"
    path.chmod(0o644)
    with pytest.raises(DeniedError, match="chmod 600"):
        renew(directory, NOW)
    directory.chmod(0o755)
    with pytest.raises(DeniedError, match="0700"):
        renew(directory, NOW)


def test_clients_that_trust_the_authority_accept_any_name_below_localhost(directory: Path):
    local = certificates.LocalCertificate(directory)
    assert shake_hands(local.context, local.authority, "localhost")[0] == ("DNS", "localhost")
    assert shake_hands(local.context, local.authority, "127.0.0.1")[0] == ("DNS", "localhost")
    for name in ("shop.localhost", "a.b-c.localhost"):
        assert shake_hands(local.context, local.authority, name) == [("DNS", name)]
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(local.context, local.authority, "example.com")
    assert set(contents(directory)) == {AUTHORITY_FILE, AUTHORITY_KEY_FILE, LOCALHOST_FILE}


def test_the_authority_is_good_for_no_other_name(directory: Path, monkeypatch):
    monkeypatch.setattr(certificates, "NAMES", ("example.com", "localhost"))
    local = certificates.LocalCertificate(directory)
    for name in ("example.com", "localhost"):
        with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
            shake_hands(local.context, local.authority, name)


def test_names_that_clients_ask_for_are_remembered_up_to_a_limit(directory: Path, monkeypatch):
    monkeypatch.setattr(certificates, "NAMES_MAX", 2)
    local = certificates.LocalCertificate(directory)
    for number in (1, 2, 3, 1):
        name = f"n{number}.localhost"
        assert shake_hands(local.context, local.authority, name) == [("DNS", name)]
    assert len(local._below) == 2


def test_a_certificate_for_a_name_is_made_anew_before_it_ends(directory: Path):
    moments = [NOW]
    local = certificates.LocalCertificate(directory, now=lambda: moments[-1])
    first = local._context_of("a.localhost")
    assert local._context_of("a.localhost") is first
    moments.append(NOW + 61 * DAY)
    assert local._context_of("a.localhost") is not first
