"""What a file does not have is asked for without an error of HDF5."""

import gc

import h5py
import pytest

from cytovox.read.members import member


@pytest.fixture
def h5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        h5["events/deform"] = [1.0, 2.0]
        h5["soft"] = h5py.SoftLink("/nowhere")
        h5["events/soft"] = h5py.SoftLink("/nowhere")
        yield h5


@pytest.mark.parametrize(
    "name", ["logs", "events/area", "logs/a", "events/deform/a", "soft", "events/soft", "", "ä"]
)
def test_a_default_stands_for_what_is_missing(h5, name):
    assert member(h5, name) is None
    assert member(h5, name, 5) == 5


def test_what_is_there_is_returned(h5):
    assert member(h5, "events/deform")[:].tolist() == [1.0, 2.0]
    assert list(member(h5, "events")) == ["deform", "soft"]
    assert member({"a": 1}, "a") == 1


def test_hdf5_is_not_asked_for_what_is_missing(h5, monkeypatch):
    """The text of its error is lost when the garbage collector closes an object meanwhile."""

    def refused(*_):
        gc.collect()
        raise UnicodeDecodeError("utf-8", b"\x9f", 0, 1, "invalid start byte")

    monkeypatch.setattr(h5py.Group, "__getitem__", refused)
    assert member(h5, "logs") is None
    assert member(h5, "events/area") is None
