"""One small recording, and the page of its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cytovox.app.server import Page
from cytovox.testing import simulate_recording

PORT = 8765
TOKEN = "a-token"
ORIGIN = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    simulate_recording(place / "raw.rtdc", frames=60, cells=2, seed=4)
    return place


@pytest.fixture(scope="session")
def page(folder: Path) -> Iterator[Page]:
    serving = Page(folder, TOKEN, PORT)
    yield serving
    serving.close()


@pytest.fixture(scope="session")
def client(page: Page) -> TestClient:
    """A browser that has opened the address with the token."""
    browser = TestClient(page.asgi, base_url=ORIGIN, headers={"origin": ORIGIN})
    assert browser.get(f"/?token={TOKEN}").status_code == 200
    return browser


@pytest.fixture(scope="session")
def ask(client: TestClient) -> Callable[..., Any]:
    """Ask the server as the page does; the answer, or what went wrong."""

    def asking(name: str, /, **body: Any) -> Any:
        # in ASCII, as names of files need not be text
        return client.post(f"/api/{name}", content=json.dumps(body)).json()

    return asking
