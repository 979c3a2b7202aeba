"""TIFF as programs write it: every plane is read, in its place, with its size."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import uuid
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from cytovox.errors import InputError, OptionError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.read.permissions import RefusedInputError

SHAPE = (5, 33, 47)
VOXELS = np.random.default_rng(7).integers(0, 60000, SHAPE, dtype=np.uint16)
XMLNS = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'

ID = "urn:uuid:11111111-1111-1111-1111-111111111111"


def image_xml(attributes: str = "", data: str = "<TiffData/>", order: str = "XYZCT") -> str:
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint16" '
        f'SizeX="47" SizeY="33" SizeZ="5" SizeC="1" SizeT="1" {attributes}>{data}</Pixels></Image>'
    )


def ome(path: Path, *images: str, head: str = "", voxels: Any = VOXELS, **more: Any) -> Path:
    xml = f"<?xml version='1.0'?>{head}<OME {XMLNS}>{''.join(images)}</OME>"
    more = {"photometric": "minisblack", "metadata": None, **more}
    tifffile.imwrite(path, voxels, description=xml.encode(), **more)
    return path


def imagej(path: Path, **metadata: Any) -> Path:
    metadata = {"axes": "ZYX", **metadata}
    tifffile.imwrite(path, VOXELS, imagej=True, resolution=(4, 2), metadata=metadata)
    return path


def read(path: Any, **keywords: Any) -> np.ndarray:
    with open_volume(path, **keywords) as volume:
        return volume[...]


# ---------------------------------------------------------------- size of a voxel


@pytest.mark.parametrize(
    ("metadata", "size", "unit"),
    [
        ({"spacing": 2.0, "unit": "cm"}, (2, 0.5, 0.25), "centimeter"),
        ({"spacing": 2.0, "unit": "\\u00B5m"}, (2, 0.5, 0.25), "micrometer"),
        ({"spacing": -2.0, "unit": "micron"}, (2, 0.5, 0.25), "micrometer"),
        ({"spacing": 2.0, "unit": "inch"}, (2, 0.5, 0.25), "inch"),
        ({"spacing": 2000, "unit": "um", "zunit": "nm"}, (2, 0.5, 0.25), "micrometer"),
        ({"unit": "nm"}, (1, 0.5, 0.25), "nanometer"),
        ({"spacing": 3.0, "unit": "pixel"}, (3, 0.5, 0.25), ""),
    ],
)
def test_imagej(tmp_path: Path, metadata: Any, size: tuple[float, ...], unit: str) -> None:
    with open_volume(imagej(tmp_path / "a.tif", **metadata)) as volume:
        assert volume.voxel_size == pytest.approx(size)
        assert volume.units == unit
        np.testing.assert_array_equal(volume[...], VOXELS)


def sizes(z: str, y: str, x: str, *units: str) -> str:
    said = "".join(f' PhysicalSize{a}="{v}"' for a, v in zip("ZYX", (z, y, x), strict=True))
    return said + "".join(
        f' PhysicalSize{a}Unit="{u}"' for a, u in zip("ZYX", units, strict=False)
    )


@pytest.mark.parametrize(
    ("said", "size", "unit"),
    [
        (sizes("1.0E-5", "0.3", "0.3", "dm", "µm", "µm"), (1, 0.3, 0.3), "micrometer"),
        (sizes("2", "0.5", "0.25", *["&#181;m"] * 3), (2, 0.5, 0.25), "micrometer"),
        (sizes("2", "0.5", "0.25").replace('"', "'"), (2, 0.5, 0.25), "micrometer"),
        (sizes("2000", "0.5", "0.25", "nm", "µm", "µm"), (2, 0.5, 0.25), "micrometer"),
        (sizes("2", "0.5", "0.25", "mm", "mm", "mm"), (2, 0.5, 0.25), "millimeter"),
        (sizes("-2", "0.5", "0.25"), (2, 0.5, 0.25), "micrometer"),
        (sizes("1", "1", "1", *["pixel"] * 3), (1, 1, 1), ""),
        ("", (1, 1, 1), ""),
    ],
)
def test_ome_sizes(tmp_path: Path, said: str, size: tuple[float, ...], unit: str) -> None:
    with open_volume(ome(tmp_path / "a.ome.tif", image_xml(said))) as volume:
        assert volume.voxel_size == pytest.approx(size)
        assert volume.units == unit


MIXED = {
    "PhysicalSizeX": 250,
    "PhysicalSizeXUnit": "nm",
    "PhysicalSizeY": 0.5,
    "PhysicalSizeZ": 2,
}
STACKED = {"unit": "um", "spacing": 2.0}


@pytest.mark.parametrize(
    ("options", "size", "unit", "said"),
    [
        (
            {"metadata": MIXED},
            (2000, 500, 250),
            "nano",
            "",
        ),
        (
            {"metadata": {"unit": "um", "spacing": 2.0}, "imagej": True},
            (2, 0.5, 0.25),
            "micro",
            "",
        ),
        ({"metadata": {"unit": "um"}, "imagej": True}, (0.25, 0.5, 0.25), "micro", "along z"),
        ({"resolutionunit": "MILLIMETER"}, (0.25, 0.5, 0.25), "milli", "along z"),
        ({"metadata": None, "resolutionunit": "NONE"}, (1, 0.5, 0.25), "", ""),
    ],
)
def test_sizes_in_a_folder_of_pages(
    tmp_path: Path, options: Any, size: tuple[float, ...], unit: str, said: str
) -> None:
    ome = ".ome" if "PhysicalSizeX" in (options.get("metadata") or {}) else ""
    for number, page in enumerate(VOXELS):
        path = tmp_path / "a" / f"{number}{ome}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, page, resolution=(4, 2), **options)
    warned = pytest.warns(UserWarning, match=said) if said else contextlib.nullcontext()
    with warned, open_volume(tmp_path / "a") as volume:
        assert volume.voxel_size == pytest.approx(size)
        assert volume.units == (f"{unit}meter" if unit else "")
        np.testing.assert_array_equal(volume[...], VOXELS)


def test_a_size_that_is_not_said_is_mentioned(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", image_xml(' PhysicalSizeX="0.25" PhysicalSizeY="0.5"'))
    with (
        pytest.warns(UserWarning, match="along z; 1 micrometer is taken"),
        open_volume(path) as volume,
    ):
        assert volume.voxel_size == (1, 0.5, 0.25)


@pytest.mark.parametrize(
    ("resolution", "unit", "size", "name"),
    [
        ((4, 2), "CENTIMETER", (0.5, 0.25), "centimeter"),
        ((40000, 20000), "INCH", (5e-5, 2.5e-5), "inch"),
        ((4, 2), "NONE", (0.5, 0.25), ""),
        ((300, 300), "INCH", (1, 1), ""),
        ((118.11, 118.11), "CENTIMETER", (1, 1), ""),
    ],
)
def test_tags(tmp_path: Path, resolution: Any, unit: str, size: Any, name: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOXELS[0], resolution=resolution, resolutionunit=unit)
    with open_volume(path) as volume:
        assert volume.voxel_size == pytest.approx(size)
        assert volume.units == name
    tifffile.imwrite(path, VOXELS, resolution=resolution, resolutionunit=unit)
    said = pytest.warns(UserWarning, match=f"along z; {size[1]:g} {name} is taken")
    with said if name else contextlib.nullcontext(), open_volume(path) as volume:
        assert volume.voxel_size == pytest.approx((size[1] if name else 1, *size))


def test_metadata_with_a_document_type_are_refused(tmp_path: Path) -> None:
    head = '<!DOCTYPE OME [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>'
    with pytest.raises(RefusedInputError, match="document type"):
        open_volume(ome(tmp_path / "a.ome.tif", image_xml(), head=head))
    with pytest.raises(InputError, match="cannot be parsed"):
        open_volume(ome(tmp_path / "b.ome.tif", "<Image>"))


# ------------------------------------------------------------------ axes and images


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 5, 9, 8), "czyx"),
        ((2, 3, 5, 9, 8), "tczyx"),
        ((1, 5, 9, 8), "zyx"),
        ((5, 9, 8), "zyx"),
    ],
)
def test_axes_without_names(tmp_path: Path, shape: tuple[int, ...], axes: str) -> None:
    """An array without names of axes is read as from NumPy, HDF5 and zarr."""
    voxels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", voxels)
    np.save(tmp_path / "a.npy", voxels)
    with open_volume(tmp_path / "a.tif") as volume, open_volume(tmp_path / "a.npy") as same:
        assert "".join(volume.axes) == axes
        assert volume.axes == same.axes
        np.testing.assert_array_equal(volume[...], same[...])


def test_pages_that_were_appended(tmp_path: Path) -> None:
    for page in VOXELS:
        tifffile.imwrite(tmp_path / "a.tif", page, append=True)
    with open_volume(tmp_path / "a.tif") as volume:
        np.testing.assert_array_equal(volume[...], VOXELS)
        assert volume.series == "5 images of one page each, as a stack"
    np.testing.assert_array_equal(read(f"{tmp_path / 'a.tif'}:/3"), VOXELS[3])


def test_one_image_of_several(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for number, name in enumerate(("nuclei", "membranes")):
            meta = {"axes": "ZYX", "Name": name, "PhysicalSizeX": number + 0.25}
            file.write(VOXELS[number:], metadata=meta | {"PhysicalSizeY": 1, "PhysicalSizeZ": 1})
    said = r"image 0 is read, the first of 2 .*'membranes'"
    with pytest.warns(UserWarning, match=said):
        volume = open_volume(path)
    with volume:
        np.testing.assert_array_equal(volume[...], VOXELS)
        assert volume.voxel_size == (1, 1, 0.25)
        assert volume.series == "0 of 2 nuclei"
        assert "0 of 2 nuclei" in repr(volume)
    for place, more in (
        (f"{path}:/1", {}),
        (path, {"series": 1}),
        (path, {"series": "membranes"}),
    ):
        with open_volume(place, **more) as volume:
            np.testing.assert_array_equal(volume[...], VOXELS[1:])
            assert volume.voxel_size == (1, 1, 1.25)
            with pickle.loads(pickle.dumps(volume)) as again:
                np.testing.assert_array_equal(again[...], VOXELS[1:])
                assert again.fingerprint() == volume.fingerprint()
    np.testing.assert_array_equal(read(f"{path}:/pages")[5:], VOXELS[1:])
    with pytest.raises(OptionError, match=r"no image '2'.*membranes"):
        open_volume(path, series=2)
    with pytest.raises(UsageError, match="which image already"):
        open_volume(f"{path}:/1", series=1)


def test_the_command_line_says_which_image_it_reads(tmp_path: Path) -> None:
    for stack in (VOXELS, VOXELS[:3] + 1):
        tifffile.imwrite(tmp_path / "a.tif", stack, append=True, photometric="minisblack")
    words = [sys.executable, "-m", "cytovox", "volume", "segment", "a.tif", "a.zarr"]
    words += ["-f", "label", "--set", "threshold=1", "--workers", "0", "--block", "16"]
    words += ["--context", "0", "--stitch", "touch"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("image 0 is read, the first of 2") == 1
    words[4:] = ["info", "a.tif:/1"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert re.search(r"series +1 of 2\n  voxels +3 x 33 x 47", ran.stdout)


@pytest.mark.parametrize(
    "odd", [{"compression": "zlib"}, {"rowsperstrip": 3}, {"byteorder": "<", "tile": (16, 16)}]
)
def test_pages_stored_in_different_ways(tmp_path: Path, odd: dict[str, Any]) -> None:
    stack = np.concatenate([VOXELS, VOXELS + 1])
    odd.pop("byteorder", None)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number, page in enumerate(stack):
            more = odd if number in (3, 5) else {}
            file.write(page, metadata=None, contiguous=False, **more)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), stack)


def test_a_page_of_strips_without_rows_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in VOXELS:
            file.write(page, metadata=None, contiguous=False, rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        places = [page.tags[278].valueoffset for page in file.pages]
    content = bytearray(path.read_bytes())
    for place in places[1:]:
        content[place : place + 2] = b"\0\0"
    path.write_bytes(content)
    with pytest.raises(InputError, match="rowsperstrip") as got:
        read(path)
    assert got.value.path == str(path)


@pytest.mark.parametrize("change", [lambda p: p[:20], lambda p: p.astype(np.int16)])
def test_pages_of_another_shape_or_type(tmp_path: Path, change: Any) -> None:
    """A page in the middle that differs is an image of its own, not read as the others are."""
    stack = np.concatenate([VOXELS, VOXELS + 1])
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number, page in enumerate(stack):
            page = change(page) if number == 4 else page
            file.write(page, metadata=None, contiguous=False)
    with pytest.warns(UserWarning, match="the first of 2"):
        np.testing.assert_array_equal(read(tmp_path / "a.tif"), np.delete(stack, 4, axis=0))
    np.testing.assert_array_equal(read(f"{tmp_path / 'a.tif'}:/1"), change(stack[4]))


def test_a_thumbnail_is_not_the_image(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(VOXELS[0, ::2, ::2], subfiletype=1, metadata=None, contiguous=False)
        for page in VOXELS:
            file.write(page, metadata=None, contiguous=False)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), VOXELS)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("form", ["shaped", "ome", "plain"])
def test_colours(tmp_path: Path, planar: str, form: str) -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (4, 3, 33, 47), dtype=np.uint8)
    stored = rgb if planar == "separate" else rgb.transpose(0, 2, 3, 1)
    meta: Any = {"axes": "ZSYX" if planar == "separate" else "ZYXS"}
    path = tmp_path / ("a.ome.tif" if form == "ome" else "a.tif")
    more = {"photometric": "rgb", "planarconfig": planar, "compression": "zlib"}
    tifffile.imwrite(path, stored, metadata=None if form == "plain" else meta, **more)
    with open_volume(path) as volume:
        assert "".join(volume.axes) == "czyx"
        np.testing.assert_array_equal(volume[...], rgb.transpose(1, 0, 2, 3))


def test_an_imagej_stack_that_lost_its_end(tmp_path: Path) -> None:
    path = imagej(tmp_path / "a.tif")
    path.write_bytes(path.read_bytes()[: VOXELS[:4].nbytes])
    with pytest.raises(InputError, match="5 planes|breaks off|cut short"):
        read(path)


# ------------------------------------------------------------ OME-TIFF of many files


def file_set(
    folder: Path, per_file: int = 1, order: str = "XYZCT", names: str = "z{}.ome.tif"
) -> list[Path]:
    """Write 2 channels of 3 planes into files of so many planes."""
    stack = VOXELS[:3][np.newaxis] + np.array([0, 1], np.uint16).reshape(2, 1, 1, 1)
    first = {"XYZCT": [(c, z) for c in (0, 1) for z in range(3)]}.get(
        order, [(c, z) for z in range(3) for c in (0, 1)]
    )
    ids = [f"urn:uuid:{uuid.uuid4()}" for _ in range(6 // per_file)]
    data = "".join(
        f'<TiffData FirstZ="{z}" FirstC="{c}" IFD="{n % per_file}" PlaneCount="1">'
        f'<UUID FileName="{names.format(n // per_file)}">{ids[n // per_file]}</UUID></TiffData>'
        for n, (c, z) in enumerate(first)
    )
    image = image_xml(data=data, order=order).replace('SizeZ="5"', 'SizeZ="3"')
    image = image.replace('SizeC="1"', 'SizeC="2"')
    paths = []
    for number, identifier in enumerate(ids):
        xml = f'<OME {XMLNS} UUID="{identifier}">{image}</OME>'
        pages = [stack[c, z] for c, z in first[number * per_file :][:per_file]]
        paths.append(folder / names.format(number))
        options = {"metadata": None, "photometric": "minisblack"}
        tifffile.imwrite(paths[-1], np.stack(pages), description=xml, **options)
    return paths


@pytest.mark.parametrize("order", ["XYZCT", "XYCZT"])
@pytest.mark.parametrize("per_file", [1, 2, 3])
def test_ome_of_several_files(tmp_path: Path, per_file: int, order: str) -> None:
    paths = file_set(tmp_path, per_file, order)
    truth = VOXELS[:3][np.newaxis] + np.array([0, 1], np.uint16).reshape(2, 1, 1, 1)
    for path in (paths[0], paths[-1], tmp_path):
        with open_volume(path) as volume:
            assert "".join(volume.axes) == "czyx"
            np.testing.assert_array_equal(volume[...], truth)
            np.testing.assert_array_equal(volume[1, 1:3, 5:9], truth[1, 1:3, 5:9])
            before = volume.fingerprint()
    os.utime(paths[-1], (1, 1))
    with open_volume(tmp_path) as volume:
        assert volume.fingerprint() != before


def test_ome_of_several_files_of_which_one_is_missing(tmp_path: Path) -> None:
    paths = file_set(tmp_path, 2)
    paths[1].unlink()
    with pytest.raises(InputError, match=r"z1\.ome\.tif, which is missing") as caught:
        read(paths[0])
    assert f"{paths[0]}:/pages" in str(caught.value)
    assert read(f"{paths[0]}:/pages").shape == (2, *SHAPE[1:])


def test_ome_that_names_files_elsewhere(tmp_path: Path) -> None:
    for name in ("../z{}.tif", "/etc/{}", "..", "a\\{}.tif"):
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        paths = file_set(folder, 3)
        text = tifffile.tiffcomment(paths[0]).replace("z1.ome.tif", name.format(1))
        tifffile.tiffcomment(paths[0], text.encode())
        with pytest.raises(RefusedInputError, match="not a file"):
            read(paths[0])


def test_ome_that_lacks_planes_is_refused(tmp_path: Path) -> None:
    data = '<TiffData FirstZ="0" IFD="0" PlaneCount="3"/>'
    with pytest.raises(InputError, match="5 planes, and says of 2"):
        read(ome(tmp_path / "a.ome.tif", image_xml(data=data)))
    with pytest.raises(InputError, match="names? page 3 of a.ome.tif, which has 3"):
        read(
            ome(
                tmp_path / "a.ome.tif",
                image_xml(data='<TiffData IFD="0" PlaneCount="5"/>'),
                voxels=VOXELS[:3],
                compression="zlib",
            )
        )


@pytest.mark.parametrize(("planes", "times"), [(9_999_999, 1), (800, 13_000)])
def test_ome_that_names_more_planes_than_can_be_is_refused_at_once(
    tmp_path: Path, planes: int, times: int
) -> None:
    image = image_xml(data=f'<TiffData IFD="0" PlaneCount="{planes}"/>' * times)
    path = ome(tmp_path / "a.ome.tif", image.replace('SizeZ="5"', f'SizeZ="{planes}"'))
    with pytest.raises(InputError, match="planes; a.ome.tif has"):
        open_volume(path)


def test_ome_pages_in_any_order(tmp_path: Path) -> None:
    data = "".join(f'<TiffData FirstZ="{z}" IFD="{4 - z}"/>' for z in range(5))
    path = ome(tmp_path / "a.ome.tif", image_xml(data=data))
    np.testing.assert_array_equal(read(path), VOXELS[::-1])
    counted = "".join(f'<TiffData FirstZ="{z + 1}" IFD="{z}"/>' for z in range(5))
    path = ome(tmp_path / "b.ome.tif", image_xml(data=counted))
    np.testing.assert_array_equal(read(path), VOXELS)


def test_ome_that_was_renamed(tmp_path: Path) -> None:
    data = f'<TiffData PlaneCount="5"><UUID FileName="old.tif">{ID}</UUID></TiffData>'
    np.testing.assert_array_equal(
        read(ome(tmp_path / "new.ome.tif", image_xml(data=data))), VOXELS
    )


def test_ome_whose_metadata_are_in_another_file(tmp_path: Path) -> None:
    data = f'<TiffData PlaneCount="5"><UUID FileName="a.ome.tif">{ID}</UUID></TiffData>'
    image = image_xml(data=data)
    (tmp_path / "set.companion.ome").write_text(f"<OME {XMLNS}>{image}</OME>")
    only = '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:2"/>'
    path = ome(tmp_path / "a.ome.tif", only)
    np.testing.assert_array_equal(read(path), VOXELS)
    with open(tmp_path / "set.companion.ome", "r+b") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(RefusedInputError, match=r"set\.companion\.ome.*bytes"):
        read(path)
    (tmp_path / "set.companion.ome").unlink()
    with pytest.raises(InputError, match="set.companion.ome"):
        read(path)


def test_ome_pyramid(tmp_path: Path) -> None:
    options = {"photometric": "minisblack", "tile": (16, 16)}
    meta = {"axes": "ZYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeZ": 3}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(VOXELS, subifds=1, metadata=meta, **options)
        file.write(VOXELS[:, ::2, ::2], subfiletype=1, **options)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif"), VOXELS)
    with open_volume(tmp_path / "a.ome.tif", scale=1) as volume:
        np.testing.assert_array_equal(volume[...], VOXELS[:, ::2, ::2])
        assert volume.voxel_size == pytest.approx((3, 33 / 17, 47 / 24))


# ------------------------------------------------------------------- other dialects


def test_an_imagej_stack_with_one_list_of_tags(tmp_path: Path) -> None:
    """As ImageJ writes stacks beyond 4 GB: planes follow the first one."""
    text = b"ImageJ=1.53t\nimages=5\nslices=5\nunit=um\nspacing=2.0\n\0"
    text += b"\0" * (len(text) % 2)
    voxels = np.random.default_rng(2).integers(0, 255, (5, 64, 64), dtype=np.uint8)
    path = one_strip(tmp_path / "a.tif", voxels.tobytes(), 1, text)
    with open_volume(path) as volume:
        assert volume.voxel_size == (2, 1, 1)
        np.testing.assert_array_equal(volume[...], voxels)
    one_strip(path, voxels[:4].tobytes(), 1, text)
    with pytest.raises(InputError, match="5 planes after ImageJ's description, and 1 are there"):
        read(path)


def mmstack(path: Path, places: list[tuple[int, ...]], planes: list[np.ndarray]) -> None:
    """Write planes of 33 x 47 voxels as Micro-Manager does, at places (c, z, t, position)."""
    summary = json.dumps(
        {
            "MicroManagerVersion": "2.0",
            "Prefix": "run",
            "Channels": 1,
            "Slices": 5,
            "Frames": 1,
            "Positions": 1,
            "PixelSize_um": 0.25,
            "z-step_um": 2.0,
        }
    ).encode()
    start = 40 + len(summary)
    more = b'{"a": 1}'
    size = 162 + planes[0].nbytes + len(more)
    index = start + size * len(planes)
    content = struct.pack("<2sHI", b"II", 42, start)
    content += struct.pack("<8I", 54773648, index, 0, 0, 0, 0, 2355492, len(summary)) + summary
    for number, plane in enumerate(planes):
        at = start + number * size
        tags = [
            (256, 4, 1, plane.shape[1]),
            (257, 4, 1, plane.shape[0]),
            (258, 3, 1, 16),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, 1, at + 162),
            (277, 3, 1, 1),
            (278, 4, 1, plane.shape[0]),
            (279, 4, 1, plane.nbytes),
            (282, 4, 1, 1),
            (283, 4, 1, 1),
            (296, 3, 1, 1),
            (51123, 2, len(more), at + 162 + plane.nbytes),
        ]
        content += struct.pack("<H", len(tags))
        content += b"".join(struct.pack("<HHII", *tag) for tag in tags)
        content += struct.pack("<I", at + size if number + 1 < len(planes) else 0)
        content += plane.tobytes() + more
    content += struct.pack("<II", 3453623, len(planes))
    for number, place in enumerate(places):
        content += struct.pack("<5I", *place, start + number * size)
    path.write_bytes(content)


def test_micromanager(tmp_path: Path) -> None:
    places = [(0, z, 0, 0) for z in range(5)]
    first, second = tmp_path / "run_MMStack.tif", tmp_path / "run_MMStack_1.tif"
    mmstack(first, places[:3], list(VOXELS[:3]))
    mmstack(second, places[3:], list(VOXELS[3:]))
    for path in (first, second):
        with open_volume(path) as volume:
            assert "".join(volume.axes) == "zyx"
            assert volume.voxel_size == (2, 0.25, 0.25)
            assert volume.units == "micrometer"
            np.testing.assert_array_equal(volume[...], VOXELS)
    second.unlink()
    with pytest.warns(UserWarning, match="3 of the 5 planes"):
        np.testing.assert_array_equal(read(first), VOXELS[:3])
    mmstack(first, [places[0], places[4]], list(VOXELS[[0, 4]]))
    with pytest.raises(InputError, match="plane 1 of 5 is missing"):
        read(first)


# ------------------------------------------------------------------------ compression


@pytest.mark.parametrize(
    "compression",
    ["zlib", "lzw", "zstd", "lzma", "packbits", "jpegxl", "png", "jpeg2000", "lerc", "jpegxr"],
)
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_every_compression(tmp_path: Path, compression: str, tile: Any) -> None:
    voxels = VOXELS.astype(np.uint8)
    path = tmp_path / "a.tif"
    try:
        tifffile.imwrite(path, voxels, compression=compression, tile=tile)
    except (ImportError, ValueError) as err:
        pytest.skip(f"imagecodecs here has no {compression}: {err}")
    np.testing.assert_array_equal(read(path), tifffile.imread(path))
    np.testing.assert_array_equal(read(path)[2, 3:9], tifffile.imread(path)[2, 3:9])


def one_strip(path: Path, strip: bytes, compression: int, text: bytes = b"\0") -> Path:
    """Write a page of 64 x 64 voxels of one byte whose strip is as given."""
    size = 4096 if compression == 1 else len(strip)
    strip += text + b"\0" * ((len(strip) + len(text)) % 2)
    tags = [(256, 64), (257, 64), (258, 8), (259, compression), (262, 1)]
    tags += [(270, 8 + len(strip) - len(text))] if text != b"\0" else []
    tags += [(273, 8), (277, 1), (278, 64), (279, size)]
    entries = b"".join(
        struct.pack("<HHII", tag, *((2, len(text)) if tag == 270 else (4, 1)), value)
        for tag, value in tags
    )
    head = b"II*\0" + struct.pack("<I", 8 + len(strip))
    path.write_bytes(head + strip + struct.pack("<H", len(tags)) + entries + b"\0" * 4)
    return path


@pytest.mark.parametrize(
    ("name", "compression"),
    [("png", 34933), ("jpeg8", 7), ("jpeg2k", 34712), ("jpegxl", 50002), ("lerc", 34887)],
)
def test_an_image_that_is_larger_than_its_strip(
    tmp_path: Path, name: str, compression: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size in the header of what is decoded counts, before it is decoded."""
    encode = getattr(imagecodecs, f"{name}_encode")
    small, large = np.zeros((64, 64), np.uint8), np.zeros((6000, 6000), np.uint8)
    path = one_strip(tmp_path / "a.tif", encode(small), compression)
    assert read(path).shape == (64, 64)
    path = one_strip(tmp_path / "b.tif", encode(large), compression)
    with pytest.raises(RefusedInputError, match="4,096 pixels unpacks to 6000 x 6000"):
        read(path)
    path = one_strip(tmp_path / "c.tif", b"\0" * 64, compression)
    with pytest.raises(InputError, match="as it says"):
        read(path)


@pytest.mark.parametrize("compression", [8, 32946, 50013])
def test_a_strip_that_was_filled_up(tmp_path: Path, compression: int) -> None:
    """A strip may become more bytes than it has rows for; the rest is not unpacked."""
    voxels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    packed = zlib.compress(voxels.tobytes() + bytes(1 << 26), 9)
    tracemalloc.start()
    np.testing.assert_array_equal(read(one_strip(tmp_path / "a.tif", packed, compression)), voxels)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_a_tile_that_is_larger_than_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOXELS[0], compression="zlib", tile=(64, 64), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileWidth", "TileLength"):
            file.pages[0].tags[name].overwrite(2**16 - 16)
    with pytest.raises(InputError, match="GiB"):
        read(path)


# ------------------------------------------------------------------------ other things


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_named_pipes_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(InputError, match="not a file"):
        open_volume(tmp_path / "pipe.tif")
    with pytest.raises(InputError, match="not a file"):
        open_volume(tmp_path)
    paths = file_set(tmp_path, 3)
    paths[1].unlink()
    os.mkfifo(paths[1])
    with pytest.raises(InputError, match=r"z1\.ome\.tif"):
        read(paths[0])


def test_tifffile_logs_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = ome(tmp_path / "a.ome.tif", image_xml())
    logging.getLogger("tifffile").warning("odd")
    read(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("description", "taken"),
    [
        ("ImageJ=1.54f\nimages=6\nslices=6\n", 6),
        ("ImageJ=1.54f\nimages=10\nchannels=2\nslices=4\n", 8),
        ('{"shape": [10, 66, 47]}', 1),
    ],
)
def test_no_page_is_left_out_by_a_description(
    tmp_path: Path, description: str, taken: int, compression: str | None
) -> None:
    """Programs that crop or append pages keep the description of what was there before."""
    path, pages = tmp_path / "a.tif", np.concatenate([VOXELS, VOXELS[::-1]])
    with tifffile.TiffWriter(path) as file:
        for number, page in enumerate(pages):
            file.write(
                page,
                description=None if number else description,
                metadata=None,
                contiguous=False,
                photometric="minisblack",
                compression=compression,
            )
    with pytest.raises(InputError, match=f"10 pages, and its description is of {taken}"):
        open_volume(path)
    with open_volume(f"{path}:/pages") as volume:
        np.testing.assert_array_equal(volume[...], pages)
