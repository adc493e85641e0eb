"""`scripts/system-packages` says what is missing, asks once a day, and never fails or hangs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "system-packages"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout with the script alone, and a folder of programs that hide the machine's."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("cat", "date", "dirname", "echo", "grep", "mkdir", "sed", "sh", "tail", "timeout"):
        (programs / name).symlink_to(str(shutil.which(name)))
    program(tmp_path, "id", "echo 0")
    return tmp_path


def program(place: Path, name: str, text: str) -> None:
    path = place / "programs" / name
    path.write_text(f"#!{shutil.which('sh')}\n{text}\n")
    path.chmod(0o755)


def said(place: Path, *names: str, **variables: str) -> str:
    done = subprocess.run(
        ["sh", str(place / "scripts" / "system-packages"), *names],
        env={"PATH": str(place / "programs"), **variables},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=True,
        executable=shutil.which("sh"),
    )  # fmt: skip
    return done.stdout


def test_what_is_there_is_not_asked_for(place: Path) -> None:
    program(place, "wrk", "")
    assert said(place, "wrk") == ""


def test_who_is_not_root_is_told_what_is_missing(place: Path) -> None:
    program(place, "id", "echo 1000")
    program(place, "wrk", "")
    assert "without chromium (only root can install)" in said(place)


def test_another_system_is_left_as_it_is(place: Path) -> None:
    assert "without wrk chromium (this is no Debian)" in said(place)


def test_packages_are_installed_without_questions(place: Path) -> None:
    wrk = place / "programs" / "wrk"
    program(place, "apt-get",
            f'echo "$@" >>{place}/asked\n'
            f'case "$*" in *wrk) cat {place}/programs/id >{wrk}; '
            f'{shutil.which("chmod")} 755 {wrk} ;; esac')  # fmt: skip
    assert said(place, "wrk") == "system packages: installing wrk (once)\n"
    asked = (place / "asked").read_text().splitlines()
    assert [line.split()[-1] for line in asked] == ["update", "wrk"]
    assert all("DPkg::Lock::Timeout" in line for line in asked)
    assert "install -y" in asked[1]


def test_an_archive_that_fails_is_asked_once_a_day(place: Path) -> None:
    program(place, "apt-get", f"echo asked >>{place}/asked; echo no such archive; exit 100")
    first = said(place, "wrk")
    assert "no such archive" in first
    assert "without wrk (apt-get ended with status 100)" in first
    assert "without wrk (tried today" in said(place, "wrk")
    assert (place / "asked").read_text() == "asked\n"


def test_an_archive_that_hangs_is_given_up(place: Path) -> None:
    program(place, "apt-get", "while :; do :; done")
    assert "without wrk" in said(place, "wrk", LATTICE_SYSTEM_PACKAGES_S="1")


def test_it_can_be_told_not_to(place: Path) -> None:
    program(place, "apt-get", "exit 1")
    assert "(LATTICE_SYSTEM_PACKAGES=no)" in said(place, "wrk", LATTICE_SYSTEM_PACKAGES="no")


def test_an_unknown_name_is_told(place: Path) -> None:
    assert "hey is none of wrk, chromium, vulkan" in said(place, "hey")


def test_the_script_is_the_one_that_make_runs() -> None:
    assert os.access(SCRIPT, os.R_OK)
    makefile = (SCRIPT.parents[1] / "Makefile").read_text()
    assert makefile.count("sh scripts/system-packages") >= 3
