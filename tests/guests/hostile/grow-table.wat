;; Exports `test:guest/run@0.1.0`: run() -> u32. It makes its table longer by a thousand elements
;; at a time, without end; once that is refused it answers how many thousands it got.
(component
  (core module $code
    (table 1 funcref)
    (func (export "run") (result i32)
      (local $got i32)
      (loop $more
        (if (i32.ne (table.grow (ref.null func) (i32.const 1000)) (i32.const -1))
          (then
            (local.set $got (i32.add (local.get $got) (i32.const 1)))
            (br $more))))
      (local.get $got)))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
