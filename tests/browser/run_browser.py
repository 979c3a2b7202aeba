"""Set up a browser and run the tests of the page in it; say so if there can be none.

    python tests/browser/run_browser.py [--pictures FOLDER] [OPTIONS OF PYTEST]

Chromium comes from the system, or is installed by apt-get if this is run by root.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support.page import chromium  # noqa: E402

#: Seconds that the installing of a browser may take.
LIMIT = 600


def install_chromium() -> None:
    """Install Chromium if that is possible without asking anybody."""
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": LIMIT}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    words = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]
    for command in (words, ["apt-get", "update", "-q"], words):
        try:
            ended = subprocess.run(command, env=environment, check=False, **quiet)
        except (OSError, subprocess.TimeoutExpired):
            return
        if command is words and ended.returncode == 0:
            return


def install_playwright() -> None:
    """Install the package that drives the browser; its own browsers are not needed."""
    if importlib.util.find_spec("playwright") is None:
        words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        subprocess.run([*words, "playwright>=1.40"], check=False, timeout=LIMIT)
        importlib.invalidate_caches()


def main() -> int:
    if chromium() is None:
        print("installing Chromium (once)", flush=True)
        install_chromium()
    install_playwright()
    if chromium() is None or importlib.util.find_spec("playwright") is None:
        missing = "Chromium" if chromium() is None else "the package playwright"
        print(f"tests in the browser were SKIPPED: {missing} cannot be installed here")
        return 0
    checks = sorted(str(path) for path in HERE.glob("check_*.py"))
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *checks]
    return subprocess.run([*words, *sys.argv[1:]], check=False, cwd=HERE.parents[1]).returncode


if __name__ == "__main__":
    sys.exit(main())
