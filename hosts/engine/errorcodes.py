"""The error-codes of `wasi:http`: what a guest or the host says went wrong, with its details."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Code: TypeAlias = Literal[
    "DNS-timeout", "DNS-error", "destination-not-found", "destination-unavailable",
    "destination-IP-prohibited", "destination-IP-unroutable", "connection-refused",
    "connection-terminated", "connection-timeout", "connection-read-timeout",
    "connection-write-timeout", "connection-limit-reached", "TLS-protocol-error",
    "TLS-certificate-error", "TLS-alert-received", "HTTP-request-denied",
    "HTTP-request-length-required", "HTTP-request-body-size", "HTTP-request-method-invalid",
    "HTTP-request-URI-invalid", "HTTP-request-URI-too-long", "HTTP-request-header-section-size",
    "HTTP-request-header-size", "HTTP-request-trailer-section-size", "HTTP-request-trailer-size",
    "HTTP-response-incomplete", "HTTP-response-header-section-size", "HTTP-response-header-size",
    "HTTP-response-body-size", "HTTP-response-trailer-section-size",
    "HTTP-response-trailer-size", "HTTP-response-transfer-coding",
    "HTTP-response-content-coding", "HTTP-response-timeout", "HTTP-upgrade-failed",
    "HTTP-protocol-error", "loop-detected", "configuration-error", "internal-error",
]  # fmt: skip
"""The names of `error-code` (WASI 0.2, wasi:http/types), in its order."""

ERROR_NAMES: tuple[Code, ...] = get_args(Code)

TEXT_CHARACTERS_MAX = 1024
"""Characters of a text in a failure; a guest's may be as long as its memory."""

_STATUSES: dict[Code, int] = {
    "DNS-timeout": 504,
    "destination-not-found": 500,
    "destination-unavailable": 503,
    "connection-timeout": 504,
    "connection-read-timeout": 504,
    "connection-write-timeout": 504,
    "connection-limit-reached": 503,
    "HTTP-request-denied": 403,
    "HTTP-request-length-required": 411,
    "HTTP-request-body-size": 413,
    "HTTP-request-method-invalid": 400,
    "HTTP-request-URI-invalid": 400,
    "HTTP-request-URI-too-long": 414,
    "HTTP-request-header-section-size": 431,
    "HTTP-request-header-size": 431,
    "HTTP-request-trailer-section-size": 400,
    "HTTP-request-trailer-size": 400,
    "HTTP-response-timeout": 504,
    "configuration-error": 500,
    "internal-error": 500,
}
"""What RFC 9209, from which the codes come, recommends where it is not 502."""


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """An error-code, and what belongs to it: none of them has more than a number and a text."""

    code: Code
    number: int | None = None  # a size in bytes, the id of an alert, or `info-code`
    text: str | None = None  # a message, the name of a field, a coding, or `rcode`

    @property
    def status(self) -> int:
        """Return the status of an answer to a request that failed so."""
        return _STATUSES.get(self.code, 502)

    @property
    def line(self) -> str:
        """Return it as the adapter reads it."""
        number = "" if self.number is None else self.number
        text = "" if self.text is None else self.text[:TEXT_CHARACTERS_MAX]
        return f"!{ERROR_NAMES.index(self.code)}\n{number}\n{text}"

    def __str__(self) -> str:
        number = "" if self.number is None else str(self.number)
        details = ", ".join(each for each in (self.text, number) if each)
        return f"{self.code}: {details}" if details else self.code


def failure_in(line: str) -> HttpFailure:
    """Return the failure of a line by the adapter, as `HttpFailure.line` writes it."""
    place, _, rest = line.removeprefix("!").partition("\n")
    number, _, text = rest.partition("\n")
    return HttpFailure(
        ERROR_NAMES[int(place)], int(number) if number else None, text[:TEXT_CHARACTERS_MAX] or None
    )


def error_code(name: Code) -> int:
    """Return the place of an error-code."""
    return ERROR_NAMES.index(name)


TERMINATED = HttpFailure("connection-terminated")
DENIED = HttpFailure("HTTP-request-denied")
