from __future__ import annotations

import io

import h5py
import numpy as np
import pytest

from cytovox.errors import BasinNotFoundError, InputError, UsageError
from cytovox.read import (
    HDF5Data,
    Permissions,
    concatenated_hdf5_data,
)


def test_files_follow_each_other(make_recording, tmp_path):
    one = make_recording("one.rtdc", frames=5, frame=np.array([4, 5, 7, 8, 9], np.int32))
    two = make_recording("two.rtdc", frames=7, frame=np.arange(100, 107))
    with (
        HDF5Data(one) as first,
        HDF5Data(two) as second,
        concatenated_hdf5_data([one, two], tmp_path / "both.rtdc") as both,
    ):
        assert len(both) == 12
        assert set(both.keys()) == {"image", "image_bg", "mask", "frame"}
        assert both["frame"].dtype == np.uint64
        assert both["frame"].tolist() == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
        expected = np.concatenate([first.image[:], second.image[:]])
        np.testing.assert_array_equal(both.image[:], expected)
        assert both.meta["experiment:run identifier"] == "run of one.rtdc"
        both.check()
    with HDF5Data(tmp_path / "both.rtdc") as both:
        np.testing.assert_array_equal(both.image[:], expected)
        assert f"'events/image' is a view of the file {two}" in both.followed
    two.unlink()
    with HDF5Data(tmp_path / "both.rtdc") as both:
        with pytest.raises(BasinNotFoundError, match="two"):
            both.check()
        with pytest.raises(BasinNotFoundError, match="two"):  # and never zeros
            _ = both.image[:]


@pytest.mark.parametrize("path_out", [True, None, False, "out.rtdc"])
def test_targets(make_recording, monkeypatch, tmp_path, path_out):
    monkeypatch.chdir(tmp_path)
    path = make_recording()
    with concatenated_hdf5_data([path, path], path_out, False, ["time", "image"]) as both:
        assert both.keys() == ["image"]
        assert len(both.image[:]) == 46


def test_types_are_widened(make_recording):
    one = make_recording("one.rtdc", frames=2, temp=np.array([1, 2], np.int16))
    two = make_recording("two.rtdc", frames=2, temp=np.array([1.5, 2.5]))
    with concatenated_hdf5_data([one, two], None, False) as both:
        assert both["temp"].tolist() == [1, 2, 1.5, 2.5]


def test_what_does_not_fit_is_refused(make_recording):
    one = make_recording("one.rtdc", frame=np.arange(23), deform=np.zeros(23))
    two = make_recording("two.rtdc", frame=np.arange(23))
    other = make_recording("other.rtdc", shape=(9, 12), frame=np.arange(23))
    with pytest.raises(UsageError, match="at least one file"):
        concatenated_hdf5_data([])
    with pytest.raises(
        ValueError, match=r"two\.rtdc: there is no feature 'deform'.*more features"
    ):
        concatenated_hdf5_data([one, two], None)
    with pytest.raises(UsageError, match="Invalid type"):
        concatenated_hdf5_data([one, one], 42)
    with pytest.raises(InputError, match="items of shape"):
        concatenated_hdf5_data([two, other], None)
    with pytest.raises(InputError, match="no 'frame'"):
        concatenated_hdf5_data([make_recording(), make_recording()], None)


def test_what_is_left_out_is_said(make_recording):
    one = make_recording("one.rtdc", frame=np.arange(23))
    with h5py.File(one, "a") as h5:
        h5["events/contour/0"] = np.zeros((4, 2), np.uint64)
    with pytest.warns(UserWarning, match="Ignoring contour"):
        concatenated_hdf5_data([one, one]).close()
    with pytest.warns(UserWarning, match="is equivalent to using that file"):
        concatenated_hdf5_data([make_recording(frame=np.arange(23))]).close()


@pytest.mark.peer
def test_the_peer_concatenates_alike(shared_data):
    peer = pytest.importorskip("dcnum.read")
    names = ("cytoshot_2023.rtdc", "cytoshot_2023_legacy_allev.rtdc")
    paths = [shared_data / "recordings" / name for name in names]
    with (
        concatenated_hdf5_data(paths) as ours,
        peer.concatenated_hdf5_data(paths) as theirs,
    ):
        assert sorted(ours.keys()) == sorted(theirs.keys())
        assert ours.meta == theirs.meta
        for feat in sorted(theirs.keys()):
            np.testing.assert_array_equal(ours[feat][:], theirs[feat][:])
        with h5py.File(ours.path) as mine, h5py.File(theirs.path) as other:
            assert {k: v.dtype for k, v in mine["events"].items()} == {
                k: v.dtype for k, v in other["events"].items()
            }


def test_references_in_a_stream_are_refused(make_recording, tmp_path):
    path = make_recording()
    with concatenated_hdf5_data([path, path], tmp_path / "both.rtdc", False):
        stream = io.BytesIO((tmp_path / "both.rtdc").read_bytes())
    for permissions in (None, Permissions(external=True)):
        with (
            HDF5Data(stream, permissions=permissions) as data,
            pytest.raises(InputError, match="refers to other files"),
        ):
            _ = data.image
