"""Writes the source of what runs when a guest calls a host function that answers at once.

Lifting, calling and writing the answer are one function without calls in between, because a guest
may call it a million times in a second. It never raises: ctypes would print that and go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from hosts.engine.codec.handles import holds_handles
from hosts.engine.codec.lifting_source import write_numbers, write_values
from hosts.engine.codec.lowering_source import write_block
from hosts.engine.codec.source import Source
from hosts.engine.codec.spans import SCALARS
from hosts.engine.ffi import COUNT_AS_IT_IS_MAX
from hosts.engine.layout import FLOATS, INTEGERS, RESOURCE, STRING
from lattice.component.types import OwnType, Primitive, WitType, structure


def write_entry(
    params: Sequence[WitType],
    result: WitType | None,
    source: Source,
    *,
    lowers_result: bool,
    records: bool,
) -> None:
    """Write `enter`, for `ffi.Callback`; without `lowers_result`, `WRITE` does that.

    The namespace has `SCENE.current`, the guest, in whose `direct` the function is by `NUMBER`;
    `FIND(guest)`, which returns it when it is not there yet; `REFUSE(address)`, which raises if
    arguments are not as their types say; `WRITE(answer, address)`, which takes every answer or
    raises; and `FAIL(guest, error)`, which notes the error and returns one for wasmtime.
    """
    source.line(0, "PLACE = 0, None; IS_NEW = True")
    source.line(0, "def enter(_env, _context, _type, address, _count, results):")
    source.line(1, "global PLACE, IS_NEW")
    source.line(1, "guest = SCENE.current")
    source.line(1, "try:")
    takes_handles = any(map(holds_handles, params))
    if takes_handles:
        source.line(2, "lift_handle = guest.handles.lift")  # quicker than by way of `TABLES`
    source.line(2, "try:")
    source.line(3, "pass")
    if all(structure(wit) in _NUMBERS for wit in params):
        # A function's types stay what they are, and no address is among the values.
        source.line(3, "if IS_NEW:")
        source.line(4, "REFUSE(address); IS_NEW = False")
        values = write_numbers(params, source, "address", 3)
    else:
        values = write_values(params, source, "address", 3, records)
    names = [value if value.isidentifier() else source.name("x") for value in values]
    for name, value in zip(names, values, strict=True):
        if name != value:
            source.line(3, f"{name} = {value}")
    source.line(2, "except MISFITS:")
    if takes_handles:
        source.line(3, "TABLES.current = guest.handles")
    source.line(3, "REFUSE(address)")
    source.line(2, "try:")
    source.line(3, "function = guest.direct[NUMBER]")
    source.line(2, "except KeyError:")
    source.line(3, "function = FIND(guest)")
    source.line(2, f"answer = function({', '.join(names)})")
    _write_answer(result, source, lowers_result=lowers_result, records=records)
    source.line(1, "except BaseException as error:")
    source.line(2, "return FAIL(guest, error)")


def _write_answer(
    result: WitType | None, source: Source, *, lowers_result: bool, records: bool
) -> None:
    match None if result is None else structure(result):
        case None:
            source.line(2, "if answer is not None:")
            source.line(3, "WRITE(answer, results)")
        case Primitive("string"):
            source.line(2, "try:")
            source.line(3, "text = encode(answer)")
            source.refuse_if(3, f"len(text) > {COUNT_AS_IT_IS_MAX}")
            source.line(2, "except MISFITS:")
            source.line(3, "WRITE(answer, results)")
            source.line(2, "else:")
            # A guest's calls often have their result at the same place.
            source.line(3, "place = PLACE")
            source.line(3, "if place[0] != results:")
            source.line(4, "PLACE = place = results, passed(results + 8)")
            source.line(3, "byte_vec_new(place[1], len(text), text)")
            source.line(3, f"MEMORY[results] = {STRING}")
        case Primitive(name) if name in _REFUSALS:
            kind, form = SCALARS[name]
            pack = source.method(f"<B7x{form}", "pack_into")
            source.line(2, "try:")
            source.refuse_if(3, _REFUSALS[name])
            source.line(3, f"{pack}(MEMORY, results, {kind}, answer)")
            source.line(2, "except MISFITS:")
            source.line(3, "WRITE(answer, results)")
        case OwnType() as handle:
            pack = source.method("<B7xQ", "pack_into")
            source.line(2, "try:")
            source.line(3, f"given = guest.handles.give({source.constant(handle)}, answer)")
            source.line(2, "except MISFITS:")
            source.line(3, "WRITE(answer, results)")
            source.line(2, "else:")
            source.line(3, f"{pack}(MEMORY, results, {RESOURCE}, given)")
        case _ if not lowers_result:
            source.line(2, "WRITE(answer, results)")
        case wit:
            assert wit is not None, "matched above"
            give_up = source.constant(lambda _values: (None, ()))
            if holds_handles(wit):  # the function may have converted something for another guest
                source.line(2, "TABLES.current = guest.handles")
            kept = write_block([wit], source, "(answer,)", give_up, 2, records)
            source.line(2, "if block is None:")
            source.line(3, "WRITE(answer, results)")
            source.line(2, "else:")
            source.line(3, "val_clone(block, passed(results))")
            if holds_handles(wit):
                source.line(3, f"release({kept})")


_NUMBERS = frozenset(map(Primitive, SCALARS))

_REFUSALS = {
    "bool": "answer is not True and answer is not False",
    **dict.fromkeys(INTEGERS, "type(answer) is not int"),
    **dict.fromkeys(FLOATS, "type(answer) is not float and type(answer) is not int"),
}
"""When an answer of a type is none that compiled code takes."""
