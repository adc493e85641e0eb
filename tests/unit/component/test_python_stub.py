"""Generated Python modules: what they say for which WIT, and that their values mean the same."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lattice.client import typed
from lattice.component.fingerprint import function_fingerprint
from lattice.component.python_stub import python_stub
from lattice.component.reader import callable_exports, read_component
from lattice.component.types import (
    EnumType,
    FlagsType,
    Function,
    Interface,
    ListType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    StreamType,
    TupleType,
    VariantType,
)
from lattice.errors import DecodeError, InvalidError
from lattice.wire.values import check_value
from tests.guests import components
from tests.unit.wire.wit_strategies import WIT_TYPES, values_of

ROOT = Path(__file__).parents[3]
NAMES = itertools.count()
TEXT, NUMBER = Primitive("string"), Primitive("u32")

USE = """
from typing import assert_type

import lattice
from lattice.client import CallResult, Status, sync
from lattice.wire.messages import Event
from lattice.client import typed
import values
import waiting


async def main() -> None:
    async with lattice.connect() as client:
        echo = values.Echo(client, "echo", deadline_s=2.0, key="k")
        point = await echo.record(values.Point(x=1, y=2.0, name=""))
        assert_type(point.x, int)
        shape = await echo.variant(values.ShapeCircle(2.0))
        if shape.tag == "circle":
            assert_type(shape.value, float)
        match await echo.result(typed.Ok(1)):
            case typed.Ok(value):
                assert_type(value, int)
            case typed.Err(why):
                assert_type(why, str)


def script(client: sync.SyncClient) -> None:
    assert_type(client.status("a"), Status)
    assert_type(client.call("a", "f", detail=True), CallResult)
    for event in client.events(follow=True):
        assert_type(event, Event)
    assert_type(waiting.Echo(client, "echo").enum_(waiting.Color.RED), waiting.Color)
"""


def hard() -> dict[str, Interface]:
    """Interfaces whose names mean something in Python, twice over."""
    none = NamedType("a:b/types", "none", RecordType((("none", TEXT), ("list", ListType(TEXT)))))
    other = NamedType("a:b/more", "none", EnumType(("name", "value", "mro", "class")))
    final = NamedType("a:b/types", "final", FlagsType(("read", "x-y")))
    shape = NamedType("a:b/types", "shape", VariantType((("none", None), ("dot", none))))
    dot = NamedType(
        "a:b/types", "shape-dot", RecordType((("from", OptionType(OptionType(final))),))
    )
    functions = {
        "list": Function(params=(("list", ListType(none)), ("self", TEXT)), result=ListType(other)),
        "call": Function(params=(("result", shape), ("type", dot)), result=ResultType(None, None)),
        "typed": Function(params=(("import", TupleType(())),), result=RecordType((("a-b", TEXT),))),
        "print": Function(docs='Ends with """quotes""" and a \\ and "one"'),
    }
    same = Interface(name="c:d/types", functions={"print": Function()})
    return {
        "a:b/types": Interface(name="a:b/types", functions=functions),
        "c:d/types": same,
        "": Interface(name="", functions={"print": Function(result=TEXT)}),
    }


@contextmanager
def loaded(text: str) -> Iterator[ModuleType]:
    """Give the module that a text is."""
    module = ModuleType(f"generated_{next(NAMES)}")
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, module.__name__, "exec"), module.__dict__)
        yield module
    finally:
        del sys.modules[module.__name__]


def values_module(*, blocking: bool = False) -> str:
    return python_stub(callable_exports(read_component(components.values())), blocking=blocking)


def operations(module: ModuleType) -> list[typed.Operation]:
    return [each for each in vars(module).values() if isinstance(each, typed.Operation)]


@pytest.mark.timeout(300)
def test_what_is_generated_and_how_it_is_used_passes_mypy_strictly(tmp_path: Path) -> None:
    (tmp_path / "values.py").write_text(values_module())
    (tmp_path / "waiting.py").write_text(values_module(blocking=True))
    (tmp_path / "hard.py").write_text(python_stub(hard()))
    (tmp_path / "use.py").write_text(USE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary",
         "--cache-dir", ROOT / ".build" / "mypy", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_the_same_types_give_the_same_text_in_every_process() -> None:
    line = "from tests.unit.component.test_python_stub import *; print(values_module(), end='')"
    texts = {
        subprocess.run(
            [sys.executable, "-c", line], cwd=ROOT, env={"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert texts == {values_module()}


def test_names_that_mean_something_in_python_are_written_otherwise() -> None:
    with loaded(python_stub(hard())) as module:
        methods = [name for name in vars(module.Types) if not name.startswith("_")]
        assert methods == ["list_", "call", "typed_", "print"]
        assert list(inspect.signature(module.Types.list_).parameters) == ["self", "list_", "self_"]
        assert inspect.getdoc(module.DTypes) == "`c:d/types`."
        assert inspect.getdoc(module.Root) == "Functions at the root of the component."
        assert [each.name for each in fields(module.TypesNone)] == ["none", "list_"]
        assert [member.value for member in module.MoreNone] == ["name", "value", "mro", "class"]


@pytest.mark.parametrize(
    ("wit", "reason"),
    [
        (OwnType(ResourceType("a:b/c", "r")), "a handle of a resource"),
        (ListType(StreamType(None)), "a stream has no form outside of the component"),
        (Primitive("error-context"), "an error-context"),
    ],
)
def test_a_function_without_values_is_left_out_with_the_reason(wit: Any, reason: str) -> None:
    functions = {"f": Function(params=(("a", wit),)), "g": Function()}
    text = python_stub({"a:b/c": Interface(name="a:b/c", functions=functions)})
    assert f"# Left out, as {reason}" in text
    assert [each.name for each in operations_of(text)] == ["g"]


def operations_of(text: str) -> list[typed.Operation]:
    with loaded(text) as module:
        return operations(module)


def test_nothing_to_bind_is_an_error() -> None:
    with pytest.raises(InvalidError, match="exports no function that could be called"):
        python_stub({})


def test_documentation_becomes_docstrings() -> None:
    docs = 'Says """hello""".\n\nTwice, with a \\ and "quotes"'
    interface = Interface(name="a:b/c", functions={"f": Function(docs=docs)}, docs="All of it.")
    with loaded(python_stub({"a:b/c": interface})) as module:
        assert inspect.getdoc(module.C) == "All of it.\n\n`a:b/c`."
        assert inspect.getdoc(module.C.f) == f"{docs}\n\n`f: func()`"


def test_what_does_not_fit_is_refused_with_all_its_places() -> None:
    with loaded(values_module()) as module:
        record = next(each for each in operations(module) if each.name == "record")
        with pytest.raises(
            InvalidError, match=r"value\.x: expected an integer \(s32\), found 'one'"
        ):
            record.lower([module.Point(x="one", y=2.0, name="n")])
        with pytest.raises(InvalidError, match="expected Point, found 3"):
            record.lower([3])
        with pytest.raises(DecodeError, match=r"the result of .*#record does not fit"):
            record.lift({"x": 1})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_values_of_any_type_come_back_as_they_were(data: st.DataObject) -> None:
    wit = data.draw(WIT_TYPES)
    function = Function(params=(("value", wit),), result=wit)
    interface = Interface(name="docs:a/f", functions={"f": function, "g": Function()})
    text = python_stub({"docs:a/f": interface})
    assert text == python_stub({"docs:a/f": interface})
    with loaded(text) as module:
        found = {each.name: each for each in operations(module)}
        operation = found.get("f")
        if operation is None:
            assert "a handle of a resource" in text
            return
        assert operation.fingerprint == function_fingerprint(function)
        assert operation.fingerprint == function_fingerprint(operation.type)
        value = check_value(wit, data.draw(values_of(wit)))
        lifted = operation.lift(value)
        assert operation.lower([lifted]) == [value]
        assert operation.lift(operation.lower([lifted])[0]) == lifted
