"""Makes what satisfies an imported interface of a plain Python object, whose methods match WIT's.

    class Notes:
        errors = {KeyError: "no-such-note"}      # what becomes the `err` of a WIT `result`

        def get(self, key: str) -> str: ...      # get: func(key: string) -> result<string, fault>
        async def sync(self) -> None: ...        # suspends the guest while others run

        class Cursor:                            # resource cursor { constructor(...); ... }
            def __init__(self, start: int): ...
            def next_page(self) -> list[str]: ...
            def on_drop(self) -> None: ...       # the guest has dropped it, or ended

Names in kebab case are in snake case here, those of resources in camel case. A plain method
answers at once and must be quick; an `async` one suspends the guest. All is checked when it is
bound.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from hosts.engine.annotations import Place, disagreement, hints_of, signature_faults
from hosts.engine.base import Capability, Resource
from hosts.engine.codec.records import field_name
from lattice.component.fingerprint import nearest
from lattice.component.signature import function_signature
from lattice.component.types import (
    Function,
    Interface,
    ResourceType,
    ResultType,
    WitType,
    structure,
)
from lattice.errors import GuestTrapError, InvalidError, LatticeError

ERRORS = "errors"
"""The attribute that declares errors: exception class -> value of `err`, or a function of the
exception that returns the value."""

ON_DROP = "on_drop"
"""The method of a resource's class that is called once when an object is no more the guest's."""


class WitError(Exception):
    """Raised by a method whose WIT function returns a `result`: answers `err` with a value."""

    def __init__(self, value: object = None) -> None:
        super().__init__(value)
        self.value = value


def bind(capability: object, interface: Interface) -> Capability:
    """Return what gives guests an interface by the methods of an object.

    A function that returns `result<T, E>` is a method that returns T, and raises for `err`:
    `WitError`, or an exception that the attribute `errors` of the object declares. Any other
    exception is a trap of the guest, with that exception as its cause; a `LatticeError` ends the
    guest's call as it is.

    Raises:
        InvalidError: methods are missing, or do not match; all faults are listed.
    """
    binder = _Binder(capability, interface)
    for name, function in interface.functions.items():
        binder.add(name, function)
    binder.check_errors()
    if binder.faults:
        raise InvalidError(
            f"{type(capability).__name__} does not fit {interface.name or 'the functions'}",
            binder.faults,
        )
    return Capability(binder.direct, binder.waiting, binder.resources, has_records=True)


class _Binder:
    """Collects what an object gives, and what is wrong with it."""

    def __init__(self, capability: object, interface: Interface) -> None:
        self._capability = capability
        self._interface = interface
        self.faults: list[str] = []
        self.direct: dict[str, Callable[..., Any]] = {}
        self.waiting: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.errors: Mapping[Any, Any] = getattr(capability, ERRORS, {})
        self.kinds: dict[str, type] = {}
        for name, wit in interface.types.items():
            if isinstance(wit, ResourceType) and wit.interface == interface.name:
                self._add_kind(name)
        self.resources = {name: _resource(kind) for name, kind in self.kinds.items()}

    def add(self, name: str, function: Function) -> None:
        """Bind one function of the interface, or note what is wrong."""
        method = self._find(name, function)
        if method is None:
            return
        called, signed, skipped = method
        if function.is_async:
            self._fault(name, "async functions of WIT cannot be given by a host")
            return
        params = function.params[skipped:]
        for fault in signature_faults(signed, params, skipped):
            self._fault(name, fault)
        for fault in self._type_faults(signed, params, function.result):
            self._fault(name, fault)
        label = f"{self._interface.name}#{name}" if self._interface.name else name
        call = _Call(called, label, self.errors, _is_result(function))
        if inspect.iscoroutinefunction(signed):
            self.waiting[name] = call.wait
        else:
            self.direct[name] = call.answer

    def check_errors(self) -> None:
        """Note what is wrong with the declared errors."""
        for each in self.errors:
            if not (isinstance(each, type) and issubclass(each, Exception)):
                self.faults.append(f"{ERRORS}: {each!r} is no class of exceptions")
            elif issubclass(each, LatticeError):
                self.faults.append(f"{ERRORS}: {each.__name__} ends the call as it is")

    def _add_kind(self, name: str) -> None:
        title = "".join(word.capitalize() for word in name.split("-"))
        kind = getattr(self._capability, title, None)
        if isinstance(kind, type):
            self.kinds[name] = kind
            if inspect.iscoroutinefunction(getattr(kind, ON_DROP, None)):
                self.faults.append(f"resource {name}: {title}.{ON_DROP} is async, it must be plain")
        else:
            self.faults.append(f"resource {name}: there is no class {title}")

    def _find(
        self, name: str, function: Function
    ) -> tuple[Callable[..., Any], Callable[..., Any], int] | None:
        """Return what to call, what has its signature, and how many parameters that leaves out."""
        sort, _, rest = name.rpartition("]")
        if not sort:
            found = self._attribute(self._capability, name, name, function)
            return None if found is None else (found, found, 0)
        resource, _, member = rest.partition(".")
        kind = self.kinds.get(resource)
        if kind is None:
            return None  # that is a fault already
        if sort == "[constructor":
            maker = getattr(self._capability, f"new_{field_name(resource)}", kind)
            return maker, maker, 0
        found = self._attribute(kind, member, name, function)
        if found is None:
            return None
        attribute = inspect.getattr_static(kind, field_name(member))
        is_static = isinstance(attribute, staticmethod | classmethod)
        if is_static != (sort == "[static"):
            wanted = "a static or class method" if sort == "[static" else "a method of the object"
            self._fault(name, f"{kind.__name__}.{field_name(member)} is not {wanted}")
            return None
        if is_static:
            return found, found, 0
        return _of_object(field_name(member)), found, 1

    def _attribute(
        self, owner: object, member: str, name: str, function: Function
    ) -> Callable[..., Any] | None:
        attribute = field_name(member)
        found = getattr(owner, attribute, None)
        if callable(found):
            result: Callable[..., Any] = found
            return result
        known = [each for each in dir(owner) if not each.startswith("_")]
        shown = function_signature(member, function)
        near = nearest(attribute, known)
        self._fault(name, f"there is no method {attribute}{near} for `{shown}`")
        return None

    def _type_faults(
        self,
        method: Callable[..., Any],
        params: Sequence[tuple[str, WitType]],
        result: WitType | None,
    ) -> list[str]:
        """Return how annotations disagree with the types of WIT."""
        try:
            hints = hints_of(method, self._names())
        except (NameError, TypeError, AttributeError) as error:
            return [f"its annotations cannot be read: {error}"]
        faults: list[str] = []
        place = Place(self.kinds, is_result=False)
        for name, wit in params:
            wrong = disagreement(hints.get(field_name(name), Any), wit, place)
            if wrong:
                faults.append(f"parameter {field_name(name)}: {wrong}")
        if inspect.isclass(method):
            return faults
        plain = None if result is None else structure(result)
        given = plain.ok if isinstance(plain, ResultType) else result
        wrong = disagreement(hints.get("return", Any), given, Place(self.kinds, is_result=True))
        return [*faults, f"what it returns: {wrong}"] if wrong else faults

    def _names(self) -> dict[str, Any]:
        """Return what annotations may name besides what their module has."""
        own = type(self._capability)
        return {own.__name__: own, **vars(own), **{k.__name__: k for k in self.kinds.values()}}

    def _fault(self, name: str, fault: str) -> None:
        self.faults.append(f"{name}: {fault}")


class _Call:
    """A method as the engine calls it."""

    __slots__ = ("_errors", "_label", "_method", "_returns_result")

    def __init__(
        self,
        method: Callable[..., Any],
        label: str,
        errors: Mapping[Any, Any],
        returns_result: bool,
    ) -> None:
        self._method = method
        self._label = label
        self._errors = errors
        self._returns_result = returns_result

    def answer(self, *args: Any) -> Any:
        """Return the value of WIT that the method answers with, at once."""
        try:
            answer = self._method(*args)
        except Exception as error:  # noqa: BLE001 (somebody's code: whatever it raises is answered)
            return self._failed(error)
        return ["ok", answer] if self._returns_result else answer

    async def wait(self, *args: Any) -> Any:
        """Return the same when the method has come to its end."""
        try:
            answer = await self._method(*args)
        except Exception as error:  # noqa: BLE001 (as above)
            return self._failed(error)
        return ["ok", answer] if self._returns_result else answer

    def _failed(self, error: Exception) -> Any:
        """Return the `err` that an exception stands for, or raise what ends the guest's call."""
        if isinstance(error, LatticeError):
            raise error
        if self._returns_result:
            if isinstance(error, WitError):
                return ["err", error.value]
            for kind in type(error).__mro__:
                if kind in self._errors:
                    value = self._errors[kind]
                    if not callable(value):
                        return ["err", value]
                    try:
                        return ["err", value(error)]
                    except Exception as fault:  # noqa: BLE001 (somebody's code, as the method)
                        error = fault
                        break
        raise GuestTrapError(
            f"{self._label} failed, which the host answers: {type(error).__name__}: {error}"
        ) from error


def _is_result(function: Function) -> bool:
    return function.result is not None and isinstance(structure(function.result), ResultType)


def _resource(kind: type) -> Resource:
    if hasattr(kind, ON_DROP):
        return Resource(kind, lambda value: value.on_drop())
    return Resource(kind)


def _of_object(attribute: str) -> Callable[..., Any]:
    """Return what calls a method of the object that it gets first."""

    def call(value: Any, *args: Any) -> Any:
        return getattr(value, attribute)(*args)

    return call
