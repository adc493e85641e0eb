"""Which devices of a host can be granted to a replica, which ones are, and why none will do.

The rule for devices: exact, in thousandths and bytes of each single device, so that two shares of
600 never count as fitting a device, nor halves of two devices as one whole. What different requests
of a replica are granted are different devices. It says nothing about which host is best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lattice.model.expression import Attribute
from lattice.model.expression_reading import parse_expression
from lattice.model.host import Device
from lattice.model.quantity import format_size
from lattice.model.scheduling import DeviceRequest
from lattice.wire.messages import DeviceGrant

WHOLE_MILLI = 1000
"""Thousandths of a device."""

REASONS_MAX = 3
"""Distinct texts about devices that will not do, in one refusal."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the replicas of a host hold of one device."""

    milli: int = 0
    memory_bytes: int = 0


NOTHING = Taken()


@dataclass(frozen=True, slots=True)
class DeviceLack:
    """Why one replica more gets no devices. `free` is what the best device has left: thousandths of
    it, or whole devices, or bytes; it grows as replicas leave. It is 0 where too few devices are of
    the kind that was asked for. One that `is_standing` stays whoever leaves."""

    text: str
    free: int = 0
    is_standing: bool = False


def taken_of(grants: Iterable[DeviceGrant]) -> dict[str, Taken]:
    """Return by id what grants take of each device, devices without a grant left out."""
    taken: dict[str, Taken] = {}
    for grant in grants:
        before = taken.get(grant.device, NOTHING)
        taken[grant.device] = Taken(
            before.milli + grant.share_milli, before.memory_bytes + grant.memory_bytes
        )
    return taken


def needed_milli(request: DeviceRequest) -> int:
    """Return the thousandths that a request takes of each device: all of one that is not shared."""
    if request.count or request.is_exclusive or not request.share_milli:
        return WHOLE_MILLI
    return request.share_milli


def needed_devices(request: DeviceRequest) -> int:
    """Return how many devices a request takes."""
    return request.count or 1


def attributes_of(device: Device) -> dict[str, Attribute]:
    """Return what expressions may ask of a device; what it does not know of itself is missing.

    Its own attributes never hide those that every device has.
    """
    found: dict[str, Attribute] = dict(device.attributes)
    found |= {"class": device.kind, "software": device.is_software}
    found |= {"healthy": device.is_healthy, "features": device.features}
    known: dict[str, Attribute] = {
        "vendor": device.vendor, "model": device.model, "memory": device.memory_bytes
    }  # fmt: skip
    return found | {name: value for name, value in known.items() if value}


def unsuited(request: DeviceRequest, device: Device) -> str | None:
    """Return why a device is not of the kind that is asked for, or None if it is.

    Raises:
        InvalidError: the request has an expression that was not validated.
    """
    if device.kind != request.kind:
        return f"of class {device.kind}"
    if not device.is_healthy:
        return "unhealthy"
    if device.is_software and not request.allows_software:
        return "software adapters"
    if request.require:
        text = parse_expression(request.require).refusal(attributes_of(device))
        if text is not None:
            return text
    if request.memory_bytes > device.memory_bytes:
        has, needs = format_size(device.memory_bytes), format_size(request.memory_bytes)
        return f"with {has} of memory, needs {needs}"
    return None


def lack_of_devices(
    requests: Sequence[DeviceRequest], devices: Sequence[Device], taken: Mapping[str, Taken]
) -> DeviceLack | None:
    """Return why one replica more gets no devices, or None if it gets them."""
    if not requests or choose(requests, devices, taken) is not None:
        return None
    is_standing = not suffices(requests, devices)
    for request in requests:
        if (lack := _lack(request, devices, taken)) is not None:
            return replace(lack, is_standing=is_standing)
    wanted = sum(map(needed_devices, requests))
    text = f"each request finds devices, but not {wanted} different ones for all"
    return DeviceLack(text, is_standing=is_standing)


def suffices(requests: Sequence[DeviceRequest], devices: Sequence[Device]) -> bool:
    """Tell whether a host has the devices for a replica when all are healthy and nobody else holds
    any."""
    if not requests:
        return True
    healthy = [device if device.is_healthy else replace(device, is_healthy=True)
               for device in devices]  # fmt: skip
    return choose(requests, healthy, {}) is not None


def fitting(
    requests: Sequence[DeviceRequest],
    devices: Sequence[Device],
    taken: Mapping[str, Taken],
    limit: int,
) -> int:
    """Return how many replicas more get their devices, at most `limit`."""
    if not requests:
        return limit
    if len(requests) == 1:
        return min(limit, _fitting_one(requests[0], devices, taken))
    held = dict(taken)
    for count in range(limit):
        grants = choose(requests, devices, held)
        if grants is None:
            return count
        _take(held, grants)
    return limit


def choose(
    requests: Sequence[DeviceRequest],
    devices: Sequence[Device],
    taken: Mapping[str, Taken],
    ordinal: int = 0,
) -> tuple[DeviceGrant, ...] | None:
    """Return what one replica is granted, in the order of the requests; None if too little is left.

    Of the devices that will do, those for which the most preferred expressions hold, then hardware
    before software, then the fullest, then the one with the least memory, then by id. Where a
    device is wanted by two requests, the first takes another one rather than that the second goes
    without: if there is any way to serve all, one is found.
    """
    asking = [request for request in requests for _ in range(needed_devices(request))]
    order = [at for at, request in enumerate(requests) for _ in range(needed_devices(request))]
    wishes = {request: _by_preference(request, devices, taken) for request in set(requests)}
    holder: dict[int, int] = {}  # index of a device -> index of the request that has it

    def serve(index: int, tried: set[int]) -> bool:
        """Find a device for a request, moving others to where they fit too (augmenting path)."""
        for device in wishes[asking[index]]:
            if device not in tried:
                tried.add(device)
                if device not in holder or serve(holder[device], tried):
                    holder[device] = index
                    return True
        return False

    if len(asking) > len(devices) or not all(serve(index, set()) for index in range(len(asking))):
        return None
    chosen = sorted((order[index], devices[at].id, at) for at, index in holder.items())
    return tuple(grant_of(requests[index], devices[at], ordinal) for index, _, at in chosen)


def is_standing(
    requests: Sequence[DeviceRequest], devices: Sequence[Device], grants: Sequence[DeviceGrant]
) -> bool:
    """Tell whether a replica may keep what it was granted: all of it is there and healthy.

    Attributes matter only to new grants, as labels do to new replicas.
    """
    there = {device.id for device in devices if device.is_healthy}
    is_whole = len(grants) == sum(map(needed_devices, requests))
    return is_whole and all(grant.device in there for grant in grants)


def grant_of(request: DeviceRequest, device: Device, ordinal: int = 0) -> DeviceGrant:
    """Return the grant of a device, or of a share of it: with a whole device goes its memory."""
    milli = needed_milli(request)
    is_whole = milli == WHOLE_MILLI
    return DeviceGrant(
        ordinal=ordinal,
        device=device.id,
        share_milli=milli,
        memory_bytes=device.memory_bytes if is_whole else request.memory_bytes,
    )


def preferred(request: DeviceRequest, device: Device) -> int:
    """Return how many of the preferred expressions hold for a device."""
    found = attributes_of(device)
    return sum(parse_expression(text).refusal(found) is None for text in request.prefer)


def _by_preference(
    request: DeviceRequest, devices: Sequence[Device], taken: Mapping[str, Taken]
) -> list[int]:
    """Return the devices that can serve a request now, the best first, as indices."""
    milli = needed_milli(request)
    rated = []
    for index, device in enumerate(devices):
        held = taken.get(device.id, NOTHING)
        free = WHOLE_MILLI - held.milli
        if free < milli or device.memory_bytes - held.memory_bytes < request.memory_bytes:
            continue
        if unsuited(request, device) is None:
            order = (-preferred(request, device), device.is_software, free, device.memory_bytes)
            rated.append((*order, device.id, index))
    return [entry[-1] for entry in sorted(rated)]


def _fitting_one(
    request: DeviceRequest, devices: Sequence[Device], taken: Mapping[str, Taken]
) -> int:
    milli, fits = needed_milli(request), 0
    for device in devices:
        held = taken.get(device.id, NOTHING)
        if unsuited(request, device) is not None:
            continue
        copies = max(WHOLE_MILLI - held.milli, 0) // milli
        if request.memory_bytes:
            free_bytes = max(device.memory_bytes - held.memory_bytes, 0)
            copies = min(copies, free_bytes // request.memory_bytes)
        fits += copies
    return fits // needed_devices(request)


def _lack(
    request: DeviceRequest, devices: Sequence[Device], taken: Mapping[str, Taken]
) -> DeviceLack | None:
    """Return why a request by itself is not served, or None if it is."""
    wanted, milli = needed_devices(request), needed_milli(request)
    if not any(device.kind == request.kind for device in devices):
        return DeviceLack(f"no device of class {request.kind}")
    found = [(device, unsuited(request, device)) for device in devices]
    suited = [device for device, text in found if text is None]
    others = Counter(text for _, text in found if text is not None)
    of = f"{len(suited)} of {len(devices)} devices will do"
    if len(suited) < wanted:
        ordered = sorted(others.items(), key=lambda entry: (-entry[1], entry[0]))
        texts = "; ".join(f"{count} {text}" for text, count in ordered[:REASONS_MAX])
        return DeviceLack(f"{of}, needs {wanted}: {texts}")
    free = {
        device.id: WHOLE_MILLI - taken.get(device.id, NOTHING).milli for device in suited
    }  # fmt: skip
    wide = [device for device in suited if free[device.id] >= milli]
    if len(wide) < wanted and (wanted > 1 or request.count):
        return DeviceLack(f"{of}, {len(wide)} of them free as a whole, needs {wanted}", len(wide))
    if not wide:
        best = max(free.values())
        return DeviceLack(f"{of}, the most free has {best} of {milli} thousandths", best)
    memory = {
        device.id: device.memory_bytes - taken.get(device.id, NOTHING).memory_bytes
        for device in wide
    }
    if sum(size >= request.memory_bytes for size in memory.values()) >= wanted:
        return None
    best = max(memory.values())
    has, needs = format_size(best), format_size(request.memory_bytes)
    return DeviceLack(f"{of}, the most free has {has} of {needs} memory", best)


def _take(held: dict[str, Taken], grants: Iterable[DeviceGrant]) -> None:
    for device, more in taken_of(grants).items():
        before = held.get(device, NOTHING)
        held[device] = Taken(before.milli + more.milli, before.memory_bytes + more.memory_bytes)
