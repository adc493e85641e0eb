"""Small components that the engine's cases call, in the text form of WebAssembly.

They do next to nothing: what is measured is the way in and out. Some take whatever they can get.
One more is as people build it, in JavaScript.
"""

from __future__ import annotations

from pathlib import Path

ECHO = """
(component
  (core module $m
    (memory (export "memory") 64)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param $old i32) (param $was i32) (param i32) (param $size i32)
      (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    (func (export "done") (param i32) (global.set $next (i32.const 4096)))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "pair") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16))
    (func (export "same") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $i "add")))
  (func (export "echo-string") (param "s" string) (result string)
    (canon lift (core func $i "pair") (memory $memory) (realloc (core func $i "realloc"))
      (post-return (core func $i "done"))))
  (type $kind' (variant (case "a") (case "b" u32) (case "c" string)))
  (export $kind "kind" (type $kind'))
  (type $point' (record (field "x" u32) (field "y" f64) (field "s" string)))
  (export $point "point" (type $point'))
  (type $thing' (record (field "id" u64) (field "name" string) (field "kind" $kind)
    (field "alt" (option $kind)) (field "note" (option string)) (field "at" $point)
    (field "ok" (result u32 (error string))) (field "tags" (list string)) (field "flag" bool)))
  (export $thing "thing" (type $thing'))
  (func (export "echo-thing") (param "t" $thing) (result $thing)
    (canon lift (core func $i "same") (memory $memory) (realloc (core func $i "realloc"))
      (post-return (core func $i "done"))))
  (func (export "echo-points") (param "p" (list $point)) (result (list $point))
    (canon lift (core func $i "pair") (memory $memory) (realloc (core func $i "realloc"))
      (post-return (core func $i "done"))))
)
"""
"""Returns what it is given: numbers, a string, a nested record, a list of records."""

CALLER = """
(component
  (import "host" (instance $host
    (export "add" (func (param "a" u32) (param "b" u32) (result u32)))
    (export "echo" (func (param "s" string) (result string)))))
  (alias export $host "add" (func $add))
  (alias export $host "echo" (func $echo))
  (core module $libc
    (memory (export "memory") 16)
    (global $next (mut i32) (i32.const 4096))
    (func (export "reset") (global.set $next (i32.const 4096)))
    (func (export "realloc") (param $old i32) (param $was i32) (param i32) (param $size i32)
      (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $add (canon lower (func $add)))
  (core func $echo (canon lower (func $echo) (memory $memory) (realloc $realloc)))
  (core module $m
    (import "libc" "reset" (func $reset))
    (import "libc" "memory" (memory 16))
    (import "host" "add" (func $add (param i32 i32) (result i32)))
    (import "host" "echo" (func $echo (param i32 i32 i32)))
    (func (export "add-often") (param $n i32) (result i32) (local $sum i32)
      (loop $again
        (local.set $sum (call $add (local.get $sum) (i32.const 1)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $again (local.get $n)))
      (local.get $sum))
    (func (export "echo-often") (param $n i32) (result i32)
      (memory.fill (i32.const 1024) (i32.const 120) (i32.const 100))
      (loop $again
        (call $reset)
        (call $echo (i32.const 1024) (i32.const 100) (i32.const 16))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $again (local.get $n)))
      (i32.load (i32.const 20))))
  (core instance $i (instantiate $m
    (with "libc" (instance $libc))
    (with "host" (instance (export "add" (func $add)) (export "echo" (func $echo))))))
  (func (export "add-often") (param "n" u32) (result u32)
    (canon lift (core func $i "add-often")))
  (func (export "echo-often") (param "n" u32) (result u32)
    (canon lift (core func $i "echo-often")))
)
"""
"""Calls the host's `add`, or its `echo` of 100 bytes, so many times."""

COMPUTING = """
(component
  (core module $m
    (func (export "run") (param $n i32) (result i32) (local $sum i32)
      (loop $again
        (local.set $sum (i32.add (i32.rotl (local.get $sum) (i32.const 5)) (local.get $n)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $again (local.get $n)))
      (local.get $sum)))
  (core instance $i (instantiate $m))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $i "run"))))
"""
"""Computes so many rounds of a short loop."""

SPINNING = """
(component
  (core module $m
    (func (export "run") (result i32) (loop $again (br $again)) unreachable))
  (core instance $i (instantiate $m))
  (func (export "run") (result u32) (canon lift (core func $i "run"))))
"""
"""Never returns."""

ALLOCATING = """
(component
  (core module $m
    (memory 1)
    (func (export "run") (result i32) (local $at i32)
      (loop $more
        (local.set $at (memory.grow (i32.const 16)))
        (if (i32.ne (local.get $at) (i32.const -1))
          (then
            (memory.fill (i32.shl (local.get $at) (i32.const 16)) (i32.const 1)
              (i32.const 1048576))
            (br $more))))
      (memory.size)))
  (core instance $i (instantiate $m))
  (func (export "run") (result u32) (canon lift (core func $i "run"))))
"""
"""Fills all the memory it is allowed, then answers with its pages."""

RECURSING = """
(component
  (core module $m
    (func $run (export "run") (result i32) (i32.add (call $run) (i32.const 1))))
  (core instance $i (instantiate $m))
  (func (export "run") (result u32) (canon lift (core func $i "run"))))
"""
"""Calls itself until its stack is full, and traps."""

FLOODING = """
(component
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $stream (sub resource)))
    (alias outer 1 $error (type $error'))
    (export "error" (type $failed (eq $error')))
    (type $stream-error' (variant (case "last-operation-failed" (own $failed)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error')))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $stream)) (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $stream (type $stream'))
    (export "output-stream" (type $it (eq $stream')))
    (export "get-stdout" (func (result (own $it))))))
  (alias export $streams "[method]output-stream.blocking-write-and-flush" (func $write))
  (alias export $stdout "get-stdout" (func $get))
  (core module $library
    (memory (export "memory") 2)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
  (core instance $lib (instantiate $library))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $write' (canon lower (func $write) (memory $memory) (realloc $realloc)))
  (core func $get' (canon lower (func $get)))
  (core module $m
    (import "lib" "memory" (memory 2))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "get" (func $get (result i32)))
    (func (export "run") (result i32) (local $stream i32)
      (local.set $stream (call $get))
      (memory.fill (i32.const 1024) (i32.const 120) (i32.const 4095))
      (i32.store8 (i32.const 5119) (i32.const 10))
      (loop $again
        (call $write (local.get $stream) (i32.const 1024) (i32.const 4096) (i32.const 16))
        (br $again))
      unreachable))
  (core instance $i (instantiate $m (with "lib" (instance $lib))
    (with "host" (instance (export "write" (func $write')) (export "get" (func $get'))))))
  (func (export "run") (result u32) (canon lift (core func $i "run"))))
"""
"""Writes lines of 4096 bytes to its standard output without end."""

WAITING = """
(component
  (import "host" (instance $host
    (export "add" (func (param "a" u32) (param "b" u32) (result u32)))))
  (alias export $host "add" (func $add))
  (core func $add' (canon lower (func $add)))
  (core module $m
    (import "host" "add" (func $add (param i32 i32) (result i32)))
    (memory 1)
    (func (export "run") (param i32) (result i32)
      (i32.store (i32.const 0) (local.get 0))
      (call $add (i32.load (i32.const 0)) (i32.const 1))))
  (core instance $i (instantiate $m (with "host" (instance (export "add" (func $add'))))))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $i "run"))))
"""
"""Has the host's `add` say what comes after a number, and keeps a page of memory."""


def javascript() -> Path:
    """Return a guest in JavaScript, unmodified as componentize-js builds it: a file of 12 MB.

    It exports `handle: func(text: string) -> string` at its root, and imports the interface
    `tests.guests.languages.building.CATALOG`, which `handle` does not call. Built once, in half a
    minute.

    Raises:
        tests.guests.languages.building.Unavailable: node or npm is not on this machine.
    """
    from tests.guests.languages.building import starlingmonkey

    return starlingmonkey()


INVOKE_ADD = """
(component
  (core module $m
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
  (core instance $i (instantiate $m))
  (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
  (instance $it (export "add" (func $add)))
  (export "bench:invoke/add@1.0.0" (instance $it)))
"""
"""Adds two numbers."""

INVOKE_BYTES = """
(component
  (core module $m
    (memory (export "memory") 192)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "same") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16)))
  (core instance $i (instantiate $m))
  (func $echo (param "body" (list u8)) (result (list u8))
    (canon lift (core func $i "same") (memory $i "memory") (realloc (core func $i "realloc"))))
  (instance $it (export "echo" (func $echo)))
  (export "bench:invoke/bytes@1.0.0" (instance $it)))
"""
"""Returns the bytes that it is given, up to 12 MB."""

INVOKE_OFTEN = """
(component
  (import "bench:invoke/add@1.0.0"
    (instance $add (export "add" (func (param "a" u32) (param "b" u32) (result u32)))))
  (core func $lowered (canon lower (func $add "add")))
  (core module $m
    (import "add" "add" (func $add (param i32 i32) (result i32)))
    (func (export "often") (param $n i32) (result i32) (local $sum i32)
      (loop $again
        (local.set $sum (call $add (local.get $sum) (i32.const 1)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $again (local.get $n)))
      (local.get $sum)))
  (core instance $i (instantiate $m (with "add" (instance (export "add" (func $lowered))))))
  (func $often (param "n" u32) (result u32) (canon lift (core func $i "often")))
  (instance $it (export "often" (func $often)))
  (export "bench:invoke/often@1.0.0" (instance $it)))
"""
"""Calls what it imports so many times."""
