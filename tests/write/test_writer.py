from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.errors import StorageError, UsageError
from cytovox.read import HDF5Data
from cytovox.write import HDF5Writer, set_default_filter_kwargs
from cytovox.write.disk import Sink


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.rtdc"


@pytest.mark.parametrize(
    ("item", "dtype", "rows"),
    [
        ((), float, 1000),
        ((80, 320), np.uint8, 40),
        ((80, 400), np.uint8, 32),
        ((512, 512), np.uint8, 10),
        ((4000, 4000), np.uint8, 10),
        ((1,), np.uint8, 1000),
    ],
)
def test_stored_chunks_have_a_mebibyte(item, dtype, rows):
    assert HDF5Writer.get_best_nd_chunks(item, dtype) == (rows, *item)


def test_rows_are_appended(path):
    images = np.random.default_rng(0).integers(0, 256, (50, 80, 320), dtype=np.uint8)
    with HDF5Writer(path) as writer:
        writer.store_feature_chunk("image", images[:7])
        writer.store_feature_chunk("deform", [0.5, 1.5])
    with HDF5Writer(path) as writer:
        writer.store_feature_chunk("image", images[7:])
        writer.store_feature_chunk("deform", np.zeros(0))
    with h5py.File(path) as h5:
        np.testing.assert_array_equal(h5["events/image"][:], images)
        assert h5["events/image"].chunks == (40, 80, 320)
        assert h5["events/image"].fletcher32
        assert h5["events/image"].attrs["CLASS"] == b"IMAGE"
        assert h5["events/deform"][:].tolist() == [0.5, 1.5]
        assert "CLASS" not in h5["events/deform"].attrs


def test_only_the_mask_becomes_0_and_255(path):
    flags = np.array([[[True, False]]])
    with HDF5Writer(path) as writer:
        writer.store_feature_chunk("mask", flags)
        writer.store_feature_chunk("other", flags)
        assert writer.events["mask"][:].tolist() == [[[255, 0]]]
        assert writer.events["mask"].dtype == np.uint8
        assert writer.events["other"].dtype == bool


@pytest.mark.parametrize(
    "data", [np.zeros((3, 2)), np.array(1.0), np.zeros((2, 3, 4)), np.array([0.5]), np.array([-1])]
)
def test_what_does_not_fit_changes_nothing(path, data):
    with HDF5Writer(path) as writer:
        writer.store_feature_chunk("frame", np.arange(5, dtype=np.uint32))
        with pytest.raises(TypeError, match="frame"):
            writer.store_feature_chunk("frame", data)
        assert writer.events["frame"][:].tolist() == [0, 1, 2, 3, 4]


def test_the_first_type_is_kept_where_nothing_is_lost(path):
    with HDF5Writer(path) as writer:
        writer.store_feature_chunk("frame", np.array([1], np.uint32))
        writer.store_feature_chunk("frame", np.array([2.0]))
        writer.store_feature_chunk("frame", np.array([3], np.int64))
        assert writer.events["frame"].dtype == np.uint32
        assert writer.events["frame"][:].tolist() == [1, 2, 3]


def test_filters_can_be_chosen(path):
    with HDF5Writer(path, ds_kwds={"compression": None, "fletcher32": False}) as writer:
        writer.store_feature_chunk("deform", np.zeros(3))
        writer.store_log("log", ["line"])
        assert writer.events["deform"].compression is None
        assert not writer.events["deform"].fletcher32
        assert writer.h5["logs/log"].fletcher32


def test_logs_take_any_text(path):
    with HDF5Writer(path) as writer:
        writer.store_log("log", ["Zelle für Zelle", "µm", "x" * 300])
        with pytest.raises(ValueError, match="already exists"):
            writer.store_log("log", ["new"])
        for empty in ([], "text"):
            with pytest.raises(UsageError, match="list of lines"):
                writer.store_log("other", empty)
        writer.h5.attrs["experiment:event count"] = 0
    with HDF5Data(path) as data:
        assert data.logs["log"] == ["Zelle für Zelle", "µm", "x" * 300]
    with HDF5Writer(path) as writer:
        writer.store_log("log", ["new"], override=True)
        assert writer.h5["logs/log"][:].tolist() == [b"new"]


def test_an_opened_file_stays_open():
    h5 = h5py.File(io.BytesIO(), "w")
    with HDF5Writer(h5) as writer:
        writer.store_feature_chunk("deform", np.zeros(3))
    assert h5["events/deform"].shape == (3,)


def test_modes(path):
    path.touch()
    with HDF5Writer(path) as writer:
        writer.store_feature_chunk("deform", np.zeros(3))
    writer.close()
    with HDF5Writer(str(path), "a") as writer:
        assert "deform" in writer.events
        assert Path(writer.h5.filename) == path
    with HDF5Writer(path, "w") as writer:
        assert "deform" not in writer.events
    with pytest.raises(StorageError, match="File exists"):
        HDF5Writer(path, "x")


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(StorageError, match="No such file") as info:
        HDF5Writer(tmp_path / "nowhere" / "out.rtdc")
    assert "nowhere" in info.value.path
    broken = tmp_path / "broken.rtdc"
    broken.write_bytes(b"no HDF5 file" * 100)
    with pytest.raises(StorageError, match="signature"):
        HDF5Writer(broken)
    assert broken.read_bytes() == b"no HDF5 file" * 100


class TestBasins:
    def definitions(self, writer: HDF5Writer) -> list[dict]:
        return writer_definitions(writer.h5)

    def test_maps_are_shared(self, path):
        with HDF5Writer(path) as writer:
            for mapping in (np.arange(4), [0, 1, 2, 3], slice(0, 4), 4, np.arange(5), [3, 1]):
                writer.store_basin("b", paths=["a"], mapping=mapping, description=str(mapping))
            assert [d["mapping"] for d in self.definitions(writer)].count("basinmap0") == 4
            assert {k: v.shape for k, v in writer.events.items()} == {
                "basinmap0": (4,),
                "basinmap1": (5,),
                "basinmap2": (2,),
            }
            for number in range(7):
                writer.store_mapping(np.array([number, 9]))
            with pytest.raises(ValueError, match="ten maps"):
                writer.store_mapping(np.array([8, 9]))
            for wrong in (np.zeros((1, 4), int), np.zeros(4)):
                with pytest.raises(UsageError):
                    writer.store_mapping(wrong)

    def test_internal_data(self, path):
        images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
        with HDF5Writer(path) as writer:
            writer.h5.attrs["experiment:event count"] = 3
            writer.store_basin(
                "bg", internal_data={"image_bg": images}, mapping=np.array([1, 0, 1])
            )
            for again in ({"image_bg": images}, {"image_bg": images[:1], "temp": np.zeros(1)}):
                with pytest.raises(ValueError, match="already defined"):
                    writer.store_basin("bg", internal_data=again)
            with pytest.warns(UserWarning, match="no identifier"):
                writer.store_basin("t", internal_data={"temp": np.zeros(3)}, identifier="x")
            writer.store_basin("d", internal_data={"copy": writer.h5["basin_events/image_bg"]})
        with HDF5Data(path) as data:
            np.testing.assert_array_equal(data.image_bg[:], images[[1, 0, 1]])
            assert data["temp"].tolist() == [0, 0, 0]

    def test_large_internal_data_are_copied_in_parts(self, path, tmp_path, monkeypatch):
        monkeypatch.setattr("cytovox.write.writer._COPY_BYTES", 50)
        images = np.arange(7 * 3 * 4, dtype=np.uint8).reshape(7, 3, 4)
        with HDF5Writer(path) as writer:
            writer.store_basin("bg", internal_data={"image_bg": images})
            np.testing.assert_array_equal(writer.h5["basin_events/image_bg"][:], images)

    def test_arguments_must_fit(self, path):
        with HDF5Writer(path) as writer:
            for kwargs in (
                {},
                {"paths": "one"},
                {"paths": ["a"], "internal_data": {"a": np.zeros(2)}},
                {"features": ["a"], "internal_data": {"a": np.zeros(2)}},
            ):
                with pytest.raises(ValueError, match="must be"):
                    writer.store_basin("b", **kwargs)
            assert "basins" not in writer.h5

    def test_the_same_basin_is_stored_once(self, path):
        with HDF5Writer(path) as writer:
            for _ in range(2):
                writer.store_basin("b", paths=["a", Path("b")])
            assert len(self.definitions(writer)) == 1


def writer_definitions(h5: h5py.File) -> list[dict]:
    return [json.loads(b"\n".join(ds[:])) for ds in h5["basins"].values()]


class FullDisk(Sink):
    """Refuses everything after some bytes."""

    room = 30_000

    def _write(self, view):
        if self.room < len(view):
            self.error = OSError(28, "No space left on device")
            return 0
        self.room -= len(view)
        return super()._write(view)


@pytest.mark.parametrize("room", [0, 100, 3_000, 30_000, 60_000, 100_000])
def test_a_full_disk_is_always_reported(path, monkeypatch, room):
    monkeypatch.setattr("cytovox.write.disk.Sink", FullDisk)
    monkeypatch.setattr(FullDisk, "room", room)
    noise = np.random.default_rng(0).integers(0, 256, (100, 40, 30), dtype=np.uint8)

    def write() -> None:
        with HDF5Writer(path) as writer:
            for start in range(0, 100, 10):
                writer.store_feature_chunk("image", noise[start : start + 10])
                writer.h5.flush()

    with pytest.raises(StorageError, match="No space left") as info:
        write()
    assert info.value.path == str(path)
    assert "free some space" in str(info.value)


def test_a_sink_reads_back_what_was_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(FullDisk, "room", 10)
    with FullDisk(tmp_path / "x", "w+b") as sink:
        sink.write(b"0123456789")
        assert sink.error is None
        sink.write(b"abcdef")
        sink.seek(8)
        sink.write(b"XYZ")
        assert sink.error is not None
        sink.seek(0)
        assert sink.read(100) == b"01234567XYZbcdef"
        assert sink.seek(0, 2) == sink.tell() == 16
        sink.truncate(5)
        assert sink.seek(0, 2) == 5
    assert (tmp_path / "x").read_bytes() == b"0123456789"


@pytest.mark.peer
def test_the_peer_stores_alike(tmp_path):
    peer = pytest.importorskip("dcnum.write")
    rng = np.random.default_rng(3)

    def fill(writer) -> None:
        writer.store_feature_chunk("deform", rng.random(5))
        writer.store_feature_chunk("mask", rng.random((5, 20, 30)) > 0.5)
        writer.store_feature_chunk("flag", rng.random((5, 20, 30)) > 0.5)
        writer.store_basin(
            "n",
            paths=["a", "b"],
            features=["x"],
            description="d",
            mapping=np.arange(5),
            identifier="i",
        )
        writer.store_basin("m", paths=["a"])
        data = rng.integers(0, 9, (2, 20, 30), dtype=np.uint8)
        writer.store_basin("i", internal_data={"image_bg": data}, mapping=np.arange(5) % 2)
        writer.store_log("log", ["one", "two"])

    with peer.HDF5Writer(tmp_path / "peer.h5", "w") as writer:
        fill(writer)
    rng = np.random.default_rng(3)
    with HDF5Writer(tmp_path / "ours.h5", "w") as writer:
        fill(writer)
    with h5py.File(tmp_path / "peer.h5") as theirs, h5py.File(tmp_path / "ours.h5") as ours:
        names: list[str] = []
        theirs.visit(names.append)
        found: list[str] = []
        ours.visit(found.append)
        assert found == names
        for name in names:
            one, two = ours[name], theirs[name]
            assert dict(one.attrs) == dict(two.attrs)
            if isinstance(two, h5py.Dataset):
                assert (one.dtype, one.shape, one.chunks) == (two.dtype, two.shape, two.chunks)
                assert one._filters == two._filters
                np.testing.assert_array_equal(one[()], two[()])
    for given in ({}, {"compression": "gzip"}, {"fletcher32": False}):
        for compress in (True, False):
            assert set_default_filter_kwargs(
                given, compress
            ) == peer.writer.set_default_filter_kwargs(given, compress)
    for item in [(), (80, 320), (512, 512), (3,)]:
        for dtype in (np.float64, np.uint8, bool):
            assert HDF5Writer.get_best_nd_chunks(
                item, dtype
            ) == peer.HDF5Writer.get_best_nd_chunks(item, dtype)


def test_dclab_shows_images_through_an_identity_map(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("CYTOVOX_BASIN_ROOTS", str(shared_data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dclab = pytest.importorskip("dclab")
    source = shared_data / "recordings" / "cytoshot_2024.rtdc"
    path = tmp_path / "tap.rtdc"
    with h5py.File(source) as h5, HDF5Writer(path) as writer:
        number = len(h5["events/image"])
        writer.h5.attrs.update(h5.attrs)
        writer.h5.attrs["experiment:run identifier"] += "_dcn-1234567"
        writer.store_feature_chunk("deform", np.linspace(0, 1, number))
        writer.store_basin(
            "cytovox basin",
            paths=[source],
            features=["image", "frame"],
            mapping=np.arange(number, dtype=np.uint32),
            identifier=h5.attrs["experiment:run identifier"],
        )
        images, frames = h5["events/image"][:], h5["events/frame"][:]
        images_bg = h5["events/image_bg"][:2]
        writer.store_basin(
            "bg", internal_data={"image_bg": images_bg}, mapping=np.arange(number) % 2
        )
    with dclab.new_dataset(path) as ds:
        assert len(ds) == number
        assert "image" in ds
        np.testing.assert_array_equal(ds["image"][3], images[3])
        np.testing.assert_array_equal(ds["image_bg"][3], images_bg[1])
        np.testing.assert_array_equal(ds["frame"][:], frames)
    with HDF5Data(path) as data:
        np.testing.assert_array_equal(data.image[:], images)
