"""On what and with what was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

__all__ = ["conditions", "load"]

_HERE = Path(__file__).resolve().parent


def conditions(packages: tuple[str, ...], command: str) -> str:
    """Return machine, versions and command as one sentence."""
    versions = [f"{name} {found}" for name in packages if (found := _version(name))]
    software = ", ".join([f"cytovox {_version('cytovox')}{_commit()}", *versions])
    return f"{_machine()}; Python {platform.python_version()}, {software}; `{command}`"


def load() -> float:
    """Return how many cores others use, watched for two seconds."""
    return psutil.cpu_percent(interval=2.0) / 100 * (psutil.cpu_count() or 1)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Return which source it is, with a plus where it was changed since."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", "src")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({commit}{'+' if changed else ''})"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=_HERE, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _machine() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [f"{usable} cores of {_processor()}"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        parts.append(f"{size / 2**30:.0f} GiB")
    parts.append(f"{platform.system()} {platform.release().split('-')[0]}")
    return ", ".join(parts)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()
