"""`lattice new`: a small project to begin with."""

from __future__ import annotations

from pathlib import Path

from lattice.cli import exits
from lattice.cli.options import Output
from lattice.cli.output import print_json, print_table
from lattice.cli.templates import TEMPLATES, make_project, template_of


def new_(
    template: str | None = None, name: str | None = None, /, *, output: Output = "table"
) -> int:
    """Make a small project from a template.

    Without words the templates are listed. Nothing that is there is written over.

    Parameters
    ----------
    template
        Name of the template, such as http-python.
    name
        Name of the project, and of the folder that is made for it; may have a path before it.
    output
        Form of the answer: for people, or for programs.
    """
    if template is None:
        if output == "json":
            listed = [{"name": each.name, "about": each.about} for each in TEMPLATES]
            print_json({"templates": listed})
        else:
            rows = [(each.name, each.about) for each in TEMPLATES]
            print_table(("template", "makes"), rows, empty="no templates")
            print("make a project: lattice new TEMPLATE NAME")
        return exits.DONE
    chosen = template_of(template)
    folder = Path(name or chosen.name)
    files = make_project(chosen, folder, folder.name)
    if output == "json":
        made = [str(path) for path in files]
        print_json({"project": folder.name, "folder": str(folder), "files": made})
        return exits.DONE
    print(f"{folder}: {chosen.about}, in {len(files)} files; begin with {chosen.first}")
    print("next:")
    for step in (f"cd {folder}", *chosen.steps):
        print(f"  {step}")
    return exits.DONE
