"""Components that are run alone: what fits together, and which function is meant."""

from __future__ import annotations

import pytest
from wasmtime import wat2wasm

from hosts.standalone import arguments, assemble
from lattice.errors import InvalidError, NotFoundError
from tests.guests import components

ADD = "test:math/add@0.1.0"


def test_imports_are_joined_to_the_exports_of_the_others():
    assembly = assemble([("greeter", components.greeter()), ("hello", components.hello())])
    assert [(link.part, link.interface, link.to) for link in assembly.links] == [
        ("greeter", "test:hello/greet@0.1.0", "hello")
    ]
    assert [str(choice) for choice in assembly.functions] == ["test:greeter/welcome@0.1.0#welcome"]


def test_every_missing_import_is_named_and_none_of_the_standard_world():
    with pytest.raises(InvalidError, match="imports are missing") as caught:
        assemble([("greeter", components.greeter()), ("ticket", components.ticket())])
    assert [fault.partition(" is ")[0] for fault in caught.value.faults] == [
        "greeter: import test:hello/greet@0.1.0",
        "ticket: import test:counter/counter@0.1.0",
    ]
    assert assemble([("talker", components.talker())]).links == ()


def test_another_wasi_than_ours_is_named():
    body = wat2wasm('(component (import "wasi:cli/stdout@0.3.0" (instance (export "f" (func)))))')
    with pytest.raises(InvalidError, match=r"wasi:cli/stdout@0\.3\.0 .* version 0\.2 here"):
        assemble([("late", bytes(body))])


def test_import_that_two_others_export_is_refused():
    files = [
        ("greeter", components.greeter()),
        ("a", components.hello()),
        ("b", components.hello()),
    ]
    with pytest.raises(InvalidError, match="more than one"):
        assemble(files)


def test_what_is_no_component_is_named():
    for fault, body in components.not_components().items():
        with pytest.raises(InvalidError, match=r"^x\.wasm: "):
            assemble([("x.wasm", body)])
        assert fault


def test_file_that_is_given_twice_is_refused():
    with pytest.raises(InvalidError, match="given twice"):
        assemble([("a", components.add()), ("a", components.add())])


@pytest.mark.parametrize("wanted", ["add", f"{ADD}#add", "test:math/add#add", "add#add"])
def test_function_is_found_by_each_of_its_names(wanted):
    choice = assemble([("add", components.add())]).choose(wanted)
    assert (choice.interface, choice.function) == (ADD, "add")
    assert choice.signature == f"{ADD}#add: func(a: u32, b: u32) -> u32"


def test_unknown_function_is_told_with_the_nearest_and_all_there_are():
    assembly = assemble([("add", components.add())])
    with pytest.raises(NotFoundError) as caught:
        assembly.choose("ad")
    assert "(nearest: 'add')" in caught.value.message
    assert f"{ADD}#add: func(a: u32, b: u32) -> u32" in caught.value.message


def test_name_of_two_functions_is_refused_with_both():
    body = wat2wasm(
        """(component
          (core module $m (func (export "go")))
          (core instance $i (instantiate $m))
          (func $go (canon lift (core func $i "go")))
          (instance $it (export "go" (func $go)))
          (export "t:a/x@0.1.0" (instance $it))
          (export "t:a/y@0.1.0" (instance $it)))"""
    )
    assembly = assemble([("both", bytes(body))])
    assert str(assembly.choose("y#go")) == "t:a/y@0.1.0#go"
    with pytest.raises(InvalidError, match="names 2 functions") as caught:
        assembly.choose("go")
    assert caught.value.faults == ("t:a/x@0.1.0#go: func()", "t:a/y@0.1.0#go: func()")


def test_empty_interface_means_the_root():
    assembly = assemble([("root", components.root())])
    assert str(assembly.choose("#answer")) == "answer"
    with pytest.raises(NotFoundError):
        assemble([("add", components.add())]).choose("#add")


def test_component_without_run_is_no_command():
    assert assemble([("add", components.add())]).command is None


def test_arguments_that_do_not_fit_are_told_with_the_type():
    choice = assemble([("add", components.add())]).choose("add")
    assert arguments(choice, [1, 2]) == [1, 2]
    for values in ([1], [1, -1], [1, "x"]):
        with pytest.raises(InvalidError, match=r"func\(a: u32, b: u32\) -> u32"):
            arguments(choice, values)
