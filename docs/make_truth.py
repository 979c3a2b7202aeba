"""Write the tables of docs/explanation/truth.md: what is measured against what is true.

Say ``make truth``; it takes some three minutes.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytovox.cli.demo import match_cells
from cytovox.kernels.brightness import BRIGHTNESS_NAMES
from cytovox.kernels.measure import COLUMNS
from cytovox.kernels.texture import TEXTURE_NAMES
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.read import HDF5Data
from cytovox.testing import Truth, simulate_recording
from cytovox.testing.shapes import deformation_by_pixels

PAGE = Path(__file__).parent / "explanation" / "truth.md"
#: What is varied, the others as usual: words of the table, values (usual one included).
AXES: dict[str, tuple[str, tuple[float, ...]]] = {
    "size": ("diameter of cells, relative to the usual one", (0.5, 0.75, 1.0, 1.5)),
    "contrast": ("contrast, relative to the usual one", (0.3, 0.5, 1.0, 1.5)),
    "noise": ("noise of a pixel, grey levels", (0.0, 1.5, 3.0, 5.0)),
    "pixel_size": ("width of a pixel, um", (0.2, 0.2645, 0.34, 0.5)),
}
FRAMES = 1000
USUAL = {"size": 1.0, "contrast": 1.0, "noise": 1.5, "pixel_size": 0.2645}
#: All combinations of these are compared with the deformation that is expected.
GRID = {
    "size": (0.75, 1.0, 1.5),
    "contrast": (0.5, 1.0, 1.5),
    "noise": (0.0, 1.5, 3.0),
    "pixel_size": (0.2, 0.2645, 0.34),
}
#: Features of shape, how their errors are shown, and decimal places.
SHAPE = (
    ("area_um", "%", 1), ("area_um_raw", "%", 1), ("area_msd", "%", 1), ("area_ratio", "", 4),
    ("deform", "", 4), ("deform_raw", "", 4), ("per_um_raw", "%", 1), ("per_ratio", "", 4),
    ("volume", "%", 1), ("size_x", "um", 2), ("size_y", "um", 2), ("aspect", "", 3),
    ("inert_ratio_cvx", "", 3), ("inert_ratio_raw", "", 3), ("inert_ratio_prnc", "", 3),
    ("eccentr_prnc", "", 3), ("tilt", "rad", 3), ("pos_x", "um", 3), ("pos_y", "um", 3),
)  # fmt: skip
_ANGLE = np.linspace(0, 2 * np.pi, 720, endpoint=False)


@dataclass(frozen=True)
class Measured:
    """A simulated recording that was measured.

    `cells` is the truth of all whole cells, `index` says which were found, and
    `events` holds the features of those, in the same order.
    """

    cells: Truth
    index: Any
    events: dict[str, Any]
    found: int

    def errors(self, name: str, unit: str, true: Any) -> Any:
        """Return measured minus true for all cells that were found."""
        error = self.events[name] - true
        return 100 * error / true if unit == "%" else error


def measure(frames: int, **settings: float) -> Measured:
    """Simulate a recording and measure it with the default settings."""
    with tempfile.TemporaryDirectory() as folder:
        raw, result = Path(folder, "raw.rtdc"), Path(folder, "measured.rtdc")
        cells = simulate_recording(raw, frames=frames, seed=1, save_truth=False, **settings).whole
        with DCNumJobRunner(DCNumPipelineJob(raw, result, num_procs=1)) as runner:
            runner.run()
        with HDF5Data(result) as data:
            names = ("frame", *COLUMNS)
            events = {name: np.asarray(data[name][:], dtype=float) for name in names}
    events["frame"] -= 1
    of_cell, of_event = match_cells(cells, events)
    found = len(events["frame"])
    return Measured(cells, of_cell, {n: v[of_event] for n, v in events.items()}, found)


def true_shape(cells: Truth) -> dict[str, Any]:
    """Return the true value of each feature of `SHAPE`, from the outlines of the cells."""
    a, b, tilt = cells["length"] / 2, cells["width"] / 2, cells["tilt"]
    skew = np.sqrt(np.maximum(cells["volume"] / (np.pi * a * b**2) - 4 / 3, 0) * 15 / 4)
    along = np.outer(a, np.cos(_ANGLE))
    across = np.outer(b, np.sin(_ANGLE)) * (1 + np.outer(skew, np.cos(_ANGLE)))
    cos, sin = np.cos(tilt)[:, None], np.sin(tilt)[:, None]
    xx, yy, _ = _moments(along * cos - across * sin, along * sin + across * cos)
    major, minor, _ = _moments(along, across)
    size_x = np.ptp(along * cos - across * sin, axis=1)
    size_y = np.ptp(along * sin + across * cos, axis=1)
    area, one = cells["area_um"], np.ones(len(cells))
    inertia = np.sqrt(xx / yy)
    return {
        "area_um": area, "area_um_raw": area, "area_msd": area / cells.pixel_size**2,
        "area_ratio": one, "deform": cells["deform"], "deform_raw": cells["deform"],
        "per_um_raw": 2 * np.sqrt(np.pi * area) / (1 - cells["deform"]), "per_ratio": one,
        "volume": cells["volume"], "size_x": size_x, "size_y": size_y, "aspect": size_x / size_y,
        "inert_ratio_cvx": inertia, "inert_ratio_raw": inertia,
        "inert_ratio_prnc": np.sqrt(major / minor), "eccentr_prnc": np.sqrt(1 - minor / major),
        "tilt": tilt, "pos_x": cells["pos_x"], "pos_y": cells["pos_y"],
    }  # fmt: skip


def _moments(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Return the central second moments of polygons, shape (n, corners), and their areas."""
    x1, y1 = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    cross = x * y1 - x1 * y
    area = cross.sum(axis=1) / 2
    middle = [(cross * (v + v1)).sum(axis=1) / 6 / area for v, v1 in ((x, x1), (y, y1))]
    square = [
        (cross * (v * v + v * v1 + v1 * v1)).sum(axis=1) / 12 for v, v1 in ((x, x1), (y, y1))
    ]
    return square[0] - area * middle[0] ** 2, square[1] - area * middle[1] ** 2, area


def off_expectation(measured: Measured) -> float:
    """Return by how much the mean deformation differs from `Truth.deform_on_pixels`."""
    expected = measured.cells.deform_on_pixels[measured.index]
    return float(np.mean(measured.events["deform"] - expected))


def tables() -> str:
    """Measure everything; return the tables as Markdown."""
    usual = measure(FRAMES)
    parts = [_usual_table(usual)]
    for axis, (words, values) in AXES.items():
        columns = {v: usual if v == USUAL[axis] else measure(FRAMES, **{axis: v}) for v in values}
        parts.append(_axis_table(words, columns))
        if axis == "noise":
            parts.append(_grey_table(columns))
    parts.append(_grid_table())
    return "\n\n".join(parts)


def _usual_table(usual: Measured) -> str:
    """Return what is true and what is measured, with all settings as usual."""
    true = true_shape(usual.cells)
    rows = []
    for name, unit, digits in SHAPE:
        values = true[name][usual.index]
        cells = [
            f"{np.median(v):.{digits + (unit == '%')}f}" for v in (values, usual.events[name])
        ]
        rows.append([f"`{name}`", *cells, _error(usual.errors(name, unit, values), unit, digits)])
    head = ["feature", "true", "measured", "error"]
    return _table("The usual recording", head, rows)


def _axis_table(words: str, columns: dict[float, Measured]) -> str:
    """Return the errors of all features of shape for each value of a setting."""
    rows = [["radius in pixels", *(f"{_radius(m):.1f}" for m in columns.values())]]
    rows.append(["cells found", *(f"{len(m.index)} of {len(m.cells)}" for m in columns.values())])
    rows.append(["other events", *(str(m.found - len(m.index)) for m in columns.values())])
    true = [true_shape(m.cells) for m in columns.values()]
    for name, unit, digits in SHAPE:
        errors = [
            m.errors(name, unit, t[name][m.index])
            for m, t in zip(columns.values(), true, strict=True)
        ]
        label = f"`{name}`, {unit}" if unit else f"`{name}`"
        rows.append([label, *(_error(error, "", digits) for error in errors)])
    expected = [m.cells.deform_on_pixels - m.cells["deform"] for m in columns.values()]
    rows.append(["`deform`, expected", *(f"{np.mean(e):+.4f}" for e in expected)])
    return _table(words[0].upper() + words[1:], ["", *map(_number, columns)], rows)


def _grey_table(columns: dict[float, Measured]) -> str:
    """Return what noise does to brightness and texture, cell by cell."""
    quiet, *noisy = columns.values()
    head = ["feature", "without noise", *(f"noise {_number(v)}" for v in list(columns)[1:])]
    rows = []
    for name in (*BRIGHTNESS_NAMES, *TEXTURE_NAMES):
        value = np.median(quiet.events[name])
        row = [f"`{name}`", f"{value:.4g}"]
        for measured in noisy:
            _, ours, theirs = np.intersect1d(measured.index, quiet.index, return_indices=True)
            error = measured.events[name][ours] - quiet.events[name][theirs]
            digits = max(0, 1 - int(np.floor(np.log10(np.std(error)))))
            row.append(_error(error, "", digits))
        rows.append(row)
    return _table("Brightness and texture, against the same images without noise", head, rows)


def _grid_table() -> str:
    """Return the deformation over the grid, against what is expected."""
    rows = []
    for size, pixel_size in itertools.product(GRID["size"], GRID["pixel_size"]):
        found = [
            measure(300, size=size, pixel_size=pixel_size, contrast=contrast, noise=noise)
            for contrast, noise in itertools.product(GRID["contrast"], GRID["noise"])
        ]
        cells, off = found[0].cells, [off_expectation(m) for m in found]
        formula = deformation_by_pixels(cells["area_um"], cells.pixel_size)
        shown = (cells["deform"], cells["deform"] + formula, cells.deform_on_pixels)
        rows.append(
            [_number(size), _number(pixel_size), f"{_radius(found[0]):.1f}"]
            + [f"{np.mean(values):.4f}" for values in shown]
            + [f"{min(off):+.4f} to {max(off):+.4f}"]
        )
    head = ["diameter", "pixel, um", "radius in pixels", "true", "true + formula", "expected"]
    head.append("measured - expected")
    return _table("Mean deformation, against what is expected", head, rows)


def _radius(measured: Measured) -> float:
    cells = measured.cells
    return float(np.sqrt(np.median(cells["area_um"]) / np.pi) / cells.pixel_size)


def _error(error: Any, unit: str, digits: int) -> str:
    unit = f" {unit}" if unit else ""
    mean = round(float(np.mean(error)), digits) + 0.0  # no negative zero
    return f"{mean:+.{digits}f} ± {np.std(error):.{digits}f}{unit}"


def _number(value: float) -> str:
    return f"{value:g}"


def _table(title: str, head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    begin, end = "<!-- begin tables -->", "<!-- end tables -->"
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(begin)[0], text.split(end)[1]
    text = f"{before}{begin}\n{tables()}\n{end}{after}"
    PAGE.write_text(text, encoding="utf-8", newline="\n")
