"""What the page shows equals what a run stores."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.logic.automatic import settle_automatic
from cytovox.read import HDF5Data
from cytovox.recipe.recording_recipe import RecordingRecipe

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return the objects by fate and the path of a run with a threshold."""

    def measure(thresh: float) -> Any:
        with HDF5Data(folder / "raw.rtdc") as data:
            settled = settle_automatic(data, RecordingRecipe().automatic).options
        job = DCNumPipelineJob(
            folder / "raw.rtdc",
            tmp_path_factory.mktemp("run") / "out.rtdc",
            data_kwargs=settled["data"],
            background_kwargs=settled["background"],
            segmenter_kwargs={"thresh": thresh},
            num_procs=1,
        )
        with DCNumJobRunner(job) as runner:
            runner.run()
        return runner.objects, job["path_out"]

    return measure


def settings(**options: str) -> dict[str, Any]:
    return {"options": {name.replace("__", "."): value for name, value in options.items()}}


def test_counts_are_those_of_a_run(ask: Ask, measured: Any) -> None:
    chosen = settings(segmenter__thresh="-4", gate__size_thresh_mask="400")
    answer = ask("tune/fates", file="raw.rtdc", settings=settings(segmenter__thresh="-4"))
    objects, _ = measured(-4)
    assert answer["frames"] == list(range(60))
    assert (answer["found"], answer["kept"]) == (objects["found"], objects["kept"])
    assert answer["lost"] == objects["lost"]
    fates = [one["fate"] for one in answer["objects"]]
    assert fates.count("kept") == objects["kept"]
    assert len(fates) + answer["hidden"] == objects["found"]
    assert ask("tune/fates", file="raw.rtdc", settings=chosen)["kept"] < answer["kept"]


def test_values_of_a_frame_are_those_of_the_result(ask: Ask, measured: Any, folder: Path) -> None:
    _, path = measured(-6)
    with HDF5Data(path) as result, HDF5Data(folder / "raw.rtdc") as raw:
        frames = result["frame"][:] - raw["frame"][0]
        frame = int(frames[len(frames) // 2])
        here = frames == frame
        stored = {name: result[name][:][here] for name in ("area_um", "deform", "volume")}
    answer = ask("look/frame", file="raw.rtdc", frame=frame)
    kept = [one["features"] for one in answer["objects"] if one["fate"] == "kept"]
    assert kept
    for name, values in stored.items():
        assert sorted(one[name] for one in kept) == sorted(values.tolist())
    assert f"--frame {frame}" in answer["command"]


def test_the_histogram_counts_what_is_left(ask: Ask) -> None:
    answer = ask("tune/fates", file="raw.rtdc", feature="size")
    bars = answer["histogram"]
    assert sum(bars["kept"]) >= answer["kept"] - 1  # of the largest 0.2 % there is no bar
    assert bars["low"] == 10
    assert len(bars["edges"]) == len(bars["kept"]) + 1
    deform = ask("tune/fates", file="raw.rtdc", feature="deform")["histogram"]
    assert (deform["feature"], deform["low"], deform["high"]) == ("deform", None, None)
    assert "deform" in answer["features"]


def test_an_outline_is_where_the_mask_is(ask: Ask) -> None:
    answer = ask("tune/fates", file="raw.rtdc")
    first = next(one for one in answer["objects"] if one["fate"] == "kept")
    frame = ask("look/frame", file="raw.rtdc", frame=answer["frames"][first["row"]])
    assert first["outline"] in [one["outline"] for one in frame["objects"]]
    height, width = frame["shape"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(frame["picture"]))))
    assert picture.shape == (4 * height, width)
    x, y = np.array(first["outline"]).reshape(-1, 2).T
    assert (picture[3 * height :][y, x] == 255).all()


def test_the_sheet_holds_the_frames(client: Any, folder: Path) -> None:
    answer = client.post("/api/tune/frames", json={"file": "raw.rtdc"})
    assert answer.headers["content-type"] == "image/png"
    sheet = np.asarray(Image.open(io.BytesIO(answer.content)))
    with HDF5Data(folder / "raw.rtdc") as data:
        image = data.image[13]
    height, width = image.shape
    assert sheet.shape == (6 * height, 10 * width)
    assert np.array_equal(sheet[height : 2 * height, 3 * width : 4 * width], image)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"file": "other.rtdc"}, "no such file"),
        ({"file": "../raw.rtdc"}, "outside"),
        ({}, "'file' is not a text"),
        ({"file": "raw.rtdc", "settings": settings(segmenter__thresh="3")}, "not below zero"),
        ({"file": "raw.rtdc", "settings": settings(segmenter__tresh="-3")}, "did you mean"),
        ({"file": "raw.rtdc", "settings": settings(background__split_time="inf")}, "above zero"),
        ({"file": "raw.rtdc", "settings": settings(gates__x="1")}, "not a setting"),
        ({"file": "raw.rtdc", "settings": settings(data__pixel_size="nan")}, "not a pixel size"),
        ({"file": "raw.rtdc", "settings": {"codes": {"segmenter": "a.py:B"}}}, "no segmenter"),
        ({"file": "raw.rtdc", "settings": []}, "not an object"),
    ],
)
def test_what_cannot_be_done_is_said(client: Any, body: dict[str, Any], message: str) -> None:
    answer = client.post("/api/tune/fates", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_a_frame_that_is_not_there_is_refused(client: Any) -> None:
    for frame in (60, -1, 1.5, "1", True):
        answer = client.post("/api/look/frame", json={"file": "raw.rtdc", "frame": frame})
        assert answer.status_code == 400
        assert "from 0 to 59" in answer.json()["error"]


def test_the_command_names_what_differs_from_the_defaults(ask: Ask, folder: Path) -> None:
    chosen = {
        "codes": {"background": "rollmed"},
        "options": {"background.kernel_size": "20", "gate.size_thresh_mask": "30"},
    }
    command = ask("tune/fates", file="raw.rtdc", settings=chosen)["command"]
    assert command.split() == [
        "cytovox", "run", str(folder / "raw.rtdc"), "--background", "rollmed",
        "--set", "background.kernel_size=20", "--set", "gate.size_thresh_mask=30",
    ]  # fmt: skip


def test_every_setting_is_explained_and_the_main_ones_have_sliders(ask: Ask) -> None:
    options = [option for stage in ask("begin")["stages"] for option in stage["options"]]
    assert [one["set"] for one in options if not one["help"]] == []
    sliders = {one["set"] for one in options if "range" in one}
    assert sliders == {"segmenter.thresh", "mask.closing_disk", "gate.size_thresh_mask"}
