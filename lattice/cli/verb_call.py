"""`lattice call`: one call of a deployment's function with JSON arguments."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Literal

from cyclopts import Parameter

from lattice.cli.arguments import argument
from lattice.cli.options import DEFAULT, Options, Seconds, client_of, host_names
from lattice.cli.output import print_aside, print_json, print_table, printable, short_ids
from lattice.cli.streaming import Streams, stream_call
from lattice.client.calling import CALL_DEADLINE_S, CallResult
from lattice.errors import InvalidError
from lattice.wire.messages import Leg

DEADLINE_S = CALL_DEADLINE_S

OneFile = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
"""A file, or `-` for the shell's in- or output."""


async def call_(  # noqa: PLR0913 - each is an option
    deployment: str,
    function: str,
    /,
    *args: Annotated[str, Parameter(allow_leading_hyphen=True)],
    deadline: Seconds = DEADLINE_S,
    key: str | None = None,
    route: Literal["auto", "local", "remote", "durable"] = "auto",
    detail: bool = False,
    send: OneFile = None,
    receive: OneFile = None,
    options: Options = DEFAULT,
) -> None:
    """Call a function of a deployment.

    Each argument is JSON: 5, true, '"text"', '[1, 2]', '{"field": 1}'. What is no JSON is taken
    as a string, so that plain words need no quotes. Records are objects with kebab-case names, an
    option is its value or null, a variant is ["case", payload], a list<u8> is {"base64": "..."};
    @FILE stands for the bytes of a file, @- for those of the standard input.

    Parameters
    ----------
    deployment
        The deployment to call.
    function
        ns:pkg/iface[@version]#func, iface#func, or func when that is unique.
    args
        The arguments in their order, each JSON.
    deadline
        How long to wait for the answer, such as 500ms or 2m.
    key
        Passed on to the callee, for callees that deduplicate.
    route
        How the call travels. A command is no host, so `auto` is `remote`: over NATS, to any ready
        replica. `local` and `durable` are refused by name.
    detail
        Show also who ran the call, how it was reached, how long it took, and the calls that it
        made itself.
    send
        A file whose bytes the guest reads as a stream while it runs; - is the standard input. The
        deadline is then how long no byte need move.
    receive
        The file that gets what the guest writes as a stream. By default, and with -, that is the
        standard output, and the value is told on the standard error output.
    """
    _require_possible(route)
    values = [argument(text) for text in args]
    if send is not None or receive is not None:
        _require_plain(key, detail=detail)
        await _stream(options, deployment, function, values, Streams(send, receive, deadline))
        return
    async with client_of(options) as client:
        result = await client.call(
            deployment, function, values, deadline_s=deadline, key=key, as_json=True, detail=True
        )
        names = await host_names(client) if detail and not options.is_json else {}
    _print_result(result, deployment, names, detail=detail, is_json=options.is_json)


async def _stream(
    options: Options, deployment: str, function: str, values: list[object], streams: Streams
) -> None:
    """Make a call with streams, and print its value; aside, where the bytes have the output."""
    async with client_of(options) as client:
        value = await stream_call(client, deployment, function, values, streams)
    (print_aside if streams.fill_output else print_value)(value)


def _require_plain(key: str | None, *, detail: bool) -> None:
    """Return when a call may have streams. `Raises:` InvalidError."""
    if key is not None or detail:
        raise InvalidError("a call with streams takes neither --key nor --detail")


def _require_possible(route: str) -> None:
    """Return when a command can call by a route. `Raises:` InvalidError."""
    if route == "local":
        raise InvalidError(
            "route local: only a guest calls in memory, from the host that it shares with the "
            "callee; a command calls by route remote, --detail shows the routes of further calls"
        )
    if route == "durable":
        raise InvalidError(
            "route durable: a durable call is a job, see `lattice job submit`; `lattice call` "
            "calls by route remote"
        )


def _print_result(
    result: CallResult, deployment: str, names: Mapping[str, str], *, detail: bool, is_json: bool
) -> None:
    if is_json:
        print_json(result if detail else result.value)
        return
    print_value(result.value)
    if detail:
        _print_detail(result, deployment, names)


def print_value(value: object) -> None:
    """Print a value: a string as it is, anything else as JSON, and nothing for no result."""
    if isinstance(value, str):
        print(value if not sys.stdout.isatty() else "\n".join(map(printable, value.split("\n"))))
    elif value is not None:
        print_json(value)


def _print_detail(result: CallResult, deployment: str, names: Mapping[str, str]) -> None:
    own = Leg(
        deployment=deployment,
        op=result.function,
        route=result.route,
        host=result.host,
        took_us=int(result.took_s * 1e6),
    )
    rows = [
        (leg.deployment, leg.op, leg.route, f"{leg.took_us / 1000:.3g} ms",
         names.get(leg.host) or short_ids(leg.host))
        for leg in (own, *result.legs)
    ]  # fmt: skip
    print()
    print_table(("called", "function", "route", "took", "host"), rows, empty="")
