;; Exports `test:math/add@0.1.0`: add(a: u32, b: u32) -> u32, modulo 2^32.
(component
  (core module $code
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1))))
  (core instance $main (instantiate $code))
  (func $add (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $main "add")))
  (instance $exports (export "add" (func $add)))
  (export "test:math/add@0.1.0" (instance $exports)))
