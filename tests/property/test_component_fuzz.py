"""Damaged components: reading one ends soon, in a value or in one `InvalidError`."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.component.fingerprint import function_fingerprint
from lattice.component.reader import callable_exports, read_component
from lattice.component.schema import json_schema
from lattice.component.wit_text import to_wit
from lattice.errors import InvalidError
from tests.unit.component.building import SEARCH, SYNTAX, compiled, custom, from_wit

BY_HAND = """
(component
  (import "a:b/c@1.0.0" (instance $i
    (export "r" (type $r (sub resource)))
    (export "get" (func (param "x" (borrow $r)) (result (option (list u8)))))))
  (alias export $i "r" (type $r))
  (core module $m (func (export "f") (param i32) (result i32) i32.const 0))
  (core instance $m (instantiate $m))
  (type $hit (record (field "a" u32)))
  (func $f (param "h" $hit) (result u32) (canon lift (core func $m "f")))
  (instance $e (export "hit" (type $hit)) (export "f" (func $f)))
  (export "x:y/z" (instance $e)))
"""

MUTATIONS = 4_000
ONE_READ_S_MAX = 2.0
"""Far above what reading needs, and far below what a test run can bear."""


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    docs = b'\x01{"docs": "All.", "interfaces": {"query": {"funcs": {"search": "Finds."}}}}'
    return [
        from_wit(SEARCH) + custom("package-docs", docs),
        from_wit(SYNTAX),
        compiled(BY_HAND),
    ]


def use(body: bytes) -> bool:
    """Read a body and everything that comes of it; False when it is refused."""
    started_s = time.perf_counter()
    try:
        component = read_component(body)
    except InvalidError:
        return False
    finally:
        assert time.perf_counter() - started_s < ONE_READ_S_MAX
    to_wit(component)
    for interface in (*component.imports.values(), *callable_exports(component).values()):
        for function in interface.functions.values():
            json_schema(function)
            function_fingerprint(function)
    return True


def damaged(body: bytes, rng: random.Random) -> bytes:
    """Return a body with some bytes changed, taken out, repeated, or cut off."""
    found = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        if len(found) < 9:
            break
        at = rng.randrange(len(found))
        match rng.randrange(5):
            case 0:
                found[at] = rng.randrange(256)
            case 1:
                found[at] ^= 1 << rng.randrange(8)
            case 2:
                del found[at : at + rng.randint(1, 8)]
            case 3:
                start = rng.randrange(len(found))
                found[at:at] = found[start : start + rng.randint(1, 40)]
            case _:
                del found[max(at, 9) :]
    return bytes(found)


def test_damaged_components_are_read_or_refused(bodies: list[bytes], rng: random.Random) -> None:
    refused = sum(not use(damaged(rng.choice(bodies), rng)) for _ in range(MUTATIONS))

    assert MUTATIONS / 2 < refused < MUTATIONS


@given(st.data())
def test_bytes_after_the_preamble_are_read_or_refused(data: st.DataObject) -> None:
    sections = st.tuples(st.sampled_from(range(13)), st.binary(max_size=40)).map(
        lambda pair: bytes([pair[0], len(pair[1])]) + pair[1]
    )
    use(b"\0asm\x0d\0\x01\0" + b"".join(data.draw(st.lists(sections, max_size=6))))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body: bytes) -> None:
    assert not use(body) or body.startswith(b"\0asm\x0d\0\x01\0")
