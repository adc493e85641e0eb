"""`examples/guestbook` on a lattice of two hosts, signed by people with a real browser."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Browser, Page, expect
from playwright.async_api import Error as BrowserError

from lattice.testing import eventually
from tests.e2e.browsing import ACT_MS, browser, person
from tests.e2e.conftest import Lattice, lattice_up
from tests.e2e.running import send
from tests.e2e.sites import Site, apply_manifest
from tests.guests import example_guests

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nats,
    pytest.mark.wasm,
    pytest.mark.timeout(400),  # the first run builds the guests and compiles them
]

NOBODY = "Nobody has signed yet."
RECOVERY_S = 30.0
"""Seconds until a killed replica answers elsewhere; some five are usual."""

expect.set_options(timeout=ACT_MS)


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    """A lattice with the guestbook on one of its two hosts."""
    manifest = example_guests.built("guestbook") / "lattice.yaml"
    with lattice_up(tmp_path_factory.mktemp("lattice"), "--hosts", "2", "--http", "0") as running:
        apply_manifest(running, manifest)
        yield running


@pytest.fixture(scope="module")
def address(lattice: Lattice) -> str:
    return str(lattice.facts["http"])


@pytest.fixture(scope="module")
def site(address: str) -> Site:
    return Site.at(address)


@pytest.fixture(scope="module")
async def chromium(anyio_backend: str) -> AsyncIterator[Browser]:
    async with browser() as running:
        yield running


@pytest.fixture
async def page(chromium: Browser, address: str) -> AsyncIterator[Page]:
    """The guestbook, opened by somebody."""
    async with person(chromium) as page:
        await page.goto(address)
        yield page


async def sign(page: Page, name: str, message: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Message").fill(message)
    await page.get_by_role("button", name="Sign").click()


async def test_who_signs_sees_the_entry_and_a_reload_does_not_sign_again(
    page: Page, tmp_path: Path
) -> None:
    await sign(page, "Ada", "Hello from\nthe engine room")
    entry = page.get_by_role("article").filter(has_text="Ada")
    await expect(entry.get_by_role("heading")).to_have_text("Ada")
    await expect(entry).to_contain_text("the engine room")
    await expect(page).to_have_url(f"{page.url.rstrip('/')}/")
    await page.reload()
    await expect(entry).to_have_count(1)
    await page.screenshot(path=tmp_path / "guestbook.png")


async def test_markup_is_shown_as_it_was_written_and_never_run(page: Page) -> None:
    ran: list[str] = []
    page.on("dialog", lambda dialog: ran.append(dialog.message))
    name = "<script>document.title = 'owned'</script>"
    message = "<img src=x onerror=\"document.title = 'owned'\"> &amp; \"quoted\" 'text'"
    await sign(page, name, message)
    entry = page.get_by_role("article").first
    await expect(entry.get_by_role("heading")).to_have_text(name)
    await expect(entry.locator("p")).to_have_text(message)
    await page.reload()
    await expect(page).to_have_title("Guestbook")
    await expect(page.locator("script, img")).to_have_count(0)
    assert ran == []


async def test_an_entry_that_is_refused_comes_back_in_the_form(page: Page) -> None:
    name = "ž" * 60  # fits the field of the form, and takes 120 bytes
    await sign(page, name, 'what I "wrote" <here>')
    await expect(page.get_by_role("alert")).to_contain_text("80 bytes")
    await expect(page.get_by_label("Name")).to_have_value(name)
    await expect(page.get_by_label("Message")).to_have_value('what I "wrote" <here>')
    await expect(page.get_by_role("heading", name=name)).to_have_count(0)


async def test_two_people_sign_at_once_and_see_each_other(chromium: Browser, address: str) -> None:
    async with person(chromium) as first, person(chromium) as second:
        pages = {"Grace": first, "Edsger": second}
        for page in pages.values():
            await page.goto(address)
        async with anyio.create_task_group() as tasks:
            for name, page in pages.items():
                tasks.start_soon(sign, page, name, f"signed by {name}")
        for page in pages.values():
            await expect(page.get_by_role("article").first).to_be_visible()
            await page.reload()
            for name in pages:
                await expect(page.get_by_role("heading", name=name)).to_have_count(1)


def test_forms_of_other_sites_and_endless_ones_are_refused(site: Site) -> None:
    form = b"name=Eve&message=x"
    assert site.ask("/sign", form, sec_fetch_site="cross-site").status == 403
    assert site.ask("/sign", b"name=Eve&message=" + b"x" * 100_000).status == 413
    assert site.ask("/sign", b"\xff\0%ff&&&=").status == 400
    assert (site.ask("/sign").status, site.ask("/x").status) == (404, 404)
    assert "Eve" not in site.ask("/").text


@pytest.mark.slow
async def test_after_its_host_was_killed_the_page_answers_with_an_empty_book(
    chromium: Browser, tmp_path: Path
) -> None:
    """The book is in the memory of its service, and so it ends with it: the README says so."""
    manifest = example_guests.built("guestbook") / "lattice.yaml"
    with lattice_up(tmp_path / "lattice", "--hosts", "2", "--http", "0", ends=False) as lattice:
        apply_manifest(lattice, manifest)
        async with person(chromium) as page:
            await page.goto(lattice.facts["http"])
            await sign(page, "Ada", "soon forgotten")
            await expect(page.get_by_role("heading", name="Ada")).to_be_visible()
            (replica,) = lattice.replicas("guestbook")
            send(lattice.pid(replica["host_name"]), signal.SIGKILL)

            async def is_back() -> bool:
                try:
                    return (await page.request.get(lattice.facts["http"])).ok
                except BrowserError:  # the connection broke with the host
                    return False

            await eventually(is_back, timeout_s=RECOVERY_S, what="the page answers again")
            await page.reload()
            await expect(page.get_by_text(NOBODY)).to_be_visible()
            await sign(page, "Grace", "and again")
            await expect(page.get_by_role("heading", name="Grace")).to_be_visible()
