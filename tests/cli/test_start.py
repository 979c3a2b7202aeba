"""What happens before a command begins, and what a shell asks for that completes words."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cytovox.cli.main import main


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("cytovox vol", ["plain,volume"]),
        ("cytovox volume re", ["plain,restitch", "plain,relabel", "plain,replay"]),
        ("cytovox run --fr", ["plain,--frames"]),
        ("cytovox run --basins t", ["plain,tap"]),
        ("cytovox run day", ["file,day"]),
    ],
)
def test_a_shell_can_complete_words(
    words: str,
    completed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("_CYTOVOX_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert main([]) == 0
    assert capsys.readouterr().out.split() == completed


@pytest.mark.parametrize(
    ("word", "given", "expected"),
    [("run", None, "1"), ("run", "3", "3"), ("as-dcnum", None, None)],
    ids=["ours", "of the user", "of another program"],
)
def test_linear_algebra_has_one_thread_unless_the_user_says_otherwise(
    word: str, given: str | None, expected: str | None
) -> None:
    code = (
        "import os, sys; from cytovox.__main__ import run\n"
        f"sys.argv = ['cytovox', {word!r}, '--help']\n"
        "try: run()\n"
        "finally: print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    )
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    if given is not None:
        env["OPENBLAS_NUM_THREADS"] = given
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == str(expected)
