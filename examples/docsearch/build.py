"""Builds what docsearch runs from and the repository does not hold; run it before `lattice apply`.

    python examples/docsearch/build.py            the corpus and the guest in Python, when missing
    python examples/docsearch/build.py --small    also the guests in C, which are committed

Everything built lies in `.build/docsearch/` at the top of the repository. Each file has a key
beside it, a digest of all that it was made from, and is made again only when that changed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(REPOSITORY))  # as a script, Python starts in this folder instead

from examples.docsearch import corpus  # noqa: E402  # needs the line above

BUILD = REPOSITORY / ".build" / "docsearch"
GUESTS = HERE / "guests"
WIT = HERE / "wit"

SMALL_GUESTS = ("tokenize", "index", "ask")
"""The guests in C: committed as `guests/NAME/NAME.wasm` beside their sources."""

DOCUMENTS_MIN = 5000
"""A standard library without its sources (as some systems ship it) has fewer: say so early."""

_COMPILE = (
    "-target", "wasm32-freestanding", "-nostdlib", "-std=c17", "-Oz", "-s",
    "-Wall", "-Wextra", "-Werror",
    "-Wl,--no-entry",
    "-Wl,-z,stack-size=65536",  # one page; the guests do not recurse
)  # fmt: skip


class BuildError(Exception):
    """A tool is missing or failed; the message says which, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the corpus and the guests of docsearch.")
    parser.add_argument("--small", action="store_true", help="build the guests in C again, too")
    options = parser.parse_args(arguments)
    try:
        if options.small:
            for name in SMALL_GUESTS:
                path = GUESTS / name / f"{name}.wasm"
                path.write_bytes(build_small_guest(name))
                print(f"guest {name}: {path.stat().st_size} bytes, written to {_short(path)}")
        build_corpus()
        build_query_guest()
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build_corpus() -> Path:
    """Return the path of the corpus, made from this Python's library unless it is there already."""
    library = Path(sysconfig.get_path("stdlib"))
    path = BUILD / "corpus.tsv"

    def make(target: Path) -> str:
        count = corpus.write_corpus(target, library)
        if count < DOCUMENTS_MIN:
            raise BuildError(
                f"{library} has {count} docstrings, expected at least {DOCUMENTS_MIN}; "
                "use a Python that has the sources of its standard library"
            )
        return f"{count} documents"

    made_from = (platform.python_version(), str(library), _digest([HERE / "corpus.py"]))
    return _cached("corpus", path, made_from, make)


def build_query_guest() -> Path:
    """Return the path of the guest in Python, built by componentize-py unless it is up to date."""
    folder = GUESTS / "query"

    def make(target: Path) -> str:
        # `--stub-wasi`: the guest asks nothing of the system, and so imports nothing of it.
        _run(
            "componentize-py", "--wit-path", WIT, "--world", "query", "componentize",
            "--stub-wasi", "--python-path", folder, "app", "--output", target,
        )  # fmt: skip
        return f"{target.stat().st_size / 1e6:.1f} MB"

    sources = [*sorted(WIT.rglob("*.wit")), *sorted(folder.glob("*.py"))]
    made_from = (_version("componentize-py"), _digest(sources))
    return _cached("guest query", BUILD / "query.wasm", made_from, make)


def build_small_guest(name: str) -> bytes:
    """Return the component of a guest in C, compiled from its sources; the same bytes every time.

    Raises:
        BuildError: a compiler or wasm-tools is missing, or refuses the sources.
    """
    with tempfile.TemporaryDirectory() as folder:
        module, embedded, component = (
            Path(folder) / f"{step}.wasm" for step in ("core", "embedded", "component")
        )
        _version("ziglang")
        source = GUESTS / name / f"{name}.c"
        _run(sys.executable, "-m", "ziglang", "cc", *_COMPILE, source, "-o", module)
        _run("wasm-tools", "component", "embed", WIT, module, "--world", name, "--output", embedded)
        _run("wasm-tools", "component", "new", embedded, "--output", component)
        return component.read_bytes()


def _cached(what: str, path: Path, made_from: Iterable[str], make: Callable[[Path], str]) -> Path:
    """Return `path`, made by `make` unless the key beside it says that it is up to date.

    `make` writes to the path that it gets and returns a remark for the progress line.
    """
    key = "\n".join(made_from) + "\n"
    key_path = path.with_name(f"{path.name}.key")
    if path.exists() and key_path.exists() and key_path.read_text(encoding="utf-8") == key:
        print(f"{what}: up to date, {_short(path)}")
        return path
    print(f"{what}: building ...", flush=True)
    begin = time.monotonic()
    BUILD.mkdir(parents=True, exist_ok=True)
    key_path.unlink(missing_ok=True)
    unfinished = path.with_name(f"unfinished-{os.getpid()}-{path.name}")
    try:
        remark = make(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    key_path.write_text(key, encoding="utf-8")
    print(f"{what}: {remark} in {time.monotonic() - begin:.1f} s, {_short(path)}")
    return path


def _run(tool: str, *arguments: str | Path) -> None:
    """Run a tool of this Python's environment; its output appears only when it fails."""
    program = tool if tool == sys.executable else str(Path(sysconfig.get_path("scripts")) / tool)
    try:
        subprocess.run([program, *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError(f"{program} is not there; install it: pip install '.[dev]'") from None
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{Path(tool).name} failed:\n{error.stdout}{error.stderr}") from None


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        raise BuildError(f"{package} is not installed; pip install '.[dev]'") from None


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        body = path.read_bytes()
        digest.update(f"{path.relative_to(HERE)} {len(body)}\n".encode())
        digest.update(body)
    return digest.hexdigest()


def _short(path: Path) -> str:
    working = Path.cwd()
    return str(path.relative_to(working) if path.is_relative_to(working) else path)


if __name__ == "__main__":
    sys.exit(main())
