"""The interfaces that the engine gives to every guest without a grant.

Most are wasmtime's own WASI 0.2 (`hosts.engine.wasi` says what they see). The functions here are
the engine's: quick and synchronous, answered from the instance's `World`.

Known limit: wasmtime's clocks, polls and streams block the event loop while a guest sleeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hosts.engine.base import World
from hosts.engine.hostfn import OwnFunction
from lattice.model.wit import interface_key

WASI_VERSION = "0.2.12"
"""What wasmtime 49 defines; a guest that asks for any other 0.2 gets it too (one semver track)."""

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
CONFIG_STORE = "wasi:config/store@0.2.0-rc.1"

WASI_INTERFACES = tuple(f"wasi:{name}@{WASI_VERSION}" for name in _WASI)


def _log(world: World, args: Sequence[Any]) -> None:
    level, context, message = args
    for line in message.splitlines() or [""]:
        world.log(level, f"{context}: {line}" if context else line)


def _config_get(world: World, args: Sequence[Any]) -> Any:
    return ["ok", world.config.get(args[0])]


def _config_get_all(world: World, _args: Sequence[Any]) -> Any:
    return ["ok", sorted(world.config.items())]


OWN_INTERFACES: Mapping[str, Mapping[str, OwnFunction]] = {
    LOGGING: {"log": _log},
    CONFIG_STORE: {"get": _config_get, "get-all": _config_get_all},
}

INTERFACES = (*WASI_INTERFACES, *OWN_INTERFACES)
"""Everything that is offered, with versions, for the scheduler to match."""

_WASI_KEYS = frozenset(map(interface_key, WASI_INTERFACES))
_OWN_BY_KEY = {interface_key(name): functions for name, functions in OWN_INTERFACES.items()}


def is_wasi(interface: str) -> bool:
    """Tell whether wasmtime itself satisfies an import of this name."""
    return interface_key(interface) in _WASI_KEYS


def own_functions(interface: str) -> Mapping[str, OwnFunction] | None:
    """Return the engine's functions for an import of this name, None when it has none."""
    return _OWN_BY_KEY.get(interface_key(interface))
