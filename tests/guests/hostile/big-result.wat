;; Exports `test:guest/big@0.1.0`: big() -> string, two megabytes of NUL characters: more than
;; a message of the lattice may carry.
(component
  (core module $code
    (memory (export "memory") 40)
    (func (export "big") (result i32)
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 2097152))
      (i32.const 0)))
  (core instance $main (instantiate $code))
  (func $big (result string)
    (canon lift (core func $main "big") (memory (core memory $main "memory"))))
  (instance $exports (export "big" (func $big)))
  (export "test:guest/big@0.1.0" (instance $exports)))
