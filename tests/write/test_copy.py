from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytovox import __version__
from cytovox.read.mapped import IndexMappingError
from cytovox.write import copy_features, copy_metadata

IMAGES = np.random.default_rng(0).integers(0, 256, (53, 6, 7), dtype=np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.rtdc"
    with h5py.File(path, "w") as h5:
        h5.attrs.update({"experiment:event count": 53, "setup:software version": "x"})
        h5.create_dataset(
            "events/image", data=IMAGES, chunks=(4, 6, 7), fletcher32=True, **hdf5plugin.Zstd(3)
        )
        h5["events/image"].attrs["CLASS"] = np.bytes_("IMAGE")
        h5["events/plain"] = IMAGES
        h5["events/deform"] = np.where(np.arange(53) == 5, np.nan, np.arange(53.0))
        h5["events/trace/fl1"] = np.zeros((53, 4))
        h5["logs/text"] = ["ä", "bcd"]
        h5["logs/text"].attrs["software"] = "recorder 1"
        h5["logs/empty"] = np.zeros(0, "S10")
        h5["tables/t"] = np.zeros(4, dtype=[("a", float)])
    return path


def test_stored_chunks_are_copied_as_they_are(source, tmp_path):
    with h5py.File(source) as src, h5py.File(tmp_path / "out", "w") as dst:
        copy_features(src, dst, ["image", "plain", "deform"])
        for feat in ("image", "plain", "deform"):
            np.testing.assert_array_equal(dst["events"][feat][:], src["events"][feat][:])
        assert dst["events/image"]._filters == src["events/image"]._filters
        assert dst["events/image"].attrs["CLASS"] == b"IMAGE"
        assert dst["events/plain"].fletcher32, "what was stored without filters gets them"
    with h5py.File(tmp_path / "out") as dst:
        np.testing.assert_array_equal(dst["events/image"][:], IMAGES)


def test_chunks_that_were_never_written_stay_away(tmp_path):
    with h5py.File(tmp_path / "a", "w") as src, h5py.File(tmp_path / "b", "w") as dst:
        sparse = src.create_dataset("events/x", (50,), "f8", chunks=(10,), fillvalue=3.0)
        sparse[25:30] = 1
        copy_features(src, dst, ["x"])
        assert dst["events/x"].id.get_num_chunks() == 1
        np.testing.assert_array_equal(dst["events/x"][:], sparse[:])


def test_copying_while_another_handle_has_the_chunks(source, tmp_path):
    # the library's own object copy crashes here
    with (
        h5py.File(source) as src,
        h5py.File(source) as other,
        h5py.File(tmp_path / "out", "w") as dst,
    ):
        _ = other["events/image"][3:20], src["events/image"][3:20]
        copy_features(src, dst, ["image"])
        np.testing.assert_array_equal(dst["events/image"][:], IMAGES)


@given(rows=st.lists(st.integers(0, 52), max_size=90))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_order_of_rows(source, monkeypatch, rows):
    monkeypatch.setattr("cytovox.write.writer._COPY_BYTES", 300)
    with h5py.File(source) as src, h5py.File.in_memory() as dst:
        mapping = np.array(rows, dtype=np.int64)
        copy_features(src, dst, ["image", "deform"], mapping=mapping)
        np.testing.assert_array_equal(dst["events/image"][:], IMAGES[mapping])
        np.testing.assert_array_equal(dst["events/deform"][:], src["events/deform"][:][mapping])


@pytest.mark.parametrize("mapping", [[4, 2], slice(3, 9, 2), 5])
def test_other_mappings(source, tmp_path, mapping):
    rows = np.arange(53)[mapping if not isinstance(mapping, int) else slice(mapping)]
    with h5py.File(source) as src, h5py.File(tmp_path / "out", "w") as dst:
        copy_features(src, dst, ["image"], mapping=mapping)
        np.testing.assert_array_equal(dst["events/image"][:], IMAGES[rows])


def test_what_exists_is_never_changed(source, tmp_path):
    with h5py.File(source) as src, h5py.File(tmp_path / "out", "w") as dst:
        copy_features(src, dst, ["deform", "image"])
        copy_features(src, dst, ["deform"])
        for features, mapping in ((["image"], None), (["plain", "deform"], np.array([1]))):
            with pytest.raises(ValueError, match="already contains"):
                copy_features(src, dst, features, mapping)
        assert "plain" not in dst["events"], "nothing is copied if anything is refused"


@pytest.mark.parametrize(
    ("features", "mapping", "error"),
    [
        (["nothing"], None, KeyError),
        (["trace"], None, NotImplementedError),
        (["image"], np.array([0, 53]), IndexMappingError),
        (["image"], np.array([-1]), IndexMappingError),
    ],
)
def test_what_cannot_be_copied(source, tmp_path, features, mapping, error):
    with h5py.File(source) as src, h5py.File(tmp_path / "out", "w") as dst:
        with pytest.raises(error):
            copy_features(src, dst, features, mapping)
        assert not len(dst.get("events", ()))


def test_metadata_are_added_and_never_replaced(source, tmp_path):
    with h5py.File(source) as src, h5py.File(tmp_path / "out", "w") as dst:
        dst.attrs["experiment:event count"] = 3
        dst["tables/t"] = np.zeros(1)
        copy_metadata(src, dst)
        assert dict(dst.attrs) == {"experiment:event count": 3, "setup:software version": "x"}
        assert dst["tables/t"].shape == (1,)
        assert list(dst["logs"]) == ["text"]
        assert dst["logs/text"][:].tolist() == ["ä".encode(), b"bcd"]
        assert dst["logs/text"].attrs["software"] == f"recorder 1 | cytovox {__version__}"


@pytest.mark.peer
def test_the_peer_copies_alike(shared_data, tmp_path):
    peer = pytest.importorskip("dcnum.write")
    mapping = np.array([1, 4, 4, 7])
    with (
        h5py.File(shared_data / "recordings" / "cytoshot_2024.rtdc") as src,
        h5py.File(tmp_path / "ours", "w") as ours,
        h5py.File(tmp_path / "theirs", "w") as theirs,
    ):
        theirs.require_group("events")
        for metadata, features, dst in (
            (copy_metadata, copy_features, ours),
            (peer.copy_metadata, peer.copy_features, theirs),
        ):
            metadata(src, dst)
            features(src, dst, ["image", "deform"])
            features(src, dst, ["mask", "time"], mapping)
        assert dict(ours.attrs) == dict(theirs.attrs)
        for group in ("logs", "tables", "events"):
            assert list(ours[group]) == list(theirs[group])
            for name, dataset in theirs[group].items():
                copied = ours[group][name]
                assert copied[()].tobytes() == dataset[()].tobytes()
                assert (copied.dtype, copied._filters) == (dataset.dtype, dataset._filters)
                assert copied.chunks == dataset.chunks
                assert list(copied.attrs) == list(dataset.attrs)


def test_a_log_that_is_shorter_than_its_chunk_is_copied(tmp_path):
    with h5py.File(tmp_path / "a", "w") as source, h5py.File(tmp_path / "b", "w") as target:
        lines = np.array([b"one", b"two", b"three"])
        log = source.create_dataset("logs/log", data=lines, chunks=(3,), maxshape=(None,))
        log.resize(2, axis=0)
        copy_metadata(source, target)
        assert target["logs/log"][:].tolist() == [b"one", b"two"]
