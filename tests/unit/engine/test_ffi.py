"""What the engine assumes of wasmtime's C API and of CPython holds, or it refuses to start."""

from __future__ import annotations

import ctypes

import pytest
from wasmtime import _bindings, _ffi

from hosts.engine import ffi, layout
from hosts.engine.interpreter import Version, check_interpreter


def test_layout_of_the_installed_wasmtime_is_the_expected_one() -> None:
    ffi.check_layout()


def test_other_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bindings, "wasmtime_component_val", _bindings.wasmtime_component_instance)
    with pytest.raises(RuntimeError, match="wasmtime_component_val has 16 bytes, expected 32"):
        ffi.check_layout()


def test_kinds_of_values_have_their_numbers() -> None:
    layout.check_kinds()


def test_kinds_with_other_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ffi, "WASMTIME_COMPONENT_RECORD", ctypes.c_int(15))
    with pytest.raises(RuntimeError, match="RECORD have number 15, expected 14"):
        layout.check_kinds()


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 13, 5), (3, 14, 1), (3, 15, 0)])
def test_interpreter_that_can_run_guests_is_taken(version: Version) -> None:
    check_interpreter("CPython", version)


@pytest.mark.parametrize(
    ("implementation", "version", "words"),
    [
        ("PyPy", (3, 11, 9), "need CPython, found PyPy 3.11.9"),
        ("CPython", (3, 10, 14), "3.11 or newer, found 3.10.14"),
        ("CPython", (3, 14, 0), "use 3.14.1 or newer, or 3.11 to 3.13"),
    ],
)
def test_interpreter_that_cannot_run_guests_is_refused(
    implementation: str, version: Version, words: str
) -> None:
    with pytest.raises(RuntimeError, match=words):
        check_interpreter(implementation, version)


def test_error_is_taken_with_its_message() -> None:
    error = ffi.error_new("größer".encode())
    assert ffi.take_error(error) == ("größer", None)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100_000])
def test_address_of_bytes_is_that_of_their_content(content: bytes) -> None:
    assert ctypes.string_at(ffi.address_of_bytes(content), len(content)) == content
