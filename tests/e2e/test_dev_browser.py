"""`lattice dev` as a person sees it: the browser shows what was saved by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.browsing import ACT_MS, browser, chromium, person
from tests.e2e.developing import FIRST_S, developing
from tests.guests.example_guests import GUESTBOOK

pytestmark = [pytest.mark.e2e, pytest.mark.nats, pytest.mark.wasm, pytest.mark.timeout(400)]


async def test_the_browser_shows_a_change_without_being_told_to(tmp_path: Path) -> None:
    chromium()
    folder = tmp_path / "guestbook"
    shutil.copytree(GUESTBOOK, folder, ignore=shutil.ignore_patterns("build", "__pycache__"))
    source = folder / "page" / "app.py"
    text = source.read_text()
    with developing(tmp_path, folder) as dev:
        await dev.find_ports()
        await dev.until_answers("/", "<form", FIRST_S)
        async with browser() as running, person(running) as page:
            heading = page.get_by_role("heading", level=1)
            await page.goto(f"http://localhost:{dev.ports['http']}/")
            await expect(heading).to_have_text("Guestbook")
            # The page forbids scripts; that of `lattice dev` runs all the same.
            source.write_text(text.replace("<h1>Guestbook", "<h1>Our guestbook"))
            await expect(heading).to_have_text("Our guestbook", timeout=ACT_MS)
            source.write_text(text.replace("<h1>Guestbook", "<h1>Your guestbook"))
            await expect(heading).to_have_text("Your guestbook", timeout=ACT_MS)
        await dev.end()
