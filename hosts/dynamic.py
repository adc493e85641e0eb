"""`lattice:invoke/dynamic`: guests open deployments by name at run time and call them.

A binding of the manifest grants it, for the deployments that its `allow` lists. Values travel as
JSON texts, which whoever runs the callee checks against its types. For a target nothing is kept but
the handle in the guest, so one proxy may stand in front of any number of deployments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hosts.callcontext import CallContext
from hosts.engine.base import Capability, Resource
from lattice.component.resolution import LinkTarget
from lattice.errors import DeniedError, InvalidError, LatticeError, OverloadedError
from lattice.model.deployment import Route
from lattice.model.ids import name_fault
from lattice.model.wit import interface_key

INTERFACE = "lattice:invoke/dynamic@0.1.0"
"""What hosts offer, and bindings name."""

OPEN_MAX = 1024
"""Targets that one instance holds open: a proxy opens the one it needs and drops it."""

TIMEOUT_S = 24 * 3600.0
"""Seconds for a call at most; what is left of the call that it is made on bounds it in practice."""

ARGS_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of JSON that one call takes as its arguments; what a route carries may be less."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Which deployments may be opened: by name, or by how names begin."""

    names: frozenset[str] = frozenset()
    beginnings: tuple[str, ...] = ()

    def covers(self, deployment: str) -> bool:
        """Tell whether a deployment may be opened."""
        return deployment in self.names or deployment.startswith(self.beginnings or ("\0",))


def parse_grant(config: Mapping[str, str], interface: str = INTERFACE) -> Grant:
    """Return what the settings of a binding of `interface` grant: `allow: "dictionary, tenant-*"`.

    Raises:
        InvalidError: a setting is not known, or `allow` lists what is no name.
    """
    if unknown := sorted(set(config) - {"allow"}):
        raise InvalidError(
            f"binding of {interface}: unknown settings {', '.join(unknown)}, expected allow"
        )
    words = [word.strip() for word in config.get("allow", "").split(",") if word.strip()]
    for word in words:
        fault = name_fault(word.removesuffix("*").removesuffix("-")) if word != "*" else None
        if fault is not None:
            raise InvalidError(f"binding of {interface}: allow: {word!r}: {fault}")
    return Grant(
        names=frozenset(word for word in words if not word.endswith("*")),
        beginnings=tuple(word.removesuffix("*") for word in words if word.endswith("*")),
    )


@dataclass(frozen=True, slots=True)
class Target:
    """One interface of a deployment that a guest has opened."""

    link: LinkTarget


class Calls(Protocol):
    """What makes the calls: `hosts.invoker.Invoker`."""

    async def call(
        self,
        link: LinkTarget,
        function: str,
        args: Sequence[Any],
        context: CallContext,
        *,
        as_json: bool = False,
    ) -> Any:
        """Return the result of the linked deployment's function."""
        ...


class Dynamic:
    """What one instance may open, and what it has open."""

    def __init__(
        self,
        grant: Grant,
        calls: Calls,
        context: Callable[[], CallContext],
        require_open: Callable[[], None] = lambda: None,
    ) -> None:
        """`require_open` raises while the replica may not work."""
        self._grant = grant
        self._calls = calls
        self._context = context
        self._require_open = require_open
        self._open = 0

    def capability(self) -> Capability:
        """Return what satisfies the import of the instance."""
        return Capability(
            direct={"open": self.open},
            waiting={"[method]target.call": self.call},
            resources={"target": Resource(Target, self._dropped)},
        )

    def open(self, deployment: str, interface: str, how: Route) -> list[Any]:
        """Return `ok` with a target, or `err` with why there is none."""
        try:
            if (fault := name_fault(deployment)) is not None:
                raise InvalidError(fault)
            if not self._grant.covers(deployment):
                raise not_allowed(deployment, "opened", INTERFACE)
            if self._open >= OPEN_MAX:
                raise OverloadedError(f"{OPEN_MAX} targets are open already: drop some")
        except LatticeError as error:
            return ["err", failure_of(error)]
        self._open += 1
        link = LinkTarget(
            deployment=deployment, interface=interface, route=how, timeout_s=TIMEOUT_S
        )
        return ["ok", Target(link)]

    async def call(self, target: Target, function: str, args: str) -> list[Any]:
        """Return `ok` with the JSON of the function's result, or `err` with why there is none."""
        try:
            self._require_open()
            value = await self._calls.call(
                target.link, function, parsed_args(args), self._context(), as_json=True
            )
        except LatticeError as error:
            return ["err", failure_of(error)]
        return ["ok", json.dumps(value, separators=(",", ":"), ensure_ascii=False)]

    def _dropped(self, _target: Target) -> None:
        self._open -= 1


def is_dynamic(interface: str) -> bool:
    """Tell whether an import is the one that this satisfies."""
    return interface_key(interface) == interface_key(INTERFACE)


def not_allowed(deployment: str, what: str, interface: str) -> DeniedError:
    """Return the error of a guest whose grant does not cover a deployment."""
    return DeniedError(
        f"{deployment} may not be {what}: the binding of {interface} does not allow it; list it in "
        "the binding's allow"
    )


def parsed_args(args: str) -> list[Any]:
    """Return the arguments that a guest gave as JSON. `Raises:` InvalidError."""
    if len(args) > ARGS_BYTES_MAX:
        raise InvalidError(f"arguments of {len(args)} characters, at most {ARGS_BYTES_MAX}")
    try:
        plain = json.loads(args)
    except (ValueError, RecursionError) as fault:
        raise InvalidError(f"arguments are no JSON: {fault}") from None
    if not isinstance(plain, list):
        raise InvalidError(
            f"arguments are a JSON array, in their order, found {type(plain).__name__}"
        )
    return plain


def failure_of(error: LatticeError) -> dict[str, Any]:
    """Return an error as the `failure` of WIT."""
    hint = error.details.get("retry_after_ms", 0)
    return {
        "kind": error.kind,
        "message": error.message,
        "retryable": error.retryable,
        "retry-after-ms": hint if isinstance(hint, int) and 0 <= hint < 2**32 else 0,
    }
