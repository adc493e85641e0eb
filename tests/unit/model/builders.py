"""Manifests and hypothesis strategies for valid deployments."""

from hypothesis import strategies as st

from lattice.model.deployment import (
    Binding,
    Component,
    Deployment,
    File,
    Instances,
    Limits,
    Link,
    Restart,
    Service,
    Wire,
)  # fmt: skip
from lattice.model.http import ANY, HttpAddress
from lattice.model.ids import DeploymentName
from lattice.model.mounts import Mount, path_fault
from lattice.model.network import HttpGrant, NamePattern, Network, parse_endpoint
from lattice.model.paths import PathPattern
from tests.unit.model.scheduling_builders import KEYS, scheduling

FULL = """
lattice: v1
kind: Deployment
name: docsearch
labels: {team: search}
replicas: 3
components:
  - name: tokenize
    image: ./tokenize.wasm
    limits: {memory: 64Mi, deadline: 2s, concurrency: 16, queue: 128}
    env: {LANG: C}
    config: {stopwords: "en"}
    network: {connect: ["db.example.com:5432", "10.0.0.0/8:443"], lookup: ["*.example.org"],
              http: ["https://api.example.com"]}
    instances: {mode: reuse, maxInvocations: 50, idle: 5s, ready: 2}
  - {name: rank, image: ./rank.wasm, compose: lazy, args: [-v], scratch: 32Mi}
services:
  - name: index
    image: ./index.wasm
    restart: {policy: always, backoff: [200ms, 1m], max: 5}
    files: [corpus]
    directories: [{grant: corpus, path: /data, access: rw}]
files: [{name: corpus, source: ./corpus.jsonl}]
wiring:
  - {component: rank, import: "docs:text/tokenize", to: tokenize}
expose: ["docs:search/query@0.1.0"]
http:
  - {host: docs.example.com, path: /search, component: rank}
  - {host: "*.example.com", path: "/users/{id}/{rest...}"}
links:
  - {import: "docs:dict/lookup", to: dictionary, route: remote, timeout: 500ms}
bindings:
  - {name: default, interface: "wasi:keyvalue/store", config: {bucket: docs}}
ready: {export: "docs:search/query@0.1.0#ping", every: 1s, timeout: 500ms, failures: 2, delay: 3s}
live: {http: /healthz}
placement:
  require:
    labels: ["zone in (eu, us)", "!spot"]
    interfaces: ["wasi:webgpu/webgpu"]
    cpu: 100m
    memory: 128Mi
    slots: 2
    devices:
      - {class: gpu, share: 250m, memory: 2Gi, exclusive: true, software: true,
         require: 'vendor == "acme" and memory >= 8Gi', prefer: ['model == "a1"']}
      - {count: 2}
  prefer:
    - {labels: disk = ssd, weight: 50}
    - {near: dictionary, topology: zone, weight: 80}
    - {apart: crawler, weight: -1}
  spread: [{key: zone, maxSkew: 2, hard: true, minDomains: 3}]
  together: [cache]
  apart: [noisy]
  maxPerHost: 4
  tolerate: [gpu, "team = search"]
  priority: 100
  preempt: lower
  onLabelChange: evict
update:
  strategy: canary
  maxUnavailable: 1
  maxSurge: 2
  minReady: 10s
  progressDeadline: 5m
  autoRevert: false
  canary: {weight: 5, hold: 1m, maxErrors: 2, maxLatency: 250ms}
lostAfter: 30s
"""


def minimal(**fields: object) -> dict[str, object]:
    """Return a valid document with the given fields added or replaced."""
    components = [{"name": "a", "image": "a.wasm"}]
    return {"lattice": "v1", "name": "d", "components": components, **fields}


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=10)
INTERFACES = st.from_regex(r"[a-z]{1,3}:[a-z]{1,3}/[a-z]{1,3}(@[0-9]\.[0-9])?", fullmatch=True)
ARTIFACTS = st.from_regex(r"sha256:[0-9a-f]{64}|\./[a-z]{1,8}\.wasm", fullmatch=True)
CONFIGS = st.dictionaries(st.from_regex(r"[!-~]{1,6}", fullmatch=True), TEXTS, max_size=2)
ENVS = st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), TEXTS, max_size=2)
HOST_NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).map(NamePattern)
NETWORKS = st.builds(
    Network,
    connect=st.lists(
        st.builds(
            lambda host, low, high: parse_endpoint(f"{host}:{min(low, high)}-{max(low, high)}"),
            st.sampled_from(["*", "*.a.org", "db", "10.0.0.0/8", "192.0.2.1", "[fd00::/8]"]),
            st.integers(0, 65535),
            st.integers(0, 65535),
        ),
        max_size=2,
    ).map(tuple),
    listen=st.sampled_from([(), (parse_endpoint("0.0.0.0:80"),)]),
    lookup=st.lists(HOST_NAMES, max_size=2).map(tuple),
    http=st.lists(
        st.builds(
            HttpGrant,
            st.one_of(HOST_NAMES, st.just(parse_endpoint("[fd00::/8]:*").host)),
            st.sampled_from([None, "http", "https"]),
            st.sampled_from([None, (0, 65535), (443, 443), (8000, 8999)]),
        ),
        max_size=2,
    ).map(tuple),
)
LIMITS = st.builds(
    Limits,
    memory_bytes=st.integers(65536, 1 << 36),
    deadline_s=st.floats(0.001, 86400.0),
    concurrency=st.integers(1, 10_000),
    queue=st.integers(0, 100_000),
)
INSTANCES = st.builds(
    Instances,
    mode=st.sampled_from(["fresh", "reuse"]),
    invocations_max=st.integers(1, 1_000_000_000),
    idle_s=st.floats(0.001, 86400.0),
    ready=st.integers(0, 64),
)
MOUNTS = st.lists(
    st.builds(
        Mount,
        grant=NAMES,
        path=st.from_regex(r"/[a-eg-z]{1,5}", fullmatch=True).filter(
            lambda path: not path_fault(path)
        ),
        access=st.sampled_from(["ro", "rw"]),
    ),
    max_size=3,
    unique_by=lambda mount: mount.path,
).map(tuple)


PATH_SEGMENTS = st.lists(st.sampled_from(["a", "b", "%2F"]), max_size=3).map(tuple)
PATHS = st.one_of(
    st.builds(PathPattern, segments=PATH_SEGMENTS),
    st.builds(
        PathPattern,
        segments=PATH_SEGMENTS,
        parameters=st.sampled_from([(), ("id",), ("id", "post")]),
        rest=st.sampled_from([None, "rest"]),
    ),
)


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    """Return any deployment that a manifest can describe."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    split = draw(st.integers(0, len(names)))
    files = tuple(
        File(name=name, source=draw(ARTIFACTS))
        for name in draw(st.lists(NAMES, max_size=2, unique=True))
    )
    common = {
        "image": ARTIFACTS,
        "args": st.lists(TEXTS, max_size=3).map(tuple),
        "scratch_bytes": st.integers(0, 1 << 44),
        "directories": MOUNTS,
        "limits": LIMITS,
        "env": ENVS,
        "config": CONFIGS,
        "network": NETWORKS,
    }
    components = tuple(
        draw(
            st.builds(
                Component,
                name=st.just(name),
                compose=st.sampled_from(["eager", "lazy"]),
                instances=INSTANCES,
                **common,
            )
        )
        for name in names[:split]
    )
    backoff = sorted(draw(st.tuples(st.floats(0.001, 3600.0), st.floats(0.001, 3600.0))))
    restart = Restart(
        policy=draw(st.sampled_from(["on-failure", "never"])),
        backoff_min_s=backoff[0],
        backoff_max_s=backoff[1],
        attempts=draw(st.integers(0, 1000)),
    )
    seen = st.lists(st.sampled_from(files), max_size=3) if files else st.just([])
    services = tuple(
        draw(
            st.builds(
                Service,
                name=st.just(name),
                restart=st.just(restart),
                files=seen.map(lambda chosen: tuple(file.name for file in chosen)),
                **common,
            )
        )
        for name in names[split:]
    )
    interfaces = draw(st.lists(INTERFACES, max_size=3, unique=True))
    wiring = tuple(
        Wire(part=names[0], interface=interface, to=names[1])
        for interface in interfaces
        if len(names) > 1
    )
    name = draw(NAMES)
    link = st.builds(
        Link,
        interface=st.just(""),
        to=NAMES.filter(lambda to: to != name).map(DeploymentName),
        route=st.sampled_from(["auto", "local", "remote", "durable"]),
        timeout_s=st.floats(0.001, 3600.0),
    )
    return Deployment(
        name=DeploymentName(name),
        labels=draw(st.dictionaries(KEYS, TEXTS, max_size=2)),
        components=components,
        services=services,
        files=files,
        wiring=wiring,
        expose=draw(st.none() | st.just(tuple(interfaces))),
        http=tuple(
            draw(
                st.lists(
                    st.builds(
                        HttpAddress,
                        host=st.just(ANY) | HOST_NAMES,
                        path=PATHS,
                        component=st.sampled_from(["", names[0]]),
                    ),
                    max_size=3,
                    unique_by=lambda address: (address.host, address.path.shape),
                )
            )
        ),
        links=tuple(_with_interface(draw(link), interface) for interface in interfaces),
        bindings=tuple(
            Binding(interface=interface, name=draw(NAMES), config=draw(CONFIGS))
            for interface in interfaces
        ),
        **draw(scheduling(name, len(services))),
    )


def _with_interface(link: Link, interface: str) -> Link:
    return Link(interface=interface, to=link.to, route=link.route, timeout_s=link.timeout_s)
