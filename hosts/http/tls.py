"""The certificate of the server, taken anew when its files change.

A connection keeps what it was opened with; the next one gets the new certificate. Files that cannot
be used leave the old certificate in place, since renewing must not take a server down.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import anyio

from lattice.errors import InvalidError

LOOK_PERIOD_S = 5.0
"""How often the files are looked at: two calls of `stat`; certificates change every few weeks."""

log = logging.getLogger(__name__)


class Certificate:
    """A TLS context whose certificate follows two files."""

    def __init__(self, cert: Path, key: Path, *, client_ca: Path | None = None) -> None:
        """Load the files; with `client_ca` clients must show a certificate that it signed.

        Raises:
            InvalidError: a file cannot be read, or they do not belong together.
        """
        self._cert = cert
        self._key = key
        self._seen = self._stamp()
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        _load(self.context, cert, key)
        if client_ca is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
            try:
                self.context.load_verify_locations(client_ca)
            except (OSError, ssl.SSLError) as exc:
                raise InvalidError(f"authority of clients {client_ca}: {exc}") from None

    def reload(self) -> None:
        """Take the files as they are now; connections from now on get them.

        Raises:
            InvalidError: they cannot be used; the certificate stays the one before.
        """
        self._seen = self._stamp()
        # Tried on a context of its own first: a failure must not leave half of the new pair.
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._cert, self._key)
        _load(self.context, self._cert, self._key)

    def reload_if_changed(self) -> bool:
        """Reload when a file changed since, and tell whether the new certificate is in use."""
        if self._stamp() == self._seen:
            return False
        try:
            self.reload()
        except InvalidError as error:
            log.warning("the certificate stays the one before: %s", error)
            return False
        log.info("the certificate in %s was taken anew", self._cert)
        return True

    async def watch(self) -> None:
        """Reload whenever the files change, until cancelled."""
        while True:
            await anyio.sleep(LOOK_PERIOD_S)
            self.reload_if_changed()

    def _stamp(self) -> tuple[object, ...]:
        """Return what differs when a file was written or replaced, also while one is missing."""
        return tuple(_file_stamp(path) for path in (self._cert, self._key))


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    try:
        # Never asks on the terminal for the password of a key.
        context.load_cert_chain(cert, key, password=b"")
    except (OSError, ssl.SSLError) as exc:
        raise InvalidError(
            f"certificate {cert} with key {key} cannot be used: {_reason(exc, cert, key)}"
        ) from None


def _reason(error: OSError, cert: Path, key: Path) -> str:
    """Return what is wrong with the files, in place of the words of the TLS library."""
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "they do not belong together"
        return "they hold no certificate with its key in PEM form, or the key has a password"
    for path in (cert, key):
        try:
            path.open("rb").close()
        except OSError as exc:
            return f"{path}: {exc.strerror}"
    return str(error.strerror or error)
