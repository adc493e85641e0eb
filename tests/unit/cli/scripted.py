"""A lattice whose answers a test writes down: over the memory bus, without scheduler or hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lattice.bus.base import Connection, Packet
from lattice.bus.memory import memory_connection
from lattice.errors import NotFoundError
from lattice.wire import codec
from lattice.wire.messages import DeploymentRecord
from lattice.wire.subjects import Names

Answer = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]]


@dataclass
class Script:
    """`answers` maps `api.get`, `lead.hosts`, `ctl.<host>.logs`, ... to answers or functions."""

    connection: Connection
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def names(self) -> Names:
        return Names(self.connection.lattice)

    def questions(self, verb: str) -> list[dict[str, Any]]:
        return [question for asked, question in self.asked if asked == verb]

    async def answer(self, packet: Packet) -> bytes:
        tokens = packet.subject.removeprefix(self.names.prefix + ".").split(".")
        verb = ".".join(t for t in tokens if t != "host")
        question = codec.decode(packet.body) if packet.body else {}
        self.asked.append((verb, question))
        found = self.answers.get(verb)
        if found is None:
            raise NotFoundError(f"{verb} is not in the script")
        return codec.encode({"ok": found(question) if callable(found) else found})


@asynccontextmanager
async def scripted(
    answers: Mapping[str, Answer] | None = None, *, hosts: tuple[str, ...] = ()
) -> AsyncIterator[Script]:
    """A lattice that answers by script; `hosts` are the ids whose `ctl` subjects are served."""
    script = Script(connection=memory_connection("test"), answers=dict(answers or {}))
    async with AsyncExitStack() as stack:
        bus = script.connection.bus
        subjects = [script.names.api("*"), script.names.lead("*")]
        subjects += [script.names.host_control(host, "*") for host in hosts]
        if "ctl.ping" in script.answers:
            subjects.append(script.names.ping())
        for subject in subjects:
            await stack.enter_async_context(bus.serve(subject, script.answer))
        yield script


def record(**exposed: dict[str, str]) -> dict[str, Any]:
    """The answer to `api.get` of a deployment `search` that exposes what is given, and a root."""
    stored = DeploymentRecord(
        name="search",
        generation=3,
        manifest={"lattice": "v1", "name": "search", "replicas": 2},
        exposed={name.replace("__", ":", 1): functions for name, functions in exposed.items()},
    )
    return {"record": codec.decode(codec.encode(stored)), "revision": 17}
