"""From words to a verb, and from its outcome to an exit status: the frame around every command.

Here every error becomes one clear message on stderr, without a traceback (`LATTICE_DEBUG=1`
shows it).
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from cyclopts import CycloptsError

from lattice.cli import exits
from lattice.cli.app import VERBS, build, split_rest
from lattice.errors import LatticeError

DEBUG_VARIABLE = "LATTICE_DEBUG"


def run_command(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _open_missing_streams()
    words, rest = split_rest(list(sys.argv[1:] if tokens is None else tokens))
    app = build(words)
    try:
        verb, bound, unparsed = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as exc:
        _say(f"error: {exc}")
        _say(f"usage: `lattice {' '.join(_verb_words(words))}--help` shows what it takes")
        return exits.USAGE
    except Exception as exc:  # noqa: BLE001 - a verb's module that cannot be loaded
        return _report(exc, as_json=False)
    passed = dict.fromkeys(unparsed, rest)  # what `split_rest` put aside, if the verb takes it
    return _run(verb, partial(verb, *bound.args, **bound.kwargs, **passed), as_json=_is_json(bound))


def _open_missing_streams() -> None:
    """Put nothing where this process was started without a standard stream.

    Else the next file that is opened would be taken for it, and uvloop aborts when it closes one.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115 (stays open)


def _run(verb: Callable[..., Any], call: Callable[[], Any], *, as_json: bool) -> int:
    try:
        result = run_async(call) if inspect.iscoroutinefunction(verb) else call()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.PIPE_CLOSED
    except BaseExceptionGroup as group:
        return _report_group(group, as_json=as_json)
    except Exception as exc:  # noqa: BLE001 - the top of the process
        return _report(exc, as_json=as_json)
    return result if isinstance(result, int) else exits.DONE


def run_async(call: Callable[[], Awaitable[Any]]) -> Any:
    """Run an async function to its end, on uvloop where there is one."""
    import importlib.util

    import anyio

    has_uvloop = importlib.util.find_spec("uvloop") is not None
    return anyio.run(call, backend="asyncio", backend_options={"use_uvloop": has_uvloop})


def _report_group(group: BaseExceptionGroup[BaseException], *, as_json: bool) -> int:
    """Report the first error of a group of tasks that says something."""
    leaves = list(_leaves(group))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return exits.INTERRUPTED
    named = [leaf for leaf in leaves if isinstance(leaf, LatticeError)]
    return _report((named or leaves)[0], as_json=as_json)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found


def _report(exc: BaseException, *, as_json: bool) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(exc)
    if isinstance(exc, LatticeError):
        from lattice.cli.output import print_error

        print_error(exc, as_json=as_json)
        return exits.status_of(exc)
    _say(f"error: internal: {type(exc).__name__}: {exc} ({DEBUG_VARIABLE}=1 shows where)")
    return exits.INTERNAL


def _is_json(bound: inspect.BoundArguments) -> bool:
    return any(getattr(value, "output", "table") == "json" for value in bound.arguments.values())


def _verb_words(words: list[str]) -> list[str]:
    """Return the words of the verb as far as they are there, for the hint, with a space after."""
    found: list[str] = []
    is_whole = any(verb.words == words[0] for verb in VERBS) if words else False
    for word in words[: 1 if is_whole else 2]:
        if word.startswith("-"):
            break
        found.append(word)
    return [*found, ""] if found else []


def _say(text: str) -> None:
    print(text, file=sys.stderr)
