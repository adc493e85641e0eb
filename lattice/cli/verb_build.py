"""`lattice build`: the components of a project from its sources."""

from __future__ import annotations

from pathlib import Path

from lattice.cli import exits
from lattice.cli.building.making import Built, clean, make
from lattice.cli.building.project import read_project
from lattice.cli.options import Output
from lattice.cli.output import print_json, size_text
from lattice.cli.progress import showing_steps


async def build_(dir: Path = Path(), /, *, fresh: bool = False, output: Output = "table") -> int:
    """Build the components of a project.

    What is built is build/NAME.wasm for each component; one whose sources, settings and tools have
    not changed is left as it is. What a folder holds is found by its files (Python, JavaScript or
    TypeScript, C, Zig, or a prebuilt component), or lattice.toml says it.

    Parameters
    ----------
    dir
        Folder of the project.
    fresh
        Build everything anew.
    output
        Form of the answer: for people, or for programs.
    """
    project = read_project(dir)
    if fresh:
        clean(project)
    built: list[Built] = []
    with showing_steps() as say:
        for component in project.components:
            done = await make(project, component, say=say)
            built.append(done)
            if output != "json":
                say.done(_told(done))
    if output == "json":
        print_json({"built": [_plain(each) for each in built]})
    return exits.DONE


def _told(built: Built) -> str:
    image = built.component.image
    path = image.relative_to(Path.cwd()) if image.is_relative_to(Path.cwd()) else image
    size = size_text(image.stat().st_size)
    if not built.component.is_built:
        return f"{path}: {size}, prebuilt"
    how = "unchanged" if built.is_unchanged else f"built in {built.took_s:.1f} s"
    return f"{path}: {size}, {how}"


def _plain(built: Built) -> dict[str, object]:
    return {
        "name": built.component.name,
        "kind": built.component.kind,
        "image": str(built.component.image),
        "unchanged": built.is_unchanged,
        "took_s": round(built.took_s, 3),
    }
