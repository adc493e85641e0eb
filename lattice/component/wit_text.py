"""A component's imports and exports as WIT text that the component tools read back.

The text has a world `root` in a package `root:component`, then one nested package for each
package that the world names, with as much of its interfaces as the component itself knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lattice.component.packages import Body, collect
from lattice.component.signature import (
    LocalNames,
    function_signature,
    function_type,
    identifier,
    keyword_of,
    member_lines,
    parameters,
    type_text,
)
from lattice.component.types import (
    ComponentType,
    EnumType,
    FlagsType,
    Function,
    NamedType,
    OwnType,
    RecordType,
    ResourceType,
    VariantType,
    WitType,
)
from lattice.model.wit import ROOT

__all__ = ["function_signature", "to_wit"]

_INDENT = "  "


def to_wit(component: ComponentType) -> str:
    """Return WIT text for a component: what it imports and exports, with the docs it carries."""
    bodies = collect(component)
    lines = ["package root:component;", "", *_docs(component.docs), "world root {"]
    world = bodies.pop(ROOT, Body(ROOT))
    inline = {name: body for name, body in bodies.items() if ":" not in name}
    lines += _indented(_type_lines(world))
    for word, interfaces in (("import", component.imports), ("export", component.exports)):
        for name, interface in interfaces.items():
            if name == ROOT:
                lines += _indented(_functions(word, interface.functions, world.local))
            elif name in inline:
                inner = _indented(_body_lines(inline[name]))
                lines += _indented([f"{word} {identifier(name)}: interface {{", *inner, "}"])
            elif name != interface.name:
                lines += _indented([f"{word} {identifier(name)}: {_escaped(interface.name)};"])
            else:
                lines += _indented([f"{word} {_escaped(name)};"])
    lines.append("}")
    for package, members in _packages(bodies).items():
        lines.append(f"package {package} {{")
        for name, body in members.items():
            inner = _indented(_body_lines(body))
            opening = f"interface {identifier(name)} {{"
            lines += _indented([*_docs(body.docs), opening, *inner, "}"])
        lines.append("}")
    return "\n".join(lines) + "\n"


def _packages(bodies: Mapping[str, Body]) -> dict[str, dict[str, Body]]:
    """Return the interfaces by package (`ns:name@version`) and plain name."""
    packages: dict[str, dict[str, Body]] = {}
    for name, body in bodies.items():
        if ":" in name:
            package, plain = _split(name)
            packages.setdefault(package, {})[plain] = body
    return packages


def _split(interface: str) -> tuple[str, str]:
    base, at, version = interface.partition("@")
    package, _, plain = base.rpartition("/")
    return ":".join(map(identifier, package.split(":"))) + at + version, plain


def _escaped(interface: str) -> str:
    """Return an interface's full name as WIT writes it, with `%` where a part is a keyword."""
    package, plain = _split(interface)
    base, at, version = package.partition("@")
    return f"{base}/{identifier(plain)}{at}{version}"


def _seen_from(interface: str, other: str) -> str:
    """Return the name of another interface as WIT writes it in this one: short in one package."""
    package, plain = _split(other)
    return identifier(plain) if _split(interface)[0] == package else _escaped(other)


def _body_lines(body: Body) -> list[str]:
    plain = {name: each for name, each in body.functions.items() if not name.startswith("[")}
    return _type_lines(body) + _functions("", plain, body.local)


def _functions(word: str, functions: Mapping[str, Function], local: LocalNames) -> list[str]:
    before = f"{word} " if word else ""
    return [
        line
        for name, function in functions.items()
        for line in (
            *_docs(function.docs),
            f"{before}{function_signature(name, function, local)};",
        )
    ]


def _type_lines(body: Body) -> list[str]:
    lines: list[str] = []
    for name, wit in body.types.items():
        match wit:
            case ResourceType(interface=interface) | NamedType(interface=interface) if (
                interface != body.name
            ):
                renamed = "" if wit.name == name else f" as {identifier(name)}"
                home = _seen_from(body.name, interface)
                lines.append(f"use {home}.{{{identifier(wit.name)}{renamed}}};")
            case ResourceType(name=defined) if defined == name:
                lines += _resource_lines(name, body)
            case NamedType(name=defined, target=target) if defined == name:
                lines += _definition(name, target, body.local)
            case _:
                lines.append(f"type {identifier(name)} = {type_text(wit, body.local)};")
    return lines


def _definition(name: str, target: WitType, local: LocalNames) -> list[str]:
    match target:
        case RecordType() | VariantType() | EnumType() | FlagsType():
            members = [f"{line}," for line in member_lines(target, local)]
            return [f"{keyword_of(target)} {identifier(name)} {{", *_indented(members), "}"]
        case _:
            return [f"type {identifier(name)} = {type_text(target, local)};"]


def _resource_lines(name: str, body: Body) -> list[str]:
    """Return a resource with its functions, which the binary names `[method]name.function`."""
    lines: list[str] = []
    for full_name, function in body.functions.items():
        kind, _, rest = full_name.removeprefix("[").partition("]")
        owner, _, plain = rest.partition(".")
        if full_name.startswith("[") and owner == name:
            lines += _docs(function.docs)
            lines.append(_member(kind, plain, function, body.local))
    if not lines:
        return [f"resource {identifier(name)};"]
    return [f"resource {identifier(name)} {{", *_indented(lines), "}"]


def _member(kind: str, name: str, function: Function, local: LocalNames) -> str:
    if kind == "constructor":
        # A constructor that can fail says so; a plain one does not name what it makes.
        match function.result:
            case None | OwnType():
                result = ""
            case made:
                result = f" -> {type_text(made, local)}"
        return f"constructor({parameters(function.params, local)}){result};"
    if kind == "static":
        return f"{identifier(name)}: static {function_type(function, local)};"
    method = Function(
        params=function.params[1:], result=function.result, is_async=function.is_async
    )
    return f"{function_signature(name, method, local)};"


def _docs(text: str) -> list[str]:
    return [f"/// {line}".rstrip() for line in text.splitlines()]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"{_INDENT}{line}" if line else line for line in lines]
