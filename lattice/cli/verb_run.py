"""`lattice run`: a command, or one function of a component, without a lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from cyclopts import Parameter

from lattice.cli import exits
from lattice.cli.arguments import Assignments, argument, assignments
from lattice.cli.files import read_component_file
from lattice.cli.foreground import Foreground
from lattice.cli.granting import Hosts, Mounts, http_grants, mounts
from lattice.cli.options import Bytes, Output, Seconds
from lattice.cli.output import print_aside, print_error, print_json_line, print_json_to_fit
from lattice.cli.process import cache_directory
from lattice.errors import GuestTrapError, InvalidError, LatticeError, NotFoundError
from lattice.model.network import Network

if TYPE_CHECKING:
    from hosts.engine.base import World
    from hosts.standalone import Assembly, Choice

MEMORY_BYTES = 1024**3
"""Memory of a guest when nobody says: one alone may take more than one among many."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What the component sees of this machine, and what it may take."""

    env: Assignments | None = None
    """Environment variable for the component; may be repeated."""

    mount: Mounts | None = None
    """Directory of this machine that the component sees as GUEST; may be repeated."""

    config: Assignments | None = None
    """Value in wasi:config for the component; may be repeated."""

    allow_host: Hosts | None = None
    """Where the component may send requests over HTTP; may be repeated."""

    memory: Annotated[Bytes, Parameter(show_default=lambda b: f"{b >> 30}Gi")] = MEMORY_BYTES
    """Memory that the component may take."""

    timeout: Annotated[Seconds | None, Parameter(show_default=False)] = None
    """How long it may run, such as 500ms or 2m; as long as it likes by default."""

    @property
    def deadline_s(self) -> float:
        """Return the seconds that the component may run."""
        return float("inf") if self.timeout is None else self.timeout

    def world(self, args: Sequence[str], foreground: Foreground) -> World:
        """Return what the component sees; its in- and output are those of this process."""
        from hosts.engine.base import World

        return World(
            env=assignments(self.env or ()),
            args=tuple(args),
            directories=mounts(self.mount or ()),
            config=assignments(self.config or ()),
            network=Network(http=http_grants(self.allow_host or ())),
            memory_bytes_max=self.memory,
            log=lambda level, line: foreground.stderr(f"{level}: {line}\n".encode()),
            stdout=foreground.stdout,
            stderr=foreground.stderr,
            stdin=foreground.stdin,
        )


NOTHING = Grants()


async def run_(
    file: Path,
    export: str | None = None,
    /,
    *args: Annotated[str, Parameter(allow_leading_hyphen=True)],
    link: Annotated[list[Path] | None, Parameter(consume_multiple=False)] = None,
    grants: Grants = NOTHING,
    optimise: bool = False,
    rest: Annotated[Sequence[str], Parameter(parse=False)] = (),
    output: Output = "table",
) -> int:
    """Run a component on this machine, without a lattice.

    Without EXPORT the component is run as a command (wasi:cli/run): it reads the standard input
    and writes to the output of this process, gets the words after -- as its arguments, and its
    exit status is this one's. With EXPORT that function is called and its value is printed as
    JSON, in one line unless it is too long for a terminal; arguments are written as for lattice
    call. A guest that streams bytes reads and writes the same in- and output; the value is then
    told on the standard error output.

    The component sees no file, no variable and no network but what is named here. A trap prints
    the backtrace and ends with 134, a call that does not fit with 2, Ctrl-C with 130. Compiled
    code is kept for the next time.

    Parameters
    ----------
    file
        The component.
    export
        ns:pkg/iface[@version]#func, iface#func, or func when that is unique.
    args
        The arguments of the function in their order, each JSON.
    link
        Another component: imports and exports that fit are joined; may be repeated.
    optimise
        Wait for the best code of a large component, in place of a quick first start.
    output
        Form of the answer: for people, or for programs.
    """
    foreground = Foreground()
    is_json = output == "json"
    try:
        assembly = _assembly([file, *(link or ())])
        try:
            choice, values = _chosen(assembly, export, args, rest)
        except (InvalidError, NotFoundError) as exc:
            print_error(exc, as_json=is_json)
            return exits.USAGE
        world = grants.world([file.name, *rest], foreground)
        with anyio.CancelScope() as scope, foreground.ends(scope):
            value = await _called(assembly, choice, values, world, grants.deadline_s, optimise)
    except LatticeError as exc:
        return _ended(exc, as_json=is_json)
    if foreground.status is not None:
        return foreground.status
    if assembly.streams_bytes and export is not None:
        return _finished_aside(choice, value)
    return _finished(choice, value, is_command=export is None, as_json=is_json)


def _assembly(paths: Sequence[Path]) -> Assembly:
    from hosts.standalone import assemble

    return assemble([(str(path), read_component_file(path)) for path in paths])


def _chosen(
    assembly: Assembly, export: str | None, args: Sequence[str], rest: Sequence[str]
) -> tuple[Choice, list[Any]]:
    """Return what to call, and its arguments.

    Raises:
        NotFoundError: the component does not export it, or is no command.
        InvalidError: it is ambiguous, or the arguments do not fit; types and faults are told.
    """
    from hosts.standalone import arguments

    if export is None:
        if assembly.command is None:
            raise NotFoundError(
                f"{assembly.parts[0].name} is no command (it does not export wasi:cli/run@0.2): "
                f"name a function of it{assembly.listed()}"
            )
        return assembly.command, []
    choice = assembly.choose(export)
    if rest:
        raise InvalidError(f"words after -- are for commands, the arguments of {export} go before")
    return choice, arguments(choice, [argument(text) for text in args])


async def _called(
    assembly: Assembly,
    choice: Choice,
    values: Sequence[Any],
    world: World,
    deadline_s: float,
    optimise: bool,
) -> Any:
    from hosts.engine import create_engine
    from hosts.standalone import call

    cache = cache_directory() / "compiled"
    # Code that comes later is of no use to a single instance.
    engine = create_engine(cache, optimises_later=False, optimises_first=optimise)
    try:
        return await call(engine, assembly, choice, values, world, deadline_s=deadline_s)
    finally:
        engine.close()


def _ended(error: LatticeError, *, as_json: bool) -> int:
    """Return the status for a guest that did not return; say why, unless it exited itself."""
    status = error.details.get("exit_status")
    if isinstance(error, GuestTrapError) and isinstance(status, int):
        return status
    print_error(error, as_json=as_json)
    return exits.TRAPPED if isinstance(error, GuestTrapError) else exits.status_of(error)


def _finished_aside(choice: Choice, value: Any) -> int:
    from lattice.wire.values import to_json

    print_aside(to_json(choice.type.result, value))
    return exits.DONE


def _finished(choice: Choice, value: Any, *, is_command: bool, as_json: bool) -> int:
    from lattice.wire.values import to_json

    if is_command:
        return exits.DONE if value[0] == "ok" else exits.FAILED
    if as_json or choice.type.result is not None:
        shown = to_json(choice.type.result, value)
        (print_json_line if as_json else print_json_to_fit)(shown)
    return exits.DONE
