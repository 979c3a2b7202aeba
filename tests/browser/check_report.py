"""A report in a real browser: what it shows is in the file, whatever the window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from cytovox.cli.main import main
from cytovox.testing import simulate_recording

NAME = "<img src=x onerror=alert(1)>&_dcn.rtdc"
#: Elements that are wider than the window, but for those that can be scrolled.
TOO_WIDE = """() => [...document.querySelectorAll("main *")]
  .filter((one) => !one.closest(".wide, svg"))
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
  .map((one) => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about two results, one of which has a hostile name."""
    folder = tmp_path_factory.mktemp("report")
    simulate_recording(folder / "raw.rtdc", frames=60, cells=2, seed=4)
    assert main(["run", str(folder / "raw.rtdc"), "-q"]) == 0
    shutil.copy(folder / "raw_dcn.rtdc", folder / NAME)
    assert main(["report", str(folder), "-q"]) == 0
    return folder / "report.html"


@pytest.fixture
def visit(browser: Browser, report: Path) -> Iterator[Any]:
    """Open the page; whatever the browser complains about, or asks for, fails the test."""
    complaints: list[str] = []
    contexts = []

    def opening(**options: Any) -> Page:
        contexts.append(browser.new_context(offline=True, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda sent: None if is_own(sent.url) else complaints.append(sent.url))
        page.goto(report.as_uri())
        return page

    def is_own(url: str) -> bool:
        return url.startswith("data:") or url.split("#")[0] == report.as_uri()

    yield opening
    for context in contexts:
        context.close()
    assert complaints == []


def test_numbers_are_those_of_the_file(visit: Any, report: Path) -> None:
    page = visit(viewport={"width": 1300, "height": 900})
    with h5py.File(report.with_name("raw_dcn.rtdc")) as h5:
        events = len(h5["events/deform"])
        expected = {"events": events, "deform": float(np.median(h5["events/deform"][:]))}
    for key, value in expected.items():
        shown = page.locator(f"tr[data-key={key}] data").evaluate_all("a => a.map(e => e.value)")
        assert [float(text) for text in shown] == [value, value]
    assert page.locator("#results tbody th").all_inner_texts()[0] == NAME


def test_all_pictures_are_drawn(visit: Any) -> None:
    page = visit(viewport={"width": 1300, "height": 900})
    sizes = page.locator("img").evaluate_all("a => a.map(e => e.complete && e.naturalWidth)")
    assert len(sizes) > 8
    assert all(sizes)
    assert page.locator("svg.crop image").count() >= 80


@pytest.mark.parametrize(
    "how",
    [
        {"viewport": {"width": 400, "height": 800}},
        {"viewport": {"width": 650, "height": 450}, "device_scale_factor": 2},
        {"viewport": {"width": 1300, "height": 900}, "color_scheme": "dark"},
    ],
    ids=["400 pixels", "200 percent", "dark"],
)
def test_it_fits_the_window(visit: Any, how: dict[str, Any]) -> None:
    page = visit(**how)
    assert page.evaluate(TOO_WIDE) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (how.get("color_scheme") != "dark")


def test_no_column_is_cut_on_paper(visit: Any) -> None:
    page = visit(viewport={"width": 680, "height": 900})  # A4 less its margins
    page.emulate_media(media="print")
    widths = page.locator(".wide").evaluate_all("a => a.map(e => [e.scrollWidth, e.clientWidth])")
    assert len(widths) > 2
    assert all(needed <= there for needed, there in widths)


def test_links_lead_to_sections(visit: Any) -> None:
    page = visit(viewport={"width": 1300, "height": 900})
    page.locator("#results tbody th a").nth(1).click()
    assert page.url.endswith("#result-2")
    assert page.locator("#result-2 h1").is_visible()
