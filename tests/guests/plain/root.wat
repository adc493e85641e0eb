;; Exports functions at the root of the component, outside of any interface:
;; add(a: u32, b: u32) -> u32 and answer() -> u32.
(component
  (core module $code
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1)))
    (func (export "answer") (result i32) (i32.const 42)))
  (core instance $main (instantiate $code))
  (func $add (param "a" u32) (param "b" u32) (result u32)
    (canon lift (core func $main "add")))
  (func $answer (result u32) (canon lift (core func $main "answer")))
  (export "add" (func $add))
  (export "answer" (func $answer)))
