;; Exports `test:guest/run@0.1.0`: run() -> u32. It divides by zero.
(component
  (core module $code
    (func (export "run") (result i32) (i32.div_u (i32.const 1) (i32.const 0))))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
