;; A service with state. Exports `test:counter/counter@0.1.0`:
;;   start() - counts how often it ran; next() -> u64, the number of calls of `next` so far;
;;   starts() -> u32, the number of calls of `start`; fail() - traps.
(component
  (core module $code
    (global $count (mut i64) (i64.const 0))
    (global $starts (mut i32) (i32.const 0))
    (func (export "start") (global.set $starts (i32.add (global.get $starts) (i32.const 1))))
    (func (export "next") (result i64)
      (global.set $count (i64.add (global.get $count) (i64.const 1)))
      (global.get $count))
    (func (export "starts") (result i32) (global.get $starts))
    (func (export "fail") unreachable))
  (core instance $main (instantiate $code))
  (func $start (canon lift (core func $main "start")))
  (func $next (result u64) (canon lift (core func $main "next")))
  (func $starts (result u32) (canon lift (core func $main "starts")))
  (func $fail (canon lift (core func $main "fail")))
  (instance $exports
    (export "start" (func $start))
    (export "next" (func $next))
    (export "starts" (func $starts))
    (export "fail" (func $fail)))
  (export "test:counter/counter@0.1.0" (instance $exports)))
