"""Writes the source of the function that lowers the parameters, or the result, of one function.

All parts whose number is known from the type lie in one block, written by one `pack_into`: the
values, then the entries of records and tuples and room for one payload of each option, variant and
result. A present payload is written by an `if`, the elements of a list by a loop into a block of
their own. The generated function gives up with any of `compiled.MISFITS` on what it does not take.
"""

from __future__ import annotations

from collections.abc import Sequence

from hosts.engine.codec import spans
from hosts.engine.codec.blocks import Block, largest_payload, tail_size
from hosts.engine.codec.memory import HEADER
from hosts.engine.codec.source import Item, Place, Source, block_form
from hosts.engine.ffi import RECORD_ENTRY_SIZE, VAL_SIZE
from hosts.engine.frames import FRAME
from hosts.engine.layout import (
    BOOL,
    CHAR,
    ENUM,
    FLAGS,
    FLOATS,
    INTEGERS,
    LIST,
    LIST_LENGTH_MAX,
    MAP,
    NAME_BLOCK,
    OPTION,
    RECORD,
    RESULT,
    STRING,
    TUPLE,
    VARIANT,
)
from lattice.component.types import (
    EnumType,
    FlagsType,
    ListType,
    MapType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)


def write_lower(types: Sequence[WitType], source: Source, name: str, instead: str) -> None:
    """Write `name(values)`, which returns the block of the values and what to keep with it.

    When the values misfit, it returns what the function called `instead` returns for them.
    """
    writer = _Lowering(source)
    variables = [source.name("x") for _ in types]
    source.line(0, f"def {name}(values):")
    source.line(1, "try:")
    if variables:
        source.line(2, f"{', '.join(variables)}, = values")
    else:
        source.refuse_if(2, "len(values)")
    writer.block(types, variables)
    source.line(1, "except MISFITS:")
    source.line(2, f"return {instead}(values)")


class _Lowering:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._texts: list[str] = []  # variables of strings that are there in any case

    def block(self, types: Sequence[WitType], variables: Sequence[str]) -> None:
        """Write the body of the function."""
        source = self._source
        size = sum(VAL_SIZE + tail_size(wit) for wit in types)
        is_flat = size == len(types) * VAL_SIZE
        # Values without tails need no address of their own block and are packed in one go.
        needs_list = any(_is_unbounded(wit) or tail_size(wit) for wit in types)
        block = Block(Place("o", len(types) * VAL_SIZE))
        source.line(2, "keep = []") if needs_list else None
        for index, (wit, variable) in enumerate(zip(types, variables, strict=True)):
            self._value(wit, variable, Place("o", index * VAL_SIZE), block, 2)
        texts = "".join(f"{text}, " for text in self._texts)
        kept = f"(keep, {texts})" if needs_list else f"({texts})"
        if is_flat:
            source.refuse_if(2, *block.refusals)
            values = [value for item in block.items for value in item.values]
            pack = source.method(block_form(block.items, 0, size), "pack")
            source.line(2, f"return {pack}({', '.join(values)}), {kept}")
            return
        source.line(2, f"block = blank({size}); o = id(block) + HEADER")
        self._flush(block, 2)
        source.line(2, f"return block, {kept}")

    def _flush(self, block: Block, depth: int) -> None:
        """Write the fixed items, by one call for each base, and then the rest."""
        source = self._source
        source.refuse_if(depth, *block.refusals)
        bases = dict.fromkeys(item.place.base for item in block.items)
        for base in bases:
            items = sorted(
                (item for item in block.items if item.place.base == base),
                key=lambda item: item.place.offset,
            )
            start = items[0].place
            pack = source.method(block_form(items, start.offset), "pack_into")
            values = [value for item in items for value in item.values]
            source.line(depth, f"{pack}(MEMORY, {start}, {', '.join(values)})")
        for write in block.later:
            write()

    def _value(self, wit: WitType, x: str, at: Place, block: Block, depth: int) -> None:
        """Write the value of a variable to a place of a block."""
        match structure(wit):
            case Primitive(name):
                self._primitive(name, x, at, block, depth)
            case ListType(element, _):
                self._list(element, x, at, block, depth)
            case RecordType(fields):
                self._record(fields, x, at, block, depth)
            case TupleType(items):
                self._tuple(items, x, at, block, depth)
            case VariantType(cases):
                self._variant(cases, x, at, block, depth)
            case ResultType(ok, err):
                self._result(ok, err, x, at, block, depth)
            case OptionType(element):
                self._option(element, x, at, block, depth)
            case EnumType(names):
                table = self._source.constant({each: self._text(each) for each in names})
                size, address = self._source.name("n"), self._source.name("a")
                self._source.line(depth, f"{size}, {address} = {table}[{x}]")
                block.items.append(Item(at, "B7xQQ", (str(ENUM), size, address)))
            case FlagsType(names):
                packed = {each: NAME_BLOCK.pack(*self._text(each)) for each in names}
                self._span(FLAGS, spans.lower_flags(packed), x, at, block, depth)
            case MapType(key, value):
                self._map(key, value, x, at, block, depth)
            case other:
                raise AssertionError(f"the checking codec refuses {other}")

    def _text(self, text: str) -> tuple[int, int]:
        """Return size and address of a name, which lives as long as the generated function."""
        encoded = text.encode()
        self._source.constant(encoded)
        return len(encoded), id(encoded) + HEADER

    def _primitive(self, name: str, x: str, at: Place, block: Block, depth: int) -> None:
        source = self._source
        if name == FRAME.name:
            self._span(STRING, spans.lower_frame, x, at, block, depth)
        elif name == "string":
            text = source.name("b")
            source.line(depth, f"{text} = encode({x})")
            if depth == 2:
                self._texts.append(text)
            else:
                source.line(depth, f"keep.append({text})")
            values = (str(STRING), f"len({text})", f"id({text}) + HEADER")
            block.items.append(Item(at, "B7xQQ", values))
        elif name == "char":
            code = source.name("c")
            source.line(depth, f"{code} = ord({x})")
            block.refusals += [f"type({x}) is not str", f"0xD800 <= {code} <= 0xDFFF"]
            block.items.append(Item(at, "B7xI", (str(CHAR), code)))
        elif name == "bool":
            block.refusals.append(f"{x} is not True and {x} is not False")
            block.items.append(Item(at, "B7x?", (str(BOOL), x)))
        elif name in FLOATS:
            kind, form = FLOATS[name]
            block.refusals.append(f"type({x}) is not float and type({x}) is not int")
            block.items.append(Item(at, f"B7x{form}", (str(kind), x)))
        else:
            kind, form, _, _ = INTEGERS[name]
            block.refusals.append(f"type({x}) is not int")
            block.items.append(Item(at, f"B7x{form}", (str(kind), x)))

    def _span(
        self, kind: int, lower: spans.LowerSpan, x: str, at: Place, block: Block, depth: int
    ) -> None:
        size, address = self._source.name("n"), self._source.name("a")
        function = self._source.constant(lower)
        self._source.line(depth, f"{size}, {address} = {function}({x}, keep)")
        block.items.append(Item(at, "B7xQQ", (str(kind), size, address)))

    def _list(self, element: WitType, x: str, at: Place, block: Block, depth: int) -> None:
        match structure(element):
            case Primitive("u8"):
                self._span(LIST, spans.lower_bytes, x, at, block, depth)
            case Primitive(name) if name in spans.SCALARS:
                self._span(LIST, spans.lower_scalars(name), x, at, block, depth)
            case _:
                is_list = f"type({x}) is not list and type({x}) is not tuple"
                self._source.refuse_if(depth, is_list)
                self._elements(LIST, [element], f"tuple({x})", x, at, block, depth)

    def _map(
        self, key: WitType, value: WitType, x: str, at: Place, block: Block, depth: int
    ) -> None:
        self._source.refuse_if(depth, f"type({x}) is not dict")
        self._elements(MAP, [key, value], f"tuple({x}.items())", x, at, block, depth)

    def _elements(
        self,
        kind: int,
        types: Sequence[WitType],
        elements: str,
        x: str,
        at: Place,
        block: Block,
        depth: int,
    ) -> None:
        """Write a loop over elements of one value (a list) or two (a map)."""
        source = self._source
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
            self._value(wit, variable, Place(head, index * VAL_SIZE), inner, depth + 1)
        self._flush(inner, depth + 1)
        source.line(depth + 1, f"{head} += {head_size}")
        if size:
            source.line(depth + 1, f"{tail} += {size}")
        block.items.append(Item(at, "B7xQQ", (str(kind), count, address)))

    def _record(
        self, fields: Sequence[tuple[str, WitType]], x: str, at: Place, block: Block, depth: int
    ) -> None:
        source = self._source
        names = [name for name, _ in fields]
        optional = [name for name, wit in fields if isinstance(structure(wit), OptionType)]
        fill = source.constant(spans.fill_record(names, optional))
        source.line(depth, f"if type({x}) is not dict or len({x}) != {len(fields)}:")
        source.line(depth + 1, f"{x} = {fill}({x})")
        entries = block.take(RECORD_ENTRY_SIZE * len(fields))
        block.items.append(Item(at, "B7xQQ", (str(RECORD), str(len(fields)), str(entries))))
        for index, (name, wit) in enumerate(fields):
            entry = entries.plus(index * RECORD_ENTRY_SIZE)
            size, address = self._text(name)
            block.items.append(Item(entry, "QQ", (str(size), str(address))))
            variable = source.name("x")
            source.line(depth, f"{variable} = {x}[{name!r}]")
            self._value(wit, variable, entry.plus(NAME_BLOCK.size), block, depth)

    def _tuple(self, items: Sequence[WitType], x: str, at: Place, block: Block, depth: int) -> None:
        source = self._source
        source.refuse_if(depth, f"type({x}) is not list and type({x}) is not tuple")
        places = block.take(VAL_SIZE * len(items))
        block.items.append(Item(at, "B7xQQ", (str(TUPLE), str(len(items)), str(places))))
        variables = [source.name("x") for _ in items]
        if variables:
            source.line(depth, f"{', '.join(variables)}, = {x}")
        for index, (wit, variable) in enumerate(zip(items, variables, strict=True)):
            self._value(wit, variable, places.plus(index * VAL_SIZE), block, depth)

    def _option(self, element: WitType, x: str, at: Place, block: Block, depth: int) -> None:
        source = self._source
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
            self._payload(element, variable, place, depth + 1)

        block.later.append(write)

    def _payload(self, wit: WitType, variable: str, place: Place, depth: int) -> None:
        inner = Block(place.plus(VAL_SIZE))
        self._value(wit, variable, place, inner, depth)
        self._flush(inner, depth)

    def _case(self, x: str, depth: int) -> tuple[str, str]:
        """Write the unpacking of `[case, payload]`; returns the variables of both."""
        source = self._source
        source.refuse_if(depth, f"type({x}) is not list and type({x}) is not tuple")
        case, payload = source.name("c"), source.name("x")
        source.line(depth, f"{case}, {payload} = {x}")
        return case, payload

    def _cases(
        self,
        cases: Sequence[tuple[str, WitType | None]],
        case: str,
        payload: str,
        has_payload: str,
        block: Block,
        depth: int,
    ) -> str:
        """Write the payloads of a variant later; returns the expression of their address."""
        source = self._source
        present = [(name, wit) for name, wit in cases if wit is not None]
        block.refusals.append(f"not {has_payload} and {payload} is not None")
        if not present:
            return "0"
        place = block.take(largest_payload([wit for _, wit in cases]))

        def write() -> None:
            for index, (name, wit) in enumerate(present):
                source.line(depth, f"{'elif' if index else 'if'} {case} == {name!r}:")
                self._payload(wit, payload, place, depth + 1)

        block.later.append(write)
        return f"{place} if {has_payload} else 0"

    def _variant(
        self,
        cases: Sequence[tuple[str, WitType | None]],
        x: str,
        at: Place,
        block: Block,
        depth: int,
    ) -> None:
        source = self._source
        case, payload = self._case(x, depth)
        table = {name: (*self._text(name), wit is not None) for name, wit in cases}
        size, address, has_payload = source.name("n"), source.name("a"), source.name("p")
        looked_up = f"{source.constant(table)}[{case}]"
        source.line(depth, f"{size}, {address}, {has_payload} = {looked_up}")
        place = self._cases(cases, case, payload, has_payload, block, depth)
        block.items.append(Item(at, "B7xQQQ", (str(VARIANT), size, address, place)))

    def _result(
        self,
        ok: WitType | None,
        err: WitType | None,
        x: str,
        at: Place,
        block: Block,
        depth: int,
    ) -> None:
        source = self._source
        case, payload = self._case(x, depth)
        table = {"ok": (True, ok is not None), "err": (False, err is not None)}
        is_ok, has_payload = source.name("n"), source.name("p")
        source.line(depth, f"{is_ok}, {has_payload} = {source.constant(table)}[{case}]")
        cases = (("ok", ok), ("err", err))
        place = self._cases(cases, case, payload, has_payload, block, depth)
        block.items.append(Item(at, "B7x?7xQ", (str(RESULT), is_ok, place)))


def _is_unbounded(wit: WitType) -> bool:
    """Tell whether a value without a tail needs blocks of its own, besides a string's bytes."""
    return structure(wit) == FRAME or isinstance(structure(wit), ListType | FlagsType | MapType)
