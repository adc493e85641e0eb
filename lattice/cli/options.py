"""What every verb takes: where the lattice is, who asks, and in which form to answer.

Only words of the command line become values here; nothing is opened.
"""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import Group, Parameter, Token

from lattice import config
from lattice.errors import InvalidError, LatticeError
from lattice.model.labels import key_fault
from lattice.model.quantity import parse_cpu, parse_duration, parse_size

if TYPE_CHECKING:
    from lattice.client import LatticeClient

T = TypeVar("T")

_CONNECTION = Group("Connection", sort_key=90)
_FORM = Group("Output", sort_key=91)

Output = Annotated[Literal["table", "json"], Parameter(alias="-o", group=_FORM)]
"""Form of the answer."""


@Parameter(name="*", group=_CONNECTION)
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of every verb."""

    lattice: str | None = None
    """Name of the lattice (variable LATTICE_NAME)."""

    nats: str | None = None
    """Addresses of the NATS servers, separated by commas (variable LATTICE_NATS)."""

    creds: str | None = None
    """File with a NATS user token and its seed (variable LATTICE_CREDS)."""

    nkey: str | None = None
    """File with an nkey seed (variable LATTICE_NKEY)."""

    tls_ca: str | None = None
    """PEM file of the authorities that vouch for the server (variable LATTICE_TLS_CA)."""

    tls_cert: str | None = None
    """PEM file of this client's certificate (variable LATTICE_TLS_CERT)."""

    tls_key: str | None = None
    """PEM file of the key of that certificate (variable LATTICE_TLS_KEY)."""

    config: Path | None = None
    """TOML file with these settings."""

    context: str | None = None
    """Named settings to use in place of the current context (variable LATTICE_CONTEXT)."""

    output: Output = "table"
    """Form of the answer: for people, or for programs."""

    @property
    def is_json(self) -> bool:
        """Tell whether a program reads the answer."""
        return self.output == "json"

    def flags(self) -> dict[str, str | None]:
        """Return the settings that were given as flags, by the names of `config.VARIABLES`."""
        return {name: getattr(self, name.replace("-", "_")) for name in config.VARIABLES}


DEFAULT = Options()
"""What a verb has when no option is given."""


def settings_of(options: Options) -> config.Settings:
    """Return the settings in use. `Raises:` as `config.resolve`."""
    return config.resolve(options.flags(), config=options.config, context=options.context)


@asynccontextmanager
async def client_of(options: Options) -> AsyncIterator[LatticeClient]:
    """Yield a client of the lattice that the options name. `Raises:` as `client.connect`."""
    from lattice.cli.tracing import exporting
    from lattice.client import connect

    with exporting("lattice-cli"):
        async with connect(settings_of(options), client_id=user_name()) as client:
            yield client


async def host_names(client: LatticeClient) -> dict[str, str]:
    """Return the names of hosts by id, as far as they can be learned: they are for people only."""
    try:
        return {host.id: host.name for host in await client.hosts()}
    except LatticeError:
        return {}


def user_name() -> str:
    """Return who runs this, for the record of a submission; `cli` when the system cannot tell."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "cli"


def as_seconds(_: object, tokens: Sequence[Token]) -> float:
    """Return the seconds of a duration option. `Raises:` ValueError, as cyclopts wants it."""
    return _converted(parse_duration, tokens)


def as_bytes(_: object, tokens: Sequence[Token]) -> int:
    """Return the bytes of a size option. `Raises:` ValueError."""
    return _converted(parse_size, tokens)


def as_cpu_milli(_: object, tokens: Sequence[Token]) -> int:
    """Return the thousandths of a core of a cpu option. `Raises:` ValueError."""
    return _converted(parse_cpu, tokens)


Seconds = Annotated[
    float,
    Parameter(converter=as_seconds, metavar="DURATION", show_default=lambda s: f"{s:g}s"),
]
Bytes = Annotated[int, Parameter(converter=as_bytes, metavar="SIZE")]
CpuMilli = Annotated[int, Parameter(converter=as_cpu_milli, metavar="CORES")]


def label_pairs(words: Sequence[str]) -> dict[str, str]:
    """Return the labels that words such as `zone=eu` write.

    Raises:
        ValueError: a word has no `=`, or its key is malformed.
    """
    labels: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            message = f"{word!r} is no label, expected for example zone=eu"
            raise ValueError(message)
        if fault := key_fault(key):
            raise ValueError(fault)
        labels[key] = value
    return labels


def check_labels(_: object, words: Sequence[str] | None) -> None:
    """Refuse words that are no labels, as a validator of cyclopts."""
    label_pairs(words or ())


LabelWords = Annotated[list[str], Parameter(validator=check_labels, consume_multiple=False)]
"""Repeatable `--label k=v`."""


def _converted(parse: Callable[[str], T], tokens: Sequence[Token]) -> T:
    try:
        return parse(tokens[0].value)
    except InvalidError as exc:
        raise ValueError(exc.message) from None
