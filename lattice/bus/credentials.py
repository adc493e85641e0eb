"""Who connects and whom it trusts: the files that `ConnectOptions` names, read and checked.

Both clients of NATS connect with what this returns. It opens no connection, and no error shows a
secret.
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import nkeys

from lattice.bus.options import ConnectOptions
from lattice.errors import InvalidError


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One identity: a key, perhaps with a token that names its rights; or a password; or none."""

    seed: bytes = field(default=b"", repr=False)
    jwt: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def fields(self, nonce: str) -> dict[str, str]:
        """Return what CONNECT says of the identity, for a server's nonce (NATS client protocol)."""
        if self.seed:
            signed = {"sig": _sign(self.seed, nonce.encode())} if nonce else {}
            if self.jwt:
                return {"jwt": self.jwt, **signed}
            return {"nkey": _public(self.seed), **signed}
        if self.user:
            return {"user": self.user, "pass": self.password}
        return {"auth_token": self.token} if self.token else {}


def read_credentials(options: ConnectOptions) -> Credentials:
    """Return the identity that the options name.

    Raises:
        InvalidError: its file cannot be read or holds no key.
    """
    if options.creds is not None:
        text = read_file("creds", options.creds).decode("ascii", "replace")
        if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
            raise InvalidError(f"creds file {options.creds} has no user JWT and seed")
        seed = _after(text, "BEGIN USER NKEY SEED").encode()
        return Credentials(
            seed=_checked(seed, f"creds file {options.creds}"),
            jwt=_after(text, "BEGIN NATS USER JWT"),
        )
    if options.nkey_seed_path is not None:
        seed = read_file("nkey", options.nkey_seed_path).strip()
        return Credentials(seed=_checked(seed, f"nkey file {options.nkey_seed_path}"))
    if options.nkey_seed:
        return Credentials(seed=_checked(options.nkey_seed.strip(), "nkey seed"))
    return Credentials(user=options.user, password=options.password, token=options.token)


def identity_name(options: ConnectOptions) -> str:
    """Return what people call the identity, without its secret."""
    if options.creds is not None:
        return f"the credentials of {options.creds}"
    if options.nkey_seed_path is not None:
        return f"the nkey of {options.nkey_seed_path}"
    if options.nkey_seed:
        return "the given nkey"
    if options.user:
        return f"user {options.user} and its password"
    return "the given token" if options.token else "a client without credentials"


def tls_context(options: ConnectOptions) -> ssl.SSLContext | None:
    """Return whom TLS trusts and what it shows, or None unless the options ask for TLS.

    Raises:
        InvalidError: a file holds no certificate or key, or they do not fit.
    """
    is_tls_url = any(urlsplit(server).scheme in ("tls", "wss") for server in options.servers)
    if not (is_tls_url or options.tls_ca or options.tls_cert):
        return None
    if options.tls_ca is not None:
        read_file("tls-ca", options.tls_ca)
    try:
        context = ssl.create_default_context(cafile=options.tls_ca)
    except ssl.SSLError as error:
        raise InvalidError(f"tls-ca file {options.tls_ca} holds no certificate: {error}") from None
    if options.tls_cert is not None and options.tls_key is not None:
        read_file("tls-cert", options.tls_cert)
        read_file("tls-key", options.tls_key)
        try:
            context.load_cert_chain(options.tls_cert, options.tls_key)
        except ssl.SSLError as error:
            raise InvalidError(
                f"tls-cert {options.tls_cert} and tls-key {options.tls_key} do not fit: {error}"
            ) from None
    return context


def read_file(what: str, path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        InvalidError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"{what} file {path} cannot be read: {error.strerror}") from None


def _checked(seed: bytes, source: str) -> bytes:
    try:
        nkeys.from_seed(bytearray(seed)).wipe()
    except (nkeys.NkeysError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise InvalidError(f"{source} holds no nkey seed (S..., 58 characters): {reason}") from None
    return seed


def _after(text: str, mark: str) -> str:
    """Return the line after the one that has a mark."""
    lines = text.partition(mark)[2].splitlines()
    return lines[1].strip() if len(lines) > 1 else ""


def _public(seed: bytes) -> str:
    pair = nkeys.from_seed(bytearray(seed))
    public = bytes(pair.public_key).decode("ascii")
    pair.wipe()
    return public


def _sign(seed: bytes, nonce: bytes) -> str:
    pair = nkeys.from_seed(bytearray(seed))
    signature = base64.urlsafe_b64encode(pair.sign(nonce)).decode("ascii").rstrip("=")
    pair.wipe()
    return signature
