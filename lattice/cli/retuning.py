"""Starts a process that will run guests once more, with the allocator set for them.

glibc takes its settings from the environment of a process that starts, so who starts workers sets
them (`hosts.engine.heap.tuned`); a process that a person started has nobody who did.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

VERBS = ("host", "serve")
"""Verbs whose process runs guests for long."""

MARK = "LATTICE_RETUNED"
"""Set for the second start, which must be the last: the system drops the settings of a program that
has privileges of its own, such as to listen on port 80."""


def start_tuned(words: Sequence[str]) -> None:
    """Replace this process by the same one with other settings, or return when there is no need."""
    was_here = os.environ.pop(MARK, None) is not None
    if was_here or sys.platform != "linux" or not sys.executable:
        return
    if not words or words[0] not in VERBS or "--help" in words or "-h" in words:
        return
    from hosts.engine.heap import tuned

    environment = tuned(os.environ)
    if environment == dict(os.environ):
        return
    again = [sys.executable, *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, again, environment | {MARK: "1"})  # noqa: S606 (itself)
    except OSError:
        return  # it goes on as it is, and somewhat slower
