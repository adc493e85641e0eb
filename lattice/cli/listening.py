"""Where hosts take requests over HTTP: the words of command lines, and the sockets they mean."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from hosts.sharing import (
    PortReservation,
    listening_on,
    own_socket,
    require_free,
    shared_socket,
)
from lattice.bus.lock import FileLock, read_note
from lattice.cli.process import cache_directory
from lattice.errors import ConflictError, InvalidError

if TYPE_CHECKING:
    import socket

    from hosts.http.front import HttpOptions

LOOPBACK = "127.0.0.1"

PORT = 8000
"""Where `lattice up` takes requests, if nobody else does."""

Address = tuple[str, int]


def parse_address(word: str) -> Address:
    """Return address and port of `ADDRESS:PORT`, or of a port of the loopback address.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = word.rpartition(":")
    try:
        if colon:
            host = str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        message = f"{word!r}, expected PORT or ADDRESS:PORT such as 0.0.0.0:8000 or [::1]:8000"
        raise ValueError(message)
    return host or LOOPBACK, number


def _check_addresses(_: object, words: Sequence[str] | None) -> None:
    for word in words or ():
        parse_address(word)


AddressWords = Annotated[
    list[str],
    Parameter(validator=_check_addresses, consume_multiple=False, metavar="[ADDRESS:]PORT"),
]
"""Repeatable `--http [ADDRESS:]PORT`."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a host takes requests over HTTP: nowhere unless somebody says so."""

    http: AddressWords | None = None
    """Take requests over HTTP here, such as 0.0.0.0:8000; may be repeated."""

    https: AddressWords | None = None
    """Take requests over HTTPS here; needs --certificate and --key; may be repeated."""

    certificate: Path | None = None
    """PEM file with the certificate and its chain; read again when it changes."""

    key: Path | None = None
    """PEM file with the key of the certificate."""

    client_ca: Path | None = None
    """PEM file of the authorities whose certificates clients must show."""

    http_dev: bool = False
    """Answer also at DEPLOYMENT.localhost, and tell clients what went wrong."""

    http_in_memory: Literal["on", "off"] = "on"
    """Whether requests between deployments that share the host stay in memory."""

    http_gateway: str | None = None
    """URL for requests to deployments that no host of this lattice answers for."""

    access_log: bool = False
    """Log a line for each request; else only for those that fail."""

    shares_http: Annotated[bool, Parameter(show=False)] = False
    """The ports are reserved for this host and others, which listen there too."""

    def check(self) -> None:
        """Return when the options fit together.

        Raises:
            InvalidError: they do not.
        """
        if self.https and not (self.certificate and self.key):
            raise InvalidError("--https needs --certificate and --key")
        if (self.certificate or self.key or self.client_ca) and not self.https:
            raise InvalidError("--certificate, --key and --client-ca are for --https")
        if self.http_gateway is not None:
            from hosts.http.internal import Gateway

            Gateway.parse(self.http_gateway)

    def open(self) -> HttpOptions:
        """Return the sockets; none when no requests are taken. Of a port alone it listens already.

        Raises:
            InvalidError: an address is none of this machine, or the certificate cannot be used.
            ConflictError: somebody else has a port.
        """
        from hosts.http.front import HttpOptions
        from hosts.http.internal import Gateway, InternalOptions
        from hosts.http.tls import Certificate

        certificate = None
        if self.certificate is not None and self.key is not None:
            certificate = Certificate(self.certificate, self.key, client_ca=self.client_ca)
        with ExitStack() as stack:
            plain = [stack.enter_context(self._listen(word)) for word in self.http or ()]
            encrypted = [stack.enter_context(self._listen(word)) for word in self.https or ()]
            stack.pop_all()  # none is missing: they are the host's now
        return HttpOptions(
            plain=plain,
            encrypted=encrypted,
            certificate=certificate,
            is_dev=self.http_dev,
            internal=InternalOptions(
                in_memory=self.http_in_memory == "on",
                gateway=Gateway.parse(self.http_gateway) if self.http_gateway else None,
            ),
        )

    @contextmanager
    def reserved(self) -> Iterator[list[str]]:
        """Yield the words that let other processes listen on these ports while the context lasts.

        Raises:
            InvalidError, ConflictError: as `open`.
        """
        with ExitStack() as stack:
            words: list[str] = []
            for name, given in (("http", self.http), ("https", self.https)):
                for word in given or ():
                    address = parse_address(word)
                    if not self.shares_http and address[1]:
                        require_free(*address)
                    reservation = PortReservation(*address)
                    stack.callback(reservation.close)
                    words.append(f"--{name}={_written(reservation.address)}")
            paths = (("certificate", self.certificate), ("key", self.key),
                     ("client-ca", self.client_ca))  # fmt: skip
            words += [f"--{name}={path}" for name, path in paths if path is not None]
            if words:
                words.append("--shares-http")
            words += ["--http-dev"] if self.http_dev else []
            words += ["--access-log"] if self.access_log else []
            if self.http_in_memory != "on":
                words.append(f"--http-in-memory={self.http_in_memory}")
            if self.http_gateway is not None:
                words.append(f"--http-gateway={self.http_gateway}")
            yield words

    def _listen(self, word: str) -> socket.socket:
        address = parse_address(word)
        if self.shares_http:
            # Listening would take connections from those who can answer, while this host joins.
            return shared_socket(address)
        return listening_on(own_socket(*address))


NOWHERE = Listening()
"""No requests are taken."""


@contextmanager
def port_of_lattice(wanted: int | None) -> Iterator[int]:
    """Yield a port of the loopback address that the hosts of one lattice share.

    `wanted` 0: a free one; None: `PORT`, or a free one when it is taken. No other lattice of this
    user gets it meanwhile.

    Raises:
        ConflictError: the wanted port is taken.
    """
    with ExitStack() as stack:
        if wanted is None:
            try:
                port = stack.enter_context(_shared(PORT))
            except ConflictError:
                port = stack.enter_context(_shared(0))
        else:
            port = stack.enter_context(_shared(wanted))
        yield port


@contextmanager
def _shared(port: int) -> Iterator[int]:
    with ExitStack() as stack:
        if port:
            stack.enter_context(_lock(port))
            require_free(LOOPBACK, port)
        reservation = PortReservation(LOOPBACK, port)
        stack.callback(reservation.close)
        yield reservation.address[1]


def _lock(port: int) -> FileLock:
    """Return a hold on a port against other lattices of this user, whose hosts could share it."""
    directory = cache_directory() / "ports"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidError(f"cannot make the directory {directory}: {exc.strerror}") from None
    path = directory / f"{port}.lock"
    try:
        lock = FileLock(path)
    except BlockingIOError:
        raise ConflictError(
            f"port {port} is taken by another lattice ({read_note(path) or 'unknown'})"
        ) from None
    return lock


def _written(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
