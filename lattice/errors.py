"""The errors of the lattice: one class for each reaction that a caller can have.

Every error has a *kind*, which is its name on the wire, and facts as attributes in `details`,
so that nobody parses a message. `to_wire` and `from_wire` are the only mapping between an
exception here and the `{kind, message, retryable, details}` map of the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class LatticeError(Exception):
    """Base of every error that this project raises on purpose.

    `details` holds plain values only (what MessagePack and JSON can carry).
    """

    kind: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, object] = details

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling with the details kept."""
        return (_rebuild, (type(self), self.message, self.details))

    def to_wire(self) -> dict[str, object]:
        """Return the `err` map of the protocol."""
        return {
            "kind": self.kind,
            "message": self.message,
            "retryable": self.retryable,
            "details": self.details,
        }


class InvalidError(LatticeError):
    """The request is wrong and stays wrong: the asker mends it. All faults are listed.

    `faults` has one line for each fault, with the path of the bad field first.
    """

    kind = "invalid"

    def __init__(self, message: str, faults: Sequence[str] = (), **details: object) -> None:
        listed = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(message + listed, faults=list(faults), **details)
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling; the message holds the faults already."""
        return (_rebuild, (type(self), self.message, self.details))


class DecodeError(InvalidError):
    """Bytes from a peer are not what the protocol says: the peer's fault, never retried."""


class NotFoundError(LatticeError):
    """The named thing does not exist: the asker names another or creates it."""

    kind = "not-found"


class NoRouteError(LatticeError):
    """Nobody answers for the target now: retry after the lattice changed."""

    kind = "no-route"
    retryable = True


class OverloadedError(LatticeError):
    """The target is full: retry elsewhere, or here after `details["retry_after_ms"]`."""

    kind = "overloaded"
    retryable = True


class DeadlineExceededError(LatticeError):
    """No answer within the asker's time: whether the effect happened is unknown."""

    kind = "deadline"


class GuestTrapError(LatticeError):
    """The guest's code stopped on a trap: its author's matter. The message has the backtrace."""

    kind = "trap"


class DeniedError(LatticeError):
    """A permission or grant is missing: the operator's matter. The message names it."""

    kind = "denied"


class ConflictError(LatticeError):
    """Somebody else changed or holds it: reread and decide again."""

    kind = "conflict"


class IncompatibleError(LatticeError):
    """Types, features or versions of two sides differ: both are shown."""

    kind = "incompatible"


class InternalError(LatticeError):
    """A mistake of ours: reported with the id under which the log has the cause."""

    kind = "internal"


class UnavailableError(LatticeError):
    """The lattice itself cannot be reached (NATS is down, or refuses us): check the connection."""

    kind = "unavailable"
    retryable = True


class OutcomeUnknownError(UnavailableError):
    """A write was sent and no answer came: it may or may not have taken place.

    The writer must treat it as both, and overwrite or reread before it decides anything else.
    """

    kind = "outcome-unknown"


_BY_KIND: dict[str, type[LatticeError]] = {
    cls.kind: cls
    for cls in (
        InvalidError,
        NotFoundError,
        NoRouteError,
        OverloadedError,
        DeadlineExceededError,
        GuestTrapError,
        DeniedError,
        ConflictError,
        IncompatibleError,
        InternalError,
        UnavailableError,
        OutcomeUnknownError,
    )
}


def from_wire(err: Mapping[str, object]) -> LatticeError:
    """Return the exception that an `err` map of the protocol stands for.

    An unknown kind becomes `InternalError`, so that a newer peer is never silent.
    """
    kind = str(err.get("kind", "internal"))
    details = err.get("details")
    plain = {str(k): v for k, v in details.items()} if isinstance(details, Mapping) else {}
    return _rebuild(_BY_KIND.get(kind, InternalError), str(err.get("message", kind)), plain)


def _rebuild(cls: type[LatticeError], message: str, details: Mapping[str, object]) -> LatticeError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.message = message
    error.details = dict(details)
    if isinstance(error, InvalidError):
        faults = details.get("faults")
        error.faults = tuple(map(str, faults)) if isinstance(faults, list | tuple) else ()
    return error


def first_cause(error: BaseException) -> BaseException:
    """Return the first error inside an exception group, or the error itself.

    Task groups wrap what their tasks raise; whoever asked wants the cause.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
