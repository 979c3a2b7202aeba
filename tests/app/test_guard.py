"""Only the page that was opened with the token is let in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cytovox.app import server
from cytovox.app.guard import MOST_BYTES
from cytovox.app.server import Page

PORT = 8765
ORIGIN = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def stranger(tmp_path: Path) -> TestClient:
    return TestClient(Page(tmp_path, "a-token", PORT).asgi, base_url=ORIGIN)


@pytest.mark.parametrize(
    "address",
    ["/", "/?token=", "/?token=other", "/static/main.js", "/static/main.js?token=a-token"],
)
def test_without_the_token_there_is_nothing(stranger: TestClient, address: str) -> None:
    answer = stranger.get(address)
    assert answer.status_code == 403
    assert "cytovox app has printed" in answer.text
    assert "set-cookie" not in answer.headers


def test_the_token_is_exchanged_for_a_cookie_that_only_this_page_sends(
    stranger: TestClient,
) -> None:
    answer = stranger.get("/?token=a-token")
    assert answer.status_code == 200
    assert answer.headers["set-cookie"].split("; ")[1:] == [
        "Path=/",
        "HttpOnly",
        "SameSite=Strict",
    ]
    assert stranger.get("/").status_code == 200
    assert stranger.post("/api/begin", json={}, headers={"origin": ORIGIN}).status_code == 200


def test_a_token_that_others_may_have_seen_is_good_once(tmp_path: Path) -> None:
    app = Page(tmp_path, "a-token", PORT, "once").asgi
    first, second = (TestClient(app, base_url=ORIGIN) for _ in range(2))
    assert first.get("/?token=once").status_code == 200
    assert second.get("/?token=once").status_code == 403
    assert first.get("/").status_code == 200, "who came first stays"


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1"]
)
def test_a_name_that_another_made_stand_for_this_machine_is_refused(
    stranger: TestClient, host: str
) -> None:
    answer = stranger.get("/?token=a-token", headers={"host": host})
    assert answer.status_code == 421
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:1", None]
)
def test_other_pages_cannot_ask(client: TestClient, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    cookies = {f"cytovox-{PORT}": "a-token"}
    other = TestClient(client.app, base_url=ORIGIN, headers=headers, cookies=cookies)
    assert other.get("/").status_code == (200 if origin is None else 403)
    assert other.post("/api/begin", json={}).status_code == 403


def test_large_requests_are_refused_before_they_are_read(client: TestClient) -> None:
    assert client.post("/api/begin", content=b" " * (MOST_BYTES + 1)).status_code == 413
    assert client.post("/api/begin", content=iter([b"{}"])).status_code == 413
    headers = {"content-length": "9" * 5000}
    assert client.post("/api/begin", content=b"{}", headers=headers).status_code == 413


def test_the_browser_may_load_only_what_is_of_the_page(client: TestClient) -> None:
    for address in ("/", "/static/main.js", "/nothing"):
        headers = client.get(address).headers
        rules = headers["content-security-policy"].split("; ")
        assert "default-src 'self'" in rules
        assert "frame-ancestors 'none'" in rules
        assert not any("unsafe" in rule for rule in rules)
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_no_file_but_those_of_the_page_is_served(client: TestClient) -> None:
    for name in ("../server.py", "..%2fserver.py", "%2e%2e/server.py", "/etc/passwd"):
        assert client.get(f"/static/{name}").status_code == 404


def test_what_takes_too_long_when_the_server_ends_gets_an_answer(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended(*_given: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(server, "run_in_threadpool", ended)
    answer = client.post("/api/begin", json={})
    assert answer.status_code == 503
    assert "stopped" in answer.json()["error"]
