"""Messages to bytes and back: MessagePack between the lattice's own parts, JSON when asked for.

`msgpack` makes the bytes, `msgspec.convert` makes the types, so that a bad message is refused
with the path of the bad field. Unknown fields are ignored; new fields have defaults.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgpack
import msgspec

from lattice.errors import DecodeError, from_wire
from lattice.model.depth import is_deeper

JSON_TYPE = "application/json"
"""The value of the header `Content-Type` that asks for JSON; the answer is then JSON too."""

CONTENT_TYPE = "Content-Type"

NESTING_MAX = 64
"""Levels of maps and arrays in a message: far above what WIT values need, far below the stack."""

T = TypeVar("T")

_ENCODER = msgspec.msgpack.Encoder()


def is_json(headers: Mapping[str, str]) -> bool:
    """Tell whether a packet's headers ask for JSON (name and value compared without case)."""
    return bool(headers) and any(
        name.lower() == "content-type" and value.partition(";")[0].strip().lower() == JSON_TYPE
        for name, value in headers.items()
    )


def encode(value: object, *, as_json: bool = False) -> bytes:
    """Return the bytes of a message: a dataclass, or plain maps, sequences and scalars."""
    if as_json:
        plain = msgspec.to_builtins(value, builtin_types=(bytes,))
        return json.dumps(plain, separators=(",", ":"), default=_json_default).encode()
    try:
        return _ENCODER.encode(value)
    except RecursionError:
        message = "the message nests too deep to be encoded"
        raise ValueError(message) from None


def decode(body: bytes, *, as_json: bool = False) -> Any:
    """Return the plain value that bytes hold.

    Raises:
        DecodeError: they are not MessagePack (or JSON), or nest deeper than `NESTING_MAX`.
    """
    try:
        if as_json:
            plain = json.loads(body)
        else:
            plain = msgpack.unpackb(body, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as exc:
        # A TypeError: MessagePack may write a map or an array as the key of a map.
        form = "JSON" if as_json else "MessagePack"
        raise DecodeError(
            f"{len(body)} bytes are not {form}: {str(exc) or type(exc).__name__}"
        ) from None
    if is_deeper(plain, NESTING_MAX):
        raise DecodeError(f"message nests deeper than {NESTING_MAX} levels")
    return plain


def decode_as(cls: type[T], body: bytes, *, as_json: bool = False) -> T:
    """Return a message of the given dataclass.

    Raises:
        DecodeError: as `decode`, or a field is missing or of another type; the path is named.
    """
    return convert(decode(body, as_json=as_json), cls)


def decode_often(cls: type[T], body: bytes) -> T:
    """Return the same as `decode_as` of MessagePack, several times faster, for messages that come
    all the time. The class has no field of any type, so that its own depth bounds what is read.

    `Raises:` as `decode_as`.
    """
    try:
        return msgspec.msgpack.decode(body, type=cls)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return decode_as(cls, body)  # which tells what is wrong


def decode_values(cls: type[T], body: bytes, *fields: str) -> T:
    """Return the same as `decode_as` of MessagePack, several times faster. `fields` are those of
    any type, whose depth is looked at.

    `Raises:` as `decode_as`.
    """
    try:
        message = msgspec.msgpack.decode(body, type=cls)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return decode_as(cls, body)  # which tells what is wrong
    for name in fields:
        value = getattr(message, name)
        if value is not None and is_deeper(value, NESTING_MAX - 1):
            raise DecodeError(f"message nests deeper than {NESTING_MAX} levels")
    return message


def convert(plain: object, cls: type[T]) -> T:
    """Return plain values as the given dataclass.

    Raises:
        DecodeError: a field is missing or of another type; the path is named.
    """
    try:
        return msgspec.convert(plain, cls)
    except msgspec.ValidationError as exc:
        raise DecodeError(f"not a valid {cls.__name__}: {exc}") from None


def answer_of(body: bytes, *, as_json: bool = False) -> dict[str, Any]:
    """Return the `ok` map of an answer to a request.

    Raises:
        LatticeError: what its `err` says.
        DecodeError: it is neither `{ok}` nor `{err}`.
    """
    plain = decode(body, as_json=as_json)
    if isinstance(plain, dict) and isinstance(plain.get("err"), dict):
        raise from_wire(plain["err"])
    ok = plain.get("ok") if isinstance(plain, dict) else None
    if not isinstance(ok, dict):
        shape = sorted(map(str, plain)) if isinstance(plain, dict) else type(plain).__name__
        raise DecodeError(f"answer is neither {{ok}} nor {{err}} but {shape}")
    return ok


def _json_default(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    message = f"{type(value).__name__} has no JSON form"
    raise TypeError(message)
