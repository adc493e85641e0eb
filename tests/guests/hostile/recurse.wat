;; Exports `test:guest/run@0.1.0`: run() -> u32. It calls itself until the stack overflows.
(component
  (core module $code
    (func $run (export "run") (result i32) (i32.add (call $run) (i32.const 1))))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
