"""What is not read of a recording does not cost the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.errors import InputError
from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data, concatenated_hdf5_data
from cytovox.testing import simulate_recording
from cytovox.write import HDF5Writer, copy_basins, copy_metadata, create_with_basins

Change = Callable[[h5py.File, str], None]


def values(data: Any, **options: Any) -> Change:
    return lambda h5, name: h5.create_dataset(name, data=data, **options) and None


def made(h5: h5py.File, name: str, kind: h5py.h5t.TypeID) -> None:
    group, _, inner = name.rpartition("/")
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple((3,))
    h5py.h5d.create(h5.require_group(group).id, inner.encode(), kind, space, dcpl=options)


def bitfield(h5: h5py.File, name: str) -> None:
    made(h5, name, h5py.h5t.STD_B8LE)


def moment(h5: h5py.File, name: str) -> None:
    made(h5, name, h5py.h5t.UNIX_D32LE)


def named_type(h5: h5py.File, name: str) -> None:
    h5[name] = np.dtype("f8")


def lists(h5: h5py.File, name: str) -> None:
    h5.create_dataset(name, (3,), h5py.vlen_dtype("f8"))[0] = [1.0, 2.0]


def references(h5: h5py.File, name: str) -> None:
    h5.create_dataset(name, (3,), h5py.ref_dtype)[0] = h5["events"].ref


ODD: dict[str, Change] = {
    "bytes": values([b"a"] * 3),
    "texts": values(["a"] * 3),
    "one text": values("a"),
    "records": values(np.zeros(3, [("a", "f8"), ("b", "S3")])),
    "complex": values(np.zeros(3, complex)),
    "opaque": values(np.array([b"abcd"] * 3).astype("V4")),
    "one number": values(3.0),
    "nothing": values(h5py.Empty("f8")),
    "dates": moment,
    "a type": named_type,
    "lists": lists,
    "references": references,
}
#: These are numbers for HDF5, and of other lengths than the events.
NUMBERS: dict[str, Change] = {
    "choices": values(np.zeros(3, h5py.enum_dtype({"no": 0, "yes": 1}, "u1"))),
    "bits": bitfield,
    "too few": values(np.zeros(3)),
    "too many": values(np.zeros(99)),
}
LOGS = {
    "numbers": values(np.arange(4)),
    "records": ODD["records"],
    "lists": lists,
    "references": references,
    "dates": moment,
    "a type": named_type,
    "one number": ODD["one number"],
}


def edited(path: Path, change: Change, name: str) -> Path:
    with h5py.File(path, "a") as h5:
        change(h5, name)
    return path


def images(h5: h5py.File) -> np.ndarray:
    return h5["events/image"][:]


@pytest.mark.parametrize("place", ["events/label", "events/userdef3", "basin_events/label"])
@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_beside_features(
    make_recording: Callable[..., Path], tmp_path: Path, change: Change, place: str
) -> None:
    path = edited(make_recording(), change, place)
    name = place.partition("/")[2]
    with HDF5Data(path) as data:
        data.check()
        assert name not in data
        assert data.keys() == ["image", "image_bg", "mask", "time"]
        if place.startswith("events"):
            with pytest.raises(InputError, match=name):
                _ = data[name]
    assert not verify_recording(path).errors
    create_with_basins(tmp_path / "basin.rtdc", [path])
    with HDF5Data(tmp_path / "basin.rtdc") as data:
        assert data.keys() == ["image", "image_bg", "mask", "time"]
        assert data.image[3].mean() > 0
    with concatenated_hdf5_data([path, path], compute_frame=False) as data:
        assert name not in data
        assert len(data) == 46


@pytest.mark.parametrize("change", NUMBERS.values(), ids=NUMBERS)
def test_features_of_another_length(make_recording: Callable[..., Path], change: Change) -> None:
    path = edited(make_recording(), change, "events/deform")
    with HDF5Data(path) as data:
        data.check()
    with h5py.File(path, "a") as h5:
        h5.attrs["pipeline:dcnum hash"] = "a result, of which all is read"
    with HDF5Data(path) as data, pytest.raises(InputError, match="'deform' has .* rows"):
        data.check()


def test_the_number_of_frames_is_that_of_features(make_recording: Callable[..., Path]) -> None:
    path = edited(make_recording(), ODD["one number"], "events/a")
    with h5py.File(path, "a") as h5:
        del h5.attrs["experiment:event count"]
    with HDF5Data(path) as data:
        assert len(data) == 23


@pytest.mark.parametrize("name", ["image", "time", "image_bg"])
@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_what_is_read_is_refused(
    make_recording: Callable[..., Path], change: Change, name: str
) -> None:
    path = edited(make_recording(**{name: None}), change, f"events/{name}")
    with HDF5Data(path) as data, pytest.raises(InputError, match=f"'{name}'") as caught:
        data.check()
    assert "harm" not in str(caught.value)
    if name == "image_bg":
        with HDF5Data(path) as data:
            data.check(need_background=False)


@pytest.mark.parametrize("change", LOGS.values(), ids=LOGS)
def test_beside_logs(
    make_recording: Callable[..., Path],
    tmp_path: Path,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("cytovox.write.copying")
    said: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda text, *values: said.append(text % values))
    path = edited(make_recording(), values([b"text"]), "logs/a")
    edited(path, change, "logs/note")
    with HDF5Data(path) as data:
        data.check()
        assert data.logs == {"a": ["text"]}
    assert not verify_recording(path).errors
    with h5py.File(path) as h5, h5py.File(tmp_path / "copy.h5", "w") as copy:
        copy_metadata(h5, copy)
        assert copy["logs/a"][0] == b"text"
        if isinstance(h5["logs/note"], h5py.Datatype):
            return
        if "note" in copy["logs"]:
            assert (copy["logs/note"][()] == h5["logs/note"][()]).all()
            assert copy["logs/note"].id.get_type() == h5["logs/note"].id.get_type()
        else:
            assert "not copied: 'logs/note'" in said[0]


def test_numbers_among_logs_are_copied(
    make_recording: Callable[..., Path], tmp_path: Path
) -> None:
    path = edited(make_recording(), LOGS["numbers"], "logs/note")
    with h5py.File(path) as h5, h5py.File(tmp_path / "copy.h5", "w") as copy:
        copy_metadata(h5, copy)
        assert copy["logs/note"][:].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["f8", "S1", h5py.string_dtype()], ids=str)
@pytest.mark.parametrize("shape", [(0,), None], ids=["no lines", "null space"])
def test_empty_logs(
    make_recording: Callable[..., Path], tmp_path: Path, kind: Any, shape: Any
) -> None:
    empty = h5py.Empty(kind) if shape is None else np.zeros(shape, kind)
    path = edited(make_recording(), values(empty), "logs/empty_log")
    with HDF5Data(path) as data:
        assert data.logs == {}
    with h5py.File(path) as h5, h5py.File(tmp_path / "copy.h5", "w") as copy:
        copy_metadata(h5, copy)
        assert "empty_log" not in copy.get("logs", {})
    assert not verify_recording(path).errors


@pytest.mark.parametrize(
    "change", [lists, references, moment], ids=["lists", "references", "dates"]
)
def test_beside_tables(
    make_recording: Callable[..., Path], tmp_path: Path, change: Change
) -> None:
    path = edited(make_recording(), change, "tables/odd")
    edited(path, values(np.ones(2, [("a", "f8")])), "tables/good")
    with HDF5Data(path) as data:
        assert list(data.tables) == ["good"]
    with h5py.File(path) as h5, h5py.File(tmp_path / "copy.h5", "w") as copy:
        copy_metadata(h5, copy)
        assert list(copy["tables"]) == ["good"]


def test_a_run_names_what_it_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plain.rtdc"
    simulate_recording(path, frames=40, seed=5)
    odd = tmp_path / "odd.rtdc"
    odd.write_bytes(path.read_bytes())
    edited(odd, ODD["bytes"], "events/label")
    edited(odd, NUMBERS["too few"], "events/deform")
    edited(odd, LOGS["numbers"], "logs/note")
    with h5py.File(odd, "a") as h5:
        scalar = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(h5.id, b"user:day", h5py.h5t.UNIX_D32LE, scalar)
    assert main(["run", str(path), "-q"]) == main(["run", str(odd), "-q"]) == 0
    with (
        h5py.File(tmp_path / "plain_dcn.rtdc") as first,
        h5py.File(tmp_path / "odd_dcn.rtdc") as second,
    ):
        assert sorted(first["events"]) == sorted(second["events"])
        assert np.array_equal(first["events/deform"], second["events/deform"])
        assert second["logs/note"][:].tolist() == [0, 1, 2, 3]
    assert main(["verify", str(tmp_path / "odd_dcn.rtdc")]) == 0
    captured = capsys.readouterr()
    for name in ("events/label", "events/deform", "logs/note", "user:day"):
        assert f"'{name}'" in captured.out + captured.err


def test_beside_features_of_an_internal_basin(
    make_recording: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_recording(image_bg=None)
    with HDF5Writer(path, mode="a") as writer:
        writer.store_basin(
            name="background",
            mapping=np.arange(23),
            internal_data={"image_bg": np.full((23, 8, 12), 7, np.uint8)},
        )
    edited(path, ODD["texts"], "basin_events/label")
    with h5py.File(path) as h5, h5py.File(tmp_path / "copy.h5", "w") as copy:
        copy_basins(h5, copy)
        assert list(copy["basin_events"]) == ["image_bg"]
        assert (copy["basin_events/image_bg"][:] == 7).all()
