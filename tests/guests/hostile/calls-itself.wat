;; Imports and exports `test:guest/run@0.1.0`: run() -> u32, one more than what the import answers.
;; Linked to itself, it is a loop without end across instances.
(component
  (import "test:guest/run@0.1.0" (instance $next (export "run" (func (result u32)))))
  (core func $ask (canon lower (func $next "run")))
  (core module $code
    (import "next" "run" (func $ask (result i32)))
    (func (export "run") (result i32) (i32.add (call $ask) (i32.const 1))))
  (core instance $main (instantiate $code (with "next" (instance (export "run" (func $ask))))))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
