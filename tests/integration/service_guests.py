"""Components for tests of services and lazy components: text that compiles in a millisecond.

A `stepper` calls what it imports, and so on, as deep as it is told; processes export
`wasi:cli/run`.
"""

from __future__ import annotations

from functools import cache

from wasmtime import wat2wasm

RUN = "wasi:cli/run@0.2.3"

SPINS = "(loop $for-ever (br $for-ever)) i32.const 0"
"""The body of a run that never ends and never waits."""


def interface_of(name: str) -> str:
    """Return the interface that a stepper exports under a name."""
    return f"test:{name}/steps@0.1.0"


@cache
def stepper(name: str, calls: str) -> bytes:
    """`test:NAME/steps@0.1.0`: down(n: u32) -> u32 is 0 for 0, else 1 + down(n - 1) of CALLS.

    Also: count() -> u32, how often this instance was called; fail(), which traps.
    """
    return _compiled(f"""
    (component
      (import "{interface_of(calls)}" (instance $next
        (export "down" (func (param "n" u32) (result u32)))))
      (core func $next-down (canon lower (func $next "down")))
      (core module $code
        (import "next" "down" (func $down (param i32) (result i32)))
        (global $count (mut i32) (i32.const 0))
        (func (export "down") (param i32) (result i32)
          (global.set $count (i32.add (global.get $count) (i32.const 1)))
          (if (result i32) (local.get 0)
            (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
            (else (i32.const 0))))
        (func (export "count") (result i32) (global.get $count))
        (func (export "fail") unreachable))
      (core instance $main (instantiate $code
        (with "next" (instance (export "down" (func $next-down))))))
      (func $down (param "n" u32) (result u32) (canon lift (core func $main "down")))
      (func $count (result u32) (canon lift (core func $main "count")))
      (func $fail (canon lift (core func $main "fail")))
      (instance $out (export "down" (func $down)) (export "count" (func $count))
        (export "fail" (func $fail)))
      (export "{interface_of(name)}" (instance $out)))""")


@cache
def hooked(memory: str = "1") -> bytes:
    """`test:hooked/hooks@0.1.0`: start() and stop() log through `test:log/log@0.1.0`: note(u32).

    start notes 1, work() notes 2, stop notes 3.
    """
    notes = {"start": 1, "work": 2, "stop": 3}
    core = " ".join(
        f'(func (export "{name}") (call $note (i32.const {number})))'
        for name, number in notes.items()
    )
    lifted = " ".join(f'(func ${name} (canon lift (core func $main "{name}")))' for name in notes)
    exported = " ".join(f'(export "{name}" (func ${name}))' for name in notes)
    return _compiled(f"""
    (component
      (import "test:log/log@0.1.0" (instance $log
        (export "note" (func (param "n" u32)))))
      (core func $note (canon lower (func $log "note")))
      (core module $code
        (import "log" "note" (func $note (param i32)))
        (memory {memory})
        {core})
      (core instance $main (instantiate $code
        (with "log" (instance (export "note" (func $note))))))
      {lifted}
      (instance $out {exported})
      (export "test:hooked/hooks@0.1.0" (instance $out)))""")


@cache
def notes() -> bytes:
    """`test:log/log@0.1.0`: note(n: u32) appends a digit, told() -> u64 returns all as a number."""
    return _compiled("""
    (component
      (core module $code
        (global $all (mut i64) (i64.const 0))
        (func (export "note") (param i32)
          (global.set $all (i64.add (i64.mul (global.get $all) (i64.const 10))
                                    (i64.extend_i32_u (local.get 0)))))
        (func (export "told") (result i64) (global.get $all)))
      (core instance $main (instantiate $code))
      (func $note (param "n" u32) (canon lift (core func $main "note")))
      (func $told (result u64) (canon lift (core func $main "told")))
      (instance $out (export "note" (func $note)) (export "told" (func $told)))
      (export "test:log/log@0.1.0" (instance $out)))""")


@cache
def process(body: str, *, version: str = "0.2.3", more: str = "") -> bytes:
    """Return a process whose `run` has this body, in the text format; 0 is ok, 1 an error."""
    return _compiled(f"""
    (component
      (core module $code (func (export "run") (result i32) {body}))
      (core instance $main (instantiate $code))
      (func $run (result (result)) (canon lift (core func $main "run")))
      (instance $out (export "run" (func $run)))
      (export "wasi:cli/run@{version}" (instance $out)) {more})""")


@cache
def noting_process(times: int, end: str = "i32.const 0") -> bytes:
    """Return a process that notes 7 in `test:log/log@0.1.0` so often, then ends with this body."""
    calls = "(call $note (i32.const 7)) " * times
    return _compiled(f"""
    (component
      (import "test:log/log@0.1.0" (instance $log
        (export "note" (func (param "n" u32)))))
      (core func $note (canon lower (func $log "note")))
      (core module $code
        (import "log" "note" (func $note (param i32)))
        (func (export "run") (result i32) {calls} {end}))
      (core instance $main (instantiate $code
        (with "log" (instance (export "note" (func $note))))))
      (func $run (result (result)) (canon lift (core func $main "run")))
      (instance $out (export "run" (func $run)))
      (export "{RUN}" (instance $out)))""")


@cache
def exiting_process(*, fails: bool) -> bytes:
    """Return a process that ends by `wasi:cli/exit`."""
    return _compiled(f"""
    (component
      (import "wasi:cli/exit@0.2.0" (instance $system
        (export "exit" (func (param "status" (result))))))
      (core func $exit (canon lower (func $system "exit")))
      (core module $code
        (import "system" "exit" (func $exit (param i32)))
        (func (export "run") (result i32) (call $exit (i32.const {int(fails)})) unreachable))
      (core instance $main (instantiate $code
        (with "system" (instance (export "exit" (func $exit))))))
      (func $run (result (result)) (canon lift (core func $main "run")))
      (instance $out (export "run" (func $run)))
      (export "wasi:cli/run@0.2.0" (instance $out)))""")


@cache
def patient() -> bytes:
    """A service, `test:health/health@0.1.0`: become(n: u32) sets how it is from then on.

    ok() -> bool is true when that is 0; it traps for 2, and never returns for 3. check() -> result
    is ok for 0, else an error. work() never returns.
    """
    return _compiled("""
    (component
      (core module $code
        (global $is (mut i32) (i32.const 0))
        (func (export "become") (param i32) (global.set $is (local.get 0)))
        (func (export "ok") (result i32)
          (if (i32.eq (global.get $is) (i32.const 2)) (then unreachable))
          (if (i32.eq (global.get $is) (i32.const 3)) (then (loop $on (br $on))))
          (i32.eqz (global.get $is)))
        (func (export "check") (result i32) (i32.ne (global.get $is) (i32.const 0)))
        (func (export "work") (loop $on (br $on))))
      (core instance $main (instantiate $code))
      (func $become (param "n" u32) (canon lift (core func $main "become")))
      (func $ok (result bool) (canon lift (core func $main "ok")))
      (func $check (result (result)) (canon lift (core func $main "check")))
      (func $work (canon lift (core func $main "work")))
      (instance $out (export "become" (func $become)) (export "ok" (func $ok))
        (export "check" (func $check)) (export "work" (func $work)))
      (export "test:health/health@0.1.0" (instance $out)))""")


def _compiled(text: str) -> bytes:
    return bytes(wat2wasm(text))
