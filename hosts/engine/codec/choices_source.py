"""Writes the lowering of what is one of several: options, variants and results.

Only for `lowering_source`, which says how blocks are written.
"""

from __future__ import annotations

from collections.abc import Sequence

from hosts.engine.codec.blocks import Block, Writer, largest_payload, tail_size
from hosts.engine.codec.source import Item, Place
from hosts.engine.ffi import VAL_SIZE
from hosts.engine.layout import OPTION, RESULT, VARIANT
from lattice.component.types import OptionType, WitType, structure


def write_option(
    writer: Writer, element: WitType, x: str, at: Place, block: Block, depth: int
) -> None:
    """Write a value that may be absent."""
    source = writer.source
    place = block.take(VAL_SIZE + tail_size(element))
    address = f"{place} if {x} is not None else 0"
    block.items.append(Item(at, "B7xQ", (str(OPTION), address)))

    def write() -> None:
        source.line(depth, f"if {x} is not None:")
        variable = x
        if isinstance(structure(element), OptionType):
            is_list = f"type({x}) is not list and type({x}) is not tuple"
            source.refuse_if(depth + 1, is_list)
            variable = source.name("x")
            source.line(depth + 1, f"{variable}, = {x}")
        _payload(writer, element, variable, place, depth + 1)

    block.later.append(write)


def _payload(writer: Writer, wit: WitType, variable: str, place: Place, depth: int) -> None:
    inner = Block(place.plus(VAL_SIZE))
    writer.value(wit, variable, place, inner, depth)
    writer.flush(inner, depth)


def _case(writer: Writer, x: str, depth: int) -> tuple[str, str]:
    """Write the unpacking of `[case, payload]`; returns the variables of both."""
    source = writer.source
    source.refuse_if(depth, f"type({x}) is not list and type({x}) is not tuple")
    case, payload = source.name("c"), source.name("x")
    source.line(depth, f"{case}, {payload} = {x}")
    return case, payload


def _cases(
    writer: Writer,
    cases: Sequence[tuple[str, WitType | None]],
    case: str,
    payload: str,
    has_payload: str,
    block: Block,
    depth: int,
) -> str:
    """Write the payloads of a variant later; returns the expression of their address."""
    source = writer.source
    present = [(name, wit) for name, wit in cases if wit is not None]
    block.refusals.append(f"not {has_payload} and {payload} is not None")
    if not present:
        return "0"
    place = block.take(largest_payload([wit for _, wit in cases]))

    def write() -> None:
        for index, (name, wit) in enumerate(present):
            source.line(depth, f"{'elif' if index else 'if'} {case} == {name!r}:")
            _payload(writer, wit, payload, place, depth + 1)

    block.later.append(write)
    return f"{place} if {has_payload} else 0"


def write_variant(
    writer: Writer,
    cases: Sequence[tuple[str, WitType | None]],
    x: str,
    at: Place,
    block: Block,
    depth: int,
) -> None:
    """Write one of several cases."""
    source = writer.source
    case, payload = _case(writer, x, depth)
    table = {name: (*writer.text(name), wit is not None) for name, wit in cases}
    size, address, has_payload = source.name("n"), source.name("a"), source.name("p")
    looked_up = f"{source.constant(table)}[{case}]"
    source.line(depth, f"{size}, {address}, {has_payload} = {looked_up}")
    place = _cases(writer, cases, case, payload, has_payload, block, depth)
    block.items.append(Item(at, "B7xQQQ", (str(VARIANT), size, address, place)))


def write_result(
    writer: Writer,
    ok: WitType | None,
    err: WitType | None,
    x: str,
    at: Place,
    block: Block,
    depth: int,
) -> None:
    """Write a success or a failure."""
    source = writer.source
    case, payload = _case(writer, x, depth)
    table = {"ok": (True, ok is not None), "err": (False, err is not None)}
    is_ok, has_payload = source.name("n"), source.name("p")
    source.line(depth, f"{is_ok}, {has_payload} = {source.constant(table)}[{case}]")
    cases = (("ok", ok), ("err", err))
    place = _cases(writer, cases, case, payload, has_payload, block, depth)
    block.items.append(Item(at, "B7x?7xQ", (str(RESULT), is_ok, place)))
