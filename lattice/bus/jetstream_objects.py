"""Objects over JetStream: see `Objects`, held to it by tests/contract.

The layout of NATS's object store (ADR-20), so that its tools can look into it if they name the
stream (none listens on the subjects of this layout, see `lattice.bus.intakes`): chunks under one
subject of each upload, and a description under the object's name, which here is the 64 hex digits
of its digest. Chunks of an upload that was broken off have no description; who collects garbage
removes them. Nothing is ever overwritten with other bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import anyio.to_thread

from lattice.bus.checks import check_digest
from lattice.bus.jetstream_api import JetStream, Pipeline
from lattice.bus.jetstream_reader import Reader, Reattached
from lattice.errors import ConflictError, DecodeError, InvalidError, NotFoundError
from lattice.model.ids import Digest, digest_hex
from lattice.wire import codec

CHUNK_BYTES = 128 * 1024
"""Bytes of one chunk: the size that NATS's own clients write."""

OBJECT_BYTES_MAX = 1024 * 1024 * 1024
"""Bytes of one object: it is held in memory when it is read, and whoever wrote its description
could otherwise fill ours."""

THREAD_BYTES = 4 * 1024 * 1024
"""Bytes above which a digest is computed on a thread: some 10 ms, too long for the event loop."""

_UPLOAD = re.compile(r"[A-Za-z0-9_-]+")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    upload: str
    size: int
    chunks: int


class JetStreamObjects:
    """See `Objects`."""

    def __init__(self, api: JetStream, bucket: str) -> None:
        self._api = api
        self._bucket = bucket
        self._stream = f"OBJ_{bucket}"
        api.guard(f"$O.{bucket}.", self._stream)

    async def put(self, body: bytes, *, progress: Progress | None = None) -> Digest:
        """See `Objects.put`."""
        digest = await _digest(body)
        if not await self.has(digest):
            await self._upload(digest, body, progress)
        elif progress is not None:
            progress(len(body), len(body))
        return digest

    async def get(self, digest: Digest, *, progress: Progress | None = None) -> bytes:
        """See `Objects.get`."""
        described = await self._describe(digest)
        if described is None:
            raise NotFoundError(f"no object {digest} in {self._bucket}", digest=digest)
        if described.size > OBJECT_BYTES_MAX:
            raise InvalidError(
                f"object {digest} in {self._bucket} has {described.size} bytes, "
                f"at most {OBJECT_BYTES_MAX} are read",
                digest=digest,
            )
        body = await self._download(described, progress)
        found = await _digest(body)
        if found != digest or len(body) != described.size:
            raise ConflictError(
                f"object {digest} in {self._bucket} is damaged: {len(body)} of {described.size} "
                f"bytes with digest {found}; delete it and put it again",
                digest=digest,
                found=found,
            )
        return body

    async def has(self, digest: Digest) -> bool:
        """See `Objects.has`."""
        return await self._describe(digest) is not None

    async def remove(self, digest: Digest) -> None:
        """See `Objects.remove`."""
        described = await self._describe(digest)
        if described is None:
            return
        # The description first: nobody begins to read what is about to go.
        for subject in (self._description_subject(digest), self._chunk_subject(described.upload)):
            await self._api.call(f"STREAM.PURGE.{self._stream}", {"filter": subject})

    async def _describe(self, digest: Digest) -> _Description | None:
        check_digest(digest)
        message = await self._api.last(self._stream, self._description_subject(digest))
        if message is None:
            return None
        plain = codec.decode(message.body, as_json=True)
        if not isinstance(plain, dict):
            raise DecodeError(f"description of {digest} in {self._bucket} is no JSON object")
        if plain.get("deleted"):
            return None
        upload, size, chunks = plain.get("nuid"), plain.get("size", 0), plain.get("chunks", 0)
        is_sound = isinstance(upload, str) and _UPLOAD.fullmatch(upload)
        if not is_sound or not _is_count(size) or not _is_count(chunks):
            raise DecodeError(
                f"description of {digest} in {self._bucket} is malformed: "
                f"nuid {upload!r:.80}, size {size!r:.80}, chunks {chunks!r:.80}"
            )
        return _Description(upload=str(upload), size=size, chunks=chunks)

    async def _upload(self, digest: Digest, body: bytes, progress: Progress | None) -> None:
        upload = secrets.token_hex(11)
        sent = 0
        # Many messages are sent before the first is answered, so look once more where they go.
        await self._api.find_intake(self._chunk_subject(upload), anew=True)
        with Pipeline(self._api) as pipeline:
            while sent < len(body):
                chunk = body[sent : sent + CHUNK_BYTES]
                await pipeline.write(self._chunk_subject(upload), chunk, {})
                sent += len(chunk)
                if progress is not None:
                    progress(sent, len(body))
            await pipeline.finish()
        await self._api.write(
            self._description_subject(digest),
            self._description(digest, upload, len(body)),
            {"Nats-Rollup": "sub"},
        )

    async def _download(self, described: _Description, progress: Progress | None) -> bytes:
        chunks: list[bytes] = []
        received = 0
        reader = Reader(
            self._api,
            self._stream,
            (self._chunk_subject(described.upload),),
            lambda: {"deliver_policy": "all"},
        )
        try:
            if described.chunks:
                await reader.open()
            while len(chunks) < described.chunks and not reader.is_caught_up:
                message = await reader.next()
                if isinstance(message, Reattached):
                    chunks.clear()
                    received = 0
                    continue
                chunks.append(message.body)
                received += len(message.body)
                if received > described.size:
                    break  # not what was described; the digest is checked next
                if progress is not None:
                    progress(received, described.size)
        finally:
            with anyio.CancelScope(shield=True):
                await reader.close()
        return b"".join(chunks)

    def _chunk_subject(self, upload: str) -> str:
        return f"$O.{self._bucket}.C.{upload}"

    def _description_subject(self, digest: Digest) -> str:
        name = base64.urlsafe_b64encode(digest_hex(digest).encode()).decode()
        return f"$O.{self._bucket}.M.{name}"

    def _description(self, digest: Digest, upload: str, size: int) -> bytes:
        raw = base64.urlsafe_b64encode(bytes.fromhex(digest_hex(digest))).decode()
        description = {
            "name": digest_hex(digest),
            "bucket": self._bucket,
            "nuid": upload,
            "size": size,
            "chunks": -(-size // CHUNK_BYTES),
            "digest": f"SHA-256={raw}",
            "mtime": datetime.now(UTC).isoformat(),
            "options": {"max_chunk_size": CHUNK_BYTES},
        }
        return json.dumps(description).encode()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


async def _digest(body: bytes) -> Digest:
    if len(body) < THREAD_BYTES:
        return Digest("sha256:" + hashlib.sha256(body).hexdigest())
    found = await anyio.to_thread.run_sync(lambda: hashlib.sha256(body).hexdigest())
    return Digest("sha256:" + found)
