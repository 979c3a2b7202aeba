"""A function of volumes, tried on two blocks: the labels are those of a run."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cytovox.app.body import Body
from cytovox.app.folder import Folder
from cytovox.app.volume_screen import Volumes, functions
from cytovox.blockwise.volumes import segment_volume
from cytovox.errors import OptionError, UsageError
from cytovox.read.open_volume import open_volume
from cytovox.testing.volume_simulator import BLOB_THRESHOLD, simulate_volume


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    simulate_volume(folder / "blobs.zarr", shape=(24, 48, 48), diameter=10, seed=2)
    return folder


def tried(place: Path, **more: Any) -> dict[str, Any]:
    asked = {"file": "blobs.zarr", "function": "label", "block": 24, "context": 0}
    asked["set.threshold"] = str(BLOB_THRESHOLD)
    return Volumes(Folder(place)).blocks(Body(asked | more))


def test_volumes_and_functions_are_offered_with_their_help(place: Path) -> None:
    found = Volumes(Folder(place)).begin(Body({}))
    assert "blobs.zarr" in found["volumes"]
    options = {one["name"]: one["options"] for one in functions()}
    assert {"label", "watershed"} <= set(options)
    assert [one["set"] for one in options["watershed"] if not one["help"]] == []


def test_labels_of_both_blocks_are_those_of_a_run(place: Path, tmp_path: Path) -> None:
    answer = tried(place)
    segment_volume(
        place / "blobs.zarr",
        tmp_path / "labels.zarr",
        "label",
        block=24,
        context=0,
        stitch="touch",
        parameters={"threshold": BLOB_THRESHOLD},
        workers=0,
    )
    with open_volume(tmp_path / "labels.zarr") as volume:
        labels = volume.read(tuple((0, n) for n in volume.shape))
    assert len(answer["blocks"]) == 2
    for one in answer["blocks"]:
        inside = labels[tuple(slice(a, b) for a, b in one["place"])]
        assert (inside > 0).any()
        assert one["here"] >= len(np.unique(inside[one["slice"]])) - 1
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(one["picture"]))))
        coloured = (picture != picture[..., :1]).any(axis=-1)
        assert coloured.any()
        assert (inside[one["slice"]][coloured] > 0).all(), "outlines lie on objects"
        assert sum(one["sizes"]["kept"]) == one["labels"]


def test_the_slice_and_the_command_are_those_that_are_asked_for(place: Path) -> None:
    first, last = tried(place, slice=0), tried(place, slice=1000)
    assert [one["slice"] for one in first["blocks"]] == [0, 0]
    assert [one["slice"] for one in last["blocks"]] == [23, 23]
    assert f"--set threshold={BLOB_THRESHOLD}" in first["command"]
    assert f"volume segment {place / 'blobs.zarr'} " in first["command"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"function": "evil.py:f"}, "no function 'evil.py:f'"),
        ({"set.treshold": "3"}, "did you mean 'threshold'"),
        ({"set.threshold": "x"}, "not a value"),
        ({"file": "../x.zarr"}, "outside"),
        ({"block": 1 << 20}, "from 8 to 256"),
    ],
)
def test_what_cannot_be_tried_is_said(place: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, OptionError), match=message):
        tried(place, **more)
