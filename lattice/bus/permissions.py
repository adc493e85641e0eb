"""What each role may publish and subscribe to: the least that its work needs. Pure.

Four ways around a server's permissions shaped this table:

1. `allow_responses` lets a responder publish to *any* reply subject, which the asker chooses, so
   a host could ask itself and answer into `leader`. It is not used. Instead inboxes begin with
   `_INBOX.<identity>`, each identity subscribes to its own only, and those who answer may publish
   to `_INBOX.>`, whose last tokens are random and seen by nobody else.
2. The server itself answers wherever a request's reply subject says, with its own rights. So a
   stream that kept what comes to `$KV.<bucket>.<key>` would keep an acknowledgement, an error or
   the answer of a direct get, if a host aimed it there. The control bucket and the artifacts
   therefore listen on an intake, a subject with a random token that only `STREAM.INFO` tells
   (`lattice.bus.intakes`): who may ask that is who may write.
3. Likewise the server's words can be aimed at whoever serves requests, such as `stop` of another
   host. They never come with an inbox to answer to, and `Bus.serve` takes nothing without one.
   What remains are the inventories, which every host writes at a known subject: the server's
   words can take the place of another host's. A direct get answers with the bytes of a message,
   so nobody may directly get what he writes, or he could choose them; consumers keep the message's
   own subject, so hosts see their inventory, and clients the events, through consumers only. A
   scheduler leaves an inventory alone that it cannot read, and its host writes it again.
4. A read by sequence, and a consumer without a filter in its subject, show the whole stream. Roles
   that read only some keys get the forms that carry the key in the subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from lattice.bus.options import INBOX_PREFIX
from lattice.wire import subjects
from lattice.wire.subjects import Names

Role = Literal["host", "scheduler", "client", "operator"]

ROLES: tuple[Role, ...] = ("host", "scheduler", "client", "operator")

INBOXES = f"{INBOX_PREFIX}.>"
"""Where replies go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """Subjects that one user may publish to and subscribe to; everything else is refused.

    A subscription of the form `subject queue` is allowed only as a member of that queue group.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(identity: str) -> str:
    """Return what the reply subjects of one identity (a public nkey) begin with."""
    return f"{INBOX_PREFIX}.{identity}"


def role_permissions(role: Role, names: Names, identity: str) -> Permissions:
    """Return the permissions of one user: its role in one lattice and its public nkey."""
    match role:
        case "host":
            granted = _host(names, identity)
        case "scheduler":
            granted = _scheduler(names)
        case "client":
            granted = _client(names)
        case "operator":
            granted = _operator(names)
        case _:
            assert_never(role)
    return Permissions(
        publish=granted.publish,
        subscribe=(*granted.subscribe, f"{inbox_prefix(identity)}.>"),
    )


def _host(names: Names, host: str) -> Permissions:
    control = names.control_bucket
    return Permissions(
        publish=(
            names.heartbeat(host),
            names.events(),
            names.log("*", host),
            names.every_call(),
            names.every_call_at(),
            names.every_departure(),
            names.every_http(),
            INBOXES,
            *_key_write(names.hosts_bucket, host),
            *_consume(_kv(names.hosts_bucket), f"$KV.{names.hosts_bucket}.{host}"),
            *_key_read(control, subjects.target(host)),
            *_key_read(control, "history.>"),
            *_consume(_kv(control), f"$KV.{control}.{subjects.DESIRED}"),
            *_consume(_kv(control), f"$KV.{control}.{subjects.ROUTE}"),
            names.lead("wake"),
            *_key_read(control, subjects.TERM),
            *_object_read(names.artifacts_bucket),
            *_jobs(names),
            *_job_work(names),
        ),
        subscribe=(
            names.ping(),
            names.host_control(host, ">"),
            names.calls_at(host),
            f"{names.every_call()} {subjects.CALL_QUEUE}",
            names.every_departure(),
            f"{names.every_http()} {subjects.HTTP_QUEUE}",
            names.job_signals(),
        ),
    )


def _scheduler(names: Names) -> Permissions:
    streams = (
        _kv(names.control_bucket),
        _kv(names.hosts_bucket),
        _objects(names.artifacts_bucket),
        names.events_stream,
        names.jobs_stream,
    )
    return Permissions(
        publish=(
            names.every_control(),
            names.events(),
            names.log("*", "*"),
            names.jobs(),
            names.job_signals(),
            INBOXES,
            "$JS.API.INFO",
            f"{names.intake('ctl', '*')}.>",
            f"{names.intake('artifacts', '*')}.>",
            *_key_write(names.hosts_bucket, ">"),
            *(subject for stream in streams for subject in _whole_stream(stream)),
        ),
        subscribe=(
            names.api(">"),
            names.lead(">"),
            names.heartbeat("*"),
            names.events(),
            names.disconnects(),
            names.job_signals(),
        ),
    )


def _client(names: Names) -> Permissions:
    return Permissions(
        publish=(
            names.every_call(),
            names.every_call_at(),
            names.every_departure(),
            names.every_http(),
            names.api("get"),
            names.api("list"),
            names.lead("wake"),
            *_consume(names.events_stream, names.events()),
            *_jobs(names),
        ),
        subscribe=(names.events(), names.log("*", "*"), names.job_signals()),
    )


def _operator(names: Names) -> Permissions:
    client = _client(names)
    readable = (names.control_bucket, names.hosts_bucket)
    return Permissions(
        publish=(
            *client.publish,
            names.api(">"),
            names.lead(">"),
            names.every_control(),
            "$JS.API.INFO",
            *(subject for bucket in readable for subject in _key_read(bucket, ">")),
            *_object_read(names.artifacts_bucket),
            f"$JS.API.STREAM.INFO.{_objects(names.artifacts_bucket)}",
            f"{names.intake('artifacts', '*')}.>",
        ),
        subscribe=client.subscribe,
    )


def _jobs(names: Names) -> tuple[str, ...]:
    """Return what submitting, following, cancelling and listing durable jobs needs.

    Whoever may call every deployment may also end every job: both are the client's trust.
    """
    stream = names.jobs_stream
    return (
        names.jobs(),
        names.job_signals(),
        f"$JS.API.STREAM.MSG.GET.{stream}",
        f"$JS.API.STREAM.MSG.DELETE.{stream}",
        f"$JS.API.STREAM.INFO.{stream}",
        *_consume(stream, names.jobs()),
    )


def _job_work(names: Names) -> tuple[str, ...]:
    """Return what running durable jobs needs beside."""
    stream = names.jobs_stream
    return (f"$JS.API.CONSUMER.INFO.{stream}.*", f"$JS.ACK.{stream}.>")


def _kv(bucket: str) -> str:
    """Return the stream behind a bucket (NATS ADR-8)."""
    return f"KV_{bucket}"


def _objects(bucket: str) -> str:
    """Return the stream behind an object store (NATS ADR-20)."""
    return f"OBJ_{bucket}"


def _key_write(bucket: str, key: str) -> tuple[str, ...]:
    return (f"$KV.{bucket}.{key}",)


def _key_read(bucket: str, key: str) -> tuple[str, ...]:
    return _stream_read(_kv(bucket), f"$KV.{bucket}.{key}")


def _stream_read(stream: str, subject: str) -> tuple[str, ...]:
    """Return what reading one subject of a stream needs: the last message, and a consumer."""
    return (f"$JS.API.DIRECT.GET.{stream}.{subject}", *_consume(stream, subject))


def _consume(stream: str, subject: str) -> tuple[str, ...]:
    # A watch of a key is also one of the keys below it, which is a second consumer.
    subjects_seen = (subject,) if subject.endswith(">") else (subject, f"{subject}.>")
    return (
        *(f"$JS.API.CONSUMER.CREATE.{stream}.*.{seen}" for seen in subjects_seen),
        # The middle token is the random name of the reader's own consumer.
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
    )


def _object_read(bucket: str) -> tuple[str, ...]:
    return _stream_read(_objects(bucket), f"$O.{bucket}.>")


def _whole_stream(stream: str) -> tuple[str, ...]:
    """Return what creating, changing, reading and clearing one stream needs."""
    return (
        f"$JS.API.STREAM.*.{stream}",
        f"$JS.API.STREAM.MSG.*.{stream}",
        f"$JS.API.DIRECT.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}.>",
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.*.{stream}.>",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
    )
