"""What the engine assumes of wasmtime's C API and of CPython holds, or it refuses to start."""

from __future__ import annotations

import ctypes

import pytest
from wasmtime import _bindings

from hosts.engine import ffi


def test_layout_of_the_installed_wasmtime_is_the_expected_one() -> None:
    ffi.check_layout()


def test_other_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bindings, "wasmtime_component_val", _bindings.wasmtime_component_instance)
    with pytest.raises(RuntimeError, match="wasmtime_component_val has 16 bytes, expected 32"):
        ffi.check_layout()


def test_error_is_taken_with_its_message() -> None:
    error = ffi.error_new("größer".encode())
    assert ffi.take_error(error) == ("größer", None)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100_000])
def test_address_of_bytes_is_that_of_their_content(content: bytes) -> None:
    assert ctypes.string_at(ffi.address_of_bytes(content), len(content)) == content
