"""Exit statuses of `lattice`: what a script may rely on.

One status for each reaction that a script can have; docs/reference/cli.md lists them.
"""

from __future__ import annotations

from typing import Final

from lattice.errors import (
    DeadlineExceededError,
    DeniedError,
    InternalError,
    LatticeError,
    NoRouteError,
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    UnavailableError,
)

DONE = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
DENIED = 4
LATE = 5
NOT_FOUND = 6
INTERNAL = 70
INTERRUPTED = 130
TRAPPED = 134
PIPE_CLOSED = 141

MEANINGS: Final[dict[int, str]] = {
    DONE: "done",
    FAILED: "refused or failed: the message says what to mend",
    USAGE: "the command line is wrong: nothing was tried",
    UNREACHABLE: "NATS, the scheduler, the host or a ready replica cannot be reached: try later",
    DENIED: "the identity lacks a permission",
    LATE: "no outcome in time: it may still take effect",
    NOT_FOUND: "the named thing does not exist",
    INTERNAL: "a mistake of the program itself; LATTICE_DEBUG=1 shows where",
    INTERRUPTED: "ended by Ctrl-C",
    TRAPPED: "`lattice run`: the component trapped; the backtrace is told",
    PIPE_CLOSED: "who read the output went away",
}


def status_of(error: LatticeError) -> int:
    """Return the exit status that tells of an error."""
    match error:
        case OutcomeUnknownError() | DeadlineExceededError():
            return LATE
        case UnavailableError() | NoRouteError() | OverloadedError():
            return UNREACHABLE
        case DeniedError():
            return DENIED
        case NotFoundError():
            return NOT_FOUND
        case InternalError():
            return INTERNAL
        case _:
            return FAILED
