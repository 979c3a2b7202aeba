"""The section of a page that shows labels of a volume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..blockwise.recipe_file import load_recipe
from ..errors import CytovoxError, InputError
from ..read import Permissions
from ..read.open_volume import open_volume
from ..read.permissions import default_permissions
from ..read.volume import Volume
from .charts import histogram_chart, sizes_chart
from .columns import VOLUME_COLUMNS
from .embedding import picture_uri
from .page import render
from .volume_numbers import VolumeNumbers
from .volume_picture import middle_slices

__all__ = ["SLICES", "volume_section"]

#: Most voxels of a slice along an axis: from all to none; see `result_page.DETAILS`.
SLICES = (768, 320, 0, 0)
#: So many blocks that failed, or took longest, are listed.
_LISTED = 20, 5


def volume_section(
    found: VolumeNumbers, level: int, anchor: str, permissions: Permissions | None
) -> Markup:
    """Return the section of labels of a volume; of higher levels it shows less."""
    slices: list[dict[str, Any]] = []
    problem = None
    if SLICES[level] and found.about:
        slices, problem = _slices(found, SLICES[level], permissions)
    errors = [
        (name, block, error)
        for name, stage in found.stages.items()
        for block, error in stage["errors"].items()
    ]
    slowest = sorted(found.seconds.items(), key=lambda item: (-item[1], str(item[0])))
    return render(
        "volume.html",
        it=found,
        name=Path(found.path).name,
        anchor=anchor,
        columns=VOLUME_COLUMNS,
        slices=slices,
        problem=problem,
        charts=list(_charts(found)) if level < len(SLICES) - 1 else [],
        errors=errors[: _LISTED[0]],
        more_errors=max(len(errors) - _LISTED[0], 0),
        slowest=slowest[: _LISTED[1]],
    )


def _charts(found: VolumeNumbers) -> Iterator[dict[str, Any]]:
    if found.sizes.size:
        low, high = int(found.sizes.min()), int(found.sizes.max())
        yield {
            "title": "Sizes of objects",
            "uri": sizes_chart(found.sizes, found.at_seam),
            "alt": f"Sizes of {found.sizes.size} objects, from {low} to {high} voxels, "
            "of those at seams and of those inside of blocks",
            "what": "where blocks are joined well, objects at seams are not smaller",
        }
    if len(found.seconds) > 1:
        seconds = list(found.seconds.values())
        yield {
            "title": "Time of blocks",
            "uri": histogram_chart(seconds, "Seconds of a block", "Blocks"),
            "alt": f"Times of {len(seconds)} blocks, from {min(seconds):.3g} to "
            f"{max(seconds):.3g} s",
            "what": "how long the function took for each block",
        }


def _slices(
    found: VolumeNumbers, most: int, permissions: Permissions | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return pictures of the middle slices, and why they have no image."""
    problem, raw = None, None
    try:
        raw = _open_input(found.path, permissions)
    except (CytovoxError, OSError) as err:
        problem = err.what if isinstance(err, CytovoxError) else str(err)
    try:
        with open_volume(found.path, permissions=permissions) as labels:
            first: dict[str, Any] = {"time": 0} if "t" in labels.axes else {}
        with open_volume(found.path, **first, permissions=permissions) as labels:
            try:
                panels = middle_slices(raw, labels, most)
            except InputError as err:
                if raw is None:
                    raise
                problem, panels = err.what, middle_slices(None, labels, most)
    finally:
        if raw is not None:
            raw.close()
    return [
        {
            "uri": picture_uri(panel.picture),
            "name": f"{panel.name} ({panel.detail})" if panel.detail else panel.name,
            "ratio": f"{panel.picture.shape[1]} / {panel.picture.shape[0] * panel.aspect:g}",
        }
        for panel in panels
    ], problem


def _open_input(path: str, permissions: Permissions | None) -> Volume:
    """Open the image that labels were made of, where it may be read."""
    recipe = load_recipe(path, permissions=permissions)
    may = default_permissions() if permissions is None else permissions
    if "://" in recipe.input:
        raise InputError("the image is on a server, and nothing is read over the network")
    may = may.within(Path(path).absolute().parent)
    if not (may.external or may.is_allowed_place(Path(recipe.input))):
        raise InputError(
            f"the image is {recipe.input}, outside of the folder of the labels; "
            "--basin-root allows another folder"
        )
    return recipe.open_input()
