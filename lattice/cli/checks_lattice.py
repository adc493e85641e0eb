"""Checks of the way to a lattice: settings, NATS, TLS, permissions, JetStream, clock, parts.

Every check is told, also when an earlier one failed; nothing is changed by looking.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from urllib.parse import urlsplit
from uuid import uuid4

from lattice import __version__
from lattice.bus.base import Connection
from lattice.cli.checks import Check
from lattice.client import LatticeClient
from lattice.config import Settings
from lattice.errors import DeniedError, LatticeError, NoRouteError
from lattice.wire.subjects import Names

CLOCK_OFFSET_MAX_S = 1.0
"""Leases and deadlines compare durations only; beyond it, times in events confuse people."""

ANSWER_S = 2.0
"""Seconds for one answer of NATS: a person waits for all of them."""

READER_KEPT_NS = 1_000_000_000
"""Nanoseconds after which the server forgets the reader that doctor makes."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


async def check_lattice(settings: Settings) -> list[Check]:
    """Return the checks of settings, connection and the parts that answer."""
    from lattice.bus.connecting import connect

    checks = [_settings(settings), _tls(settings)]
    try:
        async with connect(settings, name="lattice doctor") as connection:
            checks.append(await _reach(settings, connection))
            checks += await _jetstream(connection)
            checks += await _parts(connection)
    except LatticeError as exc:
        name = "permissions" if isinstance(exc, DeniedError) else "nats"
        checks.append(Check(name, "fail", exc.message, _fix(exc)))
    return checks


def _settings(settings: Settings) -> Check:
    origins = sorted(set(settings.origins.values())) or ["defaults"]
    found = (
        f"lattice {settings.lattice} at {', '.join(settings.servers)} (from {', '.join(origins)})"
    )
    return Check("settings", "ok", found)


def _tls(settings: Settings) -> Check:
    urls = [urlsplit(server) for server in settings.servers]
    if settings.tls_ca is not None or all(url.scheme in ("tls", "wss") for url in urls):
        return Check("tls", "ok", "asked for")
    if all(url.hostname in _LOOPBACK for url in urls):
        return Check("tls", "ok", "not used: NATS is on this machine")
    fix = "give the servers certificates and use tls:// addresses, or pass --tls-ca"
    return Check("tls", "warn", "not used: everybody on the way can read along", fix)


async def _reach(settings: Settings, connection: Connection) -> Check:
    started_s = time.perf_counter()
    await connection.bus.flush()
    took_ms = (time.perf_counter() - started_s) * 1000
    identity = settings.creds or settings.nkey or "nobody in particular"
    return Check("nats", "ok", f"answers within {took_ms:.1f} ms, as {identity}")


async def _jetstream(connection: Connection) -> list[Check]:
    """Make a reader of the events that the server soon forgets: its answer has the server's time.

    Everybody who may see events may do that; asking for the stream itself, only schedulers.
    """
    names = Names(connection.lattice)
    name = f"doctor-{uuid4().hex}"
    nothing = names.event("doctor", name)  # a subject that no event has
    config = {
        "name": name,
        "filter_subject": nothing,
        "deliver_policy": "last",
        "ack_policy": "none",
        "mem_storage": True,
        "inactive_threshold": READER_KEPT_NS,
    }
    body = json.dumps({"stream_name": names.events_stream, "config": config}).encode()
    subject = f"$JS.API.CONSUMER.CREATE.{names.events_stream}.{name}.{nothing}"
    before_s = time.time()
    try:
        info = json.loads((await connection.bus.request(subject, body, timeout_s=ANSWER_S)).body)
    except NoRouteError:
        fix = "enable JetStream in the nats-server configuration (jetstream: {...}) and the account"
        return [Check("jetstream", "fail", "not enabled for this account", fix)]
    except LatticeError as exc:
        return [Check("jetstream", "fail", exc.message, _fix(exc))]
    after_s = time.time()
    if error := info.get("error"):
        fix = "start a scheduler: it makes the streams of a new lattice"
        return [Check("jetstream", "fail", str(error.get("description", error)), fix)]
    found = f"the events of lattice {connection.lattice} can be read"
    return [Check("jetstream", "ok", found), _clock(info.get("ts"), (before_s + after_s) / 2)]


def _clock(server_time: object, here_s: float) -> Check:
    try:
        there_s = datetime.fromisoformat(_microseconds(str(server_time))).timestamp()
    except ValueError:
        return Check("clock", "ok", "the server does not tell its time")
    offset_s = here_s - there_s
    found = f"{offset_s:+.3f} s against the NATS server"
    if abs(offset_s) > CLOCK_OFFSET_MAX_S:
        return Check("clock", "warn", found, "set the clocks of both machines by NTP")
    return Check("clock", "ok", found)


def _microseconds(moment: str) -> str:
    """Return an RFC 3339 time with at most six digits of a second, as `datetime` reads it."""
    return re.sub(r"(\.\d{6})\d+", r"\1", moment)


async def _parts(connection: Connection) -> list[Check]:
    client = LatticeClient(connection, timeout_s=ANSWER_S)
    checks: list[Check] = []
    try:
        deployments = await client.deployments()
        checks.append(Check("scheduler", "ok", f"answers; {len(deployments)} deployments"))
    except LatticeError as exc:
        checks.append(Check("scheduler", "fail", exc.message, _fix(exc)))
    try:
        hosts = await client.ping()
    except LatticeError as exc:
        return [*checks, Check("hosts", "warn", exc.message, _fix(exc))]
    if not hosts:
        return [*checks, Check("hosts", "warn", "none answers", "start one with `lattice host`")]
    versions = sorted({host.version for host in hosts})
    found = f"{len(hosts)} answer, of version {', '.join(versions)}"
    if versions != [__version__]:
        fix = f"bring all to one version; this command has {__version__}"
        return [*checks, Check("hosts", "warn", found, fix)]
    return [*checks, Check("hosts", "ok", found)]


def _fix(error: LatticeError) -> str:
    match error:
        case DeniedError():
            return "pass an identity that has it (--nkey, --creds), or grant it: `lattice auth`"
        case NoRouteError():
            return "start what should answer: `lattice scheduler`, `lattice host`"
        case _:
            return "start NATS (`lattice up` has its own), or mend --nats (`lattice context show`)"
