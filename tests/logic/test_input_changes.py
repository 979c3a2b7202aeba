"""The input is compared before a result is published."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.errors import InputError
from cytovox.logic import DCNumPipelineJob
from cytovox.logic.resume import fingerprint_of
from cytovox.read import HDF5Data, Permissions, concatenated_hdf5_data
from cytovox.run.fingerprint import differences
from cytovox.run.progress import ProgressEvent, StageStarted
from cytovox.write import create_with_basins


@pytest.fixture
def plain(raw: Path) -> Path:
    """A recording whose images nothing protects: neither compressed nor with checksums."""
    path = raw.with_name("plain.rtdc")
    with h5py.File(raw) as old, h5py.File(path, "w") as new:
        new.attrs.update(old.attrs)
        for name, values in old["events"].items():
            new.create_dataset(f"events/{name}", data=values[:], chunks=(10, *values.shape[1:]))
    return path


def image_place(path: Path) -> tuple[int, int]:
    """Return where a chunk of images in the middle of the file is."""
    with h5py.File(path) as h5:
        chunk = h5["events/image"].id.get_chunk_info(9)
        return chunk.byte_offset, chunk.size


def overwrite(path: Path) -> None:
    place, size = image_place(path)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(size))


def overwrite_and_put_the_time_back(path: Path) -> None:
    status = path.stat()
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # clocks of file systems are coarse
        overwrite(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 3 // 5)


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(0, 0))
    other.replace(path)


def once_segmentation_begins(act: Callable[[], None]) -> Callable[[ProgressEvent], None]:
    def listen(event: ProgressEvent) -> None:
        if isinstance(event, StageStarted) and event.stage == "segmentation":
            act()

    return listen


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be changed so")
@pytest.mark.parametrize("strategy", ["drain", "tap"])
@pytest.mark.parametrize(
    "act", [overwrite, overwrite_and_put_the_time_back, truncate, remove, replace]
)
def test_nothing_is_published_of_an_input_that_changes(plain, run_job, act, strategy):
    result = plain.with_name("result.rtdc")
    with pytest.raises(InputError) as caught:
        run_job(
            plain,
            result,
            basin_strategy=strategy,
            on_event=once_segmentation_begins(lambda: act(plain)),
        )
    if act not in (truncate, remove):  # these may be noticed earlier, where they are read
        assert "the input has changed while it was read" in str(caught.value)
    assert not result.exists()
    assert not list(plain.parent.glob("*~")) + list(plain.parent.glob("*.lock"))


def test_a_basin_that_changes_is_an_input_as_well(plain, run_job):
    referring = plain.with_name("referring.rtdc")
    may = Permissions(unidentified=True)
    create_with_basins(referring, [plain], permissions=may)
    with pytest.raises(InputError, match=r"plain\.rtdc: the input has changed"):
        run_job(
            referring,
            plain.with_name("result.rtdc"),
            data_kwargs={"permissions": may},
            on_event=once_segmentation_begins(lambda: overwrite(plain)),
        )
    assert not plain.with_name("result.rtdc").exists()


def test_a_file_that_is_shown_in_a_view_is_an_input_as_well(plain, run_job):
    both = plain.with_name("both.rtdc")
    concatenated_hdf5_data([plain, plain], both).close()
    with pytest.raises(InputError, match=r"plain\.rtdc: the input has changed"):
        run_job(
            both,
            plain.with_name("result.rtdc"),
            on_event=once_segmentation_begins(lambda: overwrite(plain)),
        )
    assert not plain.with_name("result.rtdc").exists()


@pytest.mark.parametrize("how", ["view", "link", "basin"])
def test_what_a_basin_shows_of_other_files_is_an_input_as_well(plain, run_job, how):
    """Also through another basin, two files further."""
    middle, referring = plain.with_name("middle.rtdc"), plain.with_name("referring.rtdc")
    may = Permissions(unidentified=True)
    if how == "basin":
        create_with_basins(middle, [plain], permissions=may)
    else:
        middle.write_bytes(plain.read_bytes())
        with h5py.File(middle, "a") as h5:
            del h5["events/image"]
            with h5py.File(plain) as other:
                shape = other["events/image"].shape
            if how == "view":
                layout = h5py.VirtualLayout(shape, "u1")
                layout[:] = h5py.VirtualSource("plain.rtdc", "events/image", shape)
                h5.create_virtual_dataset("events/image", layout)
            else:
                h5["events/image"] = h5py.ExternalLink("plain.rtdc", "events/image")
    create_with_basins(referring, [middle], permissions=may)
    with HDF5Data(referring, permissions=may) as data:
        assert [path.name for path in data.files()] == [
            "referring.rtdc",
            "middle.rtdc",
            "plain.rtdc",
        ]
    with pytest.raises(InputError, match=r"plain\.rtdc: the input has changed"):
        run_job(
            referring,
            plain.with_name("result.rtdc"),
            data_kwargs={"permissions": may},
            on_event=once_segmentation_begins(lambda: overwrite(plain)),
        )
    assert not plain.with_name("result.rtdc").exists()


def test_a_run_is_resumed_only_with_what_a_view_showed(plain):
    """The images lie in the file of the view, as far as HDF5 says."""
    both = plain.with_name("both.rtdc")
    concatenated_hdf5_data([plain, plain], both).close()

    def shown() -> dict[str, Any]:
        job = DCNumPipelineJob(both)
        with HDF5Data(both) as data:
            return fingerprint_of(job, data, job.get_ppid(ret_dict=True)[1])

    before = shown()
    assert not differences(before, shown())
    overwrite(plain)
    (text, *_) = differences(before, shown())
    assert text.startswith(f"input: files: {plain}: ")


def test_other_rights_and_names_are_no_change(plain, run_job):
    def act() -> None:
        plain.chmod(0o400)
        os.link(plain, plain.with_name("second_name"))

    run_job(
        plain,
        plain.with_name("result.rtdc"),
        on_event=once_segmentation_begins(act),
    )
    assert plain.with_name("result.rtdc").exists()


def test_a_recording_that_grows_may_do_so_if_that_is_allowed(plain, run_job):
    def append() -> None:
        with plain.open("ab") as file:
            file.write(b"more")

    def act_on(growing: bool) -> None:
        run_job(
            plain,
            plain.with_name("result.rtdc"),
            data_kwargs={"permissions": Permissions(growing=growing)},
            on_event=once_segmentation_begins(append),
        )

    with pytest.raises(InputError, match="its size was"):
        act_on(growing=False)
    act_on(growing=True)
    with h5py.File(plain.with_name("result.rtdc")) as h5:
        assert np.all(h5["events/deform"][:] >= 0)
