;; Imports `test:hello/greet@0.1.0` and exports `test:greeter/welcome@0.1.0`:
;; welcome(name: string) -> string, what `greet` answers to the name.
(component
  (import "test:hello/greet@0.1.0" (instance $hello
    (export "greet" (func (param "name" string) (result string)))))
  (core module $allocator
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 16))
    (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32)
        (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get $size)))
      (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (i32.const -1)
            (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $size) (i32.const 65536)))))
          (then unreachable))))
      (memory.copy (local.get $at) (local.get $old) (select (local.get $old_size)
        (local.get $size) (i32.lt_u (local.get $old_size) (local.get $size))))
      (local.get $at))
    (func (export "post") (param i32) (global.set $next (i32.const 16))))
  (core instance $heap (instantiate $allocator))
  (core func $greet (canon lower (func $hello "greet")
    (memory (core memory $heap "memory")) (realloc (core func $heap "realloc"))))
  (core module $code
    (import "hello" "greet" (func $greet (param i32 i32 i32)))
    (func (export "welcome") (param $name i32) (param $length i32) (result i32)
      (call $greet (local.get $name) (local.get $length) (i32.const 0))
      (i32.const 0)))
  (core instance $main (instantiate $code
    (with "hello" (instance (export "greet" (func $greet))))))
  (func $welcome (param "name" string) (result string)
    (canon lift (core func $main "welcome") (memory (core memory $heap "memory"))
      (realloc (core func $heap "realloc")) (post-return (core func $heap "post"))))
  (instance $exports (export "welcome" (func $welcome)))
  (export "test:greeter/welcome@0.1.0" (instance $exports)))
