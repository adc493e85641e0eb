"""Components that this machine does not run any more, because they brought its hosts down.

A supervisor writes them into a file (see `hosts.supervision`); its hosts read it before they start
a replica, and look now and then whether one that runs has to go. The file ends with the supervisor.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from lattice.errors import DeniedError
from lattice.model.ids import Digest

QUARANTINE_BYTES_MAX = 1024 * 1024
"""Size of the file: thousands of components; a larger one was not written here."""

log = logging.getLogger(__name__)


class Quarantine:
    """What a host must not start. Without a file, as without a supervisor, that is nothing."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None  # (inode, time, size) of what was read
        self._reasons: Mapping[str, str] = {}

    def require_none_of(self, images: Mapping[str, str]) -> None:
        """Return if none of these components is quarantined; they are digests by name.

        Raises:
            DeniedError: one is; the component, the reason and the remedy are named.
        """
        self.look()
        if fault := self.fault_of(images):
            raise DeniedError(fault)

    def fault_of(self, images: Mapping[str, str]) -> str | None:
        """Return why these components must not run, as of the last look, or None if they may."""
        for name, image in images.items():
            if (reason := self._reasons.get(image)) is not None:
                return (
                    f"component {name} ({image}) is quarantined on this machine: {reason}; "
                    "apply another version of it, or restart `lattice host` to try again"
                )
        return None

    def look(self) -> None:
        """Read the file if it has changed. One that cannot be read changes nothing."""
        if self._path is None:
            return
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen == self._seen:
                return
            with self._path.open("rb") as file:
                content = json.loads(file.read(QUARANTINE_BYTES_MAX))
            self._reasons = {str(digest): str(reason) for digest, reason in content.items()}
            self._seen = seen
        except FileNotFoundError:
            self._reasons, self._seen = {}, None
        except (OSError, ValueError, AttributeError) as error:
            log.warning("the list of quarantined components cannot be read: %s", error)


def write_quarantine(path: Path, components: Mapping[Digest, str]) -> None:
    """Replace the list that the hosts of this machine read: reasons by digest.

    Raises:
        DeniedError: it cannot be written.
    """
    from lattice.bus.identity import write_private  # not above: hosts only read, and start sooner

    write_private(path, json.dumps(dict(components), indent=1).encode())
