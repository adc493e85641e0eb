"""`lattice call`: one call of a deployment's function with JSON arguments."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated

from cyclopts import Parameter

from lattice.cli.arguments import argument
from lattice.cli.options import DEFAULT, Options, Seconds, client_of, host_names
from lattice.cli.output import print_json, print_table, printable, short_ids
from lattice.client.calling import CALL_DEADLINE_S, CallResult
from lattice.wire.messages import Leg

DEADLINE_S = CALL_DEADLINE_S


async def call_(
    deployment: str,
    function: str,
    /,
    *args: Annotated[str, Parameter(allow_leading_hyphen=True)],
    deadline: Seconds = DEADLINE_S,
    key: str | None = None,
    detail: bool = False,
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
    detail
        Show also who ran the call, how it was reached, how long it took, and the calls that it
        made itself.
    """
    values = [argument(text) for text in args]
    async with client_of(options) as client:
        result = await client.call(
            deployment, function, values, deadline_s=deadline, key=key, as_json=True, detail=True
        )
        names = await host_names(client) if detail and not options.is_json else {}
    if options.is_json:
        print_json(result if detail else result.value)
        return
    _print_value(result.value)
    if detail:
        _print_detail(result, deployment, names)


def _print_value(value: object) -> None:
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
