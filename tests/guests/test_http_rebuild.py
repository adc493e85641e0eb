"""The HTTP adapter and its driver, held as binaries, are what their sources yield."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosts.adapters.http import build
from hosts.adapters.wasi import build as wasi
from hosts.engine import adapting
from hosts.engine.webfunctions import EXCHANGE, EXCHANGE_FUNCTIONS
from lattice.component.reader import read_component

pytestmark = pytest.mark.wasm


# The first compilation on a machine also builds the compiler's own cache.
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "path", [build.ADAPTER, build.LEAN, build.DRIVER], ids=lambda path: path.stem
)
def test_it_is_rebuilt_byte_for_byte(path: Path) -> None:
    assert build.build(path.stem) == path.read_bytes(), (
        f"{path.name} is not what its sources yield; run: python -m hosts.adapters.http.build"
    )


def test_adapter_has_all_of_the_one_of_wasi_and_http() -> None:
    plain = read_component(wasi.ADAPTER.read_bytes())
    exports = set(read_component(build.ADAPTER.read_bytes()).exports)
    assert exports - set(plain.exports) == {
        "wasi:http/types@0.2.12",
        "wasi:http/outgoing-handler@0.2.12",
        "lattice:http-host/bridge@0.1.0",
    }
    assert set(plain.exports) < exports


def test_lean_adapter_lacks_files_and_sockets() -> None:
    whole = read_component(build.ADAPTER.read_bytes())
    lean = read_component(build.LEAN.read_bytes())
    missing = set(whole.exports) - set(lean.exports)
    assert {name.partition("/")[0] for name in missing} == {"wasi:filesystem", "wasi:sockets"}
    assert set(lean.imports) <= set(whole.imports)
    for name, interface in lean.imports.items():
        assert interface.functions.keys() <= whole.imports[name].functions.keys(), name


def test_the_host_has_each_function_that_the_adapter_asks_for() -> None:
    imports = read_component(build.ADAPTER.read_bytes()).imports
    assert set(imports[EXCHANGE].functions) == set(EXCHANGE_FUNCTIONS)


def test_what_is_in_use_is_what_is_built() -> None:
    assert (adapting.HTTP_BODY, adapting.DRIVER_BODY) == (build.ADAPTER, build.DRIVER)
    assert adapting.LEAN_BODY == build.LEAN
