"""Builds the linker of a program: who satisfies which import, and what nobody does.

A linker binds names to callbacks, not to an instance: the host functions of the instance that is
being polled are called (`hosts.engine.hostfn`). So a program needs one linker for each set of
interfaces that the host provides, which is one in practice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from hosts.engine import ffi, standard
from hosts.engine.hostfn import HostFunctions, Imported, OwnFunction
from hosts.engine.values import Codec
from lattice.component.types import ComponentType, Interface, ResourceType
from lattice.errors import InternalError, InvalidError
from lattice.model.wit import ROOT


class Linker:
    """A wasmtime linker and the host functions it refers to."""

    def __init__(
        self,
        engine: int,
        functions: HostFunctions,
        component: ComponentType,
        provided: Collection[str],
        direct: Collection[str] = (),
    ) -> None:
        """Bind every import of `component` to the host's interfaces or the engine's own.

        `direct` are those of `provided` that a `Direct` import satisfies.

        Raises:
            InvalidError: imports that nobody satisfies, or that no host function can; all listed.
        """
        self.needs_wasi = any(
            standard.is_wasi(name) and name not in provided for name in component.imports
        )
        bound = bind_imports(component, provided, direct)
        self._functions = functions
        self._numbers: list[int] = []
        self.pointer: int = ffi.linker_new(engine)
        try:
            if self.needs_wasi:
                _check(ffi.linker_add_wasip2(self.pointer))
            # A host may give its own version of a standard interface.
            ffi.linker_allow_shadowing(self.pointer, True)
            with self._root() as root:
                for interface, imported in bound.items():
                    self._define(root, interface, imported)
        except BaseException:
            self.close()
            raise

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

    def _define(self, root: int, interface: str, imported: list[Imported]) -> None:
        if interface == ROOT:
            self._add_functions(root, imported)
            return
        instance = ctypes.c_void_p()
        name = interface.encode()
        _check(ffi.linker_instance_add_instance(root, name, len(name), ctypes.addressof(instance)))
        try:
            self._add_functions(instance.value or 0, imported)
        finally:
            ffi.linker_instance_delete(instance)

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


def bind_imports(
    component: ComponentType, provided: Collection[str], direct: Collection[str] = ()
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
            _bind_interface(name, interface, {}, bound, faults, is_direct=name in direct)
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
    has_resources = any(
        isinstance(wit, ResourceType) and wit.interface == interface.name
        for wit in interface.types.values()
    )
    return bool(interface.functions) or has_resources


def _bind_interface(
    name: str,
    interface: Interface,
    own: Mapping[str, OwnFunction],
    bound: dict[str, list[Imported]],
    faults: list[str],
    *,
    is_direct: bool = False,
) -> None:
    imported: list[Imported] = []
    for function, wit in interface.functions.items():
        try:
            codec = Codec(f"{name}#{function}" if name else function, wit)
        except InvalidError as error:
            faults.append(error.message)
            continue
        imported.append(Imported(name, function, codec, own.get(function), is_direct))
    bound[name] = imported


def _check(error: int | None) -> None:
    if error:
        message, _ = ffi.take_error(error)
        raise InternalError(f"cannot build the linker: {message}")
