"""What the pages say to type does what they say, typed as it stands there."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.docsearch import build
from lattice.testing import eventually
from tests.docs.pages import ROOT, blocks_of, commands_of, needs_of
from tests.docs.session import END_S, Place, Session, make_place
from tests.docs.typing_pages import FOREIGN, UP, type_block
from tests.guests.languages import building

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.timeout(600)]

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "tutorial").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]
PAGES.remove(ROOT / "docs" / "how-to" / "many-machines.md")  # has a test of its own


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where pages are typed, with the lattice that they start."""
    build.build_corpus()
    place = make_place(tmp_path_factory.mktemp("pages"))
    with contextlib.suppress(building.Unavailable):
        place.environment["PATH"] += f"{os.pathsep}{building.go_package() / 'go' / 'bin'}"
    log = place.home / "up"
    up = start_up(place, log)
    try:
        await eventually(lambda: "Ctrl-C" in log.read_text() or up.poll() is not None, 60)
        assert up.poll() is None, log.read_text()
        yield place
    finally:
        up.terminate()
        up.wait(END_S)
    assert up.returncode == 0, log.read_text()[-3000:]


def start_up(place: Place, log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as out:
        return subprocess.Popen(
            shlex.split(UP), cwd=place.checkout, env=place.environment, stdout=out, stderr=out
        )


@pytest.mark.parametrize("path", PAGES, ids=name)
async def test_page_is_true_as_typed(place: Place, path: Path) -> None:
    missing = [need for need in needs_of(path) if shutil.which(need, path=place.path) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not on the PATH, and the project does not need it")
    await type_page(place, path, foreign=())


@pytest.mark.parametrize(
    "path",
    [p for p in PAGES if any(c.program in FOREIGN for b in blocks_of(p) for c in commands_of(b))],
    ids=name,
)
async def test_page_is_true_with_the_tools_of_others(place: Place, path: Path) -> None:
    missing = [program for program in FOREIGN if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not on the PATH, and the project does not need it")
    await type_page(place, path, foreign=FOREIGN)


async def type_page(place: Place, path: Path, foreign: tuple[str, ...]) -> None:
    """Do what a page says, from its beginning to its end, in one shell."""
    with Session(place) as session:
        for block in blocks_of(path):
            await type_block(session, block, foreign)
    # The next page finds an empty lattice, as its reader does.
    with Session(place) as session:
        listed = session.run(".venv/bin/lattice get deployments --output json")[1]
        names = [each["name"] for each in json.loads(listed)["deployments"]]
        if names:
            assert session.run(f".venv/bin/lattice delete {' '.join(names)}")[0] == 0
