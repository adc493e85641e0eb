"""The error-codes of `wasi:http`, by their places: what a guest or the host says went wrong."""

from __future__ import annotations

from typing import get_args

from hosts.http.outgoing import Code

ERROR_NAMES: tuple[Code, ...] = get_args(Code)
"""In the order of the variant `error-code`."""

CONNECTION_TERMINATED = ERROR_NAMES.index("connection-terminated")
REQUEST_DENIED = ERROR_NAMES.index("HTTP-request-denied")


def error_name(code: int) -> str:
    """Return the name of an error-code, or its number if there is none such."""
    return ERROR_NAMES[code] if code < len(ERROR_NAMES) else str(code)


def error_code(name: Code) -> int:
    """Return the place of an error-code."""
    return ERROR_NAMES.index(name)
