"""Where hosts listen: addresses of options, sockets, and a port that one lattice has alone."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hosts.sharing import listening_on, listening_socket, own_socket
from lattice.cli import listening
from lattice.cli.listening import LOOPBACK, Listening, parse_address, port_of_lattice
from lattice.errors import ConflictError, InvalidError
from tests.contract.certificates import make_certificate


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def free_port() -> int:
    with own_socket(LOOPBACK, 0) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("word", "address"),
    [
        ("8000", (LOOPBACK, 8000)),
        ("0", (LOOPBACK, 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_an_address_is_a_port_or_both(word: str, address: tuple[str, int]):
    assert parse_address(word) == address


@pytest.mark.parametrize(
    "word", ["", "a", "65536", "-1", "a.org:80", ":", "1.2.3.4:", "٣", "1.2.3:4"]
)
def test_another_word_is_refused_with_what_is_expected(word: str):
    with pytest.raises(ValueError, match=r"expected PORT or ADDRESS:PORT"):
        parse_address(word)


def test_nothing_is_opened_unless_somebody_says_where():
    assert Listening().open().urls == ()
    with Listening(http_dev=True).reserved() as words:
        assert words == ["--http-dev"]


def test_a_host_alone_has_its_ports_alone():
    options = Listening(http=["0", "[::1]:0"]).open()
    try:
        hosts = [each.getsockname()[0] for each in options.plain]
        assert hosts == [LOOPBACK, "::1"]
        port = options.plain[0].getsockname()[1]
        assert options.urls[0] == f"http://{LOOPBACK}:{port}"
        assert options.urls[1].startswith("http://[::1]:")
        with pytest.raises(ConflictError, match=f"port {port} of {LOOPBACK} is taken"):
            Listening(http=[str(port)]).open()
    finally:
        for each in options.plain:
            each.close()


def test_what_was_opened_is_closed_when_the_next_address_cannot_be():
    port = free_port()
    with pytest.raises(ConflictError):
        Listening(http=[str(port), str(port)]).open()
    own_socket(LOOPBACK, port).close()


def test_https_needs_certificate_and_key_and_they_need_https(tmp_path: Path):
    for options in (
        Listening(https=["0"]),
        Listening(https=["0"], certificate=tmp_path),
        Listening(certificate=tmp_path, key=tmp_path),
        Listening(http=["0"], client_ca=tmp_path),
    ):
        with pytest.raises(InvalidError, match="--https"):
            options.check()


def test_workers_get_the_words_to_listen_where_the_ports_are_reserved(tmp_path: Path):
    given = Listening(http=["0"], https=["0"], certificate=tmp_path / "c", key=tmp_path / "k")
    with given.reserved() as words:
        plain, encrypted, *others = words
        assert others == [f"--certificate={tmp_path / 'c'}", f"--key={tmp_path / 'k'}",
                          "--shares-http"]  # fmt: skip
        port = int(plain.removeprefix(f"--http={LOOPBACK}:"))
        assert encrypted.startswith(f"--https={LOOPBACK}:")
        shared = Listening(http=[str(port)], shares_http=True)
        first, second = shared.open(), shared.open()
        for options in (first, second):
            options.plain[0].close()


def test_a_certificate_is_loaded(tmp_path: Path):
    pair = make_certificate(tmp_path, "host")
    options = Listening(https=["0"], certificate=pair.cert, key=pair.key).open()
    with options.encrypted[0] as encrypted:
        assert options.certificate is not None
        assert options.urls == (f"https://{LOOPBACK}:{encrypted.getsockname()[1]}",)
    with pytest.raises(InvalidError, match="certificate"):
        Listening(https=["0"], certificate=pair.key, key=pair.key).open()


def test_the_usual_port_goes_to_one_lattice_and_the_next_gets_another(
    monkeypatch: pytest.MonkeyPatch,
):
    usual = free_port()
    monkeypatch.setattr(listening, "PORT", usual)
    with port_of_lattice(None) as first, port_of_lattice(None) as second:
        assert first == usual
        assert second != usual
        with (
            pytest.raises(ConflictError, match="is taken by another lattice"),
            port_of_lattice(usual),
        ):
            pass
        # Its hosts share it.
        for _ in range(2):
            listening_socket((LOOPBACK, first), backlog=1).close()
    with port_of_lattice(None) as third:
        assert third == usual


def test_a_port_on_which_somebody_listens_is_not_shared_with_them(
    monkeypatch: pytest.MonkeyPatch,
):
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    other.bind((LOOPBACK, 0))
    with listening_on(other, backlog=1):
        taken = other.getsockname()[1]
        with pytest.raises(ConflictError), port_of_lattice(taken):
            pass
        monkeypatch.setattr(listening, "PORT", taken)
        with port_of_lattice(None) as found:
            assert found != taken


def test_an_error_of_what_uses_the_port_is_not_taken_for_one_of_the_port():
    with pytest.raises(ConflictError, match="mine"), port_of_lattice(None):
        raise ConflictError("mine")


def test_how_requests_between_deployments_travel_goes_to_every_worker():
    options = Listening(http_in_memory="off", http_gateway="http://gw.example:81/in/")
    options.check()
    internal = options.open().internal
    assert not internal.in_memory
    assert internal.gateway is not None
    assert (internal.gateway.origin, internal.gateway.path) == ("http://gw.example:81", "/in")
    with options.reserved() as words:
        assert words == ["--http-in-memory=off", "--http-gateway=http://gw.example:81/in/"]
    with pytest.raises(InvalidError, match="gateway 'gw' is none"):
        Listening(http_gateway="gw").check()
