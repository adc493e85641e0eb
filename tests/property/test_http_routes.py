"""The table of routes against an oracle that looks at every route for every request."""

from __future__ import annotations

import contextlib
import posixpath
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lattice.errors import ConflictError, InvalidError
from lattice.model.ids import DeploymentName
from lattice.model.network import NamePattern
from lattice.model.paths import PathPattern, normal_segment, parse_path
from lattice.routing.http import HttpRoute, HttpRoutes
from lattice.routing.targets import Target, parse_host, parse_target

# Few letters, so that routes and requests meet.
SEGMENTS = st.lists(st.sampled_from("ab"), max_size=3).map(tuple)
HOSTS = st.sampled_from(("*", "a.org", "*.a.org", "b.a.org", "*.b.a.org", "org", "*.org"))
NAMES = st.sampled_from((None, "org", "a.org", "b.a.org", "c.b.a.org", "ba.org", "x.example"))


@st.composite
def routes(draw: st.DrawFn) -> HttpRoute:
    count = draw(st.integers(0, 3))
    return HttpRoute(
        deployment=DeploymentName(draw(st.sampled_from(("one", "two", "three")))),
        host=NamePattern(draw(HOSTS)),
        path=PathPattern(
            segments=draw(SEGMENTS),
            parameters=tuple(f"p{number}" for number in range(count)),
            rest=draw(st.sampled_from((None, "rest"))),
        ),
    )


TARGETS = st.builds(Target, NAMES, st.lists(st.sampled_from(("a", "b", "")), max_size=6).map(tuple))


def fits(route: HttpRoute, target: Target) -> bool:
    if route.host.text != "*" and (target.host is None or not route.host.matches(target.host)):
        return False
    path, segments = route.path, target.segments
    if segments[: len(path.segments)] != path.segments:
        return False
    left = segments[len(path.segments) :]
    if not all(left[: len(path.parameters)]) or len(left) < len(path.parameters):
        return False
    if path.rest is not None:
        return len(left) > len(path.parameters)
    return not path.parameters or len(left) == len(path.parameters)


def rank(route: HttpRoute) -> tuple[object, ...]:
    host = route.host.text
    nearness = (0, 0) if host == "*" else (1, len(host)) if host.startswith("*.") else (2, 0)
    path = route.path
    kind = 2 if path.parameters and path.rest is None else 1 if path.rest is not None else 0
    return (*nearness, len(path.segments), kind, len(path.parameters))


@given(st.lists(routes(), max_size=12), st.lists(TARGETS, max_size=8))
def test_the_table_finds_what_looking_at_every_route_finds(some, targets):
    shapes = [(each.host, each.path) for each in some]
    repeated = len(shapes) - len(set(shapes))
    if repeated:
        with pytest.raises(ConflictError) as caught:
            HttpRoutes(some)
        assert len(caught.value.details["conflicts"]) == repeated
        return
    table = HttpRoutes(some)
    for target in targets:
        fitting = [route for route in some if fits(route, target)]
        match = table.find(target)
        if not fitting:
            assert match is None
            continue
        assert match is not None
        assert match.route == max(fitting, key=rank)
        assert [name for name, _ in match.parameters] == [
            *match.route.path.parameters, *filter(None, [match.route.path.rest]),
        ]  # fmt: skip


@given(st.lists(routes(), max_size=12), TARGETS, st.randoms())
def test_the_order_of_routes_does_not_matter(some, target, random):
    other = list(some)
    random.shuffle(other)
    try:
        assert HttpRoutes(some).find(target) == HttpRoutes(other).find(target)
    except ConflictError:
        with pytest.raises(ConflictError):
            HttpRoutes(other)


@given(routes())
def test_a_path_of_a_route_is_read_as_it_was_written(route):
    assert parse_path(str(route.path)) == route.path


PATHS = st.text(alphabet="/.%2eEfFaA;\\?#é \x00{}", max_size=24)


@given(st.one_of(PATHS, st.text(max_size=24)))
def test_a_path_is_refused_or_has_no_dots_and_one_form(text):
    try:
        target = parse_target("a.org", "/" + text)
    except InvalidError:
        return
    for segment in target.segments:
        assert segment not in (".", "..")
        assert "/" not in segment
        assert normal_segment(segment) == segment
    assert parse_target("a.org", "/" + "/".join(target.segments)) == target


@given(st.text(alphabet="ab/.%2eE61", max_size=24))
def test_what_a_guest_would_make_of_a_path_leads_to_the_same_deployment(text):
    """Unescaped and resolved as servers do it, a path still leads to where it led."""
    assume("//" not in f"/{text}")
    table = HttpRoutes(
        HttpRoute(deployment=DeploymentName(name), path=parse_path(path))
        for name, path in (("root", "/"), ("admin", "/a"), ("deep", "/b/a"))
    )
    try:
        target = parse_target("x.org", "/" + text)
    except InvalidError:
        return
    resolved = quote(posixpath.normpath(unquote(f"/{text}")))
    found, again = table.find(target), table.find(parse_target("x.org", resolved))
    assert found is not None
    assert again is not None
    assert again.deployment == found.deployment


@given(st.text(max_size=20))
def test_hosts_have_one_form_whatever_the_case_the_port_and_the_last_dot(text):
    with contextlib.suppress(InvalidError):
        host = parse_host(text)
        if host is not None:
            assert parse_host(host) == host
            assert parse_host(f"{host.upper()}.:80") == host
