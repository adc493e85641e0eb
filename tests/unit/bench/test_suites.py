"""Suites are found by name, say what they have, and yield what they say."""

import pytest

from bench.running import _written_url
from bench.suites import all_suites, known_names, select
from bench.suites.kernel import component_text
from lattice.component.reader import read_component


def test_names_select_everything_a_suite_a_group_or_a_case() -> None:
    suites = all_suites()
    assert set(select("all", suites)) == set(suites)
    assert select("kernel", suites) == {"kernel": suites["kernel"].cases}
    assert set(select("lattice", suites)) == {"lattice_calls", "lattice_recovery"}
    assert select("call_remote", suites) == {"lattice_calls": ("call_remote",)}
    assert select("nothing", suites) == {}


def test_every_suite_says_what_it_is_and_no_case_has_two_homes() -> None:
    suites = all_suites().values()
    assert all(suite.what and suite.cases for suite in suites)
    names = [case for suite in suites for case in suite.cases]
    assert len(names) == len(set(names))
    assert all(name in known_names(all_suites()) for name in names)


async def test_the_kernel_suite_yields_the_wanted_cases_and_both_sides_agree() -> None:
    suite = all_suites()["kernel"]
    async with suite.open(suite.cases) as cases:
        assert tuple(case.name for case in cases) == suite.cases
        for case in cases:
            case.check()
    async with suite.open(("subjects",)) as cases:
        assert [case.name for case in cases] == ["subjects"]


@pytest.mark.wasm
def test_the_made_component_has_as_many_interfaces_as_asked_for() -> None:
    import wasmtime

    body = bytes(wasmtime.wat2wasm(component_text(3)))
    component = read_component(body)
    assert len(component.imports) == 3
    assert all(len(each.functions) == 8 for each in component.imports.values())


def test_a_half_written_ports_file_is_read_again_later(tmp_path) -> None:
    assert _written_url(tmp_path) == ""
    ports = tmp_path / "nats-server_1.ports"
    ports.write_text('{"nats": [')
    assert _written_url(tmp_path) == ""
    ports.write_text('{"nats": ["nats://127.0.0.1:4222"]}')
    assert _written_url(tmp_path) == "nats://127.0.0.1:4222"
