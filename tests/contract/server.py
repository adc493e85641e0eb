"""A nats-server of any configuration, for tests about connecting and about odd permissions.

All others run on the product's own broker with its least-permission users, `lattice.bus.embedded`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from lattice.bus.broker_files import find_binary

START_S = 10.0
POLL_S = 0.005
CONFIGURATION = """
listen: "127.0.0.1:{port}"
max_payload: 1MB
jetstream {{ store_dir: "{store}", max_mem: 64MB, max_file: 64GB }}
{extra}
"""


class PlainServer:
    """A child process on loopback."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        self.url = ""
        self._directory = directory
        self._store = directory / "store"
        self._configuration = directory / "nats.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._extra = extra

    def start(self) -> None:
        self._write()
        for path in self._directory.glob("*.ports"):
            path.unlink()
        command = [find_binary(), "-c", self._configuration, "--ports_file_dir", self._directory]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        end = time.monotonic() + START_S
        while not self._has_port():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_S)
            if self._process.returncode is not None or time.monotonic() > end:
                raise AssertionError((self._directory / "log").read_text()[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(START_S)
            self._process = None

    def reload(self, extra: str) -> None:
        """Let it take another configuration while it runs."""
        assert self._process is not None
        self._extra = extra
        self._write()
        self._process.send_signal(signal.SIGHUP)

    def _write(self) -> None:
        port = self.url.rpartition(":")[2] or "-1"
        text = CONFIGURATION.format(port=port, store=self._store, extra=self._extra)
        self._configuration.write_text(text)

    def _has_port(self) -> bool:
        for path in self._directory.glob("*.ports"):
            try:
                self.url = json.loads(path.read_text())["nats"][0]
            except ValueError:
                continue  # it is being written
            return True
        return False
