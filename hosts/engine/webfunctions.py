"""The functions through which the HTTP adapter uses exchanges: all answer at once, none waits.

`hosts/adapters/http/wit/host.wit` says what each does. What takes time is done by tasks of the
exchange, and the guest waits for them in the same way as for sockets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hosts.engine.base import World
from hosts.engine.bodyqueue import BodyQueue
from hosts.engine.errorcodes import DENIED, error_code
from hosts.engine.exchanges import (
    GuestExchange,
    Serving,
    fields_of,
    head_of,
    lines_of,
    serving,
    traceparent,
)
from hosts.engine.fetches import Fetch, QueuedBody
from hosts.engine.frames import decode_frame, encode_frame
from hosts.engine.guestsystem import SystemWorld
from hosts.engine.hostfn import OwnFunction
from hosts.engine.webvalues import Body, EgressError, OutgoingHead, Timeouts
from lattice.errors import GuestTrapError

EXCHANGE = "lattice:http-host/exchange@0.1.0"

RECEIVE_BYTES_MAX = 256 * 1024
"""Bytes that a guest gets at once."""

IS_ERROR = 1 << 32
"""Set in what a function answers when the rest of it is an error-code."""

MISTAKES = (
    "holds more than 4 MiB of fields, heads and bodies",
    "cloned fields that are more than one may hold",
    "dropped or sent a request or response whose headers it still holds",
    "dropped or finished a body whose stream it still holds",
    "answered a request that is over",
)
"""What of a guest the adapter does not let pass, in its order."""

_NS = 1e9


def _system(world: World) -> Any:
    assert isinstance(world, SystemWorld), "an instance with the adapter has its system"
    return world.system


def _served() -> Serving:
    found = serving.get()
    if found is None:
        raise GuestTrapError("a guest used a request that is over")
    return found


def _exchange(world: World, number: int) -> GuestExchange:
    if number == 0:
        return _served()
    found: GuestExchange | None = _system(world).sockets.exchange(number)
    if found is None:
        raise GuestTrapError(f"a guest used its request {number}, which is over")
    return found


# --- bodies --------------------------------------------------------------------------------------


def _receive(world: World, args: Sequence[Any]) -> str:
    number, length = args
    incoming = _exchange(world, number).receiving()
    data = incoming.take(min(length, RECEIVE_BYTES_MAX))
    if data:
        return encode_frame(data).decode("ascii")
    if incoming.error is not None:
        return incoming.error.line
    return "e" if incoming.is_ended else "w"


def _skip(world: World, args: Sequence[Any]) -> None:
    _exchange(world, args[0]).receiving().discard()


def _trailers(world: World, args: Sequence[Any]) -> str:
    incoming = _exchange(world, args[0]).receiving()
    if incoming.error is not None:
        return incoming.error.line
    return "t" + lines_of(incoming.trailers) if incoming.is_ended else "w"


def _offered(world: World, args: Sequence[Any]) -> int:
    outgoing = _exchange(world, args[0]).outgoing
    return outgoing.room if outgoing.error is None else IS_ERROR + error_code(outgoing.error.code)


def _send(world: World, args: Sequence[Any]) -> None:
    number, frame = args
    outgoing = _exchange(world, number).outgoing
    if outgoing.is_overfull:
        raise GuestTrapError("a guest wrote to a body that offered to take nothing")
    outgoing.put(decode_frame(frame.encode("ascii")))


def _finish(world: World, args: Sequence[Any]) -> None:
    number, trailers = args
    _exchange(world, number).outgoing.end(fields_of(trailers))


def _abort(world: World, args: Sequence[Any]) -> None:
    _exchange(world, args[0]).outgoing.fail()


# --- the answer ----------------------------------------------------------------------------------


def _begin(_world: World, args: Sequence[Any]) -> None:
    _served().begin(*head_of(args[0]))


def _inform(_world: World, args: Sequence[Any]) -> None:
    _served().inform(*head_of(args[0]))


# --- requests of the guest -----------------------------------------------------------------------


def _fetch(world: World, args: Sequence[Any]) -> str:
    outlet = _system(world).outlet
    if outlet is None:
        world.log("warn", "a request of the guest was denied: it is granted no way out")
        return DENIED.line
    head, _, frame = args[0].partition("\0")
    outgoing = BodyQueue()
    body: Body = QueuedBody(outgoing)
    if frame != "s":
        body = decode_frame(frame.encode("ascii"))
        outgoing.end()
    try:
        call = outlet.begin(_head_of_request(head), body, traceparent=traceparent())
    except EgressError as error:
        return error.failure.line
    return str(_system(world).sockets.add_exchange(Fetch(call, outgoing)))


def _head_of_request(text: str) -> OutgoingHead:
    method, scheme, authority, target, connect, first, between, fields = text.split("\n", 7)
    timeouts = {"connect_s": connect, "first_byte_s": first, "between_bytes_s": between}
    given = {name: int(ns) / _NS for name, ns in timeouts.items() if ns}
    return OutgoingHead(
        method=method,
        scheme=scheme,
        authority=authority,
        target=target,
        headers=fields_of(fields),
        timeouts=Timeouts(**given),
    )


def _answer(world: World, args: Sequence[Any]) -> str:
    found = _exchange(world, args[0])
    assert isinstance(found, Fetch), "the request that is answered has no answer of another"
    return found.answer


def _forget(world: World, args: Sequence[Any]) -> None:
    _system(world).sockets.forget_exchange(args[0])


def _trap(_world: World, args: Sequence[Any]) -> None:
    raise GuestTrapError(f"a guest {MISTAKES[args[0]]}")


EXCHANGE_FUNCTIONS: Mapping[str, OwnFunction] = {
    "receive": _receive,
    "skip": _skip,
    "trailers": _trailers,
    "offered": _offered,
    "send": _send,
    "finish": _finish,
    "abort": _abort,
    "begin": _begin,
    "inform": _inform,
    "fetch": _fetch,
    "answer": _answer,
    "forget": _forget,
    "trap": _trap,
}
"""What the engine itself answers of `EXCHANGE`."""
