"""Targets that are too large for a key: they lie in the object store, and the key names them.

The object is what counts for a host that reads the key later, so it stands before the key does and
goes when the next one stands. What a leader that died left behind is some megabytes at most.
"""

from __future__ import annotations

import logging

from lattice.bus.base import Objects
from lattice.errors import ConflictError, DecodeError, LatticeError, NotFoundError
from lattice.model.ids import Digest, HostId
from lattice.wire.codec import decode_as, encode
from lattice.wire.messages import Target

DOCUMENT_BYTES_MAX = 512 * 1024
"""Bytes of a target under its key: half a message, so that a batch of them is no burden."""

FEATURE = "large-targets@1"
"""What a host must understand to find such a target."""

log = logging.getLogger(__name__)


class LargeTargets:
    """The targets of one lattice that lie in its object store."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._standing: dict[str, Digest] = {}  # by host, as this process wrote or read them

    async def packed(self, target: Target, body: bytes) -> bytes:
        """Return what goes under the key of a target whose encoding is `body`.

        `Raises:` as `lattice.bus.base.Objects.put`.
        """
        if len(body) <= DOCUMENT_BYTES_MAX:
            return body
        digest = await self._objects.put(body)
        return encode(
            Target(
                epoch=target.epoch,
                host=target.host,
                incarnation=target.incarnation,
                needs=[FEATURE],
                body=digest,
            )
        )

    async def unpacked(self, named: Target) -> Target | None:
        """Return the target that a key names, None when it is gone or damaged.

        Raises:
            LatticeError: it cannot be read now.
        """
        digest = Digest(named.body)
        try:
            found = decode_as(Target, await self._objects.get(digest))
        except (NotFoundError, ConflictError, DecodeError) as exc:
            log.warning("large target of %s is taken for absent: %s", named.host, exc)
            return None
        self._standing[named.host] = digest
        return found

    async def forget_former(self, host: HostId, value: bytes | None) -> None:
        """Remove the object of a host's former target, now that its key holds `value`."""
        named = decode_as(Target, value).body if value else ""
        former = self._standing.pop(host, None)
        if named:
            self._standing[host] = Digest(named)
        if former is None or former == named:
            return
        try:
            await self._objects.remove(former)
        except LatticeError as exc:
            log.info("former target of %s not removed: %s", host, exc)
