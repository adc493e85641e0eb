"""Small components for tests, as bytes: well-behaved ones and hostile ones.

Each function names its interface and functions, so that a test needs not open the WAT text; the
texts lie in `plain/` and `hostile/`. Nothing here starts an engine or knows the product.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import wasmtime

FOLDER = Path(__file__).parent

RUN = "test:guest/run@0.1.0"
"""The interface of most hostile guests: run() -> u32."""


def add() -> bytes:
    """`test:math/add@0.1.0`: add(a: u32, b: u32) -> u32, modulo 2^32."""
    return _plain("add")


def divide() -> bytes:
    """`test:math/divide@0.1.0`: divide(a: s32, b: s32) -> result<s32, string>."""
    return _plain("divide")


def echo() -> bytes:
    """`test:text/echo@0.1.0`: echo(text: string) -> string."""
    return _plain("echo")


def root() -> bytes:
    """Functions at the root: add(a: u32, b: u32) -> u32 and answer() -> u32, which is 42."""
    return _plain("root")


def hello() -> bytes:
    """`test:hello/greet@0.1.0`: greet(name: string) -> string, "Hello, NAME!"."""
    return _plain("hello")


def greeter() -> bytes:
    """`test:greeter/welcome@0.1.0`: welcome(name: string) -> string; imports `test:hello/greet`."""
    return _plain("greeter")


def counter() -> bytes:
    """A service, `test:counter/counter@0.1.0`: start(), next() -> u64, starts() -> u32, fail()."""
    return _plain("counter")


def ticket() -> bytes:
    """`test:ticket/ticket@0.1.0`: draw() -> u64 = next() + 1; imports `test:counter/counter`."""
    return _plain("ticket")


def waiter() -> bytes:
    """`RUN`: wait(1) + wait(2) + wait(3) of its import `test:host/gate@0.1.0`."""
    return _plain("waiter")


def keeper() -> bytes:
    """Functions at the root that use resources of its import `test:things/things@0.1.0`.

    All are `(n: u32) -> u32`. churn: makes, gets and drops n things, the sum; get-often: n gets of
    one thing of value 1; leave: makes n things and keeps them; wait: the value of a thing that came
    later and was waited for; merge: n + 100 by way of two things; give-back: passes a thing back;
    find: a thing's value or 0; many: the sum of a list of things. Those that trap: use-dropped,
    use-given, use-other (of another type), use-invented, drop-twice.
    """
    return _plain("keeper")


def proxy() -> bytes:
    """`test:proxy/proxy@0.1.0`: calls whom it is told to, by `lattice:invoke/dynamic@0.1.0`."""
    return _plain("proxy")


def submitter() -> bytes:
    """`test:jobs/submitter@0.1.0`: submits jobs, by `lattice:jobs/jobs@0.1.0`; see its text."""
    return _plain("submitter")


@cache
def values() -> bytes:
    """`test:values/echo@0.1.0`: one function for each shape of value; see `values/values.wit`."""
    return _with_wit(FOLDER / "values" / "values.wit", FOLDER / "values" / "values.wat")


@cache
def talker() -> bytes:
    """`test:talker/talk@0.1.0`: say(text: string) to standard output, complain(...) to error."""
    return _with_wit(FOLDER / "talker" / "talker.wit", FOLDER / "talker" / "talker.wat")


@cache
def streams() -> bytes:
    """`test:streams/work@0.1.0`, in C: uses the byte streams of its calls; see its WIT."""
    folder, wit = FOLDER / "streams", FOLDER.parent.parent / "wit" / "lattice-streams.wit"
    with tempfile.TemporaryDirectory() as temporary:
        packages, module = Path(temporary) / "wit", Path(temporary) / "core.wasm"
        (packages / "deps").mkdir(parents=True)
        for text, place in ((folder / "streams.wit", packages), (wit, packages / "deps")):
            (place / text.name).write_bytes(text.read_bytes())
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding"]
        flags = ["-nostdlib", "-Wl,--no-entry", "-O2", "-s"]
        subprocess.run([*compiler, *flags, folder / "streams.c", "-o", module], check=True)
        return _componentized(packages, module, "streams")


@cache
def hostile() -> dict[str, bytes]:
    """Return every hostile component by name; all of them are valid components.

    Exporting `RUN`: spin, trap, recurse, grow, grow-table, grow-trap, huge-memory, trap-at-birth,
    divide-by-zero, out-of-bounds, missing-import (`nobody:home/thing@0.1.0`), calls-itself
    (imports `RUN` too). Others: start-traps and start-spins (a `counter` that never gets ready),
    wrong-type (a `hello` that does not fit `greeter`), bad-results (breaks the canonical ABI),
    big-result (`test:guest/big@0.1.0`: a string of two megabytes).
    """
    return {path.stem: _compile(path) for path in sorted((FOLDER / "hostile").glob("*.wat"))}


def not_components() -> dict[str, bytes]:
    """Return bytes that must be refused as components, by what is wrong with them."""
    body = add()
    return {
        "empty": b"",
        "text": b"this is no component\n",
        "core module": bytes(wasmtime.wat2wasm("(module)")),
        "cut in the middle": body[: len(body) // 2],
        "header only, unknown version": b"\0asm\x77\0\x01\0",
        "bad section length": body[:9] + b"\xff\xff\xff\xff\x0f" + body[10:],
    }


def nothing() -> bytes:
    """Return the smallest component: it imports and exports nothing."""
    return bytes(wasmtime.wat2wasm("(component)"))


def padded(body: bytes, size: int = 300_000) -> bytes:
    """Return the component with a custom section of `size` bytes, which says nothing."""
    content = b"\x03pad" + bytes(size)
    return body + b"\0" + _unsigned(len(content)) + content


@cache
def bulky() -> bytes:
    """`test:math/add@0.1.0` with 4,000 functions that nobody calls: takes a second to compile."""
    step = "local.get 0 local.get 0 i32.const 7 i32.mul i32.const 3 i32.rotl i32.add local.set 0 "
    function = f"(func (param i32) (result i32) {step * 30} local.get 0)"
    text = (FOLDER / "plain" / "add.wat").read_text(encoding="utf-8")
    head, found, tail = text.partition("(core module")
    name, opening, rest = tail.partition("(func")
    assert found, "the text has a core module"
    assert opening, "the module has a function"
    return bytes(wasmtime.wat2wasm(f"{head}{found}{name}{function * 4000} {opening}{rest}"))


def crowd(size: int, copies: int) -> bytes:
    """Return a component that makes `copies` times `size` core instances when it is made."""
    module = "(core module $code (memory 0))"
    inner = f"(component $inner {module} {'(core instance (instantiate $code))' * size})"
    return bytes(
        wasmtime.wat2wasm(f"(component {inner} {'(instance (instantiate $inner))' * copies})")
    )


def ends_the_validator() -> bytes:
    """Return a component on which the validator of wasmtime 49 aborts its process.

    It passes two labelled imports of one type on to a component inside.
    """
    label = '(implements "lib:kv/store@0.1.0")'
    store = """(type $store (instance
      (type $item' (record (field "data" (list u8))))
      (export "item" (type $item (eq $item')))
      (export "get" (func (result $item)))))"""
    text = f"""(component {store}
      (import "first" {label} (instance $first (type $store)))
      (import "second" {label} (instance $second (type $store)))
      (component $inner {store}
        (import "first" {label} (instance (type $store)))
        (import "second" {label} (instance (type $store))))
      (instance (instantiate $inner
        (with "first" (instance $first)) (with "second" (instance $second)))))"""
    return bytes(wasmtime.wat2wasm(text))


def _unsigned(number: int) -> bytes:
    """Return a number in LEB128."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _unsigned(rest) if rest else bytes([low])


@cache
def _plain(name: str) -> bytes:
    return _compile(FOLDER / "plain" / f"{name}.wat")


def _compile(path: Path) -> bytes:
    return bytes(wasmtime.wat2wasm(path.read_text(encoding="utf-8")))


def _with_wit(wit: Path, core: Path) -> bytes:
    """Return the component that a core module and the one world of a WIT file make together."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "core.wasm"
        module.write_bytes(_compile(core))
        return _componentized(wit, module, wit.stem)


def _componentized(wit: Path, module: Path, world: str) -> bytes:
    """Return the component that a core module makes, by a world of WIT."""
    tool = Path(sysconfig.get_path("scripts")) / "wasm-tools"
    with tempfile.TemporaryDirectory() as folder:
        embedded, component = Path(folder) / "embedded.wasm", Path(folder) / "component.wasm"
        embed: list[str | Path] = [tool, "component", "embed", wit, module, "--world", world]
        subprocess.run([*embed, "--output", embedded], check=True)
        subprocess.run([tool, "component", "new", embedded, "--output", component], check=True)
        return component.read_bytes()
