"""What a project is made of: its components, where their sources lie, and its manifest.

`lattice.toml` says it, or else what lies in the folder does. Nothing is built or changed here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from lattice.errors import InvalidError, NotFoundError
from lattice.model.ids import digest_fault, name_fault
from lattice.model.manifest import load_documents, parse_document

Kind = Literal["python", "javascript", "c", "zig", "wasm"]

FILE = "lattice.toml"
"""The file that says how components are built, where what lies there does not."""

MANIFESTS = ("lattice.yaml", "lattice.yml", "lattice.json")
"""Names of a project's manifest; the first that is there is taken."""

BUILD = "build"
"""The folder of a project for what is built: `build/NAME.wasm`."""

TEXT_BYTES_MAX = 1024 * 1024
"""Bytes of a project file or manifest: as much as a lattice takes of a manifest."""

LANGUAGES: Mapping[Kind, tuple[str, ...]] = {
    "python": (".py",),
    "javascript": (".js", ".mjs", ".ts"),
    "c": (".c",),
    "zig": (".zig",),
}
"""The endings of sources; the first language that a folder has any of is taken."""

STARTS: Mapping[Kind, tuple[str, ...]] = {
    "python": ("app", "main"),
    "javascript": ("index", "app", "main", "src/index", "src/app", "src/main"),
    "c": ("app", "main"),
    "zig": ("app", "main"),
}
"""Where a program begins when nobody says, without the ending."""

_KEYS = ("kind", "folder", "source", "wit", "world", "python-path", "flags", "dev")
_TEXTS = ("kind", "folder", "source", "wit", "world", "dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component of a project, and how it comes to be."""

    name: str
    kind: Kind
    folder: Path  # of its sources
    source: str  # where it begins, relative to `folder`; of a prebuilt one, the component itself
    image: Path  # what is built, or of a prebuilt one what lies there
    wit: Path | None = None  # folder or file; None: it answers HTTP and needs nothing else
    world: str = ""  # "": the only one
    python_path: tuple[Path, ...] = ()  # further folders with modules
    flags: tuple[str, ...] = ()  # further words for the compiler of C or Zig
    is_live: bool = True  # `lattice dev` may run its sources without building it anew

    @property
    def is_built(self) -> bool:
        """Tell whether a toolchain makes it."""
        return self.kind != "wasm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder with components and perhaps a manifest."""

    place: Path  # that was named: the folder, or a component in it
    folder: Path
    name: str
    components: tuple[Component, ...]
    manifest: Path | None = None


def read_project(folder: Path) -> Project:
    """Return the project in a folder, or the one that a single `.wasm` file is.

    Raises:
        NotFoundError: there is no such folder, or nothing in it that could be built.
        InvalidError: what lies there is ambiguous, or a file of it is wrong; all faults are listed.
    """
    path = folder.absolute()
    if path.is_file() and path.suffix == ".wasm":
        prebuilt = _prebuilt(path)
        return Project(place=path, folder=path.parent, name=prebuilt.name, components=(prebuilt,))
    if not path.is_dir():
        raise NotFoundError(f"no such folder: {folder}")
    name = _name_of(path.resolve().name)
    manifest = next((path / each for each in MANIFESTS if (path / each).is_file()), None)
    tables = _tables(path / FILE)
    images = _images(manifest) if manifest else []
    components = _components(path, name, tables, images)
    if not components:
        endings = ", ".join(ending for each in LANGUAGES.values() for ending in each)
        raise NotFoundError(
            f"{folder} holds nothing to build: there is no file that ends with {endings} or .wasm, "
            f"and no {FILE} that names one; `lattice new` makes a project"
        )
    return Project(
        place=path, folder=path, name=name, components=tuple(components), manifest=manifest
    )


def _components(
    folder: Path, name: str, tables: Mapping[str, Mapping[str, Any]], images: Sequence[Path]
) -> list[Component]:
    """Return what the project file names, then what the manifest does; without both, what is there.

    Raises:
        InvalidError: as `read_project`.
    """
    found = [_of_table(folder, each, table) for each, table in tables.items()]
    named = {component.name for component in found}
    wanted = [path for path in dict.fromkeys(images) if path.parent == folder / BUILD]
    found += [
        _detected(_folder_of(folder, path.stem, len(wanted)), path.stem, folder)
        for path in wanted
        if path.stem not in named
    ]
    found += [_prebuilt(path) for path in dict.fromkeys(images) if path.parent != folder / BUILD]
    if found or images:
        return found
    prebuilt = sorted(folder.glob("*.wasm"))
    if _kind_of(folder) is None:
        if len(prebuilt) > 1:
            listed = ", ".join(path.name for path in prebuilt)
            raise InvalidError(f"{folder} holds several components ({listed}): name one of them")
        return [_prebuilt(path) for path in prebuilt]
    return [_detected(folder, name, folder)]


def _folder_of(folder: Path, name: str, count: int) -> Path:
    """Return where the sources of a component lie that the manifest names.

    Raises:
        InvalidError: there is no folder for it.
    """
    for candidate in (folder / name, folder / "guests" / name, folder / "components" / name):
        if candidate.is_dir():
            return candidate
    if count == 1:
        return folder
    raise InvalidError(
        f"the manifest names {BUILD}/{name}.wasm, and there is neither a folder {name} with its "
        f"sources nor a table [components.{name}] in {FILE}"
    )


def _detected(folder: Path, name: str, project: Path) -> Component:
    """Return the component that the files of a folder make.

    Raises:
        InvalidError: they are none, or it is unclear where they begin.
    """
    kind = _kind_of(folder)
    if kind is None:
        raise InvalidError(f"{folder} has no sources of {name}; name them in {FILE}")
    return Component(
        name=name,
        kind=kind,
        folder=folder,
        source=_start_of(folder, kind),
        image=project / BUILD / f"{name}.wasm",
        wit=_wit_of(folder, project),
    )


def _kind_of(folder: Path) -> Kind | None:
    for kind, endings in LANGUAGES.items():
        places = (folder, folder / "src") if kind == "javascript" else (folder,)
        if any(_with_ending(place, endings) for place in places):
            return kind
    return None


def _start_of(folder: Path, kind: Kind) -> str:
    for stem in STARTS[kind]:
        for ending in LANGUAGES[kind]:
            if (folder / f"{stem}{ending}").is_file():
                return f"{stem}{ending}"
    found = _with_ending(folder, LANGUAGES[kind])
    if len(found) == 1:
        return found[0].name
    expected = " or ".join(f"{stem}{LANGUAGES[kind][0]}" for stem in STARTS[kind][:2])
    raise InvalidError(
        f"{folder} has {len(found)} files of {kind}, and none is called {expected}: say in {FILE} "
        'where the program begins, as source = "..."'
    )


def _with_ending(folder: Path, endings: Iterable[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    # Settings of tools (`vite.config.js`) are no program.
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in endings and not path.name.endswith((".d.ts", ".config.js", ".config.mjs"))
    )


def _wit_of(folder: Path, project: Path) -> Path | None:
    return next((each / "wit" for each in (folder, project) if (each / "wit").is_dir()), None)


def _prebuilt(path: Path) -> Component:
    return Component(
        name=_name_of(path.stem),
        kind="wasm",
        folder=path.parent,
        source=path.name,
        image=path,
        is_live=False,
    )


def _name_of(text: str) -> str:
    """Return a text as a name, as nearly as the rules for names allow."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "app"


def _images(manifest: Path) -> list[Path]:
    """Return the paths of images that a manifest names.

    Raises:
        InvalidError: the manifest is wrong.
    """
    documents = load_documents(_text_of(manifest), source=str(manifest))
    parts = [part for each in documents for part in parse_document(each).parts]
    return [manifest.parent / part.image for part in parts if digest_fault(part.image) is not None]


# --- lattice.toml -----------------------------------------------------------------------------


def _tables(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the tables of the project file by component; none when there is no such file.

    Raises:
        InvalidError: it is no TOML, or has what it must not have; all faults are listed.
    """
    if not path.is_file():
        return {}
    try:
        document = tomllib.loads(_text_of(path))
    except tomllib.TOMLDecodeError as exc:
        raise InvalidError(f"{path} is no TOML: {exc}") from None
    faults = [f"{key}: unknown, expected components" for key in document if key != "components"]
    tables = document.get("components", {})
    if not isinstance(tables, dict) or not all(isinstance(each, dict) for each in tables.values()):
        raise InvalidError(f"{path} is wrong", ["components: expected tables [components.NAME]"])
    for name, table in tables.items():
        place = f"components.{name}"
        faults += [f"{place}: {fault}" for fault in [name_fault(name)] if fault]
        faults += [f"{place}.{fault}" for fault in _faults_of(table)]
    if faults:
        raise InvalidError(f"{path} is wrong", faults)
    return tables


def _faults_of(table: Mapping[str, Any]) -> Iterable[str]:
    for key, value in table.items():
        if key not in _KEYS:
            yield f"{key}: unknown, expected one of {', '.join(_KEYS)}"
        elif key in _TEXTS and not isinstance(value, str):
            yield f"{key}: {value!r}, expected a text"
        elif key not in _TEXTS and not (
            isinstance(value, list) and all(isinstance(each, str) for each in value)
        ):
            yield f"{key}: {value!r}, expected a list of texts"
    if (kind := table.get("kind")) is not None and kind not in get_args(Kind):
        yield f"kind: {kind!r}, expected one of {', '.join(get_args(Kind))}"
    if table.get("dev", "live") not in ("live", "rebuild"):
        yield f"dev: {table['dev']!r}, expected live or rebuild"
    if table.get("kind") == "wasm" and not table.get("source"):
        yield "source: missing, expected the path of the component"


def _of_table(project: Path, name: str, table: Mapping[str, Any]) -> Component:
    folder = project / table.get("folder", ".")
    if not folder.is_dir():
        raise InvalidError(f"components.{name}.folder: no such folder: {folder}")
    kind = cast("Kind | None", table.get("kind")) or _kind_of(folder)
    if kind is None:
        raise InvalidError(f"components.{name}: {folder} has no sources, and no kind is given")
    source = table.get("source") or _start_of(folder, kind)
    if not (folder / source).is_file():
        raise InvalidError(f"components.{name}.source: no such file: {folder / source}")
    if kind == "wasm":
        return _prebuilt(folder / source)
    wit = project / table["wit"] if "wit" in table else _wit_of(folder, project)
    if wit is not None and not wit.exists():
        raise InvalidError(f"components.{name}.wit: no such file or folder: {wit}")
    return Component(
        name=name,
        kind=kind,
        folder=folder,
        source=source,
        image=project / BUILD / f"{name}.wasm",
        wit=wit,
        world=table.get("world", ""),
        python_path=tuple(project / each for each in table.get("python-path", ())),
        flags=tuple(table.get("flags", ())),
        is_live=table.get("dev", "live") == "live",
    )


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > TEXT_BYTES_MAX:
            raise InvalidError(f"{path} is larger than {TEXT_BYTES_MAX} bytes")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidError(f"{path} is not UTF-8 text: {exc.reason}") from None
    except OSError as exc:
        raise InvalidError(f"cannot read {path}: {exc.strerror}") from None
