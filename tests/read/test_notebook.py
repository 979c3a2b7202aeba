"""What recordings, results and volumes show of themselves in a notebook, and tables of pandas."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.blockwise.block_result import VolumeResult
from cytovox.blockwise.object_table import ObjectTable, write_objects
from cytovox.errors import UsageError
from cytovox.read import HDF5Data, open_volume
from cytovox.run import extras

EVENTS = 40


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result with 40 events, each a square, in images of 60 x 200 pixels."""
    path = tmp_path_factory.mktemp("notebook") / "<b>result.rtdc"
    masks = np.zeros((EVENTS, 60, 200), np.uint8)
    for event in range(EVENTS):
        masks[event, 20:30, event * 4 : event * 4 + 12] = 255
    with h5py.File(path, "w") as h5:
        h5.attrs["experiment:event count"] = EVENTS
        h5.attrs["experiment:sample"] = "<script>alert(1)</script>\x1b[2J"
        h5.attrs["imaging:pixel size"] = 0.34
        h5.attrs["pipeline:dcnum hash"] = "0" * 32
        h5.create_dataset("events/image", data=200 - masks // 3, chunks=(5, 60, 200))
        h5.create_dataset("events/mask", data=masks, chunks=(5, 60, 200))
        h5["events/deform"] = np.linspace(0, 1, EVENTS)
        h5["events/area_um"] = np.linspace(20, 30, EVENTS, dtype=">f4")
        h5["events/frame"] = np.arange(1, EVENTS + 1)
    return path


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def pictures(text: str) -> list[np.ndarray]:
    cv2 = pytest.importorskip("cv2")
    found = re.findall(r"data:image/png;base64,([^']+)'", text)
    raw = [np.frombuffer(base64.b64decode(one), np.uint8) for one in found]
    return [cv2.imdecode(one, cv2.IMREAD_UNCHANGED) for one in raw]


def test_a_result_shows_events_with_outlines(result: Path) -> None:
    with HDF5Data(result) as data:
        text = data._repr_html_()
    tags = Tags(text)
    assert not tags.open
    assert set(tags.names) == {"div", "b", "table", "tr", "th", "td", "img"}
    assert "<script>alert(1)</script>\\x1b[2J" in tags.text
    assert "result <b>result.rtdc" in tags.text
    assert "60 x 200 pixels" in tags.text
    shown = pictures(text)
    assert len(shown) == 8
    for image in shown:
        assert image.shape == (56, 56, 3)
        outline = np.all(image == (220, 165, 20), axis=-1)
        assert outline.sum() == 2 * (10 + 12) - 4
    assert len(text) < 100_000


def test_only_chunks_of_shown_events_are_read(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cytovox.read.dataset import CheckedDataset

    read: list[int] = []
    real = CheckedDataset.read_rows

    def counted(self: Any, start: int, stop: int, *more: Any) -> None:
        read.append(stop - start)
        real(self, start, stop, *more)

    monkeypatch.setattr(CheckedDataset, "read_rows", counted)
    with HDF5Data(result) as data:
        data._repr_html_()
        assert not data._images
    assert sum(read) < EVENTS


def test_a_recording_shows_frames(tmp_path: Path) -> None:
    path = tmp_path / "raw.rtdc"
    image = np.zeros((5, 100, 600), np.uint16)
    image[:, 50, :] = 4000
    with h5py.File(path, "w") as h5:
        h5["events/image"] = image
    with HDF5Data(path) as data:
        text = data._repr_html_()
    shown = pictures(text)
    assert [one.shape for one in shown] == [(34, 200)] * 3
    assert "recording raw.rtdc" in text


def test_what_is_damaged_is_said_and_closed_files_show_nothing(
    result: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.rtdc"
    bad.write_bytes(result.read_bytes())
    with h5py.File(bad, "a") as h5:
        h5.attrs["imaging:pixel size"] = "<i>none"
    data = HDF5Data(bad)
    assert "the pixel size is &lt;i&gt;none" in data._repr_html_()
    data.close()
    assert data._repr_html_() is None
    with h5py.File(bad, "a") as h5:
        h5.attrs["imaging:pixel size"] = 0.34
        del h5["events/image"]
        definition = {"type": "file", "name": "x", "format": "hdf5", "paths": ["gone.rtdc"]}
        lines = json.dumps({**definition, "features": ["image"]}).split("\n")
        h5["basins/x"] = np.array(lines, "S")
    with HDF5Data(bad) as data:
        text = data._repr_html_()
    assert "gone.rtdc" in text
    assert "<img" not in text


def test_volumes_and_labels_show_the_slice_in_the_middle(tmp_path: Path) -> None:
    stack = np.zeros((9, 300, 40), np.uint8)
    stack[4, 10:200, :20] = 100
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "labels.npy", (stack > 0).astype(np.uint32) * 7)
    with open_volume(tmp_path / "stack.npy") as volume:
        text = volume._repr_html_()
    assert volume._repr_html_() is None
    (image,) = pictures(text)
    np.testing.assert_array_equal(image, np.where(stack[4, ::2, ::2], 255, 0))
    assert "9 x 300 x 40 (zyx)" in Tags(text).text
    done = VolumeResult(output=str(tmp_path / "labels.npy"), objects=1, blocks=2)
    (colours,) = pictures(done._repr_html_())
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 2
    assert colours[0, 0].tolist() == [0, 0, 0]
    assert "are not complete" in VolumeResult(output=None)._repr_html_()
    gone = VolumeResult(output=str(tmp_path / "gone.zarr"))._repr_html_()
    assert "cannot be drawn" in gone


def test_a_large_volume_is_read_in_part(tmp_path: Path) -> None:
    tall = np.lib.format.open_memmap(tmp_path / "tall.npy", "w+", np.uint8, (1, 3000, 2000))
    tall[:, 1500, :] = 9
    with open_volume(tmp_path / "tall.npy") as volume:
        (image,) = pictures(volume._repr_html_())
    assert image.shape == (256, 256)
    assert image[128].all()


def test_to_pandas(result: Path) -> None:
    pytest.importorskip("pandas")
    with HDF5Data(result) as data:
        table = data.to_pandas()
        assert list(table.columns) == ["frame", "area_um", "deform"]
        assert list(data.to_pandas(["deform"]).columns) == ["frame", "deform"]
        for name in table.columns:
            np.testing.assert_array_equal(table[name].to_numpy(), data[name])
    assert table.index[0] == 0
    assert table.attrs["labels"]["area_um"] == "Area [µm²]"
    assert table.attrs["units"] == {"frame": "1", "area_um": "µm²", "deform": "1"}


def test_objects_to_pandas(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    columns = {"label": np.array([1, 2], np.uint64), "volume": np.array([2.5, np.nan])}
    write_objects(path, ObjectTable(columns, {"label": "1", "volume": "µm^3"}))
    table = VolumeResult(output="a.zarr", table=path).to_pandas()
    np.testing.assert_array_equal(table["volume"], columns["volume"])
    assert table.attrs["units"]["volume"] == "µm^3"
    with pytest.raises(UsageError, match="no table"):
        VolumeResult(output="a.zarr").to_pandas()


def test_without_pandas_it_is_said_what_to_install(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "pandas")
    with HDF5Data(result) as data, pytest.raises(UsageError, match=r"pip install .*\[pandas\]"):
        data.to_pandas()
