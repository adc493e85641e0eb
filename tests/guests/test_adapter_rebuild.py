"""The WASI adapter that the repository holds as a binary is what its sources yield."""

from __future__ import annotations

import pytest

from hosts.adapters.wasi import build
from hosts.engine import adapting
from hosts.engine.guestsystem import SYSTEM, SYSTEM_FUNCTIONS, WAITING, WAITING_FUNCTIONS
from hosts.engine.standard import WASI_INTERFACES
from lattice.component.reader import read_component

pytestmark = pytest.mark.wasm


# The first compilation on a machine also builds the compiler's own cache.
@pytest.mark.timeout(300)
def test_adapter_is_rebuilt_byte_for_byte() -> None:
    assert build.build() == build.ADAPTER.read_bytes(), (
        "adapter.wasm is not what its sources yield; run: python -m hosts.adapters.wasi.build"
    )


def test_adapter_exports_all_of_wasi_but_random() -> None:
    exports = read_component(build.ADAPTER.read_bytes()).exports
    assert sorted(exports) == sorted(
        name for name in WASI_INTERFACES if not name.startswith("wasi:random/")
    )


def test_the_host_has_each_function_that_the_adapter_asks_for() -> None:
    imports = read_component(build.ADAPTER.read_bytes()).imports
    assert set(imports[SYSTEM].functions) == set(SYSTEM_FUNCTIONS)
    assert set(imports[WAITING].functions) == set(WAITING_FUNCTIONS)


def test_adapter_in_use_is_the_one_that_is_built() -> None:
    assert adapting.BODY == build.ADAPTER
