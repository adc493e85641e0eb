"""A host's log: what is kept, what is published, and what becomes of lines that are not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

import anyio
import pytest

from hosts.logbook import KEPT_LINES_MAX, OUTBOX_LINES_MAX, OWN_LINES_MAX, Logbook, own_lines
from lattice.bus.memory import MemoryBus
from lattice.clock import SystemClock
from lattice.errors import UnavailableError
from lattice.testing import eventually
from lattice.wire.codec import decode
from lattice.wire.subjects import Names

HOSTS = logging.getLogger("hosts.anything")


class ListeningBus(MemoryBus):
    """A bus that keeps the lines published on it, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.is_away = False

    async def publish(
        self, subject: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> None:
        if self.is_away:
            raise UnavailableError("no server")
        line = decode(body)
        assert isinstance(line, dict)
        self.lines.append(line["line"])


def logbook() -> Logbook:
    return Logbook(host="H1", names=Names("test"), clock=SystemClock())


async def test_lines_that_were_not_published_are_told_of_once_publishing_works_again() -> None:
    bus, book = ListeningBus(), logbook()
    async with anyio.create_task_group() as group:
        group.start_soon(book.publish, bus)
        bus.is_away = True
        for number in range(3):
            book.write("d", "info", f"lost {number}")
        await anyio.wait_all_tasks_blocked()
        assert book.dropped_lines == 3
        bus.is_away = False
        book.write("d", "info", "heard")
        await eventually(lambda: len(bus.lines) == 2)
        await anyio.wait_all_tasks_blocked()
        assert bus.lines == ["heard", "3 log lines of this host were not published"]
        assert book.last(9, "")[0].level == "warn"
        book.write("d", "info", "later")
        await anyio.wait_all_tasks_blocked()
        assert bus.lines[2:] == ["later"], "told once"
        group.cancel_scope.cancel()


async def test_lines_over_a_full_outbox_are_kept_counted_and_told_of() -> None:
    bus, book = ListeningBus(), logbook()
    for number in range(OUTBOX_LINES_MAX + 5):
        book.write("d", "info", str(number))
    assert book.last(1)[0].line == str(OUTBOX_LINES_MAX + 4)
    async with anyio.create_task_group() as group:
        group.start_soon(book.publish, bus)
        await eventually(lambda: len(bus.lines) == OUTBOX_LINES_MAX + 1)
        group.cancel_scope.cancel()
    assert bus.lines[-1] == "5 log lines of this host were not published"


async def test_neither_guests_nor_the_host_push_out_the_lines_of_the_other() -> None:
    book = logbook()
    book.write("d", "info", "of a guest")
    for _ in range(OWN_LINES_MAX + 1):
        book.write("", "info", "of the host")
    assert [line.line for line in book.last(5, "d")] == ["of a guest"]
    for _ in range(KEPT_LINES_MAX + 1):
        book.write("d", "info", "again")
    assert len(book.last(9999, "")) == OWN_LINES_MAX
    assert [line.line for line in book.last(2)] == ["again", "again"]


async def test_what_the_host_logs_is_in_its_logbook_while_it_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="hosts")
    book = logbook()
    with own_lines(book):
        HOSTS.debug("too small")
        HOSTS.info("replica %s starts", "r")
        HOSTS.warning("connection lost")
        HOSTS.error("a mistake", exc_info=ValueError("why"))
    HOSTS.info("after its end")
    assert [(line.level, line.line, line.deployment) for line in book.last(9)] == [
        ("info", "replica r starts", ""),
        ("warn", "connection lost", ""),
        ("error", "a mistake: ValueError('why')", ""),
    ]


async def test_hosts_of_one_process_keep_their_lines_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="hosts")
    books = {name: logbook() for name in ("one", "two")}
    both_run = anyio.Event()

    async def host(name: str) -> None:
        with own_lines(books[name]):
            if name == "two":
                both_run.set()
            await both_run.wait()
            async with anyio.create_task_group() as group:
                group.start_soon(say, name)

    async def say(name: str) -> None:
        HOSTS.info("%s speaks", name)

    async with anyio.create_task_group() as group:
        group.start_soon(host, "one")
        group.start_soon(host, "two")
    assert {n: [line.line for line in book.last(9)] for n, book in books.items()} == {
        "one": ["one speaks"],
        "two": ["two speaks"],
    }


async def test_a_line_from_another_thread_is_kept_at_once_and_published_with_the_next() -> None:
    bus, book = ListeningBus(), logbook()
    async with anyio.create_task_group() as group:
        group.start_soon(book.publish, bus)
        await anyio.wait_all_tasks_blocked()
        thread = threading.Thread(target=book.write, args=("", "info", "from a thread"))
        thread.start()
        thread.join()
        assert [line.line for line in book.last(9)] == ["from a thread"]
        book.write("", "info", "next")
        await eventually(lambda: bus.lines == ["from a thread", "next"])
        group.cancel_scope.cancel()
