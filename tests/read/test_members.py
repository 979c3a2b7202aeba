"""What a file does not have is asked for without an error of HDF5."""

import gc

import h5py
import pytest

from cytovox.errors import InputError
from cytovox.read import chunks
from cytovox.read.chunks import ChunkIndex
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


def test_what_is_damaged_is_named(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as h5:
        h5["events/deform"] = [1.0, 2.0]
        place = h5py.h5o.get_info(h5["events/deform"].id).addr
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    with (
        h5py.File(path) as h5,
        pytest.raises(InputError, match="'events/deform' cannot be") as got,
    ):
        member(h5, "events/deform")
    assert got.value.path == str(path)
    assert got.value.hint == "the file is damaged; copy it again"


def test_a_chunk_without_a_place_is_damage(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        dataset = h5.create_dataset("image", (4, 4), "u1", chunks=(2, 4))
        dataset[:] = 1
        monkeypatch.setattr(
            chunks, "chunk_infos", lambda _: [h5py.h5d.StoreInfo(None, 0, None, 8)]
        )
        with pytest.raises(InputError, match="a chunk of 'image' has no place in the file"):
            _ = ChunkIndex(dataset).chunks
