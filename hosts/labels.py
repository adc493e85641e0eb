"""The labels of a host: which ones it may be given, at its start or later.

Facts that the host finds itself lie under `lattice.`; nobody may set or hide them, because plans
rely on them. Nothing here writes: the agent does.
"""

from __future__ import annotations

from collections.abc import Mapping

from lattice.errors import InvalidError
from lattice.model.labels import KEY_LENGTH_MAX, RESERVED_PREFIX, VALUE_LENGTH_MAX, key_fault
from lattice.wire.requests import LabelChange

LABELS_MAX = 64
"""Labels of one host: they travel in every inventory and are matched by every plan."""


def first_labels(standard: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a host that starts: those it found and those it was given, sorted.

    Raises:
        InvalidError: as `changed_labels`.
    """
    return _changed(standard, LabelChange(set=own), "the host was not started with these labels")


def changed_labels(labels: Mapping[str, str], change: LabelChange) -> dict[str, str]:
    """Return the labels after a change, sorted by key.

    Raises:
        InvalidError: a key or value is malformed, reserved, or there would be too many; all
            faults are listed and nothing is changed.
    """
    return _changed(labels, change, "labels were not changed")


def _changed(labels: Mapping[str, str], change: LabelChange, refusal: str) -> dict[str, str]:
    kept = {key: value for key, value in labels.items() if key not in change.remove}
    changed = dict(sorted({**kept, **change.set}.items()))
    faults = _faults(change)
    if len(changed) > LABELS_MAX:
        faults.append(f"{len(changed)} labels, at most {LABELS_MAX}")
    if faults:
        raise InvalidError(refusal, faults)
    return changed


def _faults(change: LabelChange) -> list[str]:
    faults: list[str] = []
    for key, value in change.set.items():
        if fault := key_fault(key):
            faults.append(fault)
        if len(value) > VALUE_LENGTH_MAX:
            faults.append(
                f"{key[:KEY_LENGTH_MAX]}: value has {len(value)} characters, "
                f"at most {VALUE_LENGTH_MAX}"
            )
    faults += [
        f"{key[:KEY_LENGTH_MAX]}: labels under {RESERVED_PREFIX!r} are set by the host itself"
        for key in (*change.set, *change.remove)
        if key.startswith(RESERVED_PREFIX)
    ]
    return faults
