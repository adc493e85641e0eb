"""Turns the error of a handler into an answer: its status, how long to stay away, and a short text.

What the error says goes to the client in development only: it names things of the inside.
"""

from __future__ import annotations

import math

from hosts.http.answers import phrase
from hosts.http.base import Headers, HttpError
from hosts.http.limits import RETRY_AFTER_S
from lattice.errors import LatticeError

STATUSES = {
    "invalid": 400,
    "denied": 403,
    "not-found": 404,
    "conflict": 409,
    "internal": 500,
    "trap": 500,  # the guest is what answers here, not something behind it
    "incompatible": 502,
    "outcome-unknown": 502,
    "no-route": 503,
    "overloaded": 503,
    "unavailable": 503,
    "deadline": 504,
}
"""The status of each kind of error."""


def status_of(error: BaseException) -> int:
    """Return the status that an error of a handler becomes; 500 for what nobody foresaw.

    What is invalid in the answer and not in the request is not the client's fault.
    """
    if not isinstance(error, LatticeError) or error.details.get("part") == "answer":
        return 500
    own = error.details.get("http_status")  # what a guest's own error stands for
    return own if isinstance(own, int) else STATUSES.get(error.kind, 500)


def is_unforeseen(error: BaseException) -> bool:
    """Tell whether an error is a mistake in the handler's code, whose traceback is needed."""
    return not isinstance(error, LatticeError | HttpError)


def answer_to(error: BaseException, *, is_dev: bool) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of the answer to a request whose handler failed."""
    status = status_of(error)
    detail = str(error) if is_dev else ""
    retry_after_s: int | None = None
    if status == 503:
        told = error.details.get("retry_after_ms") if isinstance(error, LatticeError) else None
        retry_after_s = RETRY_AFTER_S
        if isinstance(told, int | float) and 0 <= told < 1e9:
            retry_after_s = math.ceil(told / 1000)
    return (status, *plain(status, detail, retry_after_s=retry_after_s))


def plain(
    status: int, detail: str = "", *, retry_after_s: int | None = None
) -> tuple[Headers, bytes]:
    """Return headers and body of a short answer in plain text."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"no-store"),
    ]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    text = f"{status} {phrase(status)}\n"
    if detail:
        text += f"\n{detail}\n"
    return headers, text.encode("utf-8", "replace")
