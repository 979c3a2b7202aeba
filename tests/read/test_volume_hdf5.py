"""HDF5 as programs write it: which voxels are of the image, and how large they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.errors import InputError, OptionError
from cytovox.read.open_volume import open_volume

VOXELS = np.random.default_rng(3).integers(0, 60000, (13, 33, 47), dtype=np.uint16)


def read(path: Any, **keywords: Any) -> np.ndarray:
    with open_volume(path, **keywords) as volume:
        return volume[...]


# ------------------------------------------------------------------------------ ilastik


def tags(names: str, sizes: Any = (), **more: Any) -> str:
    known = dict(zip(names, sizes, strict=False))
    axes = [{"key": n, "typeFlags": 2, "resolution": known.get(n, 0), **more} for n in names]
    return json.dumps({"axes": axes})


@pytest.mark.parametrize(
    "spelled",
    [str, np.bytes_, lambda t: np.array([t], object), lambda t: np.array([t.encode()])],
)
def test_axes_of_ilastik(tmp_path: Path, spelled: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("exported_data", data=VOXELS.transpose(2, 1, 0)[..., None])
        array.attrs["axistags"] = spelled(tags("xyzc", (0.25, 0.5, 2.0)))
        array.attrs["unit"] = "um"
    with open_volume(tmp_path / "a.h5") as volume:
        assert "".join(volume.axes) == "zyx"
        assert volume.voxel_size == (2, 0.5, 0.25)
        assert volume.units == "micrometer"
        np.testing.assert_array_equal(volume[...], VOXELS)


def test_units_of_ilastik(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("exported_data", data=VOXELS)
        array.attrs["axistags"] = np.bytes_(tags("zyx", (2000, 0.5, 0.25)))
        array.attrs["axis_units"] = json.dumps({"z": "nm", "y": "um", "x": "um"})
    with open_volume(tmp_path / "a.h5") as volume:
        assert volume.voxel_size == (2, 0.5, 0.25)
        assert volume.units == "micrometer"


def test_tags_that_say_nothing(tmp_path: Path) -> None:
    for text in (tags("zyx"), "{", "[]", '{"axes": 3}', '{"axes": [1]}'):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("a", data=VOXELS).attrs["axistags"] = text
        with open_volume(tmp_path / "a.h5") as volume:
            assert volume.voxel_size == (1, 1, 1)
            assert "".join(volume.axes) == "zyx"


# ------------------------------------------------------------------------------- Imaris


def letters(text: str) -> np.ndarray:
    return np.array([c.encode() for c in text], "S1")


def imaris(path: Path, channels: int = 1, **more: str) -> Path:
    """Write an image at two scales, padded to whole chunks."""
    said = {"X": "47", "Y": "33", "Z": "13", "Unit": "um"}
    said |= {"ExtMin0": "10", "ExtMax0": "21.75", "ExtMin1": "0", "ExtMax1": "16.5"}
    said |= {"ExtMin2": "-4", "ExtMax2": "22"} | more
    with h5py.File(path, "w") as file:
        for level in range(2):
            for channel in range(channels):
                voxels = VOXELS[:, :: level + 1, :: level + 1] + np.uint16(channel)
                padded = np.zeros([-(-n // 8) * 8 for n in voxels.shape], "u2")
                padded[tuple(slice(n) for n in voxels.shape)] = voxels
                place = f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel {channel}"
                file.create_dataset(f"{place}/Data", data=padded, chunks=(8, 8, 8))
                for axis, length in zip("ZYX", voxels.shape, strict=True):
                    file[place].attrs[f"ImageSize{axis}"] = letters(str(length))
        group = file.create_group("DataSetInfo/Image")
        for name, text in said.items():
            group.attrs[name] = letters(text)
    return path


def test_imaris(tmp_path: Path) -> None:
    path = imaris(tmp_path / "a.ims")
    for place in (path, f"{path}:/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"):
        with open_volume(place, fill_value=7) as volume:
            assert volume.format == "imaris"
            assert volume.voxel_size == (2, 0.5, 0.25)
            assert volume.offset == (-4, 0, 10)
            assert volume.units == "micrometer"
            np.testing.assert_array_equal(volume[...], VOXELS)
            # what was padded is outside
            assert (volume.read([(13, 16), (0, 33), (0, 47)]) == 7).all()
    for place, scale in (
        (path, 1),
        (f"{path}:/DataSet/ResolutionLevel 1/TimePoint 0/Channel 0/Data", None),
    ):
        with open_volume(place, scale=scale) as volume:
            np.testing.assert_array_equal(volume[...], VOXELS[:, ::2, ::2])
            assert volume.voxel_size == pytest.approx((2, 16.5 / 17, 11.75 / 24))
    with pytest.raises(OptionError, match="no scale"):
        open_volume(path, scale=2)


def test_imaris_with_channels(tmp_path: Path) -> None:
    path = imaris(tmp_path / "a.ims", channels=2)
    place = f"{path}:/DataSet/ResolutionLevel 0/TimePoint 0/Channel 1/Data"
    with pytest.warns(UserWarning, match=f"the first of 2 channels .*{place}"):
        np.testing.assert_array_equal(read(path), VOXELS)
    np.testing.assert_array_equal(read(place), VOXELS + 1)


def test_imaris_that_contradicts_itself(tmp_path: Path) -> None:
    path = imaris(tmp_path / "a.ims", ExtMax1="far")
    said = "does not say how large voxels are"
    with pytest.warns(UserWarning, match=said), open_volume(path) as volume:
        assert volume.voxel_size == (1, 1, 1)
    with h5py.File(path, "r+") as file:
        place = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        place.attrs["ImageSizeZ"] = letters("99")
    with pytest.raises(InputError, match="99 voxels along z cannot be in 16"):
        open_volume(path)


# ------------------------------------------------------------------------ BigDataViewer


def bdv(path: Path, setups: int = 1) -> Path:
    with h5py.File(path, "w") as file:
        for setup in range(setups):
            name = f"s{setup:02}"
            file[f"{name}/resolutions"] = np.array([[1, 1, 1], [2, 2, 1]], float)
            file[f"{name}/subdivisions"] = np.array([[8, 8, 8], [8, 8, 8]], "i4")
            for level in range(2):
                voxels = VOXELS[:, :: level + 1, :: level + 1]
                place = f"t00000/{name}/{level}/cells"
                file.create_dataset(place, data=voxels.view("i2"), chunks=(8, 8, 8))
    described = "".join(
        f"<ViewSetup><id>{n}</id><voxelSize><unit>um</unit><size>0.25 0.5 2.0</size></voxelSize>"
        "</ViewSetup>"
        for n in range(setups)
    )
    path.with_suffix(".xml").write_text(
        f"<SpimData><SequenceDescription><ViewSetups>{described}</ViewSetups>"
        "</SequenceDescription></SpimData>"
    )
    return path


def test_bigdataviewer(tmp_path: Path) -> None:
    path = bdv(tmp_path / "a.h5")
    assert (VOXELS > 2**15).any()
    with open_volume(path) as volume:
        assert volume.format == "bigdataviewer"
        assert volume.dtype == np.uint16
        assert volume.voxel_size == (2, 0.5, 0.25)
        assert volume.units == "micrometer"
        np.testing.assert_array_equal(volume[...], VOXELS)
    for place, scale in ((path, 1), (f"{path}:/t00000/s00/1/cells", None)):
        with open_volume(place, scale=scale) as volume:
            assert volume.voxel_size == (2, 1, 0.5)
            assert volume.offset == (0, 0.25, 0.125)
            np.testing.assert_array_equal(volume[...], VOXELS[:, ::2, ::2])
    with pytest.warns(UserWarning, match="the first of 2 channels"):
        read(bdv(tmp_path / "b.h5", setups=2))
    (tmp_path / "b.xml").unlink()
    place = f"{tmp_path / 'b.h5'}:/t00000/s01/0/cells"
    with pytest.warns(UserWarning, match="b.xml is missing"), open_volume(place) as volume:
        assert volume.voxel_size == (1, 1, 1)


# ------------------------------------------------------------------------- other things


@pytest.mark.parametrize("dtype", ["bool", "f2", ">u2", "i1", "f8"])
@pytest.mark.parametrize("chunks", [None, (4, 8, 8)])
def test_types_and_storage(tmp_path: Path, dtype: str, chunks: Any) -> None:
    voxels = (VOXELS % 100).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=voxels, chunks=chunks)
    with open_volume(tmp_path / "a.h5") as volume:
        assert volume.dtype == voxels.dtype.newbyteorder("=")
        np.testing.assert_array_equal(volume[...], voxels)


@pytest.mark.parametrize("labels", [False, True])
def test_coordinates_of_axes(tmp_path: Path, labels: bool) -> None:
    with h5py.File(tmp_path / "a.nc", "w") as file:
        array = file.create_dataset("image", data=VOXELS.transpose(2, 0, 1))
        for number, (name, step) in enumerate((("x", 0.25), ("z", 2.0), ("y", 0.5))):
            file[name] = np.arange(array.shape[number]) * step - 30
            file[name].attrs["units"] = "um"
            file[name].make_scale(name)
            array.dims[number].attach_scale(file[name])
            if labels:
                array.dims[number].label = name
        if labels:
            file["image"].attrs["units"] = "counts"
    with open_volume(tmp_path / "a.nc") as volume:
        assert volume.voxel_size == (2, 0.5, 0.25)
        assert volume.offset == (-30, -30, -30)
        assert volume.units == "micrometer"
        np.testing.assert_array_equal(volume[...], VOXELS)
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        file["z"][:] = -file["z"][:]
    with (
        pytest.warns(UserWarning, match="coordinates along 'z' fall"),
        open_volume(tmp_path / "a.nc") as volume,
    ):
        assert (volume.voxel_size, volume.offset) == ((2, 0.5, 0.25), (0, -30, -30))
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        file["z"][3] = 1e9
    said = "along some axes only"
    with pytest.warns(UserWarning, match=said), open_volume(tmp_path / "a.nc") as volume:
        assert volume.voxel_size == (1, 0.5, 0.25)


def test_the_unit_of_the_values_is_not_that_of_voxels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = VOXELS
        file["image"].attrs["units"] = "counts"
    with open_volume(tmp_path / "a.h5") as volume:
        assert (volume.voxel_size, volume.units) == ((1, 1, 1), "")


@pytest.mark.parametrize("size", [0.5, [0.5], [[0.5, 0.5, 0.5]], [[0.5], [0.5], [0.5]]])
def test_one_size_of_all_axes_and_sizes_as_a_table(tmp_path: Path, size: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = VOXELS
        file["image"].attrs["element_size_um"] = size
    with open_volume(tmp_path / "a.h5") as volume:
        assert (volume.voxel_size, volume.units) == ((0.5, 0.5, 0.5), "micrometer")


@pytest.mark.parametrize("name", ["element_size_um", "resolution", "offset"])
def test_what_is_not_numbers_is_not_a_size(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = VOXELS
        file["image"].attrs[name] = "0.5 x 0.2 x 0.2 um"
    said = "0.5 x 0.2 x 0.2 um, not numbers"
    with pytest.warns(UserWarning, match=said), open_volume(tmp_path / "a.h5") as volume:
        assert (volume.voxel_size, volume.offset, volume.units) == ((1, 1, 1), (0, 0, 0), "")


def test_a_header_before_the_file_as_matlab_writes_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["image"] = VOXELS
    with (tmp_path / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))
    np.testing.assert_array_equal(read(tmp_path / "a.mat"), VOXELS)


def test_integers_of_three_bytes_are_refused(tmp_path: Path) -> None:
    kind = h5py.h5t.STD_U32LE.copy()
    kind.set_size(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        h5py.h5d.create(file.id, b"image", kind, h5py.h5s.create_simple((3, 4, 5)))
    with pytest.raises(InputError, match="voxels are of an unknown type"):
        open_volume(tmp_path / "a.h5")


def test_series_is_the_path_in_the_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/a"], file["g/b"] = VOXELS, VOXELS + 1
    np.testing.assert_array_equal(read(tmp_path / "a.h5", series="g/b"), VOXELS + 1)
    np.testing.assert_array_equal(read(f"{tmp_path / 'a.h5'}:g/a"), VOXELS)
    with pytest.raises(OptionError, match="no scales"):
        open_volume(f"{tmp_path / 'a.h5'}:g/a", scale=1)


def test_a_stored_chunk_without_filters_that_is_too_short_is_refused(tmp_path: Path) -> None:
    """HDF5 would leave the memory as it is, which then becomes voxels."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("a", shape=(8, 8, 8), dtype="u2", chunks=(4, 8, 8))
        made.id.write_direct_chunk((0, 0, 0), VOXELS[:4, :8, :8].tobytes())
        made.id.write_direct_chunk((4, 0, 0), b"short")
    with open_volume(tmp_path / "a.h5") as volume:
        np.testing.assert_array_equal(volume[:4], VOXELS[:4, :8, :8])
        with pytest.raises(InputError, match="is stored in 5 bytes instead of 512"):
            volume.read([(4, 8), (0, 8), (0, 8)])
