;; Exports `test:guest/run@0.1.0`: run() -> u32. It traps at once.
(component
  (core module $code
    (func (export "run") (result i32) unreachable))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
