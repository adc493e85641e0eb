"""What all tests share: the event loop, a real broker, and seeds that can be repeated."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from lattice.bus.embedded import EmbeddedNats
from lattice.testing import running_nats

SEED_VARIABLE = "LATTICE_TEST_SEED"
# In the environment, so that all processes of a run that is divided among several draw the same.
SEED = int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(2**32))
os.environ[SEED_VARIABLE] = str(SEED)

settings.register_profile("dev", print_blob=True, deadline=None)
settings.register_profile(
    "ci",
    derandomize=True,
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)


FIGURES = "figures"
"""Property of a test whose value is shown at the end of the run, whichever process it ran in."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell figures and the seed at the end, beside what failed, also with `-q`."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == FIGURES:
                terminalreporter.write_line(str(value))
    terminalreporter.write_line(f"random seed: {SEED} (repeat with {SEED_VARIABLE}={SEED})")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def seed() -> int:
    """The seed of this run, for a test that draws numbers; the end of the report shows it."""
    return SEED


@pytest.fixture
def rng(seed: int) -> random.Random:
    return random.Random(seed)


@pytest.fixture(autouse=True)
def _no_settings_of_this_person(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep the contexts and variables of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith("LATTICE_")]:
        if name not in (SEED_VARIABLE, "LATTICE_NATS_SERVER"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LATTICE_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-config"))


@pytest.fixture(scope="session")
async def shared_nats(anyio_backend: str) -> AsyncIterator[EmbeddedNats]:
    """One broker for all tests that leave nothing behind under names others use."""
    async with running_nats() as nats:
        yield nats


@pytest.fixture
async def fresh_nats() -> AsyncIterator[EmbeddedNats]:
    """A broker for one test, empty, that it may kill and restart; starting takes some 50 ms."""
    async with running_nats() as nats:
        yield nats
