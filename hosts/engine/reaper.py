"""Deletes what takes long to delete on a thread of its own, so that the event loop need not wait.

Giving 256 MB of a guest's memory back to the system takes some 20 ms. What is handed over here must
be used by nobody any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

WAITING_MAX = 8
"""Deletions that wait; beyond them whoever hands one over does it itself, so that memory which is
not yet given back stays bounded."""

CLOSE_WAIT_S = 10.0
"""How long closing waits for what was handed over."""


class Reaper:
    """A thread that runs deletions in their order; it begins with the first one."""

    def __init__(self) -> None:
        self._deletions: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def delete(self, deletion: Callable[[], object]) -> Future[None]:
        """Run the deletion soon on the thread, or now if too many wait; it must not raise.

        Returns what is done when it is deleted.
        """
        deleted: Future[None] = Future()

        def delete() -> None:
            is_awaited = deleted.set_running_or_notify_cancel()
            deletion()
            if is_awaited:
                deleted.set_result(None)

        if self._deletions.qsize() >= WAITING_MAX:
            delete()
            return deleted
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lattice-reaper", daemon=True)
            self._thread.start()
        self._deletions.put(delete)
        return deleted

    def close(self) -> None:
        """Return when everything is deleted. Idempotent."""
        if self._thread is not None:
            self._deletions.put(None)
            self._thread.join(CLOSE_WAIT_S)
            self._thread = None

    def _run(self) -> None:
        while (deletion := self._deletions.get()) is not None:
            deletion()
