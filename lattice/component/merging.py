"""The imports that remain when the components of a workload became one program.

Components that import one interface share one import afterwards: it has the highest version that
any of them names, and all their functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lattice.component.fingerprint import interface_mismatch
from lattice.component.satisfying import ByPart, Import, Source
from lattice.component.types import Function, Interface
from lattice.model.wit import interface_key

_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Merged:
    """One import of a program; `name` as the program writes it, `interface` what it implements."""

    program: str
    name: str
    interface: str
    functions: Mapping[str, Function]
    source: Source
    parts: tuple[str, ...]


def merge(
    satisfied: Iterable[tuple[Import, Source]],
    program_names: Mapping[str, str],
    faults: list[str],
) -> tuple[Merged, ...]:
    """Return the imports of all programs that are not satisfied inside the same program.

    Faults are added where components would share an import, but want different things of it.
    """
    found: dict[tuple[str, str], Merged] = {}
    for wanted, source in satisfied:
        program = program_names[wanted.part]
        if isinstance(source, ByPart) and program_names[source.part] == program:
            continue
        one = Merged(
            program=program,
            name=wanted.name,
            interface=wanted.interface.name,
            functions=wanted.interface.functions,
            source=source,
            parts=(wanted.part,),
        )
        key = (program, interface_key(wanted.name))
        known = found.get(key)
        found[key] = one if known is None else _together(known, one, faults)
    return tuple(found.values())


def _together(known: Merged, one: Merged, faults: list[str]) -> Merged:
    parts = (*known.parts, *one.parts)
    where = f"{', '.join(parts)}: shared import {one.name or 'at the root'}"
    if known.source != one.source or interface_key(known.interface) != interface_key(one.interface):
        faults.append(
            f"{where} is satisfied differently, by {known.source} and by {one.source}; components "
            "of one workload share their imports"
        )
    shared = [name for name in one.functions if name in known.functions]
    wanted = Interface(name=one.name, functions={name: one.functions[name] for name in shared})
    offered = Interface(name=one.name, functions=known.functions)
    faults += (f"{where}: {line}" for line in interface_mismatch(wanted, offered))
    newest = max(known, one, key=lambda each: _version(each.name))
    return replace(newest, functions={**one.functions, **known.functions}, parts=parts)


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBERS.findall(name.partition("@")[2]))
