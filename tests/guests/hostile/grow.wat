;; Exports `test:guest/run@0.1.0`: run() -> u32. It allocates a megabyte at a time and
;; touches it, without end; once memory is refused it answers how many megabytes it got.
(component
  (core module $code
    (memory 1)
    (func (export "run") (result i32)
      (local $at i32)
      (local $got i32)
      (loop $more
        (local.set $at (memory.grow (i32.const 16)))
        (if (i32.ne (local.get $at) (i32.const -1))
          (then
            (memory.fill (i32.mul (local.get $at) (i32.const 65536)) (i32.const 1)
              (i32.const 1048576))
            (local.set $got (i32.add (local.get $got) (i32.const 1)))
            (br $more))))
      (local.get $got)))
  (core instance $main (instantiate $code))
  (func $run (result u32) (canon lift (core func $main "run")))
  (instance $exports (export "run" (func $run)))
  (export "test:guest/run@0.1.0" (instance $exports)))
