"""The engines that must keep the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.engine.base import Engine
from hosts.engine.fake import FakeEngine
from hosts.engine.wasmtime_engine import WasmtimeEngine
from tests.contract.engine.building import fakes


@pytest.fixture(params=["fake", "wasmtime"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made: Engine = (
        FakeEngine(fakes()) if request.param == "fake" else WasmtimeEngine(tmp_path / "cache")
    )
    yield made
    made.close()
