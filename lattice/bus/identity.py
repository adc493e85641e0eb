"""Keys: how an identity of a lattice is made, kept in files and read back.

An identity is an Ed25519 nkey of a NATS user (`S...` the seed, `U...` the public key) and, for
secrets that are sealed for it, an X25519 curve key (`SX...`, `X...`). Seeds live in files that
only their owner can read; nothing here sends, logs or prints one.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nacl.public
import nkeys

from lattice.errors import ConflictError, DeniedError, InvalidError

IDENTITY_FILE = "identity.nk"
"""The nkey seed of a host, in the directory that the host keeps its state in."""

CURVE_FILE = "identity.xk"
"""The curve key seed of a host, beside its nkey."""

SEED_FILE_BYTES_MAX = 4096
"""A seed file holds 58 characters and perhaps comments; what is larger is some other file."""

_SEED_BYTES = 32
_PREFIX_USER = 20 << 3  # base32 then begins with U (NATS ADR-14)
_PREFIX_CURVE = 23 << 3  # with X
_PREFIX_SEED = 18 << 3  # with S


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a process is. `id` is the public nkey and, for a host, also its host id."""

    id: str
    seed_path: Path
    curve_public_key: str
    curve_seed_path: Path


def create_user_seed() -> bytes:
    """Return the seed of a new user nkey: 58 characters that begin with `SU`."""
    return _encode_seed(_PREFIX_USER, secrets.token_bytes(_SEED_BYTES))


def create_curve_seed() -> bytes:
    """Return the seed of a new curve key: 58 characters that begin with `SX`."""
    return _encode_seed(_PREFIX_CURVE, secrets.token_bytes(_SEED_BYTES))


def public_key(seed: bytes) -> str:
    """Return the public key (56 characters, `U...` or `X...`) that belongs to a seed.

    Raises:
        InvalidError: it is not the seed of a user or a curve key, or its checksum is wrong.
    """
    prefix, raw = _decode_seed(seed)
    if prefix == _PREFIX_CURVE:
        return _encode(bytes([prefix]) + bytes(nacl.public.PrivateKey(raw).public_key)).decode()
    pair = nkeys.from_seed(bytearray(seed.strip()))
    return bytes(pair.public_key).decode()


def user_key_fault(text: str) -> str | None:
    """Return why a string is no public user nkey, or None if it is one."""
    shown = "a seed (S..., a secret)" if text.startswith("S") else repr(text)
    fault = f"{shown} is not a public user nkey: 56 characters beginning with 'U'"
    try:
        raw = base64.b32decode(text.encode())
    except ValueError:
        return fault
    if len(raw) != _SEED_BYTES + 3 or raw[0] != _PREFIX_USER:
        return fault
    return None if _encode(raw[:-2]) == text.encode() else f"{fault}; its checksum is wrong"


def load_or_create_identity(directory: Path) -> Identity:
    """Return the identity kept in `directory`, making directory and keys at the first time.

    Of several processes that start at once in one new directory all get the same identity.

    Raises:
        DeniedError: the directory or a file in it can be read by others, or not by us.
        InvalidError: a file in it does not hold a seed.
    """
    secure_directory(directory)
    seed_path = directory / IDENTITY_FILE
    curve_path = directory / CURVE_FILE
    return Identity(
        id=load_or_create_seed(seed_path, create_user_seed()),
        seed_path=seed_path,
        curve_public_key=load_or_create_seed(curve_path, create_curve_seed()),
        curve_seed_path=curve_path,
    )


def load_or_create_seed(path: Path, fresh: bytes) -> str:
    """Return the public key of the seed in a file, which gets `fresh` if it does not exist.

    Raises:
        DeniedError: it cannot be written; others as `load_seed`.
    """
    if not path.exists():
        create_private(path, fresh + b"\n")
    return public_key(load_seed(path))


def load_seed(path: Path) -> bytes:
    """Return the seed that a file holds, and nothing else.

    Raises:
        DeniedError: others may read or change the file, or we may not read it.
        InvalidError: there is no such file, or it does not hold one seed.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(SEED_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise InvalidError(f"key file {path} does not exist", path=str(path)) from None
    except PermissionError:
        raise DeniedError(f"key file {path} cannot be read by this user", path=str(path)) from None
    except OSError as error:
        raise InvalidError(f"key file {path} cannot be read: {error.strerror}") from None
    if os.name == "posix" and mode & 0o077:
        raise DeniedError(
            f"key file {path} has mode {mode:04o}, so others can use the key; needs 0600: "
            f"run chmod 600 {path}, and make a new key if others may have read it",
            path=str(path),
        )
    seed = content.strip()
    try:
        public_key(seed)
    except InvalidError as error:
        raise InvalidError(
            f"key file {path} does not hold a seed: {error.message}; restore it from a copy, or "
            "remove it and start again with a new key",
            path=str(path),
        ) from None
    return seed


def secure_directory(directory: Path) -> None:
    """Make a directory, with its parents, that only we can enter; one that stands is checked.

    Raises:
        DeniedError: others may enter it, or it cannot be made.
        ConflictError: something else has that name.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except FileExistsError:
        raise ConflictError(f"{directory} exists and is not a directory") from None
    except OSError as error:
        raise DeniedError(f"directory {directory} cannot be made: {error.strerror}") from None
    mode = stat.S_IMODE(found.st_mode)
    if os.name == "posix" and mode & 0o077:
        raise DeniedError(
            f"directory {directory} has mode {mode:04o}, so others can look into it; "
            f"needs 0700: run chmod 700 {directory}",
            path=str(directory),
        )


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one that only we can read, all at once: no reader sees a half.

    Raises:
        DeniedError: it cannot be written, for want of a permission or of room.
    """
    with _writing(path):
        staged = _stage(path, content)
        try:
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)
        _sync_directory(path.parent)


def create_private(path: Path, content: bytes) -> None:
    """Write a new file that only we can read, unless another process was faster: its file stands.

    Raises:
        DeniedError: it cannot be written, for want of a permission or of room.
    """
    with _writing(path):
        staged = _stage(path, content)
        try:
            os.link(staged, path)  # unlike a rename, never replaces a file
        except FileExistsError:
            pass
        finally:
            staged.unlink()
        _sync_directory(path.parent)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeniedError(f"{path} cannot be written: {error.strerror}", path=str(path)) from None


def _stage(path: Path, content: bytes) -> Path:
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        staged.unlink()
        raise
    return staged


def _sync_directory(directory: Path) -> None:
    """Make a new name survive the loss of power, where directories can be synced."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encode(raw: bytes) -> bytes:
    """Return base32 of bytes and their checksum (CRC-16, little-endian; NATS ADR-14)."""
    return base64.b32encode(raw + bytes(nkeys.crc16_checksum(raw))).rstrip(b"=")


def _encode_seed(prefix: int, raw: bytes) -> bytes:
    # Five bits say "seed", the next eight what kind, and the rest of two bytes is unused.
    return _encode(bytes([_PREFIX_SEED | prefix >> 5, (prefix & 31) << 3]) + raw)


def _decode_seed(seed: bytes) -> tuple[int, bytes]:
    text = seed.strip()
    try:
        decoded = base64.b32decode(text + b"=" * (-len(text) % 8))
    except ValueError:
        raise InvalidError("it is not base32") from None
    if len(decoded) != _SEED_BYTES + 4:
        raise InvalidError(f"it has {len(decoded)} bytes, a seed has {_SEED_BYTES + 4}")
    prefix = (decoded[0] & 7) << 5 | decoded[1] >> 3
    raw = decoded[2:-2]
    if decoded[0] & 248 != _PREFIX_SEED or prefix not in (_PREFIX_USER, _PREFIX_CURVE):
        raise InvalidError("it is not the seed of a user or curve key ('SU...' or 'SX...')")
    if _encode_seed(prefix, raw) != text:
        raise InvalidError("its checksum is wrong, so a character was lost or changed")
    return prefix, raw
