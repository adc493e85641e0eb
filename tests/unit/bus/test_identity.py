"""Keys and the files they live in."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.bus import identity
from lattice.bus.broker_files import BrokerFiles, read_users
from lattice.bus.lock import FileLock
from lattice.errors import ConflictError, DeniedError, InvalidError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_user_seed_is_one_that_the_nkeys_package_signs_with():
    seed = identity.create_user_seed()
    pair = nkeys.from_seed(bytearray(seed))
    assert pair.public_key.decode() == identity.public_key(seed)
    assert pair.verify(b"text", pair.sign(b"text"))
    assert identity.user_key_fault(identity.public_key(seed)) is None


def test_a_curve_key_has_its_own_prefix_and_is_no_user():
    seed = identity.create_curve_seed()
    key = identity.public_key(seed)
    assert (seed[:2], key[0], len(key)) == (b"SX", "X", 56)
    assert identity.user_key_fault(key) is not None


def test_the_same_directory_gives_the_same_identity(tmp_path):
    first = identity.load_or_create_identity(tmp_path / "a")
    assert identity.load_or_create_identity(tmp_path / "a") == first
    assert identity.load_or_create_identity(tmp_path / "b").id != first.id
    assert first.id == identity.public_key(identity.load_seed(first.seed_path))
    assert first.curve_public_key == identity.public_key(identity.load_seed(first.curve_seed_path))


def test_only_the_owner_can_read_keys(tmp_path):
    made = identity.load_or_create_identity(tmp_path / "new" / "a")
    assert mode(tmp_path / "new" / "a") == 0o700
    assert mode(made.seed_path) == mode(made.curve_seed_path) == 0o600


def test_starts_at_once_in_one_directory_agree_on_one_identity(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(identity.load_or_create_identity, [tmp_path / "a"] * 16))
    assert len(set(made)) == 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        identity.IDENTITY_FILE,
        identity.CURVE_FILE,
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda seed: b"",
        lambda seed: seed[:-3],
        lambda seed: seed.lower(),
        lambda seed: seed + b"\n" + seed,
        lambda seed: seed[:20] + (b"A" if seed[20:21] != b"A" else b"B") + seed[21:],
        lambda seed: b"\x00\xff" * 40,
        lambda seed: b"x" * 10_000,
        lambda seed: b"SO" + seed[2:],
    ],
)
def test_a_damaged_key_file_is_refused_and_kept(tmp_path, damage):
    made = identity.load_or_create_identity(tmp_path / "a")
    content = damage(identity.load_seed(made.seed_path))
    made.seed_path.write_bytes(content)
    with pytest.raises(InvalidError, match="restore it from a copy, or remove it"):
        identity.load_or_create_identity(tmp_path / "a")
    assert made.seed_path.read_bytes() == content


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    made = identity.load_or_create_identity(tmp_path / "a")
    made.seed_path.chmod(0o640)
    with pytest.raises(DeniedError, match=r"has mode 0640.*chmod 600"):
        identity.load_or_create_identity(tmp_path / "a")


def test_a_directory_that_others_can_enter_is_refused(tmp_path):
    (tmp_path / "a").mkdir(mode=0o755)
    with pytest.raises(DeniedError, match=r"has mode 0755.*chmod 700"):
        identity.load_or_create_identity(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_file_in_place_of_the_directory_is_a_conflict(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ConflictError, match="is not a directory"):
        identity.load_or_create_identity(tmp_path / "a")


@given(st.binary(max_size=80))
def test_no_bytes_but_a_seed_pass_for_one(content):
    with pytest.raises(InvalidError):
        identity.public_key(content)


@given(st.text(max_size=60))
def test_no_text_but_a_key_passes_for_one(text):
    assert identity.user_key_fault(text) is not None


def test_file_that_cannot_be_written_is_a_typed_error(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(DeniedError, match="taken cannot be written"):
        identity.write_private(tmp_path / "taken", b"1")
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(DeniedError, match="cannot be written"):
        identity.load_or_create_seed(tmp_path / "none" / "seed.nk", identity.create_user_seed())


def test_lock_that_cannot_be_opened_is_a_typed_error(tmp_path):
    with pytest.raises(DeniedError, match="cannot be opened"):
        FileLock(tmp_path / "none" / "lock")


def test_list_of_users_that_cannot_be_read_is_a_typed_error(tmp_path):
    files = BrokerFiles(directory=tmp_path)
    files.users.mkdir()
    with pytest.raises(DeniedError, match="cannot be read"):
        read_users(files)
