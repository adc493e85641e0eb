;; Exports `test:guest/run@0.1.0`: run() -> u32. It reads beyond its memory.
(component
  (core module $code
    (memory 1)
    (func (export "run") (result i32) (i32.load (i32.const 1000000))))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
