"""Writes the source of what runs when a guest calls a host function that answers at once.

Lifting, calling and writing the answer are one function without calls in between, because a guest
may call it a million times in a second. It never raises: ctypes would print that and go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from hosts.engine.codec.lifting_source import write_values
from hosts.engine.codec.source import Source
from hosts.engine.layout import INTEGERS, STRING
from lattice.component.types import Primitive, WitType, structure


def write_entry(params: Sequence[WitType], result: WitType | None, source: Source) -> None:
    """Write `enter`, for `ffi.Callback`.

    The namespace has `SCENE.current`, the guest, in whose `direct` the function is by `NUMBER`;
    `FIND(guest)`, which returns it when it is not there yet; `REFUSE(address)`, which raises that
    arguments are not as their types say; `WRITE(answer, address)`, which takes every answer or
    raises; and `FAIL(guest, error)`, which notes the error and returns one for wasmtime.
    """
    source.line(0, "def enter(_env, _context, _type, address, _count, results):")
    source.line(1, "guest = SCENE.current")
    source.line(1, "try:")
    source.line(2, "try:")
    source.line(3, "pass")
    values = write_values(params, source, "address", 3)
    names = [source.name("x") for _ in values]
    for name, value in zip(names, values, strict=True):
        source.line(3, f"{name} = {value}")
    source.line(2, "except MISFITS:")
    source.line(3, "REFUSE(address)")
    source.line(2, "try:")
    source.line(3, "function = guest.direct[NUMBER]")
    source.line(2, "except KeyError:")
    source.line(3, "function = FIND(guest)")
    source.line(2, f"answer = function({', '.join(names)})")
    _write_answer(result, source)
    source.line(1, "except BaseException as error:")
    source.line(2, "return FAIL(guest, error)")


def _write_answer(result: WitType | None, source: Source) -> None:
    match None if result is None else structure(result):
        case Primitive("string"):
            source.line(2, "try:")
            source.line(3, "text = encode(answer)")
            source.line(2, "except MISFITS:")
            source.line(3, "WRITE(answer, results)")
            source.line(2, "else:")
            source.line(3, "byte_vec_new(results + 8, len(text), id(text) + HEADER)")
            source.line(3, f"MEMORY[results] = {STRING}")
        case Primitive(name) if name in INTEGERS:
            kind, form, _, _ = INTEGERS[name]
            pack = source.method(f"<B7x{form}", "pack_into")
            source.line(2, "try:")
            source.refuse_if(3, "type(answer) is not int")
            source.line(3, f"{pack}(MEMORY, results, {kind}, answer)")
            source.line(2, "except MISFITS:")
            source.line(3, "WRITE(answer, results)")
        case None:
            source.line(2, "if answer is not None:")
            source.line(3, "WRITE(answer, results)")
        case _:
            source.line(2, "WRITE(answer, results)")
