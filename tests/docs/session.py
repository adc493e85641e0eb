"""A shell in which the commands of one page are typed, one after the other.

It stands in a folder that looks like a checkout, has a home of its own, and keeps what a person's
shell keeps: the working directory and the variables.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import ziglang

from lattice.testing import eventually
from tests.docs.pages import ROOT, Command, is_shown
from tests.guests.languages import building

COMMAND_S = 120.0
"""Seconds for one command; the longest builds a guest in Python on a busy machine."""

END_S = 15.0
"""Seconds in which what runs in the background ends."""

_SHOWN = (
    "examples", "docs", "bench", "tests", "scripts", "wit", "Makefile", "README.md", ".build",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A home and a folder like a checkout, which the sessions of all pages share."""

    home: Path
    checkout: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def path(self) -> str:
        """Where programs are found."""
        return self.environment["PATH"]


def make_place(folder: Path) -> Place:
    """Return a new home, and a checkout whose `.venv` builds each guest only once."""
    home, checkout = folder / "home", folder / "checkout"
    home.mkdir(parents=True)
    checkout.mkdir()
    (ROOT / ".build" / "docs").mkdir(parents=True, exist_ok=True)
    for name in _SHOWN:
        (checkout / name).symlink_to(ROOT / name)
    _imitate_venv(checkout / ".venv")
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "200",
        # What is compiled once stays compiled: the next run of these tests is quick.
        "XDG_CACHE_HOME": str(ROOT / ".build" / "docs" / "cache"),
        **_settings_of_tools(),
    }
    return Place(home=home, checkout=checkout, environment=environment)


def _settings_of_tools() -> dict[str, str]:
    """Return where npm, Zig and Go find what they fetched and built, in spite of a new home."""
    kept = {name: value for name, value in os.environ.items() if name.lower().startswith("npm_")}
    kept.setdefault("npm_config_userconfig", str(Path.home() / ".npmrc"))
    zig = os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(Path.home() / ".cache" / "zig"))
    # What Zig built counts for the place of its library only, and each run has another `.venv`.
    library = Path(ziglang.__file__).resolve().parent / "lib"
    return {
        **kept,
        "npm_config_cache": str(ROOT / ".build" / "docs" / "npm"),
        "npm_config_update_notifier": "false",
        "ZIG_GLOBAL_CACHE_DIR": zig,
        "ZIG_LIB_DIR": str(library),
        "GOCACHE": str(building.GO_CACHE),
    }


def _imitate_venv(venv: Path) -> None:
    """Make an environment of links to the running one, with a `componentize-py` that caches."""
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != "bin":
            (venv / entry.name).symlink_to(entry)
    (venv / "bin").mkdir()
    for entry in (Path(sys.prefix) / "bin").iterdir():
        if entry.name != "componentize-py":
            (venv / "bin" / entry.name).symlink_to(entry)
    wrapper = venv / "bin" / "componentize-py"
    script = Path(__file__).with_name("cached_build.py")
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {script} "$@"\n')
    wrapper.chmod(0o755)


class Session:
    """A running shell; leaving the context ends it and what it started."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=place.checkout, env=place.environment,
        )  # fmt: skip
        self._said: Queue[str] = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()
        self._log = place.home / "output"
        self._background: list[int] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in reversed(self._background):
            self._end(pid)
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        try:
            self._shell.wait(END_S)
        except subprocess.TimeoutExpired:
            self._shell.kill()
            self._shell.wait()
        self._reader.join()
        self._shell.stdout.close()

    @property
    def home(self) -> Path:
        """The home of whoever types."""
        return self._place.home

    @property
    def directory(self) -> Path:
        """Where the shell stands."""
        return Path(self.run("pwd")[1].strip())

    def run(self, text: str) -> tuple[int, str]:
        """Type a command; return its status, and its output and errors together."""
        log = shlex.quote(str(self._log))
        status = self._type(f"{{ {text}\n}} > {log} 2>&1 < /dev/null; echo $?", text)
        return int(status), self._log.read_text(errors="replace")

    async def start(self, command: Command) -> None:
        """Start a command that runs until the session ends; wait for the output that is shown.

        Raises:
            AssertionError: it ended, or did not say that in time.
        """
        log = self._place.home / f"background-{len(self._background)}"
        log.touch()
        text = f"( exec {command.text} ) > {shlex.quote(str(log))} 2>&1 < /dev/null & echo $!"
        pid = int(self._type(text, command.text))
        self._background.append(pid)

        def is_ready() -> bool:
            said = log.read_text(errors="replace")
            is_gone = not self._type(f"kill -0 {pid} 2>/dev/null; echo $?", "kill").startswith("0")
            assert not is_gone, f"{command.text} ended:\n{said}"
            return is_shown((*command.shown, "..."), said)

        await eventually(is_ready, COMMAND_S, what=f"{command.text} says {command.shown}")

    def _type(self, text: str, shown: str) -> str:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text + "\n")
        self._shell.stdin.flush()
        try:
            line = self._said.get(timeout=COMMAND_S)
        except Empty:
            raise AssertionError(f"no end of {shown!r} within {COMMAND_S:g} s") from None
        assert line, f"the shell ended at {shown!r}"
        return line

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self._said.put(line)
        self._said.put("")

    def _end(self, pid: int) -> None:
        # `wait` is the shell's: the process is its child.
        self.run(f"kill -{signal.SIGTERM.value} {pid}; wait {pid}")
