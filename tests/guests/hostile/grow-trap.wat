;; Exports `test:guest/run@0.1.0`: run() -> u32. It allocates without end and
;; traps once memory is refused.
(component
  (core module $code
    (memory 1)
    (func (export "run") (result i32)
      (loop $more
        (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
