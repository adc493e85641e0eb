"""The questions that probes ask of a replica: a call of a function, or a GET.

They go the way of calls from outside, and are not counted among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from hosts.callcontext import CallContext
from hosts.engine.exchanges import serving
from hosts.http.base import Headers, HttpError, RequestHead
from hosts.http.guest import GuestHandler
from hosts.members import Members
from hosts.prepared import Prepared
from hosts.prober import Ask, Prober, Question
from lattice.clock import Clock
from lattice.component.types import Function, NamedType, ResultType, WitType
from lattice.errors import InvalidError
from lattice.model.scheduling import Probe
from lattice.model.wit import interface_fits

READY = "ready"
LIVE = "live"
"""The kinds of probes."""

AGENT = (b"user-agent", b"lattice-probe")

GOOD_STATUS = range(200, 400)
"""Statuses of an answer that make a probe succeed."""


def probers(prepared: Prepared, members: Members, clock: Clock) -> dict[str, Prober]:
    """Return what asks the probes of one replica, under `READY` and `LIVE`.

    Raises:
        InvalidError: a probe asks for what the workload does not have.
    """
    found: dict[str, Prober] = {}
    asked = _Probes(prepared, members, clock)
    if prepared.deployment.ready is not None:
        probe = prepared.deployment.ready
        found[READY] = Prober("ready", probe, asked.ask_for(probe))
    if prepared.deployment.live is not None:
        probe = prepared.deployment.live
        found[LIVE] = Prober("live", probe, asked.ask_for(probe))
    return found


def fault_of(function: Function, value: Any) -> str:
    """Return why the result of a function is no success, "" when it is one.

    It is one unless it is false, or an error, or false as a success.
    """
    return "" if function.result is None else _fault_of(function.result, value)


def _fault_of(type_: WitType, value: Any) -> str:
    while isinstance(type_, NamedType):
        type_ = type_.target
    if isinstance(type_, ResultType):
        case, payload = value
        if case == "err":
            return "it returned an error" if payload is None else f"it returned {payload!r}"
        return "" if type_.ok is None else _fault_of(type_.ok, payload)
    return "it returned false" if value is False else ""


class _Probes:
    """Makes the questions of one replica."""

    def __init__(self, prepared: Prepared, members: Members, clock: Clock) -> None:
        self._prepared = prepared
        self._members = members
        self._clock = clock

    def ask_for(self, probe: Probe) -> Ask:
        """Return how to ask a probe."""
        return self._getting(probe.http) if probe.http else self._calling(probe.export)

    def _calling(self, export: str) -> Ask:
        program, interface, name, function = self._exported(export)

        async def ask(question: Question) -> str:
            outer = serving.set(None)
            try:
                value = await self._call(question, program, interface, name, ())
            finally:
                serving.reset(outer)
            return fault_of(function, value)

        return ask

    def _exported(self, export: str) -> tuple[str, str, str, Function]:
        """Return program, interface, name and type of a function, as a program exports it."""
        wanted, _, name = export.rpartition("#")
        for program in self._prepared.resolution.programs:
            exports = self._prepared.programs[program.name].type.exports
            for interface, exported in exports.items():
                function = exported.functions.get(name)
                if function is not None and interface_fits(wanted, interface):
                    if function.params:
                        raise InvalidError(
                            f"probe {export} takes {len(function.params)} parameters, expected a "
                            "function without any"
                        )
                    return program.name, interface, name, function
        raise InvalidError(
            f"probe {export}: no part of {self._prepared.deployment.name} exports it to the host"
        )

    def _getting(self, path: str) -> Ask:
        http = self._prepared.resolution.http
        if http is None:
            raise InvalidError(
                f"probe GET {path}: {self._prepared.deployment.name} has no part that answers "
                "requests over HTTP"
            )
        authority = str(self._prepared.deployment.name)

        async def ask(question: Question) -> str:
            async def call(
                interface: str, function: str, args: Sequence[Any], _deadline_s: float
            ) -> Any:
                return await self._call(question, http.program, interface, function, args)

            exchange = _Get(path, authority)
            try:
                await GuestHandler(call)(exchange)
            except HttpError as error:
                return str(error)
            is_good = exchange.status in GOOD_STATUS
            return "" if is_good else f"it answered with status {exchange.status}"

        return ask

    async def _call(
        self, question: Question, program: str, interface: str, function: str, args: Sequence[Any]
    ) -> Any:
        def begun() -> None:
            question.has_begun = True

        if program not in self._members.actors:
            begun()  # it takes no place, and so waits for none
        limit_s = self._prepared.limits_of(program).deadline_s
        context = CallContext(
            deadline_at_s=self._clock.monotonic_s() + limit_s,
            chain=(str(self._prepared.deployment.name),),
            caller=str(self._prepared.deployment.name),
        )
        return await self._members.call(
            program, interface, function, args, context, takes_place=False, begun=begun
        )


class _Get:
    """Implements `hosts.http.base.Exchange` for a probe: it keeps the status of the answer."""

    body: bytes | None = b""
    trailers: Headers = ()

    def __init__(self, path: str, authority: str) -> None:
        self.head = RequestHead("GET", "http", authority, path, [AGENT], "")
        self.status = 0

    async def read(self, limit_bytes: int) -> bytes:
        """See `Exchange.read`."""
        return b""

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Exchange.answer`."""
        self.status = status

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Exchange.begin`."""
        self.status = status

    async def write(self, data: bytes) -> None:
        """See `Exchange.write`."""

    async def finish(self, trailers: Headers = ()) -> None:
        """See `Exchange.finish`."""

    async def inform(self, status: int, headers: Headers) -> None:
        """See `Exchange.inform`."""

    async def closed(self) -> None:
        """See `Exchange.closed`."""
        await anyio.sleep_forever()
