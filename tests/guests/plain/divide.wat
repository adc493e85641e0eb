;; Exports `test:math/divide@0.1.0`: divide(a: s32, b: s32) -> result<s32, string>.
;; Division by zero is the error "division by zero"; -2147483648 / -1 traps.
(component
  (core module $code
    (memory (export "memory") 1)
    (data (i32.const 32) "division by zero")
    (func (export "divide") (param $a i32) (param $b i32) (result i32)
      (if (i32.eqz (local.get $b))
        (then
          (i32.store (i32.const 0) (i32.const 1))
          (i32.store (i32.const 4) (i32.const 32))
          (i32.store (i32.const 8) (i32.const 16)))
        (else
          (i32.store (i32.const 0) (i32.const 0))
          (i32.store (i32.const 4) (i32.div_s (local.get $a) (local.get $b)))))
      (i32.const 0)))
  (core instance $main (instantiate $code))
  (func $divide (param "a" s32) (param "b" s32) (result (result s32 (error string)))
    (canon lift (core func $main "divide") (memory (core memory $main "memory"))))
  (instance $exports (export "divide" (func $divide)))
  (export "test:math/divide@0.1.0" (instance $exports)))
