"""Links and virtual arrays of HDF5 volumes lead where those of recordings may, and no further."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.errors import BasinNotFoundError, CytovoxError, InputError
from cytovox.read.open_volume import open_volume
from cytovox.read.permissions import ROOTS_VARIABLE, RefusedInputError

SHAPE = (6, 8, 10)
VOXELS = np.random.default_rng(1).integers(0, 250, SHAPE).astype("u1")


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Return a folder with a volume in a folder below, and one beside."""
    folder = tmp_path / "day"
    (folder / "parts").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    for path in (folder / "parts" / "part.h5", tmp_path / "beside" / "part.h5"):
        with h5py.File(path, "w") as h5:
            h5.create_dataset("raw", data=VOXELS, chunks=(2, 8, 10), compression="gzip")
    return folder


def view(path: Path, file: str, inner: str = "raw", planes: int = SHAPE[0]) -> str:
    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[:planes] = h5py.VirtualSource(file, inner, SHAPE)[:planes]
    with h5py.File(path, "a", libver="latest") as h5:
        h5.create_virtual_dataset("shown", layout)
    return f"{path}:/shown"


def link(path: Path, file: str) -> str:
    with h5py.File(path, "a", libver="latest") as h5:
        h5["there"] = h5py.ExternalLink(file, "/raw")
        h5["shown"] = h5py.SoftLink("/there")
    return f"{path}:/shown"


def read(address: str) -> Any:
    with open_volume(address) as volume:
        return volume[...]


@pytest.mark.parametrize("make", [view, link])
@pytest.mark.parametrize("how", ["relative", "absolute", "moved"])
def test_files_below_the_folder_are_read(day: Path, make: Any, how: str) -> None:
    part = day / "parts" / "part.h5"
    (day / "near.h5").write_bytes(part.read_bytes())
    names = {"absolute": str(part), "moved": "/elsewhere/near.h5"}
    address = make(day / "input.h5", names.get(how, "parts/part.h5"))
    np.testing.assert_array_equal(read(address), VOXELS)


@pytest.mark.parametrize("make", [view, link])
@pytest.mark.parametrize("how", ["dots", "symbolic link", "view of a view"])
def test_files_beside_the_folder_are_refused(
    day: Path, make: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = day.parent / "beside" / "part.h5"
    if how == "symbolic link":
        (day / "near.h5").symlink_to(there)
    elif how == "view of a view":
        with h5py.File(day / "near.h5", "w", libver="latest") as h5:
            layout = h5py.VirtualLayout(SHAPE, "u1")
            layout[:] = h5py.VirtualSource(str(there), "raw", SHAPE)
            h5.create_virtual_dataset("raw", layout)
    address = make(day / "input.h5", "../beside/part.h5" if how == "dots" else "near.h5")
    with pytest.raises(RefusedInputError, match=r"part\.h5|near\.h5") as caught:
        read(address)
    assert "--allow-external" in str(caught.value)
    monkeypatch.setenv(ROOTS_VARIABLE, str(there.parent))
    np.testing.assert_array_equal(read(address), VOXELS)


def test_a_folder_can_be_named_on_the_command_line(day: Path) -> None:
    address = view(day / "input.h5", "../beside/part.h5")
    assert main(["volume", "info", address]) == 1
    root = str(day.parent / "beside")
    assert main(["volume", "--basin-root", root, "info", address]) == 0
    assert main(["volume", "info", address]) == 1


def test_what_a_file_lacks_is_not_zeros(day: Path) -> None:
    with pytest.raises(InputError, match="leaves out some of its values"):
        read(view(day / "gap.h5", "parts/part.h5", planes=4))
    with pytest.raises(BasinNotFoundError, match="gone"):
        read(view(day / "gone.h5", "parts/gone.h5"))
    with pytest.raises(CytovoxError, match="cannot be found"):
        read(link(day / "link.h5", "parts/gone.h5"))
    with pytest.raises(InputError, match="lacks"):
        read(view(day / "inner.h5", "parts/part.h5", "other"))


def test_raw_storage_behind_a_view_is_refused(day: Path) -> None:
    secret = day.parent / "secret.raw"
    secret.write_bytes(bytes(int(np.prod(SHAPE))))
    with h5py.File(day / "near.h5", "w") as h5:
        h5.create_dataset("raw", SHAPE, "u1", external=[(str(secret), 0, secret.stat().st_size)])
    with pytest.raises(RefusedInputError, match=r"secret\.raw"):
        read(view(day / "input.h5", "near.h5"))


def test_what_is_behind_a_view_is_looked_at(day: Path) -> None:
    part = day / "parts" / "part.h5"
    address = view(day / "input.h5", "parts/part.h5")
    with h5py.File(part, "a") as h5:
        h5["raw"].id.write_direct_chunk((2, 0, 0), b"no gzip")
    with pytest.raises(RefusedInputError, match=r"part\.h5.*chunk of 'raw'"):
        read(address)
    with h5py.File(part, "w") as h5:
        h5["raw"] = VOXELS.astype("u2")
    with pytest.raises(RefusedInputError, match="cuts their values off"):
        read(address)


def test_views_without_end_are_refused(day: Path) -> None:
    with pytest.raises(RefusedInputError, match="view of itself"):
        read(view(day / "self.h5", ".", "shown"))
    for number in range(20):
        view(day / f"{number}.h5", f"{number + 1}.h5", "shown")
    with h5py.File(day / "20.h5", "w") as h5:
        h5["shown"] = VOXELS
    with pytest.raises(RefusedInputError, match="in a row"):
        read(f"{day / '0.h5'}:/shown")
    np.testing.assert_array_equal(read(f"{day / '14.h5'}:/shown"), VOXELS)


def test_views_of_more_others_than_can_be_read_are_refused(day: Path) -> None:
    """A file of 20 kB can ask for a number of parts that never ends."""
    path = day / "many.h5"
    with h5py.File(path, "w", libver="latest") as h5:
        for one in range(8):
            h5[f"0_{one}"] = np.ones((1, 8), np.uint8)
        for level in range(1, 7):
            for one in range(8):
                layout = h5py.VirtualLayout((1, 8), "u1")
                for other in range(8):
                    source = h5py.VirtualSource(".", f"{level - 1}_{other}", (1, 8))
                    layout[0, other : other + 1] = source[0, other : other + 1]
                h5.create_virtual_dataset(f"{level}_{one}", layout)
    assert (read(f"{path}:/2_0") == 1).all()
    with pytest.raises(RefusedInputError, match="in more than 10,000 ways"):
        read(f"{path}:/6_0")


@pytest.mark.parametrize("make", [view, link])
def test_a_change_of_another_file_is_noticed(day: Path, make: Any) -> None:
    address = make(day / "input.h5", "parts/part.h5")
    with open_volume(address) as volume:
        before = volume.fingerprint()
        assert before == volume.fingerprint()
    part = day / "parts" / "part.h5"
    os.utime(part, ns=(1, 1))
    with open_volume(address) as volume:
        assert volume.fingerprint() != before
