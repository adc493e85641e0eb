"""How answers are shown: tables and lines for people, JSON for programs.

Nothing is ever cut: on a terminal long values wrap, elsewhere lines are as long as they need.
Colours appear only on a terminal. Values are printed as they are, never read as markup.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from lattice.errors import LatticeError
from lattice.model.ids import host_short
from lattice.model.labels import RESERVED_PREFIX

if TYPE_CHECKING:
    from lattice.client.deploying import Progress, Upload
    from lattice.client.views import Status

_KEY = re.compile(r"\bU[A-Z2-7]{55}\b")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def print_json(value: object) -> None:
    """Print one value as one JSON document, indented."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False, default=_bytes))


def print_json_line(value: object) -> None:
    """Print one value as one line of JSON at once, for a stream of them."""
    print(json.dumps(plain(value), ensure_ascii=False, default=_bytes), flush=True)


def print_aside(value: object) -> None:
    """Print one value as one line of JSON on the standard error output, where the output itself
    has the bytes of a stream; nothing for None.
    """
    if value is not None:
        line = json.dumps(plain(value), ensure_ascii=False, default=_bytes)
        print(line, file=sys.stderr, flush=True)


def print_json_to_fit(value: object) -> None:
    """Print one value as one line of JSON; indented on a terminal that it is too long for."""
    line = json.dumps(plain(value), ensure_ascii=False, default=_bytes)
    if sys.stdout.isatty() and len(line) > shutil.get_terminal_size().columns:
        print_json(value)
    else:
        print(line)


def print_error(error: LatticeError, *, as_json: bool) -> None:
    """Print an error on stderr: its message, or the `err` map of the protocol."""
    if as_json:
        print(json.dumps({"err": error.to_wire()}, default=str), file=sys.stderr)
    else:
        print(f"error: {error.message}", file=sys.stderr)


def plain(value: object) -> Any:
    """Return maps, sequences and scalars in place of dataclasses; bytes stay."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under headings, or `empty` on stderr when there are none."""
    filled = [[text_of(cell) for cell in row] for row in rows]
    if not filled:
        print(empty, file=sys.stderr)
        return
    if not sys.stdout.isatty():
        _print_plain(columns, filled)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.upper(), overflow="fold")
    for row in filled:
        table.add_row(*(Text(printable(cell), style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


_STYLES = {
    "running": "green",
    "ready": "green",
    "assigned": "yellow",
    "progressing": "yellow",
    "degraded": "yellow",
    "ok": "green",
    "warn": "yellow",
    "starting": "yellow",
    "failed": "red",
    "fail": "red",
    "crash-loop": "red",
    "lost": "red",
}


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [
        [name.upper() for name in columns],
        *([_one_line(cell) for cell in row] for row in rows),
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


def _one_line(cell: str) -> str:
    """Return a cell whose lines cannot be taken for rows: what reads a pipe counts on that."""
    return " | ".join(printable(line).strip() for line in cell.splitlines())


def text_of(value: object) -> str:
    """Return a value as one cell of a table."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case Mapping():
            return ",".join(f"{key}={item}" for key, item in value.items()) or "-"
        case list() | tuple():
            return ", ".join(text_of(item) for item in value) or "-"
        case _:
            return str(value)


def printable(text: str) -> str:
    """Return text without control characters: what a guest wrote must not steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def short_ids(text: str) -> str:
    """Return text with each public key cut to as much as tells hosts apart and names one."""
    return _KEY.sub(lambda found: host_short(found[0]), text)


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that somebody gave, without those that every host finds itself."""
    return {key: value for key, value in labels.items() if not key.startswith(RESERVED_PREFIX)}


def clock_time(time_s: float) -> str:
    """Return seconds since the Unix epoch as local time with milliseconds."""
    local = datetime.fromtimestamp(time_s, UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S.") + f"{local.microsecond // 1000:03d}"


def size_text(size_bytes: float) -> str:
    """Return bytes for people, roughly: three digits and a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size_bytes) < 1024 or unit == "TiB":
            break
        size_bytes /= 1024
    is_whole = unit == "B" or abs(size_bytes) >= 100
    return f"{size_bytes:.0f} {unit}" if is_whole else f"{size_bytes:.3g} {unit}"


@contextmanager
def progress_bars() -> Iterator[Progress | None]:
    """Yield what shows uploads and waiting on a terminal; None when stderr is none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskID,
        TextColumn,
        TransferSpeedColumn,
    )
    from rich.progress import (
        Progress as Bars,
    )

    from lattice.client.deploying import Upload
    from lattice.client.views import Status

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        known: dict[str, TaskID] = {}

        def show(step: Upload | Status) -> None:
            match step:
                case Upload():
                    key = f"{step.deployment}/{step.name}"
                    if key not in known:
                        known[key] = bars.add_task(f"uploading {key}", total=step.all_bytes)
                    bars.update(known[key], completed=step.sent_bytes)
                case Status():
                    bars.console.print(status_line(step), markup=False, highlight=False)

        yield show


def status_line(status: Status) -> str:
    """Return how far a deployment is, as one line."""
    missing = f", {status.unplaced} unplaced" if status.unplaced else ""
    failed = f", {status.failed} failed" if status.failed else ""
    return (
        f"{status.name} generation {status.generation}: {status.state}, "
        f"{status.running} of {status.wanted} replicas run{failed}{missing}"
    )


def _bytes(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)
