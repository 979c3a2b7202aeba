"""Pictures are drawn from whatever a result has, and always the same."""

from __future__ import annotations

import threading
from pathlib import Path

import h5py
import matplotlib as mpl
import numpy as np
import pytest

from cytovox.errors import InputError
from cytovox.logic.ctrl import DCNumJobRunner
from cytovox.logic.job import DCNumPipelineJob
from cytovox.read import HDF5Data
from cytovox.report import contact_sheet, deformation_area_scatter, draw_measurement, save_figure
from cytovox.testing import simulate_recording


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A measured recording and its truth; one with basins, whose raw file is missing."""
    folder = tmp_path_factory.mktemp("report")
    truth = simulate_recording(folder / "raw.rtdc", frames=60, cells=1.5)
    for strategy in ("drain", "tap"):
        job = DCNumPipelineJob(
            folder / "raw.rtdc", folder / f"{strategy}.rtdc", basin_strategy=strategy, num_procs=1
        )
        with DCNumJobRunner(job) as runner:
            runner.run()
    (folder / "raw.rtdc").unlink()
    return folder, truth


def write(path: Path, events: int, meta=None, **features) -> Path:
    with h5py.File(path, "w") as h5:
        h5.attrs.update({"experiment:event count": events, "imaging:pixel size": 0.34})
        h5.attrs.update(meta or {})
        h5.create_group("events")
        for name, values in features.items():
            h5[f"events/{name}"] = values
    return path


def pixels(path: Path) -> np.ndarray:
    return mpl.image.imread(path)


def texts(figure) -> str:
    return " ".join(t.get_text() for axes in figure.axes for t in axes.texts)


def test_one_picture(measured, tmp_path):
    folder, truth = measured
    path = draw_measurement(folder / "drain.rtdc", tmp_path / "a.png", truth=truth.whole)
    image = pixels(path)
    assert image.shape[0] > 600
    assert image.shape[1] > 1500
    assert image[..., :3].std() > 0.05
    with HDF5Data(folder / "drain.rtdc") as data:
        again = draw_measurement(data, tmp_path / "b.png", truth=truth.whole)
    assert path.read_bytes() == again.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("number", [1, 2, 5, 7, 24, 1000])
def test_contact_sheet_of_any_number(number, measured):
    folder, _ = measured
    with HDF5Data(folder / "drain.rtdc") as data:
        figure = contact_sheet(data, number=number)
        shown = min(number, len(data))
    labels = [t.get_text() for t in figure.axes[0].texts]
    assert labels[-1].endswith("µm")
    assert len(set(labels[:-1])) == shown


def test_contact_sheet_columns_and_order(measured):
    folder, _ = measured
    with HDF5Data(folder / "drain.rtdc") as data:
        figure = contact_sheet(data, number=6, columns=1)
        area = data["area_um"][:]
    height, width = figure.axes[0].images[0].get_array().shape
    assert height > 3 * width / 2
    shown = [int(t.get_text()) for t in figure.axes[0].texts[:-1]]
    assert np.all(np.diff(area[shown]) >= 0)
    assert shown[0] == np.argmin(area)


def test_scatter_shows_all_points_and_units(measured):
    folder, truth = measured
    with HDF5Data(folder / "drain.rtdc") as data:
        figure = deformation_area_scatter(data, truth=truth.whole)
        number = len(data)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Area (µm²)", "Deformation")
    legend = [t.get_text() for t in axes.get_legend().get_texts()]
    assert legend == [f"measured ({number})", f"true ({len(truth.whole)})"]
    assert "Outlines follow pixels" in texts(figure), "why the points lie above the rings"


def test_images_that_are_missing(measured, tmp_path):
    folder, _ = measured
    draw_measurement(folder / "tap.rtdc", tmp_path / "picture.png")
    with HDF5Data(folder / "tap.rtdc") as data:
        assert "not in this file" in texts(contact_sheet(data))


def test_no_events(tmp_path):
    path = write(tmp_path / "none.rtdc", 0)
    draw_measurement(path, tmp_path / "picture.png", truth={"area_um": [], "deform": []})
    with HDF5Data(path) as data:
        assert "no events" in texts(contact_sheet(data))
        assert "no events" in texts(deformation_area_scatter(data))


def test_other_features_only(tmp_path):
    with HDF5Data(write(tmp_path / "other.rtdc", 2, area_um=[1.0, 2.0])) as data:
        assert "was not measured" in texts(deformation_area_scatter(data))


@pytest.mark.parametrize(
    ("area", "deform"),
    [([30.0], [0.1]), ([30.0, 30.0], [0.0, 0.0]), ([np.nan, 2], [0.1, np.nan]), ([0.0], [0.0])],
)
def test_few_and_strange_values(area, deform, tmp_path):
    path = write(tmp_path / "few.rtdc", len(area), area_um=area, deform=deform)
    draw_measurement(path, tmp_path / "picture.png")


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (10, 200), (200, 10)])
def test_frames_of_any_size(shape, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4, *shape), dtype=np.uint8)
    masks = np.zeros((4, *shape), np.uint8)
    masks[0] = 255  # all of it
    masks[1, 0, 0] = 255
    masks[2, -1, -1] = 255  # the last is empty
    path = write(tmp_path / "odd.rtdc", 4, {"imaging:pixel size": 0.0}, image=images, mask=masks)
    with HDF5Data(path) as data:
        save_figure(contact_sheet(data), tmp_path / "picture.png")


def test_flat_images(tmp_path):
    images = np.full((2, 20, 30), 7, np.uint8)
    masks = np.zeros_like(images)
    masks[:, 5:9, 5:9] = 255
    with HDF5Data(write(tmp_path / "flat.rtdc", 2, image=images, mask=masks)) as data:
        save_figure(contact_sheet(data), tmp_path / "picture.png")


def test_no_recording(tmp_path):
    with pytest.raises(InputError):
        draw_measurement(tmp_path / "nothing.rtdc", tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()


def test_drawing_leaves_no_global_state(measured, tmp_path):
    folder, _ = measured
    before = dict(mpl.rcParams)
    errors = []

    def draw(name):
        try:
            draw_measurement(folder / "drain.rtdc", tmp_path / name)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=draw, args=(f"{i}.png",)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert not errors
    assert dict(mpl.rcParams) == before


def test_real_recording(shared_data, tmp_path):
    draw_measurement(shared_data / "recordings" / "cytoshot_2023.rtdc", tmp_path / "real.png")
    assert pixels(tmp_path / "real.png").std() > 0.05
