"""How well blocks were put together, in words and as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..blockwise.lookup import SeamReport

__all__ = ["draw_seams", "seam_lines", "seam_sizes", "seams_in_words"]


def seams_in_words(report: SeamReport) -> str:
    """Return a report about the seams as text."""
    first, *rest = seam_lines(report.as_dict())
    return "\n".join([f"seams: {first}", *(f"       {line}" for line in rest)])


def seam_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of a report about the seams."""
    lines = [
        f"{report['at_seam']} of {report['objects']} objects touch a seam, "
        f"{report['spanning']} are in several blocks"
    ]
    if report["cut"]:
        lines.append(f"{report['cut']} end exactly at a seam: cut, or at rest there")
    if report["contested"]:
        lines.append(f"{report['contested']} join labels that one block had separated")
    if report["exceeding"]:
        lines.append(f"{report['exceeding']} reach beyond what a block saw: more context may help")
    if report["doubtful"]:
        lines.append(f"{report['doubtful']} pairs of labels were close to the threshold")
    if report["dropped"]:
        lines.append(f"{report['dropped']} labels were dropped, for another block has the object")
    seam, inside = report["seam_median"], report["interior_median"]
    if seam is not None and inside is not None:
        lines.append(f"median size {seam:.0f} voxels at seams, {inside:.0f} inside of blocks")
    return lines


def seam_sizes(
    output: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the size of each object, and whether it touches a seam."""
    from ..blockwise.evidence import EvidenceFolder
    from ..blockwise.lookup import load_lookup
    from ..blockwise.recipe_file import find_run

    folder = find_run(output)
    lookup = load_lookup(folder)
    load = EvidenceFolder(folder / "blocks", faces=False, shell=False)
    voxels = np.zeros(lookup.count + 1, np.int64)
    at_seam = np.zeros(lookup.count + 1, np.bool_)
    for index in range(len(lookup.offsets) - 1):
        final = lookup.slice(index)[1:]
        evidence = load(index)
        np.add.at(voxels, final, evidence.sizes.astype(np.int64))
        at_seam[final[evidence.at_seam]] = True
    return voxels[1:], at_seam[1:]


def draw_seams(axes: Any, output: str | os.PathLike[str]) -> None:
    """Draw the sizes of objects that touch a seam against those that do not."""
    from .style import FAINT, INK, MEASURED, TRUE, label_axes, title

    voxels, at_seam = seam_sizes(output)
    title(axes, "Objects at seams and inside of blocks")
    label_axes(axes, "Voxels", "Share of objects")
    if not voxels.size:
        axes.text(0.5, 0.5, "no objects", transform=axes.transAxes, ha="center", color=FAINT)
        return
    low, high = np.log10(max(1, voxels.min())), np.log10(max(2, voxels.max()))
    edges = np.logspace(low - 0.05, high + 0.05, 24)
    for chosen, colour, name in ((~at_seam, MEASURED, "inside"), (at_seam, TRUE, "at a seam")):
        count = int(chosen.sum())
        if count:
            axes.hist(
                voxels[chosen], edges, weights=np.full(count, 1 / count), histtype="stepfilled",
                color=colour, alpha=0.45, label=f"{name} ({count})",
            )  # fmt: skip
    axes.set_xscale("log")
    if high - low > 1:
        axes.xaxis.set_minor_formatter("")
    else:
        axes.tick_params(axis="x", which="minor", labelsize=8, rotation=30)
    axes.legend(frameon=False, fontsize=10, labelcolor=INK)
