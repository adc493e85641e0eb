"""How two manifests of one deployment differ, field by field, in the manifest's own terms.

Pure: it compares plain maps and lists, and never reads a file or asks anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_Join = Callable[[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field: `before` is None when it is added, `after` when it is removed."""

    path: str  # `components[rank].image`
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return what has to change to come from one manifest to the other, in the order of `after`.

    Items of a list are matched by their `name`; lists of nameless items by position.
    """
    return tuple(_compare("", before, after))


def _compare(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _maps(path, before, after, _field)
    elif _is_list(before) and _is_list(after):
        old, new = _keyed(before), _keyed(after)
        yield from _maps(path, old, new, lambda at, key: f"{at}[{key}]")
    elif before != after:
        yield Difference(path=path, kind="changed", before=before, after=after)


def _maps(
    path: str, before: Mapping[str, Any], after: Mapping[str, Any], join: _Join
) -> Iterator[Difference]:
    for key in (*after, *(key for key in before if key not in after)):
        at = join(path, key)
        if key not in before:
            yield Difference(path=at, kind="added", after=after[key])
        elif key not in after:
            yield Difference(path=at, kind="removed", before=before[key])
        else:
            yield from _compare(at, before[key], after[key])


def _field(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _keyed(values: Sequence[Any]) -> dict[str, Any]:
    """Return the items by name where all have different names, else by position."""
    names = [str(value.get("name", "")) if isinstance(value, Mapping) else "" for value in values]
    if all(names) and len(set(names)) == len(names):
        return dict(zip(names, values, strict=True))
    return {str(position): value for position, value in enumerate(values)}
