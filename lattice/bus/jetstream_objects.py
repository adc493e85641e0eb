"""Objects over JetStream: see `Objects`, held to it by tests/contract.

The layout of NATS's object store (ADR-20), so that its tools can look into it: chunks under one
subject of each upload, and a description under the object's name, which here is the 64 hex digits
of its digest. Chunks of an upload that was broken off have no description; who collects garbage
removes them. Nothing is ever overwritten with other bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import anyio.to_thread

from lattice.bus.checks import check_digest
from lattice.bus.jetstream_api import JetStream, Pipeline
from lattice.bus.jetstream_reader import Reader, Reattached
from lattice.errors import ConflictError, DecodeError, NotFoundError
from lattice.model.ids import Digest, digest_hex
from lattice.wire import codec

CHUNK_BYTES = 128 * 1024
"""Bytes of one chunk: the size that NATS's own clients write."""

THREAD_BYTES = 4 * 1024 * 1024
"""Bytes above which a digest is computed on a thread: some 10 ms, too long for the event loop."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    upload: str
    size: int
    chunks: int
    sha256: str  # as ADR-20 writes it


class JetStreamObjects:
    """See `Objects`."""

    def __init__(self, api: JetStream, bucket: str) -> None:
        self._api = api
        self._bucket = bucket
        self._stream = f"OBJ_{bucket}"

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
        return _Description(
            upload=str(plain.get("nuid", "")),
            size=int(plain.get("size", 0)),
            chunks=int(plain.get("chunks", 0)),
            sha256=str(plain.get("digest", "")),
        )

    async def _upload(self, digest: Digest, body: bytes, progress: Progress | None) -> None:
        upload = secrets.token_hex(11)
        sent = 0
        with Pipeline(self._api.link) as pipeline:
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


async def _digest(body: bytes) -> Digest:
    if len(body) < THREAD_BYTES:
        return Digest("sha256:" + hashlib.sha256(body).hexdigest())
    found = await anyio.to_thread.run_sync(lambda: hashlib.sha256(body).hexdigest())
    return Digest("sha256:" + found)
