"""Which files of the folder the page offers, and what the settings may be."""

from __future__ import annotations

import os
from typing import Any

from ..recipe.described_stages import described_stages
from .body import Body
from .folder import Folder

__all__ = ["Files"]

#: What ends the stem of a result.
_RESULT = "_dcn"
#: More files than these are not offered.
_MOST = 5000
#: Options that have a slider: lowest and highest value, step, and what stands for none.
_SLIDERS: dict[str, tuple[float, float, float, float | None]] = {
    "segmenter.thresh": (-40, -1, 0.5, None),
    "mask.closing_disk": (0, 10, 1, None),
    "gate.size_thresh_mask": (1, 400, 1, 10),
}


class Files:
    """Answers what the page asks when it begins."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def begin(self, body: Body) -> dict[str, Any]:
        """Return the recordings of the folder and of those below it, and what can be set."""
        return {
            "files": self.recordings(),
            "folders": self._folder.folders(),
            "stages": [_with_sliders(stage) for stage in described_stages()],
        }

    def recordings(self) -> list[str]:
        """Return the names of recordings, without results."""
        found: list[str] = []
        for name in self._folder.folders():
            place = self._folder.place(name)
            try:
                inside = sorted(os.listdir(place))
            except OSError:
                continue
            found += [self._folder.name(place / one) for one in inside if _is_recording(one)]
        return found[:_MOST]


def _is_recording(name: str) -> bool:
    stem, ending = os.path.splitext(name)
    return ending.lower() == ".rtdc" and not stem.endswith(_RESULT) and not name.startswith(".")


def _with_sliders(stage: dict[str, Any]) -> dict[str, Any]:
    for option in stage["options"]:
        if (slider := _SLIDERS.get(option["set"])) is not None:
            option["range"], option["shown"] = slider[:3], slider[3]
    return stage
