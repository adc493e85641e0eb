"""Taints as words of a command line: `gpu`, `team=search`, `repair:evict`, and `gpu-` to remove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from lattice.model.host import Taint
from lattice.model.labels import RESERVED_PREFIX, VALUE_LENGTH_MAX, key_fault

EVICT = ":evict"
"""What a word ends with when replicas that are there must leave too."""


def taint_of(word: str) -> Taint:
    """Return the taint that a word writes.

    Raises:
        ValueError: its key is malformed or reserved, or its value too long.
    """
    key, _, value = word.removesuffix(EVICT).partition("=")
    if fault := key_fault(key):
        raise ValueError(fault)
    if key.startswith((RESERVED_PREFIX, "lattice/")):
        message = f"{key}: taints under {RESERVED_PREFIX!r} are set by the lattice itself"
        raise ValueError(message)
    if len(value) > VALUE_LENGTH_MAX:
        message = f"{key}: value has {len(value)} characters, at most {VALUE_LENGTH_MAX}"
        raise ValueError(message)
    return Taint(key=key, value=value, evicts=word.endswith(EVICT))


def taint_changes(words: Sequence[str]) -> tuple[list[Taint], list[str]]:
    """Return the taints to set, and the keys to remove (`gpu-`).

    Raises:
        ValueError: a word is neither.
    """
    removed = [word[:-1] for word in words if _removes(word)]
    for key in removed:
        if fault := key_fault(key):
            raise ValueError(fault)
    return [taint_of(word) for word in words if not _removes(word)], removed


def taint_word(taint: Taint) -> str:
    """Return the word that `taint_of` reads as this taint."""
    value = f"={taint.value}" if taint.value else ""
    return f"{taint.key}{value}{EVICT if taint.evicts else ''}"


def _removes(word: str) -> bool:
    return word.endswith("-") and "=" not in word


def _check(_: object, words: Sequence[str] | None) -> None:
    for word in words or ():
        taint_of(word)


TaintWords = Annotated[
    list[str],
    Parameter(validator=_check, consume_multiple=False, metavar="KEY[=VALUE][:evict]"),
]
"""Repeatable `--taint KEY[=VALUE][:evict]`."""
