"""How the imports of a workload are satisfied, and every fault that keeps it from being one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lattice.component.fingerprint import function_fingerprint
from lattice.component.programs import run_interface
from lattice.component.types import (
    BorrowType,
    ComponentType,
    Function,
    Interface,
    ListType,
    NamedType,
    OptionType,
    OwnType,
    Primitive,
    ResourceType,
    ResultType,
    StreamType,
    WitType,
)
from lattice.component.wiring import (
    COMPOSED,
    CapabilityUse,
    Connection,
    InternalWire,
    LinkTarget,
    Program,
    Resolution,
    resolve,
)
from lattice.errors import InvalidError
from lattice.model.deployment import Binding, Component, Deployment, Link, Service, Wire
from lattice.model.ids import DeploymentName

STRING, U32 = Primitive("string"), Primitive("u32")
SPLIT = Function(params=(("text", STRING),), result=STRING)
COUNT = Function(params=(("text", STRING),), result=U32)
TOKENIZE, QUERY, INDEX = "docs:text/tokenize@0.1.0", "docs:search/query@0.1.0", "docs:index/store"
TYPE_OF_SPLIT = function_fingerprint(SPLIT)


def interface(name: str, function: Function = SPLIT) -> Interface:
    return Interface(name=name, functions={"split": function})


def part(
    imports: list[str | Interface] | None = None,
    exports: list[str | Interface] | None = None,
    labels: dict[str, str] | None = None,
) -> ComponentType:
    """A component whose interfaces have a function `split` each, unless they are given."""

    def by_name(items: list[str | Interface] | None) -> dict[str, Interface]:
        found = [interface(item) if isinstance(item, str) else item for item in items or []]
        return {each.name: each for each in found}

    imported = by_name(imports)
    imported |= {label: interface(name) for label, name in (labels or {}).items()}
    return ComponentType(imports=imported, exports=by_name(exports), labels=labels or {})


def deployment(
    components: tuple[str, ...] = (), services: tuple[str, ...] = (), **fields: Any
) -> Deployment:
    return Deployment(
        name=DeploymentName("docsearch"),
        components=tuple(Component(name=name, image=f"./{name}.wasm") for name in components),
        services=tuple(Service(name=name, image=f"./{name}.wasm") for name in services),
        **fields,
    )


def faults(wanted: Deployment, types: dict[str, ComponentType]) -> tuple[str, ...]:
    with pytest.raises(InvalidError) as caught:
        resolve(wanted, types)
    assert "deployment 'docsearch' does not fit together" in caught.value.message
    return caught.value.faults


def link(name: str = TOKENIZE, to: str = "dictionary") -> Link:
    return Link(interface=name, to=DeploymentName(to), route="remote", timeout_s=0.5)


def target(name: str = TOKENIZE, to: str = "dictionary") -> LinkTarget:
    return LinkTarget(
        deployment=to,
        interface=name,
        route="remote",
        timeout_s=0.5,
        types={"split": TYPE_OF_SPLIT},
    )


def test_the_one_export_of_the_workload_satisfies_an_import() -> None:
    found = resolve(
        deployment(("rank", "tokenize")),
        {"rank": part([TOKENIZE], [QUERY]), "tokenize": part(exports=["docs:text/tokenize@0.1.4"])},
    )

    wire = InternalWire(
        part="rank", interface=TOKENIZE, to="tokenize", to_interface="docs:text/tokenize@0.1.4"
    )
    assert found == Resolution(
        programs=(Program(name=COMPOSED, parts=("rank", "tokenize"), wires=(wire,)),),
        exposed={QUERY: {"split": TYPE_OF_SPLIT}},
        exposed_by={QUERY: COMPOSED},
    )


def test_a_service_is_a_program_of_its_own_and_circles_through_it_are_fine() -> None:
    found = resolve(
        deployment(("rank",), ("index",)),
        {"rank": part([INDEX], [QUERY]), "index": part([QUERY], [INDEX])},
    )

    assert found.programs == (
        Program(name=COMPOSED, parts=("rank",)),
        Program(name="index", parts=("index",)),
    )
    assert found.connections == (
        Connection(program=COMPOSED, interface=INDEX, to="index", to_interface=INDEX),
        Connection(program="index", interface=QUERY, to=COMPOSED, to_interface=QUERY),
    )
    assert found.exposed == {}


def test_wiring_decides_between_two_exports() -> None:
    types = {
        "rank": part([TOKENIZE], [QUERY]),
        "plain": part(exports=[TOKENIZE]),
        "smart": part(exports=[TOKENIZE]),
    }
    wanted = deployment(("rank", "plain", "smart"), expose=(QUERY,))

    assert faults(wanted, types) == (
        (
            f"rank: import {TOKENIZE} is satisfied by more than one: part plain, part smart; "
            "say which one under `wiring`"
        ),
    )
    wire = Wire(part="rank", interface="docs:text/tokenize", to="smart")
    found = resolve(replace(wanted, wiring=(wire,)), types)
    assert [each.to for each in found.programs[0].wires] == ["smart"]


def test_a_part_does_not_satisfy_itself() -> None:
    found = resolve(
        deployment(("outer", "inner")),
        {"outer": part([QUERY], [QUERY]), "inner": part(exports=[QUERY])},
    )

    assert [(each.part, each.to) for each in found.programs[0].wires] == [("outer", "inner")]
    assert found.exposed_by == {QUERY: COMPOSED}


def test_a_link_satisfies_what_the_workload_does_not_export() -> None:
    found = resolve(deployment(("rank",), links=(link(),)), {"rank": part([TOKENIZE], [QUERY])})

    assert found.connections == (Connection(program=COMPOSED, interface=TOKENIZE, link=target()),)
    assert found.interfaces == ()


def test_a_binding_asks_the_host_for_an_interface() -> None:
    store = "wasi:keyvalue/store@0.2.0-draft"
    binding = Binding(interface="wasi:keyvalue/store", config={"bucket": "docs"})
    found = resolve(
        deployment((), ("index",), bindings=(binding,)), {"index": part([store], [INDEX])}
    )

    assert found.capabilities == (
        CapabilityUse(
            program="index", interface=store, binding="default", config={"bucket": "docs"}
        ),
    )
    assert found.interfaces == (store,)
    assert found.connections == ()


def test_a_label_chooses_the_binding_of_its_name() -> None:
    store = "wasi:keyvalue/store@0.2.0"
    bindings = tuple(Binding(interface=store, name=name) for name in ("default", "cache"))
    labels = {"cache": store}
    found = resolve(
        deployment(("rank", "log"), bindings=bindings),
        {"rank": part(labels=labels), "log": part([store])},
    )

    assert [(use.interface, use.binding) for use in found.capabilities] == [
        ("cache", "cache"),
        (store, "default"),
    ]


def test_the_standard_world_needs_no_grant_but_a_host_that_offers_it() -> None:
    wanted = ["wasi:cli/stdout@0.2.9", "wasi:io/streams@0.2.3", "wasi:logging/logging@0.1.0-draft"]
    found = resolve(deployment(("rank",)), {"rank": part([*wanted])})

    assert found.interfaces == tuple(wanted)
    assert found.connections == ()


def test_an_interface_of_types_only_needs_nothing() -> None:
    hit = NamedType("docs:types/types", "hit", U32)
    types: dict[str, WitType] = {"hit": hit}
    plain = Interface(name="docs:types/types", types=types)
    with_resource = Interface(
        name="docs:types/more", types={"r": ResourceType("docs:types/more", "r")}
    )

    assert resolve(deployment(("rank",)), {"rank": part([plain])}).interfaces == ()
    assert faults(deployment(("rank",)), {"rank": part([with_resource])}) == (
        (
            "rank: import docs:types/more is satisfied by nothing; "
            "add a part that exports it, a link or a binding"
        ),
    )


def test_what_nothing_satisfies_is_named_with_the_nearest() -> None:
    types = {
        "rank": part([TOKENIZE, "docs:index/stor"], [QUERY]),
        "tokenize": part(exports=["docs:text/tokenize@0.2.0", INDEX]),
    }

    assert faults(deployment(("rank", "tokenize")), types) == (
        (
            f"rank: import {TOKENIZE} is satisfied by nothing; docs:text/tokenize@0.2.0 is "
            "exported by tokenize, but versions are compatible only within one track"
        ),
        (
            f"rank: import docs:index/stor is satisfied by nothing (nearest: '{INDEX}'); "
            "add a part that exports it, a link or a binding"
        ),
    )


def test_parts_that_do_not_fit_each_other_are_told_apart_in_wit() -> None:
    types = {
        "rank": part([interface(TOKENIZE, COUNT)], [QUERY]),
        "tokenize": part(exports=[TOKENIZE]),
    }

    assert faults(deployment(("rank", "tokenize")), types) == (
        (
            f"rank: import {TOKENIZE} does not fit the export of tokenize: "
            "function 'split' differs in result: wanted `u32`, offered `string`"
        ),
    )


def test_a_circle_of_components_is_named() -> None:
    types = {
        "a": part(["x:x/b"], ["x:x/a", QUERY]),
        "b": part(["x:x/c"], ["x:x/b"]),
        "c": part(["x:x/a"], ["x:x/c"]),
    }

    assert faults(deployment(("a", "b", "c")), types) == (
        (
            "components import each other in a circle: a -> b -> c -> a; "
            "make one of them a service or `compose: lazy`, or split it"
        ),
    )


def test_entries_that_satisfy_nothing_are_faults() -> None:
    wanted = deployment(
        ("rank", "tokenize"),
        wiring=(Wire(part="rank", interface="docs:text/tokenise", to="tokenize"),),
        links=(link(), link("docs:dict/lookup")),
        bindings=(Binding(interface="docs:text/tokenizer"),),
    )
    types = {"rank": part([TOKENIZE], [QUERY]), "tokenize": part(exports=[TOKENIZE])}

    assert faults(wanted, types) == (
        f"wiring: rank does not import docs:text/tokenise (nearest: '{TOKENIZE}')",
        f"links: {TOKENIZE} is not used: rank: import {TOKENIZE} is satisfied by part tokenize",
        "links: docs:dict/lookup is imported by no part",
        f"bindings: docs:text/tokenizer default is imported by no part (nearest: '{TOKENIZE}')",
    )


def test_a_wire_to_a_part_without_the_export_is_a_fault() -> None:
    wanted = deployment(
        ("rank", "tokenize"),
        wiring=(Wire(part="rank", interface=TOKENIZE, to="tokenize"),),
    )
    types = {"rank": part([TOKENIZE], [QUERY]), "tokenize": part(exports=["docs:text/tokens"])}

    assert faults(wanted, types) == (
        (
            f"rank: import {TOKENIZE} is wired to tokenize, which does not export it "
            "(nearest: 'docs:text/tokens')"
        ),
    )


def test_two_links_for_one_import_are_a_fault() -> None:
    wanted = deployment(("rank",), links=(link(), link(to="thesaurus")))

    assert faults(wanted, {"rank": part([TOKENIZE])}) == (
        (
            f"rank: import {TOKENIZE} is satisfied by more than one: the link to dictionary, "
            "the link to thesaurus; keep one"
        ),
    )


def test_components_share_their_imports_under_the_highest_version() -> None:
    old, new = "docs:text/tokenize@0.1.2", "docs:text/tokenize@0.1.10"
    wider = Interface(name=new, functions={"count": COUNT})
    found = resolve(
        deployment(("a", "b"), links=(link("docs:text/tokenize"),)),
        {"a": part([old]), "b": part([wider])},
    )

    (connection,) = found.connections
    assert connection.interface == new
    assert connection.link is not None
    assert connection.link.types == {
        "split": TYPE_OF_SPLIT,
        "count": function_fingerprint(COUNT),
    }


def test_components_that_want_different_things_of_one_import_are_a_fault() -> None:
    wanted = deployment(
        ("a", "b", "c"),
        ("one", "two"),
        wiring=(
            Wire(part="a", interface=TOKENIZE, to="one"),
            Wire(part="b", interface=TOKENIZE, to="two"),
        ),
        expose=(),
    )
    types = {
        "a": part([TOKENIZE, interface("x:y/z")]),
        "b": part([TOKENIZE]),
        "c": part([interface("x:y/z", COUNT)]),
        "one": part(exports=[TOKENIZE]),
        "two": part(exports=[TOKENIZE]),
    }

    assert faults(replace(wanted, links=(link("x:y/z"),)), types) == (
        (
            f"a, b: shared import {TOKENIZE} is satisfied differently, by part one and by "
            "part two; components of one workload share their imports"
        ),
        (
            "a, c: shared import x:y/z: function 'split' differs in result: "
            "wanted `u32`, offered `string`"
        ),
    )


def test_expose_lists_what_may_be_called() -> None:
    types = {"rank": part(exports=[QUERY, TOKENIZE])}

    found = resolve(deployment(("rank",), expose=("docs:search/query",)), types)
    assert found.exposed == {QUERY: {"split": TYPE_OF_SPLIT}}
    assert resolve(deployment(("rank",), expose=()), types).exposed == {}


def test_exposing_what_no_part_exports_is_a_fault() -> None:
    wanted = deployment(("rank",), expose=("docs:search/queri",))

    assert faults(wanted, {"rank": part(exports=[QUERY])}) == (
        (
            f"expose: docs:search/queri is exported by no part (nearest: '{QUERY}'), "
            f"exported are {QUERY}"
        ),
    )


def test_two_parts_that_export_one_interface_cannot_both_be_exposed() -> None:
    types = {"a": part(exports=[QUERY]), "b": part(exports=[QUERY])}

    assert faults(deployment(("a",), ("b",)), types) == (
        f"expose: {QUERY} is exported by a and b; list under `expose` only what one part exports",
    )


def test_what_only_the_host_calls_is_not_exposed() -> None:
    root = Interface(name="", functions={"start": Function(), "init": Function()})
    types = {
        "one": part(exports=[root, "wasi:cli/run@0.2.0"]),
        "two": part(exports=[root, "wasi:cli/run@0.2.0", INDEX]),
    }

    assert resolve(deployment((), ("one", "two")), types).exposed == {
        INDEX: {"split": TYPE_OF_SPLIT}
    }


def test_functions_at_the_root_of_several_components_are_exposed_together() -> None:
    types = {
        "a": part(exports=[Interface(name="", functions={"ping": SPLIT})]),
        "b": part(exports=[Interface(name="", functions={"pong": SPLIT})]),
    }

    found = resolve(deployment(("a", "b")), types)
    assert found.exposed == {"": {"ping": TYPE_OF_SPLIT, "pong": TYPE_OF_SPLIT}}
    assert found.exposed_by == {"": COMPOSED}


def test_imports_at_the_root_are_satisfied_by_a_part_that_exports_them_all() -> None:
    root = Interface(name="", functions={"split": SPLIT})
    types = {"a": part([root], [QUERY]), "b": part(exports=[root])}

    found = resolve(deployment(("a", "b")), types)
    assert found.programs[0].wires == (
        InternalWire(part="a", interface="", to="b", to_interface=""),
    )
    assert faults(deployment(("a",)), {"a": types["a"]}) == (
        (
            "a: import of split at the root is satisfied by nothing; "
            "add a part that exports it at its root"
        ),
    )


def test_all_faults_are_listed_at_once() -> None:
    wanted = deployment(("a", "b"), expose=("x:y/nothing",), links=(link("x:y/unused"),))
    types = {"a": part(["x:y/none", "x:x/b"], ["x:x/a"]), "b": part(["x:x/a"], ["x:x/b"])}

    found = faults(wanted, types)
    assert len(found) == 4
    assert [line.split(" ", 1)[0] for line in found] == ["a:", "links:", "components", "expose:"]


def test_a_part_without_a_type_is_a_fault() -> None:
    with pytest.raises(InvalidError, match="a: its type is not known"):
        resolve(deployment(("a",)), {})


def lazy(wanted: Deployment, *names: str) -> Deployment:
    return replace(
        wanted,
        components=tuple(
            replace(each, compose="lazy") if each.name in names else each
            for each in wanted.components
        ),
    )


def test_a_lazy_component_is_a_program_of_its_own_in_both_directions() -> None:
    types = {
        "rank": part([INDEX], [QUERY]),
        "index": part([TOKENIZE], [INDEX]),
        "tokenize": part(exports=[TOKENIZE]),
    }
    found = resolve(lazy(deployment(("rank", "index", "tokenize")), "index"), types)

    assert found.programs == (
        Program(name=COMPOSED, parts=("rank", "tokenize")),
        Program(name="index", parts=("index",)),
    )
    assert found.connections == (
        Connection(program=COMPOSED, interface=INDEX, to="index", to_interface=INDEX),
        Connection(program="index", interface=TOKENIZE, to=COMPOSED, to_interface=TOKENIZE),
    )
    assert found.exposed_by == {QUERY: COMPOSED}


def test_what_a_lazy_component_exports_may_be_called_from_outside() -> None:
    found = resolve(lazy(deployment(("rank",)), "rank"), {"rank": part(exports=[QUERY])})

    assert found.programs == (Program(name="rank", parts=("rank",)),)
    assert found.exposed_by == {QUERY: "rank"}


def test_components_in_a_circle_may_be_lazy() -> None:
    types = {"a": part(["x:x/b"], ["x:x/a"]), "b": part(["x:x/a"], ["x:x/b"])}
    found = resolve(lazy(deployment(("a", "b")), "b"), types)

    assert [(each.program, each.to) for each in found.connections] == [
        (COMPOSED, "b"),
        ("b", COMPOSED),
    ]


CURSOR = ResourceType("docs:index/store", "cursor")
OPENING = Interface(
    name=INDEX,
    types={"cursor": CURSOR},
    functions={"open": Function(params=(("text", STRING),), result=OwnType(CURSOR))},
)


def test_resources_do_not_cross_to_a_lazy_component_or_a_service() -> None:
    types = {"rank": part([OPENING], [QUERY]), "index": part(exports=[OPENING])}

    assert faults(lazy(deployment(("rank", "index")), "index"), types) == (
        (
            f"rank: import {INDEX} is satisfied by part index in another program, where its "
            "resource cursor cannot go; give index `compose: eager`"
        ),
    )
    (fault,) = faults(deployment(("rank",), ("index",)), types)
    assert fault.endswith("cannot go; only components that are composed share those")
    composed = resolve(deployment(("rank", "index")), types)
    assert [each.to for each in composed.programs[0].wires] == ["index"]


def test_functions_that_use_handles_or_streams_of_elsewhere_do_not_cross() -> None:
    pull = Function(params=(("from", ListType(BorrowType(CURSOR))),))
    flow = Function(result=OptionType(StreamType(U32)))
    fine = Function(result=STRING)
    reading = Interface(name=TOKENIZE, functions={"pull": pull, "flow": flow, "fine": fine})
    types = {"rank": part([reading], [QUERY]), "index": part(exports=[reading])}

    (fault,) = faults(deployment(("rank",), ("index",)), types)
    assert "where resources, streams and futures of pull, flow cannot go" in fault
    (linked,) = faults(deployment(("rank",), links=(link(),)), {"rank": part([reading], [QUERY])})
    assert "is satisfied by deployment dictionary in another program" in linked


def test_composed_components_that_want_contrary_things_of_their_world_are_a_fault() -> None:
    wanted = deployment(("a", "b", "c"))
    a, b, c = wanted.components
    wanted = replace(
        wanted,
        components=(
            replace(a, env={"LANG": "C", "A": "1"}, config={"k": "1"}),
            replace(b, env={"LANG": "D", "B": "2"}, config={"k": "1"}),
            replace(c, env={"A": "2"}, compose="lazy"),
        ),
    )

    assert faults(wanted, {name: part() for name in "abc"}) == (
        (
            "a and b are composed and share what they see, but want different values of "
            "env LANG; make one of them `compose: lazy`"
        ),
    )


RUN = "wasi:cli/run@0.2.6"


def run(function: str = "run") -> Interface:
    return Interface(name=RUN, functions={function: Function(result=ResultType(None, None))})


def test_a_process_exports_nothing_to_be_called() -> None:
    start = Interface(name="", functions={"start": Function()})
    assert resolve(deployment((), ("crawl",)), {"crawl": part(exports=[run()])}).exposed == {}
    assert faults(deployment((), ("crawl",)), {"crawl": part(exports=[run(), QUERY])}) == (
        (
            f"crawl: exports {RUN}, so it is a process, and {QUERY}; its one instance is busy as "
            "long as `run` runs and answers no calls: export one or the other, or a function "
            "`start` to be called instead of `run`"
        ),
    )
    actor = part(exports=[run(), QUERY, start])
    assert run_interface(actor) == ""
    assert list(resolve(deployment((), ("crawl",)), {"crawl": actor}).exposed) == [QUERY]


def test_what_toolchains_leave_behind_keeps_no_process_from_running() -> None:
    leftover = Interface(name="exports", functions={"init": Function()})
    process = part(exports=[run(), leftover])
    assert resolve(deployment((), ("crawl",)), {"crawl": process}).exposed == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("wasi:cli/run@0.2.0", True), ("wasi:cli/run@0.2.12", True), ("wasi:cli/run@0.3.0", False)],
)
def test_a_process_is_known_by_run_of_any_patch_version(name: str, expected: bool) -> None:
    component = part(exports=[replace(run(), name=name)])
    assert (run_interface(component) == name) is expected
