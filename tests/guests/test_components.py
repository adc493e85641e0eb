"""The components for tests do what `components` says of them, run by plain wasmtime."""

from __future__ import annotations

from typing import Any

import pytest
from wasmtime import Engine, Trap, WasmtimeError
from wasmtime.component import Component, Record

from tests.guests import components
from tests.guests.oracle import Guest

pytestmark = pytest.mark.wasm


def test_add_wraps_at_32_bits() -> None:
    assert Guest(components.add()).call("test:math/add@0.1.0", "add", 2**32 - 1, 3) == 2


def test_root_functions_have_no_interface() -> None:
    guest = Guest(components.root())
    assert (guest.call(None, "add", 1, 2), guest.call(None, "answer")) == (3, 42)


def test_divide_answers_a_result() -> None:
    guest = Guest(components.divide())
    interface = "test:math/divide@0.1.0"
    assert guest.call(interface, "divide", -7, 2) == -3
    assert guest.call(interface, "divide", 1, 0) == "division by zero"


@pytest.mark.parametrize("text", ["", "a", "grüße 🌍", "x" * 500_000])
def test_echo_answers_its_text(text: str) -> None:
    guest = Guest(components.echo())
    for _ in range(3):
        assert guest.call("test:text/echo@0.1.0", "echo", text) == text


def test_greeter_asks_hello() -> None:
    hello = Guest(components.hello())
    interface = "test:hello/greet@0.1.0"
    imports = {interface: {"greet": lambda _, name: hello.call(interface, "greet", name)}}
    greeter = Guest(components.greeter(), imports=imports)
    assert greeter.call("test:greeter/welcome@0.1.0", "welcome", "Åsa") == "Hello, Åsa!"


def test_counter_keeps_its_state_and_ticket_uses_it() -> None:
    interface = "test:counter/counter@0.1.0"
    counter = Guest(components.counter())
    counter.call(interface, "start")
    imports = {interface: {"next": lambda _: counter.call(interface, "next")}}
    ticket = Guest(components.ticket(), imports=imports)
    assert [ticket.call("test:ticket/ticket@0.1.0", "draw") for _ in range(3)] == [2, 3, 4]
    assert counter.call(interface, "starts") == 1


def test_waiter_adds_what_its_three_calls_answer() -> None:
    imports = {"test:host/gate@0.1.0": {"wait": lambda _, ticket: ticket * 10}}
    assert Guest(components.waiter(), imports=imports).call(components.RUN, "run") == 60


def test_values_come_back_unchanged() -> None:
    guest = Guest(components.values())
    point = Record()
    point.x, point.y, point.name = -1, 0.5, "here"  # type: ignore[attr-defined]  # set by name
    cases: list[tuple[str, Any]] = [
        ("bool", True), ("u8", 255), ("s8", -128), ("u16", 65535), ("s16", -32768),
        ("u32", 2**32 - 1), ("s32", -(2**31)), ("u64", 2**64 - 1), ("s64", -(2**63)),
        ("f32", 0.5), ("f64", -1e300), ("char", "🌍"), ("enum", "blue"),
        ("flags", {"read", "run"}), ("string", "grüße"), ("bytes", bytes(range(256))),
        ("numbers", [1, 2, 3]), ("nested", [["a", ""], []]), ("option", None), ("option", 7),
        ("tuple", (7, "seven")), ("tuples", [("a", 1), ("b", 2**63)]),
        ("variant", None), ("variant", 1.5), ("variant", "x"), ("result", 3), ("result", "no"),
    ]  # fmt: skip
    for function, value in cases:
        assert guest.call("test:values/echo@0.1.0", function, value) == value, function
    found = guest.call("test:values/echo@0.1.0", "record", point)
    assert (found.x, found.y, found.name) == (-1, 0.5, "here")


def test_talker_writes_to_streams_that_go_nowhere() -> None:
    guest = Guest(components.talker())
    guest.call("test:talker/talk@0.1.0", "say", "hello\n")
    guest.call("test:talker/talk@0.1.0", "complain", "x" * 100_000)


TRAPS = ("trap", "recurse", "grow-trap", "divide-by-zero", "out-of-bounds")


@pytest.mark.parametrize("name", TRAPS)
def test_hostile_guest_traps(name: str) -> None:
    guest = Guest(components.hostile()[name])
    with pytest.raises((Trap, WasmtimeError)):
        guest.call(components.RUN, "run")


def test_spin_ends_only_by_interruption() -> None:
    guest = Guest(components.hostile()["spin"])
    guest.store.set_epoch_deadline(0)
    with pytest.raises((Trap, WasmtimeError), match="interrupt"):
        guest.call(components.RUN, "run")


def test_grow_stops_at_the_limit() -> None:
    assert Guest(components.hostile()["grow"]).call(components.RUN, "run") == 63


@pytest.mark.parametrize("name", ["huge-memory", "trap-at-birth", "missing-import", "calls-itself"])
def test_hostile_guest_does_not_instantiate(name: str) -> None:
    with pytest.raises((Trap, WasmtimeError)):
        Guest(components.hostile()[name])


@pytest.mark.parametrize("function", ["invalid-utf8", "out-of-bounds", "bad-char", "bad-case"])
def test_results_that_break_the_abi_end_the_call(function: str) -> None:
    guest = Guest(components.hostile()["bad-results"])
    with pytest.raises((Trap, WasmtimeError)):
        guest.call("test:guest/results@0.1.0", function)


def test_start_traps_before_next_would_work() -> None:
    interface = "test:counter/counter@0.1.0"
    with pytest.raises((Trap, WasmtimeError)):
        Guest(components.hostile()["start-traps"]).call(interface, "start")
    assert Guest(components.hostile()["start-traps"]).call(interface, "next") == 1


@pytest.mark.parametrize("fault", list(components.not_components()))
def test_bytes_that_are_no_component_are_refused(fault: str) -> None:
    with pytest.raises(WasmtimeError):
        Component(Engine(), components.not_components()[fault])


def test_the_empty_component_is_one() -> None:
    Component(Engine(), components.nothing())
