"""The table that finds, for a host name and a path, the deployment that answers.

Rules, all of them (docs/reference/http-routes.md says the same for users):

1. Hosts: the exact name, then the longest `*.` pattern, then routes of no host. When the routes of
   one host have none for the path, the next host's are asked.
2. Paths, in one host: the longest run of plain segments wins; after it, parameters that take all
   that is left, then `{rest...}` after the most parameters, then the plain path itself, which is a
   prefix of everything below it. Only whole segments match: `/search` is not a prefix of
   `/searching`.
3. Two routes that match the same requests are a conflict, found when the table is built.

It decides about normal forms (`lattice.routing.targets`), never about text as it came. A lookup
takes steps for the segments of the path and the labels of the host, however many routes there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lattice.errors import ConflictError
from lattice.model.http import ANY, HttpAddress, parse_route_host
from lattice.model.ids import DeploymentName
from lattice.model.network import NamePattern
from lattice.model.paths import PARAMETERS_MAX, PathPattern, parse_path
from lattice.routing.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """Requests for some hosts below some path go to a deployment."""

    deployment: DeploymentName
    path: PathPattern
    host: NamePattern = ANY

    def __str__(self) -> str:
        return f"{self.host}{self.path}"


def parse_route(deployment: DeploymentName, *, host: str | None, path: str = "/") -> HttpRoute:
    """Return the route that texts describe: a name, `*.example.com` or None, and a path.

    Raises:
        InvalidError: they describe none, or the host is a name of the lattice's own.
    """
    pattern = ANY if host is None else parse_route_host(host)
    return HttpRoute(deployment=deployment, host=pattern, path=parse_path(path))


def routes_of(
    deployment: DeploymentName, addresses: Iterable[HttpAddress]
) -> tuple[HttpRoute, ...]:
    """Return the routes that a deployment's manifest asks for."""
    return tuple(
        HttpRoute(deployment=deployment, host=each.host, path=each.path) for each in addresses
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMatch:
    """Who answers a request, and what its path says."""

    deployment: DeploymentName
    route: HttpRoute | None  # None: by the test address, to which no manifest had to say anything
    parameters: tuple[tuple[str, str], ...] = ()
    # parameters: names of the route and what stood for them, percent-encoded as it was


class HttpRoutes:
    """An immutable table of routes."""

    def __init__(self, routes: Iterable[HttpRoute] = (), *, test_suffix: str | None = None) -> None:
        """Build the table.

        With a `test_suffix` such as `localhost`, every deployment among the routes also answers
        for all paths of `<deployment>.<test_suffix>`, before any other host is asked.

        Raises:
            ConflictError: routes match the same requests; all of them are named, with their
                deployments. `details["conflicts"]` has (route, deployment, deployment).
        """
        self.routes = tuple(routes)
        self._exact: dict[str, _Node] = {}
        self._below: dict[str, _Node] = {}
        self._any = _Node()
        self._test: dict[str, DeploymentName] = {}
        conflicts: list[Conflict] = []
        for route in self.routes:
            other = self._root(route.host).add(route)
            if other is not None:
                conflicts.append(Conflict(route, other))
            if test_suffix is not None:
                self._test[f"{route.deployment}.{test_suffix}"] = route.deployment
        if conflicts:
            raise _conflict(conflicts)

    def find(self, target: Target) -> HttpMatch | None:
        """Return who answers a request, None when nobody does."""
        tested = self._test.get(target.host or "")
        if tested is not None:
            return HttpMatch(deployment=tested, route=None)
        for root in self._roots(target.host):
            route = root.find(target.segments)
            if route is not None:
                return HttpMatch(
                    deployment=route.deployment,
                    route=route,
                    parameters=route.path.parameters_of(target.segments),
                )
        return None

    def hosts(self) -> tuple[NamePattern, ...]:
        """Return the hosts that routes name, each once, in their order."""
        return tuple(dict.fromkeys(route.host for route in self.routes))

    def _root(self, host: NamePattern) -> _Node:
        if host == ANY:
            return self._any
        if host.text.startswith("*."):
            return self._below.setdefault(host.text[2:], _Node())
        return self._exact.setdefault(host.text, _Node())

    def _roots(self, host: str | None) -> Iterator[_Node]:
        """Yield the routes of the hosts that match, the closest match first."""
        if host is not None:
            if (exact := self._exact.get(host)) is not None:
                yield exact
            rest = host
            while rest:
                rest = rest.partition(".")[2]
                if (below := self._below.get(rest)) is not None and rest:
                    yield below
        yield self._any


@dataclass(slots=True)
class _Node:
    """The routes whose plain segments end here, and what lies below."""

    children: dict[str, _Node] = field(default_factory=dict)
    plain: HttpRoute | None = None
    by_count: dict[int, HttpRoute] = field(default_factory=dict)  # parameters that take all
    with_rest: dict[int, HttpRoute] = field(default_factory=dict)  # parameters before the rest

    def add(self, route: HttpRoute) -> HttpRoute | None:
        """Take a route in; return the one that is there already, if it matches the same."""
        node = self
        for segment in route.path.segments:
            node = node.children.setdefault(segment, _Node())
        count = len(route.path.parameters)
        if route.path.rest is not None:
            other = node.with_rest.setdefault(count, route)
        elif count:
            other = node.by_count.setdefault(count, route)
        else:
            node.plain = other = node.plain or route
        return None if other is route else other

    def find(self, segments: Sequence[str]) -> HttpRoute | None:
        """Return the best route for a path: the deepest node that has one that fits."""
        node, best = self, self._fitting(segments, 0)
        for depth, segment in enumerate(segments, 1):
            child = node.children.get(segment)
            if child is None:
                break
            node = child
            best = node._fitting(segments, depth) or best  # noqa: SLF001 - a node of the same tree
        return best

    def _fitting(self, segments: Sequence[str], depth: int) -> HttpRoute | None:
        """Return the best route of this node alone."""
        if not (self.by_count or self.with_rest):
            return self.plain
        left = len(segments) - depth
        filled = _filled(segments[depth : depth + PARAMETERS_MAX])
        exact = self.by_count.get(left) if filled == left else None
        if exact is not None:
            return exact
        counts = [count for count in self.with_rest if count < left and count <= filled]
        return self.with_rest[max(counts)] if counts else self.plain


def _filled(segments: Sequence[str]) -> int:
    """Return how many segments stand before the first empty one: parameters take no others."""
    return next((count for count, each in enumerate(segments) if not each), len(segments))


@dataclass(frozen=True, slots=True)
class Conflict:
    """A route that matches the same requests as one that was there first."""

    route: HttpRoute
    standing: HttpRoute

    def __str__(self) -> str:
        first, second = self.standing.deployment, self.route.deployment
        if first == second:
            return f"{self.route} of {first} matches what another of its routes matches"
        return f"{self.route} of {second} matches what a route of {first} matches"


def settled(
    routes: Iterable[HttpRoute], *, test_suffix: str | None = None
) -> tuple[HttpRoutes, tuple[Conflict, ...]]:
    """Return a table of routes that may conflict, and the conflicts: of two, the first counts."""
    first: dict[object, HttpRoute] = {}
    conflicts: list[Conflict] = []
    for route in routes:
        standing = first.setdefault((route.host, route.path.shape), route)
        if standing is not route:
            conflicts.append(Conflict(route, standing))
    return HttpRoutes(first.values(), test_suffix=test_suffix), tuple(conflicts)


def require_free(routes: Iterable[HttpRoute], standing: Iterable[HttpRoute]) -> None:
    """Return if no new route matches the same requests as a standing one of another deployment.

    Raises:
        ConflictError: as `HttpRoutes`.
    """
    taken = {(each.host, each.path.shape): each for each in standing}
    conflicts = [
        Conflict(route, other)
        for route in routes
        if (other := taken.get((route.host, route.path.shape))) is not None
        and other.deployment != route.deployment
    ]
    if conflicts:
        raise _conflict(conflicts)


def _conflict(conflicts: Sequence[Conflict]) -> ConflictError:
    told = [[str(each.route), each.standing.deployment, each.route.deployment]
            for each in conflicts]  # fmt: skip
    return ConflictError(
        f"routes conflict: {'; '.join(map(str, conflicts))}; give one of them another host or path",
        conflicts=told,
    )
