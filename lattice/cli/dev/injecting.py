"""Adds a script to pages that guests answer, so that the browser shows each change by itself."""

from __future__ import annotations

from hosts.http.base import Exchange, Headers, RequestHead

SCRIPT = b'<script src="/.lattice/live.js" async></script>\n'
"""What stands at the end of pages."""


class WithScript:
    """An `Exchange` whose answer gets the script when it is a whole page of HTML."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._has_script = False
        self.is_begun = False

    @property
    def head(self) -> RequestHead:
        """See `Exchange.head`."""
        return self._exchange.head

    @property
    def body(self) -> bytes | None:
        """See `Exchange.body`."""
        return self._exchange.body

    async def read(self, limit_bytes: int) -> bytes:
        """See `Exchange.read`."""
        return await self._exchange.read(limit_bytes)

    @property
    def trailers(self) -> Headers:
        """See `Exchange.trailers`."""
        return self._exchange.trailers

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Exchange.answer`."""
        self.is_begun = True
        if self._is_page(status, headers) and body:
            self._exchange.answer(status, _with_room(headers), body + SCRIPT)
        else:
            self._exchange.answer(status, headers, body)

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Exchange.begin`."""
        self.is_begun = True
        self._has_script = self._is_page(status, headers)
        await self._exchange.begin(status, _with_room(headers) if self._has_script else headers)

    async def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        await self._exchange.write(data)

    async def finish(self, trailers: Headers = ()) -> None:
        """See `Exchange.finish`."""
        if self._has_script:
            await self._exchange.write(SCRIPT)
        await self._exchange.finish(trailers)

    async def inform(self, status: int, headers: Headers) -> None:
        """See `Exchange.inform`."""
        await self._exchange.inform(status, headers)

    async def closed(self) -> None:
        """See `Exchange.closed`."""
        await self._exchange.closed()

    def _is_page(self, status: int, headers: Headers) -> bool:
        """Tell whether an answer is a page as the guest wrote it: not packed, not a part of one."""
        if self.head.method == "HEAD" or status in (204, 206, 304) or status < 200:
            return False
        found = {name.lower(): value for name, value in headers}
        kind = found.get(b"content-type", b"").lower()
        return kind.startswith(b"text/html") and b"content-encoding" not in found


def _with_room(headers: Headers) -> Headers:
    """Return the fields of a page that is longer by the script, which its policy lets run."""
    return [
        (name, allowing(value) if name.lower() == b"content-security-policy" else value)
        for name, value in headers
        if name.lower() != b"content-length"
    ]


def allowing(policy: bytes) -> bytes:
    """Return a content-security-policy that lets the page's own address run scripts and be asked.

    All else stays as strict as the guest has it (CSP Level 3, 6.1).
    """
    return b", ".join(map(_allowing, policy.split(b",")))


def _allowing(policy: bytes) -> bytes:
    parted = [each.split() for each in policy.split(b";")]
    directives = {words[0].lower(): words[1:] for words in reversed(parted) if words}
    for name in (b"script-src", b"connect-src"):
        sources = directives.get(name, directives.get(b"default-src"))
        if sources is not None:  # without one nothing is forbidden
            kept = [each for each in sources if each.lower() not in (b"'none'", b"'self'")]
            directives[name] = [*kept, b"'self'"]
    return b"; ".join(b" ".join((name, *words)) for name, words in directives.items())
