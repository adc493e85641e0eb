"""The words of `lattice serve`, as values: where requests come in, and what the component sees."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from lattice.cli.arguments import Assignments, assignments
from lattice.cli.granting import Hosts, Mounts, http_grants, mounts
from lattice.cli.options import Bytes, Output, Seconds
from lattice.cli.output import print_json_line, printable
from lattice.cli.process import certificate_directory
from lattice.errors import InvalidError

if TYPE_CHECKING:
    from hosts.engine.base import World
    from hosts.http.tls import Certificate
    from hosts.serving import SiteOptions

PORT = 8080

MEMORY_BYTES = 256 * 1024**2
"""Memory of an instance when nobody says, as in a manifest: there are as many as requests."""

DEADLINE_S = 60.0
"""Seconds for a request when nobody says: as long as most proxies wait."""

CONCURRENCY = 128
"""Requests at work when nobody says: each has an instance, of some megabytes in Python."""

WAITING_MAX = 1000
"""Requests that wait for others to end: as many as the server takes at once."""

TOLD_MAX = 32
"""Missing values of configuration that are told: a component may ask for any number of names."""

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

log = logging.getLogger(__name__)
guest_log = logging.getLogger("guest")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """Where requests come in, and what is said about it."""

    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = PORT
    """TCP port; 0 takes any free one, which is printed."""

    bind: str = "127.0.0.1"
    """Address of this machine; 0.0.0.0 or :: for all of them, which others can reach."""

    tls: bool = False
    """Take requests over HTTPS; without files, with a certificate for localhost made here."""

    certificate: Path | None = None
    """PEM file with the certificate and its chain; read again when it changes."""

    key: Path | None = None
    """PEM file with the key of the certificate; that of the certificate by default."""

    access_log: bool = False
    """Log a line for each request; else only for those that fail."""

    output: Output = "table"
    """Form of what is printed when requests can come: for people, or for programs."""

    @property
    def address(self) -> str:
        """Return the address without the brackets that URLs have around one of IPv6."""
        return self.bind.removeprefix("[").removesuffix("]")

    @property
    def is_encrypted(self) -> bool:
        """Tell whether requests come over HTTPS."""
        return self.tls or self.certificate is not None

    def check(self) -> None:
        """Return when the options fit together.

        Raises:
            InvalidError: they do not.
        """
        if self.key is not None and self.certificate is None:
            raise InvalidError("--key needs --certificate")

    def load_certificate(self) -> Certificate | None:
        """Return what HTTPS needs, made if nobody gave it; None for plain HTTP.

        Raises:
            InvalidError: the files cannot be used.
            DeniedError: what was made here can be read by others, or not by us.
        """
        if self.certificate is not None:
            from hosts.http.tls import Certificate

            return Certificate(self.certificate, self.key or self.certificate)
        if self.tls:
            from hosts.http.certificates import LocalCertificate

            return LocalCertificate(certificate_directory())
        return None

    def words(self) -> Iterator[str]:
        """Yield the options that give another process the same, but for the port and the output."""
        yield f"--bind={self.bind}"
        if self.tls:
            yield "--tls"
        if self.certificate is not None:
            yield f"--certificate={self.certificate}"
        if self.key is not None:
            yield f"--key={self.key}"
        if self.access_log:
            yield "--access-log"

    def tell(self, file: Path, port: int, *, workers: int = 1) -> None:
        """Print where requests can come."""
        scheme = "https" if self.is_encrypted else "http"
        host = f"[{self.address}]" if ":" in self.address else self.address
        url = f"{scheme}://{host}:{port}"
        authority = None
        if self.is_encrypted and self.certificate is None:
            from hosts.http.certificates import AUTHORITY_FILE

            authority = certificate_directory() / AUTHORITY_FILE
        if self.output == "table":
            trusting = f", to clients that trust {authority}" if authority else ""
            by = f" with {workers} workers" if workers > 1 else ""
            print(f"{file} answers at {url}{by}{trusting}", flush=True)
            return
        facts = {"url": url, "address": self.address, "port": port, "file": str(file),
                 "workers": workers, "pid": os.getpid()}  # fmt: skip
        print_json_line(facts | ({"authority": str(authority)} if authority else {}))


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the component sees of this machine, and what it may take."""

    env: Assignments | None = None
    """Environment variable for the component; may be repeated."""

    mount: Mounts | None = None
    """Directory of this machine that the component sees as GUEST; may be repeated."""

    config: Assignments | None = None
    """Value in wasi:config for the component; may be repeated."""

    allow_host: Hosts | None = None
    """Where the component may send requests over HTTP; may be repeated."""

    memory: Annotated[Bytes, Parameter(show_default=lambda b: f"{b >> 20}Mi")] = MEMORY_BYTES
    """Memory that an instance may take; there are as many as requests at work."""

    deadline: Annotated[Seconds, Parameter(validator=validators.Number(gt=0))] = DEADLINE_S
    """How long a request may take, its bodies included."""

    concurrency: Annotated[int, Parameter(validator=validators.Number(gte=1))] = CONCURRENCY
    """Requests at work at once, in each worker; up to a thousand more wait."""

    fresh: bool = False
    """Give each request an instance of its own: the default."""

    reuse: bool = False
    """Keep instances warm and give them one request after the other."""

    def check(self) -> None:
        """Return when the options can be used.

        Raises:
            InvalidError: they contradict each other, or what is mounted is no directory.
        """
        if self.fresh and self.reuse:
            raise InvalidError("--fresh and --reuse exclude each other")
        directories = mounts(self.mount or ()).values()
        if faults := [f"{each.path}" for each in directories if not each.path.is_dir()]:
            raise InvalidError("what is mounted must be directories, and these are none", faults)

    def options(self, name: str) -> SiteOptions:
        """Return what the component is served with."""
        from hosts.serving import SiteOptions
        from lattice.model.deployment import Limits

        return SiteOptions(
            world=self._world(name),
            mode="reuse" if self.reuse else "fresh",
            limits=Limits(
                deadline_s=self.deadline, concurrency=self.concurrency, queue=WAITING_MAX
            ),
        )

    def words(self) -> Iterator[str]:
        """Yield the options that give another process the same."""
        for name in ("env", "mount", "config", "allow_host"):
            for word in getattr(self, name) or ():
                yield f"--{name.replace('_', '-')}={word}"
        yield f"--memory={self.memory}"
        yield f"--deadline={self.deadline}s"
        yield f"--concurrency={self.concurrency}"
        if self.reuse:
            yield "--reuse"

    def _world(self, name: str) -> World:
        from hosts.engine.base import World
        from lattice.model.network import Network

        return World(
            env=assignments(self.env or ()),
            args=(name,),
            directories=mounts(self.mount or ()),
            config=Configured(assignments(self.config or ())),
            memory_bytes_max=self.memory,
            network=Network(http=http_grants(self.allow_host or ())),
            log=_tell,
        )


HERE = Entrance()
NOTHING = Sight()


class Configured(Mapping[str, str]):
    """Values of configuration that tell, once for each name, when one is asked for in vain."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._told: set[str] = set()

    def __getitem__(self, name: str) -> str:
        with suppress(KeyError):
            return self._values[name]
        if name not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(name)
            log.warning("the component asks for %r of wasi:config, which has no value: "
                        "--config NAME=VALUE gives it one", name[:100])  # fmt: skip
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@Parameter(name="*", show=False)
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a worker is told besides its duty."""

    worker: Annotated[int | None, Parameter(show=False)] = None
    """Its number."""

    bodies: Annotated[Path | None, Parameter(show=False)] = None
    """Directory with the components as they were when the supervisor started."""

    spread: Annotated[int, Parameter(show=False)] = 0
    """How many workers hand connections to each other; 0: the system spreads them."""


ALONE = Place()


def body_path(directory: Path, number: int) -> Path:
    """Return where the supervisor keeps a component for its workers."""
    return directory / f"{number}.wasm"


def _tell(level: str, line: str) -> None:
    guest_log.log(_LEVELS.get(level, logging.INFO), "%s", printable(line))
