"""Lets the answers of one turn of the loop leave together.

A system call that wakes a sleeping client costs more than one whose client is awake already. With
many clients at once, answers that are given within a moment are therefore kept until all that has
arrived was looked at, and sent one after the other. It knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

HOLD_S = 0.001
"""The longest time that answers are kept, and the shortest that a pause between two answers takes
which shows that nothing is gained: a slow guest's answers leave at once."""


class Sender(Protocol):
    """A connection that keeps bytes until it is told."""

    def flush(self) -> None:
        """Send what is kept; without effect when there is nothing."""
        ...


class Outbox:
    """The connections of one server that keep an answer."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._waiting: list[Sender] = []
        self._first_s = 0.0
        self._last_s = 0.0
        self._is_due = False

    def put(self, sender: Sender) -> None:
        """Have a connection flushed at the end of this turn, or at once when that is better."""
        now_s = self._now_s()
        pause_s, self._last_s = now_s - self._last_s, now_s
        waiting = self._waiting
        if pause_s > HOLD_S:
            if waiting:
                self._send()
            sender.flush()
            return
        if not waiting:
            self._first_s = now_s
            if not self._is_due:
                self._is_due = True
                asyncio.get_running_loop().call_soon(self._end_turn)
        waiting.append(sender)
        if now_s - self._first_s > HOLD_S:
            self._send()

    def _end_turn(self) -> None:
        self._is_due = False
        self._send()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sender in waiting:
            sender.flush()
