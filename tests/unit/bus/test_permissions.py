"""The tables behind the server's permissions, and the text that a server is given."""

from __future__ import annotations

import json

import pytest

from lattice.bus.auth import User, account_name, accounts_block
from lattice.bus.identity import create_curve_seed, create_user_seed, public_key
from lattice.bus.matching import covers
from lattice.bus.permissions import ROLES, inbox_prefix, role_permissions
from lattice.errors import InvalidError
from lattice.wire.subjects import Names

NAMES = Names("test")
KEYS = [public_key(create_user_seed()) for _ in range(4)]


@pytest.mark.parametrize("role", ROLES)
def test_every_identity_hears_its_own_inbox_alone(role):
    granted = role_permissions(role, NAMES, KEYS[0])
    assert [s for s in granted.subscribe if s.startswith("_INBOX")] == [
        f"{inbox_prefix(KEYS[0])}.>"
    ]


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reaches_beyond_its_lattice(role):
    granted = role_permissions(role, NAMES, KEYS[0])
    families = (f"{NAMES.prefix}.", "_INBOX.", "$KV.lat_test_", "$O.lat_test_", "$JS.")
    for subject in granted.publish + granted.subscribe:
        assert subject.startswith(families)
        if subject.startswith("$JS."):
            assert "lat_test_" in subject or "LAT_test_" in subject or subject == "$JS.API.INFO"


@pytest.mark.parametrize("role", ["host", "client", "operator"])
def test_only_the_scheduler_writes_the_control_bucket(role):
    granted = role_permissions(role, NAMES, KEYS[0])
    assert not [s for s in granted.publish if s.startswith(f"$KV.{NAMES.control_bucket}")]
    assert not [s for s in granted.publish if s.startswith(NAMES.intake("ctl", ""))]


@pytest.mark.parametrize("role", ["host", "client", "operator"])
def test_nobody_but_the_scheduler_learns_where_the_control_bucket_takes_writes(role):
    """It is told by `STREAM.INFO` and by hearing a write; `covers` says who may do either."""
    granted = role_permissions(role, NAMES, KEYS[0])
    ask, hear = f"$JS.API.STREAM.INFO.KV_{NAMES.control_bucket}", NAMES.intake("ctl", "x") + ".term"
    assert not [s for s in granted.publish if covers(s, ask) or covers(s, "$JS.API.STREAM.LIST")]
    assert not [s for s in granted.subscribe if covers(s.split()[0], hear)]


def test_two_hosts_differ_in_their_own_names_alone():
    one, two = (role_permissions("host", NAMES, key) for key in KEYS[:2])
    assert [s.replace(KEYS[0], KEYS[1]) for s in one.publish] == list(two.publish)
    assert [s.replace(KEYS[0], KEYS[1]) for s in one.subscribe] == list(two.subscribe)
    assert len(set(one.publish) - set(two.publish)) >= 3


def parsed(block: str) -> dict[str, dict[str, object]]:
    """Return the accounts of a block, which is one member of JSON and one line."""
    member, _, system = block.rpartition("system_account:")
    assert system.strip() == "SYS"
    accounts = json.loads(member.removeprefix("accounts:"))
    assert isinstance(accounts, dict)
    return accounts


def test_each_lattice_has_an_account_with_its_users():
    block = accounts_block(
        {
            "a": [User(role="host", public_key=KEYS[0])],
            "b": [User(role="client", public_key=KEYS[1])],
        },
        system_keys=[KEYS[2]],
    )
    accounts = parsed(block)
    assert list(accounts) == ["SYS", "LAT_a", "LAT_b"]
    told = [
        {"stream": f"$SYS.ACCOUNT.LAT_{name}.DISCONNECT", "accounts": [f"LAT_{name}"]}
        for name in ("a", "b")
    ]
    assert accounts["SYS"] == {"users": [{"nkey": KEYS[2]}], "exports": told}
    granted = role_permissions("host", Names("a"), KEYS[0])
    assert accounts[account_name("a")] == {
        "jetstream": "enabled",
        "users": [
            {
                "nkey": KEYS[0],
                "permissions": {
                    "publish": {"allow": list(granted.publish)},
                    "subscribe": {"allow": list(granted.subscribe)},
                },
            }
        ],
        "imports": [
            {
                "stream": {"account": "SYS", "subject": "$SYS.ACCOUNT.LAT_a.DISCONNECT"},
                "to": "lat.a.gone",
            }
        ],
    }


def test_every_fault_of_the_users_is_listed():
    curve = public_key(create_curve_seed())
    with pytest.raises(InvalidError) as caught:
        accounts_block(
            {
                "Bad Name": [],
                "a": [
                    User(role="host", public_key=KEYS[0]),
                    User(role="client", public_key=KEYS[0]),
                    User(role="host", public_key=curve),
                    User(role="king", public_key=KEYS[1]),  # type: ignore[arg-type]  # the fault
                    User(role="host", public_key=KEYS[2][:-1] + "?"),
                ],
            },
            system_keys=["x"],
        )
    paths = [fault.split(":")[0] for fault in caught.value.faults]
    assert sorted(paths) == [
        "Bad Name", "a.users[1]", "a.users[2]", "a.users[3]", "a.users[4]", "system_keys[0]",
    ]  # fmt: skip


def test_a_seed_given_for_a_key_is_refused_and_not_repeated_in_full():
    seed = create_user_seed().decode()
    with pytest.raises(InvalidError) as caught:
        accounts_block({"a": [User(role="host", public_key=seed)]})
    assert seed not in caught.value.message
