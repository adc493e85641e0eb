;; A service that never becomes ready: `start` of `test:counter/counter@0.1.0` never returns.
;; `next` would work: next() -> u64 answers 1.
(component
  (core module $code
    (func (export "start") (loop $again (br $again)))
    (func (export "next") (result i64) (i64.const 1)))
  (core instance $main (instantiate $code))
  (func $start (canon lift (core func $main "start")))
  (func $next (result u64) (canon lift (core func $main "next")))
  (instance $exports (export "start" (func $start)) (export "next" (func $next)))
  (export "test:counter/counter@0.1.0" (instance $exports)))
