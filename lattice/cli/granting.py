"""What guests see of this machine: what a host offers, and what one component is granted at once.

Words of options become values here; no file is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from hosts import inventory
from hosts.engine.base import Directory
from lattice.cli.options import Bytes, CpuMilli
from lattice.cli.tainting import TaintWords, taint_of
from lattice.errors import InvalidError
from lattice.model.egress import parse_http_grant
from lattice.model.host import Capacity, Taint
from lattice.model.ids import name_fault
from lattice.model.network import HttpGrant

READ_ONLY = ":ro"


def granted(words: Sequence[str]) -> dict[str, tuple[Path, bool]]:
    """Return by the grant's name the path, and whether it may be written to.

    Raises:
        ValueError: a word is no grant, or two have one name.
    """
    found: dict[str, tuple[Path, bool]] = {}
    for word in words:
        name, equals, path = word.removesuffix(READ_ONLY).partition("=")
        if not (equals and path):
            message = f"{word!r} is no grant, expected NAME=PATH or NAME=PATH{READ_ONLY}"
            raise ValueError(message)
        if fault := name_fault(name):
            raise ValueError(fault)
        if name in found:
            message = f"the directory {name} is granted twice"
            raise ValueError(message)
        found[name] = (Path(path), not word.endswith(READ_ONLY))
    return found


def _check(_: object, words: Sequence[str] | None) -> None:
    granted(words or ())


GrantWords = Annotated[
    list[str],
    Parameter(validator=_check, consume_multiple=False, metavar="NAME=PATH[:ro]"),
]
"""Repeatable `--grant-directory NAME=PATH[:ro]`."""


def grant_options(words: Sequence[str] | None) -> list[str]:
    """Return the options that give another process the same grants."""
    return [f"--grant-directory={word}" for word in words or ()]


def mounts(words: Sequence[str]) -> dict[str, Directory]:
    """Return by the guest's path what words such as `./data:/data:ro` grant.

    Raises:
        ValueError: a word has no path of the guest, or two name the same.
    """
    found: dict[str, Directory] = {}
    for word in words:
        path, _, guest = word.removesuffix(READ_ONLY).rpartition(":")
        if not (path and guest.startswith("/")):
            message = f"{word!r}, expected HOST:GUEST or HOST:GUEST{READ_ONLY} with GUEST from /"
            raise ValueError(message)
        if guest in found:
            message = f"{guest} is mounted twice"
            raise ValueError(message)
        found[guest] = Directory(Path(path), is_writable=not word.endswith(READ_ONLY))
    return found


def _check_mounts(_: object, words: Sequence[str] | None) -> None:
    mounts(words or ())


Mounts = Annotated[
    list[str],
    Parameter(validator=_check_mounts, consume_multiple=False, metavar="HOST:GUEST[:ro]"),
]
"""Repeatable `--mount HOST:GUEST[:ro]`."""


def http_grants(words: Sequence[str]) -> tuple[HttpGrant, ...]:
    """Return what words such as `https://api.example.com` grant.

    Raises:
        ValueError: some are no grants; each is told.
    """
    grants: list[HttpGrant] = []
    faults: list[str] = []
    for word in words:
        try:
            grants.append(parse_http_grant(word))
        except InvalidError as error:
            faults.append(error.message)
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(grants)


def _check_hosts(_: object, words: Sequence[str] | None) -> None:
    http_grants(words or ())


Hosts = Annotated[
    list[str],
    Parameter(validator=_check_hosts, consume_multiple=False, metavar="[SCHEME://]HOST[:PORTS]"),
]
"""Repeatable `--allow-host [SCHEME://]HOST[:PORTS]`."""


SLOTS_MAX = 10_000
"""Replicas of one host at most, as of a target (`hosts.slots.REPLICAS_MAX`)."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the replicas of a host may take and see of this machine."""

    cpu: CpuMilli | None = None
    """Cores that replicas may take, such as 2 or 500m; what was found by default."""

    memory: Bytes | None = None
    """Memory that replicas may take, such as 512Mi; four fifths of what was found by default."""

    grant_directory: GrantWords | None = None
    """Directory that manifests may name under `directories`; may be repeated."""

    taint: TaintWords | None = None
    """Keeps away replicas that do not tolerate it, such as gpu; may be repeated."""

    slots: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=SLOTS_MAX))] = (
        None
    )
    """How many replicas may run here, 1000 by default."""

    def capacity(self) -> Capacity:
        """Return what replicas may take."""
        found = inventory.capacity(self.cpu, self.memory)
        return found if self.slots is None else replace(found, slots=self.slots)

    def directories(self) -> dict[str, Directory]:
        """Return the directories that are granted, by name.

        Raises:
            InvalidError: a path is no directory.
        """
        found = granted(self.grant_directory or ())
        faults = [f"{path} is no directory" for path, _ in found.values() if not path.is_dir()]
        if faults:
            raise InvalidError("directories cannot be granted", faults)
        return {name: Directory(path.resolve(), w) for name, (path, w) in found.items()}

    def taints(self) -> tuple[Taint, ...]:
        """Return the taints of the host."""
        return tuple(taint_of(word) for word in self.taint or ())

    def words(self) -> list[str]:
        """Return the options that give another process the same grants and taints."""
        taints = [f"--taint={word}" for word in self.taint or ()]
        slots = [] if self.slots is None else [f"--slots={self.slots}"]
        return [*grant_options(self.grant_directory), *taints, *slots]


EVERYTHING = Offer()
"""What is offered unless somebody says so: all that was found, and no directory."""
