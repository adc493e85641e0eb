;; The library of the bulk shim: turns list<u8> into ASCII frames and back, in place.
;;
;; A frame is text, so that it crosses the engine's C API as one string. Its first byte says how it
;; holds the data:
;;   a  the data itself, which is ASCII
;;   h  two lower-case hex digits for each byte
;;   b  one byte "padding" (0..111), 14 zero bytes, then eight rows of equal length, a multiple of
;;      16: bit k of the first row's byte i is the high bit of byte i in row k; rows 0..6 are the
;;      data, padded with zero bytes, without its high bits
;;
;; Both directions work where the data lies: `realloc` leaves room in front of and behind each
;; allocation that can hold bytes. All memory is given back by `reset`, after each call.
;; hosts/engine/frames.py has the host's side of the same frames.
(core module $library
  (memory (export "memory") 1)
  (data (i32.const 1008) "a")  ;; the frame of no data
  (global $next (mut i32) (i32.const 1024))

  (func (export "reset") (global.set $next (i32.const 1024)))

  ;; Grows or makes an allocation; one that shrinks stays where it is.
  (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
    (result i32)
    (local $at i64) (local $end i64) (local $have i64)
    (if (i32.and (i32.ne (local.get $old) (i32.const 0)) (i32.le_u (local.get $size) (local.get $old_size)))
      (then (return (local.get $old))))
    (local.set $at (i64.extend_i32_u (global.get $next)))
    (if (i32.eq (local.get $align) (i32.const 1))
      (then
        ;; Hex needs as much as the data, rows need a seventh of it, in front.
        (local.set $at (i64.add (local.get $at) (i64.add (i64.const 32)
          (i64.extend_i32_u (select (local.get $size) (i32.div_u (local.get $size) (i32.const 7))
            (i32.le_u (local.get $size) (i32.const 4096)))))))))
    (local.set $at (i64.and (i64.add (local.get $at) (i64.const 15)) (i64.const -16)))
    ;; Rows are padded by up to 111 bytes.
    (local.set $end (i64.add (local.get $at) (i64.add (i64.extend_i32_u (local.get $size)) (i64.const 128))))
    (if (i64.gt_u (local.get $end) (i64.const 0xffffffff)) (then unreachable))
    (local.set $have (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
    (if (i64.gt_u (local.get $end) (local.get $have))
      (then (if (i32.eq (i32.const -1) (memory.grow (i32.wrap_i64 (i64.shr_u
          (i64.add (i64.sub (local.get $end) (local.get $have)) (i64.const 0xffff)) (i64.const 16)))))
        (then unreachable))))
    (global.set $next (i32.wrap_i64 (local.get $end)))
    (if (local.get $old)
      (then (memory.copy (i32.wrap_i64 (local.get $at)) (local.get $old) (local.get $old_size))))
    (i32.wrap_i64 (local.get $at)))

  ;; Data that `realloc` placed -> its frame.
  (func $encode (export "encode") (param $data i32) (param $size i32) (result i32 i32)
    (local $at i32) (local $end i32) (local $rows i32) (local $column i32) (local $front i32)
    (local $row v128) (local $high v128)
    (if (i32.eqz (local.get $size)) (then (return (i32.const 1008) (i32.const 1))))
    (local.set $end (i32.add (local.get $data) (local.get $size)))
    (memory.fill (local.get $end) (i32.const 0) (i32.const 112))
    (local.set $at (local.get $data))
    (block $mixed
      (loop $next
        (br_if $mixed (i8x16.bitmask (v128.load (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
      (local.set $data (i32.sub (local.get $data) (i32.const 1)))
      (i32.store8 (local.get $data) (i32.const 0x61))
      (return (local.get $data) (i32.add (local.get $size) (i32.const 1))))
    (if (i32.le_u (local.get $size) (i32.const 2048))
      (then (return (call $encode_hex (local.get $data) (local.get $size)))))
    (local.set $rows (i32.mul (i32.const 16)
      (i32.div_u (i32.add (local.get $size) (i32.const 111)) (i32.const 112))))
    (local.set $front (i32.sub (local.get $data) (local.get $rows)))
    (loop $next
      (local.set $high (v128.const i64x2 0 0))
      (local.set $at (i32.add (local.get $data) (local.get $column)))
        (local.set $row (v128.load (local.get $at)))
        (local.set $high (v128.or (local.get $high) (v128.and (v128.const i8x16 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1)
          (i8x16.lt_s (local.get $row) (v128.const i64x2 0 0)))))
        (v128.store (local.get $at) (v128.and (local.get $row) (v128.const i8x16 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f)))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (local.set $row (v128.load (local.get $at)))
        (local.set $high (v128.or (local.get $high) (v128.and (v128.const i8x16 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2)
          (i8x16.lt_s (local.get $row) (v128.const i64x2 0 0)))))
        (v128.store (local.get $at) (v128.and (local.get $row) (v128.const i8x16 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f)))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (local.set $row (v128.load (local.get $at)))
        (local.set $high (v128.or (local.get $high) (v128.and (v128.const i8x16 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4)
          (i8x16.lt_s (local.get $row) (v128.const i64x2 0 0)))))
        (v128.store (local.get $at) (v128.and (local.get $row) (v128.const i8x16 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f)))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (local.set $row (v128.load (local.get $at)))
        (local.set $high (v128.or (local.get $high) (v128.and (v128.const i8x16 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8)
          (i8x16.lt_s (local.get $row) (v128.const i64x2 0 0)))))
        (v128.store (local.get $at) (v128.and (local.get $row) (v128.const i8x16 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f)))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (local.set $row (v128.load (local.get $at)))
        (local.set $high (v128.or (local.get $high) (v128.and (v128.const i8x16 16 16 16 16 16 16 16 16 16 16 16 16 16 16 16 16)
          (i8x16.lt_s (local.get $row) (v128.const i64x2 0 0)))))
        (v128.store (local.get $at) (v128.and (local.get $row) (v128.const i8x16 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f)))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (local.set $row (v128.load (local.get $at)))
        (local.set $high (v128.or (local.get $high) (v128.and (v128.const i8x16 32 32 32 32 32 32 32 32 32 32 32 32 32 32 32 32)
          (i8x16.lt_s (local.get $row) (v128.const i64x2 0 0)))))
        (v128.store (local.get $at) (v128.and (local.get $row) (v128.const i8x16 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f)))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (local.set $row (v128.load (local.get $at)))
        (local.set $high (v128.or (local.get $high) (v128.and (v128.const i8x16 64 64 64 64 64 64 64 64 64 64 64 64 64 64 64 64)
          (i8x16.lt_s (local.get $row) (v128.const i64x2 0 0)))))
        (v128.store (local.get $at) (v128.and (local.get $row) (v128.const i8x16 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f 0x7f)))
      (v128.store (i32.add (local.get $front) (local.get $column)) (local.get $high))
      (local.set $column (i32.add (local.get $column) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $column) (local.get $rows))))
    (local.set $front (i32.sub (local.get $front) (i32.const 16)))
    (v128.store (local.get $front) (v128.const i64x2 0 0))
    (i32.store8 (local.get $front) (i32.const 0x62))
    (i32.store8 offset=1 (local.get $front)
      (i32.sub (i32.mul (local.get $rows) (i32.const 7)) (local.get $size)))
    (local.get $front)
    (i32.add (i32.const 16) (i32.shl (local.get $rows) (i32.const 3))))

  (func $digit (param $value i32) (result i32)
    (i32.add (local.get $value)
      (select (i32.const 0x57) (i32.const 0x30) (i32.gt_u (local.get $value) (i32.const 9)))))

  ;; The digits end where the data ends, so that each byte is read before it is written over.
  (func $encode_hex (param $data i32) (param $size i32) (result i32 i32)
    (local $from i32) (local $to i32) (local $end i32)
    (local.set $from (local.get $data))
    (local.set $end (i32.add (local.get $data) (local.get $size)))
    (local.set $to (i32.sub (local.get $data) (local.get $size)))
    (i32.store8 (i32.sub (local.get $to) (i32.const 1)) (i32.const 0x68))
    (loop $next
      (i32.store16 (local.get $to) (i32.or
        (call $digit (i32.shr_u (i32.load8_u (local.get $from)) (i32.const 4)))
        (i32.shl (call $digit (i32.and (i32.load8_u (local.get $from)) (i32.const 15))) (i32.const 8))))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (local.set $from (i32.add (local.get $from) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $from) (local.get $end))))
    (i32.sub (i32.sub (local.get $data) (local.get $size)) (i32.const 1))
    (i32.add (i32.shl (local.get $size) (i32.const 1)) (i32.const 1)))

  ;; A frame -> its data. What is no frame traps.
  (func $decode (export "decode") (param $frame i32) (param $size i32) (result i32 i32)
    (local $at i32) (local $rows i32) (local $column i32) (local $data i32) (local $high v128)
    (if (i32.eqz (local.get $size)) (then unreachable))
    (if (i32.eq (i32.load8_u (local.get $frame)) (i32.const 0x61))
      (then (return (i32.add (local.get $frame) (i32.const 1)) (i32.sub (local.get $size) (i32.const 1)))))
    (if (i32.eq (i32.load8_u (local.get $frame)) (i32.const 0x68))
      (then (return (call $decode_hex (local.get $frame) (local.get $size)))))
    (if (i32.ne (i32.load8_u (local.get $frame)) (i32.const 0x62)) (then unreachable))
    ;; 16 bytes, and eight rows of a multiple of 16.
    (if (i32.lt_u (local.get $size) (i32.const 144)) (then unreachable))
    (if (i32.and (i32.sub (local.get $size) (i32.const 16)) (i32.const 127)) (then unreachable))
    (if (i32.ge_u (i32.load8_u offset=1 (local.get $frame)) (i32.const 112)) (then unreachable))
    (local.set $rows (i32.shr_u (i32.sub (local.get $size) (i32.const 16)) (i32.const 3)))
    (local.set $data (i32.add (i32.add (local.get $frame) (i32.const 16)) (local.get $rows)))
    (loop $next
      (local.set $high (v128.load offset=16 (i32.add (local.get $frame) (local.get $column))))
      (local.set $at (i32.add (local.get $data) (local.get $column)))
        (v128.store (local.get $at) (v128.or (v128.load (local.get $at)) (v128.and (v128.const i8x16 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80)
          (i8x16.ne (v128.const i64x2 0 0)
            (v128.and (local.get $high) (v128.const i8x16 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1))))))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (v128.store (local.get $at) (v128.or (v128.load (local.get $at)) (v128.and (v128.const i8x16 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80)
          (i8x16.ne (v128.const i64x2 0 0)
            (v128.and (local.get $high) (v128.const i8x16 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2))))))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (v128.store (local.get $at) (v128.or (v128.load (local.get $at)) (v128.and (v128.const i8x16 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80)
          (i8x16.ne (v128.const i64x2 0 0)
            (v128.and (local.get $high) (v128.const i8x16 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4))))))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (v128.store (local.get $at) (v128.or (v128.load (local.get $at)) (v128.and (v128.const i8x16 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80)
          (i8x16.ne (v128.const i64x2 0 0)
            (v128.and (local.get $high) (v128.const i8x16 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8))))))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (v128.store (local.get $at) (v128.or (v128.load (local.get $at)) (v128.and (v128.const i8x16 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80)
          (i8x16.ne (v128.const i64x2 0 0)
            (v128.and (local.get $high) (v128.const i8x16 16 16 16 16 16 16 16 16 16 16 16 16 16 16 16 16))))))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (v128.store (local.get $at) (v128.or (v128.load (local.get $at)) (v128.and (v128.const i8x16 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80)
          (i8x16.ne (v128.const i64x2 0 0)
            (v128.and (local.get $high) (v128.const i8x16 32 32 32 32 32 32 32 32 32 32 32 32 32 32 32 32))))))
        (local.set $at (i32.add (local.get $at) (local.get $rows)))
        (v128.store (local.get $at) (v128.or (v128.load (local.get $at)) (v128.and (v128.const i8x16 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80 0x80)
          (i8x16.ne (v128.const i64x2 0 0)
            (v128.and (local.get $high) (v128.const i8x16 64 64 64 64 64 64 64 64 64 64 64 64 64 64 64 64))))))
      (local.set $column (i32.add (local.get $column) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $column) (local.get $rows))))
    (local.get $data)
    (i32.sub (i32.mul (local.get $rows) (i32.const 7)) (i32.load8_u offset=1 (local.get $frame))))

  (func $nibble (param $digit i32) (result i32)
    (i32.and (i32.const 15) (i32.add (local.get $digit)
      (i32.mul (i32.shr_u (local.get $digit) (i32.const 6)) (i32.const 9)))))

  (func $decode_hex (param $frame i32) (param $size i32) (result i32 i32)
    (local $from i32) (local $to i32) (local $end i32)
    (if (i32.eqz (i32.and (local.get $size) (i32.const 1))) (then unreachable))
    (local.set $from (i32.add (local.get $frame) (i32.const 1)))
    (local.set $to (local.get $from))
    (local.set $end (i32.add (local.get $frame) (local.get $size)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
        (i32.store8 (local.get $to) (i32.or
          (i32.shl (call $nibble (i32.load8_u (local.get $from))) (i32.const 4))
          (call $nibble (i32.load8_u offset=1 (local.get $from)))))
        (local.set $from (i32.add (local.get $from) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (br $next)))
    (i32.add (local.get $frame) (i32.const 1))
    (i32.shr_u (i32.sub (local.get $size) (i32.const 1)) (i32.const 1)))

  ;; The same for address and size that lie in memory.
  (func (export "encode_at") (param $span i32) (local $data i32) (local $size i32)
    (call $encode (i32.load (local.get $span)) (i32.load offset=4 (local.get $span)))
    (local.set $size) (local.set $data)
    (i32.store (local.get $span) (local.get $data))
    (i32.store offset=4 (local.get $span) (local.get $size)))

  (func (export "decode_at") (param $span i32) (local $data i32) (local $size i32)
    (call $decode (i32.load (local.get $span)) (i32.load offset=4 (local.get $span)))
    (local.set $size) (local.set $data)
    (i32.store (local.get $span) (local.get $data))
    (i32.store offset=4 (local.get $span) (local.get $size)))
)
