"""Index spaces of a component while it is read: what each index stands for, and the limits.

Holds values only; `typedefs`, `declarations` and `sections` fill and use it. Work and nesting are
bounded here, because a few bytes of a hostile binary can ask for endless instantiation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from lattice.component.binary import ByteReader
from lattice.component.types import Function, NamedType, ResourceType, WitType

WORK_MAX = 150_000
"""Definitions, fields and names read from one binary, repeats included: a component of 18 MB that
embeds a whole Python needs 8,500, and a hostile one is refused within a second."""

BYTES_OF_WORK = 16
"""Bytes that count like one definition when they are read again, for the sake of long names."""

NESTING_MAX = 40
"""Components and instance types that are read inside each other, far below Python's stack."""

TYPE_DEPTH_MAX = 100
"""Levels of one type, so that whoever walks a type may recurse (as wasmparser limits it)."""

TYPE_NODES_MAX = 20_000
"""Nodes of one type written out in full: shared parts count each time they occur."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A value type or resource, with its levels and its nodes when written out in full."""

    type: WitType
    depth: int = 1
    size: int = 1


@dataclass(frozen=True, slots=True)
class FunctionItem:
    """A function, with the nodes of its types."""

    function: Function
    size: int


@dataclass(frozen=True, slots=True)
class FunctionShape:
    """A function type, which may be exported like any type and is nothing to call then."""

    item: FunctionItem


@dataclass(slots=True)
class Instance:
    """A component instance, by what it exports. `is_inline` when it was put together by hand,
    so that its types have no owner yet."""

    exports: Mapping[str, Item]
    is_inline: bool = False


@dataclass(frozen=True, slots=True)
class InstanceShape:
    """An instance type: read anew for each import, because its types belong to the import."""

    offset: int
    end: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class Body:
    """A nested component: read only when an instance of it is looked into."""

    offset: int
    end: int
    scope: Scope


@dataclass(slots=True)
class Instantiation:
    """An instance of a nested component, read when it is first looked into.

    Its types belong to the interface under which it is first exported or passed on.
    """

    body: Body
    arguments: Mapping[str, Item]
    owner: str = ""
    instance: Instance | None = None

    def belong_to(self, owner: str) -> None:
        """Give the instance its interface, when it has none yet and was not read."""
        if not self.owner and self.instance is None:
            self.owner = owner


@dataclass(frozen=True, slots=True)
class Opaque:
    """What the reader does not look into: a component type, a core type, a module, a value."""

    sort: str


Item: TypeAlias = (
    Typed | FunctionItem | FunctionShape | Instance | InstanceShape | Body | Instantiation | Opaque
)

T = TypeVar("T")


@dataclass(slots=True)
class Work:
    """What reading one binary has cost so far."""

    spent: int = 0
    nesting: int = 0

    def spend(self, reader: ByteReader, amount: int = 1) -> None:
        """Account for definitions, and refuse the binary when they are too many."""
        self.spent += amount
        if self.spent > WORK_MAX:
            raise reader.fault(f"expected at most {WORK_MAX} definitions, found more")

    def enter(self, reader: ByteReader) -> None:
        """Account for one level of nesting; the reader leaves by lowering `nesting`."""
        self.nesting += 1
        if self.nesting > NESTING_MAX:
            raise reader.fault(
                f"expected at most {NESTING_MAX} nested components and types, found more"
            )


@dataclass(slots=True)
class Scope:
    """The index spaces of one component or of one type declaration.

    `owner` is the interface to which types that are declared here belong, `""` for the root.
    """

    work: Work
    parent: Scope | None = None
    owner: str = ""
    types: list[Item] = field(default_factory=list["Item"])
    functions: list[Item] = field(default_factory=list["Item"])
    instances: list[Item] = field(default_factory=list["Item"])
    components: list[Item] = field(default_factory=list["Item"])
    imports: dict[str, Item] = field(default_factory=dict[str, "Item"])
    exports: dict[str, Item] = field(default_factory=dict[str, "Item"])
    labels: dict[str, str] = field(default_factory=dict[str, str])

    def outer(self, reader: ByteReader, levels: int) -> Scope:
        """Return an enclosing scope, 0 levels out being this one."""
        scope: Scope | None = self
        if levels <= NESTING_MAX:
            for _ in range(levels):
                scope = scope.parent if scope is not None else None
            if scope is not None:
                return scope
        raise reader.fault(
            f"expected an enclosing component, found a reference {levels} levels out"
        )

    def space(self, sort: int) -> list[Item] | None:
        """Return the index space of a sort, None for sorts that are not followed."""
        match sort:
            case 0x01:
                return self.functions
            case 0x03:
                return self.types
            case 0x04:
                return self.components
            case 0x05:
                return self.instances
            case _:
                return None


SORTS = {
    0x00: "core item",
    0x01: "function",
    0x02: "value",
    0x03: "type",
    0x04: "component",
    0x05: "instance",
}


def item_at(reader: ByteReader, space: list[Item], index: int, what: str) -> Item:
    """Return what an index of a space stands for, or refuse the binary."""
    if index >= len(space):
        raise reader.fault(f"expected a {what} index below {len(space)}, found {index}")
    return space[index]


def expect(reader: ByteReader, item: Item, cls: type[T], what: str) -> T:
    """Return an item that must be of one kind, or refuse the binary."""
    if not isinstance(item, cls):
        raise reader.fault(f"expected {what}, found {describe(item)}")
    return item


def typed(reader: ByteReader, type_: WitType, parts: list[Typed]) -> Typed:
    """Return a type made of parts with its depth and size, or refuse a type that is too large."""
    depth = size = 1
    for part in parts:
        depth = max(depth, part.depth + 1)
        size += part.size
    if depth > TYPE_DEPTH_MAX:
        raise reader.fault(f"expected at most {TYPE_DEPTH_MAX} levels in a type, found {depth}")
    if size > TYPE_NODES_MAX:
        raise reader.fault(f"expected at most {TYPE_NODES_MAX} parts in a type, found {size}")
    return Typed(type_, depth, size)


def named(reader: ByteReader, owner: str, name: str, bound: Typed) -> Typed:
    """Return the type that a scope declares under a name.

    A type that another interface defines keeps that interface's name: it is only used here.
    """
    match bound.type:
        case ResourceType(name=""):
            return Typed(ResourceType(owner, name))
        case ResourceType():
            return bound
        case NamedType(interface=interface) if interface != owner:
            return bound
        case _:
            return typed(reader, NamedType(owner, name, bound.type), [bound])


def describe(item: Item) -> str:
    """Return what an item is, for messages."""
    match item:
        case Typed(type=ResourceType()):
            return "a resource type"
        case Typed():
            return "a value type"
        case FunctionItem():
            return "a function"
        case FunctionShape():
            return "a function type"
        case Instance() | Instantiation():
            return "an instance"
        case InstanceShape():
            return "an instance type"
        case Body():
            return "a component"
        case Opaque(sort=sort):
            return f"a {sort}"
