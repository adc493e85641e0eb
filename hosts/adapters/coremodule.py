"""The core module of an adapter as text, and the two halves that it is split into.

The first half has the memory, what allocates in it (`cabi_realloc`) and the destructors of
resources; the second one imports that memory and has all else. Both have the addresses that the
whole was linked with. `hosts.adapters.halving` says what this is good for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

REALLOC = "cabi_realloc"

_IMPORT = re.compile(r'    \(import "([^"]*)" "([^"]*)" \(func \(;(\d+);\)')
_EXPORT = re.compile(r'    \(export "([^"]*)" \(func (\d+)\)')
_FUNCTION = re.compile(r"\(func \(;(\d+);\)")
_CALL = re.compile(r"(?m)^(\s+)call (\d+)$")
_MEMORY = re.compile(r"    \(memory (.*)\)$")


def items_of(text: str, indent: str) -> list[str]:
    """Return what a text has in its first pair of brackets: what is indented so, in its order."""
    items: list[list[str]] = []
    for line in text.rstrip("\n").split("\n")[1:-1]:
        if line.startswith(f"{indent}("):
            items.append([line])
        else:
            items[-1].append(line)
    return ["\n".join(lines) for lines in items]


class CoreModule:
    """A core module, as `wasm-tools print` writes it inside a component."""

    def __init__(self, text: str) -> None:
        """Read it.

        Raises:
            ValueError: it has tables in use, or what is to come first uses the stack in memory.
        """
        self._items = items_of(text, "    ")
        self._imports: dict[int, tuple[str, str]] = {}
        self._exports: dict[str, int] = {}
        self._bodies: dict[int, str] = {}
        for item in self._items:
            if found := _IMPORT.match(item):
                self._imports[int(found[3])] = (found[1], found[2])
            elif found := _EXPORT.match(item):
                self._exports[found[1]] = int(found[2])
            elif found := _FUNCTION.match(item.lstrip()):
                self._bodies[int(found[1])] = item
        self.first = [name for name in self._exports if name == REALLOC or "[dtor]" in name]
        """What the first half exports, besides the memory."""
        self._reached = self._reached_from(self._exports[name] for name in self.first)
        if "call_indirect" in text:
            message = "the module has tables in use"
            raise ValueError(message)
        if any("global." in self._bodies.get(each, "") for each in self._reached):
            message = "a destructor, or what allocates, uses the stack in memory"
            raise ValueError(message)

    @property
    def asked_first(self) -> list[tuple[str, str]]:
        """Return the functions that the first half imports: interface and name."""
        return [self._imports[each] for each in sorted(self._reached) if each in self._imports]

    def first_half(self, name: str) -> str:
        """Return the module with the memory."""
        types, imports, rest = [], [], ['    (export "memory" (memory 0))']
        for item in self._items:
            number = _number_of(item)
            if item.startswith("    (type"):
                types.append(item)
            elif item.startswith("    (import") and number in self._reached:
                imports.append(item)
            elif item.startswith(("    (memory", "    (data")) or (
                item.startswith("    (func") and number in self._reached
            ):
                rest.append(item)
        rest += [f'    (export "{each}" (func $f{self._exports[each]}))' for each in self.first]
        text = "\n".join([f"  (core module ${name}", *types, *imports, *rest, "  )"])
        return _CALL.sub(r"\1call $f\2", _FUNCTION.sub(r"(func $f\1", text))

    def second_half(self, name: str) -> str:
        """Return the module that imports the memory, as `memory` of `first`."""
        types, imports, rest = [], [], []
        for item in self._items:
            export = _EXPORT.match(item)
            if item.startswith("    (type"):
                types.append(item)
            elif item.startswith("    (import"):
                imports.append(item)
            elif found := _MEMORY.match(item):
                imports.append(f'    (import "first" "memory" (memory {found[1]}))')
            elif item.startswith(("    (data", "    (table", '    (export "memory"')) or (
                export is not None and export[1] in self.first
            ):
                continue
            else:
                rest.append(item)
        return "\n".join([f"  (core module ${name}", *types, *imports, *rest, "  )"])

    def _reached_from(self, roots: Iterable[int]) -> set[int]:
        reached: set[int] = set()
        left = list(roots)
        while left:
            function = left.pop()
            if function not in reached:
                reached.add(function)
                calls = _CALL.findall(self._bodies.get(function, ""))
                left += [int(called) for _, called in calls]
        return reached


def _number_of(item: str) -> int:
    found = _FUNCTION.search(item)
    return -1 if found is None else int(found[1])
