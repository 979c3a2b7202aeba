"""``cytovox app`` as a program; what the page does is tested in ``tests/app``."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from cytovox.cli.main import main
from cytovox.run import extras


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "starlette")
    assert main(["app", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "starlette is not installed" in error
    assert 'pip install "cytovox[app]"' in error


def test_a_port_that_is_taken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["app", str(tmp_path), "--port", port, "--no-browser"]) == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", str(tmp_path / "nothing"), "--no-browser"]) == 74
    assert "nothing: there is no such folder" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a whole console there")
def test_it_prints_its_address_serves_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cytovox", "app", str(tmp_path), "--no-browser"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as program:
        address = program.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"<title>cytovox</title>" in answer.read()
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=60)
    assert program.returncode == 130
    assert said.splitlines() == ["end it with Ctrl-C; runs that were started go on", "stopped"]
