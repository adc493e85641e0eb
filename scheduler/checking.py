"""Whether a deployment can be used: its images and files, its imports, the types across its links.

All faults of one kind are found before any is reported. Nothing is stored here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import anyio.to_thread

from lattice.bus.base import Objects
from lattice.component.probing import probe_faults
from lattice.component.reader import read_component
from lattice.component.resolution import Resolution
from lattice.component.types import ComponentType
from lattice.component.wiring import resolve
from lattice.errors import IncompatibleError, InvalidError, NotFoundError
from lattice.model.deployment import Component, Deployment, Service
from lattice.model.ids import DeploymentName, Digest, digest_fault
from lattice.model.wit import interface_key
from scheduler.store import ControlStore

TYPES_MAX = 256
"""Component types kept by digest: what a person applies again and again is in there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A deployment that can be used, with all its imports satisfied."""

    deployment: Deployment
    resolution: Resolution
    warnings: list[str]


class Checker:
    """Checks deployments against what is uploaded and what stands; remembers component types."""

    def __init__(self, store: ControlStore, artifacts: Objects) -> None:
        self._store = store
        self._artifacts = artifacts
        self._types: OrderedDict[Digest, ComponentType] = OrderedDict()

    async def check(self, deployment: Deployment) -> Checked:
        """Return a deployment with its imports satisfied.

        Raises:
            InvalidError: images or files are missing or malformed, imports stay open, or probes
                and job do not fit the parts.
            IncompatibleError: types differ between parts, or across a link.
        """
        types = await self._types_of(deployment)
        resolution = resolve(deployment, types)
        if faults := probe_faults(deployment, types, resolution):
            raise InvalidError(f"deployment {deployment.name} cannot be used", faults)
        return Checked(
            deployment=deployment,
            resolution=resolution,
            warnings=await self._check_links(deployment, resolution),
        )

    async def _types_of(self, deployment: Deployment) -> dict[str, ComponentType]:
        faults: list[str] = []
        types: dict[str, ComponentType] = {}
        families: tuple[tuple[str, tuple[Component | Service, ...]], ...] = (
            ("components", deployment.components),
            ("services", deployment.services),
        )
        for family, parts in families:
            for index, part in enumerate(parts):
                try:
                    types[part.name] = await self._type_of(part.image)
                except (InvalidError, NotFoundError) as exc:
                    faults.append(f"{family}[{index}].image: {exc.message}")
        for index, file in enumerate(deployment.files):
            fault = digest_fault(file.source)
            if fault is None and not await self._artifacts.has(Digest(file.source)):
                fault = _not_uploaded(file.source)
            if fault is not None:
                faults.append(f"files[{index}].source: {fault}")
        if faults:
            raise InvalidError(f"deployment {deployment.name} cannot be used", faults)
        return types

    async def _type_of(self, image: str) -> ComponentType:
        if fault := digest_fault(image):
            raise InvalidError(
                f"{fault}; `lattice apply` uploads files and puts their digests here"
            )
        digest = Digest(image)
        if (known := self._types.get(digest)) is not None:
            self._types.move_to_end(digest)
            return known
        try:
            body = await self._artifacts.get(digest)
        except NotFoundError:
            raise NotFoundError(_not_uploaded(image)) from None
        # Reading a large component takes tens of milliseconds; heartbeats must not wait for it.
        found = await anyio.to_thread.run_sync(read_component, body)
        self._types[digest] = found
        if len(self._types) > TYPES_MAX:
            self._types.popitem(last=False)
        return found

    async def _check_links(self, deployment: Deployment, resolution: Resolution) -> list[str]:
        """Compare the types across links with what stands; a missing target is a warning only,
        because deployments that call each other cannot all be the first.
        """
        warnings: list[str] = []
        differences: list[str] = []
        for connection in resolution.connections:
            if (link := connection.link) is None:
                continue
            if link.deployment == deployment.name:
                exposed: Mapping[str, Mapping[str, str]] = resolution.exposed
            else:
                standing = await self._store.deployment(DeploymentName(link.deployment))
                if standing is None or standing.record is None:
                    warnings.append(
                        f"links: {connection.interface} leads to deployment {link.deployment}, "
                        "which does not exist yet; calls fail until it does"
                    )
                    continue
                exposed = standing.record.exposed
            differences += link_differences(link.deployment, link.interface, link.types, exposed)
        if differences:
            raise IncompatibleError(
                f"deployment {deployment.name} does not fit what its links lead to:\n  "
                + "\n  ".join(differences),
                differences=differences,
            )
        return sorted(set(warnings))


def link_differences(
    deployment: str,
    interface: str,
    wanted: Mapping[str, str],
    exposed: Mapping[str, Mapping[str, str]],
) -> list[str]:
    """Return how what a deployment exposes differs from what an import wants, one line each.

    Functions are compared by the fingerprints of their types.
    """
    offered = {interface_key(name): functions for name, functions in exposed.items()}
    functions = offered.get(interface_key(interface))
    if functions is None:
        found = ", ".join(sorted(name or "functions at the root" for name in exposed)) or "nothing"
        return [f"deployment {deployment} does not expose {interface}, it exposes {found}"]
    lines: list[str] = []
    for function, fingerprint in sorted(wanted.items()):
        if function not in functions:
            lines.append(f"deployment {deployment} exposes {interface} without {function!r}")
        elif functions[function] != fingerprint:
            lines.append(
                f"{interface}#{function} has the type {functions[function]} in deployment "
                f"{deployment}, the import wants {fingerprint}; compare with `lattice inspect`"
            )
    return lines


def _not_uploaded(image: str) -> str:
    return f"{image} is not in the lattice; upload it first (`lattice apply` does)"
