"""The field `placement` of a manifest: what a replica needs, and which hosts it had better be on.

What several of its fields say together is checked in `manifest_scheduling_checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from lattice.errors import InvalidError
from lattice.model.expression_reading import LENGTH_MAX, parse_expression
from lattice.model.manifest_values import (
    GIB,
    INTERFACE,
    LABEL_KEY,
    NAME,
    SELECTOR,
    SELECTORS,
    size,
    thousandths,
)
from lattice.model.scalar import Choice, Faults, Flag, Integer, Text
from lattice.model.scheduling import (
    WEIGHT_MAX,
    DeviceRequest,
    Placement,
    Preference,
    Spread,
)
from lattice.model.schema import Field, ListOf, Object

PREFERENCES_MAX = 32
"""Preferences of one deployment: each is a term of the score of every host."""

SPREADS_MAX = 8
"""Labels over which one deployment is spread: each is followed for every replica placed."""

NEIGHBOURS_MAX = 32
"""Deployments that one may want together or apart from it."""

DEVICES_MAX = 16
"""Device requests of one replica; a machine has that many devices at most."""

PRIORITY_MAX = 1000

_NONE = Placement()
_MEMORY = size(0, 16 * 1024 * GIB)


def _expression_fault(text: str) -> str | None:
    try:
        parse_expression(text)
    except InvalidError as exc:
        return exc.message
    return None


_EXPRESSION = Text(length_max=LENGTH_MAX, check=_expression_fault)


@dataclass(frozen=True, slots=True)
class _OneOrMany:
    """One selector as a text, or several as a list; always a tuple in the model."""

    def read(self, value: object, path: str, faults: Faults) -> object:
        if isinstance(value, list | tuple):
            return SELECTORS.read(value, path, faults)
        return SELECTORS.read((value,), path, faults)

    def write(self, value: object) -> object:
        written = SELECTORS.write(value)
        return written[0] if isinstance(written, list) and len(written) == 1 else written

    def json(self) -> dict[str, object]:
        return {"anyOf": [SELECTOR.json(), SELECTORS.json()]}


def _make_device(count: int = 1, share_milli: int = 0, **values: object) -> DeviceRequest:
    # Who asks for a share asks for no whole device; who says neither means one.
    wanted = DeviceRequest(count=0 if share_milli else count, share_milli=share_milli)
    return replace(wanted, **values)  # type: ignore[arg-type]  # read by the fields below


def _take_device(device: DeviceRequest) -> Mapping[str, object]:
    values = {each.name: getattr(device, each.name) for each in fields(device)}
    return values | {"count": device.count or 1}


_DEVICE = Object(
    make=_make_device,
    take=_take_device,
    blank=DeviceRequest(),
    fields=(
        Field("class", NAME, "class of the device", "kind"),
        Field("count", Integer(minimum=1, maximum=DEVICES_MAX), "whole devices"),
        Field("share", thousandths(1, 1000), "a part of one device, in place of `count`",
              "share_milli"),
        Field("memory", _MEMORY, "memory of each device granted", "memory_bytes"),
        Field("exclusive", Flag(), "nobody else has a share of the device", "is_exclusive"),
        Field("require", _EXPRESSION, "expression over the device's attributes"),
        Field("prefer", ListOf(item=_EXPRESSION), "expressions; the more hold, the better"),
        Field("software", Flag(), "devices that compute on the CPU will do", "allows_software"),
    ),
)  # fmt: skip
_PREFERENCE = Object(
    make=Preference,
    blank=Preference(weight=0),
    fields=(
        Field("labels", _OneOrMany(), "selectors that the host's labels meet"),
        Field("near", NAME, "deployment in whose domains it had better be"),
        Field("apart", NAME, "deployment in whose domains it had better not be"),
        Field("topology", LABEL_KEY, "label whose values are the domains, or `host`"),
        Field(
            "weight",
            Integer(minimum=-WEIGHT_MAX, maximum=WEIGHT_MAX),
            "how much it counts; below 0 against the host",
            is_required=True,
        ),
    ),
)
_SPREAD = Object(
    make=Spread,
    blank=Spread(key=""),
    fields=(
        Field("key", LABEL_KEY, "label over whose values replicas are spread", is_required=True),
        Field("maxSkew", Integer(minimum=1, maximum=1000), "most minus fewest", "max_skew"),
        Field("hard", Flag(), "rather unplaced than worse", "is_hard"),
        Field(
            "minDomains",
            Integer(minimum=0, maximum=1000),
            "values of the label that must be counted",
            "domains_min",
        ),
    ),
)
_REQUIRED = ("require_labels", "require_interfaces", "cpu_milli", "memory_bytes", "slots",
             "devices")  # fmt: skip
_REQUIRE = Object(
    make=Placement,
    blank=_NONE,
    fields=(
        Field("labels", SELECTORS, "selectors that the host's labels meet", "require_labels"),
        Field(
            "interfaces",
            ListOf(item=INTERFACE),
            "interfaces that the host satisfies, beyond those imported",
            "require_interfaces",
        ),
        Field("cpu", thousandths(0, 1_024_000), "cores that a replica takes", "cpu_milli"),
        Field("memory", _MEMORY, "memory that a replica takes", "memory_bytes"),
        Field("slots", Integer(minimum=1, maximum=1000), "places that a replica takes"),
        Field(
            "devices",
            ListOf(item=_DEVICE, maximum=DEVICES_MAX),
            "devices that a replica is granted",
        ),
    ),
)


def _make_placement(require: Placement = _NONE, **values: object) -> Placement:
    return replace(require, **values)  # type: ignore[arg-type]  # read by the fields below


def _take_placement(placement: Placement) -> Mapping[str, object]:
    values = {each.name: getattr(placement, each.name) for each in fields(placement)}
    required = Placement(**{name: values.pop(name) for name in _REQUIRED})
    return {"require": required, **values}


PLACEMENT = Object(
    make=_make_placement,
    take=_take_placement,
    blank=_NONE,
    fields=(
        Field("require", _REQUIRE, "what a host must have"),
        Field(
            "prefer",
            ListOf(item=_PREFERENCE, maximum=PREFERENCES_MAX),
            "what makes a host better or worse",
        ),
        Field(
            "spread",
            ListOf(item=_SPREAD, maximum=SPREADS_MAX),
            "labels over which replicas are spread",
        ),
        Field(
            "together",
            ListOf(item=NAME, maximum=NEIGHBOURS_MAX),
            "only on hosts with a replica of each of these deployments",
        ),
        Field(
            "apart",
            ListOf(item=NAME, maximum=NEIGHBOURS_MAX),
            "never on a host with one of these deployments, nor they on one with this",
        ),
        Field(
            "maxPerHost",
            Integer(minimum=0, maximum=100_000),
            "replicas of one generation on one host; 0 for any number",
            "per_host_max",
        ),
        Field("tolerate", SELECTORS, "taints of hosts that do not matter"),
        Field("priority", Integer(minimum=0, maximum=PRIORITY_MAX), "the higher, the sooner"),
        Field(
            "preempt",
            Choice(options=("never", "lower")),
            "whether it may drive out what has a lower priority",
        ),
        Field(
            "onLabelChange",
            Choice(options=("keep", "evict")),
            "what happens when a host no longer meets the labels",
            "on_label_change",
        ),
    ),
)
