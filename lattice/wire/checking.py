"""The rules by which a value fits a WIT type (see `values` for the shapes), with all faults.

One walk serves the wire and JSON, which differ only in numbers, bytes and keys. It does not
recurse deeper than the type does, and counts what it visits.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from lattice.component.types import (
    BorrowType,
    EnumType,
    FlagsType,
    FutureType,
    ListType,
    MapType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    StreamType,
    TupleType,
    VariantType,
    WitType,
    structure,
)
from lattice.wire.scalars import (
    INTEGERS,
    PRIMITIVES,
    EnoughFaultsError,
    Findings,
    Path,
    check_bytes,
    check_handle,
    shown,
)

_BYTE = Primitive("u8")
_NAMES_SHOWN_MAX = 8
_COMPARED_MAX = 80
_FIELDS_COMPARED_MAX = 500


class Checker(Findings):
    """Checks the values of one call.

    `value` returns the normal form; what it returns beside a fault means nothing.
    """

    def value(self, wit: WitType, value: Any, path: str) -> Any:
        """Return a value in its normal form, or add faults."""
        try:
            return self.part(wit, value, path)
        except EnoughFaultsError:
            return None

    def part(self, wit: WitType, value: Any, path: Path) -> Any:
        """Return the normal form of a value or of a part of one.

        Raises:
            EnoughFaultsError: the list of faults is full.
        """
        while isinstance(wit, NamedType):
            wit = wit.target
        if isinstance(wit, Primitive):
            return PRIMITIVES[wit.name](self, wit.name, value, path)
        return _COMPOUNDS[type(wit)](self, wit, value, path)


def is_bytes(wit: ListType) -> bool:
    """Tell whether a list is one of bytes."""
    return structure(wit.element) == _BYTE


def is_nested_option(wit: OptionType) -> bool:
    """Tell whether an option's value may itself be nil, so that it must be wrapped."""
    return isinstance(structure(wit.element), OptionType)


def _list(checker: Checker, wit: ListType, value: Any, path: Path) -> Any:
    if is_bytes(wit):
        found = check_bytes(checker, value, path)
    elif isinstance(value, list | tuple):
        checker.spend(len(value), path)
        found = _elements(checker, wit.element, value, path)
    else:
        checker.expected(path, "an array", value)
        return []
    if wit.length is not None and len(found) != wit.length:
        checker.fault(path, f"expected {wit.length} elements, found {len(found)}")
    return found


def _elements(
    checker: Checker, element: WitType, value: list[Any] | tuple[Any, ...], path: Path
) -> list[Any]:
    plain = structure(element)
    if isinstance(plain, Primitive) and plain.name in INTEGERS and value:
        # Long lists of numbers are common, and this test is ten times as fast as one by one.
        low, high = INTEGERS[plain.name]
        if set(map(type, value)) == {int} and low <= min(value) and max(value) <= high:
            return list(value)
    return [checker.part(plain, item, (path, index)) for index, item in enumerate(value)]


def _record(checker: Checker, wit: RecordType, value: Any, path: Path) -> Any:
    if not isinstance(value, Mapping):
        names = ", ".join(name for name, _ in wit.fields)
        checker.expected(path, f"a map with {names or 'no fields'}", value)
        return {}
    found: dict[str, Any] = {}
    given = 0
    for name, part in wit.fields:
        if name in value:
            given += 1
            found[name] = checker.part(part, value[name], (path, name))
        elif isinstance(structure(part), OptionType):
            found[name] = None
        else:
            checker.fault((path, name), "missing")
    if given < len(value):
        _unknown_fields(checker, wit, value, path)
    return found


def _unknown_fields(
    checker: Checker, wit: RecordType, value: Mapping[Any, Any], path: Path
) -> None:
    known = [name for name, _ in wit.fields]
    for name in value.keys() - set(known):
        checker.fault((path, shown(name).strip("'")), f"no such field{_nearest(str(name), known)}")


def _tuple(checker: Checker, wit: TupleType, value: Any, path: Path) -> Any:
    if not isinstance(value, list | tuple) or len(value) != len(wit.items):
        checker.expected(path, f"an array of {len(wit.items)}", value)
        return []
    pairs = zip(wit.items, value, strict=True)
    return [checker.part(part, item, (path, index)) for index, (part, item) in enumerate(pairs)]


def _variant(checker: Checker, wit: VariantType, value: Any, path: Path) -> Any:
    return _chosen(checker, dict(wit.cases), value, path)


def _result(checker: Checker, wit: ResultType, value: Any, path: Path) -> Any:
    return _chosen(checker, {"ok": wit.ok, "err": wit.err}, value, path)


def _chosen(
    checker: Checker, cases: Mapping[str, WitType | None], value: Any, path: Path
) -> list[Any]:
    """Return `[case, payload]`; the payload of a case without one is nil and may be left out."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 2:
        checker.expected(path, f"[case, payload] with a case of {_listed(cases)}", value)
        return []
    case = value[0]
    if not isinstance(case, str) or case not in cases:
        near = _nearest(case, cases) if isinstance(case, str) else ""
        checker.fault(path, f"expected one of {_listed(cases)}, found {shown(case)}{near}")
        return []
    payload = cases[case]
    if payload is None:
        if len(value) == 2 and value[1] is not None:
            checker.fault((path, case), f"expected no payload, found {shown(value[1])}")
        return [case, None]
    if len(value) == 1:
        if not isinstance(structure(payload), OptionType):
            checker.fault((path, case), "expected a payload, found none")
        return [case, None]
    return [case, checker.part(payload, value[1], (path, case))]


def _enum(checker: Checker, wit: EnumType, value: Any, path: Path) -> Any:
    if not isinstance(value, str) or value not in wit.names:
        near = _nearest(value, wit.names) if isinstance(value, str) else ""
        checker.fault(path, f"expected one of {_listed(wit.names)}, found {shown(value)}{near}")
    return value


def _flags(checker: Checker, wit: FlagsType, value: Any, path: Path) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        checker.expected(path, f"an array of names out of {_listed(wit.names)}", value)
        return []
    chosen = set(value)
    for name in chosen.difference(wit.names):
        near = _nearest(name, wit.names)
        checker.fault(
            path, f"expected names out of {_listed(wit.names)}, found {shown(name)}{near}"
        )
    if len(chosen) != len(value):
        checker.fault(path, "expected each name once, found one twice")
    return [name for name in wit.names if name in chosen]


def _option(checker: Checker, wit: OptionType, value: Any, path: Path) -> Any:
    if value is None:
        return None
    if not is_nested_option(wit):
        return checker.part(wit.element, value, path)
    if not isinstance(value, list | tuple) or len(value) != 1:
        checker.expected(path, "nil or an array of one, for an option in an option", value)
        return None
    return [checker.part(wit.element, value[0], (path, 0))]


def _map(checker: Checker, wit: MapType, value: Any, path: Path) -> Any:
    if not isinstance(value, Mapping):
        checker.expected(path, "a map", value)
        return {}
    checker.spend(len(value), path)
    found: dict[Any, Any] = {}
    key_type = structure(wit.key)
    for name, item in value.items():
        at: Path = (path, shown(name))
        key = _key_of_json(key_type, name) if checker.is_json else name
        found[checker.part(key_type, key, at)] = checker.part(wit.value, item, at)
    return found


def _key_of_json(wit: WitType, name: Any) -> Any:
    """Return the key that a field's name in JSON stands for; the name itself when it is none."""
    if isinstance(wit, Primitive) and isinstance(name, str):
        if wit.name == "bool":
            return {"true": True, "false": False}.get(name, name)
        digits = name.removeprefix("-")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= 20
        if wit.name in INTEGERS and is_number and str(int(name)) == name:
            return int(name)
    return name


def _handle(checker: Checker, _wit: WitType, value: Any, path: Path) -> Any:
    return check_handle(checker, value, path)


def _refuse_channel(checker: Checker, wit: WitType, _value: Any, path: Path) -> Any:
    name = "stream" if isinstance(wit, StreamType) else "future"
    checker.fault(path, f"a {name} cannot be passed between instances; use a list or a resource")


_COMPOUNDS: dict[type, Callable[[Checker, Any, Any, Path], Any]] = {
    ListType: _list,
    RecordType: _record,
    TupleType: _tuple,
    VariantType: _variant,
    ResultType: _result,
    EnumType: _enum,
    FlagsType: _flags,
    OptionType: _option,
    MapType: _map,
    OwnType: _handle,
    BorrowType: _handle,
    ResourceType: _handle,
    StreamType: _refuse_channel,
    FutureType: _refuse_channel,
}


def _listed(names: Iterable[str]) -> str:
    first = list(islice(names, _NAMES_SHOWN_MAX + 1))
    more = ", ..." if len(first) > _NAMES_SHOWN_MAX else ""
    return ", ".join(first[:_NAMES_SHOWN_MAX]) + more


def _nearest(name: str, known: Iterable[str]) -> str:
    candidates = list(islice(known, _FIELDS_COMPARED_MAX))
    found = difflib.get_close_matches(name[:_COMPARED_MAX], candidates, n=1, cutoff=0.5)
    return f" (nearest: {found[0]})" if found else ""
