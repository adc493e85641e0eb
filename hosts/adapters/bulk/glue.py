"""Core code of the bulk shim: for each function, what turns its bytes into frames and back.

A function's framed and original type have the same core signature, so the glue calls the one with
what it got for the other, after exchanging address and size of each `list<u8>` in the parameters;
then it does the same in the result. Text only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hosts.adapters.bulk.abi import (
    FLAT_PARAMS_MAX,
    FLAT_RESULTS_MAX,
    Cases,
    cases_of,
    discriminant_load,
    element_of,
    flat_types,
    member_offsets,
    members_of,
    payload_offset,
    size_and_align,
)
from hosts.adapters.bulk.framing import carries_bytes, is_bytes
from lattice.component.types import Function, TupleType, WitType


@dataclass(frozen=True, slots=True)
class CoreType:
    """The core signature on both sides: `params` without, `has_area` with the result's address."""

    params: Sequence[str]
    result: str | None
    has_area: bool  # the callee writes the result where a last parameter says

    @property
    def lowered(self) -> str:
        """Return the signature of the function that is called."""
        params = [*self.params, "i32"] if self.has_area else self.params
        return _words("param", params) + _words("result", self._results(is_lowered=True))

    @property
    def lifted(self) -> str:
        """Return the signature of the function that calls."""
        named = " ".join(f"(param $p{index} {core})" for index, core in enumerate(self.params))
        return f"{named} " + _words("result", self._results(is_lowered=False))

    @property
    def post(self) -> str:
        """Return the signature of what runs after the result was read."""
        return _words("param", self._results(is_lowered=False))

    def _results(self, *, is_lowered: bool) -> Sequence[str]:
        if self.has_area:
            return () if is_lowered else ("i32",)
        return (self.result,) if self.result else ()


def core_type(function: Function) -> CoreType:
    """Return the core signature of a function (Canonical ABI, flattening)."""
    params = [core for _, wit in function.params for core in flat_types(wit)]
    if len(params) > FLAT_PARAMS_MAX:
        params = ["i32"]
    results = flat_types(function.result) if function.result is not None else []
    if len(results) > FLAT_RESULTS_MAX:
        return CoreType(params, None, has_area=True)
    return CoreType(params, results[0] if results else None, has_area=False)


def glue_function(
    name: str, function: Function, *, params: str, result: str, drops: Mapping[int, str]
) -> str:
    """Return a core function and its post-return, `post-NAME`.

    `function` is the original type. `params` and `result` say what happens to bytes on the way in
    and on the way out: `encode` or `decode`. `drops` has for each core parameter that is a
    borrowed handle the function that drops it.
    """
    core = core_type(function)
    writer = _Writer()
    types = [wit for _, wit in function.params]
    spilled = sum(len(flat_types(wit)) for wit in types) > FLAT_PARAMS_MAX
    lines = (
        writer.in_memory(TupleType(tuple(types)), "$p0", 0, params)
        if spilled
        else writer.in_params(types, core.params, 0, params)
    )
    dropped = [f"(call {drop} (local.get $p{index}))" for index, drop in drops.items()]
    given = " ".join(f"(local.get $p{index})" for index in range(len(core.params)))
    if function.result is not None and core.has_area:
        size, align = size_and_align(function.result)
        area = writer.local()
        lines += [
            f"(local.set {area} (call $realloc (i32.const 0) (i32.const 0)",
            f"  (i32.const {align}) (i32.const {size})))",
            f"(call ${name} {given} (local.get {area}))",
            *dropped,
            *writer.in_memory(function.result, area, 0, result),
            f"(local.get {area})",
        ]
    else:
        # A result of one core value stays on the stack.
        lines += [f"(call ${name} {given})", *dropped]
    body = "\n".join([*writer.locals, *lines])
    return (
        f'(func (export "{name}") {core.lifted}\n{body})\n'
        f'(func (export "post-{name}") {core.post} (call $reset))'
    )


class _Writer:
    """Writes the statements that exchange spans, and declares the locals that they use."""

    def __init__(self) -> None:
        self.locals: list[str] = []

    def local(self) -> str:
        name = f"$s{len(self.locals)}"
        self.locals.append(f"(local {name} i32)")
        return name

    def in_memory(self, wit: WitType, base: str, offset: int, how: str) -> list[str]:
        """Return what exchanges the spans of a value that lies at `base` + `offset`."""
        if not carries_bytes(wit):
            return []
        if is_bytes(wit):
            return [f"(call ${how}_at (i32.add (local.get {base}) (i32.const {offset})))"]
        members = members_of(wit)
        if members is not None:
            return [
                line
                for each, start in zip(members, member_offsets(members), strict=True)
                for line in self.in_memory(each, base, offset + start, how)
            ]
        cases = cases_of(wit)
        if cases is not None:
            found = f"({discriminant_load(cases)} offset={offset} (local.get {base}))"
            start = offset + payload_offset(cases)
            return self._cases(
                found, cases, lambda payload: self.in_memory(payload, base, start, how)
            )
        element = element_of(wit)
        assert element is not None, f"{type(wit).__name__} cannot carry bytes"
        address = f"(i32.load offset={offset} (local.get {base}))"
        count = f"(i32.load offset={offset + 4} (local.get {base}))"
        return self._loop(address, count, element, how)

    def in_params(
        self, types: Sequence[WitType], params: Sequence[str], first: int, how: str
    ) -> list[str]:
        """Return what exchanges the spans in the core parameters from `first` on."""
        lines: list[str] = []
        for wit in types:
            lines += self._in_param(wit, params, first, how)
            first += len(flat_types(wit))
        return lines

    def _in_param(self, wit: WitType, params: Sequence[str], first: int, how: str) -> list[str]:
        if not carries_bytes(wit):
            return []
        if is_bytes(wit):
            address, size = self.local(), self.local()
            return [
                f"(call ${how} {_get(params, first)} {_get(params, first + 1)})",
                f"(local.set {size}) (local.set {address})",
                _set(params, first, address),
                _set(params, first + 1, size),
            ]
        members = members_of(wit)
        if members is not None:
            return self.in_params(members, params, first, how)
        cases = cases_of(wit)
        if cases is not None:
            return self._cases(
                _get(params, first),
                cases,
                lambda payload: self._in_param(payload, params, first + 1, how),
            )
        element = element_of(wit)
        assert element is not None, f"{type(wit).__name__} cannot carry bytes"
        return self._loop(_get(params, first), _get(params, first + 1), element, how)

    def _cases(self, found: str, cases: Cases, inner: Callable[[WitType], list[str]]) -> list[str]:
        lines: list[str] = []
        for number, payload in enumerate(cases):
            if payload is not None and carries_bytes(payload):
                lines += [
                    f"(if (i32.eq {found} (i32.const {number})) (then",
                    *inner(payload),
                    "))",
                ]
        return lines

    def _loop(self, address: str, count: str, element: WitType, how: str) -> list[str]:
        at, end = self.local(), self.local()
        size, _ = size_and_align(element)
        done, again = f"$done{at[1:]}", f"$again{at[1:]}"
        return [
            f"(local.set {at} {address})",
            f"(local.set {end} (i32.add (local.get {at}) (i32.mul {count} (i32.const {size}))))",
            f"(block {done} (loop {again}",
            f"(br_if {done} (i32.ge_u (local.get {at}) (local.get {end})))",
            *self.in_memory(element, at, 0, how),
            f"(local.set {at} (i32.add (local.get {at}) (i32.const {size})))",
            f"(br {again})))",
        ]


def _get(params: Sequence[str], index: int) -> str:
    text = f"(local.get $p{index})"
    # A case of another type may have made the parameter wider (Canonical ABI, `join`).
    return f"(i32.wrap_i64 {text})" if params[index] == "i64" else text


def _set(params: Sequence[str], index: int, local: str) -> str:
    text = f"(local.get {local})"
    wide = f"(i64.extend_i32_u {text})" if params[index] == "i64" else text
    return f"(local.set $p{index} {wide})"


def _words(word: str, types: Sequence[str]) -> str:
    return f"({word} {' '.join(types)})" if types else ""
