"""The type tree of WIT: the values that reading a component yields (component model, `WIT.md`).

A tree is finite and holds no cycles. `Named` marks a type that an interface exports under a name;
everything that only cares for the shape looks through it with `structure`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

PRIMITIVES = frozenset(
    {
        "bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64",
        "f32", "f64", "char", "string", "error-context",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Primitive:
    """A type without parts; `name` is one of `PRIMITIVES`."""

    name: str


@dataclass(frozen=True, slots=True)
class ListType:
    """`list<element>`, or `list<element, length>` when `length` is given."""

    element: WitType
    length: int | None = None


@dataclass(frozen=True, slots=True)
class RecordType:
    """Named fields in their order."""

    fields: tuple[tuple[str, WitType], ...]


@dataclass(frozen=True, slots=True)
class TupleType:
    """Unnamed fields in their order."""

    items: tuple[WitType, ...]


@dataclass(frozen=True, slots=True)
class VariantType:
    """One of several cases, each with at most one payload."""

    cases: tuple[tuple[str, WitType | None], ...]


@dataclass(frozen=True, slots=True)
class EnumType:
    """One of several names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FlagsType:
    """Any subset of several names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OptionType:
    """A value or nothing."""

    element: WitType


@dataclass(frozen=True, slots=True)
class ResultType:
    """Success or failure, each with at most one payload."""

    ok: WitType | None
    err: WitType | None


@dataclass(frozen=True, slots=True)
class MapType:
    """`map<key, value>`."""

    key: WitType
    value: WitType


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A resource, by the interface that defines it (`""` for the root) and its name there."""

    interface: str
    name: str


@dataclass(frozen=True, slots=True)
class OwnType:
    """An owned handle."""

    resource: ResourceType


@dataclass(frozen=True, slots=True)
class BorrowType:
    """A borrowed handle."""

    resource: ResourceType


@dataclass(frozen=True, slots=True)
class StreamType:
    """`stream<element>`: cannot cross the C API, see `carries_async`."""

    element: WitType | None


@dataclass(frozen=True, slots=True)
class FutureType:
    """`future<element>`: cannot cross the C API, see `carries_async`."""

    element: WitType | None


@dataclass(frozen=True, slots=True)
class NamedType:
    """A type exported by `interface` (as written, with version; `""` for the root) as `name`."""

    interface: str
    name: str
    target: WitType


WitType: TypeAlias = (
    Primitive | ListType | RecordType | TupleType | VariantType | EnumType | FlagsType
    | OptionType | ResultType | MapType | ResourceType | OwnType | BorrowType | StreamType
    | FutureType | NamedType
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function's type: parameters in order, at most one result."""

    params: tuple[tuple[str, WitType], ...] = ()
    result: WitType | None = None
    is_async: bool = False
    docs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Types and functions that travel together, in the order of the binary.

    `types` maps a name to the type it stands for: a `ResourceType`, or a `NamedType`, whose
    `interface` may be another one when the type is only used here.
    """

    name: str
    types: Mapping[str, WitType] = field(default_factory=dict[str, "WitType"])
    functions: Mapping[str, Function] = field(default_factory=dict[str, Function])
    docs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentType:
    """What a component needs and gives.

    Functions at the root of a component form the interface named `""` (`lattice.model.wit.ROOT`);
    it is absent when there are none. `labels` maps an import's own name to the interface that it
    implements, for imports such as `import primary: wasi:keyvalue/store`.
    """

    imports: Mapping[str, Interface] = field(default_factory=dict[str, Interface])
    exports: Mapping[str, Interface] = field(default_factory=dict[str, Interface])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    docs: str = ""


def structure(wit: WitType) -> WitType:
    """Return a type without the names that interfaces gave it, one level deep."""
    while isinstance(wit, NamedType):
        wit = wit.target
    return wit
