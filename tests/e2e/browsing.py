"""A real browser for tests of pages: Chromium of the system, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""What systems call it; `scripts/system-packages` installs the first."""

ACT_MS = 20_000
"""Milliseconds for each step on a page; machines of tests are busy."""

FLAGS = ("--disable-dev-shm-usage", "--no-proxy-server")
"""Containers have little of that memory; a proxy of the environment is not for this machine."""


def chromium() -> str:
    """Return where the browser is; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"there is no {NAMES[0]} on the PATH: sh scripts/system-packages chromium")
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    # Chromium refuses its own sandbox to root, who runs the tests in most containers.
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def person(running: Browser) -> AsyncIterator[Page]:
    """Yield an empty page of somebody with cookies and a cache of their own."""
    context: BrowserContext = await running.new_context()
    context.set_default_timeout(ACT_MS)
    try:
        yield await context.new_page()
    finally:
        await context.close()
