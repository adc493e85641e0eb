"""Splits the core module of an adapter in two, so that its instances are made sooner.

Functions of the host need the memory of the module that calls them, and the module needs the
functions to be made. Tools solve that with three modules: one with a table that passes calls on,
the adapter's own, and one that fills the table, with an entry for each function. Here the memory
comes from a module of its own, which is made first and asks the host for nothing but numbers;
neither table nor filling is left.

It rewrites the text of a component as `wasm-tools component new` and `wasm-tools print` make it.
"""

from __future__ import annotations

import re

from hosts.adapters.coremodule import REALLOC, CoreModule, items_of

_MODULE = "  (core module (;{};)"
_CORE_FUNCTION = re.compile(r"\(core func \(;(\d+);\)")
_FUNCTION = re.compile(r"\(func \(;(\d+);\)")
_BAG_ENTRY = re.compile(r'\(export "([^"]*)" \(func (\d+)\)\)')
_ARGUMENT = re.compile(r'\(with "([^"]*)" \(instance (\d+)\)\)')
_ALIAS = re.compile(r'  \(alias core export (\d+) "([^"]*)" \(core func \(;(\d+);\)\)\)')
_LOWERED = re.compile(r"\(canon lower \(func (\d+)\)")


def halved(text: str) -> str:
    """Return the text of a component that does the same.

    Raises:
        ValueError: it is not of the expected shape.
    """
    return _Halving(text).text()


class _Halving:
    """The items of a component, by what they make, and their new order."""

    def __init__(self, text: str) -> None:
        self._items = items_of(text, "  ")
        modules = [each for each in self._items if each.startswith("  (core module")]
        if len(modules) != 3:
            message = f"expected a module, a shim and what fills it, found {len(modules)} modules"
            raise ValueError(message)
        self._module = CoreModule(modules[0])
        self._core: dict[int, str] = {}  # core function -> the item that makes it
        self._named: dict[int, str] = {}  # function -> the item that names it
        for item in self._items:
            if found := _CORE_FUNCTION.search(item):
                self._core[int(found[1])] = item
            elif item.startswith("  (alias export") and (found := _FUNCTION.search(item)):
                self._named[int(found[1])] = item
        self._main, self._shim, self._filling = (self._instance_of(each) for each in range(3))
        self._passed_on = self._arguments(self._filling)["actual"]
        filled = self._bag(self._passed_on)
        self._is: dict[int, str] = {}  # core function of the old order -> its name in the new one
        self._before: list[int] = []  # those that were made behind the module
        for number, item in self._core.items():
            alias = _ALIAS.match(item)
            if alias is not None and int(alias[1]) == self._shim:
                number_behind = filled[alias[2]]
                self._is[number] = self._name(number_behind)
                if _LOWERED.search(self._core[number_behind]):
                    self._before.append(number_behind)
        for number in self._core:
            self._is.setdefault(number, self._name(number))

    def text(self) -> str:
        """Return the component in its new order."""
        written = ["(component"]
        begun = [
            item
            for number in [*self._asked_first(), *self._before]
            for item in (self._named[self._lowered(number)], self._core[number])
        ]
        for item in self._items:
            if item.startswith(f"  (core instance (;{self._shim};)"):
                written += self._first_half()
            elif item.startswith(_MODULE.format(0)):
                written.append(self._module.second_half("second"))
            elif not (item in begun or self._is_gone(item)):
                written.append(self._renamed(item))
        return "\n".join([*written, ")\n"])

    def _first_half(self) -> list[str]:
        """Return what makes the module with the memory, and what needs that memory."""
        asked = self._asked_first()
        written = [self._module.first_half("first")]
        written += [self._renamed(item) for number in asked for item in self._lowering(number)]
        bags: dict[str, list[str]] = {}
        for (interface, name), number in zip(self._module.asked_first, asked, strict=True):
            bags.setdefault(interface, []).append(f'(export "{name}" (func {self._is[number]}))')
        arguments = ""
        for place, (interface, entries) in enumerate(bags.items()):
            written.append(f"  (core instance $asked{place} {' '.join(entries)})")
            arguments += f' (with "{interface}" (instance $asked{place}))'
        written.append(f"  (core instance $first (instantiate $first{arguments}))")
        written.append('  (alias core export $first "memory" (core memory (;0;)))')
        for name in self._module.first:
            written.append(f'  (alias core export $first "{name}" (core func {_first(name)}))')
        written += [
            self._renamed(item) for number in self._before for item in self._lowering(number)
        ]
        return written

    def _lowering(self, number: int) -> tuple[str, str]:
        """Return what names a function of the host, and what makes a core function of it."""
        return self._named[self._lowered(number)], self._core[number]

    def _asked_first(self) -> list[int]:
        """Return the core functions that the first half imports.

        Raises:
            ValueError: one needs memory.
        """
        arguments = self._arguments(self._main)
        asked = [self._bag(arguments[of])[name] for of, name in self._module.asked_first]
        for number in asked:
            if "(memory" in self._core[number] or not _LOWERED.search(self._core[number]):
                message = f"a destructor calls what needs memory:{self._core[number]}"
                raise ValueError(message)
        return asked

    def _is_gone(self, item: str) -> bool:
        """Tell whether an item has no place in the new order."""
        alias = _ALIAS.match(item)
        if alias is not None:
            is_first = int(alias[1]) == self._main and alias[2] in self._module.first
            return is_first or int(alias[1]) == self._shim
        gone = (
            _MODULE.format(1),
            _MODULE.format(2),
            f"  (core instance (;{self._filling};)",
            f"  (core instance (;{self._passed_on};)",
            f'  (alias core export {self._main} "memory"',
        )
        return item.startswith(gone)

    def _renamed(self, item: str) -> str:
        """Return an item with names for core functions, functions and core instances."""
        if item.startswith(("  (component", "  (import")) or (
            item.startswith("  (type") and "(dtor" not in item
        ):
            return item
        item = re.sub(r"\(dtor (\d+)\)", lambda m: f"(dtor {self._is[int(m[1])]})", item)
        item = re.sub(r"\(realloc (\d+)\)", lambda m: f"(realloc {self._is[int(m[1])]})", item)
        item = re.sub(r"\(core func (\d+)\)", lambda m: f"(core func {self._is[int(m[1])]})", item)
        item = re.sub(r"alias core export (\d+)", r"alias core export $i\1", item)
        if item.startswith("  (core instance"):
            item = re.sub(r"\(func (\d+)\)", lambda m: f"(func {self._is[int(m[1])]})", item)
            item = re.sub(r"\((?:core )?instance (\d+)\)", r"(instance $i\1)", item)
            item = re.sub(r"\(core instance \(;(\d+);\)", r"(core instance $i\1", item)
            return item.replace(
                "(instantiate 0", '(instantiate $second (with "first" (instance $first))'
            )
        item = _CORE_FUNCTION.sub(r"(core func $c\1", item)
        return re.sub(r"\(func \(;(\d+);\)|\(func (\d+)\)", _function_renamed, item)

    def _name(self, number: int) -> str:
        alias = _ALIAS.match(self._core[number])
        if alias is not None and int(alias[1]) == self._main and alias[2] in self._module.first:
            return _first(alias[2])
        return f"$c{number}"

    def _instance_of(self, module: int) -> int:
        wanted = re.compile(rf"  \(core instance \(;(\d+);\) \(instantiate {module}\b")
        (found,) = (match for item in self._items if (match := wanted.match(item)))
        return int(found[1])

    def _item_of(self, instance: int) -> str:
        start = f"  (core instance (;{instance};)"
        return next(item for item in self._items if item.startswith(start))

    def _arguments(self, instance: int) -> dict[str, int]:
        return {name: int(each) for name, each in _ARGUMENT.findall(self._item_of(instance))}

    def _bag(self, instance: int) -> dict[str, int]:
        return {name: int(each) for name, each in _BAG_ENTRY.findall(self._item_of(instance))}

    def _lowered(self, number: int) -> int:
        found = _LOWERED.search(self._core[number])
        assert found is not None, "a function of the host"
        return int(found[1])


def _first(name: str) -> str:
    """Return the name of a core function that the first half exports."""
    return "$realloc" if name == REALLOC else "$" + re.sub(r"[^a-z]", "_", name.lower())


def _function_renamed(match: re.Match[str]) -> str:
    return f"(func $n{match[1]}" if match[1] is not None else f"(func $n{match[2]})"
