"""Which components get a place in the pool, and that places are counted."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from hosts.engine.extent import look_into
from hosts.engine.slots import (
    CORE_MODULES_MAX,
    TABLE_ELEMENTS_MAX,
    Slots,
    fits_pool,
)
from lattice.errors import InvalidError
from tests.guests import components

wasmtime = pytest.importorskip("wasmtime", reason="texts are turned into components")


def component(*modules: str, around: str = "(component {})") -> bytes:
    inner = " ".join(f"(core module {module})" for module in modules)
    return bytes(wasmtime.wat2wasm(around.format(inner)))


def test_places_are_taken_and_given_back() -> None:
    slots = Slots(2)
    assert [slots.take() for _ in range(3)] == [True, True, False]
    slots.give()
    assert slots.take()
    assert slots.free == 0


def test_places_are_given_back_on_any_thread() -> None:
    slots = Slots(0)
    givers = [threading.Thread(target=slots.give) for _ in range(8)]
    for giver in givers:
        giver.start()
    for giver in givers:
        giver.join()
    assert slots.free == 8


def test_modules_are_counted_in_nested_components_too() -> None:
    assert look_into(component(""), 10).core_modules == 1
    nested = component("", "", around="(component (component {}) (core module))")
    assert look_into(nested, 10).core_modules == 3


@pytest.mark.parametrize(
    ("table", "is_large"),
    [
        ("(table 5 10 funcref)", False),
        ("(table 5 11 funcref)", True),
        ("(table 5 funcref)", True),
        ("(table 1 1 funcref) (table 5 externref)", True),
        ("(table 1 1 funcref) (table 2 2 externref)", False),
        ("(memory 1)", False),
    ],
)
def test_tables_are_large_that_may_grow_above_the_limit(table: str, is_large: bool) -> None:
    assert look_into(component(table), 10).has_large_table is is_large
    assert look_into(component("", table), 10).has_large_table is is_large


def test_ordinary_components_fit_and_those_with_too_much_do_not() -> None:
    assert fits_pool(components.add())
    assert not fits_pool(component(f"(table 1 {TABLE_ELEMENTS_MAX + 1} funcref)"))
    assert fits_pool(component(*[""] * CORE_MODULES_MAX))
    assert not fits_pool(component(*[""] * (CORE_MODULES_MAX + 1)))


def test_what_is_no_component_is_refused() -> None:
    with pytest.raises(InvalidError):
        fits_pool(b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\x7f")


def test_process_with_few_addresses_has_no_pool() -> None:
    # In a process of its own: this one may have given its addresses to the pools of other tests.
    script = (
        "import resource\n"
        "from hosts.engine.slots import can_pool\n"
        "assert can_pool()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({64 * 1024**3},) * 2)\n"
        "assert not can_pool()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
