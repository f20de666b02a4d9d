"""A real Chromium, where the machine has one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that nothing but our own pages is opened in."""
    from playwright.sync_api import sync_playwright  # takes long to import, which few tests need

    with sync_playwright() as driver:
        # The sandbox of Chromium needs rights that a container rarely has; a GPU would be emulated at great cost.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
