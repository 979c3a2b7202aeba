"""Links and virtual datasets lead to recordings of the folder, checked, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.errors import BasinNotFoundError, CytovoxError, InputError
from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data, Permissions, RefusedInputError
from support.hostile_basins import store_definition
from support.hostile_recordings import FRAMES, SHAPE, plain_recording

IMAGES = (FRAMES, *SHAPE)


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Return a folder with a recording in a folder below and one beside."""
    folder = tmp_path / "day"
    (folder / "parts").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    plain_recording(folder / "parts" / "part.rtdc", value=70)
    plain_recording(tmp_path / "beside" / "part.rtdc", value=181)
    return folder


def view(path: Path, file: str, inner: str = "events/image", rows: int = FRAMES) -> Path:
    """Write a recording whose images are those of another file."""
    plain_recording(path)
    layout = h5py.VirtualLayout(IMAGES, "u1")
    layout[:rows] = h5py.VirtualSource(file, inner, IMAGES)[:rows]
    with h5py.File(path, "a", libver="latest") as h5:
        del h5["events/image"]
        h5.create_virtual_dataset("events/image", layout)
    return path


def link(path: Path, file: str, name: str = "events/image") -> Path:
    """Write a recording in which a group or dataset is that of another file."""
    plain_recording(path)
    with h5py.File(path, "a", libver="latest") as h5:
        del h5[name]
        h5[name] = h5py.ExternalLink(file, name)
    return path


@pytest.mark.parametrize("make", [view, link])
@pytest.mark.parametrize("how", ["relative", "absolute", "moved", "through a symbolic link"])
def test_recordings_below_the_folder_are_read(day: Path, make, how: str) -> None:
    name = {"absolute": str(day / "parts" / "part.rtdc"), "moved": "/elsewhere/near.rtdc"}.get(
        how, "parts/part.rtdc"
    )
    plain_recording(day / "near.rtdc", value=70)
    path = make(day / "input.rtdc", name)
    if how == "through a symbolic link":
        path = day.parent / "link.rtdc"
        path.symlink_to(day / "input.rtdc")
    with HDF5Data(path) as data:
        data.check()
        assert (data.image[:] == 70).all()
        assert (data.image[3] == 70).all()
        assert any("part.rtdc" in text or "near.rtdc" in text for text in data.followed)


def test_a_link_for_all_events(day: Path) -> None:
    with HDF5Data(link(day / "input.rtdc", "parts/part.rtdc", "events")) as data:
        data.check()
        assert (data.image[:] == 70).all()
        assert (data["deform"] == 70).all()


@pytest.mark.parametrize("make", [view, link])
@pytest.mark.parametrize("how", ["dots", "absolute", "symbolic link", "view of a view"])
def test_recordings_beside_the_folder_are_refused(day: Path, make, how: str) -> None:
    there = day.parent / "beside" / "part.rtdc"
    name = {"dots": "../beside/part.rtdc", "absolute": str(there)}.get(how, "near.rtdc")
    if how == "symbolic link":
        (day / "near.rtdc").symlink_to(there)
    elif how == "view of a view":
        view(day / "near.rtdc", str(there))
    path = make(day / "input.rtdc", name)
    with pytest.raises(RefusedInputError, match=r"part\.rtdc|near\.rtdc") as caught:
        HDF5Data(path)
    assert "--allow-external" in str(caught.value)
    allowed = Permissions(basin_roots=(there.parent,))
    with HDF5Data(path, permissions=allowed) as data:
        assert (data.image[:] == 181).all()


def test_what_hdf5_finds_in_the_working_folder_is_what_is_checked(
    day: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that the folder lacks is looked for there by HDF5."""
    path = view(day / "input.rtdc", "part.rtdc")
    monkeypatch.chdir(day.parent / "beside")
    with pytest.raises(RefusedInputError, match=r"part\.rtdc"):
        HDF5Data(path)


def test_only_recordings_are_read(day: Path) -> None:
    with h5py.File(day / "other.h5", "w") as h5:
        h5["raw"] = np.zeros(IMAGES, np.uint8)
    for path in (
        view(day / "view.rtdc", "other.h5", "raw"),
        link(day / "link.rtdc", "other.h5"),
    ):
        with pytest.raises(RefusedInputError, match="not a recording"):
            HDF5Data(path)


@pytest.mark.parametrize("where", ["events/image", "hidden/image"])
@pytest.mark.parametrize("file", [".", "near.rtdc"])
def test_raw_storage_behind_a_view_is_refused(day: Path, file: str, where: str) -> None:
    secret = day.parent / "secret.raw"
    secret.write_bytes(bytes(10_000))
    path = view(day / "input.rtdc", file, where)
    holder = path if file == "." else plain_recording(day / file)
    with h5py.File(holder, "a", libver="latest") as h5:
        where = "hidden/image" if file == "." else where
        if where in h5:
            del h5[where]
        outside = [(str(secret), 0, int(np.prod(IMAGES)))]
        h5.create_dataset(where, IMAGES, "u1", external=outside)
    if file == ".":
        view_within(path)
    with pytest.raises(RefusedInputError, match=r"secret\.raw"):
        HDF5Data(path)


def view_within(path: Path) -> None:
    layout = h5py.VirtualLayout(IMAGES, "u1")
    layout[:] = h5py.VirtualSource(".", "hidden/image", IMAGES)
    with h5py.File(path, "a", libver="latest") as h5:
        del h5["events/image"]
        h5.create_virtual_dataset("events/image", layout)


def test_chunks_behind_a_view_are_looked_at(day: Path) -> None:
    with h5py.File(day / "parts" / "part.rtdc", "a", libver="latest") as h5:
        h5["events/image"].id.write_direct_chunk((5, 0, 0), b"no zstd")
    with HDF5Data(view(day / "input.rtdc", "parts/part.rtdc")) as data:
        assert (data.image[:5] == 70).all()
        with pytest.raises(RefusedInputError, match=r"part\.rtdc.*chunk of 'image'"):
            _ = data.image[4:6]


def test_views_of_themselves_are_refused(day: Path) -> None:
    path = view(day / "input.rtdc", ".")
    with pytest.raises(RefusedInputError, match="view of itself"):
        HDF5Data(path)
    view(day / "a.rtdc", "b.rtdc")
    with pytest.raises(RefusedInputError, match="view of itself"):
        HDF5Data(view(day / "b.rtdc", "a.rtdc"))


def test_many_files_in_a_row_are_refused(day: Path) -> None:
    for number in range(20):
        view(day / f"{number}.rtdc", f"{number + 1}.rtdc")
    plain_recording(day / "20.rtdc")
    with pytest.raises(RefusedInputError, match="in a row"):
        HDF5Data(day / "0.rtdc")


def test_values_that_a_view_lacks_are_not_zeros(day: Path) -> None:
    with HDF5Data(view(day / "input.rtdc", "parts/part.rtdc", rows=FRAMES - 1)) as data:
        with pytest.raises(InputError, match="leaves out some of its values"):
            data.check()
        with pytest.raises(InputError, match="leaves out some of its values"):
            _ = data.image[0]
    with h5py.File(day / "parts" / "part.rtdc", "a") as h5:
        del h5["events/image"]
        h5["events/image"] = np.zeros((3, *SHAPE), np.uint8)
    with (
        HDF5Data(view(day / "short.rtdc", "parts/part.rtdc")) as data,
        pytest.raises(InputError, match="more values than"),
    ):
        data.check()


@pytest.mark.parametrize(("stored", "fits"), [("u2", False), ("i1", False), ("u1", True)])
def test_views_that_cut_values_off_are_refused(day: Path, stored: str, fits: bool) -> None:
    """HDF5 would show 1120 as 255, and -5 as 0."""
    with h5py.File(day / "parts" / "part.rtdc", "a") as h5:
        del h5["events/image"]
        h5["events/image"] = np.full(IMAGES, 100, stored)
    path = view(day / "input.rtdc", "parts/part.rtdc")
    if fits:
        with HDF5Data(path) as data:
            assert (data.image[:] == 100).all()
        return
    with pytest.raises(RefusedInputError, match="cuts their values off"):
        HDF5Data(path)


def test_a_file_that_disappears_is_missed(day: Path) -> None:
    with HDF5Data(view(day / "input.rtdc", "parts/part.rtdc"), image_cache_size=0) as data:
        assert (data.image[0] == 70).all()
        if os.name == "nt":
            return  # an open file cannot be removed there
        (day / "parts" / "part.rtdc").unlink()
        with pytest.raises(BasinNotFoundError, match="parts/part"):
            _ = data.image[0]


def test_a_link_to_a_missing_file_is_named(day: Path) -> None:
    with pytest.raises(CytovoxError, match=r"nowhere\.rtdc, which cannot be found"):
        HDF5Data(link(day / "input.rtdc", "nowhere.rtdc"))


def test_verify_names_what_is_in_other_files(day: Path) -> None:
    for path in (
        view(day / "view.rtdc", "parts/part.rtdc"),
        link(day / "link.rtdc", "parts/part.rtdc"),
        link(day / "all.rtdc", "parts/part.rtdc", "events"),
    ):
        found = verify_recording(path)
        assert not found.errors
        assert not found.warnings
        assert any("parts/part.rtdc" in finding.what for finding in found.findings)
    (day / "parts" / "part.rtdc").unlink()
    found = verify_recording(day / "view.rtdc")
    assert any("cannot be found: parts/part.rtdc" in error.what for error in found.errors)


@pytest.mark.parametrize("where", ["beside/part.rtdc", "day/nowhere.rtdc"])
def test_an_error_about_a_view_in_a_basin_is_the_last_word(day: Path, where: str) -> None:
    """The library once crashed when the program ended."""
    other = view(day / "other.rtdc", str(day.parent / where))
    path = plain_recording(day / "input.rtdc")
    with h5py.File(path, "a", libver="latest") as h5:
        del h5["events/image"]
    more = {"type": "file", "paths": [str(other)], "identifier": "a measurement"}
    store_definition(path, {**more, "features": ["image"]})
    words = [sys.executable, "-m", "cytovox", "run", str(path)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 1, ran.stderr
    assert where in ran.stderr
