"""What a run leaves: labels that viewers find, under their own name, for all who may read."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytovox.blockwise.array_run import run_array_work
from cytovox.blockwise.label_function import label
from cytovox.blockwise.placement import Placement
from cytovox.blockwise.threshold_worker import ThresholdWork
from cytovox.blockwise.volumes import restitch_volume, segment_volume
from cytovox.errors import OptionError
from cytovox.read.open_volume import open_volume
from cytovox.write.pyramid import write_pyramid
from cytovox.write.volume_creation import create_labels, create_volume

SHAPE = (8, 20, 24)


def image(path: Path, format: str) -> Path:
    voxels = np.random.default_rng(1).integers(0, 100, SHAPE).astype("u1")
    how: dict[str, Any] = {"voxel_size": (2, 0.5, 0.5), "units": "micrometer", "format": format}
    with create_volume(path, shape=SHAPE, dtype="u1", **how) as volume:
        volume.write(tuple((0, n) for n in SHAPE), voxels)
    write_pyramid(path, levels=2, method="mean")
    return path


def segment(raw: Path, output: Path, format: str, **more: Any) -> Any:
    how = {"block": 12, "context": 0, "stitch": "touch", "workers": 0, **more}
    return segment_volume(raw, output, label, format=format, parameters={"threshold": 50}, **how)


def attributes(folder: Path, format: str) -> dict[str, Any]:
    """What OME-Zarr says of a group."""
    if format == "ome-zarr-0.5":
        document = json.loads((folder / "zarr.json").read_text())
        assert (document["zarr_format"], document["node_type"]) == (3, "group")
        found: dict[str, Any] = document["attributes"]["ome"]
        assert found["version"] == "0.5"
        return found
    assert json.loads((folder / ".zgroup").read_text()) == {"zarr_format": 2}
    return dict(json.loads((folder / ".zattrs").read_text()))


@pytest.mark.parametrize("format", ["ome-zarr-0.5", "ome-zarr-0.4"])
def test_labels_inside_an_image_are_listed_there(tmp_path: Path, format: str) -> None:
    raw = image(tmp_path / "image.ome.zarr", format)
    for name in ("cells", "nuclei.zarr"):
        assert segment(raw, raw / "labels" / name, format)
    assert attributes(raw / "labels", format)["labels"] == ["cells", "nuclei.zarr"]
    for name, shown in (("cells", "cells"), ("nuclei.zarr", "nuclei")):
        said = attributes(raw / "labels" / name, format)
        assert said["image-label"]["source"] == {"image": "../../"}
        (multiscale,) = said["multiscales"]
        assert multiscale["name"] == shown
        assert len(multiscale["datasets"]) == 2  # as many as the image has
    # The labels are replaced, not listed twice, and the image is as it was.
    assert restitch_volume(raw / "labels" / "cells", gate="voxels > 1", workers=0)
    assert attributes(raw / "labels", format)["labels"] == ["cells", "nuclei.zarr"]
    assert attributes(raw / "labels" / "cells", format)["image-label"]["source"]
    with open_volume(raw) as volume:
        assert volume.voxel_size == (2, 0.5, 0.5)


def test_zarr_finds_the_labels_of_an_image(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    raw = image(tmp_path / "image.ome.zarr", "ome-zarr-0.5")
    done = segment(raw, raw / "labels" / "cells", "ome-zarr-0.5")
    group = zarr.open_group(raw, mode="r")["labels"]
    (name,) = group.attrs["ome"]["labels"]
    assert int(group[name]["0"][...].max()) == done.objects


@pytest.mark.parametrize("format", ["ome-zarr-0.5", "ome-zarr-0.4"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_groups_with_consolidated_metadata_show_new_labels(tmp_path: Path, format: str) -> None:
    zarr = pytest.importorskip("zarr")
    whole = zarr.open_group(
        tmp_path / "plate.zarr", mode="w", zarr_format=3 if format == "ome-zarr-0.5" else 2
    )
    raw = image(tmp_path / "plate.zarr" / "image.ome.zarr", format)
    old = np.ones(SHAPE, "u4")
    with create_labels(raw / "labels" / "old", shape=SHAPE, format=format) as volume:
        volume.write(tuple((0, n) for n in SHAPE), old)
    for folder in (raw / "labels", raw, Path(str(whole.store_path).removeprefix("file://"))):
        zarr.consolidate_metadata(folder)
    done = segment(raw, raw / "labels" / "cells", format)
    assert segment(raw, tmp_path / "plate.zarr" / "beside.zarr", format)
    for place, inside in (
        ("plate.zarr", "image.ome.zarr/labels/"),
        ("plate.zarr/image.ome.zarr", "labels/"),
        ("plate.zarr/image.ome.zarr/labels", ""),
    ):
        group = zarr.open_group(tmp_path / place, mode="r")
        found = group[inside.rstrip("/")] if inside else group
        attributes = dict(found.attrs)
        assert attributes.get("ome", attributes)["labels"] == ["old", "cells"]
        if inside:
            assert sorted(found.group_keys()) == ["cells", "old"]
        assert int(group[f"{inside}cells/0"][...].max()) == done.objects
        assert group[f"{inside}cells/1"].shape
        np.testing.assert_array_equal(group[f"{inside}old/0"][...], old)
    group = zarr.open_group(tmp_path / "plate.zarr", mode="r", use_consolidated=True)
    assert int(group["beside.zarr/0"][...].max()) == done.objects
    assert group["image.ome.zarr/1"].shape
    write_pyramid(raw / "labels" / "cells", levels=1)
    write_pyramid(raw, levels=3, method="mean")
    group = zarr.open_group(tmp_path / "plate.zarr", mode="r", use_consolidated=True)
    cells = group["image.ome.zarr/labels/cells"]
    assert sorted(cells.array_keys()) == ["0"]
    assert sorted(group["image.ome.zarr"].array_keys()) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("has", "wanted"), [("ome-zarr-0.4", "ome-zarr-0.5"), ("ome-zarr-0.5", "ome-zarr-0.4")]
)
def test_labels_of_another_version_are_refused_before_the_run(
    tmp_path: Path, has: str, wanted: str
) -> None:
    raw = image(tmp_path / "image.zarr", has)
    with pytest.raises(OptionError, match=f"must be {has}"):
        segment(raw, raw / "labels" / "cells", wanted)
    assert not (raw / "labels").exists()


@pytest.mark.parametrize("name", ["cells.zarr", "cells", "cells.ome.zarr", "cells.v2.zarr"])
def test_an_output_bears_its_own_name(tmp_path: Path, name: str) -> None:
    raw = image(tmp_path / "image.zarr", "ome-zarr-0.5")
    shown = name.removesuffix(".zarr").removesuffix(".ome")
    assert segment(raw, tmp_path / name, "ome-zarr-0.5")
    (multiscale,) = attributes(tmp_path / name, "ome-zarr-0.5")["multiscales"]
    assert multiscale["name"] == shown
    mask = tmp_path / f"mask-{name}"
    here = Placement(0)
    assert run_array_work(ThresholdWork, raw, mask, block=12, placement=here, threshold=5)
    (multiscale,) = attributes(mask, "ome-zarr-0.5")["multiscales"]
    assert multiscale["name"] == f"mask-{shown}"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_and_folders_have_the_mode_that_the_umask_says(
    tmp_path: Path, umask: int, mode: int
) -> None:
    raw = image(tmp_path / "image.zarr", "ome-zarr-0.5")
    bad = tmp_path / "bad.py"
    bad.write_text("def bad(array):\n    print('no')\n    raise ValueError('no')\n")
    before = os.umask(umask)
    try:
        # Processes, so that there are logs; they stay where a block fails.
        assert not segment_volume(
            raw, tmp_path / "bad.zarr", f"{bad}:bad", block=12, context=0, stitch="touch",
            workers=1,
        )  # fmt: skip
        assert segment(raw, tmp_path / "labels.zarr", "ome-zarr-0.5", objects=tmp_path / "o.csv")
    finally:
        os.umask(before)
    made = [p for name in ("labels.zarr", "labels.zarr.cytovox", "bad.zarr.cytovox", "o.csv")
            for p in (tmp_path / name, *(tmp_path / name).rglob("*"))]  # fmt: skip
    assert any(p.suffix == ".pack" for p in made)
    assert any(p.suffix == ".log" for p in made)
    for path in made:
        expected = mode | (mode & 0o444) >> 2 if path.is_dir() else mode
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
