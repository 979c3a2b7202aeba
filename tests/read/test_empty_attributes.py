"""An attribute without a value is as if it were absent, however that is spelled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.errors import InputError
from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data, concatenated_hdf5_data, get_measurement_identifier
from cytovox.read.recording_file import frame_rate_of
from cytovox.write import copy_features, copy_metadata

TEXT = h5py.string_dtype()
EMPTY = {
    "null space of numbers": h5py.Empty("f8"),
    "null space of bytes": h5py.Empty("S10"),
    "null space of text": h5py.Empty(TEXT),
    "text": "",
    "bytes": np.bytes_(b""),
    "blanks": "  ",
    "no numbers": np.zeros(0),
    "no rows of numbers": np.zeros((0, 3), int),
    "no bytes": np.zeros(0, "S5"),
    "no texts": np.array([], TEXT),
    "one text": np.array([""], TEXT),
    "one of bytes": np.array([b""]),
    "no rows of a table": np.zeros(0, [("a", "f8")]),
    "text that was never written": None,
}
spellings = pytest.mark.parametrize("empty", EMPTY.values(), ids=EMPTY)


def put(owner: Any, name: str, value: Any) -> None:
    owner.attrs.pop(name, None)
    if value is None:
        kind = h5py.h5t.py_create(TEXT, logical=True)
        h5py.h5a.create(owner.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
    else:
        owner.attrs[name] = value


@pytest.fixture
def recording(make_recording: Callable[..., Path]) -> Callable[..., Path]:
    def make(place: str, name: str, value: Any) -> Path:
        path = make_recording(attrs={"imaging:frame rate": 2000.0})
        with h5py.File(path, "a") as h5:
            h5["logs/note"] = np.array([b"as it was"])
            h5["tables/found"] = np.zeros(2, [("a", "f8")])
            put(h5[place], name, value)
        return path

    return make


@spellings
@pytest.mark.parametrize("place", ["/", "events", "events/image", "logs/note", "tables/found"])
def test_one_that_is_not_needed(
    recording: Callable[..., Path], tmp_path: Path, place: str, empty: Any
) -> None:
    path = recording(place, "user:note", empty)
    with HDF5Data(path) as data:
        data.check()
        assert "user:note" not in data.meta
        assert data.image.shape == (23, 8, 12)
        assert data.logs == {"note": ["as it was"]}
    assert not verify_recording(path, thorough=True).errors
    with h5py.File(path) as h5, h5py.File(tmp_path / "copy.h5", "w") as copy:
        copy_metadata(h5, copy)
        copy_features(h5, copy, ["image"])
        if place != "events":
            before, after = h5[place].attrs["user:note"], copy[place].attrs["user:note"]
            assert type(before) is type(after)
            assert np.shape(before) == np.shape(after)


@spellings
def test_pixel_size(recording: Callable[..., Path], empty: Any) -> None:
    path = recording("/", "imaging:pixel size", empty)
    with HDF5Data(path) as data:
        assert data.pixel_size == 0
        with pytest.raises(InputError, match="the pixel size is unknown"):
            data.check()
    with HDF5Data(path, pixel_size=0.3) as data:
        data.check()
        assert data.pixel_size == 0.3


@spellings
def test_frame_rate(recording: Callable[..., Path], empty: Any) -> None:
    with HDF5Data(recording("/", "imaging:frame rate", empty)) as data:
        data.check()
        assert frame_rate_of(data.meta) == 0


@spellings
def test_event_count(recording: Callable[..., Path], empty: Any) -> None:
    path = recording("/", "experiment:event count", empty)
    with HDF5Data(path) as data:
        data.check()
        assert len(data) == data.stored_length == 23
    found = verify_recording(path)
    assert not found.errors
    assert [(one.where, one.what) for one in found.warnings] == [
        ("experiment:event count", "is missing")
    ]
    with concatenated_hdf5_data([path, path], features=["image"], compute_frame=False) as joined:
        assert len(joined) == 46


@spellings
def test_run_identifier(recording: Callable[..., Path], empty: Any) -> None:
    path = recording("/", "experiment:run identifier", empty)
    with h5py.File(path, "a") as h5:
        assert get_measurement_identifier(h5) is None
        h5.attrs.update({"experiment:time": "12:01", "experiment:date": "2024-06-23"})
        assert get_measurement_identifier(h5) is None
        h5.attrs["setup:identifier"] = "RC-peter-pan-and-friends"
        assert get_measurement_identifier(h5) == "f0cfdc6f-93c7-c093-d135-a20f3e5bdbfa"


@spellings
def test_program_that_wrote_a_log(
    recording: Callable[..., Path], tmp_path: Path, empty: Any
) -> None:
    path = recording("logs/note", "software", empty)
    with h5py.File(path) as h5, h5py.File(tmp_path / "copy.h5", "w") as copy:
        copy_metadata(h5, copy, software="mine 1.0")
        assert copy["logs/note"].attrs["software"] == "mine 1.0"


def test_references_stay_in_their_file(
    recording: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("cytovox.write.copying")
    said: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda text, *values: said.append(text % values))
    path = recording("/", "user:note", "kept")
    with h5py.File(path, "a") as h5:
        h5.attrs["user:link"] = h5["events/image"].ref
        h5["events/time"].make_scale("time")
        h5["events/image"].dims[0].attach_scale(h5["events/time"])
    with h5py.File(path) as h5, h5py.File(tmp_path / "copy.h5", "w") as copy:
        copy_metadata(h5, copy)
        copy_features(h5, copy, ["image", "time"])
        assert "user:link" not in copy.attrs
        assert copy.attrs["user:note"] == "kept"
        assert "DIMENSION_LIST" not in copy["events/image"].attrs
    assert "not copied: 'user:link'" in said[0]
