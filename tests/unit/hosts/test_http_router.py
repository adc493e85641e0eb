"""Who answers a request when no replica is here, and what is said when nobody does."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from hosts.callees import ReadyReplicas
from hosts.http.base import Exchange, Handler, Via, via
from hosts.http.router import FOUND_MAX, Router
from hosts.http.table import RouteTable
from lattice.bus.memory import memory_connection
from lattice.clock import SystemClock
from lattice.errors import InvalidError, NoRouteError, UnavailableError
from lattice.wire.codec import encode
from lattice.wire.messages import DeploymentRecord
from lattice.wire.subjects import desired
from tests.integration.recorded_exchange import RecordedExchange

CLOCK = SystemClock()


class Lattice:
    """The control store, and a table of what stands in it."""

    def __init__(self, *, is_dev: bool = False) -> None:
        self.control = memory_connection("test").control
        self.is_dev = is_dev
        self.table = RouteTable(self.control, has_test_addresses=is_dev)

    async def want(self, name: str, *routes: dict[str, Any], since: int = 0) -> None:
        record = DeploymentRecord(
            name=name, generation=1, manifest={"http": list(routes)}, since=since
        )
        await self.control.put(desired(name), encode(record))

    async def read(self) -> None:
        """Return when the table has what stands."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.table.watch)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    def router(self, forwarded: list[str] | None = None) -> Router:
        def forward(deployment: str) -> Handler:
            async def handle(exchange: Exchange) -> None:
                assert forwarded is not None
                forwarded.append(deployment)
                exchange.answer(204, [], b"")

            return handle

        return Router(
            self.table,
            ReadyReplicas(),
            CLOCK,
            forward=None if forwarded is None else forward,
            is_dev=self.is_dev,
        )


def request(target: str = "/", host: str = "a.org", method: str = "GET") -> RecordedExchange:
    return RecordedExchange(method=method, target=target, authority=host)


async def test_a_request_for_a_deployment_that_is_elsewhere_is_forwarded():
    lattice = Lattice()
    await lattice.want("web", {"path": "/a"})
    await lattice.read()
    forwarded: list[str] = []
    exchange = request("/a/b")
    await lattice.router(forwarded)(exchange)
    assert (exchange.status, forwarded) == (204, ["web"])
    assert via.get() == Via("web", "*/a", "remote")


async def test_without_a_way_to_other_hosts_it_is_unavailable():
    lattice = Lattice()
    await lattice.want("web", {})
    await lattice.read()
    with pytest.raises(NoRouteError, match="no replica of web is ready on this host now"):
        await lattice.router()(request())


async def test_before_the_routes_are_known_nothing_is_called_missing():
    lattice = Lattice()
    with pytest.raises(UnavailableError):
        await lattice.router()(request())
    await lattice.read()
    exchange = request()
    await lattice.router()(exchange)
    assert (exchange.status, bytes(exchange.received)) == (404, b"404 Not Found\n")


@pytest.mark.parametrize(("target", "host"), [("/../a", "a.org"), ("/", "a b"), ("a", "a.org")])
async def test_what_means_two_things_or_nothing_is_refused(target: str, host: str):
    lattice = Lattice()
    await lattice.want("web", {})
    await lattice.read()
    with pytest.raises(InvalidError):
        await lattice.router()(request(target, host))


async def test_what_was_found_before_is_not_what_a_new_table_says():
    lattice = Lattice()
    await lattice.want("one", {"path": "/a"})
    await lattice.read()
    forwarded: list[str] = []
    router = lattice.router(forwarded)
    for _ in range(2):
        await router(request("/a?b"))
    await lattice.control.delete(desired("one"))
    await lattice.want("two", {})
    await lattice.read()
    await router(request("/a?c"))
    assert forwarded == ["one", "one", "two"]


async def test_what_is_remembered_of_many_paths_is_bounded():
    lattice = Lattice()
    await lattice.want("web", {})
    await lattice.read()
    forwarded: list[str] = []
    router = lattice.router(forwarded)
    for number in range(FOUND_MAX + 5):
        await router(request(f"/{number}"))
    assert len(forwarded) == FOUND_MAX + 5
    assert len(router._found) <= FOUND_MAX


async def test_the_page_for_developers_shows_nothing_as_markup():
    lattice = Lattice(is_dev=True)
    await lattice.want("web", {"host": "a.org", "path": "/%3Cb%3E"})
    await lattice.read()
    exchange = request("/'%3Cx%3E", "a.org:81")
    await lattice.router()(exchange)
    page = exchange.received.decode()
    assert exchange.status == 404
    assert "<code>a.org:81/&#x27;%3Cx%3E</code>" in page
    assert '<a href="http://web.localhost:81/">web</a>' in page


async def test_of_two_claims_the_older_deployment_answers_in_whatever_order_they_came():
    for order in (("old", "new"), ("new", "old")):
        lattice = Lattice()
        for name in order:
            await lattice.want(name, {"path": "/a"}, since={"old": 3, "new": 7}[name])
        await lattice.read()
        forwarded: list[str] = []
        await lattice.router(forwarded)(request("/a"))
        assert forwarded == ["old"]


async def test_what_went_while_the_watch_was_away_is_gone():
    lattice = Lattice()
    await lattice.want("web", {})
    await lattice.read()
    await lattice.control.delete(desired("web"))
    assert lattice.table.routes.routes  # the old table answers meanwhile
    await lattice.read()
    assert not lattice.table.routes.routes
