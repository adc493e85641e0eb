"""A guest that tells what it sees through the standard interfaces, and one that calls back.

`observer()` exports `SEE`: environment, arguments, directories (their number), read(path), write
(path), log(message), config(key), leave (exits with status 1), sleep (ns) and wait (any import).
"""

from __future__ import annotations

import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import wasmtime

SEE = "test:observer/see@0.1.0"

_WIT = """
package test:observer@0.1.0;

interface see {
  environment: func() -> list<tuple<string, string>>;
  arguments: func() -> list<string>;
  directories: func() -> u32;
  read: func(path: string) -> option<list<u8>>;
  write: func(path: string) -> bool;
  log: func(message: string);
  config: func(key: string) -> option<string>;
  leave: func();
}

world observer {
  import wasi:cli/environment@0.2.0;
  import wasi:cli/exit@0.2.0;
  import wasi:filesystem/types@0.2.0;
  import wasi:filesystem/preopens@0.2.0;
  import wasi:logging/logging@0.1.0-draft;
  import wasi:config/store@0.2.0-rc.1;
  export see;
}

package wasi:cli@0.2.0 {
  interface environment {
    get-environment: func() -> list<tuple<string, string>>;
    get-arguments: func() -> list<string>;
  }
  interface exit {
    exit: func(status: result);
  }
}

package wasi:logging@0.1.0-draft {
  interface logging {
    enum level { trace, debug, info, warn, error, critical }
    log: func(level: level, context: string, message: string);
  }
}

package wasi:config@0.2.0-rc.1 {
  interface store {
    variant error { upstream(string), io(string) }
    get: func(key: string) -> result<option<string>, error>;
  }
}

package wasi:filesystem@0.2.0 {
  interface types {
    type filesize = u64;
    enum error-code {
      access, would-block, already, bad-descriptor, busy, deadlock, quota, exist, file-too-large,
      illegal-byte-sequence, in-progress, interrupted, invalid, io, is-directory, loop,
      too-many-links, message-size, name-too-long, no-device, no-entry, no-lock,
      insufficient-memory, insufficient-space, not-directory, not-empty, not-recoverable,
      unsupported, no-tty, no-such-device, overflow, not-permitted, pipe, read-only, invalid-seek,
      text-file-busy, cross-device
    }
    flags descriptor-flags {
      read, write, file-integrity-sync, data-integrity-sync, requested-write-sync,
      mutate-directory
    }
    flags path-flags { symlink-follow }
    flags open-flags { create, directory, exclusive, truncate }
    resource descriptor {
      read: func(length: filesize, offset: filesize) -> result<tuple<list<u8>, bool>, error-code>;
      open-at: func(path-flags: path-flags, path: string, open-flags: open-flags,
        %flags: descriptor-flags) -> result<descriptor, error-code>;
    }
  }
  interface preopens {
    use types.{descriptor};
    get-directories: func() -> list<tuple<descriptor, string>>;
  }
}
"""

_CORE = """
(module
  (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
  (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
  (import "wasi:filesystem/types@0.2.0" "[method]descriptor.open-at"
    (func $open (param i32 i32 i32 i32 i32 i32 i32)))
  (import "wasi:filesystem/types@0.2.0" "[method]descriptor.read"
    (func $read (param i32 i64 i64 i32)))
  (import "wasi:logging/logging@0.1.0-draft" "log" (func $log (param i32 i32 i32 i32 i32)))
  (import "wasi:config/store@0.2.0-rc.1" "get" (func $config (param i32 i32 i32)))
  (memory (export "memory") 16)
  (data (i32.const 1024) "observer")
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func (export "test:observer/see@0.1.0#environment") (result i32)
    (call $environment (i32.const 16)) (i32.const 16))
  (func (export "test:observer/see@0.1.0#arguments") (result i32)
    (call $arguments (i32.const 16)) (i32.const 16))
  (func (export "test:observer/see@0.1.0#directories") (result i32)
    (call $directories (i32.const 16)) (i32.load (i32.const 20)))
  ;; Opens a path in the first directory: the result lies at 32 (tag) and 36 (descriptor).
  (func $open-first (param $path i32) (param $length i32) (param $create i32) (param $flags i32)
    (call $directories (i32.const 16))
    (call $open (i32.load (i32.load (i32.const 16))) (i32.const 0)
      (local.get $path) (local.get $length) (local.get $create) (local.get $flags)
      (i32.const 32)))
  (func (export "test:observer/see@0.1.0#read") (param $path i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 64) (i32.const 0))
    (call $open-first (local.get $path) (local.get $length) (i32.const 0) (i32.const 1))
    (if (i32.load8_u (i32.const 32)) (then (return (i32.const 64))))
    (call $read (i32.load (i32.const 36)) (i64.const 65536) (i64.const 0) (i32.const 80))
    (if (i32.load8_u (i32.const 80)) (then (return (i32.const 64))))
    (i32.store8 (i32.const 64) (i32.const 1))
    (i64.store (i32.const 68) (i64.load (i32.const 84)))
    (i32.const 64))
  (func (export "test:observer/see@0.1.0#write") (param $path i32) (param $length i32) (result i32)
    (call $open-first (local.get $path) (local.get $length) (i32.const 1) (i32.const 2))
    (i32.eqz (i32.load8_u (i32.const 32))))
  (func (export "test:observer/see@0.1.0#log") (param $text i32) (param $length i32)
    (call $log (i32.const 3) (i32.const 1024) (i32.const 8) (local.get $text) (local.get $length)))
  (func (export "test:observer/see@0.1.0#config") (param $key i32) (param $length i32) (result i32)
    (call $config (local.get $key) (local.get $length) (i32.const 96))
    (i32.const 100))
  (func (export "test:observer/see@0.1.0#leave") (call $exit (i32.const 1))))
"""


@cache
def observer() -> bytes:
    """Return the component that tells what it sees."""
    return from_wit(_WIT, "observer", _CORE)


def from_wit(wit: str, world: str, core: str) -> bytes:
    """Return the component that a core module in WAT and a world make together."""
    tool = Path(sysconfig.get_path("scripts")) / "wasm-tools"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "world.wit").write_text(wit, encoding="utf-8")
        (folder / "core.wasm").write_bytes(bytes(wasmtime.wat2wasm(core)))
        embedded, component = folder / "embedded.wasm", folder / "component.wasm"
        embed: list[str | Path] = [tool, "component", "embed", folder / "world.wit"]
        subprocess.run([*embed, folder / "core.wasm", "--world", world, "-o", embedded], check=True)
        subprocess.run([tool, "component", "new", embedded, "-o", component], check=True)
        return component.read_bytes()
