"""Writes the lowering of what has any number of elements: lists, maps, and spans of bytes.

Only for `lowering_source`, which says how blocks are written.
"""

from __future__ import annotations

from collections.abc import Sequence

from hosts.engine.codec import spans
from hosts.engine.codec.blocks import Block, Writer, tail_size
from hosts.engine.codec.source import Item, Place
from hosts.engine.ffi import VAL_SIZE
from hosts.engine.layout import LIST, LIST_LENGTH_MAX, MAP
from lattice.component.types import Primitive, WitType, structure


def write_span(
    writer: Writer, kind: int, lower: spans.LowerSpan, x: str, at: Place, block: Block, depth: int
) -> None:
    """Write what a function lowers at once: it returns number and address of the elements."""
    size, address = writer.source.name("n"), writer.source.name("a")
    function = writer.source.constant(lower)
    writer.source.line(depth, f"{size}, {address} = {function}({x}, keep)")
    block.items.append(Item(at, "B7xQQ", (str(kind), size, address)))


def write_list(
    writer: Writer, element: WitType, x: str, at: Place, block: Block, depth: int
) -> None:
    """Write a list; those of numbers and bools are lowered in bulk."""
    match structure(element):
        case Primitive("u8"):
            write_span(writer, LIST, spans.lower_bytes, x, at, block, depth)
        case Primitive(name) if name in spans.SCALARS:
            write_span(writer, LIST, spans.lower_scalars(name), x, at, block, depth)
        case _:
            is_list = f"type({x}) is not list and type({x}) is not tuple"
            writer.source.refuse_if(depth, is_list)
            _elements(writer, LIST, [element], f"tuple({x})", x, at, block, depth)


def write_map(
    writer: Writer, key: WitType, value: WitType, x: str, at: Place, block: Block, depth: int
) -> None:
    """Write a map, which is a list of two values in turn."""
    writer.source.refuse_if(depth, f"type({x}) is not dict")
    _elements(writer, MAP, [key, value], f"tuple({x}.items())", x, at, block, depth)


def _elements(
    writer: Writer,
    kind: int,
    types: Sequence[WitType],
    elements: str,
    x: str,
    at: Place,
    block: Block,
    depth: int,
) -> None:
    """Write a loop over elements of one value (a list) or two (a map)."""
    source = writer.source
    sequence, count, address = source.name("v"), source.name("n"), source.name("a")
    head, tail, own = source.name("h"), source.name("t"), source.name("k")
    head_size, size = len(types) * VAL_SIZE, sum(map(tail_size, types))
    source.line(depth, f"{sequence} = {elements}; {count} = len({sequence})")
    source.refuse_if(depth, f"{count} > {LIST_LENGTH_MAX}")
    source.line(depth, f"{own} = blank({count} * {head_size + size}); keep.append({own})")
    source.line(depth, f"{address} = {head} = id({own}) + HEADER")
    if size:
        source.line(depth, f"{tail} = {address} + {count} * {head_size}")
    variables = [source.name("e") for _ in types]
    source.line(depth, f"for {', '.join(variables)} in {sequence}:")
    inner = Block(Place(tail, 0))
    for index, (wit, variable) in enumerate(zip(types, variables, strict=True)):
        writer.value(wit, variable, Place(head, index * VAL_SIZE), inner, depth + 1)
    writer.flush(inner, depth + 1)
    source.line(depth + 1, f"{head} += {head_size}")
    if size:
        source.line(depth + 1, f"{tail} += {size}")
    block.items.append(Item(at, "B7xQQ", (str(kind), count, address)))
