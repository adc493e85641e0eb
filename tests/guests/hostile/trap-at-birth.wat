;; Exports `test:guest/run@0.1.0`: run() -> u32. Its start section traps, so that
;; no instance of it comes to be.
(component
  (core module $code
    (func $birth unreachable)
    (start $birth)
    (func (export "run") (result i32) (i32.const 0)))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
