"""Small components that the engine's cases call, in the text form of WebAssembly.

They do next to nothing: what is measured is the way in and out.
"""

from __future__ import annotations

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
