"""Writes the source of the function that lowers the parameters, or the result, of one function.

All parts whose number is known from the type lie in one block, written by one `pack_into`: the
values, then the entries of records and tuples and room for one payload of each option, variant and
result. A present payload is written by an `if`, the elements of a list by a loop into a block of
their own. The generated function gives up with any of `compiled.MISFITS` on what it does not take.
"""

from __future__ import annotations

from collections.abc import Sequence

from hosts.engine.codec import spans
from hosts.engine.codec.blocks import Block, tail_size
from hosts.engine.codec.choices_source import write_option, write_result, write_variant
from hosts.engine.codec.handles import holds_handles
from hosts.engine.codec.memory import HEADER
from hosts.engine.codec.records import field_name, record_class
from hosts.engine.codec.sequences_source import write_list, write_map, write_span
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
    NAME_BLOCK,
    RECORD,
    RESOURCE,
    STRING,
    TUPLE,
)
from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    ListType,
    MapType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)


def write_lower(
    types: Sequence[WitType], source: Source, name: str, instead: str, records: bool
) -> None:
    """Write `name(values)`, which returns the block of the values and what to keep with it.

    When the values misfit, it returns what the function called `instead` returns for them. With
    `records`, instances of records' classes are expected, here and below: others cost more.
    """
    source.line(0, f"def {name}(values):")
    kept = write_block(types, source, "values", instead, 1, records)
    source.line(1, f"return block, {kept}")


def write_block(
    types: Sequence[WitType],
    source: Source,
    values: str,
    instead: str,
    depth: int,
    records: bool = False,
) -> str:
    """Write what lowers a sequence of values into the variable `block`.

    Returns the expression of what must be kept with the block. When the values misfit, `block` and
    that are what the function called `instead` returns for them.
    """
    variables = [source.name("x") for _ in types]
    # Values without tails need no address of their own block and are packed in one go.
    needs_list = any(_is_unbounded(wit) or tail_size(wit) for wit in types)
    source.line(depth, "keep = []" if needs_list else "keep = ()")
    source.line(depth, "try:")
    if variables:
        source.line(depth + 1, f"{', '.join(variables)}, = {values}")
    else:
        source.refuse_if(depth + 1, f"len({values})")
    texts = _Lowering(source, depth + 1, records).block(types, variables)
    source.line(depth, "except MISFITS:")
    if any(map(holds_handles, types)):
        source.line(depth + 1, "undo(keep)")
    for text in texts:
        source.line(depth + 1, f"{text} = None")
    source.line(depth + 1, f"block, keep = {instead}({values})")
    if any(map(holds_handles, types)):
        source.line(depth, "except BaseException:")
        source.line(depth + 1, "undo(keep)")
        source.line(depth + 1, "raise")
    if not texts:
        return "keep"
    # Whoever releases handles looks for them at the top.
    first = "*keep" if any(map(holds_handles, types)) else "keep"
    return f"({first}, {', '.join(texts)})"


class _Lowering:
    def __init__(self, source: Source, depth: int, records: bool) -> None:
        self.source = source
        self._records = records
        self._depth = depth  # of what is written in any case
        self._texts: list[str] = []  # variables of strings that are there in any case

    def block(self, types: Sequence[WitType], variables: Sequence[str]) -> Sequence[str]:
        """Write the lowering of variables; returns those of the texts that the block points to."""
        source, depth = self.source, self._depth
        size = sum(VAL_SIZE + tail_size(wit) for wit in types)
        block = Block(Place("o", len(types) * VAL_SIZE))
        for index, (wit, variable) in enumerate(zip(types, variables, strict=True)):
            self.value(wit, variable, Place("o", index * VAL_SIZE), block, depth)
        if size == len(types) * VAL_SIZE:
            source.refuse_if(depth, *block.refusals)
            values = [value for item in block.items for value in item.values]
            pack = source.method(block_form(block.items, 0, size), "pack")
            source.line(depth, f"block = {pack}({', '.join(values)})")
        else:
            source.line(depth, f"block = blank({size}); o = id(block) + HEADER")
            self.flush(block, depth)
        return self._texts

    def flush(self, block: Block, depth: int) -> None:
        """Write the fixed items, by one call for each base, and then the rest."""
        source = self.source
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

    def value(self, wit: WitType, x: str, at: Place, block: Block, depth: int) -> None:
        """Write the value of a variable to a place of a block."""
        match structure(wit):
            case Primitive(name):
                self._primitive(name, x, at, block, depth)
            case ListType(element, _):
                write_list(self, element, x, at, block, depth)
            case RecordType(fields):
                self._record(wit, fields, x, at, block, depth)
            case TupleType(items):
                self._tuple(items, x, at, block, depth)
            case VariantType(cases):
                write_variant(self, cases, x, at, block, depth)
            case ResultType(ok, err):
                write_result(self, ok, err, x, at, block, depth)
            case OptionType(element):
                write_option(self, element, x, at, block, depth)
            case EnumType(names):
                table = self.source.constant({each: self.text(each) for each in names})
                size, address = self.source.name("n"), self.source.name("a")
                self.source.line(depth, f"{size}, {address} = {table}[{x}]")
                block.items.append(Item(at, "B7xQQ", (str(ENUM), size, address)))
            case FlagsType(names):
                packed = {each: NAME_BLOCK.pack(*self.text(each)) for each in names}
                write_span(self, FLAGS, spans.lower_flags(packed), x, at, block, depth)
            case MapType(key, value):
                write_map(self, key, value, x, at, block, depth)
            case OwnType() | BorrowType() as handle:
                address, wanted = self.source.name("a"), self.source.constant(handle)
                self.source.line(depth, f"{address} = lower_handle({wanted}, {x}, keep)")
                block.items.append(Item(at, "B7xQ", (str(RESOURCE), address)))
            case other:
                raise AssertionError(f"the checking codec refuses {other}")

    def text(self, text: str) -> tuple[int, int]:
        """Return size and address of a name, which lives as long as the generated function."""
        encoded = text.encode()
        self.source.constant(encoded)
        return len(encoded), id(encoded) + HEADER

    def _primitive(self, name: str, x: str, at: Place, block: Block, depth: int) -> None:
        source = self.source
        if name == FRAME.name:
            write_span(self, STRING, spans.lower_frame, x, at, block, depth)
        elif name == "string":
            text = source.name("b")
            source.line(depth, f"{text} = encode({x})")
            if depth == self._depth:
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

    def _record(
        self,
        wit: WitType,
        fields: Sequence[tuple[str, WitType]],
        x: str,
        at: Place,
        block: Block,
        depth: int,
    ) -> None:
        names = [name for name, _ in fields]
        optional = [name for name, each in fields if isinstance(structure(each), OptionType)]
        variables = [self.source.name("x") for _ in fields]
        self._fields(wit, names, optional, variables, x, depth)
        entries = block.take(RECORD_ENTRY_SIZE * len(fields))
        block.items.append(Item(at, "B7xQQ", (str(RECORD), str(len(fields)), str(entries))))
        for index, ((name, each), variable) in enumerate(zip(fields, variables, strict=True)):
            entry = entries.plus(index * RECORD_ENTRY_SIZE)
            size, address = self.text(name)
            block.items.append(Item(entry, "QQ", (str(size), str(address))))
            self.value(each, variable, entry.plus(NAME_BLOCK.size), block, depth)

    def _fields(
        self,
        wit: WitType,
        names: Sequence[str],
        optional: Sequence[str],
        variables: Sequence[str],
        x: str,
        depth: int,
    ) -> None:
        """Write what puts the fields of whatever stands for a record into variables."""
        source = self.source
        fill = source.constant(spans.fill_record(names, optional))
        if self._records:
            source.line(depth, f"if type({x}) is {source.constant(record_class(wit))}:")
            for name, variable in zip(names, variables, strict=True):
                source.line(depth + 1, f"{variable} = {x}.{field_name(name)}")
            source.line(depth, "else:")
            depth += 1
        source.line(depth, f"if type({x}) is not dict or len({x}) != {len(names)}:")
        source.line(depth + 1, f"{x} = {fill}({x})")
        for name, variable in zip(names, variables, strict=True):
            source.line(depth, f"{variable} = {x}[{name!r}]")

    def _tuple(self, items: Sequence[WitType], x: str, at: Place, block: Block, depth: int) -> None:
        source = self.source
        source.refuse_if(depth, f"type({x}) is not list and type({x}) is not tuple")
        places = block.take(VAL_SIZE * len(items))
        block.items.append(Item(at, "B7xQQ", (str(TUPLE), str(len(items)), str(places))))
        variables = [source.name("x") for _ in items]
        if variables:
            source.line(depth, f"{', '.join(variables)}, = {x}")
        for index, (wit, variable) in enumerate(zip(items, variables, strict=True)):
            self.value(wit, variable, places.plus(index * VAL_SIZE), block, depth)


def _is_unbounded(wit: WitType) -> bool:
    """Tell whether a value without a tail needs blocks of its own, besides a string's bytes."""
    return structure(wit) == FRAME or isinstance(
        structure(wit), ListType | FlagsType | MapType | OwnType | BorrowType
    )
