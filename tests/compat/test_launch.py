"""``cytovox as-dcnum``: the program runs, its code comes back, it ends with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cytovox.compat.dcnum import run_as_dcnum
from cytovox.errors import InputNotFoundError, UsageError


def test_words_and_exit_code_are_passed_on(run_as_dcnum: Callable, tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(7)\n")
    ended = run_as_dcnum(sys.executable, "p.py", "-h", "--version", "--", "a b")
    assert ended.code == 7
    assert "['-h', '--version', '--', 'a b']" in ended.text


def test_without_the_dashes(run_program: Callable, tmp_path: Path) -> None:
    ended = run_program(
        sys.executable, "-m", "cytovox", "as-dcnum", "python", "-c", "import dcnum; print(dcnum)"
    )
    assert ended.code == 0
    assert "(cytovox)" in ended.text


def test_no_such_program_is_said_in_one_line(run_as_dcnum: Callable) -> None:
    ended = run_as_dcnum("there-is-no-such-program")
    assert ended.code == 74
    assert ended.text.strip().startswith("error: there-is-no-such-program")
    assert "Traceback" not in ended.text


def test_mistakes_of_a_caller() -> None:
    with pytest.raises(UsageError):
        run_as_dcnum([])
    with pytest.raises(InputNotFoundError):
        run_as_dcnum(["there-is-no-such-program"])


@pytest.mark.skipif(os.name == "nt", reason="signals have numbers elsewhere")
def test_signal_of_the_program_is_reported_as_shells_do(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run_as_dcnum([sys.executable, "-c", code]) == 128 + signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="signals have numbers elsewhere")
def test_asked_to_stop_it_ends_the_program_too(tmp_path: Path) -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-m", "cytovox", "as-dcnum", "--", sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(600) == 128 + signal.SIGTERM
        # Standard output ends when the last process that has it has ended.
        reader = threading.Thread(target=process.stdout.read, daemon=True)
        reader.start()
        reader.join(600)
        assert not reader.is_alive()
