"""What generated modules (`lattice bindgen`) are made of: shapes of values, and classes to bind.

A shape is a type of WIT together with the Python classes that stand for its parts. It turns values
of these classes into those of the wire and back; whether a value fits its type is decided by
`lattice.wire.values` alone. Nothing here knows how a call travels.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from lattice.client.calling import CALL_DEADLINE_S
from lattice.component.types import (
    EnumType,
    FlagsType,
    Function,
    ListType,
    MapType,
    NamedType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    VariantType,
    WitType,
    structure,
)
from lattice.errors import DecodeError, IncompatibleError, InvalidError
from lattice.wire.values import check_args

T_co = TypeVar("T_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)

Turn = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """The success of a `result`; its value is None when the type has none."""

    tag: ClassVar[Literal["ok"]] = "ok"
    value: T_co


@dataclass(frozen=True, slots=True)
class Err(Generic[E_co]):
    """The failure of a `result`; its value is None when the type has none."""

    tag: ClassVar[Literal["err"]] = "err"
    value: E_co


@dataclass(frozen=True, slots=True)
class Some(Generic[T_co]):
    """The value of an option of an option, so that `Some(None)` and None are two things."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Shape:
    """A type, and how its values become those of the wire and back; None: they are the same."""

    wit: WitType
    lower: Turn | None = None
    lift: Turn | None = None


BOOL, CHAR, STRING = (Shape(Primitive(name)) for name in ("bool", "char", "string"))
U8, U16, U32, U64 = (Shape(Primitive(name)) for name in ("u8", "u16", "u32", "u64"))
S8, S16, S32, S64 = (Shape(Primitive(name)) for name in ("s8", "s16", "s32", "s64"))
F32, F64 = (Shape(Primitive(name)) for name in ("f32", "f64"))


# --- shapes of shapes -------------------------------------------------------------------------


def alias(name: str, shape: Shape) -> Shape:
    """Return the shape under the name that an interface gives it."""
    return Shape(NamedType("", name, shape.wit), shape.lower, shape.lift)


def sequence(element: Shape, length: int | None = None) -> Shape:
    """Return the shape of a list; of `u8` it is bytes."""
    wit = ListType(element.wit, length)
    if structure(element.wit) == Primitive("u8"):
        return Shape(wit)
    return Shape(wit, _each(element.lower), _each(element.lift))


def product(*items: Shape) -> Shape:
    """Return the shape of a tuple."""
    lowers, lifts = [item.lower for item in items], [item.lift for item in items]
    wit = TupleType(tuple(item.wit for item in items))
    return Shape(wit, partial(_lower_items, lowers), partial(_lift_items, lifts))


def mapping(key: Shape, value: Shape) -> Shape:
    """Return the shape of a map."""
    wit = MapType(key.wit, value.wit)
    lower, lift = _pairs(key.lower, value.lower), _pairs(key.lift, value.lift)
    return Shape(wit, lower, lift)


def option(element: Shape) -> Shape:
    """Return the shape of a value or None; of an option it is `Some` or None."""
    wit = OptionType(element.wit)
    if isinstance(structure(element.wit), OptionType):
        lower = partial(_lower_some, element.lower)
        return Shape(wit, _unless_none(lower), _unless_none(partial(_lift_some, element.lift)))
    return Shape(wit, _unless_none(element.lower), _unless_none(element.lift))


def result(ok: Shape | None, err: Shape | None) -> Shape:
    """Return the shape of `Ok` or `Err`."""
    wit = ResultType(None if ok is None else ok.wit, None if err is None else err.wit)
    cases = {"ok": (Ok, ok), "err": (Err, err)}
    return Shape(wit, partial(_lower_case, cases), partial(_lift_case, cases))


def record(name: str, made: type[Any], parts: Mapping[str, Shape]) -> Shape:
    """Return the shape of a dataclass whose fields are the parts in their order."""
    names = [each.name for each in fields(made)]
    wit = RecordType(tuple((part, shape.wit) for part, shape in parts.items()))
    rows = [
        (part, field, shape)
        for (part, shape), field in zip(parts.items(), names, strict=True)
    ]  # fmt: skip
    lower, lift = partial(_lower_record, made, rows), partial(_lift_record, made, rows)
    return Shape(NamedType("", name, wit), lower, lift)


def variant(name: str, cases: Mapping[str, tuple[type[Any], Shape | None]]) -> Shape:
    """Return the shape of dataclasses, one for each case, with a `value` where there is one."""
    wit = VariantType(
        tuple((case, None if part is None else part.wit) for case, (_, part) in cases.items())
    )
    lower, lift = partial(_lower_case, cases), partial(_lift_case, cases)
    return Shape(NamedType("", name, wit), lower, lift)


def enumeration(name: str, made: type[enum.StrEnum]) -> Shape:
    """Return the shape of an enum whose values are the names of WIT."""
    wit = EnumType(tuple(member.value for member in made))
    return Shape(NamedType("", name, wit), _lower_enum, made)


def flags(name: str, members: Mapping[str, enum.Flag]) -> Shape:
    """Return the shape of a set of flags; there is at least one."""
    lower, lift = partial(_lower_flags, members), partial(_lift_flags, members)
    return Shape(NamedType("", name, FlagsType(tuple(members))), lower, lift)


def _each(turn: Turn | None) -> Turn | None:
    return None if turn is None else lambda values: [turn(value) for value in values]


def _unless_none(turn: Turn | None) -> Turn | None:
    return None if turn is None else lambda value: None if value is None else turn(value)


def _through(turn: Turn | None, value: Any) -> Any:
    return value if turn is None else turn(value)


def _lower_items(turns: Sequence[Turn | None], values: Any) -> list[Any]:
    return [_through(turn, value) for turn, value in zip(turns, values, strict=True)]


def _lift_items(turns: Sequence[Turn | None], values: Any) -> tuple[Any, ...]:
    return tuple(_lower_items(turns, values))


def _pairs(key: Turn | None, value: Turn | None) -> Turn | None:
    if key is None and value is None:
        return None
    return lambda found: {_through(key, k): _through(value, v) for k, v in found.items()}


def _lower_some(turn: Turn | None, value: Any) -> list[Any]:
    if not isinstance(value, Some):
        message = f"expected Some(...) or None for an option of an option, found {value!r}"
        raise TypeError(message)
    return [_through(turn, value.value)]


def _lift_some(turn: Turn | None, value: Any) -> Some[Any]:
    return Some(_through(turn, value[0]))


def _lower_case(cases: Mapping[str, tuple[type[Any], Shape | None]], value: Any) -> list[Any]:
    known = cases.get(getattr(value, "tag", ""))
    if known is None or not isinstance(value, known[0]):
        expected = ", ".join(made.__name__ for made, _ in cases.values())
        message = f"expected one of {expected}, found {value!r}"
        raise TypeError(message)
    shape = known[1]
    return [value.tag, None if shape is None else _through(shape.lower, value.value)]


def _lift_case(cases: Mapping[str, tuple[type[Any], Shape | None]], value: Any) -> Any:
    made, shape = cases[value[0]]
    if shape is not None:
        return made(_through(shape.lift, value[1]))
    return made(None) if made in (Ok, Err) else made()


def _lower_record(made: type[Any], rows: Sequence[tuple[str, str, Shape]], value: Any) -> Any:
    if not isinstance(value, made):
        message = f"expected {made.__name__}, found {value!r}"
        raise TypeError(message)
    return {part: _through(shape.lower, getattr(value, name)) for part, name, shape in rows}


def _lift_record(made: type[Any], rows: Sequence[tuple[str, str, Shape]], value: Any) -> Any:
    return made(**{name: _through(shape.lift, value[part]) for part, name, shape in rows})


def _lower_enum(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _lower_flags(members: Mapping[str, enum.Flag], value: Any) -> list[str]:
    return [name for name, member in members.items() if member in value]


def _lift_flags(members: Mapping[str, enum.Flag], value: Any) -> enum.Flag:
    found = type(next(iter(members.values())))(0)
    for name in value:
        found |= members[name]
    return found


# --- calls --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One function: where it is, its type's fingerprint, and the shapes of what goes in and out."""

    interface: str
    name: str
    fingerprint: str
    params: Mapping[str, Shape]
    result: Shape | None = None

    @cached_property
    def type(self) -> Function:
        """The function's type; names of types are those of WIT, without their interfaces."""
        params = tuple((name, shape.wit) for name, shape in self.params.items())
        return Function(params=params, result=None if self.result is None else self.result.wit)

    def lower(self, args: Sequence[Any]) -> list[Any]:
        """Return the arguments as they travel.

        Raises:
            InvalidError: they do not fit the function's type; all faults are listed.
        """
        lowered: list[Any] = []
        for (name, shape), value in zip(self.params.items(), args, strict=True):
            try:
                lowered.append(_through(shape.lower, value))
            except (TypeError, ValueError, AttributeError) as error:
                raise InvalidError(
                    f"the arguments of {self} do not fit", [f"{name}: {error}"]
                ) from None
        return check_args(self.type, lowered)

    def lift(self, value: Any) -> Any:
        """Return a result of the wire as values of the module's classes.

        Raises:
            DecodeError: it does not fit the function's type.
        """
        if self.result is None:
            return None
        try:
            return _through(self.result.lift, value)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise DecodeError(f"the result of {self} does not fit its type: {error}") from None

    def __str__(self) -> str:
        return f"{self.interface}#{self.name}"


class Calls(Protocol):
    """What an asynchronous stub needs of a client: `lattice.client.LatticeClient` has it."""

    async def call(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = ...,
        *,
        deadline_s: float = ...,
        key: str | None = ...,
        expects: str = ...,
    ) -> Any:
        """Return the value of one call."""


class BlockingCalls(Protocol):
    """What a blocking stub needs of a client: `lattice.client.sync.SyncClient` has it."""

    def call(
        self,
        deployment: str,
        function: str,
        args: Sequence[Any] = ...,
        *,
        deadline_s: float = ...,
        key: str | None = ...,
        expects: str = ...,
    ) -> Any:
        """Return the value of one call."""


class Interface:
    """An exported interface of one deployment, called through a client.

    `deadline_s` and `key` are those of `LatticeClient.call`, for every call of this object. A
    function whose type is not that of the module is refused as `IncompatibleError`, unrun.
    """

    def __init__(
        self,
        client: Calls,
        deployment: str,
        *,
        deadline_s: float = CALL_DEADLINE_S,
        key: str | None = None,
    ) -> None:
        self._client = client
        self._deployment = deployment
        self._deadline_s = deadline_s
        self._key = key

    async def _call(self, operation: Operation, *args: Any) -> Any:
        lowered = operation.lower(args)
        try:
            value = await self._client.call(
                self._deployment, str(operation), lowered,
                deadline_s=self._deadline_s, key=self._key, expects=operation.fingerprint,
            )  # fmt: skip
        except IncompatibleError as error:
            raise _outdated(self._deployment, operation, error) from error
        return operation.lift(value)


class BlockingInterface:
    """The same as `Interface`, for programs without an event loop of their own."""

    def __init__(
        self,
        client: BlockingCalls,
        deployment: str,
        *,
        deadline_s: float = CALL_DEADLINE_S,
        key: str | None = None,
    ) -> None:
        self._client = client
        self._deployment = deployment
        self._deadline_s = deadline_s
        self._key = key

    def _call(self, operation: Operation, *args: Any) -> Any:
        lowered = operation.lower(args)
        try:
            value = self._client.call(
                self._deployment, str(operation), lowered,
                deadline_s=self._deadline_s, key=self._key, expects=operation.fingerprint,
            )  # fmt: skip
        except IncompatibleError as error:
            raise _outdated(self._deployment, operation, error) from error
        return operation.lift(value)


def _outdated(deployment: str, operation: Operation, error: IncompatibleError) -> IncompatibleError:
    """Return the error with what to do; one about something else (a callee's) as it is."""
    if error.details.get("expected") != operation.fingerprint:
        return error
    return IncompatibleError(
        f"{operation} of deployment {deployment!r} has another type than the generated module: "
        "generate it again with `lattice bindgen`",
        **error.details,
    )
