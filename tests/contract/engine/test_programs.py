"""What every engine promises about loading, composing and instantiating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hosts.engine.base import Engine, Link, World
from lattice.errors import GuestTrapError, IncompatibleError, InvalidError
from tests.contract.engine.building import (
    ADD,
    COUNTER,
    HELLO,
    TICKET,
    WELCOME,
    part,
    start,
)
from tests.guests import components

pytestmark = pytest.mark.wasm

DEADLINE_S = 10.0


async def test_link_joins_two_parts(engine: Engine) -> None:
    instance = await start(
        engine, components.greeter(), components.hello(), links=[Link("a", HELLO, "b")]
    )
    assert await instance.call(WELCOME, "welcome", ["Åsa"], deadline_s=DEADLINE_S) == "Hello, Åsa!"
    assert await instance.call(HELLO, "greet", ["Åsa"], deadline_s=DEADLINE_S) == "Hello, Åsa!"
    instance.close()


async def test_linked_parts_share_one_life(engine: Engine) -> None:
    instance = await start(
        engine, components.ticket(), components.counter(), links=[Link("a", COUNTER, "b")]
    )
    drawn = [await instance.call(TICKET, "draw", [], deadline_s=DEADLINE_S) for _ in range(3)]
    assert drawn == [2, 3, 4]
    assert await instance.call(COUNTER, "next", [], deadline_s=DEADLINE_S) == 4
    instance.close()


async def test_composed_type_has_what_remains(engine: Engine) -> None:
    parts = [part("greeter", components.greeter()), part("hello", components.hello())]
    joined = await engine.load(parts, [Link("greeter", HELLO, "hello")])
    apart = await engine.load(parts, [])
    assert (set(joined.type.imports), set(joined.type.exports)) == (set(), {HELLO, WELCOME})
    assert (set(apart.type.imports), set(apart.type.exports)) == ({HELLO}, {HELLO, WELCOME})


async def test_import_without_link_is_satisfied_by_the_host(engine: Engine) -> None:
    async def greet(_interface: str, _function: str, args: Sequence[Any]) -> Any:
        return f"Dear {args[0]}"

    instance = await start(engine, components.greeter(), imports={HELLO: greet})
    assert await instance.call(WELCOME, "welcome", ["Åsa"], deadline_s=DEADLINE_S) == "Dear Åsa"
    instance.close()


@pytest.mark.parametrize(("what", "body"), components.not_components().items())
async def test_bytes_that_are_no_component_are_refused(
    engine: Engine, what: str, body: bytes
) -> None:
    assert what
    with pytest.raises(InvalidError):
        await engine.load([part("a", body)], [])


async def test_type_mismatch_across_a_link_names_both_parts(engine: Engine) -> None:
    parts = [
        part("greeter", components.greeter()),
        part("hello", components.hostile()["wrong-type"]),
    ]
    with pytest.raises(IncompatibleError) as caught:
        await engine.load(parts, [Link("greeter", HELLO, "hello")])
    assert "'greeter'" in caught.value.message
    assert "'hello'" in caught.value.message
    assert "greet" in caught.value.message


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        (Link("greeter", HELLO, "nobody"), "'nobody'"),
        (Link("nobody", HELLO, "hello"), "'nobody'"),
        (Link("greeter", ADD, "hello"), "does not import"),
        (Link("hello", HELLO, "greeter"), "does not import"),
        (Link("greeter", HELLO, "greeter"), "its own"),
    ],
)
async def test_link_to_what_is_not_there_is_refused(engine: Engine, link: Link, fault: str) -> None:
    parts = [part("greeter", components.greeter()), part("hello", components.hello())]
    with pytest.raises(InvalidError, match=fault):
        await engine.load(parts, [link])


async def test_all_missing_imports_are_listed(engine: Engine) -> None:
    program = await engine.load(
        [part("greeter", components.greeter()), part("ticket", components.ticket())], []
    )
    with pytest.raises(InvalidError) as caught:
        await program.instantiate({}, World())
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [HELLO, COUNTER]


async def test_trap_in_the_start_section_is_a_trap(engine: Engine) -> None:
    with pytest.raises(GuestTrapError):
        await start(engine, components.hostile()["trap-at-birth"])


async def test_standard_interfaces_are_offered_with_versions(engine: Engine) -> None:
    offered = engine.interfaces
    assert "wasi:logging/logging@0.1.0-draft" in offered
    assert "wasi:config/store@0.2.0-rc.1" in offered
    assert all("@" in name for name in offered)
