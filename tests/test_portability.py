"""The main job runs where only what every system has is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Run with the folder to work in; hides what Windows lacks, then does a whole job.
SCRIPT = """
import os, signal, sys
from pathlib import Path

for name in ("fcntl", "resource", "pwd", "grp", "termios", "readline"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "getuid", "geteuid", "getpgid", "killpg", "mkfifo",
             "pread", "preadv", "pwrite", "sched_getaffinity", "posix_fadvise",
             "O_DIRECTORY", "O_CLOEXEC", "O_NOFOLLOW", "fchmod", "sysconf"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM", "alarm", "setitimer", "pthread_kill"):
    if hasattr(signal, name):
        delattr(signal, name)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    from cytovox.cli.main import main
    raw = folder / "raw \\u00e4 \\u7d30\\u80de.rtdc"
    made = main(["simulate", "recording", str(raw), "--frames", "60", "--seed", "3"])
    assert made == 0, made
    for strategy in ("drain", "tap"):
        out = folder / f"out {strategy}"
        code = main(["run", str(raw), "-o", str(out), "--basins", strategy, "--quiet",
                     "--workers", "2"])
        assert code == 0, code
        names = sorted(path.name for path in out.iterdir())
        assert names == [raw.stem + "_dcn.rtdc"], names
    assert main(["info", str(out / names[0])]) == 0
"""


@pytest.mark.timeout(300)
def test_job_without_what_only_some_systems_have(tmp_path: Path) -> None:
    folder = tmp_path / "with spaces & ünïcode 測"
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-W", "error", str(script), str(folder)],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
