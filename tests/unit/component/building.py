"""Components for the reader's tests: from WIT by the component tools, or from text by hand.

The tools make a core module that traps in every function, so that any WIT becomes a component
whose imports and exports are known without a compiler for a guest language.
"""

from __future__ import annotations

import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import wasmtime

SEARCH = """
package docs:search@0.1.0;

/// Finding documents.
interface query {
  record hit { title: string, line: u32, score: f32 }
  variant fault { empty, too-long(u32) }
  flags how { exact, fuzzy }
  enum order { up, down }
  resource cursor {
    constructor(q: string);
    next: func() -> option<hit>;
    open: static func(q: string) -> result<cursor, fault>;
  }
  /// Finds them.
  search: func(query: string, limit: u32) -> result<list<hit>, fault>;
}

interface text {
  use query.{hit, cursor as marker};
  type hits = list<hit>;
  split: func(text: string, %with: option<option<u8>>) -> hits;
  mark: func(at: borrow<marker>, pair: tuple<s8, f64>);
}

world whole {
  import text;
  import note: func(line: string);
  export query;
  export ping: func() -> string;
}
"""
"""A world with every way of naming types: own, used, renamed, aliased, resources."""

SYNTAX = """
package lab:syntax@1.2.3;

interface %record {
  type %list = list<u32>;
  record %type { %use: %list, other: map<string, u64>, raw: list<u8, 4> }
  resource %resource {
    constructor(%from: string) -> result<%resource, string>;
  }
  %func: func(%import: %type) -> result<_, string>;
  bare: func() -> result;
  wait: async func(items: stream<u8>, end: future) -> future<string>;
}

world whole {
  use %record.{%type};
  record local { at: %type }
  import inline: interface {
    record inner { a: u8 }
    go: func(inner: inner) -> local-char;
    type local-char = char;
  }
  import %record;
  export run: func(arg: local);
}
"""
"""Keywords as names, inline interfaces, types of the world itself, and the newer types."""


def compiled(text: str) -> bytes:
    """Return the component that text in the WebAssembly text format describes."""
    return bytes(wasmtime.wat2wasm(text))


@cache
def from_wit(text: str, world: str = "whole") -> bytes:
    """Return a component of a world, with a body that traps in every function."""
    with tempfile.TemporaryDirectory() as folder:
        wit, core, component = (Path(folder) / name for name in ("w.wit", "core.wasm", "c.wasm"))
        wit.write_text(text, encoding="utf-8")
        _tool("embed", "--dummy", wit, "--world", world, "--output", core)
        _tool("new", core, "--output", component)
        return component.read_bytes()


def package_of(text: str) -> bytes:
    """Return the binary form of a WIT package, which is no component that can run."""
    with tempfile.TemporaryDirectory() as folder:
        wit, package = Path(folder) / "w.wit", Path(folder) / "p.wasm"
        wit.write_text(text, encoding="utf-8")
        _tool("wit", wit, "--wasm", "--output", package)
        return package.read_bytes()


def wit_by_tools(source: bytes | str) -> str:
    """Return WIT text as the component tools print it, from a component or from other WIT text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("c.wasm" if isinstance(source, bytes) else "w.wit")
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return _tool("wit", path, "--all-features")


def section(number: int, body: bytes) -> bytes:
    """Return a section of a binary."""
    return bytes([number]) + leb(len(body)) + body


def custom(name: str, body: bytes) -> bytes:
    """Return a custom section."""
    return section(0, leb(len(name)) + name.encode() + body)


def leb(number: int) -> bytes:
    """Return an unsigned number as the binary format writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _tool(*args: str | Path) -> str:
    tool = Path(sysconfig.get_path("scripts")) / "wasm-tools"
    done = subprocess.run(
        [tool, "component", *args], capture_output=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
