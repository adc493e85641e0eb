"""How a process finds its lattice and proves who it is: one value from flags, environment, files.

Each setting is taken from the first of these that has it: flags, environment, the file named by
`--config`, the named or current context, the default. Files are TOML. This module opens no
connection and reads no key: it only says where things are.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from lattice.errors import DeniedError, InvalidError, NotFoundError

DEFAULT_LATTICE = "default"
DEFAULT_SERVERS = ("nats://127.0.0.1:4222",)

FILE_BYTES_MAX = 64 * 1024
"""A file of connection settings has a few lines; a larger one is something else."""

SERVERS_MAX = 64
"""Addresses of one lattice: a cluster has three or five."""

VARIABLES: Final[Mapping[str, str]] = {
    "lattice": "LATTICE_NAME",
    "nats": "LATTICE_NATS",
    "creds": "LATTICE_CREDS",
    "nkey": "LATTICE_NKEY",
    "tls-ca": "LATTICE_TLS_CA",
    "tls-cert": "LATTICE_TLS_CERT",
    "tls-key": "LATTICE_TLS_KEY",
}
"""The settings, by the name that flags (`--tls-ca`) and files (`tls-ca`) use, and the variable."""

CONTEXT_VARIABLE = "LATTICE_CONTEXT"
HOME_VARIABLE = "LATTICE_CONFIG_HOME"

CLIENT_VARIABLE = "LATTICE_NATS_CLIENT"
"""Names the client of NATS that a process uses; see `nats_client`."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # as a deployment's: an RFC 1123 label
_SCHEMES = ("nats", "tls", "ws", "wss")
_CONTEXT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_CURRENT = "current"
_CREDENTIALS = frozenset({"creds", "nkey"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which lattice, where its NATS is, and whose identity to show there. Paths are absolute.

    `origins` tells for each setting that was given where it came from, for people.
    """

    lattice: str = DEFAULT_LATTICE
    servers: tuple[str, ...] = DEFAULT_SERVERS
    creds: Path | None = None
    nkey: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be used.

        Raises:
            InvalidError: every fault is listed, with where the setting came from.
        """
        faults = list(_faults(self))
        if faults:
            raise InvalidError("the settings of the connection cannot be used", faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """The named settings of one person, in one directory; one of them is the current one."""

    directory: Path

    @classmethod
    def of_user(cls, environment: Mapping[str, str] = os.environ) -> Contexts:
        """Return the contexts of whoever runs this process (XDG Base Directory Specification)."""
        if home := environment.get(HOME_VARIABLE):
            return cls(directory=Path(home).absolute())
        base = environment.get("XDG_CONFIG_HOME") or "~/.config"
        return cls(directory=Path(base).expanduser().absolute() / "lattice")

    def names(self) -> tuple[str, ...]:
        """Return the names of all contexts, sorted."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.toml")))

    def current(self) -> str | None:
        """Return the name of the context that was selected, or None."""
        marker = self.directory / _CURRENT
        return _read(marker).decode(errors="replace").strip() if marker.exists() else None

    def load(self, name: str) -> Settings:
        """Return the settings of a context.

        Raises:
            NotFoundError: there is none of that name.
            InvalidError: its file has unknown keys or wrong values.
        """
        return _settings([_from_file(self.read(name), f"context {name}")])

    def read(self, name: str) -> Mapping[str, str]:
        """Return a context's settings as written, by their names. `Raises:` as `load`."""
        return read_file(self._existing(name))

    def save(self, name: str, settings: Settings) -> Path:
        """Write a context, over the one of that name if there is one; return its file.

        Raises:
            InvalidError: the name cannot be the name of a file.
            DeniedError: the directory cannot be written.
        """
        path = self._path(name)
        values: dict[str, object] = {"lattice": settings.lattice, "nats": list(settings.servers)}
        for key in ("creds", "nkey", "tls-ca", "tls-cert", "tls-key"):
            if (value := getattr(settings, key.replace("-", "_"))) is not None:
                values[key] = str(value)
        # A JSON string or list of strings means the same in TOML once DEL is escaped too.
        lines = [
            f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()
        ]
        _write(path, "".join(lines).replace("\x7f", "\\u007f"))
        return path

    def select(self, name: str) -> None:
        """Make a context the current one. `Raises:` as `load` and `save`."""
        self.load(name)
        _write(self.directory / _CURRENT, f"{name}\n")

    def delete(self, name: str) -> None:
        """Remove a context; if it was the current one, none is.

        Raises:
            NotFoundError: there is none of that name.
        """
        path = self._existing(name)
        if self.current() == name:
            (self.directory / _CURRENT).unlink()
        path.unlink()

    @property
    def _folder(self) -> Path:
        return self.directory / "contexts"

    def _existing(self, name: str) -> Path:
        path = self._path(name)
        if not path.exists():
            raise NotFoundError(
                f"there is no context {name!r}{_nearest(name, self.names())}; "
                "'lattice context list' shows all",
                context=name,
            )
        return path

    def _path(self, name: str) -> Path:
        if not _CONTEXT_NAME.fullmatch(name):
            raise InvalidError(
                f"{name!r} cannot name a context: letters, digits, '-', '_' and '.', at most 63"
            )
        return self._folder / f"{name}.toml"


def resolve(
    flags: Mapping[str, str | None],
    *,
    config: Path | None = None,
    context: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings of this process, each from the first source that has it.

    `flags` has the names of `VARIABLES` as keys; None and "" mean that a flag was not given.
    `context` is the flag that names a context. A credential of one source hides the other kind
    of credential in later sources.

    Raises:
        InvalidError: something is unknown or malformed; all faults are listed.
        NotFoundError: the named context or file does not exist.
    """
    if unknown := _unknown(flags):
        raise InvalidError("unknown settings", unknown)
    sources: list[_Source] = [
        {key: (value, f"--{key}") for key, value in flags.items() if value},
        {
            key: (value, variable)
            for key, variable in VARIABLES.items()
            if (value := environment.get(variable))
        },
    ]
    if config is not None:
        sources.append(_from_file(read_file(config), str(config)))
    contexts = Contexts.of_user(environment)
    if name := (context or environment.get(CONTEXT_VARIABLE) or contexts.current()):
        sources.append(_from_file(contexts.read(name), f"context {name}"))
    return _settings(sources)


def read_file(path: Path) -> Mapping[str, str]:
    """Return the settings in a TOML file by their names; paths in it are relative to the file.

    Raises:
        NotFoundError: there is no such file.
        InvalidError: it is no TOML, or has unknown keys or values of a wrong type.
    """
    try:
        content = tomllib.loads(_read(path).decode())
    except ValueError as error:
        raise InvalidError(f"{path} is not TOML: {error}") from None
    faults = _unknown(content)
    values: dict[str, str] = {}
    for key in VARIABLES.keys() & content.keys():
        value = content[key]
        if key == "nats" and isinstance(value, list) and all(isinstance(v, str) for v in value):
            value = ",".join(value)
        if not isinstance(value, str):
            faults.append(f"{key}: found {type(value).__name__}, needs a string")
        elif key in ("lattice", "nats"):
            values[key] = value
        elif value:
            values[key] = str(path.absolute().parent / Path(value).expanduser())
    if faults:
        raise InvalidError(f"{path} has faults", faults)
    return values


_Source = Mapping[str, tuple[str, str]]
"""Settings of one rank by name: the value and where it came from."""


def _from_file(values: Mapping[str, str], origin: str) -> _Source:
    return {key: (value, origin) for key, value in values.items()}


def _settings(sources: Iterable[_Source]) -> Settings:
    values: dict[str, str] = {}
    origins: dict[str, str] = {}
    for source in sources:
        hidden = _CREDENTIALS if values.keys() & _CREDENTIALS else frozenset()
        for key, (value, origin) in source.items():
            if key not in values and key not in hidden:
                values[key] = value
                origins[key] = origin
    paths = {
        key: Path(value).expanduser().absolute()
        for key, value in values.items()
        if key not in ("lattice", "nats")
    }
    if missing := [key for key, path in paths.items() if not path.is_file()]:
        raise InvalidError(
            "files that the settings name do not exist",
            [f"{key} (from {origins[key]}): there is no file {paths[key]}" for key in missing],
        )
    servers = tuple(url.strip() for url in values.get("nats", "").split(",") if url.strip())
    return Settings(
        lattice=values.get("lattice", DEFAULT_LATTICE),
        servers=servers or DEFAULT_SERVERS,
        creds=paths.get("creds"),
        nkey=paths.get("nkey"),
        tls_ca=paths.get("tls-ca"),
        tls_cert=paths.get("tls-cert"),
        tls_key=paths.get("tls-key"),
        origins=origins,
    )


def _faults(settings: Settings) -> Iterator[str]:
    def at(key: str) -> str:
        origin = settings.origins.get(key, "")
        return f"{key} (from {origin})" if origin and origin != f"--{key}" else key

    if not _NAME.fullmatch(settings.lattice):
        yield (
            f"{at('lattice')}: {settings.lattice!r} is not a name: at most 63 lower-case letters, "
            "digits and '-', beginning and ending with a letter or digit"
        )
    if not 0 < len(settings.servers) <= SERVERS_MAX:
        yield f"{at('nats')}: found {len(settings.servers)} addresses, needs 1 to {SERVERS_MAX}"
    for url in settings.servers:
        if fault := url_fault(url):
            yield f"{at('nats')}: {fault}"
    if settings.creds and settings.nkey:
        yield f"{at('creds')} and {at('nkey')}: both given, one identity is used"
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, missing = ("tls-cert", "tls-key") if settings.tls_cert else ("tls-key", "tls-cert")
        yield f"{at(given)}: needs {missing} with it"


def nats_client(environment: Mapping[str, str] = os.environ) -> Literal["muxed", "nats-py"]:
    """Return which client of NATS this process uses: its own, or nats-py for a comparison.

    Raises:
        InvalidError: the variable names another.
    """
    match environment.get(CLIENT_VARIABLE) or "muxed":
        case "muxed":
            return "muxed"
        case "nats-py":
            return "nats-py"
        case other:
            raise InvalidError(f"{CLIENT_VARIABLE}: found {other!r}, needs muxed or nats-py")


def url_fault(url: str) -> str | None:
    """Return why a text is no address of a NATS server, without the password in it, or None."""
    wanted = "needs the form nats://HOST:PORT"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"{_without_password(url)!r} is not an address ({error}), {wanted}"
    if parts.scheme not in _SCHEMES:
        return f"{_without_password(url)!r} begins with none of {', '.join(_SCHEMES)}, {wanted}"
    if not parts.hostname or port == 0 or re.search(r"\s", url):
        return f"{_without_password(url)!r} is not an address, {wanted}"
    return None


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//***@", url)


def _unknown(given: Iterable[str]) -> list[str]:
    return [
        f"{key}: unknown{_nearest(key, VARIABLES)}; known are {', '.join(VARIABLES)}"
        for key in given
        if key not in VARIABLES
    ]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), list(known), n=1)
    return f", nearest is {near[0]!r}" if near else ""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", path=str(path)) from None
    except OSError as error:
        raise DeniedError(f"{path} cannot be read: {error.strerror}", path=str(path)) from None
    if len(content) > FILE_BYTES_MAX:
        raise InvalidError(f"{path} is larger than {FILE_BYTES_MAX} bytes, so it is something else")
    return content


def _write(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, all at once."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        staged.replace(path)
    except OSError as error:
        raise DeniedError(f"{path} cannot be written: {error.strerror}", path=str(path)) from None
