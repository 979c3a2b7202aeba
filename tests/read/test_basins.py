from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.errors import BasinIdentifierMismatchError, BasinNotFoundError, InputError
from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data, Permissions, RefusedInputError
from cytovox.read.mapped import IndexMappingError
from cytovox.write import HDF5Writer, copy_basins


def add_basin(path: Path, key: str = "b", mapping=None, **definition) -> None:
    """Add a basin to a file; the mapping becomes the next map."""
    if isinstance(mapping, str):
        definition["mapping"] = mapping
        mapping = None
    with h5py.File(path, "a") as h5:
        if mapping is not None:
            name = f"basinmap{sum(k.startswith('basinmap') for k in h5.require_group('events'))}"
            h5[f"events/{name}"] = np.asarray(mapping)
            definition["mapping"] = name
        text = json.dumps({"name": key, "description": None, **definition}, indent=2)
        h5.require_group("basins")[key] = np.array(text.split("\n"), dtype="S")


def referring(tmp_path: Path, name: str = "small.rtdc", events: int = 4, **events_data) -> Path:
    path = tmp_path / name
    with h5py.File(path, "w") as h5:
        h5.attrs["experiment:event count"] = events
        h5.attrs["imaging:pixel size"] = 0.34
        h5.require_group("events")
        for feat, data in events_data.items():
            h5[f"events/{feat}"] = data
    return path


def file_basin(path: Path, target: Path | str, key: str = "b", **kwargs) -> None:
    """Refer to a file, with the identifier that it has."""
    paths = [os.fspath(target)]
    if Path(target).is_file():
        with h5py.File(target) as h5:
            identifier = h5.attrs.get("experiment:run identifier")
        if identifier:
            kwargs = {"identifier": identifier, **kwargs}
    add_basin(path, key, **{"type": "file", "format": "hdf5", "paths": paths, **kwargs})


def internal_basin(path: Path, mapping, key: str = "i", **data) -> None:
    with h5py.File(path, "a") as h5:
        for feat, values in data.items():
            h5[f"basin_events/{feat}"] = values
    add_basin(
        path,
        key,
        mapping,
        type="internal",
        format="h5dataset",
        paths=["basin_events"],
        features=sorted(data),
    )


BG = np.random.default_rng(5).integers(0, 256, (3, 8, 12), dtype=np.uint8)


def test_a_file_basin_serves_through_its_map(make_recording, tmp_path):
    source = make_recording()
    path = referring(tmp_path, deform=np.arange(4.0))
    mapping = [20, 3, 3, 0]
    file_basin(path, source, mapping=mapping, identifier="run of recording.rtdc")
    with HDF5Data(source) as whole, HDF5Data(path) as data:
        for feat in ("image", "image_bg", "mask", "time"):
            np.testing.assert_array_equal(data[feat][:], whole[feat][:][mapping])
        assert set(data.keys()) == {"basinmap0", "deform", "image", "image_bg", "mask", "time"}
        group, features, indices = data.get_basin_data(0)
        assert group.file.filename == str(source)
        assert "image" in features
        assert indices.tolist() == mapping
        data.check()
    with HDF5Data(source) as whole, HDF5Data(path, index_mapping=[3, 0]) as data:
        np.testing.assert_array_equal(data.image[:], whole.image[:][[0, 20]])
        assert data["deform"].tolist() == [3, 0]


def test_an_unmapped_basin_gets_the_readers_mapping(make_recording, tmp_path):
    source = make_recording()
    path = referring(tmp_path, events=23)
    file_basin(path, source)
    with HDF5Data(source) as whole, HDF5Data(path, index_mapping=slice(1, 9, 2)) as data:
        np.testing.assert_array_equal(data.image[:], whole.image[1:9:2])


@pytest.mark.parametrize("stored", [[0, 1, 1, 2], [[0, 1, 1, 2]]])
def test_an_internal_basin_serves_through_its_map(tmp_path, stored):
    path = referring(tmp_path)
    internal_basin(path, stored, image_bg=BG)
    with HDF5Data(path) as data:
        np.testing.assert_array_equal(data.image_bg[:], BG[[0, 1, 1, 2]])
    with HDF5Data(path, index_mapping=[3, 1]) as data:
        np.testing.assert_array_equal(data.image_bg[:], BG[[2, 1]])


def test_own_features_come_first_then_internal_then_files(make_recording, tmp_path):
    source = make_recording()
    path = referring(tmp_path, time=np.full(4, 7.0))
    file_basin(path, source, key="a", mapping=[0, 1, 2, 3])
    internal_basin(path, [0, 0, 1, 2], key="z", image_bg=BG, time=np.zeros(3))
    with HDF5Data(path) as data, HDF5Data(source) as whole:
        assert [b["type"] for b in data.basins] == ["internal", "file"]
        assert data["time"].tolist() == [7, 7, 7, 7]
        np.testing.assert_array_equal(data.image_bg[:], BG[[0, 0, 1, 2]])
        np.testing.assert_array_equal(data.image[:], whole.image[:4])


def test_a_basin_serves_what_it_has_in_its_own_internal_basin(make_recording, tmp_path):
    source = make_recording(image_bg=None)
    inner = np.arange(23) % 3
    internal_basin(source, inner, image_bg=BG)
    path = referring(tmp_path)
    mapping = [22, 4, 9, 4]
    file_basin(path, source, mapping=mapping, features=["image", "image_bg"])
    with HDF5Data(path) as data:
        np.testing.assert_array_equal(data.image_bg[:], BG[inner[mapping]])
        assert "time" not in data
    outer = referring(tmp_path, "outer.rtdc", events=2)
    file_basin(outer, path, mapping=[3, 0])
    with HDF5Data(outer, index_mapping=[1, 1, 0]) as data:
        np.testing.assert_array_equal(data.image_bg[:], BG[inner[[22, 22, 4]]])
        assert not any(feat.startswith("basinmap1") for feat in sorted(data.keys()))


def test_features_that_a_basin_only_promises_do_not_exist(make_recording, tmp_path):
    path = referring(tmp_path, events=23)
    file_basin(path, make_recording(image_bg=None), features=["image", "image_bg", "deform"])
    with HDF5Data(path) as data:
        assert set(data.keys()) == {"image"}
        assert data.image_bg is None


def test_relative_paths_start_at_the_referring_file(make_recording, tmp_path, monkeypatch):
    source = make_recording()
    (tmp_path / "sub").mkdir()
    path = referring(tmp_path / "sub", events=23)
    paths = ["C:\\nowhere\\x.rtdc", "\0", "../recording.rtdc"]
    file_basin(path, source, paths=paths)
    monkeypatch.chdir("/")
    permissions = Permissions(basin_roots=(tmp_path,))
    with HDF5Data(path, permissions=permissions) as data, HDF5Data(source) as whole:
        np.testing.assert_array_equal(data["time"], whole["time"])


def test_a_missing_file_is_named(tmp_path):
    path = referring(tmp_path)
    file_basin(path, "/nowhere/gone.rtdc", features=["image"], mapping=[0, 1, 2, 3])
    with HDF5Data(path) as data:
        assert data.image is None
        assert "image" not in data
        for error in (BasinNotFoundError, KeyError):
            with pytest.raises(error, match="gone.rtdc"):
                data["image"]
        with pytest.raises(BasinNotFoundError, match="gone.rtdc") as info:
            data.check()
        assert info.value.path == str(path)
        assert data.get_basin_data(0)[:2] == (None, [])


def test_another_measurement_is_refused(make_recording, tmp_path):
    path = referring(tmp_path, events=23)
    file_basin(path, make_recording(), identifier="another")
    with HDF5Data(path) as data:
        for _ in range(2):
            with pytest.raises(BasinIdentifierMismatchError, match="run of recording"):
                _ = data.image
        with pytest.raises(BasinIdentifierMismatchError):
            data["time"]
        with pytest.raises(BasinIdentifierMismatchError):
            data.check()
        assert data.keys() == []


def test_identifiers_made_of_undecoded_bytes_are_understood(make_recording, tmp_path):
    attrs = {
        "experiment:run identifier": "",
        "experiment:time": "16:11:38",
        "experiment:date": "2015-05-27",
        "setup:identifier": np.bytes_("ZMDD-AcC-a8548d-ce00be"),
    }
    source = make_recording(attrs=attrs)
    for number, identifier in enumerate(
        ["12b4490f-6c58-13b1-bddd-5d8e2332b60b", "b26306f4-f46e-bd6a-95a1-dba4de02a794"]
    ):
        path = referring(tmp_path, f"{number}.rtdc", events=23)
        file_basin(path, source, identifier=identifier)
        with HDF5Data(path) as data:
            assert "image" in data


def test_circles_end(make_recording, tmp_path):
    one, two = referring(tmp_path, "one.rtdc"), referring(tmp_path, "two.rtdc")
    file_basin(one, two)
    file_basin(two, one)
    file_basin(one, one, key="self")
    internal_basin(two, [0, 1, 2, 0], image_bg=BG)
    with HDF5Data(one) as data:
        assert "image_bg" in data
        assert data.image is None
        np.testing.assert_array_equal(data.image_bg[:], BG[[0, 1, 2, 0]])


def test_long_chains_end(tmp_path):
    paths = [referring(tmp_path, f"{i}.rtdc") for i in range(15)]
    for path, following in zip(paths, paths[1:], strict=False):
        file_basin(path, following)
    with h5py.File(paths[-1], "a") as h5:
        h5["events/deform"] = np.zeros(4)
    with HDF5Data(paths[0]) as data:
        assert "deform" not in data
    with HDF5Data(paths[-5]) as data:
        assert "deform" in data


def test_unusable_basins_are_left_out(tmp_path):
    path = referring(tmp_path)
    add_basin(path, "remote", type="remote", format="dcor", paths=["https://example.com"])
    add_basin(path, "nomap", type="internal", paths=["basin_events"])
    with h5py.File(path, "a") as h5:
        text = h5["basins/nomap"][0].decode() + '"mapping": "basinmap7", "type": "internal"}'
        del h5["basins/nomap"]
        h5["basins/nomap"] = np.array([text], dtype="S")
    with HDF5Data(path) as data:
        assert data.basins == []
        assert len(data.extract_basin_dicts(data.h5, check=False)) == 2


def test_a_broken_definition_is_reported(tmp_path):
    path = referring(tmp_path)
    with h5py.File(path, "a") as h5:
        h5["basins/x"] = np.array(["{", "oops"], dtype="S")
    with HDF5Data(path) as data, pytest.raises(InputError, match="basin 'x' is not valid JSON"):
        data.keys()


@pytest.mark.parametrize("empty", [None, {}, [], 0, False, ""])
def test_what_is_empty_in_a_definition_is_absent(make_recording, tmp_path, empty):
    path = referring(tmp_path, events=23)
    source = make_recording()
    basin = {"name": "x", "type": "file", "format": "hdf5", "paths": [str(source)]}
    text = json.dumps({**basin, "mapping": empty, "identifier": empty})
    with h5py.File(path, "a") as h5:
        h5["basins/x"] = np.array([text], dtype="S")
    with HDF5Data(path) as data:
        assert [one["mapping"] for one in data.extract_basin_dicts(data.h5)] == [None]
        assert len(data.image) == 23


def test_a_map_beyond_the_basin_is_found_by_the_check(make_recording, tmp_path):
    path = referring(tmp_path)
    file_basin(path, make_recording(), mapping=[0, 1, 2, 23])
    with HDF5Data(path) as data, pytest.raises(IndexMappingError, match="23"):
        data.check()
    path = referring(tmp_path, "internal.rtdc")
    internal_basin(path, [0, 1, 2, 3], image_bg=BG)
    with HDF5Data(path) as data, pytest.raises(IndexMappingError, match="row 3, but .* 3 rows"):
        data.check(need_images=False)


def test_files_are_closed_with_the_reader(make_recording, tmp_path):
    path = referring(tmp_path, events=23)
    source = make_recording()
    file_basin(path, source)
    with HDF5Data(path) as data:
        _ = data.image[0]
    source.rename(tmp_path / "moved.rtdc")
    with h5py.File(tmp_path / "moved.rtdc", "a"):
        pass


@pytest.mark.peer
@pytest.mark.parametrize("mapping", [None, 3, [0, 2, 3]])
def test_basins_equal_the_peers(shared_data, tmp_path, mapping):
    peer = pytest.importorskip("dcnum.read")
    source = shared_data / "recordings" / "cytoshot_2024.rtdc"
    path = referring(tmp_path, deform=np.arange(4.0))
    file_basin(path, source, mapping=[0, 3, 3, 12], key="f")
    internal_basin(path, [0, 1, 1, 2], key="i", temp=np.array([3.0, 4.0, 5.0]))
    kwargs = {"index_mapping": mapping}
    permissions = Permissions(basin_roots=(shared_data,))
    with (
        HDF5Data(path, **kwargs, permissions=permissions) as ours,
        peer.HDF5Data(path, **kwargs) as theirs,
    ):
        assert ours.basins == theirs.basins
        assert sorted(ours.keys()) == sorted(theirs.keys())
        for feat in sorted(theirs.keys()):
            np.testing.assert_array_equal(ours[feat][:], theirs[feat][:])
        for index in range(2):
            mine, other = ours.get_basin_data(index), theirs.get_basin_data(index)
            assert mine[0] == other[0] or mine[0].file.filename == other[0].file.filename
            assert sorted(mine[1]) == sorted(other[1])
            np.testing.assert_array_equal(mine[2], other[2])


@pytest.mark.parametrize("names", [("a", "z"), ("z", "a")])
@pytest.mark.parametrize("listed", [None, ["image", "time"]])
def test_a_derived_file_wins_over_its_origin(make_recording, tmp_path, names, listed):
    """A third file refers to both, in either order of their names."""
    attrs = {"experiment:run identifier": "one"}
    origin = make_recording("origin.rtdc", attrs=attrs, temp=np.arange(23.0))
    derived = make_recording("derived.rtdc", attrs=attrs, image=None, image_bg=None)
    with h5py.File(derived, "a") as h5:
        del h5["events/time"]
        h5["events/time"] = np.arange(23.0) + 100
    file_basin(derived, "origin.rtdc", identifier="one")
    path = referring(tmp_path, events=23)
    file_basin(path, origin, names[0], features=listed)
    file_basin(path, "derived.rtdc", names[1], identifier="one", features=listed)
    with HDF5Data(path) as data, HDF5Data(origin) as whole:
        assert data["time"].tolist() == list(np.arange(23.0) + 100)
        np.testing.assert_array_equal(data.image[:], whole.image[:])
        assert ("temp" in data) == (listed is None)
        assert [b["name"] for b in data.basins] == [names[1], names[0]]
        assert data.get_basin_data(0)[0].file.filename == str(derived)


def test_files_that_refer_to_each_other_are_in_the_order_of_their_names(make_recording, tmp_path):
    attrs = {"experiment:run identifier": "one"}
    for number, name in enumerate(("a.rtdc", "b.rtdc")):
        make_recording(name, attrs=attrs, temp=np.full(23, number))
        file_basin(tmp_path / name, "ab"[1 - number] + ".rtdc", identifier="one")
    path = referring(tmp_path, events=23)
    for name in ("b", "a"):
        file_basin(path, f"{name}.rtdc", name, identifier="one")
    with HDF5Data(path) as data:
        assert data["temp"].tolist() == [0] * 23


WINDOWS = {
    "sub\\source.rtdc": "sub/source.rtdc",
    ".\\sub\\deeper\\source.rtdc": "sub/deeper/source.rtdc",
    "C:\\data\\day 1\\source.rtdc": "source.rtdc",
    "C:/data/source.rtdc": "source.rtdc",
    "\\\\server\\share\\source.rtdc": "source.rtdc",
    "/gone/source.rtdc": "source.rtdc",
}


@pytest.mark.parametrize("stored", WINDOWS)
@pytest.mark.parametrize("mapping", ["same", "", None])
def test_paths_of_windows_and_files_beside_are_found(make_recording, tmp_path, stored, mapping):
    source = make_recording()
    target = tmp_path / WINDOWS[stored]
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    path = referring(tmp_path, events=23)
    basin = {"paths": [stored], "identifier": "run of recording.rtdc", "mapping": mapping}
    add_basin(path, type="file", format="hdf5", features=None, **basin)
    with HDF5Data(path) as data, HDF5Data(target) as whole:
        np.testing.assert_array_equal(data.image[:], whole.image[:])
        data.check()
    moved = tmp_path / "elsewhere" / "copy.rtdc"
    moved.parent.mkdir()
    with h5py.File(path) as src, h5py.File(moved, "w") as dst:
        dst.attrs.update(src.attrs)
        copy_basins(src, dst)
    with HDF5Data(moved, permissions=Permissions(basin_roots=(tmp_path,))) as data:
        assert len(data.image) == 23


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need privileges there")
@pytest.mark.parametrize("stored", ["source.rtdc", "sub/source.rtdc", "C:\\gone\\source.rtdc"])
def test_basins_are_found_beside_the_file_that_a_link_leads_to(make_recording, tmp_path, stored):
    """Workflow engines link inputs into a folder of their own."""
    source = make_recording()
    folder = tmp_path / "real"
    target = folder / (stored if "\\" not in stored else "source.rtdc")
    target.parent.mkdir(parents=True)
    source.rename(target)
    path = folder / referring(tmp_path, events=23).rename(folder / "derived.rtdc").name
    basin = {"paths": [stored], "identifier": "run of recording.rtdc"}
    add_basin(path, type="file", format="hdf5", features=None, **basin)
    link = tmp_path / "work" / "input.rtdc"
    link.parent.mkdir()
    link.symlink_to(path)
    with HDF5Data(link) as data, HDF5Data(target) as whole:
        np.testing.assert_array_equal(data.image[:], whole.image[:])
        data.check()
    copy = link.with_name("copy.rtdc")
    with h5py.File(link) as src, h5py.File(copy, "w") as dst:
        dst.attrs.update(src.attrs)
        copy_basins(src, dst)
    with HDF5Data(copy, permissions=Permissions(basin_roots=(folder,))) as data:
        assert len(data.image) == 23
    assert verify_recording(link).warnings == verify_recording(path).warnings


def test_a_file_is_not_taken_for_its_own_origin(make_recording):
    path = make_recording("m001.rtdc", image=None)
    add_basin(path, type="file", format="hdf5", paths=["C:\\data\\m001.rtdc"])
    with HDF5Data(path) as data, pytest.raises(BasinNotFoundError, match="C:.data.m001.rtdc"):
        data["image"]


@pytest.mark.parametrize(
    ("own", "mapping", "followed"),
    [
        ("run", None, True),
        ("run_dclab-123", [0, 1], True),
        ("run_dclab-123", None, False),
        ("run2", [0, 1], False),
        ("", [0, 1], True),
    ],
)
def test_a_basin_without_identifier_is_followed_in_files_of_its_measurement(
    make_recording, tmp_path, own, mapping, followed
):
    source = make_recording(attrs={"experiment:run identifier": "run"})
    path = referring(tmp_path, events=2 if mapping else 23)
    with h5py.File(path, "a") as h5:
        h5.attrs["experiment:run identifier"] = own
    file_basin(path, source, mapping=mapping, identifier=None)
    with HDF5Data(path) as data:
        if followed:
            assert len(data.image) == len(data)
        else:
            with pytest.raises(RefusedInputError, match="no identifier"):
                _ = data.image


def apart(tmp_path, make_recording):
    """Return a recording, and a part of it in another folder."""
    (tmp_path / "here").mkdir()
    part = make_recording("part.rtdc").rename(tmp_path / "here" / "part.rtdc")
    return make_recording("origin.rtdc", temp=np.arange(23.0)), part


@pytest.mark.parametrize("kind", ["outside", "mistaken", "damaged", "missing"])
def test_basins_of_which_nothing_is_needed_do_not_matter(make_recording, tmp_path, kind):
    source, path = apart(tmp_path, make_recording)
    if kind != "outside":
        source = source.rename(path.with_name("origin.rtdc"))
    file_basin(path, source, **({"identifier": "x"} if kind == "mistaken" else {}))
    if kind == "damaged":
        source.write_bytes(b"nothing")
    if kind == "missing":
        source.unlink()
    with HDF5Data(path) as data:
        data.check()
        assert "temp" not in data
        assert data.image[0].shape == (8, 12)
        (message,) = data.unread()
        assert "origin.rtdc" in message
        with pytest.raises(InputError, match="origin.rtdc"):
            data["temp"]


def test_a_basin_that_lists_nothing_else_is_not_mentioned(make_recording, tmp_path):
    source, path = apart(tmp_path, make_recording)
    file_basin(path, source, features=["image", "time", "deform"])
    with HDF5Data(path) as data:
        assert data.unread() == []


@pytest.mark.parametrize("rows", [20, 30])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_basin_with_another_number_of_rows_is_refused(make_recording, tmp_path, rows, mapped):
    source = make_recording(
        frames=40 if mapped else rows, temp=np.arange(40.0 if mapped else rows)
    )
    path = referring(tmp_path, events=23)
    file_basin(path, source, mapping=np.arange(rows) if mapped else None)
    with HDF5Data(path) as data:
        for read in (data.check, lambda: data["temp"], lambda: data.image):
            with pytest.raises(InputError, match=f"{rows} rows where there are 23 events"):
                read()


@pytest.mark.parametrize(
    "basin",
    [
        {"type": "remote", "format": "http", "urls": ["https://x.example/a"], "perishable": True},
        {"type": "remote", "format": "s3", "urls": ["s3://b/a"], "features": ["image", "temp"]},
        {"type": "remote", "format": "dcor", "urls": ["https://d.example/1"], "mapping": "same"},
        {"type": "file", "format": "tdms", "paths": ["a.tdms"]},
        {"type": "internal", "format": "h5datasetchop", "paths": ["basin_events"],
         "features": ["image", "temp"]},
        {"type": "telepathy"},
    ],
)  # fmt: skip
def test_basins_of_other_kinds_are_left_out(make_recording, basin):
    path = make_recording("part.rtdc")
    add_basin(path, **basin)
    with h5py.File(path, "a") as h5:
        h5["basin_events/image/0"] = np.zeros((2, 3, 4), np.uint8)
    with HDF5Data(path) as data:
        data.check()
        assert data.basins == []
        with pytest.raises(InputError, match=r"network.*example|s3://b/a|are not read"):
            data["temp"]
    path = make_recording("part.rtdc", image=None)
    add_basin(path, **basin)
    with HDF5Data(path) as data, pytest.raises(InputError, match="network|are not read"):
        data.check()


def test_a_file_that_names_no_measurement_follows_the_files_beside_it(make_recording):
    origin = make_recording("origin.rtdc", deform=np.arange(23.0))
    other = origin.with_name("other.rtdc")
    with HDF5Writer(other, mode="w") as writer:
        writer.store_basin(name="origin", paths=["origin.rtdc"])
    with HDF5Data(other) as data:
        assert data["deform"].tolist() == list(range(23))
        group, names, _ = data.get_basin_data(0)
        assert "deform" in group
        assert "deform" in names


def test_the_data_of_a_basin_are_its_own(make_recording, tmp_path):
    """What the file of a basin refers to itself can be had, but not there."""
    attrs = {"experiment:run identifier": "one"}
    make_recording("origin.rtdc", attrs=attrs, deform=np.arange(23.0))
    between = make_recording("between.rtdc", attrs=attrs, image=None, image_bg=None)
    file_basin(between, "origin.rtdc")
    path = referring(tmp_path, events=23)
    file_basin(path, "between.rtdc")
    with HDF5Data(path) as data:
        assert data["deform"].tolist() == list(range(23))
        group, names, _ = data.get_basin_data(0)
        assert "time" in names
        assert "deform" not in names
        assert set(names) <= set(group)


def test_a_file_that_refers_to_itself(make_recording):
    path = make_recording("own.rtdc", deform=np.arange(23.0))
    with HDF5Writer(path) as writer:
        writer.store_basin(name="own", paths=[path])
    with HDF5Data(path) as data:
        group, names, _ = data.get_basin_data(0)
        assert "deform" in group
        assert "image" in names
        assert data["deform"].tolist() == list(range(23))
