"""The interfaces that the engine gives to every guest without a grant.

WASI 0.2 comes from the adapter that is composed around a guest (`hosts.engine.adapting`), or with
`LATTICE_WASI=builtin` from wasmtime, whose polls block the event loop. The functions here are the
engine's: quick and synchronous, answered from the instance's `World`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from hosts.engine.base import World
from hosts.engine.guestsystem import SYSTEM, SYSTEM_FUNCTIONS
from hosts.engine.hostfn import OwnFunction
from hosts.engine.network.functions import SOCKET_FUNCTIONS, SOCKETS
from hosts.engine.webfunctions import EXCHANGE, EXCHANGE_FUNCTIONS
from lattice.errors import GuestTrapError
from lattice.model.wit import interface_key

WASI_VERSION = "0.2.12"
"""What the adapter and wasmtime 49 define; a guest of any other 0.2 gets it too (one track)."""

_WASI = (
    "cli/environment", "cli/exit", "cli/stdin", "cli/stdout", "cli/stderr",
    "cli/terminal-input", "cli/terminal-output",
    "cli/terminal-stdin", "cli/terminal-stdout", "cli/terminal-stderr",
    "clocks/monotonic-clock", "clocks/wall-clock",
    "filesystem/preopens", "filesystem/types",
    "io/error", "io/poll", "io/streams",
    "random/insecure", "random/insecure-seed", "random/random",
    "sockets/instance-network", "sockets/ip-name-lookup", "sockets/network",
    "sockets/tcp", "sockets/tcp-create-socket", "sockets/udp", "sockets/udp-create-socket",
)  # fmt: skip

LOGGING = "wasi:logging/logging@0.1.0-draft"
RANDOM_BYTES_MAX = 1024 * 1024
"""Bytes of one request; they are made while nothing else runs."""

CONFIG_STORE = "wasi:config/store@0.2.0-rc.1"

WASI_INTERFACES = tuple(f"wasi:{name}@{WASI_VERSION}" for name in _WASI)

HTTP_INTERFACES = tuple(
    f"wasi:http/{name}@{WASI_VERSION}" for name in ("outgoing-handler", "types")
)
"""From the adapter for HTTP; wasmtime has none here."""


def _log(world: World, args: Sequence[Any]) -> None:
    level, context, message = args
    for line in message.splitlines() or [""]:
        world.log(level, f"{context}: {line}" if context else line)


def _config_get(world: World, args: Sequence[Any]) -> Any:
    return ["ok", world.config.get(args[0])]


def _config_get_all(world: World, _args: Sequence[Any]) -> Any:
    return ["ok", sorted(world.config.items())]


def _random_bytes(_world: World, args: Sequence[Any]) -> bytes:
    if args[0] > RANDOM_BYTES_MAX:
        raise GuestTrapError(
            f"a guest asked for {args[0]} random bytes, at most {RANDOM_BYTES_MAX} at once"
        )
    return secrets.token_bytes(args[0])


def _random_number(_world: World, _args: Sequence[Any]) -> int:
    return secrets.randbits(64)


def _random_seed(_world: World, _args: Sequence[Any]) -> tuple[int, int]:
    return secrets.randbits(64), secrets.randbits(64)


OWN_INTERFACES: Mapping[str, Mapping[str, OwnFunction]] = {
    LOGGING: {"log": _log},
    CONFIG_STORE: {"get": _config_get, "get-all": _config_get_all},
}

INTERFACES = (*WASI_INTERFACES, *HTTP_INTERFACES, *OWN_INTERFACES)
"""Everything that is offered, with versions, for the scheduler to match."""

_INTERNAL: Mapping[str, Mapping[str, OwnFunction]] = {
    f"wasi:random/random@{WASI_VERSION}": {
        "get-random-bytes": _random_bytes,
        "get-random-u64": _random_number,
    },
    f"wasi:random/insecure@{WASI_VERSION}": {
        "get-insecure-random-bytes": _random_bytes,
        "get-insecure-random-u64": _random_number,
    },
    f"wasi:random/insecure-seed@{WASI_VERSION}": {
        "insecure-seed": _random_seed,
        "get-insecure-seed": _random_seed,  # its name from 0.2.10 on
    },
    SYSTEM: SYSTEM_FUNCTIONS,
    SOCKETS: SOCKET_FUNCTIONS,
    EXCHANGE: EXCHANGE_FUNCTIONS,
}
"""The engine's too, but not advertised by `OWN_INTERFACES`."""

_OWN_BY_KEY = {
    interface_key(name): functions
    for name, functions in (*OWN_INTERFACES.items(), *_INTERNAL.items())
}
_WASI_KEYS = frozenset(map(interface_key, WASI_INTERFACES)).difference(_OWN_BY_KEY)


def is_wasi(interface: str) -> bool:
    """Tell whether wasmtime itself satisfies an import of this name."""
    return interface_key(interface) in _WASI_KEYS


def own_functions(interface: str) -> Mapping[str, OwnFunction] | None:
    """Return the engine's functions for an import of this name, None when it has none."""
    return _OWN_BY_KEY.get(interface_key(interface))
