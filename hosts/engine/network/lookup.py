"""Looks up host names for guests, on threads: the system's resolver blocks.

Addresses and `localhost` are answered here: they are the same for everybody and need no grant.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable

from hosts.engine.network.access import Access
from hosts.engine.network.errors import Code, SocketError
from lattice.model.network import NAME_LENGTH_MAX, Address, normal_name

LOOKUPS_MAX = 32
"""Lookups of one process that wait for the resolver; each has a thread meanwhile. One more fails
as temporary."""

LOOKUP_S_MAX = 30.0
"""Time after which a lookup has failed, whatever the resolver still does."""

ANSWERS_MAX = 32
"""Addresses of one name that a guest sees."""

_NAME_LENGTH_MAX = 4 * NAME_LENGTH_MAX
"""Characters of a name as a guest writes it: what is longer is none in ASCII either, and converting
it would take its time."""

_LOCALHOST: tuple[Address, ...] = (
    ipaddress.IPv4Address("127.0.0.1"),
    ipaddress.IPv6Address("::1"),
)
_CODES: dict[int, Code] = {
    socket.EAI_NONAME: "name-unresolvable",
    socket.EAI_AGAIN: "temporary-resolver-failure",
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): "name-unresolvable",
    getattr(socket, "EAI_ADDRFAMILY", socket.EAI_NONAME): "name-unresolvable",
}

_places = threading.BoundedSemaphore(LOOKUPS_MAX)


class Lookup:
    """One name being looked up, and its answers; used on one event loop."""

    def __init__(self, name: str, access: Access, waken: Callable[[], None]) -> None:
        """Begin.

        Raises:
            SocketError: `invalid-argument`: no name; `access-denied`: it is not granted;
                `temporary-resolver-failure`: too many lookups wait already.
        """
        self._access = access
        self._waken = waken
        self._answers: deque[Address] | None = None
        self._failure: Code | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_asking = False
        """Whether a thread waits for the resolver, which it may do when this is closed."""
        if len(name) > _NAME_LENGTH_MAX:
            raise SocketError("invalid-argument")
        known = _known(name)
        if known is not None:
            self._answers = deque(known)
            return
        normal = normal_name(name)
        if normal is None:
            raise SocketError("invalid-argument")
        self._name = normal
        access.require_lookup(normal)
        if not _places.acquire(blocking=False):
            raise SocketError("temporary-resolver-failure")
        loop = asyncio.get_running_loop()
        thread = threading.Thread(
            target=self._resolve, args=(loop,), name="lattice-lookup", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            _places.release()
            raise SocketError("temporary-resolver-failure") from None
        self.is_asking = True
        self._timer = loop.call_later(LOOKUP_S_MAX, self._fail, "temporary-resolver-failure")

    @property
    def is_ready(self) -> bool:
        """Tell whether `next_address` has an answer."""
        return self._answers is not None or self._failure is not None

    def next_address(self) -> Address | None:
        """Return the next address, None when there is no more.

        Raises:
            SocketError: `would-block`: the resolver has not answered yet; else why there is none.
        """
        if self._failure is not None:
            raise SocketError(self._failure)
        if self._answers is None:
            raise SocketError("would-block")
        return self._answers.popleft() if self._answers else None

    def close(self) -> None:
        """Forget the lookup; its thread ends when the resolver answers. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._failure = self._failure or "unknown"
        self._waken = lambda: None

    def _resolve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask the resolver; runs on a thread of its own."""
        answer: list[Address] | Code
        try:
            found = socket.getaddrinfo(self._name, None, type=socket.SOCK_STREAM)
            answer = _addresses(str(each[4][0]) for each in found)
        except socket.gaierror as error:
            answer = _CODES.get(error.errno or 0, "permanent-resolver-failure")
        except (OSError, UnicodeError):
            answer = "permanent-resolver-failure"
        finally:
            _places.release()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._answered, answer)

    def _answered(self, answer: list[Address] | Code) -> None:
        self.is_asking = False
        if self._failure is not None:
            return
        if isinstance(answer, str):
            self._fail(answer)
            return
        usable = self._access.found(self._name, answer)
        if not usable:
            self._fail("access-denied" if answer else "name-unresolvable")
            return
        self._answers = deque(usable)
        self._done()

    def _fail(self, code: Code) -> None:
        self._failure = code
        self._done()

    def _done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._waken()


def _known(name: str) -> tuple[Address, ...] | None:
    """Return what needs no resolver: an address is its own answer."""
    with contextlib.suppress(ValueError):
        return (ipaddress.ip_address(name),)
    plain = name.lower().removesuffix(".")
    return _LOCALHOST if plain == "localhost" or plain.endswith(".localhost") else None


def _addresses(texts: Iterable[str]) -> list[Address]:
    """Return the resolver's answers, each once, without those that stand for another."""
    found: list[Address] = []
    for text in texts:
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(text.partition("%")[0])
            if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
                continue
            if address not in found:
                found.append(address)
    return found[:ANSWERS_MAX]
