"""Who answers which request: hosts, paths, precedence, conflicts."""

from __future__ import annotations

import pytest

from lattice.errors import ConflictError, InvalidError
from lattice.model.ids import DeploymentName
from lattice.model.paths import PARAMETERS_MAX, PathPattern, parse_path
from lattice.routing.http import HttpRoute, HttpRoutes, parse_route, require_free, settled
from lattice.routing.targets import InternalName, parse_host, parse_internal, parse_target


def route(text: str, deployment: str) -> HttpRoute:
    host, slash, path = text.partition("/")
    return parse_route(DeploymentName(deployment), host=host or None, path=slash + path)


def table(test_suffix: str | None = None, **routes: str) -> HttpRoutes:
    """Return a table; each deployment has one route."""
    return HttpRoutes([route(text, name) for name, text in routes.items()], test_suffix=test_suffix)


def found(routes: HttpRoutes, url: str) -> str | None:
    host, slash, path = url.partition("/")
    match = routes.find(parse_target(host, slash + path))
    return None if match is None else match.deployment


def test_the_closest_host_is_asked_first_and_the_next_one_when_it_has_nothing():
    routes = table(
        one="docs.example.com/a", below="*.example.com/", deep="*.docs.example.com/", every="/"
    )
    assert found(routes, "docs.example.com/a") == "one"
    assert found(routes, "docs.example.com/b") == "below"
    assert found(routes, "x.docs.example.com/") == "deep"
    assert found(routes, "y.x.docs.example.com/") == "deep"
    assert found(routes, "example.com/") == "every"
    assert found(routes, "notexample.com/") == "every"
    assert found(routes, "[::1]:80/") == "every"
    assert found(routes, "127.0.0.1/") == "every"


def test_the_longest_run_of_plain_segments_wins_on_borders_of_segments():
    routes = table(root="/", search="/search", deep="/search/deep")
    assert found(routes, "a.org/") == "root"
    assert found(routes, "a.org/search") == "search"
    assert found(routes, "a.org/search/") == "search"
    assert found(routes, "a.org/search/x?q=/search/deep") == "search"
    assert found(routes, "a.org/search/deep/er") == "deep"
    assert found(routes, "a.org/searching") == "root"
    assert found(routes, "a.org/Search") == "root"


def test_parameters_take_whole_segments_and_say_what_stood_for_them():
    routes = table(user="/users/{id}", post="/users/{id}/{post}", files="/files/{rest...}")
    match = routes.find(parse_target("a.org", "/users/7%2F8/p?x"))
    assert match is not None
    assert (match.deployment, match.parameters) == ("post", (("id", "7%2F8"), ("post", "p")))
    assert found(routes, "a.org/users/7") == "user"
    assert found(routes, "a.org/users/") is None
    assert found(routes, "a.org/users/7/8/9") is None
    assert found(routes, "a.org/files") is None
    match = routes.find(parse_target("a.org", "/files/a//b/"))
    assert match is not None
    assert match.parameters == (("rest", "a//b/"),)
    assert found(routes, "a.org/files/") == "files"


def test_of_one_place_exact_parameters_come_before_the_rest_and_that_before_the_prefix():
    routes = table(
        plain="/a", one="/a/{x}", rest="/a/{rest...}", more="/a/{x}/{y}/{rest...}", below="/a/b"
    )
    assert found(routes, "h/a") == "plain"
    assert found(routes, "h/a/x") == "one"
    assert found(routes, "h/a/x/y") == "rest"
    assert found(routes, "h/a/x/y/z") == "more"
    assert found(routes, "h/a/") == "rest"
    assert found(routes, "h/a/b/c/d") == "below"


def test_routes_that_match_the_same_are_a_conflict_that_names_both():
    routes = [
        route("a.org/x/{id}", "one"), route("A.org./%78/{name}/", "two"), route("/y", "three"),
        route("/y", "three"),
    ]  # fmt: skip
    with pytest.raises(ConflictError) as caught:
        HttpRoutes(routes)
    assert caught.value.details["conflicts"] == [
        ["a.org/x/{name}", "one", "two"],
        ["*/y", "three", "three"],
    ]
    assert "of two matches what a route of one matches" in caught.value.message


def test_every_deployment_with_routes_answers_at_its_test_address():
    routes = table("localhost", shop="shop.example.com/buy", every="/")
    match = routes.find(parse_target("Shop.localhost:8080", "/any/thing"))
    assert match is not None
    assert (match.deployment, match.route) == ("shop", None)
    assert found(routes, "nobody.localhost/") == "every"
    assert found(table(shop="shop.example.com/"), "shop.localhost/") is None


@pytest.mark.parametrize(
    "target",
    [
        "/public/../admin", "/./admin", "/..", "/.", "/a/%2e%2e/admin", "/a/%2E./admin",
        "/a/.%2e", "/%", "/%2", "/%zz", "/a\\b", "/a b", "/a\x00", "/a\x7f", "/\xe9", "/a#b",
        "admin", "", "*", "http://a.org/admin",
    ],
)  # fmt: skip
def test_paths_that_two_readers_could_read_differently_are_refused(target):
    with pytest.raises(InvalidError):
        parse_target("a.org", target)


@pytest.mark.parametrize(
    ("target", "deployment"),
    [
        ("//admin", "root"),
        ("/%2Fadmin", "root"),
        ("/x%2f..%2fadmin", "root"),
        ("/admin%2fx", "root"),
        ("/%252e%252e/admin", "root"),
        ("/..;/admin", "root"),
        ("/ADMIN", "root"),
        ("/%61dmin", "admin"),
        ("/admin//", "admin"),
        ("/admin?/../x", "admin"),
        ("/...", "root"),
    ],
)
def test_disguises_lead_to_nobody_elses_deployment(target, deployment):
    assert found(table(root="/", admin="/admin"), f"a.org{target}") == deployment


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("Docs.Example.COM", "docs.example.com"),
        ("docs.example.com.:8080", "docs.example.com"),
        ("docs.example.com:", "docs.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("127.0.0.1:80", None),
        ("[::1]:80", None),
        ("", None),
    ],
)
def test_host_names_have_one_form(authority, host):
    assert parse_host(authority) == host


@pytest.mark.parametrize(
    "authority",
    [
        "user@a.org", "a.org:99999", "a.org:x", "a.org:80:80", "a..org", ".a.org", "a.org..", "-",
        "a/b", "a?b", "a\\b", "a b", "a\r\nb", "[::1", "::1", "[a]", "127.1", "0x7f000001", ":80",
        "a%2eorg", "x" * 64 + ".org", "a" * 2000,
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(authority):
    with pytest.raises(InvalidError):
        parse_host(authority)


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "//", "/a//b", "/./a", "/a/..", "/%2e%2e", "/a b", "/{id}/plain", "/{rest...}/x",
        "/{a}/{a}", "/{a}/{a...}", "/x{id}", "/{}", "/{1}", "/{id", "/a?b", "/%zz",
        "/" + "/".join(f"{{p{n}}}" for n in range(PARAMETERS_MAX + 1)), "/" + "/".join("a" * 65),
    ],
)  # fmt: skip
def test_paths_of_routes_that_are_none_are_refused(text):
    with pytest.raises(InvalidError):
        parse_path(text)


@pytest.mark.parametrize(
    "host", ["", "127.0.0.1", "a.org:80", "*.*.org", "a b", "x.lattice.internal", "*x.org",
             "*.lattice.internal", "lattice.internal"],
)  # fmt: skip
def test_hosts_of_routes_that_are_none_are_refused(host):
    with pytest.raises(InvalidError):
        parse_route(DeploymentName("one"), host=host)


def test_a_path_of_a_route_is_written_as_it_is_read():
    pattern = PathPattern(segments=("a", "b%2F"), parameters=("x",), rest="more")
    assert str(pattern) == "/a/b%2F/{x}/{more...}"
    assert parse_path(str(pattern)) == pattern
    assert parse_path("/a/") == parse_path("/a")
    assert str(parse_path("/")) == "/"


def test_names_of_deployments_for_each_other():
    assert parse_internal("Shop.main.lattice.internal:80") == InternalName(
        DeploymentName("shop"), "main"
    )
    assert parse_internal("shop.example.com") is None
    assert parse_internal("lattice.internal.example.com") is None
    for name in ("lattice.internal", "main.lattice.internal", "a.b.c.lattice.internal",
                 "a_b.main.lattice.internal"):  # fmt: skip
        with pytest.raises(InvalidError):
            parse_internal(name)


def test_of_routes_that_match_the_same_the_first_one_counts_in_a_settled_table():
    routes = [
        route("/users/{id}", "one"),
        route("/users/{name}", "two"),
        route("/users", "two"),
        route("/users/", "three"),
    ]
    settled_routes, conflicts = settled(routes, test_suffix="localhost")
    assert settled_routes.routes == (routes[0], routes[2])
    assert [str(each) for each in conflicts] == [
        "*/users/{name} of two matches what a route of one matches",
        "*/users of three matches what a route of two matches",
    ]
    assert found(settled_routes, "/users/7") == "one"
    assert found(settled_routes, "two.localhost/users/7") == "two"


def test_new_routes_are_free_unless_another_deployment_has_them():
    standing = [route("a.org/x", "one"), route("/y/{id}", "two")]
    require_free([route("a.org/x", "one"), route("b.org/x", "three")], standing)
    with pytest.raises(ConflictError) as refused:
        require_free([route("a.org/x", "three"), route("/y/{z}", "three")], standing)
    assert refused.value.message == (
        "routes conflict: a.org/x of three matches what a route of one matches; */y/{z} of three "
        "matches what a route of two matches; give one of them another host or path"
    )
    assert refused.value.details["conflicts"] == [
        ["a.org/x", "one", "three"],
        ["*/y/{z}", "two", "three"],
    ]
