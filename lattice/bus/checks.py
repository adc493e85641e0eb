"""What all stores refuse before they do anything: one place, so that they refuse alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lattice.bus.base import BATCH_WRITES_MAX, PAYLOAD_BYTES_MAX, Fence, Write
from lattice.bus.matching import check_key
from lattice.errors import InvalidError
from lattice.model.ids import Digest, digest_fault

WRITE_HEADER_BYTES_MAX = 1024
"""Bytes that a store keeps free in each message for its own headers (a fence names a key)."""

VALUE_BYTES_MAX = PAYLOAD_BYTES_MAX - WRITE_HEADER_BYTES_MAX
"""Bytes of one value: what one message can carry beside the headers of a conditional write."""


def check_put(
    key: str, value: bytes, expect: int | None, fence: Fence | None, ttl_s: float | None
) -> None:
    """Refuse a write that no store could carry out.

    Raises:
        InvalidError: the key or fence is malformed, the value too large, both `expect` and
            `fence` are given, or the time to live is not positive.
    """
    check_key(key)
    check_value(key, value)
    if fence is not None:
        check_key(fence.key)
        if expect is not None:
            raise InvalidError(
                f"write of {key} has both expect and fence: use put_many, which takes both"
            )
    if ttl_s is not None and ttl_s <= 0:
        raise InvalidError(f"time to live of {key} is {ttl_s} s, needs more than 0")


def check_value(key: str, value: bytes) -> None:
    """Refuse a value that does not fit into one message.

    Raises:
        InvalidError: it is larger than `VALUE_BYTES_MAX`.
    """
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidError(
            f"value of {key} has {len(value)} bytes, at most {VALUE_BYTES_MAX}: put it into the "
            "object store and write its digest",
            size_bytes=len(value),
            limit_bytes=VALUE_BYTES_MAX,
        )


def check_writes(writes: Sequence[Write]) -> None:
    """Refuse a batch that no store could carry out; all faults are listed.

    Raises:
        InvalidError: no or too many writes, a key twice, a malformed key or too large a value.
    """
    faults = []
    if not 1 <= len(writes) <= BATCH_WRITES_MAX:
        faults.append(f"{len(writes)} writes, needs 1 to {BATCH_WRITES_MAX}")
    counts = Counter(write.key for write in writes)
    for write in writes:
        try:
            check_key(write.key)
            check_value(write.key, write.value or b"")
        except InvalidError as error:
            faults.append(error.message)
    faults += [f"{key}: written {count} times" for key, count in counts.items() if count > 1]
    if faults:
        raise InvalidError("batch of writes is refused", faults)


def check_digest(digest: Digest) -> None:
    """Refuse what is no digest.

    Raises:
        InvalidError: it is not `sha256:` and 64 lower-case hex digits.
    """
    if fault := digest_fault(digest):
        raise InvalidError(fault)
