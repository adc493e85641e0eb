"""Where settings come from, which source wins, and what is said about wrong ones."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.config import Contexts, Settings, read_file, resolve
from lattice.errors import DeniedError, InvalidError, NotFoundError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def key_file(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("key")
    return path


def resolved(home: Path, /, environment: dict[str, str] | None = None, **flags: str) -> Settings:
    given_flags = {name.replace("_", "-"): value for name, value in flags.items()}
    return resolve(
        given_flags, environment={"LATTICE_CONFIG_HOME": str(home), **(environment or {})}
    )


def test_without_any_source_the_defaults_hold(home):
    assert resolved(home) == Settings()


def test_sources_win_in_the_order_flag_environment_file_context_default(home, tmp_path):
    names = {"flag": "a", "environment": "b", "file": "c", "context": "d"}
    Contexts(directory=home).save("work", Settings(lattice=names["context"]))
    Contexts(directory=home).select("work")
    config = tmp_path / "c.toml"
    config.write_text(f'lattice = "{names["file"]}"\n')
    found = []
    environment = {"LATTICE_CONFIG_HOME": str(home), "LATTICE_NAME": names["environment"]}
    flags: dict[str, str | None] = {"lattice": names["flag"]}
    found.append(resolve(flags, config=config, environment=environment).lattice)
    found.append(resolve({}, config=config, environment=environment).lattice)
    del environment["LATTICE_NAME"]
    found.append(resolve({}, config=config, environment=environment).lattice)
    found.append(resolve({}, environment=environment).lattice)
    Contexts(directory=home).delete("work")
    found.append(resolve({}, environment=environment).lattice)
    assert found == ["a", "b", "c", "d", "default"]


def test_a_source_gives_only_what_the_ones_before_it_lack(home, tmp_path):
    environment = {"LATTICE_NATS": "nats://b:1, tls://c:2"}
    assert resolved(home, environment, lattice="a") == Settings(
        lattice="a", servers=("nats://b:1", "tls://c:2")
    )


def test_a_named_context_wins_over_the_selected_one_and_the_flag_over_the_variable(home):
    contexts = Contexts(directory=home)
    for name in ("one", "two", "three"):
        contexts.save(name, Settings(lattice=name))
    contexts.select("one")
    environment = {"LATTICE_CONFIG_HOME": str(home), "LATTICE_CONTEXT": "two"}
    assert resolve({}, environment=environment).lattice == "two"
    assert resolve({}, context="three", environment=environment).lattice == "three"


def test_a_credential_hides_the_other_kind_in_later_sources(home, tmp_path):
    creds, nkey = key_file(tmp_path, "a.creds"), key_file(tmp_path, "a.nk")
    Contexts(directory=home).save("work", Settings(creds=creds))
    Contexts(directory=home).select("work")
    assert resolved(home, nkey=str(nkey)) == Settings(nkey=nkey)
    assert resolved(home) == Settings(creds=creds)


def test_two_credentials_of_one_source_are_refused(home, tmp_path):
    creds, nkey = key_file(tmp_path, "a.creds"), key_file(tmp_path, "a.nk")
    with pytest.raises(InvalidError, match="creds and nkey: both given"):
        resolved(home, creds=str(creds), nkey=str(nkey))


def test_the_origin_of_each_setting_is_known(home):
    settings = resolved(home, {"LATTICE_NAME": "b"}, nats="nats://x:1")
    assert settings.origins == {"nats": "--nats", "lattice": "LATTICE_NAME"}


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    (tmp_path / "etc").mkdir()
    nkey = key_file(tmp_path / "etc", "a.nk")
    config = tmp_path / "etc" / "c.toml"
    config.write_text('nkey = "a.nk"\nnats = ["nats://a:1", "nats://b:2"]\n')
    assert read_file(config) == {"nkey": str(nkey), "nats": "nats://a:1,nats://b:2"}


def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('tls_ca = "x"\nnats = 3\nfoo = 1\n')
    with pytest.raises(InvalidError) as caught:
        read_file(config)
    assert caught.value.faults[0].startswith("tls_ca: unknown, nearest is 'tls-ca'; known are")
    assert caught.value.faults[1].startswith("foo: unknown; known are")
    assert caught.value.faults[2] == "nats: found int, needs a string"


def test_an_unknown_flag_is_refused(home):
    with pytest.raises(InvalidError, match="natz: unknown, nearest is 'nats'"):
        resolved(home, natz="x")


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ({"lattice": "Not A Name"}, "lattice: 'Not A Name' is not a name"),
        ({"nats": "http://a:1"}, "nats: 'http://a:1' begins with none of nats, tls, ws, wss"),
        ({"nats": "nats://"}, "nats: 'nats://' is not an address"),
        ({"nats": "nats://a:99999"}, "is not an address (Port out of range"),
        ({"nats": "nats://me:secret@ a"}, "nats: 'nats://***@ a' is not an address"),
        ({"creds": "/nowhere/x"}, "creds (from --creds): there is no file /nowhere/x"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(home, flags, fault):
    with pytest.raises(InvalidError) as caught:
        resolved(home, **flags)
    assert fault in caught.value.message
    assert "secret" not in caught.value.message


def test_all_faults_are_listed_with_where_they_came_from(home, tmp_path):
    certificate = key_file(tmp_path, "c.pem")
    environment = {"LATTICE_NAME": "A", "LATTICE_TLS_CERT": str(certificate)}
    with pytest.raises(InvalidError) as caught:
        resolved(home, environment)
    assert len(caught.value.faults) == 2
    assert caught.value.faults[0].startswith("lattice (from LATTICE_NAME): 'A' is not a name")
    assert caught.value.faults[1] == "tls-cert (from LATTICE_TLS_CERT): needs tls-key with it"


def test_a_missing_configuration_file_is_not_found(home, tmp_path):
    with pytest.raises(NotFoundError, match="there is no file"):
        resolve({}, config=tmp_path / "none.toml", environment={"LATTICE_CONFIG_HOME": str(home)})


@pytest.mark.parametrize("content", [b"\xff\xfe", b"lattice", b"[a]\nx=1", b"x" * 70_000])
def test_a_file_of_something_else_gives_a_typed_error(tmp_path, content):
    config = tmp_path / "c.toml"
    config.write_bytes(content)
    with pytest.raises(InvalidError):
        read_file(config)


# --- contexts -------------------------------------------------------------------------------


def test_contexts_live_in_the_configuration_directory_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Contexts.of_user({}).directory == tmp_path / ".config" / "lattice"
    assert Contexts.of_user({"XDG_CONFIG_HOME": "/x"}).directory == Path("/x/lattice")
    both = {"XDG_CONFIG_HOME": "/x", "LATTICE_CONFIG_HOME": "/y"}
    assert Contexts.of_user(both).directory == Path("/y")


def test_a_saved_context_is_loaded_as_it_was(home, tmp_path):
    settings = Settings(
        lattice="prod",
        servers=("tls://a:1", "tls://b:2"),
        nkey=key_file(tmp_path, 'quote" and \\ and ü\x7f.nk'),
        tls_ca=key_file(tmp_path, "ca.pem"),
    )
    contexts = Contexts(directory=home)
    contexts.save("prod", settings)
    assert contexts.load("prod") == settings
    assert contexts.names() == ("prod",)
    assert contexts.current() is None


def test_a_context_can_be_read_by_its_owner_alone(home):
    path = Contexts(directory=home).save("a", Settings(servers=("nats://u:secret@h:1",)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_deleting_the_current_context_leaves_none(home):
    contexts = Contexts(directory=home)
    contexts.save("a", Settings())
    contexts.select("a")
    assert contexts.current() == "a"
    contexts.delete("a")
    assert (contexts.current(), contexts.names()) == (None, ())


def test_a_damaged_context_can_be_deleted(home):
    contexts = Contexts(directory=home)
    contexts.save("a", Settings()).write_bytes(b"\xff")
    with pytest.raises(InvalidError, match="is not TOML"):
        contexts.load("a")
    contexts.delete("a")
    assert contexts.names() == ()


def test_an_unknown_context_is_named_with_the_nearest_known_one(home):
    contexts = Contexts(directory=home)
    contexts.save("staging", Settings())
    for use in (contexts.load, contexts.select, contexts.delete):
        with pytest.raises(NotFoundError, match="no context 'stagin', nearest is 'staging'"):
            use("stagin")
    assert contexts.names() == ("staging",)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 64, "a\n"])
def test_a_name_that_is_no_file_name_is_refused(home, name):
    with pytest.raises(InvalidError, match="cannot name a context"):
        Contexts(directory=home).save(name, Settings())
    assert not home.exists()


def test_a_directory_that_cannot_be_written_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeniedError, match="cannot be written"):
        Contexts(directory=tmp_path / "file").save("a", Settings())


@given(st.binary(max_size=200))
def test_no_content_of_a_file_causes_an_untyped_error(tmp_path_factory, content):
    config = tmp_path_factory.getbasetemp() / "any.toml"
    config.write_bytes(content)
    with suppress(InvalidError):
        assert isinstance(read_file(config), dict)
