"""Where one instance sends its requests to other deployments, and to everything else.

A name in `.lattice.internal` needs a grant that ends so itself (`http://search.prod.lattice.internal`
or `http://*.prod.lattice.internal`): `*` grants the outside only. What is no such name goes to the
outlet that lies behind this one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hosts.callcontext import CallContext, at_work
from hosts.engine.fetches import Outlet, OutletCall
from hosts.engine.webvalues import TIMEOUT_S_MAX, Body, EgressError, OutgoingHead
from hosts.http.destination import Log, origin_of
from hosts.http.egress import Egress, check_request
from hosts.http.innercall import InnerCall
from hosts.http.internal import Asked, Internal
from hosts.http.outgoing import EgressLimits
from hosts.http.outlets import MakeOutlet, to_the_outside
from lattice.errors import InvalidError
from lattice.model.egress import parse_http_grant
from lattice.model.network import HttpGrant, NamePattern
from lattice.routing.targets import INTERNAL_SUFFIX, InternalName, parse_internal
from lattice.wire.messages import HOPS_MAX

TOLD_MAX = 64
"""Denials of one instance that its log tells."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sends requests: a program of a deployment, and what it is granted."""

    deployment: str
    grants: tuple[HttpGrant, ...]
    in_memory: bool  # as its manifest says
    log: Log


def outlets(asker: Asker, egress: Egress, internal: Internal | None) -> MakeOutlet:
    """Return what gives each instance of a program a way to the outside and, where somebody carries
    such requests, to deployments.
    """
    outer = to_the_outside(egress, asker.grants, asker.log)
    if internal is None:
        return outer
    gateway = internal.options.gateway
    beyond = None
    if gateway is not None:
        # Granted by who runs the host, whatever the manifest says.
        beyond = to_the_outside(egress, (parse_http_grant(gateway.origin),), asker.log)
    return lambda: InternalOutlet(internal, asker, outer(), beyond() if beyond else None)


class InternalOutlet:
    """See `hosts.engine.fetches.Outlet`."""

    def __init__(
        self, internal: Internal, asker: Asker, outer: Outlet, gateway: Outlet | None
    ) -> None:
        self._internal = internal
        self._asker = asker
        self._outer = outer
        self._gateway = gateway
        self._limits = EgressLimits()
        self._calls: set[InnerCall] = set()
        self._told: set[str] = set()

    def begin(self, head: OutgoingHead, body: Body, *, traceparent: str = "") -> OutletCall:
        """Return a request that has begun; nothing waits here.

        Raises:
            EgressError: it may not be sent.
        """
        name = _internal_name(head.authority)
        if name is None:
            return self._outer.begin(head, body, traceparent=traceparent)
        check_request(head, body, self._limits)
        self._require_granted(head)
        context = at_work.get() or self._own_context()
        if context.hops >= HOPS_MAX:
            chain = " -> ".join((*context.chain, name.deployment))
            text = f"request is hop {context.hops + 1}, at most {HOPS_MAX}: {chain}"
            self._tell(f"denied: {text}")
            raise EgressError("loop-detected", text)
        self._calls = {each for each in self._calls if not each.is_over}
        if len(self._calls) >= self._limits.requests_per_instance:
            raise EgressError(
                "connection-limit-reached",
                f"{len(self._calls)} requests of the instance are under way, and no more may be",
            )
        head = replace(head, timeouts=head.timeouts.bounded())
        call = InnerCall(head)
        asked = Asked(
            name=name,
            head=head,
            body=body,
            context=context,
            traceparent=traceparent,
            in_memory=self._asker.in_memory,
            gateway=self._gateway,
        )
        self._internal.start(call, asked)
        self._calls.add(call)
        return call

    def close(self) -> None:
        """Cancel what is under way. Idempotent."""
        for call in self._calls:
            call.cancel()
        self._calls.clear()
        self._outer.close()
        if self._gateway is not None:
            self._gateway.close()

    def _require_granted(self, head: OutgoingHead) -> None:
        origin = origin_of(head.scheme, head.authority)
        if origin.scheme != "http":
            raise EgressError(
                "HTTP-request-URI-invalid", f"{origin}: deployments are asked over http"
            )
        for grant in self._asker.grants:
            host, endpoint = grant.host, grant.endpoint("http")
            if (
                isinstance(host, NamePattern)
                and f".{host.text}".endswith(INTERNAL_SUFFIX)
                and host.matches(origin.host)
                and endpoint is not None
                and endpoint.has_port(origin.port)
            ):
                return
        missing = f"http://{origin.host}" if origin.port == 80 else str(origin)
        self._tell(f"denied: request to {missing}; the grant {missing} would allow it")
        raise EgressError("HTTP-request-denied", f"requests to {origin} are not granted")

    def _own_context(self) -> CallContext:
        """Return the context of what no call works at: a service that begins by itself."""
        name = self._asker.deployment
        deadline_at_s = self._internal.clock.monotonic_s() + TIMEOUT_S_MAX
        return CallContext(deadline_at_s=deadline_at_s, caller=name, chain=(name,))

    def _tell(self, line: str) -> None:
        if line not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(line)
            self._asker.log("warn", line)


def _internal_name(authority: str) -> InternalName | None:
    if INTERNAL_SUFFIX[1:] not in authority.lower():
        return None  # so for most, at little cost
    try:
        return parse_internal(authority)
    except InvalidError as error:
        raise EgressError("HTTP-request-URI-invalid", error.message) from None
