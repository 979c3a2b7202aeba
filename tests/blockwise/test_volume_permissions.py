"""What a run over a volume is allowed reaches its worker processes, whatever their environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from funlib.geometry import Roi
from scipy import ndimage

from cytovox.blockwise import segment_blockwise
from cytovox.blockwise.array_run import run_array_work
from cytovox.blockwise.placement import Placement
from cytovox.blockwise.recipe_file import load_recipe
from cytovox.blockwise.renumber import unique_labels
from cytovox.blockwise.replay import replay_block
from cytovox.blockwise.threshold_worker import ThresholdWork
from cytovox.blockwise.verify_labels import verify_volume
from cytovox.blockwise.volumes import restitch_volume, segment_volume
from cytovox.read import Permissions, RefusedInputError, open_volume
from cytovox.read.permissions import ALLOW_VARIABLE, ROOTS_VARIABLE
from cytovox.report.volume_picture import draw_volume

MAY = Permissions(external=True)
IMAGE = np.zeros((6, 20, 24), "u1")
IMAGE[1:5, 3:9, 2:20] = IMAGE[2:4, 12:18, 5:9] = 200

FUNCTION = """
import os

import numpy as np
from scipy import ndimage


def segment(array, *, folder):
    assert not any(name in os.environ for name in ("CYTOVOX_ALLOW", "CYTOVOX_BASIN_ROOTS"))
    open(os.path.join(folder, str(os.getpid())), "w").close()
    return ndimage.label(array > 100)[0].astype(np.uint32)


def segment_function(input_array, block, folder):
    return segment(input_array, folder=folder)
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a volume with its voxels in another file, and an environment that allows nothing."""
    for name in (ALLOW_VARIABLE, ROOTS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "voxels.raw").write_bytes(IMAGE.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        kept = [(str(tmp_path / "voxels.raw"), 0, IMAGE.nbytes)]
        h5.create_dataset("raw", IMAGE.shape, IMAGE.dtype, external=kept)
    (tmp_path / "functions.py").write_text(FUNCTION)
    (tmp_path / "workers").mkdir()
    return f"{tmp_path / 'a.h5'}:/raw"


def workers_of(folder: Path) -> set[str]:
    return set(os.listdir(folder / "workers")) - {str(os.getpid())}


def test_segment_volume(outside: str, tmp_path: Path, same_partition: Any) -> None:
    out = tmp_path / "labels.zarr"
    words: dict[str, Any] = {
        "function": f"{tmp_path / 'functions.py'}:segment",
        "block": (6, 10, 12),
        "context": 0,
        "stitch": "touch",
        "workers": 1,
        "parameters": {"folder": str(tmp_path / "workers")},
    }
    with pytest.raises(RefusedInputError, match=r"voxels\.raw"):
        segment_volume(outside, out, **words)
    result = segment_volume(outside, out, **words, permissions=MAY)
    assert result, result.failed
    assert workers_of(tmp_path)
    with open_volume(out) as labels:
        assert same_partition(labels[...], ndimage.label(IMAGE > 100)[0])
    # no file hands permissions on
    assert load_recipe(out).view.permissions is None
    with pytest.raises(RefusedInputError, match=r"voxels\.raw"):
        replay_block(out, 0)
    assert replay_block(out, 0, permissions=MAY).count == 1
    assert not any(
        "voxels.raw" in f"{one}" for one in verify_volume(out, permissions=MAY).findings
    )
    assert any("voxels.raw" in f"{one}" for one in verify_volume(out).findings)
    assert restitch_volume(out, workers=0, permissions=MAY)
    view = load_recipe(out, permissions=MAY).view
    assert draw_volume(outside, out, tmp_path / "picture.png", view=view).is_file()


def test_a_recipe_cannot_allow(outside: str, tmp_path: Path) -> None:
    out = tmp_path / "labels.zarr"
    assert segment_volume(
        outside, out, "label", block=32, context=0, stitch="touch", workers=0, permissions=MAY,
        parameters={"threshold": 100},
    )  # fmt: skip
    path = tmp_path / "labels.zarr.cytovox" / "recipe.json"
    told = json.loads(path.read_text())
    assert "permissions" not in told["view"]
    told["view"]["permissions"] = {"external": True}
    path.write_text(json.dumps(told))
    assert load_recipe(out).view.permissions is None


def test_segment_blockwise(outside: str, tmp_path: Path, same_partition: Any) -> None:
    out = tmp_path / "labels.zarr"
    whole, block = Roi((0, 0, 0), IMAGE.shape), Roi((0, 0, 0), (6, 10, 12))
    words: dict[str, Any] = {
        "input": outside,
        "output": out,
        "num_workers": 1,
        "stitch": "touch",
        "parameters": {"folder": str(tmp_path / "workers")},
    }
    file = tmp_path / "functions.py"
    with pytest.raises(RefusedInputError, match=r"voxels\.raw"):
        segment_blockwise(file, None, whole, block, block, **words)
    result = segment_blockwise(file, None, whole, block, block, **words, permissions=MAY)
    assert result, result.failed
    assert workers_of(tmp_path)
    with open_volume(out) as labels:
        assert same_partition(labels[...], ndimage.label(IMAGE > 100)[0])
    # other permissions are no other run
    more = Permissions(external=True, oversized=True)
    again = segment_blockwise(file, None, whole, block, block, **words, permissions=more)
    assert again.skipped == result.total // 2


def test_arrays(outside: str, tmp_path: Path) -> None:
    out = tmp_path / "mask.zarr"
    words: dict[str, Any] = {"block": (6, 10, 12), "placement": Placement(workers=1)}
    with pytest.raises(RefusedInputError, match=r"voxels\.raw"):
        run_array_work(ThresholdWork, outside, out, threshold=100, **words)
    assert run_array_work(ThresholdWork, outside, out, threshold=100, permissions=MAY, **words)
    with open_volume(out) as mask:
        np.testing.assert_array_equal(mask[...], IMAGE > 100)
    assert unique_labels(outside, **words, permissions=MAY).tolist() == [200]
