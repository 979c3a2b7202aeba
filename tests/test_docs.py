"""What the documents say is so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(
        path
        for kind in ("*.md", "*.ipynb")
        for path in (ROOT / "docs").rglob(kind)
        if "_build" not in path.parts
    ),
]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), re.S | re.M)


@pytest.fixture(scope="module")
def generator() -> dict:
    return runpy.run_path(str(ROOT / "docs" / "make_cli_reference.py"))


def test_command_reference_is_fresh(generator: dict) -> None:
    page = ROOT / "docs" / "reference" / "commands.md"
    assert page.read_text("utf-8") == generator["page"](), "say: make docs"


def test_rows_of_the_command_reference_have_two_cells(generator: dict) -> None:
    rows = [line for line in generator["page"]().splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


def test_every_command_has_help_and_is_in_the_readme(generator: dict) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for name, command in generator["commands"]():
        assert f"`{name}" in readme, f"README does not mention {name}"
        assert command.help
        assert all(getattr(p, "help", None) for p in command.params), name


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize(
    "path", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_examples_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for code in blocks(path, "python"):
        exec(compile(code, str(path), "exec", dont_inherit=True), {"__name__": "example"})
    assert "Traceback" not in capsys.readouterr().err


def test_pages_are_all_reachable() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for path in PAGES[1:]:
        if path.name != "README.md":
            assert path.relative_to(ROOT / "docs").as_posix() in index, f"{path} is not listed"
