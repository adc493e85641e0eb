"""A table that followed all changes says what one says that reads what stands in the end."""

from __future__ import annotations

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.http.table import RouteTable
from lattice.bus.memory import memory_connection
from lattice.wire.codec import encode
from lattice.wire.messages import DeploymentRecord
from lattice.wire.subjects import desired

NAMES = st.sampled_from(("one", "two", "three"))
ROUTES = st.lists(
    st.builds(
        lambda host, path: {"host": host, "path": path},
        st.sampled_from(("*", "a.org", "*.a.org")),
        st.sampled_from(("/", "/a", "/a/{id}", "/a/{name}", "/a/{rest...}")),
    ),
    max_size=3,
    # Within a deployment `put` refuses routes that match the same.
    unique_by=lambda route: (route["host"], route["path"].replace("name", "id")),
)
CHANGES = st.lists(st.tuples(NAMES, ROUTES | st.none(), st.booleans()), max_size=12)


@settings(max_examples=60, deadline=None)
@given(CHANGES)
async def test_whoever_follows_and_whoever_comes_later_agree(
    changes: list[tuple[str, list[dict[str, str]] | None, bool]],
) -> None:
    control = memory_connection("test").control
    following, late = RouteTable(control), RouteTable(control)
    since: dict[str, int] = {}
    async with anyio.create_task_group() as group:
        group.start_soon(following.watch)
        for number, (name, routes, pauses) in enumerate(changes, 1):
            if routes is None:
                since.pop(name, None)
                await control.delete(desired(name))
            else:
                record = DeploymentRecord(
                    name=name,
                    generation=number,
                    manifest={"http": routes},
                    since=since.setdefault(name, number),
                )
                await control.put(desired(name), encode(record))
            if pauses:
                await anyio.wait_all_tasks_blocked()
        group.start_soon(late.watch)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert following.is_known
    assert late.is_known
    assert following.routes.routes == late.routes.routes
    oldest = {name: number for number, name in enumerate(sorted(since, key=since.__getitem__))}
    shapes = [(route.host, route.path.shape) for route in late.routes.routes]
    assert len(set(shapes)) == len(shapes), "no two match the same"
    order = [oldest[route.deployment] for route in late.routes.routes]
    assert order == sorted(order), "older deployments come first"
