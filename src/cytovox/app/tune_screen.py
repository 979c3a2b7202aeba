"""The screen Tune: what settings do to frames that are spread over a recording."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from ..logic.fates import KEPT, Analysis, analyse, fate_of, verdict
from ..run.rows import CAUSES
from .body import Body
from .command_words import in_words, words_of_recipe
from .folder import Folder
from .outlines import outline
from .pictures import png, sheet
from .recordings import Recordings

__all__ = ["Tune"]

#: Frames that are looked at, and how many of them are side by side in the picture.
_FRAMES, _COLUMNS = 200, 10
#: So many objects are drawn, events first, then by size: more are noise, and slow.
_MOST = 2500
#: Bars of the histogram, and the share of the largest values that it leaves out.
_BARS, _BEYOND = 48, 0.002
#: What is called so is the number of pixels, which the gate looks at first.
_SIZE = "size"


class Tune:
    """Answers what the screen asks."""

    def __init__(self, folder: Folder, recordings: Recordings) -> None:
        self._folder = folder
        self._recordings = recordings

    def frames(self, body: Body) -> bytes:
        """Return the frames as one picture."""
        path, recipe = self._folder.file(body.text("file")), body.recipe()
        with self._recordings.use(path, recipe) as opened:
            return png(sheet(opened.spread(_FRAMES), _COLUMNS))

    def fates(self, body: Body) -> dict[str, Any]:
        """Return what becomes of the objects of the frames, drawn and counted."""
        path, recipe = self._folder.file(body.text("file")), body.recipe()
        feature = body.text("feature", _SIZE)
        with self._recordings.use(path, recipe) as opened:
            begin = time.perf_counter()
            frames = opened.spread(_FRAMES)
            analysis = analyse(frames, opened.job(recipe), opened.source.data)
        found = analysis.objects
        totals = found.counts(len(frames)).sum(axis=0).tolist()
        order = np.lexsort((-found.raw_size, found.cause != KEPT))
        shown = np.sort(order[:_MOST]).tolist()
        words = ["run", str(path), *words_of_recipe(recipe)]
        return {
            "frames": frames.numbers.tolist(),
            "length": len(opened.source),
            "shape": frames.image.shape[1:],
            "columns": _COLUMNS,
            "found": totals[0],
            "kept": int(np.count_nonzero(found.cause == KEPT)),
            "lost": dict(zip(CAUSES, totals[1:], strict=True)),
            "objects": [_drawn(analysis, index) for index in shown],
            "hidden": len(order) - len(shown),
            "features": [_SIZE, *sorted(found.features)],
            "histogram": _histogram(analysis, feature),
            "seconds": round(time.perf_counter() - begin, 4),
            "command": in_words(words),
        }


def _drawn(analysis: Analysis, index: int) -> dict[str, Any]:
    return {
        "row": int(analysis.objects.frame[index]),
        "fate": fate_of(analysis, index),
        "verdict": verdict(analysis, index),
        "outline": outline(analysis, index),
    }


def _histogram(analysis: Analysis, feature: str) -> dict[str, Any]:
    """Return how often values occur, of events and of what is lost, and what the gate allows."""
    found, gate = analysis.objects, analysis.extractor.gate
    if feature in found.features:
        values = found.features[feature]
        low, high = gate.box_gates.get(feature, (None, None))
    else:
        feature, values = _SIZE, found.size.astype(float)
        low, high = gate.size_thresh_mask, None
    there = np.isfinite(values) & (found.label > 0)
    kept, lost = there & (found.cause == KEPT), there & (found.cause != KEPT)
    edges = _edges(values[there])
    return {
        "feature": feature,
        "edges": edges.tolist(),
        "kept": np.histogram(values[kept], edges)[0].tolist(),
        "lost": np.histogram(values[lost], edges)[0].tolist(),
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
    }


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the edges of bars; values of pixels get bars of whole numbers."""
    if not len(values):
        return np.array([0.0, 1.0])
    low, high = float(values.min()), float(np.quantile(values, 1 - _BEYOND))
    if (values == values.round()).all():
        width = max(np.ceil((high - low + 1) / _BARS), 1.0)
        return np.asarray(np.arange(low, high + width + 1, width) - 0.5, float)
    return np.linspace(low, max(high, np.nextafter(low, np.inf)), _BARS + 1)
