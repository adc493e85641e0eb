;; Exports the interface of `hello` with another type: `test:hello/greet@0.1.0`,
;; greet(name: u32) -> u32. Composed with `greeter`, it does not fit.
(component
  (core module $code
    (func (export "greet") (param i32) (result i32) (local.get 0)))
  (core instance $main (instantiate $code))
  (func $greet (param "name" u32) (result u32) (canon lift (core func $main "greet")))
  (instance $exports (export "greet" (func $greet)))
  (export "test:hello/greet@0.1.0" (instance $exports)))
