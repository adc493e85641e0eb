;; Exports `test:guest/run@0.1.0`: run() -> u32. It needs an interface that nobody has.
(component
  (import "nobody:home/thing@0.1.0" (instance $nobody
    (export "ask" (func (param "question" u32) (result u32)))))
  (core func $ask (canon lower (func $nobody "ask")))
  (core module $code
    (import "nobody" "ask" (func $ask (param i32) (result i32)))
    (func (export "run") (result i32) (call $ask (i32.const 1))))
  (core instance $main (instantiate $code
    (with "nobody" (instance (export "ask" (func $ask))))))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
