"""Names that the page sends stay in the folder, whatever they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cytovox.app.files import Files
from cytovox.app.folder import Folder
from cytovox.app.server import Page
from cytovox.errors import InputNotFoundError, UsageError


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    place = tmp_path / "inside"
    (place / "day 1").mkdir(parents=True)
    (place / "day 1" / "a.rtdc").touch()
    (tmp_path / "secret.rtdc").touch()
    return place


def test_files_are_named_from_the_folder_on(inside: Path) -> None:
    folder = Folder(inside)
    assert folder.file("day 1/a.rtdc") == inside / "day 1" / "a.rtdc"
    assert folder.name(inside / "day 1" / "a.rtdc") == "day 1/a.rtdc"
    assert folder.folders() == ["", "day 1"]


@pytest.mark.parametrize(
    "name",
    ["../secret.rtdc", "day 1/../../secret.rtdc", "/etc/passwd", "..", "a\0b", "\ud800", 7, None],
)
def test_nothing_outside_is_seen(inside: Path, name: Any) -> None:
    with pytest.raises(UsageError):
        Folder(inside).place(name)


@pytest.mark.parametrize("name", ["a" * 300, "a" * 5000, "a/" * 3000, "a\0b", "\ud800", 7, None])
def test_a_name_that_no_file_can_have_is_refused_by_every_call(
    page: Page, client: Any, name: Any
) -> None:
    asked = dict.fromkeys(("file", "folder", "out", "name"), name)
    asked |= {"frame": 0, "function": "label"}
    own = [call for call in page.calls if not call.endswith(("begin", "known"))]
    for call in own:
        answer = client.post(f"/api/{call}", content=json.dumps(asked))
        assert answer.status_code == 400, call
        assert re.search("name cannot be used|is not a text", answer.json()["error"])
    assert len(own) > 10


def test_links_out_of_the_folder_are_refused(inside: Path) -> None:
    (inside / "link.rtdc").symlink_to(inside.parent / "secret.rtdc")
    (inside / "up").symlink_to(inside.parent)
    folder = Folder(inside)
    assert "up" not in folder.folders()
    for name in ("link.rtdc", "up/secret.rtdc"):
        with pytest.raises(UsageError, match="outside"):
            folder.file(name)


def test_a_link_within_the_folder_is_followed(inside: Path) -> None:
    (inside / "link.rtdc").symlink_to("day 1/a.rtdc")
    assert Folder(inside).file("link.rtdc") == inside / "day 1" / "a.rtdc"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such folder"):
        Folder(tmp_path / "nothing")
    with pytest.raises(InputNotFoundError, match="no such file"):
        Folder(tmp_path).file("nothing.rtdc")


def test_only_recordings_are_offered(inside: Path) -> None:
    for name in ("b_dcn.rtdc", ".hidden.rtdc", "._raw.rtdc", "notes.txt", "C.RTDC"):
        (inside / name).touch()
    assert Files(Folder(inside)).recordings() == ["C.RTDC", "day 1/a.rtdc"]


def test_a_name_that_is_not_text_comes_back_as_it_was_sent(ask: Callable[..., Any]) -> None:
    error = ask("look/frame", file="\udcff<script>.rtdc", frame=0)["error"]
    assert "\\udcff<script>.rtdc: there is no such file" in error


def test_what_is_not_a_request_is_answered(client: Any) -> None:
    for content in (b"[]", b"{", b"\xff"):
        answer = client.post("/api/begin", content=content)
        assert answer.status_code == 400
        assert "error" in answer.json()
    assert client.post("/api/nothing", json={}).status_code == 404


def test_a_file_that_is_gone_meanwhile_is_named(
    page: Page, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = FileNotFoundError(2, "No such file or directory", "raw.rtdc")

    def fail(body: object) -> None:
        raise gone

    monkeypatch.setitem(page.calls, "results/list", fail)
    answer = client.post("/api/results/list", json={})
    assert answer.status_code == 400
    assert answer.json()["error"] == "raw.rtdc: No such file or directory"
