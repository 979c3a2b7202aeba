"""The screen Look: one frame, step by step, and what becomes of each object in it."""

from __future__ import annotations

import base64
import math
from typing import Any

from ..logic.fates import KEPT, Analysis, analyse, fate_of, verdict
from .body import Body
from .command_words import in_words, words_of_recipe
from .folder import Folder
from .outlines import outline
from .pictures import LAYERS, layers, png
from .recordings import Recordings

__all__ = ["Look"]

#: So many objects of a frame are shown, events first.
_MOST = 300


class Look:
    """Answers what the screen asks."""

    def __init__(self, folder: Folder, recordings: Recordings) -> None:
        self._folder = folder
        self._recordings = recordings

    def frame(self, body: Body) -> dict[str, Any]:
        """Return a frame, counted from 0: its picture, its objects, and the command."""
        path, recipe = self._folder.file(body.text("file")), body.recipe()
        with self._recordings.use(path, recipe) as opened:
            length = len(opened.source)
            number = body.number("frame", 0, max(length - 1, 0))
            job = opened.job(recipe)
            analysis = analyse(opened.source.read([number]), job, opened.source.data)
        height, width = analysis.frames.image.shape[1:]
        order = sorted(
            range(len(analysis.objects)),
            key=lambda i: (analysis.objects.cause[i] != KEPT, -analysis.objects.raw_size[i]),
        )
        words = ["look", str(path), "--frame", str(number), *words_of_recipe(recipe)]
        return {
            "frame": number,
            "length": length,
            "shape": [height, width],
            "layers": LAYERS,
            "picture": base64.b64encode(png(layers(analysis, 0))).decode(),
            "objects": [_described(analysis, index) for index in order[:_MOST]],
            "hidden": max(len(order) - _MOST, 0),
            "repeated": bool(analysis.frames.duplicate[0]),
            "command": in_words([*words, "-o", f"{path.stem}-{number}.png"]),
        }


def _described(analysis: Analysis, index: int) -> dict[str, Any]:
    found = analysis.objects
    features = {
        name: float(values[index])
        for name, values in found.features.items()
        if math.isfinite(values[index])
    }
    return {
        "fate": fate_of(analysis, index),
        "verdict": verdict(analysis, index),
        "outline": outline(analysis, index),
        "size": int(found.size[index]),
        "features": features,
    }
