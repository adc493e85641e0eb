"""From settings to options: whose inbox, and what is said about files that are no keys."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from lattice.bus.connecting import connect_options
from lattice.bus.identity import create_user_seed, public_key, write_private
from lattice.config import Settings
from lattice.errors import DeniedError, InvalidError

SEED = create_user_seed()
KEY = public_key(SEED)


def creds(folder: Path, claims: object) -> Path:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    path = folder / "user.creds"
    path.write_bytes(
        b"-----BEGIN NATS USER JWT-----\nhead." + payload + b".signature\n"
        b"------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" + SEED + b"\n"
        b"------END USER NKEY SEED------\n"
    )
    return path


def test_replies_come_to_the_inbox_of_the_key(tmp_path):
    write_private(tmp_path / "a.nk", SEED)
    options = connect_options(
        Settings(servers=("nats://a:1", "nats://b:2"), nkey=tmp_path / "a.nk"), name="host"
    )
    assert options.inbox_prefix == f"_INBOX.{KEY}"
    assert (options.servers, options.name) == (("nats://a:1", "nats://b:2"), "host")
    assert options.nkey_seed_path == tmp_path / "a.nk"


def test_replies_come_to_the_inbox_of_the_user_of_credentials(tmp_path):
    options = connect_options(Settings(creds=creds(tmp_path, {"sub": KEY})), name="host")
    assert options.inbox_prefix == f"_INBOX.{KEY}"


def test_without_an_identity_the_inbox_is_that_of_every_client():
    assert connect_options(Settings(), name="x").inbox_prefix == "_INBOX"


@pytest.mark.parametrize("claims", [{}, {"sub": "A" + KEY[1:]}, {"sub": 7}, [], "text", None])
def test_credentials_for_no_user_are_refused(tmp_path, claims):
    with pytest.raises(InvalidError, match=r"user\.creds"):
        connect_options(Settings(creds=creds(tmp_path, claims)), name="x")


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 90, b"BEGIN NATS USER JWT", b"BEGIN NATS USER JWT\na.!!!.c\n"]
)
def test_a_file_that_holds_no_credentials_is_refused(tmp_path, content):
    (tmp_path / "user.creds").write_bytes(content)
    with pytest.raises(InvalidError, match=r"user\.creds does not hold a user token"):
        connect_options(Settings(creds=tmp_path / "user.creds"), name="x")


def test_a_key_that_others_can_read_is_not_used(tmp_path):
    (tmp_path / "a.nk").write_bytes(SEED)
    (tmp_path / "a.nk").chmod(0o644)
    with pytest.raises(DeniedError, match="chmod 600"):
        connect_options(Settings(nkey=tmp_path / "a.nk"), name="x")
