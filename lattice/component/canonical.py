"""The canonical functions of a component: only `lift` makes a function that this reader follows."""

from __future__ import annotations

from lattice.component import typedefs
from lattice.component.binary import ByteReader
from lattice.component.scopes import FunctionShape, Scope, expect, item_at

_LIFT = 0x00
_LOWER = 0x01

_OPERANDS = {
    0x02: "i",  # resource.new
    0x03: "i",  # resource.drop
    0x04: "i",  # resource.rep
    0x05: "",  # task.cancel
    0x06: "b",  # subtask.cancel
    0x07: "i",  # resource.drop async (before 2025-06)
    0x08: "",  # backpressure.set (before 2025-10)
    0x09: "ro",  # task.return
    0x0A: "bi",  # context.get
    0x0B: "bi",  # context.set
    0x0C: "b",  # thread.yield
    0x0D: "",  # subtask.drop
    0x0E: "i",  # stream.new
    0x0F: "io",  # stream.read
    0x10: "io",  # stream.write
    0x11: "ib",  # stream.cancel-read
    0x12: "ib",  # stream.cancel-write
    0x13: "i",  # stream.drop-readable
    0x14: "i",  # stream.drop-writable
    0x15: "i",  # future.new
    0x16: "io",  # future.read
    0x17: "io",  # future.write
    0x18: "ib",  # future.cancel-read
    0x19: "ib",  # future.cancel-write
    0x1A: "i",  # future.drop-readable
    0x1B: "i",  # future.drop-writable
    0x1C: "o",  # error-context.new
    0x1D: "o",  # error-context.debug-message
    0x1E: "",  # error-context.drop
    0x1F: "",  # waitable-set.new
    0x20: "bi",  # waitable-set.wait
    0x21: "bi",  # waitable-set.poll
    0x22: "",  # waitable-set.drop
    0x23: "",  # waitable.join
    0x24: "",  # backpressure.inc
    0x25: "",  # backpressure.dec
    0x26: "",  # thread.index
    0x27: "ii",  # thread.new-indirect
    0x28: "",  # thread.resume-later
    0x29: "b",  # thread.suspend
    0x2A: "b",  # thread.suspend-then-resume
    0x2B: "b",  # thread.yield-then-resume
    0x2C: "b",  # thread.suspend-then-promote
    0x2D: "b",  # thread.yield-then-promote
    0x40: "i",  # thread.spawn-ref
    0x41: "ii",  # thread.spawn-indirect
    0x42: "",  # thread.available-parallelism
}
"""Operands by opcode: i = index, b = byte, o = options, r = result type."""

_OPTIONS_WITH_INDEX = frozenset({0x03, 0x04, 0x05, 0x07, 0x08})
_OPTIONS_PLAIN = frozenset({0x00, 0x01, 0x02, 0x06, 0x09})


def canonical_function(reader: ByteReader, scope: Scope) -> None:
    """Read one canonical function; a lifted one enters the scope's functions."""
    start = reader.position
    scope.work.spend(reader)
    opcode = reader.byte()
    if opcode == _LIFT:
        reader.expect(0x00, "a function")
        reader.u32()
        _options(reader)
        item = item_at(reader, scope.types, reader.u32(), "type")
        scope.functions.append(expect(reader, item, FunctionShape, "a function type").item)
    elif opcode == _LOWER:
        reader.expect(0x00, "a function")
        reader.u32()
        _options(reader)
    elif opcode in _OPERANDS:
        for operand in _OPERANDS[opcode]:
            _pass(reader, scope, operand)
    else:
        raise reader.fault(f"expected a canonical function, found {opcode:#04x}", start)


def _pass(reader: ByteReader, scope: Scope, operand: str) -> None:
    match operand:
        case "i":
            reader.u32()
        case "b":
            reader.byte()
        case "o":
            _options(reader)
        case _:
            if reader.flag():
                reader.expect(0x00, "no further results")
            else:
                typedefs.value_type(reader, scope)


def _options(reader: ByteReader) -> None:
    for _ in range(reader.count()):
        start = reader.position
        option = reader.byte()
        if option in _OPTIONS_WITH_INDEX:
            reader.u32()
        elif option not in _OPTIONS_PLAIN:
            raise reader.fault(f"expected a canonical option, found {option:#04x}", start)
