;; Exports `test:guest/run@0.1.0`: run() -> u32. Its memory is 2 GiB from the first moment.
(component
  (core module $code
    (memory 32768)
    (func (export "run") (result i32) (memory.size)))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
