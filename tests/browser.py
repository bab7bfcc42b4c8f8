"""Pages in headless Chromium, as a user opens them: from disk, without any network."""

from __future__ import annotations

import asyncio
import atexit
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP, PHONE = 1400, 390


@contextmanager
def opened(
    path: Path, *, width: int = DESKTOP, dark: bool = False, files: Sequence[Path] = ()
) -> Iterator[Any]:
    """Yield the page once its charts are drawn; fail for an error, or for asking the network.

    `files` are what it loads beside itself.
    """
    said: list[str] = []
    asked: list[str] = []
    listeners = {
        "console": lambda message: said.append(f"{message.type}: {message.text}"),
        "pageerror": lambda error: said.append(str(error)),
        "request": lambda request: asked.append(request.url),
    }
    with _browser().page(width, dark=dark) as page:
        page.route(_is_elsewhere, _refuse(asked))
        for event, listener in listeners.items():
            page.on(event, listener)
        try:
            page.goto(path.absolute().as_uri())
            page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
            yield page
        finally:
            for event, listener in listeners.items():
                page.remove_listener(event, listener)
            page.unroute_all()
            page.goto("about:blank")  # a page out of sight would go on drawing
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [
        file.absolute().as_uri() for file in (path, *files)
    ]


class _Browser:
    """A browser with two windows, a desktop's and a phone's, for all tests of a process.

    A window that stays open has Plotly compiled: in a new one a page costs three times as much.
    Tests share no more than that, as the pages of tbv8 store nothing.

    Playwright leaves its event loop in the thread as the running one for as long as it is open, and
    needs it there; every other test needs none.
    """

    def __init__(self, chromium: str) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        self._windows: dict[bool, Any] = {}
        self._loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)

    @contextmanager
    def page(self, width: int, *, dark: bool) -> Iterator[Any]:
        """Yield the page of the window that has this width."""
        asyncio._set_running_loop(self._loop)
        try:
            page = self._window(is_phone=width < 640)
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="dark" if dark else "light")
            yield page
        finally:
            asyncio._set_running_loop(None)

    def _window(self, *, is_phone: bool) -> Any:
        if is_phone not in self._windows:
            self._windows[is_phone] = self._browser.new_page(is_mobile=is_phone, has_touch=is_phone)
        return self._windows[is_phone]

    def stop(self) -> None:
        """End the browser."""
        asyncio._set_running_loop(self._loop)
        self._playwright.stop()


@cache
def _browser() -> _Browser:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    browser = _Browser(chromium)
    atexit.register(browser.stop)
    return browser


def _is_elsewhere(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def _refuse(asked: list[str]) -> Any:
    def refuse(route: Any) -> None:
        asked.append(route.request.url)
        route.abort()

    return refuse


def overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return max(0, width)


def color(page: Any, selector: str, name: str) -> str:
    """Return a computed colour of an element."""
    script = "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]"
    value: str = page.evaluate(script, [selector, name])
    return value
