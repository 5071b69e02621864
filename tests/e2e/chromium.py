# SPDX-License-Identifier: Apache-2.0
"""A real browser for tests: Debian's Chromium, headless, that fetches nothing of its own accord."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = not (CHROMIUM and DRIVER)
WHY = "no Chromium here: apt-get install chromium chromium-driver"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@contextmanager
def opened(profile: Path, *more: str) -> Iterator[Any]:
    """The browser with a profile of its own and its console kept, closed at the end.

    Args:
        profile: an empty folder.
        more: further flags.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, *more, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def until(found: Callable[[], Any], what: str, patience: float = 300.0) -> Any:
    """The first answer that says something."""
    deadline, last = time.monotonic() + patience, None
    while time.monotonic() < deadline:
        try:
            if answer := found():
                return answer
        except Exception as error:  # the page is being drawn anew
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{what} did not appear: {last}")
