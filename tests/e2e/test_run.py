"""`lattice run` with real processes: bytes, exit statuses, signals, and no lattice anywhere."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from lattice.testing import eventually
from tests.guests import components, interpreter, web_guests
from tests.guests.languages import building

pytestmark = [pytest.mark.e2e, pytest.mark.wasm]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
PROMPT_S = 5.0
"""Seconds within which Ctrl-C ends a guest, on a machine with other work to do."""

ENVIRONMENT = {
    **os.environ,
    # What is compiled once stays compiled: a Python guest takes some seconds.
    "XDG_CACHE_HOME": str(building.BUILD / "cache"),
    "LATTICE_NATS": "nats://nobody.invalid:1",
    "SECRET": "of this process",
}


def start(*words: str | Path, **options: object) -> subprocess.Popen[bytes]:
    pipes: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    pipes |= {"stdin": subprocess.DEVNULL, **options}
    command = [sys.executable, "-m", "lattice", "run", *words]
    return subprocess.Popen(command, env=ENVIRONMENT, **pipes)  # type: ignore[call-overload]  # as Popen takes them


def run(*words: str | Path) -> tuple[int, bytes, bytes]:
    """Return exit status, output and error output."""
    process = start(*words)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def run_without(descriptor: int, *words: str | Path) -> tuple[int, bytes, bytes]:
    """Return the same when a standard stream is closed."""
    shell = ["/bin/sh", "-c", f'exec "$@" {descriptor}>&-', "sh"]
    done = subprocess.run(
        [*shell, sys.executable, "-m", "lattice", "run", *words],
        env=ENVIRONMENT, capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@contextmanager
def running(*words: str | Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = start(*words, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def command() -> Path:
    return building.command()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, body: bytes) -> Path:
        (tmp_path / name).write_bytes(body)
        return tmp_path / name

    return write


# --- commands -------------------------------------------------------------------------------------


def test_command_gets_the_words_after_two_dashes(command: Path) -> None:
    words = ["a", "b  c", "--env", "--", "ü", ""]
    assert run(command, "--", "echo", *words) == (0, " ".join(words).encode() + b"\n", b"")


def test_command_sees_what_is_granted_and_nothing_of_this_process(command: Path) -> None:
    assert run(command, "--", "env") == (0, b"", b"")
    granted = run(command, "--env", "A=1", "--env", "B=x=y", "--", "env")
    assert granted == (0, b"A=1\nB=x=y\n", b"")
    assert run(command, "--config", "level=high", "--", "config", "level")[1] == b"high\n"
    assert run(command, "--", "config", "level")[1] == b"none\n"


def test_output_is_passed_on_byte_for_byte(command: Path) -> None:
    assert run(command, "--", "bytes") == (0, bytes(range(256)), b"complaint")


def test_input_is_passed_on_byte_for_byte_from_a_pipe(command: Path) -> None:
    body = bytes(range(256)) * 1000
    process = start(command, "--", "cat", stdin=subprocess.PIPE)
    assert process.communicate(body, timeout=PATIENCE_S) == (body, b"")
    assert process.returncode == 0


def test_input_comes_from_files_and_may_be_empty_or_closed(command: Path, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(bytes(range(256)) * 1000)
    with path.open("rb") as body:
        out, err = start(command, "--", "cat", stdin=body).communicate(timeout=PATIENCE_S)
    assert (out, err) == (path.read_bytes(), b"")
    assert run(command, "--", "cat") == (0, b"", b"")
    assert run_without(0, command, "--", "cat") == (0, b"", b"")


@pytest.mark.parametrize("descriptor", [1, 2])
def test_output_that_is_closed_goes_nowhere(command: Path, descriptor: int) -> None:
    whole = [bytes(range(256)), b"complaint"]
    whole[descriptor - 1] = b""
    assert run_without(descriptor, command, "--", "bytes") == (0, *whole)


def test_guest_that_reads_answers_each_line_and_ends_with_a_signal(command: Path) -> None:
    with running(command, "--", "cat", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)  # while it waits for a third
        assert process.wait(PROMPT_S) == 130


@pytest.mark.parametrize(
    ("word", "status", "out"), [("fail", 1, b""), ("exit", 1, b"leaving"), ("unknown", 1, b"")]
)
def test_status_of_the_command_is_the_status(
    command: Path, word: str, status: int, out: bytes
) -> None:
    assert run(command, "--", word) == (status, out, b"")


def test_trap_prints_the_backtrace_and_ends_with_134(command: Path) -> None:
    status, out, err = run(command, "--", "trap")
    assert (status, out) == (134, b"")
    assert b"wasm backtrace" in err
    assert b"unreachable" in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("word", ["wait", "spin"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_a_guest_that_waits_or_computes(
    command: Path, word: str, number: signal.Signals, status: int
) -> None:
    with running(command, "--", word) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == {"wait": b"waiting\n", "spin": b"spinning\n"}[word]
        process.send_signal(number)
        assert process.wait(PROMPT_S) == status
        assert process.communicate() == (b"", b"")


async def test_signal_ends_a_guest_whose_reader_is_stuck(command: Path) -> None:
    with running(command, "--", "lines") as process:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        seen: list[int] = []

        def is_full() -> bool:
            (size,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
            seen.append(size)
            return size > 32 * 1024 and seen[-3:] == [size] * 3

        await eventually(is_full, PATIENCE_S, what="the pipe is full")
        process.send_signal(signal.SIGINT)
        assert process.wait(PROMPT_S) == 130


def test_reader_that_goes_away_ends_the_command(command: Path) -> None:
    with running(command, "--", "lines") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 141
        process.stdout = None


def test_time_limit_ends_the_command(command: Path) -> None:
    status, out, err = run(command, "--timeout", "200ms", "--", "spin")
    assert (status, out) == (5, b"spinning\n")
    assert b"did not return within 0.2 s" in err


def test_ordinary_program_runs_unmodified(tmp_path: Path) -> None:
    try:
        program = building.c_command()
    except building.Unavailable as reason:
        pytest.skip(str(reason))
    assert run(program, "--", "Ada", "Bo") == (0, b"Hello, Ada!\nHello, Bo!\n", b"")
    assert run(program, "--env", "GREETING=Hei", "--", "Ada")[1] == b"Hei, Ada!\n"
    status, out, err = run(program)
    assert (status, out) == (1, b"")  # WASI 0.2 knows no other failure
    assert err == f"usage: {program.name} NAME... | --cat FILE\n".encode()
    body = bytes(range(256)) * 1000
    (tmp_path / "body").write_bytes(body)
    assert run(program, f"--mount={tmp_path}:/:ro", "--", "--cat", "body") == (0, body, b"")
    assert run(program, "--", "--cat", "body")[0] == 1


# --- functions ------------------------------------------------------------------------------------


def test_value_is_one_line_of_json(file: Callable[[str, bytes], Path]) -> None:
    add = file("add.wasm", components.add())
    assert run(add, "add", "40", "2") == (0, b"42\n", b"")
    divide = file("divide.wasm", components.divide())
    assert run(divide, "divide", "1", "0")[1] == b'["err", "division by zero"]\n'
    talker = file("talker.wasm", components.talker())
    assert run(talker, "say", "hi") == (0, b"hi", b"")
    assert run(talker, "complain", "oh", "--output", "json") == (0, b"null\n", b"oh")


LONG = ["longer"] * 20


@pytest.mark.parametrize(
    ("words", "shown"),
    [(["one", "two"], '["one", "two"]'), (LONG, json.dumps(LONG, indent=2))],
    ids=["short", "long"],
)
def test_value_on_a_terminal_is_laid_out_if_it_is_long(words: list[str], shown: str) -> None:
    guest = ROOT / "examples" / "docsearch" / "guests" / "tokenize" / "tokenize.wasm"
    ours, theirs = pty.openpty()
    try:
        process = start(guest, "tokenize", " ".join(words), stdout=theirs)
        process.communicate(timeout=PATIENCE_S)
        assert os.read(ours, 4096).decode().replace("\r\n", "\n") == shown + "\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_components_are_linked(file: Callable[[str, bytes], Path]) -> None:
    greeter = file("greeter.wasm", components.greeter())
    hello = file("hello.wasm", components.hello())
    assert run(greeter, "welcome", "Ada", "--link", hello) == (0, b'"Hello, Ada!"\n', b"")
    misfit = file("misfit.wasm", components.hostile()["wrong-type"])
    status, _, err = run(greeter, "welcome", "Ada", "--link", misfit)
    assert status == 1
    assert b"the types differ" in err


def test_trap_of_a_function_ends_with_134(file: Callable[[str, bytes], Path]) -> None:
    status, out, err = run(file("trap.wasm", components.hostile()["trap"]), "run")
    assert (status, out) == (134, b"")
    assert b"wasm backtrace" in err


def test_component_that_needs_too_much_memory_is_told(
    file: Callable[[str, bytes], Path],
) -> None:
    status, _, err = run(file("m.wasm", components.hostile()["huge-memory"]), "run", "--memory=1Mi")
    assert status in (1, 134)
    assert b"memory" in err


def test_mounts_are_what_the_guest_sees_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "note").write_text("found")
    (tmp_path / "secret").write_text("secret")
    guest = tmp_path / "python.wasm"
    guest.write_bytes(interpreter.interpreter())

    def python(source: str, *mounts: str) -> list[str]:
        options = [f"--mount={mount}" for mount in mounts]
        status, out, err = run(guest, "run", json.dumps(source), *options)
        assert status == 0, err
        found: list[str] = json.loads(out)
        return found

    data = f"{tmp_path / 'data'}"
    assert python("result = open('/data/note').read()", f"{data}:/data:ro") == ["ok", "found"]
    kind, fault = python("open('/data/new', 'w')", f"{data}:/data:ro")
    assert (kind, "Error" in fault) == ("err", True)
    assert python("result = open('/data/new', 'w').write('x')", f"{data}:/data") == ["ok", "1"]
    assert (tmp_path / "data" / "new").read_text() == "x"
    assert python("result = open('/note').read()", f"{data}:/") == ["ok", "found"]
    assert python("open('/../secret')", f"{data}:/")[0] == "err"
    assert python("result = os.listdir('/')")[0] == "err"


def test_streams_of_a_guest_are_the_in_and_output(file: Callable[[str, bytes], Path]) -> None:
    guest = file("streams", components.streams())
    done = subprocess.run(
        [sys.executable, "-m", "lattice", "run", guest, "upper"],
        input=b"some letters\n" * 100_000, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"1300000\n")
    assert done.stdout == b"SOME LETTERS\n" * 100_000


def test_requests_go_where_a_host_is_allowed(file: Callable[[str, bytes], Path]) -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.path.encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    guest = file("courier.wasm", web_guests.courier())
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        authority = f"127.0.0.1:{server.server_port}"
        asked = [guest, "--env", f"AUTHORITY={authority}"]
        allowed = run(*asked, "--allow-host", f"http://{authority}")
        assert allowed == (0, b"200 /courier\n", b"")
        status, out, err = run(*asked, "--allow-host", "*")
        assert (status, out) == (1, b"error 4\n")
        assert f"the grant http://{authority} would allow it" in err.decode()
        status, _, err = run(*asked, "--allow-host", "ftp://a", "--allow-host", "a b")
        assert status == 2
        assert b"'ftp://a' grants no requests" in err
        server.shutdown()
