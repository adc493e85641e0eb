;; A stateless part that uses a service. Imports `test:counter/counter@0.1.0` (next only) and
;; exports `test:ticket/ticket@0.1.0`: draw() -> u64, one more than what `next` answers.
(component
  (import "test:counter/counter@0.1.0" (instance $counter
    (export "next" (func (result u64)))))
  (core func $next (canon lower (func $counter "next")))
  (core module $code
    (import "counter" "next" (func $next (result i64)))
    (func (export "draw") (result i64) (i64.add (call $next) (i64.const 1))))
  (core instance $main (instantiate $code
    (with "counter" (instance (export "next" (func $next))))))
  (func $draw (result u64) (canon lift (core func $main "draw")))
  (instance $exports (export "draw" (func $draw)))
  (export "test:ticket/ticket@0.1.0" (instance $exports)))
