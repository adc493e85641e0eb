"""The stores of a lattice over JetStream: made by `ensure_stores`, opened by `open_connection`.

What each method publishes to (subscriptions are under the connection's own inbox prefix only, as
`<prefix>.<random>.*` and `<prefix>.<random>.stream.<n>.*`); `<b>` is a bucket, `<key>` a key:

| method | publishes to |
|---|---|
| `Store.get` | `$JS.API.DIRECT.GET.KV_<b>.$KV.<b>.<key>` |
| `Store.put`, `Store.delete` | `$KV.<b>.<key>`, in the control bucket `<intake>.<key>`; with `expect=0` over a removal also as `get` |
| `Store.put_many` | as `put` for each write; with `expect=0` also as `get`; with the key `_fence` if there is a fence and every write has an `expect` |
| `Store.keys`, `Store.watch` of `<prefix>` | `$JS.API.CONSUMER.CREATE.KV_<b>.<random>.$KV.<b>.<prefix>` and `....<prefix>.>` (one of the two rights is enough, then only that is read), without prefix `....$KV.<b>.>`; `$JS.API.CONSUMER.MSG.NEXT.KV_<b>.<random>` |
| `Log.append` | the record's subject |
| `Log.read` of `<pattern>` | `$JS.API.CONSUMER.CREATE.<stream>.<random>.<pattern>`, `$JS.API.CONSUMER.MSG.NEXT.<stream>.<random>` |
| `Objects.has` | `$JS.API.DIRECT.GET.OBJ_<b>.$O.<b>.M.<name>` |
| `Objects.get` | as `has`; `$JS.API.CONSUMER.CREATE.OBJ_<b>.<random>.$O.<b>.C.<upload>`, `$JS.API.CONSUMER.MSG.NEXT.OBJ_<b>.<random>` |
| `Objects.put` | as `has`; `<intake>.C.<upload>`, `<intake>.M.<name>` |
| `Objects.remove` | as `has`; `$JS.API.STREAM.PURGE.OBJ_<b>` |
| `JobStream` | see `lattice.bus.jetstream_durable` |
| the first write to an intake | `$JS.API.STREAM.INFO.<stream>` |
| `ensure_stores` | `$JS.API.STREAM.CREATE.<stream>`, `$JS.API.STREAM.INFO.<stream>` of the five streams |

The control bucket and the artifacts are guarded: their streams listen on an intake, a subject with
a random token, and keep what comes under the subjects of their layout (see `lattice.bus.intakes`
and `lattice.bus.permissions`).
"""  # noqa: E501 - rows of a table

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lattice.bus.base import Connection
from lattice.bus.jetstream_api import JetStream
from lattice.bus.jetstream_durable import JetStreamJobs
from lattice.bus.jetstream_log import JetStreamLog
from lattice.bus.jetstream_objects import JetStreamObjects
from lattice.bus.jetstream_store import JetStreamStore
from lattice.bus.link import Link
from lattice.bus.nats import NatsBus
from lattice.errors import ConflictError, IncompatibleError, NotFoundError
from lattice.wire.subjects import Names

MARKER_TTL_S = 60
"""Seconds for which the server's own word about an expiry stays: longer than any reconnect."""

EVENTS_AGE_S = 24 * 3600
"""Seconds for which events are kept."""

DEDUP_S = 120
"""Seconds in which an equal `dedup_id` is recognized, as `Log.append` promises."""

SECRET_BYTES = 16
"""Random bytes in the name of an intake: nobody guesses it."""

MIB = 1024 * 1024

_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """Bytes that each store may take; the server reserves them when it creates the store.

    So the control plane's share is its own, and full artifacts or events never block it.
    """

    control_bytes: int = 128 * MIB  # 10,000 deployments with some generations each
    hosts_bytes: int = 32 * MIB  # 10,000 inventories
    events_bytes: int = 256 * MIB
    artifacts_bytes: int = 2048 * MIB
    jobs_bytes: int = 512 * MIB


def open_connection(link: Link, lattice: str) -> Connection:
    """Return all that one process holds of a lattice. Nothing is asked of the server yet."""
    names = Names(lattice)
    api = JetStream(link)
    return Connection(
        lattice=lattice,
        bus=NatsBus(link),
        control=JetStreamStore(api, names.control_bucket, is_guarded=True),
        hosts=JetStreamStore(api, names.hosts_bucket),
        events=JetStreamLog(api, names.events_stream, names.events()),
        artifacts=JetStreamObjects(api, names.artifacts_bucket),
        jobs=JetStreamJobs(api, names.jobs_stream, names.jobs()),
    )


async def ensure_stores(
    link: Link,
    names: Names,
    *,
    replicas: int = 1,
    storage: Literal["file", "memory"] = "file",
    limits: StoreLimits | None = None,
) -> None:
    """Create what is missing of a lattice's stores; return when all are there and fit.

    Any number of processes may do it at once, and again. Existing stores are never changed, so
    an operator may have given them other limits.

    Raises:
        IncompatibleError: an existing stream lacks what the lattice needs, or the server is too
            old to give it; both are shown.
        OverloadedError: the server has not as much storage as the limits reserve.
        UnavailableError: JetStream is off or has no leader.
        DeniedError: this identity may not create streams.
    """
    api = JetStream(link)
    for wanted in _streams(names, limits or StoreLimits()):
        config = {
            **wanted, "num_replicas": replicas, "storage": storage, "max_consumers": CONSUMERS_MAX
        }  # fmt: skip
        await _ensure(api, config)


async def _ensure(api: JetStream, config: Mapping[str, object]) -> None:
    name = config["name"]
    try:
        answer = await api.call(f"STREAM.INFO.{name}")
    except NotFoundError:
        try:
            answer = await api.call(f"STREAM.CREATE.{name}", config)
        except ConflictError:  # somebody else created it meanwhile, with other limits
            answer = await api.call(f"STREAM.INFO.{name}")
    found = answer.get("config", {})
    wanted = {"subjects": _subjects(config)} | {
        field: config[field] for field in _NEEDED if field in config
    }
    has = {**found, "subjects": _subjects(found)}
    lacking = [
        f"{field}: {has.get(field)!r}, needs {needed!r}"
        for field, needed in wanted.items()
        if has.get(field) != needed
    ]
    if lacking:
        raise IncompatibleError(
            f"stream {name} does not fit: {'; '.join(lacking)}; it needs nats-server 2.12 or "
            f"later, and must have been created by a lattice (nats stream edit {name})",
            stream=name,
            lacking=lacking,
        )


def _subjects(config: Mapping[str, Any]) -> str:
    """Return what a stream keeps and how it gets there, the same for every intake."""
    listened = [str(subject) for subject in config.get("subjects") or ()]
    transform = config.get("subject_transform")
    if transform and listened == [transform["src"]] and _INTAKE.search(listened[0]):
        return f"{transform['dest']} by an intake"
    return " and ".join(listened) + (f" as {transform['dest']}" if transform else "")


CONSUMERS_MAX = 262_144
"""Watches of one stream, four for each of 65,536 hosts. It must be said: a stream that does not
gets 1,000 from nats-server 2.15 on, which is 500 hosts."""

_INTAKE = re.compile(rf"\.intake\.[a-z]+\.[0-9a-f]{{{2 * SECRET_BYTES}}}\.>$")

_NEEDED = (
    "retention",
    "max_msgs_per_subject",
    "allow_atomic",
    "allow_direct",
    "allow_msg_ttl",
    "allow_rollup_hdrs",
    "republish",
)
"""What an existing stream must have as we would create it. Limits, storage and replicas are the
operator's choice."""


def _streams(names: Names, limits: StoreLimits) -> tuple[dict[str, object], ...]:
    return (
        {
            **_bucket(names.control_bucket, limits.control_bytes),
            **_guard(names, "ctl", f"$KV.{names.control_bucket}.>"),
        },
        # Every host writes here, so the header by which one message removes all others is off. Only
        # the server's own word about an expiry would need it, and inventories do not expire.
        {
            **_bucket(names.hosts_bucket, limits.hosts_bytes),
            "allow_rollup_hdrs": False,
            "subject_delete_marker_ttl": 0,
        },
        {
            "name": f"OBJ_{names.artifacts_bucket}",
            **_guard(names, "artifacts", f"$O.{names.artifacts_bucket}.>"),
            "retention": "limits",
            "max_bytes": limits.artifacts_bytes,
            "discard": "new",
            "allow_direct": True,
            "allow_rollup_hdrs": True,
        },
        {
            "name": names.events_stream,
            "subjects": [names.events()],
            "retention": "limits",
            "max_bytes": limits.events_bytes,
            "max_age": EVENTS_AGE_S * _NANO,
            "discard": "old",
            "duplicate_window": DEDUP_S * _NANO,
            "allow_direct": True,
        },
        # When it is full it refuses: a job that was taken on is never dropped for a newer one.
        # Nothing of it is read directly, see `lattice.bus.jetstream_durable`.
        {
            "name": names.jobs_stream,
            "subjects": [names.jobs()],
            "retention": "limits",
            "max_msgs_per_subject": 1,
            "max_bytes": limits.jobs_bytes,
            "discard": "new",
            "allow_msg_ttl": True,
            "republish": {"src": names.jobs(), "dest": names.job_signals()},
        },
    )


def _guard(names: Names, store: Literal["ctl", "artifacts"], kept: str) -> dict[str, object]:
    """Return what lets a stream take only what comes by a new intake, and keep it as `kept`."""
    intake = f"{names.intake(store, secrets.token_hex(SECRET_BYTES))}.>"
    return {"subjects": [intake], "subject_transform": {"src": intake, "dest": kept}}


def _bucket(name: str, max_bytes: int) -> dict[str, object]:
    """Return a bucket with history 1: longer histories raise short times to live (ADR-43)."""
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "max_bytes": max_bytes,
        "discard": "new",
        "deny_delete": True,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "allow_atomic": True,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": MARKER_TTL_S * _NANO,
    }
