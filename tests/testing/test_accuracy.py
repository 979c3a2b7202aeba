"""What is measured differs from what is true as the page about accuracy says."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest

from cytovox.kernels.measure import COLUMNS
from cytovox.testing import simulate_recording
from cytovox.testing.shapes import deformation_by_pixels

DOCS = Path(__file__).resolve().parents[2] / "docs"
TRUTH = runpy.run_path(str(DOCS / "make_truth.py"))
CORNERS = list(itertools.product(*((v[0], v[-1]) for v in TRUTH["GRID"].values())))


@pytest.mark.parametrize(("size", "contrast", "noise", "pixel_size"), CORNERS)
def test_deformation_is_as_expected_of_pixels(
    size: float, contrast: float, noise: float, pixel_size: float
) -> None:
    measured = TRUTH["measure"](
        200, size=size, contrast=contrast, noise=noise, pixel_size=pixel_size
    )
    assert len(measured.index) == len(measured.cells) == measured.found
    assert abs(TRUTH["off_expectation"](measured)) < 0.002


@pytest.mark.peer
def test_formula_for_pixels_is_that_of_dclab() -> None:
    pxcorr = pytest.importorskip("dclab.features.emodulus.pxcorr")
    area = np.geomspace(1, 2000, 50)
    for pixel_size in (0.2, 0.34, 0.5):
        theirs = pxcorr.corr_deform_with_area_um(area, px_um=pixel_size)
        np.testing.assert_allclose(deformation_by_pixels(area, pixel_size), theirs, rtol=1e-12)


def test_a_circle_is_expected_to_look_as_deformed_as_the_formula_says(tmp_path: Path) -> None:
    truth = simulate_recording(tmp_path / "raw.rtdc", frames=20, seed=1)
    truth.table["deform"] = 0
    added = deformation_by_pixels(truth["area_um"], truth.pixel_size)
    np.testing.assert_allclose(truth.deform_on_pixels, added)


def test_page_shows_each_feature() -> None:
    page = (DOCS / "explanation" / "truth.md").read_text("utf-8")
    assert [name for name in COLUMNS if f"`{name}`" not in page] == []


def test_size_and_contrast_of_simulated_cells(tmp_path: Path) -> None:
    usual = simulate_recording(tmp_path / "raw.rtdc", frames=50, seed=1)
    small = simulate_recording(tmp_path / "raw.rtdc", frames=50, seed=1, size=0.5)
    pale = simulate_recording(tmp_path / "raw.rtdc", frames=50, seed=1, contrast=0.5)
    np.testing.assert_allclose(small["area_um"], usual["area_um"] / 4)
    np.testing.assert_allclose(small["deform"], usual["deform"])
    np.testing.assert_array_equal(pale.table, usual.table)
