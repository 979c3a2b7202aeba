"""Pages about labels of volumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cytovox import open_volume
from cytovox.blockwise.volumes import segment_volume
from cytovox.errors import InputError
from cytovox.read import Permissions
from cytovox.report import write_report
from cytovox.report.find_results import find_results
from cytovox.report.volume_numbers import read_volume
from support.pages import Page

SHAPE = (20, 30, 26)


def fails(array: np.ndarray) -> np.ndarray:
    """Fail where the array has a 255."""
    if array.max() == 255:
        raise ValueError("<b>too bright</b>")
    return (array > 100).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a volume, its labels, and a run in which a block failed."""
    folder = tmp_path_factory.mktemp("volumes")
    image = (np.random.default_rng(0).random(SHAPE) < 0.2).astype(np.uint8) * 200
    np.save(folder / "raw.npy", image)
    how = {"block": 16, "context": 0, "stitch": "touch", "workers": 0}
    segment_volume(
        folder / "raw.npy", folder / "a.zarr", "label", parameters={"threshold": 100}, **how
    )
    image[0, 0, 0] = 255
    np.save(folder / "bright.npy", image)
    segment_volume(folder / "bright.npy", folder / "b.zarr", fails, retries=0, **how)
    return folder


def test_numbers_are_those_of_the_labels(folder: Path, tmp_path: Path) -> None:
    report = write_report(folder / "a.zarr", tmp_path)
    with open_volume(folder / "a.zarr") as volume:
        sizes = np.bincount(volume.read([(0, n) for n in SHAPE]).ravel())[1:]
    told = json.loads((folder / "a.zarr.cytovox" / "lookup.json").read_bytes())["seams"]
    page = Page(report.page)
    shown = dict.fromkeys(("objects", "voxels_median", "blocks", "blocks_failed", "cut"))
    numbers = report.results[0].numbers
    assert numbers["objects"] == len(sizes)
    assert numbers["voxels_median"] == float(np.median(sizes))
    assert (numbers["blocks"], numbers["blocks_failed"]) == (8, 0)
    assert all(numbers[name] == told[name] for name in ("at_seam", "spanning", "cut"))
    values = [v for tag, name, v in page.attributes if (tag, name) == ("data", "value")]
    assert {repr(numbers[name]) for name in shown} <= set(values)
    assert f"{told['at_seam']} of {len(sizes)} objects touch a seam" in page.text
    content = json.loads(report.multiqc[0].read_text())
    assert report.multiqc[0].name == "cytovox_volumes_mqc.json"
    assert content["data"]["a"]["objects"] == len(sizes)


def test_a_page_shows_slices_sizes_blocks_and_recipe(folder: Path, tmp_path: Path) -> None:
    page = Page(write_report(folder / "a.zarr", tmp_path).page)
    images = [v for tag, name, v in page.attributes if (tag, name) == ("img", "alt")]
    assert sum(text.startswith("middle slice") for text in images) == 3
    assert any(text.startswith("Sizes of ") for text in images)
    assert any(text.startswith("Times of 8 blocks") for text in images)
    assert "Each object has an outline of its own colour" in page.text
    assert "label threshold=100" in page.text
    assert "16 x 16 x 16 with a context of 0 x 0 x 0" in page.text
    assert not page.tags & {"script", "link"}


def test_blocks_that_failed_are_named(folder: Path, tmp_path: Path) -> None:
    report = write_report(folder / "b.zarr", tmp_path)
    page = Page(report.page)
    assert (
        "block 0 : StageError: block 0: segment failed: ValueError: <b>too bright</b>" in page.text
    )
    assert "1 block failed" in page.text
    assert "the run is not finished" in page.text
    assert not report.results[0].is_whole
    assert report.results[0].numbers["blocks_failed"] == 1


def test_a_folder_has_a_table_of_volumes(folder: Path, tmp_path: Path) -> None:
    assert [path.name for path, _ in find_results([folder])] == ["a.zarr", "b.zarr"]
    page = Page(write_report(folder, tmp_path).page)
    assert page.numbers[str(folder / "b.zarr"), "blocks_failed"] == "1"
    assert int(page.numbers[str(folder / "a.zarr"), "objects"]) > 10
    links = [v for tag, name, v in page.attributes if (tag, name) == ("a", "href")]
    assert links == ["#volume-1", "#volume-2"]


@pytest.mark.parametrize(
    ("place", "problem"),
    [("http://example.org/a.zarr", "nothing is read over the network"), (None, "outside of the")],
)
def test_an_image_elsewhere_is_not_read(
    folder: Path, tmp_path: Path, place: str | None, problem: str
) -> None:
    for name in ("a.zarr", "a.zarr.cytovox"):
        shutil.copytree(folder / name, tmp_path / name)
    recipe = tmp_path / "a.zarr.cytovox" / "recipe.json"
    told = json.loads(recipe.read_text())
    told["input"] = place or told["input"]
    recipe.write_text(json.dumps(told))
    page = Page(write_report(tmp_path / "a.zarr", tmp_path / "page").page)
    assert "Labels without their image: the image is " in page.text
    assert problem in page.text
    if place is None:
        may = Permissions(basin_roots=(folder,))
        page = Page(write_report(tmp_path / "a.zarr", tmp_path / "2", permissions=may).page)
        assert "without their image" not in page.text


def test_what_no_run_has_made_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="not labels of a run"):
        read_volume(folder / "raw.npy", None)
