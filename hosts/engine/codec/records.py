"""Classes for records: frozen dataclasses with slots, made from a record type when first needed.

A conversion makes instances of them only when it was asked to (`Codec(..., records=True)`); the
wire's values are mappings. Either is taken where a record is wanted.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import field, make_dataclass
from typing import Any
from weakref import WeakValueDictionary

from lattice.component.types import NamedType, OptionType, RecordType, WitType, structure

PLAIN = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, memoryview, list, tuple, set,
     frozenset}
)  # fmt: skip
"""Types whose values are no records, although an int has an attribute `real`."""

_classes: WeakValueDictionary[tuple[str, RecordType], type[Any]] = WeakValueDictionary()


def field_name(name: str) -> str:
    """Return the attribute for a field: `content-type` is `content_type`, `from` is `from_`."""
    snake = name.replace("-", "_").lower()
    return f"{snake}_" if keyword.iskeyword(snake) else snake


def record_class(wit: WitType) -> type[Any]:
    """Return the class of a record type: the same one for equal types of the same name.

    Its constructor takes the fields by name; those that are options may be absent and are None.

    Raises:
        TypeError: the type is no record.
    """
    shape = structure(wit)
    if not isinstance(shape, RecordType):
        raise TypeError(f"{wit} is no record")
    name = wit.name if isinstance(wit, NamedType) else "record"
    made = _classes.get((name, shape))
    if made is None:
        made = _classes[name, shape] = _make(name, shape)
    return made


def _make(name: str, shape: RecordType) -> type[Any]:
    title = "".join(word.capitalize() for word in name.split("-"))
    fields: list[tuple[str, type, Any]] = [
        (field_name(each), object, field(default=None) if _is_option(wit) else field())
        for each, wit in shape.fields
    ]
    made = make_dataclass(title, fields, frozen=True, slots=True, kw_only=True)
    made.__module__ = __name__
    return made


def _is_option(wit: WitType) -> bool:
    return isinstance(structure(wit), OptionType)


def as_mapping(value: Any, names: Sequence[str]) -> Mapping[str, Any] | None:
    """Return by name the fields of whatever stands for a record, None for what cannot.

    A mapping is returned as it is. Of anything else those attributes are taken that are called as
    `field_name` says; at least one must be there.
    """
    if isinstance(value, Mapping):
        return value
    if type(value) in PLAIN:
        return None
    attributes = ((name, field_name(name)) for name in names)
    return {name: getattr(value, each) for name, each in attributes if hasattr(value, each)} or None
