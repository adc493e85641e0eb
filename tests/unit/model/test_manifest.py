"""A manifest becomes a checked deployment, or a list of all its faults."""

import re
from pathlib import Path

import pytest

from lattice.errors import InvalidError
from lattice.model.deployment import (
    Binding,
    Component,
    Deployment,
    File,
    Instances,
    Limits,
    Link,
    Placement,
    Restart,
    Service,
    Wire,
)  # fmt: skip
from lattice.model.egress import parse_http_grant
from lattice.model.http import HttpAddress
from lattice.model.ids import DeploymentName
from lattice.model.labels import Selector
from lattice.model.manifest import load_documents, parse_deployment, parse_document, to_document
from lattice.model.mounts import Mount
from lattice.model.network import NamePattern, Network, parse_endpoint, parse_pattern
from lattice.model.paths import parse_path
from lattice.model.scalar import FAULTS_MAX
from lattice.model.scheduling import (
    Canary,
    DeviceRequest,
    Preference,
    Probe,
    Spread,
    Update,
)
from tests.unit.model.builders import FULL, minimal


def faults(document: object) -> tuple[str, ...]:
    with pytest.raises(InvalidError) as caught:
        parse_deployment(document)
    return caught.value.faults


def test_every_field_arrives_in_the_model() -> None:
    (document,) = load_documents(FULL)
    assert parse_document(document) == Deployment(
        name=DeploymentName("docsearch"),
        replicas=3,
        labels={"team": "search"},
        components=(
            Component(
                name="tokenize",
                image="./tokenize.wasm",
                limits=Limits(memory_bytes=64 << 20, deadline_s=2.0, concurrency=16, queue=128),
                env={"LANG": "C"},
                config={"stopwords": "en"},
                network=Network(
                    connect=(
                        parse_endpoint("db.example.com:5432"),
                        parse_endpoint("10.0.0.0/8:443"),
                    ),
                    lookup=(parse_pattern("*.example.org"),),
                    http=(parse_http_grant("https://api.example.com"),),
                ),
                instances=Instances(mode="reuse", invocations_max=50, idle_s=5.0, ready=2),
            ),
            Component(
                name="rank",
                image="./rank.wasm",
                compose="lazy",
                args=("-v",),
                scratch_bytes=32 << 20,
            ),
        ),
        services=(
            Service(
                name="index",
                image="./index.wasm",
                restart=Restart(policy="always", backoff_min_s=0.2, backoff_max_s=60.0, attempts=5),
                files=("corpus",),
                directories=(Mount(grant="corpus", path="/data", access="rw"),),
            ),
        ),
        files=(File(name="corpus", source="./corpus.jsonl"),),
        wiring=(Wire(part="rank", interface="docs:text/tokenize", to="tokenize"),),
        expose=("docs:search/query@0.1.0",),
        http=(
            HttpAddress(
                host=NamePattern("docs.example.com"), path=parse_path("/search"), component="rank"
            ),
            HttpAddress(
                host=NamePattern("*.example.com"), path=parse_path("/users/{id}/{rest...}")
            ),
        ),
        links=(
            Link(
                interface="docs:dict/lookup",
                to=DeploymentName("dictionary"),
                route="remote",
                timeout_s=0.5,
            ),
        ),
        bindings=(Binding(interface="wasi:keyvalue/store", config={"bucket": "docs"}),),
        placement=Placement(
            require_labels=(Selector("zone", "in", ("eu", "us")), Selector("spot", "absent")),
            require_interfaces=("wasi:webgpu/webgpu",),
            cpu_milli=100,
            memory_bytes=128 << 20,
            slots=2,
            devices=(
                DeviceRequest(
                    share_milli=250,
                    memory_bytes=2 << 30,
                    is_exclusive=True,
                    require='vendor == "acme" and memory >= 8Gi',
                    prefer=('model == "a1"',),
                    allows_software=True,
                ),
                DeviceRequest(count=2),
            ),
            prefer=(
                Preference(weight=50, labels=(Selector("disk", "in", ("ssd",)),)),
                Preference(weight=80, near=DeploymentName("dictionary"), topology="zone"),
                Preference(weight=-1, apart=DeploymentName("crawler")),
            ),
            spread=(Spread(key="zone", max_skew=2, is_hard=True, domains_min=3),),
            together=(DeploymentName("cache"),),
            apart=(DeploymentName("noisy"),),
            per_host_max=4,
            tolerate=(Selector("gpu", "exists"), Selector("team", "in", ("search",))),
            priority=100,
            preempt="lower",
            on_label_change="evict",
        ),
        ready=Probe(
            export="docs:search/query@0.1.0#ping",
            every_s=1.0,
            timeout_s=0.5,
            failures_max=2,
            delay_s=3.0,
        ),
        live=Probe(http="/healthz"),
        update=Update(
            strategy="canary",
            unavailable_max=1,
            surge_max=2,
            ready_min_s=10.0,
            progress_deadline_s=300.0,
            reverts=False,
            canary=Canary(weight_percent=5, hold_s=60.0, errors_max_percent=2, latency_max_s=0.25),
        ),
        lost_after_s=30.0,
    )


def test_what_is_left_out_has_the_default_of_the_model() -> None:
    assert parse_deployment(minimal()) == Deployment(
        name=DeploymentName("d"), components=(Component(name="a", image="a.wasm"),)
    )


def test_the_canonical_document_is_minimal() -> None:
    assert to_document(parse_deployment(minimal(kind="Deployment", replicas=1))) == minimal()


def test_an_empty_expose_differs_from_none() -> None:
    assert parse_deployment(minimal()).expose is None
    assert parse_deployment(minimal(expose=[])).expose == ()
    assert to_document(parse_deployment(minimal(expose=[])))["expose"] == []


COMPONENT = {"name": "a", "image": "a.wasm"}


def component(**fields: object) -> dict[str, object]:
    return minimal(components=[{**COMPONENT, **fields}])


def service(**fields: object) -> dict[str, object]:
    return minimal(services=[{"name": "s", "image": "s.wasm", **fields}])


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (minimal(replica=2), "replica: unknown field, did you mean 'replicas'?"),
        (
            component(limits={"xyzzy": 1}),
            "components[0].limits.xyzzy: unknown field, known are memory, deadline, concurrency",
        ),
        (
            minimal(**{"odd key": 1}),
            "['odd key']: unknown field, known are lattice, kind, name, labels, ",
        ),
        (minimal() | {8080: 1}, "[8080]: field names are strings, found 8080"),
        (minimal(lattice="v2"), "lattice: expected v1, found 'v2'"),
        (
            {k: v for k, v in minimal().items() if k != "lattice"},
            "lattice: is missing (version of the format)",
        ),
        (minimal(kind="Config"), "kind: expected Deployment, found 'Config'"),
        (minimal(name="Docs"), "name: 'Docs' is not a name: lower-case letters, digits and '-'"),
        (minimal(name="a" * 64), "name: has 64 characters, at most 63"),
        (minimal(name="a\n"), "name: 'a\\n' is not a name"),
        (minimal(name=None), "name: expected a string, found nothing (null)"),
        (minimal(replicas="3"), "replicas: expected an integer, found '3'"),
        (minimal(replicas=True), "replicas: expected an integer, found true"),
        (minimal(replicas=2.0), "replicas: expected an integer, found 2.0"),
        (minimal(replicas=-1), "replicas: expected 0 to 100000, found -1"),
        (
            minimal(replicas=10**5000),
            "replicas: expected 0 to 100000, found an integer of 16610 bits",
        ),
        (minimal(labels=["a"]), "labels: expected a map, found a list"),
        (minimal(labels={"a b": "c"}), "labels['a b']: 'a b' is not a label key"),
        (minimal(labels={"a": 1}), "labels.a: expected a string, found 1 (put it in quotes)"),
        (minimal(labels={"a": "x" * 257}), "labels.a: has 257 characters, at most 256"),
        (minimal(components={}), "components: expected a list, found a map"),
        (minimal(components=["a"]), "components[0]: expected a map, found 'a'"),
        (minimal(components=[COMPONENT] * 65), "components: expected 0 to 64 entries, found 65"),
        (minimal(components=[]), "has neither components nor services, needs at least one"),
        (
            minimal(components=[{"name": "a"}]),
            "components[0].image: is missing (path of a component, or 'sha256:...')",
        ),
        (component(image="sha256:12"), "components[0].image: 'sha256:12' is not a digest"),
        (component(image=" "), "components[0].image: ' ' is neither a path nor 'sha256:...'"),
        (component(image="a\nb"), "components[0].image: 'a\\nb' is neither a path nor"),
        (
            component(image="oci://x/y"),
            "components[0].image: OCI registries are known but not supported ",
        ),
        (
            component(limits={"memory": "64MB"}),
            "components[0].limits.memory: unknown unit 'MB' in size '64MB'",
        ),
        (
            component(limits={"memory": 1}),
            "components[0].limits.memory: expected 64Ki to 64Gi, found 1",
        ),
        (
            component(limits={"deadline": 2}),
            "components[0].limits.deadline: 2 is a duration without a unit",
        ),
        (component(limits={"deadline": "2d"}), "components[0].limits.deadline: unknown unit 'd'"),
        (
            component(limits={"deadline": "25h"}),
            "components[0].limits.deadline: expected 1ms to 24h, found '25h'",
        ),
        (
            component(limits={"concurrency": 0}),
            "components[0].limits.concurrency: expected 1 to 10000, found 0",
        ),
        (component(env={"A=B": "c"}), "components[0].env['A=B']: 'A=B' is not an environment name"),
        (
            component(env={"A": "\0"}),
            "components[0].env.A: '\\x00' holds characters that no text may hold",
        ),
        (
            component(env={"A": "\ud800"}),
            "components[0].env.A: '\\ud800' holds characters that no text may hold",
        ),
        (component(config={"": "x"}), "components[0].config['']: '' is not a configuration key"),
        (
            component(network={"connect": ["db"]}),
            "components[0].network.connect[0]: 'db' is no endpoint, expected HOST:PORT such as",
        ),
        (
            service(network={"listen": ["example.com:80"]}),
            "services[0].network.listen[0]: 'example.com:80' is no address to listen on, expected",
        ),
        (
            component(network={"http": ["*", "ftp://a.org"]}),
            "components[0].network.http[1]: 'ftp://a.org' grants no requests, expected [http://|",
        ),
        (
            service(restart={"backoff": ["1s"]}),
            "services[0].restart.backoff: expected 2 to 2 entries, found 1",
        ),
        (
            service(restart={"backoff": ["2s", "1s"]}),
            "services[0].restart.backoff: expected [min, max], found [2s, 1s]",
        ),
        (service(restart={"max": -1}), "services[0].restart.max: expected 0 to 1000000, found -1"),
        (service(files=["x"]), "services[0].files[0]: no file is named 'x', known are none"),
        (
            service(name="a"),
            "services[0].name: component or service 'a' is named at components[0].name already",
        ),
        (
            minimal(files=[{"name": "f", "source": "x"}] * 2),
            "files[1].name: file 'f' is named at files[0].name already",
        ),
        (
            minimal(wiring=[{"component": "a", "import": "a:b/c", "to": "z"}]),
            "wiring[0].to: no component or service is named 'z', known are a",
        ),
        (
            minimal(wiring=[{"component": "a", "import": "a:b/c", "to": "a"}]),
            "wiring[0].to: a part cannot satisfy its own import",
        ),
        (
            minimal(wiring=[{"component": "a", "import": "abc", "to": "a"}]),
            "wiring[0].import: 'abc' is not an interface, expected namespace:package/name",
        ),
        (
            minimal(expose=["a:b/c", "a:b/c"]),
            "expose[1]: an entry for a:b/c stands at expose[0] already",
        ),
        (
            minimal(links=[{"import": "a:b/c", "to": "e"}] * 2),
            "links[1]: a link for a:b/c stands at links[0] already",
        ),
        (
            minimal(links=[{"import": "a:b/c", "to": "d"}]),
            "links[0].to: leads to this deployment itself, expected another",
        ),
        (
            minimal(links=[{"import": "a:b/c", "to": "e", "route": "fast"}]),
            "links[0].route: expected auto, local, remote or durable, found 'fast'",
        ),
        (
            minimal(bindings=[{"interface": "a:b/c"}, {"interface": "a:b/c", "name": "default"}]),
            "bindings[1]: a binding for a:b/c default stands at bindings[0] already",
        ),
        (
            minimal(placement={"require": {"labels": ["a ="]}}),
            "placement.require.labels[0]: 'a =' is not a label selector",
        ),
        (
            minimal(placement={"require": {"cpu": "0.1m"}}),
            "placement.require.cpu: '0.1m' is finer than a thousandth of a core",
        ),
        (
            minimal(placement={"require": {"memory": -1}}),
            "placement.require.memory: expected a size such as 64Mi",
        ),
        ([], "expected a map, found a list"),
    ],
)
def test_each_kind_of_fault_names_the_field_and_the_reason(document: object, fault: str) -> None:
    (only,) = [line for line in faults(document) if line.startswith(fault.partition(":")[0])][:1]
    assert only.startswith(fault)


LATER = [
    ("links[0].retry", {"links": [{"import": "a:b/c", "to": "e", "retry": {}}]}),
    ("bindings[0].backend", {"bindings": [{"interface": "a:b/c", "backend": "nats"}]}),
    ("bindings[0].require", {"bindings": [{"interface": "a:b/c", "require": {}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields"), LATER)
def test_known_fields_of_later_releases_are_refused_by_name(
    path: str, fields: dict[str, object]
) -> None:
    (fault,) = faults(minimal(**fields))
    assert fault.startswith(f"{path}: is known but not supported by this release: ")


def test_all_faults_are_listed_at_once_in_the_order_of_the_document() -> None:
    text = (
        FULL.replace("64Mi", "64MB")
        .replace("LANG: C", "LANG: 3")
        .replace("timeout: 500ms}", "timeout: 5}")
    )
    text = text.replace("to: tokenize", "to: tokenise")
    (document,) = load_documents(text, source="d.yaml")
    with pytest.raises(InvalidError) as caught:
        parse_document(document)
    assert [fault.split(": ")[:2] for fault in caught.value.faults] == [
        ["d.yaml:10", "components[0].limits.memory"],
        ["d.yaml:11", "components[0].env.LANG"],
        ["d.yaml:31", "links[0].timeout"],
        ["d.yaml:25", "wiring[0].to"],
    ]
    assert str(caught.value).startswith("deployment 'docsearch' is invalid\n  d.yaml:10: ")


def test_endless_faults_are_counted_not_listed() -> None:
    listed = faults(
        minimal(labels={f"k{i}": i for i in range(64)}, **{f"x{i}": 1 for i in range(64)})
    )
    assert len(listed) == FAULTS_MAX + 1
    assert listed[-1] == "and 28 more"


def test_the_example_of_the_reference_page_is_valid() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "manifest.md").read_text()
    (example,) = re.findall(r"```yaml\n(lattice: v1.*?)```", page, re.DOTALL)
    (document,) = load_documents(example)
    assert parse_document(document).name == "docsearch"


def test_the_reference_page_names_every_field_that_is_refused_for_now() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "manifest.md").read_text()
    assert [path for path, _ in LATER if f"`{path.rpartition('.')[2]}`" not in page] == []


@pytest.mark.parametrize(
    ("mounts", "fault"),
    [
        ([{"grant": "a", "path": "data"}], "directories[0].path: 'data' is no absolute path"),
        ([{"grant": "a", "path": "/"}], "directories[0].path: '/' is no absolute path"),
        ([{"grant": "a", "path": "/a/../b"}], "'/a/../b' is no absolute path"),
        ([{"grant": "a", "path": "/a/"}], "'/a/' is no absolute path"),
        ([{"grant": "a", "path": "/scratch/x"}], "'/scratch/x' is taken"),
        ([{"grant": "a", "path": "/files"}], "'/files' is taken"),
        ([{"grant": "A", "path": "/a"}], "directories[0].grant"),
        ([{"grant": "a", "path": "/a", "access": "x"}], "directories[0].access"),
        (
            [{"grant": "a", "path": "/a/b"}, {"grant": "b", "path": "/a"}],
            "directories: '/a/b' lies in '/a'",
        ),
        ([{"grant": "a", "path": "/a"}] * 2, "directories: '/a' lies in '/a'"),
    ],
)
def test_directories_have_places_of_their_own(mounts: list[object], fault: str) -> None:
    (found,) = faults(component(directories=mounts))
    assert fault in found
