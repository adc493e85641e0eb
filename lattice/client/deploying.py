"""From a manifest file to a running deployment: read, upload by digest, submit, wait.

The scheduler decides whether a manifest is right; this module only finds what cannot even be
submitted (no such file, not a component), all faults at once and before anything is uploaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from lattice.bus.base import Objects
from lattice.client.asking import Asker
from lattice.client.views import Status, reason_text
from lattice.component.reader import read_component
from lattice.errors import (
    ConflictError,
    DeadlineExceededError,
    InvalidError,
    LatticeError,
    NoRouteError,
    NotFoundError,
)
from lattice.model.deployment import Deployment, File
from lattice.model.ids import Digest, digest_fault
from lattice.model.manifest import (
    Document,
    load_documents,
    parse_deployment,
    parse_document,
    to_document,
)
from lattice.wire import codec
from lattice.wire.requests import OneDeployment, PutDeployment

Manifest = Path | str | Mapping[str, Any] | Deployment
"""A manifest file, its text (a string with a line break), one document, or a checked value."""

MANIFEST_BYTES_MAX = 1024 * 1024
"""Bytes of a manifest file: the request that carries a document has the same limit."""

ARTIFACT_BYTES_MAX = 1024 * 1024 * 1024
"""Bytes of one component or file: it is held in memory while it is uploaded."""

READY_TIMEOUT_S = 60.0
"""Seconds until a deployment must be ready when the caller waits and does not say how long."""

POLL_FIRST_S = 0.01
"""Seconds before the second look at a deployment that is not ready yet: components that the hosts
have compiled before start in some 10 ms. Each further wait is half as long again."""

POLL_LONGEST_S = 0.1
"""Seconds between two such looks at most: what a caller waits in vain once it is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """How far one artifact has come."""

    deployment: str
    name: str  # of the component, service or file
    sent_bytes: int
    all_bytes: int


Progress = Callable[[Upload | Status], None]
"""Told of each step: bytes of uploads, then (when waiting) each change of the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one submitted deployment."""

    name: str
    generation: int
    revision: int
    changed: bool
    warnings: list[Any]
    paused: bool = False  # what runs stays as it is until it is resumed
    status: Status | None = None  # only when it was waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A deployment whose images and files are digests, and the bytes behind new ones."""

    deployment: Deployment
    bodies: Mapping[Digest, tuple[str, bytes]]  # digest -> (name of the part or file, bytes)


async def resolve(manifest: Manifest) -> list[Resolved]:
    """Return every deployment of a manifest with its artifacts read, in the manifest's order.

    Paths of `image` and `source` are relative to the manifest file, else to the working directory.

    Raises:
        InvalidError: the manifest is wrong, or a file is missing or no component; all are listed.
    """
    base, documents = await anyio.to_thread.run_sync(_documents, manifest)
    resolved: list[Resolved] = []
    faults: list[str] = []
    for document in documents:
        try:
            deployment = _deployment(document)
            resolved.append(await anyio.to_thread.run_sync(_read_artifacts, deployment, base))
        except InvalidError as exc:
            faults += exc.faults or (exc.message,)
    if faults:
        raise InvalidError(f"{_title(manifest)} cannot be submitted", faults)
    if not resolved:
        raise InvalidError(f"{_title(manifest)} holds no deployment")
    return resolved


async def submit(
    asker: Asker, objects: Objects, resolved: Resolved, *, by: str, progress: Progress | None = None
) -> Applied:
    """Upload what the lattice lacks, submit one deployment and return what became of it.

    Raises:
        InvalidError: the scheduler refuses the deployment; its faults are listed.
    """
    name = resolved.deployment.name
    for part, body in resolved.bodies.values():

        def tell(sent: int, total: int, part: str = part) -> None:
            if progress is not None:
                progress(Upload(deployment=name, name=part, sent_bytes=sent, all_bytes=total))

        await objects.put(body, progress=tell)
    answer = await asker.api(
        "put", PutDeployment(manifest=to_document(resolved.deployment), submitted_by=by)
    )
    return codec.convert({"warnings": [], **answer}, Applied)


async def wait_ready(
    asker: Asker,
    applied: Applied,
    *,
    timeout_s: float = READY_TIMEOUT_S,
    progress: Progress | None = None,
) -> Applied:
    """Return what was applied, with its status, once every wanted replica of it runs.

    A newer generation that somebody else applied meanwhile is waited for in its place.

    Raises:
        InvalidError: it failed; `faults` has the hosts' own error texts.
        ConflictError: the deployment is paused.
        DeadlineExceededError: not ready within `timeout_s`; the message tells what is missing.
        NotFoundError: it was deleted meanwhile.
    """
    status: Status | None = None
    pause_s = POLL_FIRST_S
    with anyio.move_on_after(timeout_s):
        while True:
            latest = await _status(asker, applied.name)
            if latest is not None and latest != status and progress is not None:
                progress(latest)
            status = latest or status
            if status is not None and _is_decided(status, applied):
                return replace(applied, status=status)
            await anyio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, POLL_LONGEST_S)
    raise _late(applied, status, timeout_s)


async def _status(asker: Asker, name: str) -> Status | None:
    """Return the status, or None while no scheduler answers or the leader has not heard of it yet.

    Raises:
        NotFoundError: the deployment does not exist.
    """
    try:
        try:
            return codec.convert(await asker.lead("status", OneDeployment(name=name)), Status)
        except NotFoundError:
            await asker.api("get", OneDeployment(name=name))
    except (NoRouteError, DeadlineExceededError):
        pass
    return None


def _is_decided(status: Status, applied: Applied) -> bool:
    """Tell whether what was applied does what it should.

    Raises:
        InvalidError: it failed, and perhaps an earlier generation took its place again.
        ConflictError: nothing happens because the deployment is paused.
    """
    if 0 < status.revision < applied.revision:
        return False  # the leader has not seen it yet
    if status.reverted and status.reverted == applied.generation:
        raise InvalidError(
            f"deployment {status.name!r} generation {applied.generation} did not do well, "
            f"generation {status.generation} is desired again",
            [reason_text(reason) for reason in status.reasons],
            deployment=status.name,
            generation=applied.generation,
        )
    if status.generation < applied.generation:
        return False
    if status.state == "paused":
        raise ConflictError(
            f"deployment {status.name!r} is paused: `lattice resume {status.name}` lets it go on",
            deployment=status.name,
        )
    if status.state in ("failed", "crash-loop"):
        raise _failure(status)
    return status.state in ("ready", "reverted", "completed", "scaled-to-zero")


def _failure(status: Status) -> LatticeError:
    return InvalidError(
        f"deployment {status.name!r} generation {status.generation} failed",
        [reason_text(reason) for reason in status.reasons],
        deployment=status.name,
        generation=status.generation,
    )


def _late(applied: Applied, status: Status | None, timeout_s: float) -> LatticeError:
    if status is None or status.generation < applied.generation:
        found = "the scheduler has not taken it up"
    else:
        found = f"{status.running} of {status.wanted} replicas run, {status.unplaced} unplaced"
    reasons = [reason_text(reason) for reason in status.reasons] if status else []
    listed = "".join(f"\n  {reason}" for reason in reasons)
    return DeadlineExceededError(
        f"deployment {applied.name!r} generation {applied.generation} is not ready "
        f"after {timeout_s:.3g} s: {found}{listed}",
        deployment=applied.name,
        generation=applied.generation,
        reasons=reasons,
    )


def _title(manifest: Manifest) -> str:
    match manifest:
        case Path():
            return str(manifest)
        case str() if "\n" not in manifest:
            return manifest
        case Deployment():
            return f"deployment {manifest.name!r}"
        case _:
            return "manifest"


_Source = Document | Mapping[str, Any] | Deployment


def _deployment(source: _Source) -> Deployment:
    match source:
        case Deployment():
            return source
        case Document():
            return parse_document(source)
        case _:
            return parse_deployment(source)


def _documents(manifest: Manifest) -> tuple[Path, tuple[_Source, ...]]:
    """Return the folder that paths are relative to, and the documents."""
    if isinstance(manifest, Deployment):
        return Path(), (manifest,)
    if isinstance(manifest, Mapping):
        return Path(), (manifest,)
    if isinstance(manifest, str) and "\n" in manifest:
        return Path(), load_documents(manifest)
    path = Path(manifest)
    body = _read_file(path, "manifest", MANIFEST_BYTES_MAX)
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise InvalidError(f"{path} is not UTF-8 text: {exc.reason} at byte {exc.start}") from None
    return path.parent, load_documents(text, source=str(path))


def _read_artifacts(deployment: Deployment, base: Path) -> Resolved:
    bodies: dict[Digest, tuple[str, bytes]] = {}
    faults: list[str] = []

    def digest_of(path: str, what: str, *, is_component: bool) -> str:
        if digest_fault(path) is None:
            return path
        try:
            body = _read_file(base / path, what, ARTIFACT_BYTES_MAX)
            if is_component:
                read_component(body)
        except LatticeError as exc:
            faults.append(f"{what}: {path}: {exc.message}")
            return path
        digest = Digest(f"sha256:{hashlib.sha256(body).hexdigest()}")
        bodies[digest] = (what, body)
        return digest

    components = tuple(
        replace(part, image=digest_of(part.image, part.name, is_component=True))
        for part in deployment.components
    )
    services = tuple(
        replace(part, image=digest_of(part.image, part.name, is_component=True))
        for part in deployment.services
    )
    files = tuple(
        File(name=file.name, source=digest_of(file.source, file.name, is_component=False))
        for file in deployment.files
    )
    if faults:
        raise InvalidError(f"deployment {deployment.name!r} lacks artifacts", faults)
    return Resolved(
        deployment=replace(deployment, components=components, services=services, files=files),
        bodies=bodies,
    )


def _read_file(path: Path, what: str, bytes_max: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > bytes_max:
            raise InvalidError(f"{path} has {size} bytes, at most {bytes_max} for a {what}")
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidError(f"no such file: {path}") from None
    except OSError as exc:
        raise InvalidError(f"cannot read {path}: {exc.strerror}") from None
