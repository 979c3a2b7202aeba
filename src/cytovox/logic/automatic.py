"""Options that are set for each recording by a look at it, as ChipStream does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ..read import HDF5Data, detect_flickering
from ..read.recording_file import find_pixel_size

__all__ = ["Settled", "settle_automatic"]


@dataclass(frozen=True, slots=True)
class Settled:
    """What a look at a recording has settled."""

    #: Options by stage, as far as they are automatic.
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What a person should know of the pixel size.
    doubt: str | None = None


def settle_automatic(data: HDF5Data, automatic: Collection[str]) -> Settled:
    """Look at a recording for options such as ``data.pixel_size``."""
    options: dict[str, dict[str, Any]] = {}
    doubt = None
    if "data.pixel_size" in automatic:
        size, doubt = find_pixel_size(data)
        options["data"] = {"pixel_size": size}
    image = data.locate("image") if "background.offset_correction" in automatic else None
    # of anything but images, the run reports what is wrong
    if image is not None and len(image.shape) == 3 and len(image):
        options["background"] = {"offset_correction": detect_flickering(data)}
    return Settled(options, doubt)
