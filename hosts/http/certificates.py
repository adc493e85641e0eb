"""A certificate for the names of this machine, made here and signed by an authority made here.

Whoever wants to trusts the authority once. Its signatures are good for `localhost`, names below it
and loopback addresses alone, so its key is of no use against any other site. Certificates last for
three months and are made anew in time. Nothing here listens.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import logging
import os
import platform
import re
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import anyio
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hosts.http.tls import Certificate
from lattice.bus.identity import create_private, secure_directory, write_private
from lattice.errors import DeniedError, InvalidError, LatticeError

AUTHORITY_FILE = "authority.pem"
"""What is to be trusted: the certificate of the authority, without its key."""

AUTHORITY_KEY_FILE = "authority.key"
"""The authority's certificate with its key."""

LOCALHOST_FILE = "localhost.pem"
"""What servers show: certificate and key in one file, so that they are replaced as one."""

NAMES = ("localhost", "*.localhost")
ADDRESSES = ("127.0.0.1", "::1")
"""What that certificate is good for."""

NAMES_MAX = 256
"""Names below `localhost` whose certificates are remembered: more than a machine has in use."""

AUTHORITY_LIFE = dt.timedelta(days=3650)
"""Whoever trusted the authority does so again after ten years."""

LOCALHOST_LIFE = dt.timedelta(days=90)
"""Browsers refuse certificates that last for years."""

RENEW_BEFORE = dt.timedelta(days=30)
"""A certificate with less than this left is made anew."""

RENEW_PERIOD_S = 3600.0
"""How often a server that runs looks; not daily, since no time passes while a machine sleeps."""

SKEW = dt.timedelta(hours=1)
"""A certificate is good since before it was made: clocks of containers differ a little."""

FILE_BYTES_MAX = 64 * 1024
"""A certificate with its key has a thousand bytes; what is larger is some other file."""

_BELOW = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+localhost")
_PEM = serialization.Encoding.PEM

log = logging.getLogger(__name__)

Now: TypeAlias = Callable[[], dt.datetime]
_Client: TypeAlias = ssl.SSLObject | ssl.SSLSocket


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class LocalCertificate(Certificate):
    """A TLS context for `localhost`, and for any name below it that a client asks for.

    What it needs is kept in a directory, made or renewed where that is due. Of several processes
    that start at once in one new directory all use the same authority.
    """

    def __init__(self, directory: Path, *, now: Now = _utc_now) -> None:
        """Take or make the files.

        Raises:
            DeniedError: the directory or a file in it can be read by others, or not written by us.
            InvalidError: the file of the authority holds something else.
        """
        self._directory = directory
        self._now = now
        self._below: OrderedDict[str, tuple[ssl.SSLContext, dt.datetime]] = OrderedDict()
        self.authority = directory / AUTHORITY_FILE
        """What is to be trusted, as a file."""
        renew(directory, now())
        own = directory / LOCALHOST_FILE
        super().__init__(own, own)
        self.context.sni_callback = self._choose

    async def watch(self) -> None:
        """Renew the files when that is due, and take them anew when they change."""
        async with anyio.create_task_group() as group:
            group.start_soon(super().watch)
            while True:
                await anyio.sleep(RENEW_PERIOD_S)
                try:
                    renew(self._directory, self._now())
                except LatticeError as error:
                    log.warning("the certificate for localhost is not renewed: %s", error)

    def _choose(self, client: _Client, name: str | None, _context: ssl.SSLContext) -> None:
        """Show a client that asks for a name below `localhost` a certificate for just that name.

        OpenSSL takes none for `*.localhost`, since it holds a name without a dot for a public one.
        """
        if name is None or not _BELOW.fullmatch(name.lower()):
            return
        try:
            client.context = self._context_of(name.lower())
        except (LatticeError, OSError) as error:
            log.warning("no certificate for %s: %s", name, error)

    def _context_of(self, name: str) -> ssl.SSLContext:
        now = self._now()
        known, good_until = self._below.get(name, (None, now))
        if known is not None and now < good_until:
            return known
        pair = _signed(_authority(self._directory, now), [name], (), now)
        # The system's TLS takes certificates from files only.
        with tempfile.TemporaryDirectory(dir=self._directory) as folder:
            path = Path(folder) / LOCALHOST_FILE
            write_private(path, pair.pem())
            made = Certificate(path, path).context
        self._below[name] = made, _due(pair.certificate)
        if len(self._below) > NAMES_MAX:
            self._below.popitem(last=False)
        return made


def renew(directory: Path, now: dt.datetime) -> None:
    """Make what is missing or due in a directory; `Raises:` as `LocalCertificate`."""
    secure_directory(directory)
    authority = _authority(directory, now)
    public = authority.certificate.public_bytes(_PEM)
    if _read(directory / AUTHORITY_FILE) != public:
        write_private(directory / AUTHORITY_FILE, public)
    own = directory / LOCALHOST_FILE
    if not _is_good(own, authority.certificate, now):
        write_private(own, _signed(authority, NAMES, ADDRESSES, now).pem())
        log.info("a new certificate for localhost is in %s", own)


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        """Return both as one file."""
        plain = serialization.NoEncryption()
        key = self.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, plain)
        return self.certificate.public_bytes(_PEM) + key


def _authority(directory: Path, now: dt.datetime) -> _Pair:
    """Return the authority, made when there is none or its end is near."""
    path = directory / AUTHORITY_KEY_FILE
    if not path.exists():
        create_private(path, _new_authority(now).pem())
        log.info("a new authority for certificates of localhost is in %s", directory)
    found = _load(path)
    if found.certificate.not_valid_after_utc - now < LOCALHOST_LIFE:
        log.warning("the authority in %s ends, a new one is to be trusted", directory)
        write_private(path, _new_authority(now).pem())
        found = _load(path)
    return found


def _load(path: Path) -> _Pair:
    content = _read(path)
    if content is None or (os.name == "posix" and path.stat().st_mode & 0o077):
        raise DeniedError(f"{path} must be readable by its owner alone: run chmod 600 {path}")
    with contextlib.suppress(ValueError, TypeError):
        key = serialization.load_pem_private_key(content, None)
        certificate = x509.load_pem_x509_certificate(content)
        if isinstance(key, ec.EllipticCurvePrivateKey) and (
            key.public_key() == certificate.public_key()
        ):
            return _Pair(certificate, key)
    raise InvalidError(f"{path} holds no certificate with its key: remove it, to have it made anew")


def _is_good(path: Path, authority: x509.Certificate, now: dt.datetime) -> bool:
    """Tell whether a file can be shown to clients for some time to come."""
    try:
        found = _load(path).certificate
        found.verify_directly_issued_by(authority)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (LatticeError, OSError, ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        return False
    is_timely = found.not_valid_before_utc <= now < _due(found)
    return is_timely and names == _names(NAMES, ADDRESSES)


def _due(certificate: x509.Certificate) -> dt.datetime:
    return certificate.not_valid_after_utc - RENEW_BEFORE


def _new_authority(now: dt.datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"Lattice, localhost of {platform.node()}"[:64])]
    )
    scope = x509.NameConstraints(
        [x509.DNSName("localhost")]
        + [x509.IPAddress(ipaddress.ip_network(each)) for each in ("127.0.0.0/8", "::1/128")],
        None,
    )
    builder = (
        _builder(name, name, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(scope, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _Pair(builder.sign(key, hashes.SHA256()), key)


def _signed(
    authority: _Pair, names: Sequence[str], addresses: Sequence[str], now: dt.datetime
) -> _Pair:
    """Return a new certificate for names and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    builder = (
        _builder(x509.Name([]), authority.certificate.subject, key, now, LOCALHOST_LIFE)
        .add_extension(_names(names, addresses), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    life: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
    )


def _names(names: Sequence[str], addresses: Sequence[str]) -> x509.SubjectAlternativeName:
    found = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    return x509.SubjectAlternativeName([*map(x509.DNSName, names), *found])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError:
        return None
