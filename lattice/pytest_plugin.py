"""Fixtures for tests that call components: a lattice of the session, left as a test found it.

pytest loads this module wherever the project is installed, so it imports nothing heavy until a
fixture is asked for. Fixtures are ordinary ones: tests may be plain functions, or coroutines under
any plugin that runs these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lattice.client.sync import SyncClient
    from lattice.config import Settings

GONE_S = 20.0
"""Seconds until what a test deployed must be gone: usually hundredths."""

POLL_S = 0.01
"""Seconds between two looks at whether it is."""


@pytest.fixture(scope="session")
def running_lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """How to reach a lattice that runs for the session: NATS, one scheduler, one host."""
    from anyio.from_thread import start_blocking_portal

    from lattice import inprocess

    directory = tmp_path_factory.mktemp("lattice")
    with (
        start_blocking_portal(name="lattice-test") as portal,
        portal.wrap_async_context_manager(inprocess.running_lattice(directory)) as settings,
    ):
        yield settings


@pytest.fixture
def lattice_client(running_lattice: Settings) -> Iterator[SyncClient]:
    """A client that waits (`lattice.sync`); what the test deploys is removed after it."""
    from lattice.client import sync

    with sync.connect(running_lattice, client_id="test") as client:
        before = {view.name for view in client.deployments()}
        yield client
        _remove(client, before)


@pytest.fixture
def lattice_settings(running_lattice: Settings, lattice_client: SyncClient) -> Settings:
    """How to reach the lattice (`lattice.connect(lattice_settings)`), with the same clean-up."""
    return running_lattice


def _remove(client: SyncClient, kept: set[str]) -> None:
    """Delete what is not to be kept, and return when no replica of it is left."""
    from time import monotonic, sleep

    names = {view.name for view in client.deployments()} - kept
    for name in names:
        client.delete(name)
    end_s = monotonic() + GONE_S
    while names and any(each.deployment in names for each in client.replicas().replicas):
        if monotonic() >= end_s:
            listed = ", ".join(sorted(names))
            message = f"replicas of {listed} were not gone {GONE_S:g} s after the test"
            raise AssertionError(message)
        sleep(POLL_S)
