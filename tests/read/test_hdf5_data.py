from __future__ import annotations

import io
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.errors import InputError, InputNotFoundError
from cytovox.read import HDF5Data, get_measurement_identifier, md5sum
from cytovox.read.identifier import identifier_fits
from cytovox.read.mapped import IndexMappingError


def test_images_masks_and_scalars(make_recording):
    path = make_recording()
    with h5py.File(path) as h5, HDF5Data(path) as data:
        assert len(data) == 23
        assert set(data.keys()) == {"image", "image_bg", "mask", "time"}
        assert "image" in data
        assert "image_corr" not in data
        assert data.features_scalar_frame == ["time"]
        np.testing.assert_array_equal(data.image[:], h5["events/image"][:])
        np.testing.assert_array_equal(data.mask[:], h5["events/mask"][:] > 0)
        assert data["time"] is data["time"]
        assert data["image"] is data.image
        assert data.image_num_chunks == 1
        assert data.require_images("image_bg") is data.image_bg


def test_metadata_logs_and_tables(make_recording):
    path = make_recording(attrs={"setup:identifier": np.bytes_("ZMDD-µ".encode())})
    with h5py.File(path, "a") as h5:
        h5["logs/one"] = np.array([b"first", "zweite ä".encode()])
        table = np.zeros(4, dtype=[("a", float), ("b", int)])
        table["b"] = range(4)
        h5["tables/t"] = table
    with HDF5Data(path) as data:
        assert data.meta["setup:identifier"] == "ZMDD-µ"
        assert data.meta_nest["imaging"]["pixel size"] == data.pixel_size == 0.34
        assert data.logs == {"one": ["first", "zweite ä"]}
        assert data.tables["t"]["b"].tolist() == [0, 1, 2, 3]
        assert data.md5_5m == md5sum(path)


def test_contents_can_be_given(make_recording):
    data = HDF5Data(
        make_recording(),
        pixel_size=0.123456789,
        meta={"a:b": 1},
        basins=[],
        logs={"x": ["y"]},
        tables={},
        md5_5m="5",
    )
    with data:
        assert data.meta == {"a:b": 1, "imaging:pixel size": 0.12345679}
        assert (data.logs, data.tables, data.basins, data.md5_5m) == ({"x": ["y"]}, {}, [], "5")
        assert data.get_ppid() == "hdf:p=0.12345679^i=0"


@pytest.mark.parametrize(
    ("chunks", "requested", "expected"),
    [(5, 1000, 1000), (7, 1000, 994), (20, 8, 20), (None, 1000, 1000), (None, 9, 9), (5, 9, 5)],
)
def test_chunks_are_whole_stored_chunks(make_recording, chunks, requested, expected):
    with HDF5Data(make_recording(chunks=chunks), image_chunk_size=requested) as data:
        assert data.image_chunk_size == expected
        assert data.image.chunk_size == min(23, expected)
        assert data.stored_chunk_frames("image") == (chunks or 0)


@pytest.mark.parametrize("mapping", [4, slice(3, 20, 3), [5, 1, 1, 22], np.array([9, 2])])
def test_index_mapping_applies_to_everything(make_recording, mapping):
    path = make_recording()
    with HDF5Data(path) as whole, HDF5Data(path, index_mapping=mapping) as data:
        rows = data.mapping_indices
        assert len(data) == len(rows)
        for feat in sorted(whole.keys()):
            np.testing.assert_array_equal(data[feat][:], whole[feat][:][rows])
        np.testing.assert_array_equal(data.image_corr[:], whole.image_corr[:][rows])
        np.testing.assert_array_equal(data.image.get_chunk(0), whole.image[:][rows])


def test_index_mapping_beyond_the_recording_is_refused(make_recording):
    path = make_recording()
    for mapping in (24, slice(3, 90), [23]):
        with (
            HDF5Data(path, index_mapping=mapping) as data,
            pytest.raises(IndexMappingError, match="has 23 rows"),
        ):
            len(data)


def test_a_reader_travels_and_opens_again(make_recording):
    path = make_recording()
    with HDF5Data(path, pixel_size=0.5, index_mapping=[3, 1]) as data:
        assert data["time"].tolist() == [1.0, 1 / 3]
        with pickle.loads(pickle.dumps(data)) as copy:
            assert copy["time"].tolist() == [1.0, 1 / 3]
            assert copy.get_ppid() == data.get_ppid()
    with pytest.raises(InputError, match="closed"):
        _ = data.h5
    data.close()


def test_streams_and_opened_files(make_recording):
    path = make_recording()
    with HDF5Data(io.BytesIO(path.read_bytes())) as data:
        expected = data["time"]
        with pickle.loads(pickle.dumps(data)) as copy:
            np.testing.assert_array_equal(copy["time"], expected)
    with h5py.File(path) as h5:
        with HDF5Data(h5) as data:
            assert data.path == path
            np.testing.assert_array_equal(data["time"], expected)
        assert h5, "a given file is not closed"
    with HDF5Data(str(path)) as data:
        assert data.path == path


def test_groups_are_not_features(make_recording):
    path = make_recording()
    with h5py.File(path, "a") as h5:
        h5["events/trace/fl1_raw"] = np.zeros((23, 4))
    with HDF5Data(path) as data:
        assert "trace" not in data
        with pytest.raises(KeyError):
            data["trace"]
        data.check()


def test_missing_features(make_recording):
    path = make_recording(image_bg=None, mask=None)
    with HDF5Data(path) as data:
        assert data.image_bg is None
        assert data.image_corr is None
        assert data.mask is None
        for missing in (KeyError, InputError):
            with pytest.raises(missing, match="no feature 'deform'"):
                data["deform"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "empty"), (b"x" * 5000, "not an HDF5 file")],
)
def test_what_is_not_a_recording(tmp_path: Path, content, message):
    path = tmp_path / "a.rtdc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as info:
        HDF5Data(path)
    assert info.value.path == str(path)
    assert isinstance(info.value, FileNotFoundError) == (content is None)
    if content is None:
        assert isinstance(info.value, InputNotFoundError)


def test_a_truncated_file_and_a_folder(make_recording, tmp_path):
    path = make_recording()
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cut short"):
        HDF5Data(path)
    with pytest.raises(InputError, match="not a file"):
        HDF5Data(tmp_path)


def test_check_accepts_good_recordings(make_recording, shared_data):
    with HDF5Data(make_recording()) as data:
        data.check()
    for name in ("cytoshot_2023.rtdc", "cytoshot_2024.rtdc", "shapein_variable_length_logs.rtdc"):
        with HDF5Data(shared_data / "recordings" / name) as data:
            data.check()
    with HDF5Data(shared_data / "recordings" / "shapein_empty.rtdc") as data:
        data.check()
        assert len(data) == 0
    with HDF5Data(shared_data / "recordings" / "cytoshot_extended_moments.rtdc") as data:
        data.check(need_images=False)
        with pytest.raises(InputError, match="no images"):
            data.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attrs": {"experiment:event count": 24}}, "23 rows, but the event count .* 24"),
        ({"attrs": {"experiment:event count": -1}}, "event count is -1"),
        ({"time": np.zeros(5)}, "'time' has 5 rows"),
        ({"image": None}, "no images"),
        ({"image": np.zeros((23, 4))}, "grey images"),
        ({"image": np.zeros((23, 8, 12))}, "grey images"),
        ({"image_bg": np.zeros((23, 4, 4), np.uint8)}, r"'image_bg' has shape \(23, 4, 4\)"),
        ({"attrs": {"imaging:pixel size": 0.0}}, "pixel size is unknown"),
        ({"attrs": {"imaging:pixel size": np.nan}}, "pixel size is unknown"),
    ],
)
def test_check_finds_contradictions(make_recording, changes, message):
    with HDF5Data(make_recording(**changes)) as data, pytest.raises(InputError, match=message):
        data.check()


def test_check_wants_events(tmp_path):
    path = tmp_path / "empty.rtdc"
    with h5py.File(path, "w"):
        pass
    with HDF5Data(path) as data, pytest.raises(InputError, match="no events"):
        data.check()


def test_identifiers_come_from_attributes():
    h5 = h5py.File(io.BytesIO(), "w")
    assert get_measurement_identifier(h5) is None
    h5.attrs.update({"experiment:time": "12:01", "experiment:date": "2024-06-23"})
    assert get_measurement_identifier(h5) is None
    h5.attrs["setup:identifier"] = np.bytes_("RC-peter-pan-and-friends")
    assert get_measurement_identifier(h5) == "f0cfdc6f-93c7-c093-d135-a20f3e5bdbfa"
    h5.attrs["experiment:run identifier"] = "mine"
    assert get_measurement_identifier(h5) == "mine"


@pytest.mark.parametrize(
    "text", ["hdf:p=1^i=h-abcd", "hdf:p=1^i=unknown", "x:p=1^i=0", "hdf:p=1^q=4", "hdf:p=1^i=1-2"]
)
def test_identifiers_that_cannot_be_read_back(text):
    with pytest.raises(ValueError):  # noqa: PT011
        HDF5Data.get_ppkw_from_ppid(text)


RECORDINGS = [
    "cytoshot_2023.rtdc",
    "cytoshot_2023_legacy_allev.rtdc",
    "cytoshot_2024.rtdc",
    "cytoshot_extended_moments.rtdc",
    "shapein_variable_length_logs.rtdc",
]


@pytest.mark.peer
@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("mapping", [None, 7, slice(2, 11, 3), [1, 4, 9]])
def test_everything_equals_the_peer(shared_data, name, mapping):
    peer = pytest.importorskip("dcnum.read")
    path = shared_data / "recordings" / name
    kwargs = {"index_mapping": mapping, "pixel_size": 0.3333333333}
    with HDF5Data(path, **kwargs) as ours, peer.HDF5Data(path, **kwargs) as theirs:
        assert len(ours) == len(theirs)
        assert sorted(ours.keys()) == sorted(theirs.keys())
        assert ours.meta == theirs.meta
        assert ours.meta_nest == theirs.meta_nest
        assert ours.logs == theirs.logs
        assert ours.get_ppid() == theirs.get_ppid()
        assert ours.features_scalar_frame == theirs.features_scalar_frame
        assert ours.image_chunk_size == theirs.image_chunk_size
        assert ours.md5_5m == theirs.md5_5m
        # the peer does not decode bytes, which gives others than dclab
        assert identifier_fits(ours.h5, peer.get_measurement_identifier(theirs.h5))
        for feat in sorted(theirs.keys()):
            expected = np.asarray(theirs[feat][:])
            found = ours[feat][:]
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        assert (ours.image_corr is None) == (theirs.image_corr is None)
        if ours.image_corr is not None:
            np.testing.assert_array_equal(ours.image_corr[:], theirs.image_corr[:])
        for key, table in theirs.tables.items():
            for column in table:
                np.testing.assert_array_equal(ours.tables[key][column], table[column])


@pytest.mark.peer
def test_identifiers_equal_the_peers():
    peer = pytest.importorskip("dcnum.read").HDF5Data
    mappings = [None, 5, np.uint8(3), slice(1, 4), slice(None, 4, 2), [1, 2, 3], [True, False]]
    for mapping in [*mappings, np.array([9, 2]), "a", 1.5]:
        assert HDF5Data.get_ppid_index_mapping(mapping) == peer.get_ppid_index_mapping(mapping)
    for size in (0, 1, 10, 0.2645, 0.34, 0.123456789, 1e-9):
        for mapping in mappings:
            kwargs = {"pixel_size": size, "index_mapping": mapping}
            text = peer.get_ppid_from_ppkw(kwargs)
            assert HDF5Data.get_ppid_from_ppkw(kwargs) == text
            if "h-" not in text:
                assert HDF5Data.get_ppkw_from_ppid(text) == peer.get_ppkw_from_ppid(text)
    assert HDF5Data.get_ppid_code() == peer.get_ppid_code()
