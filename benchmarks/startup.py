"""How long it takes until anything happens."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .data import Recording
from .measure import Job, alternate
from .plan import Plan
from .recordings import dcnum_job, our_job
from .results import OURS, as_row

__all__ = ["keys", "rows"]

_FRAMES = 40


def keys(quick: bool) -> list[str]:
    """Return the names of all rows in order."""
    return ["help", "import", "cold", "warm"]


def rows(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure help, importing, the first run after install, and a small warm run."""
    path = Recording(_FRAMES).path
    nothing = Job("python alone", lambda folder: [sys.executable, "-c", "pass"])
    if plan.wants("help"):
        ours = Job(OURS, lambda folder: [sys.executable, "-m", "cytovox", "--help"])
        sides = alternate(plan.chosen([ours, nothing]), plan.runs)
        yield "help", as_row("`cytovox --help`", sides)
    if plan.wants("import"):
        ours, peer = (
            Job(name, lambda folder, name=name: [sys.executable, "-c", f"import {name}.logic"])
            for name in (OURS, "dcnum")
        )
        sides = alternate(plan.chosen([ours, peer]), plan.runs)
        yield "import", as_row("import of the pipeline", sides)
    if plan.wants("cold"):
        # An empty cache is what an installation begins with.
        jobs = [our_job(path, env=_our_cache), dcnum_job(path, env=_numba_cache, limit=180)]
        sides = alternate(plan.chosen(jobs), plan.runs)
        note = "kernels compile"
        yield "cold", as_row(f"first run after install, {_FRAMES} frames", sides, note=note)
    if plan.wants("warm"):
        jobs = [our_job(path), dcnum_job(path, limit=120)]
        alternate(plan.chosen(jobs), 1)
        sides = alternate(plan.chosen(jobs), plan.runs)
        yield "warm", as_row(f"{_FRAMES} frames, kernels compiled before", sides, result="events")


def _our_cache(folder: Path) -> Mapping[str, str]:
    return {"CYTOVOX_CACHE_DIR": str(folder / "kernels")}


def _numba_cache(folder: Path) -> Mapping[str, str]:
    return {"NUMBA_CACHE_DIR": str(folder / "kernels")}
