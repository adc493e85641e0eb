"""The checks across the fields of a manifest that steer the scheduler: wishes nobody can meet.

As `manifest_checks` they work on the document as it stands, so that a person sees all faults at
once. What has the wrong type is skipped here: the reader has reported it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lattice.errors import InvalidError
from lattice.model import quantity
from lattice.model.labels import Selector, parse_selector
from lattice.model.scalar import Faults
from lattice.model.scheduling import Update
from lattice.model.schema import child

Map = Mapping[object, object]

COUNTS = ("replicas", "daemon", "singleton", "scale", "job")
"""The fields that say how many replicas there are; at most one of them is given."""


def check_scheduling(document: object, faults: Faults) -> None:
    """Add a fault for each wish of a manifest that contradicts itself or another one."""
    if not isinstance(document, Mapping):
        return
    _check_counts(document, faults)
    _check_job(document, faults)
    for name in ("ready", "live"):
        if isinstance(probe := document.get(name), Mapping):
            _check_one_of(probe, ("export", "http"), name, faults)
    placement = _map(document, "placement")
    _check_required(_map(placement, "require"), faults)
    _check_preferences(placement, document.get("name"), faults)
    _check_neighbours(placement, document.get("name"), faults)
    _check_tolerations(placement, faults)
    keys = [(path, entry.get("key")) for path, entry in _entries(placement, "spread", "placement")]
    _check_once(keys, faults)
    if placement.get("preempt") == "lower" and not placement.get("priority", 0):
        faults.add("placement.preempt", "needs a `priority` above 0: there is nothing lower to it")
    _check_update(_map(document, "update"), faults)


def contradiction(selectors: Sequence[Selector]) -> str | None:
    """Return why no labels meet all selectors, or None if some do.

    With an `in` its values are tried; otherwise presence and the bounds of numbers decide.
    """
    for key in dict.fromkeys(selector.key for selector in selectors):
        mine = [selector for selector in selectors if selector.key == key]
        listed = next((each for each in mine if each.operator == "in"), None)
        if listed is not None:
            is_open = any(
                all(each.refusal({key: value}) is None for each in mine) for value in listed.values
            )
        else:
            is_open = _is_open(mine)
        if not is_open:
            return f"no host can meet {' and '.join(repr(str(each)) for each in mine)}"
    return None


def _is_open(selectors: Iterable[Selector]) -> bool:
    operators = {selector.operator for selector in selectors}
    if "absent" in operators and operators & {"exists", ">", "<"}:
        return False
    low = [int(each.values[0]) for each in selectors if each.operator == ">"]
    high = [int(each.values[0]) for each in selectors if each.operator == "<"]
    return not (low and high) or max(low) + 1 < min(high)


# --- how many -----------------------------------------------------------------------------


def _check_counts(document: Map, faults: Faults) -> None:
    given = [name for name in COUNTS if name in document and document[name] is not False]
    for name in given[1:]:
        allowed = f"{', '.join(COUNTS[:-1])} and {COUNTS[-1]}"
        faults.add(name, f"stands beside `{given[0]}`; at most one of {allowed} is given")
    scale = _map(document, "scale")
    _check_order(scale, "min", "max", "scale", faults)
    per_host = _number(_map(document, "daemon"), "perHost")
    highest = _number(_map(document, "placement"), "maxPerHost")
    if per_host is not None and highest and per_host > highest:
        faults.add("daemon.perHost", f"is {per_host}, more than placement.maxPerHost {highest}")


def _check_job(document: Map, faults: Faults) -> None:
    if not isinstance(document.get("job"), Mapping):
        return
    services = _entries(document, "services")
    if not services:
        faults.add("job", "needs a service that runs by itself and ends (it exports wasi:cli/run)")
    for path, service in services:
        if _map(service, "restart").get("policy") == "always":
            at = child(child(path, "restart"), "policy")
            faults.add(at, "a service of a job must end, expected on-failure or never")
    for name in ("ready", "live"):
        if name in document:
            faults.add(name, "a job takes no calls, it has no probes")


# --- where --------------------------------------------------------------------------------


def _check_required(require: Map, faults: Faults) -> None:
    path = "placement.require.labels"
    if fault := contradiction(_selectors(require.get("labels"))):
        faults.add(path, fault)
    for path, device in _entries(require, "devices", "placement.require"):
        if "count" in device and "share" in device:
            faults.add(child(path, "share"), "stands beside `count`; give whole devices or a share")


def _check_preferences(placement: Map, own: object, faults: Faults) -> None:
    for path, entry in _entries(placement, "prefer", "placement"):
        _check_one_of(entry, ("labels", "near", "apart"), path, faults)
        if entry.get("weight") == 0 and not isinstance(entry.get("weight"), bool):
            faults.add(child(path, "weight"), "a weight of 0 counts nothing")
        for name in ("near", "apart"):
            if own is not None and entry.get(name) == own:
                wanted = "expected another; `spread` is for its own replicas"
                faults.add(child(path, name), f"names this deployment itself, {wanted}")
        if "labels" in entry and "topology" in entry:
            faults.add(child(path, "topology"), "goes with `near` or `apart`")
        labels = entry.get("labels")
        selectors = _selectors(labels if isinstance(labels, list | tuple) else [labels])
        if fault := contradiction(selectors):
            faults.add(child(path, "labels"), fault)


def _check_neighbours(placement: Map, own: object, faults: Faults) -> None:
    first: dict[object, str] = {}
    for name in ("together", "apart"):
        listed = placement.get(name)
        for index, other in enumerate(listed if isinstance(listed, list | tuple) else ()):
            path = f"placement.{name}[{index}]"
            if not isinstance(other, str):
                continue
            if other == own:
                faults.add(path, "names this deployment itself, expected another")
            elif other in first:
                faults.add(path, f"{other[:80]!r} stands at {first[other]} already")
            first.setdefault(other, path)


def _check_tolerations(placement: Map, faults: Faults) -> None:
    listed = placement.get("tolerate")
    for index, text in enumerate(listed if isinstance(listed, list | tuple) else ()):
        if any(selector.operator == "absent" for selector in _selectors([text])):
            path = f"placement.tolerate[{index}]"
            faults.add(path, f"{text!r} tolerates no taint, expected a key or `key = value`")


# --- how it is replaced -------------------------------------------------------------------


def _check_update(update: Map, faults: Faults) -> None:
    default = Update()
    strategy = update.get("strategy", default.strategy)
    surge = update.get("maxSurge", default.surge_max)
    unavailable = update.get("maxUnavailable", default.unavailable_max)
    if strategy != "recreate" and surge == unavailable == 0:
        faults.add("update.maxSurge", "is 0 as maxUnavailable is, so nothing could be replaced")
    if "canary" in update and strategy != "canary":
        faults.add("update.canary", f"goes with the strategy canary, found {str(strategy)[:80]}")
    ready_s = _duration(update, "minReady", default.ready_min_s)
    deadline_s = _duration(update, "progressDeadline", default.progress_deadline_s)
    if ready_s is not None and deadline_s is not None and ready_s >= deadline_s:
        found = f"{quantity.format_duration(ready_s)} of {quantity.format_duration(deadline_s)}"
        faults.add("update.minReady", f"leaves no time of progressDeadline: {found}")


# --- reading the document -----------------------------------------------------------------


def _check_one_of(entry: Map, names: Sequence[str], path: str, faults: Faults) -> None:
    given = [name for name in names if name in entry]
    if len(given) == 1:
        return
    found = f"found {' and '.join(given)}" if given else "found none of them"
    faults.add(path, f"expected one of {', '.join(names)}, {found}")


def _check_order(entry: Map, low: str, high: str, path: str, faults: Faults) -> None:
    least, most = _number(entry, low), _number(entry, high)
    if least is not None and most is not None and least > most:
        faults.add(child(path, low), f"is {least}, more than {high} {most}")


def _check_once(keys: Iterable[tuple[str, object]], faults: Faults) -> None:
    first: dict[str, str] = {}
    for path, key in keys:
        if isinstance(key, str):
            if key in first:
                faults.add(child(path, "key"), f"{key[:80]!r} stands at {first[key]} already")
            first.setdefault(key, path)


def _map(entry: Map, key: str) -> Map:
    value = entry.get(key)
    return value if isinstance(value, Mapping) else {}


def _entries(entry: Map, key: str, path: str = "") -> list[tuple[str, Map]]:
    value = entry.get(key)
    if not isinstance(value, list | tuple):
        return []
    at = child(path, key)
    return [(f"{at}[{i}]", each) for i, each in enumerate(value) if isinstance(each, Mapping)]


def _number(entry: Map, key: str) -> int | None:
    value = entry.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _duration(entry: Map, key: str, default_s: float) -> float | None:
    if key not in entry:
        return default_s
    try:
        return quantity.parse_duration(entry[key])
    except InvalidError:
        return None


def _selectors(texts: object) -> list[Selector]:
    found: list[Selector] = []
    for text in texts if isinstance(texts, list | tuple) else ():
        if isinstance(text, str):
            try:
                found.append(parse_selector(text))
            except InvalidError:
                continue
    return found
