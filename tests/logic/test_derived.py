"""Recordings that were made from others, and refer to them."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from cytovox.read import HDF5Data, Permissions

pytestmark = pytest.mark.timeout(120)


def refer(path, name, paths, **more):
    """Add a file basin."""
    definition = {"name": name, "description": None, "type": "file", "format": "hdf5"}
    definition.update({"paths": [str(p) for p in paths], **more})
    with h5py.File(path, "a") as h5:
        identifier = h5.attrs["experiment:run identifier"]
        text = json.dumps({"identifier": identifier, **definition}, indent=2)
        h5.require_group("basins")[name] = np.array(text.split("\n"), "S")


@pytest.fixture
def derived(raw, tmp_path):
    """A recording that differs in everything from the one that it was made from."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "m001.rtdc"
    raw.rename(path.with_name("origin.rtdc"))
    with h5py.File(path.with_name("origin.rtdc"), "a") as origin, h5py.File(path, "w") as part:
        frames = len(origin["events/image"])
        origin["events/userdef0"] = np.arange(frames, dtype=np.float32)
        origin["events/temp"] = np.linspace(20, 25, frames)
        part.attrs.update(origin.attrs)
        part["events/image"] = origin["events/image"][:] // 2 + 40
        part["events/time"] = origin["events/time"][:] + 1000
        part["events/temp"] = origin["events/temp"][:] + 100
        part["events/frame"] = np.arange(5, frames + 5, dtype=np.int32)
        part["events/basinmap0"] = np.arange(frames)[::-1]
    return path


@pytest.mark.parametrize(
    ("mapping", "name", "background", "strategy"),
    [  # each pair of values
        (None, "Exported data", "sparsemed", "drain"),
        (None, "zzz", "copy", "tap"),
        ("basinmap0", "Exported data", "copy", "tap"),
        ("basinmap0", "zzz", "sparsemed", "tap"),
        ("basinmap0", "zzz", "copy", "drain"),
    ],
)
def test_own_features_win_over_those_of_the_origin(
    derived, run_job, strategy, background, name, mapping
):
    alone, out = derived.with_name("alone.rtdc"), derived.parent.parent / "out.rtdc"
    origin = derived.with_name("origin.rtdc")
    with h5py.File(derived) as h5, h5py.File(alone, "w") as copy, h5py.File(origin, "a") as other:
        copy.attrs.update(h5.attrs)
        h5.copy("events", copy)
        rows = slice(None) if mapping is None else h5["events/basinmap0"][:]
        copy["events/userdef0"] = other["events/userdef0"][:][rows]
        if background == "copy":
            images = other["events/image"][:]
            median = np.median(copy["events/image"][:40], axis=0).astype(np.uint8)
            other["events/image_bg"] = np.broadcast_to(median, images.shape)
            copy["events/image_bg"] = other["events/image_bg"][:]
    refer(derived, name, ["origin.rtdc"], features=None, mapping=mapping)
    # another file of that name beside the result is not meant
    out.with_name("origin.rtdc").write_bytes(alone.read_bytes())
    kwargs = {"basin_strategy": strategy, "background_code": background}
    run_job(alone, alone.with_name("expected.rtdc"), **kwargs)
    run_job(derived, out, **kwargs)
    may = Permissions(basin_roots=(derived.parent,))
    with (
        HDF5Data(alone.with_name("expected.rtdc")) as expected,
        HDF5Data(out, permissions=may) as data,
    ):
        assert len(data) > 100
        assert data["frame"].dtype == np.int32
        assert data["userdef0"].dtype == np.float32
        names, same = (
            {feat for feat in found.keys() if not feat.startswith("basinmap")}  # noqa: SIM118
            for found in (expected, data)
        )
        assert names == same
        for feat in names:
            np.testing.assert_array_equal(data[feat][:], expected[feat][:], err_msg=feat)
