"""The comparison itself: equal files are equal, and every change is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from parity_harness.compare import compare, deviations

ZSTD = dict(hdf5plugin.Zstd(clevel=5))


def write_file(path: Path, program: str = "cytovox") -> Path:
    path.parent.mkdir(exist_ok=True)
    record = {f"{program} version": 1, "pipeline": {"hash": "ab"}, "tasks": {}}
    with h5py.File(path, "w") as h5:
        h5.attrs["experiment:event count"] = 3
        h5.attrs["setup:medium"] = "CellCarrierB"
        for name, values in {
            "deform": np.array([0.1, np.nan, 0.3]),
            "volume": np.array([100.0, 200.0, 300.0]),
            "tex_f13_ptp": np.array([1e-9, 0.5, 0.2]),
            "basinmap0": np.array([0, 0, 2], dtype=np.uint32),
            "mask": np.zeros((3, 4, 5), dtype=np.uint8),
        }.items():
            h5.create_dataset(f"events/{name}", data=values, chunks=True, fletcher32=True, **ZSTD)
        write_basin(h5, program, ["image", "frame"], str(path.parent.parent / "in.rtdc"))
        log = h5.create_dataset("logs/camera", data=np.array([b"one", b"two"]))
        log.attrs["software"] = f"{program} 1"
        h5[f"logs/{program}-log-2026-01-02-03.04.05"] = np.array([b"at work"])
        h5[f"logs/{program}-job-2026-01-02-03.04.05"] = np.bytes_(
            json.dumps(record, indent=2).splitlines()
        )
        h5["tables/monitor"] = np.zeros(4, dtype=[("a", "f8"), ("b", "i4")])
    return path


def write_basin(h5: h5py.File, program: str, features: list[str], path: str) -> None:
    basin = {
        "description": f"Created with {program} 1",
        "name": f"{program} basin",
        "format": "hdf5",
        "paths": [path, "../in.rtdc"],
        "type": "file",
        "identifier": "abc",
        "features": features,
        "mapping": "basinmap0",
    }
    text = json.dumps(basin, indent=2)
    key = hashlib.md5(text.encode()).hexdigest()
    h5[f"basins/{key}"] = np.bytes_(text.splitlines())


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_file(tmp_path / "a" / "x.rtdc"), write_file(tmp_path / "b" / "y.rtdc", "dcnum")


def test_programs_may_name_themselves_and_group_basins(pair: tuple[Path, Path]) -> None:
    ours, theirs = pair
    with h5py.File(theirs, "a") as h5:
        del h5["basins"]
        write_basin(h5, "dcnum", ["frame"], str(theirs.parent.parent / "in.rtdc"))
        write_basin(h5, "dcnum", ["image"], str(theirs.parent.parent / "in.rtdc"))
    assert compare(ours, theirs) == []


def _set(name: str, index: object, value: object) -> Callable[[h5py.File], None]:
    return lambda h5: h5[name].__setitem__(index, value)


def _attr(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda h5: h5.attrs.__setitem__(name, value)


def _replace(name: str, **how: object) -> Callable[[h5py.File], None]:
    def change(h5: h5py.File) -> None:
        values = h5[name][:]
        del h5[name]
        h5.create_dataset(name, **{"data": values, **how})

    return change


def _rebasin(features: list[str], path: str) -> Callable[[h5py.File], None]:
    def change(h5: h5py.File) -> None:
        del h5["basins"]
        write_basin(h5, "cytovox", features, path)

    return change


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (_set("events/deform", 0, np.nextafter(0.1, 1)), "events/deform"),
        (_set("events/deform", 1, 0.0), "events/deform"),
        (_set("events/volume", 0, 100.0 * (1 + 1e-14)), "events/volume"),
        (_set("events/tex_f13_ptp", 0, 3e-7), "events/tex_f13_ptp"),
        (_set("events/mask", (2, 3, 4), 255), "events/mask"),
        (_set("events/basinmap0", 1, 1), "events/basinmap0"),
        (_set("tables/monitor", "b", [0, 0, 0, 1]), "tables/monitor"),
        (_set("logs/camera", 1, b"tow"), "logs/camera"),
        (_attr("setup:medium", "water"), "@setup:medium"),
        (_attr("experiment:event count", np.int32(3)), "@experiment:event count"),
        (_attr("more", 1), "@more"),
        (_replace("events/deform", chunks=True, fletcher32=True), "events/deform filters"),
        (_replace("events/deform", chunks=(2,), fletcher32=True, **ZSTD), "events/deform chunks"),
        (
            _replace("events/mask", data=np.zeros((3, 4, 5), bool), chunks=(3, 4, 5)),
            "events/mask dtype",
        ),
        (lambda h5: h5["events"].__delitem__("volume"), "events/volume"),
        (lambda h5: h5.__delitem__("logs/camera"), "logs"),
        (lambda h5: h5.create_dataset("basin_events/image_bg", data=[1]), "/basin_events"),
        (_rebasin(["image"], "in.rtdc"), "basins frame"),
        (_rebasin(["image", "frame"], "/elsewhere/in.rtdc"), "basins frame"),
        (lambda h5: h5["basins"].move(next(iter(h5["basins"])), "a" * 32), "basins/aaa"),
    ],
)
def test_every_change_is_seen(
    pair: tuple[Path, Path], change: Callable[[h5py.File], None], where: str
) -> None:
    ours, theirs = pair
    with h5py.File(ours, "a") as h5:
        change(h5)
    found = compare(ours, theirs)
    assert any(line.startswith(where) for line in found), found


def test_small_deviations_pass_and_are_told(pair: tuple[Path, Path]) -> None:
    ours, theirs = pair
    with h5py.File(ours, "a") as h5:
        h5["events/volume"][0] = 100.0 * (1 + 2e-15)
        h5["events/tex_f13_ptp"][0] = 5e-8
    assert compare(ours, theirs) == []
    found = deviations(ours, theirs)
    assert found["volume"] == pytest.approx(2e-13, rel=0.1)
    assert found["deform"] == 0
