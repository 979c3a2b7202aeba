from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox import __version__
from cytovox.read import HDF5Data, Permissions
from cytovox.write import (
    CreatingFileWithoutBasinWarning,
    HDF5Writer,
    IgnoringBasinTypeWarning,
    copy_basins,
    create_with_basins,
)


@pytest.fixture
def recording(shared_data, monkeypatch) -> Path:
    # basins outside of the folder of a file are only followed where that is allowed
    monkeypatch.setenv("CYTOVOX_BASIN_ROOTS", str(shared_data))
    return shared_data / "recordings" / "cytoshot_2024.rtdc"


def definitions(path: Path) -> list[dict]:
    with h5py.File(path) as h5:
        return HDF5Data.extract_basin_dicts(h5, check=False)


def test_a_file_of_basins_reads_like_the_recording(recording, tmp_path):
    path = tmp_path / "basins.rtdc"
    create_with_basins(path, [recording])
    with HDF5Data(recording) as whole, HDF5Data(path) as data:
        assert sorted(data.keys()) == sorted(whole.keys())
        assert data.meta == whole.meta
        assert data.logs == whole.logs
        np.testing.assert_array_equal(data.image[:], whole.image[:])
        data.check()
    (definition,) = definitions(path)
    assert list(definition) == [
        "description",
        "name",
        "format",
        "paths",
        "type",
        "identifier",
        "features",
    ]
    assert definition["description"] == f"Created with cytovox {__version__}"
    assert definition["paths"] == [str(recording)]


def test_an_internal_basin_of_the_recording_is_offered(recording, tmp_path):
    """A measured file can be measured again with its own background."""
    source = tmp_path / "measured.rtdc"
    rows = np.arange(13) % 2
    with h5py.File(recording) as h5, HDF5Writer(source) as writer:
        writer.h5.attrs.update(h5.attrs)
        writer.store_feature_chunk("image", h5["events/image"][:])
        images = h5["events/image_bg"][:2]
        writer.store_basin("bg", internal_data={"image_bg": images}, mapping=rows)
    create_with_basins(tmp_path / "input.rtdc", [source])
    with HDF5Data(tmp_path / "input.rtdc") as data:
        assert not any(
            feat.startswith("basinmap") for feat in definitions(data.path)[0]["features"]
        )
        np.testing.assert_array_equal(data.image_bg[:], images[rows])
        data.check()


def test_relative_paths(recording, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "out").mkdir()
    for place in ("here/a.rtdc", "out/b.rtdc"):
        (tmp_path / place).write_bytes(recording.read_bytes())
    monkeypatch.chdir(tmp_path / "here")
    create_with_basins("../out/basins.rtdc", [["gone.rtdc", "a.rtdc"], "b.rtdc"])
    path = tmp_path / "out" / "basins.rtdc"
    stored = {tuple(d["paths"]) for d in definitions(path)}
    assert stored == {("gone.rtdc", str(tmp_path / "here" / "a.rtdc")), ("b.rtdc",)}
    monkeypatch.chdir("/")
    with HDF5Data(path) as data:
        assert len(data.image) == 13


def test_files_that_do_not_exist(tmp_path):
    path = tmp_path / "basins.rtdc"
    with pytest.warns(CreatingFileWithoutBasinWarning, match="without any basins"):
        create_with_basins(path, [])
    assert definitions(path) == []
    create_with_basins(path, ["nowhere.rtdc"])
    (definition,) = definitions(path)
    assert definition["identifier"] is None
    assert "features" not in definition


def test_file_basins_are_passed_on(recording, tmp_path):
    create_with_basins(tmp_path / "one.rtdc", [recording])
    create_with_basins(tmp_path / "two.rtdc", [tmp_path / "one.rtdc"])
    assert {d["name"] for d in definitions(tmp_path / "two.rtdc")} == {"one.rtdc", recording.name}
    with HDF5Data(tmp_path / "two.rtdc") as data:
        assert len(data.image) == 13


def test_basins_are_copied_with_maps_and_data(recording, tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    with HDF5Writer(tmp_path / "a.rtdc") as writer:
        writer.store_basin("f", paths=[recording], features=["time"], mapping=np.array([7, 3]))
        writer.store_basin("z", paths=[recording])
        writer.store_basin("i", internal_data={"image_bg": images}, mapping=np.array([1, 0]))
        remote = json.dumps({"name": "r", "type": "remote", "format": "dcor", "paths": []})
        writer.h5["basins/remote"] = np.array(remote.split("\n"), "S")
        with HDF5Writer(tmp_path / "b.rtdc") as target, HDF5Writer(tmp_path / "c.rtdc") as without:
            # another map of the output takes the first name
            target.store_mapping(np.array([5, 5]))
            for dst, internal in ((target, True), (without, False)):
                with pytest.warns(IgnoringBasinTypeWarning, match="remote"):
                    copy_basins(writer.h5, dst.h5, internal)
            target.h5.attrs["experiment:event count"] = 2
            assert "basin_events" not in without.h5
    assert len(definitions(tmp_path / "c.rtdc")) == 2
    may = Permissions(unidentified=True, basin_roots=(recording.parent,))
    with HDF5Data(tmp_path / "b.rtdc", permissions=may) as data, HDF5Data(recording) as whole:
        np.testing.assert_array_equal(data.image_bg[:], images[[1, 0]])
        np.testing.assert_array_equal(data["time"], whole["time"][[7, 3]])


def test_relative_basins_survive_a_move(recording, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.rtdc").write_bytes(recording.read_bytes())
    create_with_basins(tmp_path / "one.rtdc", [["a.rtdc"]])
    with h5py.File(tmp_path / "one.rtdc") as src:
        for place in ("two.rtdc", os.path.join("sub", "two.rtdc")):
            with HDF5Writer(tmp_path / place) as writer:
                copy_basins(src, writer.h5)
    assert definitions(tmp_path / "two.rtdc")[0]["paths"] == ["a.rtdc"]
    assert definitions(tmp_path / "sub" / "two.rtdc")[0]["paths"] == [
        str((tmp_path / "a.rtdc").resolve()),
        "a.rtdc",
    ]


@pytest.mark.peer
def test_the_peer_reads_and_makes_the_same(recording, tmp_path):
    write = pytest.importorskip("dcnum.write")
    read = pytest.importorskip("dcnum.read")
    create_with_basins(tmp_path / "ours.rtdc", [[recording, "x.rtdc"]])
    write.create_with_basins(tmp_path / "theirs.rtdc", [[recording, "x.rtdc"]])
    ours, theirs = definitions(tmp_path / "ours.rtdc"), definitions(tmp_path / "theirs.rtdc")
    for definition in (*ours, *theirs):
        definition.pop("description")
    assert ours == theirs
    with read.HDF5Data(tmp_path / "ours.rtdc") as data, HDF5Data(tmp_path / "theirs.rtdc") as mine:
        assert sorted(data.keys()) == sorted(mine.keys())
        np.testing.assert_array_equal(data.image[:], mine.image[:])
