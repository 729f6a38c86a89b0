"""A headless Chromium that notes everything that it should not see: console errors, failed loads, other servers."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SIZES: dict[str, tuple[int, int]] = {"desktop": (1280, 900), "phone": (390, 844)}


@dataclass
class Seen:
    """What a browser reported."""

    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def asked(self, request: Request) -> None:
        if urlsplit(request.url).scheme in ("http", "https", "ws", "wss"):
            self.hosts.add(urlsplit(request.url).netloc)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own; skips the test where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def page_of(
    browser: Browser, url: str, size: str = "desktop", scheme: Literal["light", "dark"] = "light", **options: Any
) -> Iterator[tuple[Page, Seen]]:
    """A fresh page, and what it reports."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=url, **options
    )
    seen, page = Seen(), context.new_page()
    page.on("console", seen.console)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", seen.asked)
    yield page, seen
    context.close()


def sign_in(page: Page, key: str) -> None:
    """As somebody with a key does."""
    page.goto("/")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="People").wait_for()
