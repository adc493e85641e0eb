"""What guests are granted, as command lines say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lattice.cli.granting import EVERYTHING, Offer, granted, http_grants
from lattice.errors import InvalidError


def test_a_grant_is_writable_unless_it_says_otherwise() -> None:
    assert granted(["a=/data", "b=x=y:z:ro"]) == {
        "a": (Path("/data"), True),
        "b": (Path("x=y:z"), False),
    }


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["/data"], "'/data' is no grant, expected NAME=PATH or NAME=PATH:ro"),
        (["a="], "is no grant"),
        (["A=/data"], "'A'"),
        (["a=/data", "a=/other"], "the directory a is granted twice"),
    ],
)
def test_what_is_no_grant_is_refused(words: list[str], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        granted(words)


def test_only_directories_that_are_there_are_granted(tmp_path: Path) -> None:
    here, gone = tmp_path / "here", tmp_path / "gone"
    here.mkdir()
    offer = Offer(grant_directory=[f"a={here}:ro"])
    (found,) = offer.directories().values()
    assert (found.path, found.is_writable) == (here, False)
    assert offer.words() == [f"--grant-directory=a={here}:ro"]
    with pytest.raises(InvalidError, match="gone is no directory"):
        Offer(grant_directory=[f"a={gone}"]).directories()
    assert EVERYTHING.directories() == {}


def test_hosts_are_granted_as_in_a_manifest_and_all_faults_told() -> None:
    words = ["https://api.example.com", "*.a.org:8000-8999"]
    assert [str(grant) for grant in http_grants(words)] == words
    with pytest.raises(ValueError, match=r"'ftp://a' grants no requests.*; 'a b' is no host name"):
        http_grants(["*", "ftp://a", "a b"])
