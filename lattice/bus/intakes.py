"""Where messages to a guarded store go in truth: the subject that only its writers know.

A server answers wherever a request says, with its own rights, so a subject that stores what comes
must not be one that others can name. The stream of a guarded store therefore listens on a subject
with a random token, and keeps what comes under the subject that everybody reads. This is the table
from the one to the other; who fills it is `lattice.bus.jetstream_api`. It talks to nobody.
"""

from __future__ import annotations


class Intakes:
    """The known intakes of one connection, by family: a subject's beginning with its last dot."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def learn(self, family: str, intake: str) -> None:
        """Send what is meant for `family` to `intake` from now on; the two may be the same."""
        self._known[family] = intake

    def forget(self) -> None:
        """Know none any more, because one was wrong."""
        self._known.clear()

    def knows(self, family: str) -> bool:
        """Tell whether a family's intake is known."""
        return family in self._known

    def address(self, subject: str) -> str:
        """Return where a message to a subject goes."""
        for family, intake in self._known.items():
            if subject.startswith(family):
                return intake + subject[len(family) :]
        return subject

    def subject(self, address: str) -> str:
        """Return what errors call an address: whoever reads them must not learn the intake.

        An address may come in lower case, as nats-py reports it.
        """
        for family, intake in self._known.items():
            if address.lower().startswith(intake.lower()):
                return family + address[len(intake) :]
        return address
