;; Calls the host and waits. Imports `test:host/gate@0.1.0`: wait(ticket: u32) -> u32, and exports
;; `test:guest/run@0.1.0`: run() -> u32, the sum of what wait(1), wait(2) and wait(3) answer.
(component
  (import "test:host/gate@0.1.0" (instance $gate
    (export "wait" (func (param "ticket" u32) (result u32)))))
  (core func $wait (canon lower (func $gate "wait")))
  (core module $code
    (import "gate" "wait" (func $wait (param i32) (result i32)))
    (func (export "run") (result i32)
      (i32.add (call $wait (i32.const 1))
        (i32.add (call $wait (i32.const 2)) (call $wait (i32.const 3))))))
  (core instance $main (instantiate $code
    (with "gate" (instance (export "wait" (func $wait))))))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
