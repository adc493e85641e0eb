"""Builds the linker of a program: who satisfies which import, and what nobody does.

A linker binds names to callbacks, not to an instance: the host functions of the instance that is
being polled are called (`hosts.engine.hostfn`). So a program needs one linker for each set of
interfaces that the host provides, which is one in practice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from hosts.engine import ffi, standard
from hosts.engine.base import Capability, Direct, Import
from hosts.engine.hostfn import HostFunctions, Imported, OwnFunction
from hosts.engine.resources import Defined, HandleTable, ResourceKey, resource_key
from hosts.engine.values import Codec
from lattice.component.types import ComponentType, Interface, ResourceType
from lattice.errors import InternalError, InvalidError
from lattice.model.wit import ROOT


@dataclass(frozen=True, slots=True)
class Provision:
    """How the host satisfies an imported interface, as far as a linker cares."""

    direct: frozenset[str] | None = frozenset()  # functions that answer at once; None: all
    waiting: frozenset[str] | None = None  # those that suspend the guest; None: all others
    resources: frozenset[str] | None = None  # None: it takes and gives no handles
    has_records: bool = False

    @classmethod
    def of(cls, provider: Import) -> Provision:
        """Return how an import satisfies its interface."""
        if isinstance(provider, Direct):
            return _DIRECT
        if not isinstance(provider, Capability):
            return _WAITING
        return cls(
            frozenset(provider.direct),
            frozenset(provider.waiting),
            frozenset(provider.resources),
            provider.has_records,
        )

    def answers_at_once(self, function: str) -> bool:
        """Tell whether the guest never waits for a function."""
        return self.direct is None or function in self.direct

    def has(self, function: str) -> bool:
        """Tell whether there is such a function."""
        return self.answers_at_once(function) or self.waiting is None or function in self.waiting


_DIRECT, _WAITING = Provision(None), Provision()


class Linker:
    """A wasmtime linker and the host functions it refers to."""

    def __init__(
        self,
        engine: int,
        functions: HostFunctions,
        component: ComponentType,
        provided: Mapping[str, Provision],
    ) -> None:
        """Bind every import of `component` to the host's interfaces or the engine's own.

        Raises:
            InvalidError: imports that nobody satisfies, or that no host function can; all listed.
        """
        self.needs_wasi = any(
            standard.is_wasi(name) and name not in provided for name in component.imports
        )
        bound = bind_imports(component, provided)
        self.resources: dict[ResourceKey, tuple[str, int]] = {}
        """The resources of the host: the import that gives each, and what wasmtime knows it by."""
        self._functions = functions
        self._numbers: list[int] = []
        self.pointer: int = ffi.linker_new(engine)
        self.passed = ffi.passed(self.pointer)
        try:
            if self.needs_wasi:
                _check(ffi.linker_add_wasip2(self.pointer))
            # A host may give its own version of a standard interface.
            ffi.linker_allow_shadowing(self.pointer, True)
            with self._root() as root:
                for interface, imported in bound.items():
                    resources = _resources_of(component.imports[interface])
                    if interface not in provided or provided[interface].resources is None:
                        resources = {}
                    self._define(root, interface, imported, resources)
        except BaseException:
            self.close()
            raise
        self.calls_host = bool(self._numbers)
        """Whether guests may call functions in Python."""

    def close(self) -> None:
        """Delete the linker; instances made with it live on. Idempotent."""
        if self.pointer:
            ffi.linker_delete(self.pointer)
            self._functions.remove(self._numbers)
        self.pointer = 0

    @contextmanager
    def _root(self) -> Iterator[int]:
        root = ffi.linker_root(self.pointer)
        try:
            yield root
        finally:
            ffi.linker_instance_delete(root)

    def _define(
        self,
        root: int,
        interface: str,
        imported: list[Imported],
        resources: Mapping[str, ResourceType],
    ) -> None:
        if interface == ROOT:
            self._add_resources(root, interface, resources)
            self._add_functions(root, imported)
            return
        instance = ctypes.c_void_p()
        name = interface.encode()
        _check(ffi.linker_instance_add_instance(root, name, len(name), ctypes.addressof(instance)))
        try:
            self._add_resources(instance.value or 0, interface, resources)
            self._add_functions(instance.value or 0, imported)
        finally:
            ffi.linker_instance_delete(instance)

    def _add_resources(
        self, instance: int, interface: str, resources: Mapping[str, ResourceType]
    ) -> None:
        for each, resource in resources.items():
            type_id = self._functions.new_resource_type()
            self.resources[resource_key(resource)] = interface, type_id
            wit = ffi.resource_type_new_host(type_id)
            name, destructor = each.encode(), self._functions.destructor
            add = ffi.linker_instance_add_resource
            try:
                _check(add(instance, name, len(name), wit, destructor, None, None))
            finally:
                ffi.resource_type_delete(wit)

    def _add_functions(self, instance: int, imported: list[Imported]) -> None:
        for each in imported:
            number, callback = self._functions.add(each)
            self._numbers.append(number)
            name = each.function.encode()
            add = (
                ffi.linker_instance_add_func
                if each.answers_at_once
                else ffi.linker_instance_add_func_async
            )
            _check(add(instance, name, len(name), callback, None, None))


def new_handles(context: int, linker: Linker, imports: Mapping[str, Import]) -> HandleTable | None:
    """Return the table for an instance in the store of a context; None when it gets no handles."""
    defined: dict[ResourceKey, Defined] = {}
    for key, (interface, type_id) in linker.resources.items():
        provider = imports[interface]
        assert isinstance(provider, Capability), "the linker was made for it"
        defined[key] = Defined(type_id, provider.resources[key[1]])
    return HandleTable(context, defined) if defined else None


def bind_imports(
    component: ComponentType, provided: Mapping[str, Provision]
) -> dict[str, list[Imported]]:
    """Return by interface the host functions to define.

    Raises:
        InvalidError: imports that nobody satisfies, or that no host function can; all listed.
    """
    bound: dict[str, list[Imported]] = {}
    faults: list[str] = []
    for name, interface in component.imports.items():
        if not _needs_somebody(interface):
            continue
        own = standard.own_functions(component.labels.get(name, name))
        if name in provided:
            _bind_interface(name, interface, {}, bound, faults, provided[name])
        elif own is not None:
            absent = [f"{name}#{each}" for each in interface.functions if each not in own]
            faults += [f"{each}: the engine's interface has no such function" for each in absent]
            _bind_interface(name, interface, own, bound, faults)
        elif not standard.is_wasi(name):
            names = ", ".join(interface.functions) or "its resources"
            faults.append(f"{name or 'functions at the root'}: nobody provides {names}")
    if faults:
        raise InvalidError("the component cannot be instantiated: imports are missing", faults)
    return bound


def _needs_somebody(interface: Interface) -> bool:
    """Tell whether an import has more than types, which need no definition."""
    return bool(interface.functions or _resources_of(interface))


def _resources_of(interface: Interface) -> dict[str, ResourceType]:
    """Return the resources that an interface defines itself, by their names."""
    return {
        name: wit
        for name, wit in interface.types.items()
        if isinstance(wit, ResourceType) and wit.interface == interface.name
    }


def _bind_interface(
    name: str,
    interface: Interface,
    own: Mapping[str, OwnFunction],
    bound: dict[str, list[Imported]],
    faults: list[str],
    provision: Provision = _WAITING,
) -> None:
    imported: list[Imported] = []
    takes_handles = provision.resources is not None
    if provision.resources is not None:
        absent = _resources_of(interface).keys() - provision.resources
        faults += [f"{name}: nobody provides the resource {each}" for each in sorted(absent)]
    for function, wit in interface.functions.items():
        label = f"{name}#{function}" if name else function
        if not provision.has(function):
            faults.append(f"{label}: the host's interface has no such function")
            continue
        try:
            codec = Codec(label, wit, records=provision.has_records, with_handles=takes_handles)
        except InvalidError as error:
            faults.append(error.message)
            continue
        is_direct = provision.answers_at_once(function) and function not in own
        imported.append(Imported(name, function, codec, own.get(function), is_direct))
    bound[name] = imported


def _check(error: int | None) -> None:
    if error:
        message, _ = ffi.take_error(error)
        raise InternalError(f"cannot build the linker: {message}")
