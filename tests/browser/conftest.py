"""A server, a browser without a network, and pictures of what it shows."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cytovox.testing import simulate_recording
from cytovox.testing.volume_simulator import simulate_volume
from support.page import Server, chromium

#: Nothing but the server can be reached.
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
#: Milliseconds after which what is waited for does not come, even on a busy machine.
LIMIT = 180_000
expect.set_options(timeout=LIMIT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", help="folder for pictures of the page, for the documentation")


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A day of measurements, in a folder that is called the same in all pictures."""
    if request.config.getoption("--pictures") is None:
        place = Path(tempfile.mkdtemp(prefix="lab-"))
    else:
        place = Path(tempfile.gettempdir()) / "lab"
        place.mkdir()
    day = place / "day1"
    day.mkdir()
    for number, frames in enumerate((1200, 300, 500), 1):
        simulate_recording(day / f"M{number:03}.rtdc", frames=frames, cells=1.2, seed=number)
    for truth in day.glob("*.csv"):
        truth.unlink()
    simulate_volume(place / "cells.zarr", shape=(64, 160, 160), kind="cells", diameter=24, seed=1)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[Server]:
    running = Server(folder)
    yield running
    running.end()


@pytest.fixture
def start() -> Iterator[Callable[[Path], Server]]:
    """Start servers that end with the test, whatever becomes of it."""
    started: list[Server] = []

    def starting(folder: Path) -> Server:
        started.append(Server(folder))
        return started[-1]

    yield starting
    for one in started:
        one.end()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        options = ["--no-sandbox", NO_NETWORK]
        yield driver.chromium.launch(executable_path=chromium(), args=options)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address in a window; what the browser complains about fails the test."""
    complaints: list[str] = []
    contexts = []

    def opening(address: str, screen: str = "look", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(LIMIT)
        contexts.append(context)
        page = context.new_page()
        origin = address.split("?")[0]
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if is_bad(said) else None)
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request",
            lambda sent: None if sent.url.startswith(origin) else complaints.append(sent.url),
        )
        page.goto(f"{address}#{screen}" if screen else address)
        expect(page.locator("body[data-ready]")).to_be_attached()
        return page

    yield opening
    for context in contexts:
        context.close()
    assert complaints == []


def is_bad(said: Any) -> bool:
    # Of the refused answer that a test asks for, the browser tells by itself.
    return said.type in ("error", "warning") and "400 (Bad Request)" not in said.text


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str, int], None]:
    """Keep a picture of the top of the page, if pictures are wanted."""
    where = request.config.getoption("--pictures")

    def taking(page: Page, name: str, height: int) -> None:
        if where is not None:
            page.evaluate("scrollTo(0, 0)")
            part = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": height}
            page.screenshot(path=Path(where) / f"app-{name}.png", clip=part)

    return taking
