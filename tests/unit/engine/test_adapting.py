"""Who gets the WASI adapter, and how the switch turns it off."""

from __future__ import annotations

import pytest

from hosts.engine.adapting import ADAPTER, SWITCH, adapt, is_adapter_used
from hosts.engine.base import Link
from hosts.engine.compose import compose
from lattice.component.reader import read_component
from lattice.errors import InvalidError
from tests.contract.engine.building import part
from tests.guests import components
from tests.integration.observer import observer

pytestmark = pytest.mark.wasm


def test_parts_that_import_no_wasi_stay_as_they_are() -> None:
    parts = [part("a", components.hello()), part("b", components.greeter())]
    links = [Link("b", "test:hello/greet@0.1.0", "a")]
    assert adapt(parts, links) == (parts, links)


def test_imports_of_wasi_are_linked_to_the_adapter_and_others_are_not() -> None:
    parts, links = adapt([part("a", components.add()), part("b", observer())], [])
    assert [each.name for each in parts] == ["a", "b", ADAPTER]
    assert sorted(link.interface for link in links) == [
        "wasi:cli/environment@0.2.0",
        "wasi:cli/exit@0.2.0",
        "wasi:filesystem/preopens@0.2.0",
        "wasi:filesystem/types@0.2.0",
    ]
    assert {(link.part, link.to) for link in links} == {("b", ADAPTER)}


def test_import_that_is_linked_already_stays_so() -> None:
    given = [Link("a", "wasi:cli/environment@0.2.3", "virtual")]
    _, links = adapt([part("a", observer())], given)
    assert "wasi:cli/environment@0.2.0" not in [link.interface for link in links]


def test_what_the_adapter_exports_is_hidden() -> None:
    parts, links = adapt([part("a", components.talker())], [])
    joined = read_component(compose(parts, links, hidden=(ADAPTER,)))
    assert list(joined.exports) == ["test:talker/talk@0.1.0"]
    assert {name.partition("/")[0] for name in joined.imports} == {"lattice:wasi-host"}


def test_the_switch_has_two_words() -> None:
    assert is_adapter_used({})
    assert is_adapter_used({SWITCH: "adapter"})
    assert not is_adapter_used({SWITCH: "builtin"})
    with pytest.raises(InvalidError, match="LATTICE_WASI=none: expected adapter or builtin"):
        is_adapter_used({SWITCH: "none"})
