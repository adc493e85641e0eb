"""Builds guests that answer HTTP, in languages whose toolchains bring their own idea of it."""

from __future__ import annotations

import re
import shutil
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

from hosts.adapters import http, wasi
from hosts.engine.standard import WASI_VERSION
from tests.guests.languages import building

FOLDER = Path(__file__).parent
WIT = FOLDER / "web.wit"

VERSION = "0.2.10"
"""The version of WASI that the world names, and that componentize-js has `fetch` events for."""


UNSTABLE = re.compile(r"\n *send-informational: func\([^)]*\)[^;]*;")
"""What the standard marks as unstable: ordinary toolchains leave it out, and hosts without it do
not take a guest that imports it."""


def starlingmonkey() -> Path:
    """Return the guest in JavaScript that answers `fetch` events, as componentize-js builds it.

    Raises:
        Unavailable: as `building.starlingmonkey`.
    """
    source = FOLDER / "js" / "web.js"

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tool = building.npm_packages() / ".bin" / "componentize-js"
            building.run(tool, source, "--wit", _wit(Path(folder)), "-n", "web", "-o", target)

    made_from = (
        building.npm_version("componentize-js"), UNSTABLE.pattern, *building.texts(WIT, source)
    )  # fmt: skip
    return building.cached("starlingmonkey-web", made_from, build)


def python() -> Path:
    """Return the guest in Python, as componentize-py builds it (18 MB)."""
    source, loop = (FOLDER / "python-web" / name for name in ("web.py", "polling.py"))

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tool = Path(sysconfig.get_path("scripts")) / "componentize-py"
            building.run(
                tool, "--wit-path", _wit(Path(folder)), "--world", "web", "componentize",
                "--python-path", source.parent, source.stem, "--output", target,
            )  # fmt: skip

    made_from = (version("componentize-py"), UNSTABLE.pattern, *building.texts(WIT, source, loop))
    return building.cached("python-web", made_from, build)


def _wit(folder: Path) -> Path:
    """Return a folder with the world and all that it refers to, in the world's version of WASI."""
    for module in (http, wasi):
        for path in (Path(str(module.__file__)).parent / "wit" / "deps").iterdir():
            target = folder / "deps" / path.name
            target.parent.mkdir(exist_ok=True)
            text = path.read_text().replace(WASI_VERSION, VERSION)
            target.write_text(UNSTABLE.sub("", text))
    shutil.copy(WIT, folder)
    return folder
