;; Exports `test:guest/results@0.1.0`, whose functions break the canonical ABI:
;;   invalid-utf8() -> string, the byte 0xff; out-of-bounds() -> string, beyond the memory;
;;   bad-char() -> char, a surrogate; bad-case() -> option<u32>, neither none nor some.
(component
  (core module $code
    (memory (export "memory") 1)
    (data (i32.const 16) "\ff")
    (func (export "invalid-utf8") (result i32)
      (i32.store (i32.const 0) (i32.const 16))
      (i32.store (i32.const 4) (i32.const 1))
      (i32.const 0))
    (func (export "out-of-bounds") (result i32)
      (i32.store (i32.const 0) (i32.const 65000))
      (i32.store (i32.const 4) (i32.const 1000000))
      (i32.const 0))
    (func (export "bad-char") (result i32) (i32.const 0xd800))
    (func (export "bad-case") (result i32)
      (i32.store (i32.const 0) (i32.const 7))
      (i32.const 0)))
  (core instance $main (instantiate $code))
  (func $invalid-utf8 (result string)
    (canon lift (core func $main "invalid-utf8") (memory (core memory $main "memory"))))
  (func $out-of-bounds (result string)
    (canon lift (core func $main "out-of-bounds") (memory (core memory $main "memory"))))
  (func $bad-char (result char) (canon lift (core func $main "bad-char")))
  (func $bad-case (result (option u32))
    (canon lift (core func $main "bad-case") (memory (core memory $main "memory"))))
  (instance $exports
    (export "invalid-utf8" (func $invalid-utf8))
    (export "out-of-bounds" (func $out-of-bounds))
    (export "bad-char" (func $bad-char))
    (export "bad-case" (func $bad-case)))
  (export "test:guest/results@0.1.0" (instance $exports)))
