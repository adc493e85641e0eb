"""What a host knows of how calls are divided."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from hosts.routes import RouteBook
from lattice.bus.memory import memory_connection
from lattice.testing import eventually
from lattice.wire.codec import encode
from lattice.wire.messages import DeploymentRoute, RouteGeneration
from lattice.wire.subjects import route


def document(name: str, generation: int = 1) -> bytes:
    only = RouteGeneration(generation=generation, weight=1, hosts=["H"])
    return encode(DeploymentRoute(name=name, generations=[only]))


@asynccontextmanager
async def watching(book: RouteBook) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(book.watch)
        yield
        group.cancel_scope.cancel()


async def test_routes_come_change_and_go() -> None:
    control = memory_connection("test").control
    await control.put(route("shop"), document("shop"))
    book = RouteBook(control)
    async with watching(book):
        await eventually(lambda: book.routes.choose("shop") == 1)
        await control.put(route("shop"), document("shop", 2))
        await eventually(lambda: book.routes.choose("shop") == 2)
        await control.delete(route("shop"))
        await eventually(lambda: not book.routes.shares)


async def test_a_route_that_went_while_the_watch_was_away_is_gone() -> None:
    control = memory_connection("test").control
    for name in ("shop", "mill"):
        await control.put(route(name), document(name))
    book = RouteBook(control)
    async with watching(book):
        await eventually(lambda: book.routes.names() == {"shop", "mill"})
    await control.delete(route("shop"))
    assert book.routes.choose("shop") == 1  # what was known last holds meanwhile
    async with watching(book):
        await eventually(lambda: book.routes.names() == {"mill"})


async def test_a_route_that_cannot_be_read_stays_as_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    control = memory_connection("test").control
    await control.put(route("shop"), document("shop"))
    book = RouteBook(control)
    async with watching(book):
        await eventually(lambda: book.routes.choose("shop") == 1)
        await control.put(route("shop"), b"garbage")
        await eventually(lambda: "route of shop cannot be read" in caplog.text)
        assert book.routes.choose("shop") == 1
