"""``cytovox export``: other programs read what is in the file."""

from __future__ import annotations

import csv
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cytovox.cli.main import main
from cytovox.read import HDF5Data
from cytovox.read.feature_labels import label_of, unit_of
from cytovox.testing import simulate_recording
from cytovox.write import event_files, image_files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small result whose images and times are those of the recording beside it."""
    folder = tmp_path_factory.mktemp("export")
    raw = folder / "raw.rtdc"
    simulate_recording(raw, frames=50, seed=4, shape=(40, 90), save_truth=False)
    result = folder / "a_dcn.rtdc"
    assert main(["run", str(raw), "-o", str(result), "--basins", "tap", "-q"]) == 0
    with h5py.File(result, "a") as h5:
        h5["events/deform"][1] = np.nan
        h5["events/deform"][2] = 1 / 3
    return result


@pytest.fixture(scope="module")
def events(made: Path) -> dict[str, np.ndarray]:
    """The columns that a table has."""
    with HDF5Data(made) as data:
        found = {name: data[name][:] for name in data.offered() if data.locate(name).ndim == 1}
    return {"index": np.arange(1, len(found["deform"]) + 1), **found}


def export(made: Path, out: Path, kind: str, *words: str) -> Path:
    assert main(["export", str(made), "--to", kind, "-o", str(out), *words]) == 0
    return out / f"{made.stem}.{kind}"


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_files, "_EVENTS", 7)
    monkeypatch.setattr(event_files, "_BLOCK_BYTES", 40 * 90 * 3)


def test_columns_of_a_recording_that_is_gone_are_missed(made, tmp_path, capsys):
    away = tmp_path / "away" / made.name
    away.parent.mkdir()
    shutil.copy(made, away)
    words = ["export", str(away), "--to", "csv", "--json"]
    assert main(words) == 3
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert "raw.rtdc" in found["unread"][0]
    assert "time" not in (away.with_suffix(".csv")).read_text().splitlines()[0].split(",")
    assert main([*words, "--force", "--features", "deform"]) == 0, "these are all there"
    capsys.readouterr()
    assert main([*words, "--force", "--basin-root", str(made.parent)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["unread"] == []
    assert "time" in (away.with_suffix(".csv")).read_text().splitlines()[0].split(",")


@pytest.mark.usefixtures("few_at_a_time")
@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_text_has_all_digits(
    made: Path, events: dict[str, np.ndarray], tmp_path: Path, kind: str, delimiter: str
) -> None:
    path = export(made, tmp_path, kind)
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file, delimiter=delimiter)
    assert names[:2] == ["index", "frame"]
    assert set(names) == set(events)
    for number, name in enumerate(names):
        values = np.array([float(row[number]) for row in rows])
        np.testing.assert_array_equal(values, events[name].astype(float), err_msg=name)
    said = json.loads(path.with_name(f"{path.name}-metadata.json").read_text("utf-8"))
    columns = {one["name"]: one for one in said["tableSchema"]["columns"]}
    assert columns["area_um"]["titles"] == "Area [µm²]"
    assert columns["area_um"]["unit"] == "µm²"
    assert columns["deform"]["unit"] == "1"
    assert said.get("dialect", {}).get("delimiter", ",") == delimiter
    assert said["recipe"]["pipeline:dcnum hash"]


@pytest.mark.usefixtures("few_at_a_time")
def test_parquet_is_exact(made: Path, events: dict[str, np.ndarray], tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(export(made, tmp_path, "parquet"))
    assert set(table.column_names) == set(events)
    for name, values in events.items():
        found = table.column(name).to_numpy()
        assert found.dtype == values.dtype, name
        np.testing.assert_array_equal(found, values, err_msg=name)
    said = table.schema.field("time").metadata
    assert {k.decode(): v.decode() for k, v in said.items()} == {"unit": "s", "label": "Time [s]"}


def read_fcs(path: Path) -> tuple[dict[str, str], np.ndarray]:
    """Read an FCS file as its standard says, by places of bytes."""
    content = path.read_bytes()
    assert content[:10] == b"FCS3.1    "
    places = [int(content[start : start + 8]) for start in range(10, 58, 8)]
    text = content[places[0] : places[1] + 1].decode("utf-8")
    words = text[1:-1].split(text[0])
    said = dict(zip(words[::2], words[1::2], strict=True))
    begin, end = int(said["$BEGINDATA"]), int(said["$ENDDATA"])
    assert (begin, end) == (places[2], places[3])
    values = np.frombuffer(content[begin : end + 1], "<f4")
    assert content[end + 1 :] == b"0" * 8
    return said, values.reshape(int(said["$TOT"]), int(said["$PAR"]))


@pytest.mark.usefixtures("few_at_a_time")
def test_fcs_has_the_layout_of_its_standard(
    made: Path, events: dict[str, np.ndarray], tmp_path: Path
) -> None:
    said, values = read_fcs(export(made, tmp_path, "fcs"))
    assert said["$BYTEORD"] == "1,2,3,4"
    assert said["$DATATYPE"] == "F"
    names = [said[f"$P{n}N"] for n in range(1, values.shape[1] + 1)]
    assert names[:2] == ["index", "frame"]
    assert len(values) == len(events["index"])
    for number, name in enumerate(names):
        expected = events[name].astype(np.float32)
        np.testing.assert_array_equal(values[:, number], expected, err_msg=name)
        assert int(said[f"$P{number + 1}R"]) >= np.nanmax(expected)
        assert said[f"$P{number + 1}S"] == label_of(name)


def test_fcs_is_read_by_another_program(
    made: Path, events: dict[str, np.ndarray], tmp_path: Path
) -> None:
    flowio = pytest.importorskip("flowio")
    found = flowio.FlowData(str(export(made, tmp_path, "fcs", "--features", "area_um,time")))
    assert [found.channels[n]["pnn"] for n in (1, 2, 3, 4)] == [
        "index",
        "frame",
        "area_um",
        "time",
    ]
    assert found.channels[3]["pns"] == "Area [µm²]"
    values = np.reshape(found.events, (found.event_count, found.channel_count))
    np.testing.assert_array_equal(values[:, 2], events["area_um"].astype(np.float32))


def test_some_events_and_features(
    made: Path, events: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = export(made, tmp_path, "csv", "--features", "deform,area_um", "--events", "3-5")
    header, *lines = path.read_text().splitlines()
    assert header == "index,frame,deform,area_um"
    assert [int(line.split(",")[0]) for line in lines] == [3, 4, 5]
    np.testing.assert_array_equal(
        [float(line.split(",")[3]) for line in lines], events["area_um"][2:5]
    )


def test_fewer_events_than_were_asked_for(
    made: Path, events: dict[str, np.ndarray], tmp_path: Path, capsys: Any
) -> None:
    number = len(events["index"])
    export(made, tmp_path, "csv", "--events", f"{number - 1}-{number + 7}")
    said = capsys.readouterr().out
    assert said.endswith("2 events\n  9 were asked for, and there are no more\n")
    export(made, tmp_path, "tsv", "--events", f"{number - 1}-{number}")
    assert "asked for" not in capsys.readouterr().out


def test_labels_and_numbers_of_events_are_those_of_dclab(
    made: Path, events: dict[str, np.ndarray]
) -> None:
    dclab = pytest.importorskip("dclab")
    for name in {*events, "bg_off", "temp", "emodulus", "fl2_max", "userdef3"}:
        assert label_of(name) == dclab.dfn.get_feature_label(name)
    with dclab.new_dataset(made) as dataset:
        np.testing.assert_array_equal(dataset["index"], events["index"])
    assert unit_of("volume") == "µm³"
    assert label_of("ml_score_abc") == "ml_score_abc"


@pytest.mark.usefixtures("few_at_a_time")
def test_tiff_has_a_page_for_each_event(
    made: Path, events: dict[str, np.ndarray], tmp_path: Path
) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = export(made, tmp_path, "tiff", "--events", "2-9")
    with HDF5Data(made) as data:
        expected = data["image"][1:9]
    np.testing.assert_array_equal(tifffile.imread(path), expected)
    with tifffile.TiffFile(path) as tiff:
        texts = [page.description for page in tiff.pages]
    numbers = zip(events["index"][1:9], events["frame"][1:9], strict=True)
    assert texts == [f"index={index} frame={frame}" for index, frame in numbers]


@pytest.mark.usefixtures("few_at_a_time")
@pytest.mark.parametrize("feature", ["image", "mask"])
def test_films_hold_the_pixels_as_they_are(made: Path, tmp_path: Path, feature: str) -> None:
    cv2 = pytest.importorskip("cv2")
    path = export(made, tmp_path, "avi", "--features", feature)
    film = cv2.VideoCapture(str(path))
    with HDF5Data(made) as data:
        images = data.locate(feature)[:]
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) == len(images)
    for image in images:
        done, frame = film.read()
        assert done
        np.testing.assert_array_equal(frame[..., 0], image)
    assert not film.read()[0]
    content = path.read_bytes()
    assert struct.unpack("<I", content[4:8])[0] == len(content) - 8


def test_a_film_that_would_be_too_long_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(image_files, "_MOST_AVI", 10_000)
    assert main(["export", str(made), "--to", "avi", "-o", str(tmp_path)]) == 2
    assert "choose fewer events" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_images_of_many_grey_levels_make_no_film(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "deep.rtdc"
    with h5py.File(path, "w") as h5:
        h5.attrs["experiment:event count"] = 3
        h5["events/image"] = np.full((3, 8, 9), 3000, np.uint16)
    assert main(["export", str(path), "--to", "avi"]) != 0
    assert "8 bit" in capsys.readouterr().err
    assert main(["export", str(path), "--to", "tiff"]) == 0
    tifffile = pytest.importorskip("tifffile")
    assert tifffile.imread(tmp_path / "deep.tiff").dtype == np.uint16


def test_nothing_is_replaced_unless_that_is_said(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.csv"
    out.write_text("mine")
    words = ["export", str(made), "--to", "csv", "-o", str(out)]
    assert main(words) == 1
    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == "mine"
    out.unlink()
    beside = tmp_path / "b.csv-metadata.json"
    beside.write_text("mine")
    assert main(words) == 1
    assert beside.read_text() == "mine"
    out.write_text("mine")
    assert main([*words, "--force"]) == 0
    assert out.read_text().startswith("index,frame,")


def test_a_damaged_result_leaves_no_file(made: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.rtdc"
    bad.write_bytes(made.read_bytes())
    with h5py.File(bad) as h5:
        place = h5["events/tilt"].id.get_chunk_info(0).byte_offset
    with bad.open("r+b") as file:
        file.seek(place + 10)
        file.write(b"\xff\x00\xff\x00")
    roots = ["--basin-root", str(made.parent)]
    for kind in ("csv", "parquet", "fcs"):
        assert main(["export", str(bad), "--to", kind, *roots]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.rtdc"]


def test_a_result_leads_only_where_it_may(made: Path, tmp_path: Path, capsys: Any) -> None:
    away = tmp_path / "away.rtdc"
    away.write_bytes(made.read_bytes())
    assert main(["export", str(away), "--to", "avi"]) == 1
    assert "--basin-root" in capsys.readouterr().err
    assert main(["export", str(away), "--to", "csv", "--features", "time"]) == 1
    assert main(["export", str(away), "--to", "csv"]) == 3  # what it holds itself
    assert "time" not in (tmp_path / "away.csv").read_text().split("\n")[0]
    assert main(["export", str(away), "--to", "avi", "--basin-root", str(made.parent)]) == 0


def test_a_result_without_events(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "empty.rtdc"
    with h5py.File(path, "w") as h5:
        h5.attrs["experiment:event count"] = 0
        h5["events/deform"] = np.empty(0)
        h5["events/image"] = np.empty((0, 8, 9), np.uint8)
    for kind in ("csv", "parquet", "fcs"):
        assert main(["export", str(path), "--to", kind]) == 0
    assert (tmp_path / "empty.csv").read_text() == "index,deform\n"
    assert read_fcs_of_nothing(tmp_path / "empty.fcs") == ("0", "2")
    assert main(["export", str(path), "--to", "tiff"]) == 2
    assert "no events" in capsys.readouterr().err


def read_fcs_of_nothing(path: Path) -> tuple[str, str]:
    words = path.read_bytes()[256:].decode().split("|")
    return words[words.index("$TOT") + 1], words[words.index("$PAR") + 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "csv", "--features", "area"], "did you mean"),
        (["--to", "csv", "--features", "image"], "not a number for each event"),
        (["--to", "avi", "--features", "deform"], "holds no images"),
        (["--to", "avi", "--features", "image,mask"], "one kind of images"),
        (["--to", "csv", "--events", "0-3"], "the first event is 1"),
        (["--to", "csv", "--events", "5-3"], "ends before it begins"),
        (["--to", "csv", "--events", "9000"], "there are only"),
        (["--to", "csv", "-o", "b.parquet"], "the output is not named .csv"),
        (["--to", "png"], "png"),
        ([], "--to"),
    ],
)
def test_mistakes_are_named(
    made: Path, tmp_path: Path, capsys: Any, monkeypatch: Any, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*words] if "-o" in words else [*words, "-o", str(tmp_path)]
    assert main(["export", str(made), *words]) in (1, 2)
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_of_results_is_named_as_such(made: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["export", str(made.parent), "--to", "csv", "-o", str(tmp_path)]) == 1
    assert "name the results in it" in capsys.readouterr().err


def test_a_folder_is_made_and_stays_only_with_a_file(made: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert main(["export", str(made), "--to", "csv", "-o", str(new), "--features", "x"]) == 2
    assert not new.exists()
    assert main(["export", str(made), "--to", "tiff", "-o", str(new), "--events", "1"]) == 0
    assert [path.name for path in new.iterdir()] == ["a_dcn.tiff"]
    words = ["--to", "tiff", "--events", "1", "-o", str(new / "b.TIF")]
    assert main(["export", str(made), *words]) == 0


def test_several_results(made: Path, tmp_path: Path, capsys: Any) -> None:
    words = [str(made), str(made.with_name("raw.rtdc")), str(tmp_path / "none.rtdc")]
    assert main(["export", *words, "--to", "tsv", "-o", str(tmp_path), "--json"]) == 4
    said = json.loads(capsys.readouterr().out)
    assert [Path(one.get("output", "-")).name for one in said["files"]] == [
        "a_dcn.tsv",
        "raw.tsv",
        "-",
    ]
    assert said["files"][1]["rows"] == 50
    again = ["export", str(made), str(made), "--to", "csv", "-o", str(tmp_path)]
    assert main(again) == 2


def test_objects_of_a_volume(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("zarr")
    from cytovox import segment_volume
    from cytovox.blockwise.object_table import read_objects

    image = np.zeros((8, 16, 16), np.uint8)
    image[1:3, 2:5, 2:5] = image[5:7, 9:14, 9:14] = 200
    labels = tmp_path / "labels.zarr"
    done = segment_volume(
        image,
        labels,
        "label",
        block=8,
        context=0,
        stitch="touch",
        workers=0,
        parameters={"threshold": 100},
    )
    table, _ = read_objects(done.table)
    assert len(table) == 2
    assert main(["export", str(labels), "--to", "fcs"]) == 0
    said, values = read_fcs(tmp_path / "labels.fcs")
    column = [said[f"$P{n}N"] for n in range(1, values.shape[1] + 1)].index("voxels")
    np.testing.assert_array_equal(values[:, column], table["voxels"])
    words = ["export", str(done.table), "--to", "csv", "--features", "label,voxels"]
    assert main(words) == 0
    with done.table.with_suffix(".csv").open() as file:
        assert [int(row["voxels"]) for row in csv.DictReader(file)] == table["voxels"].tolist()
    assert main(["export", str(labels), "--to", "avi"]) == 2
    done.table.unlink()
    assert main(["export", str(labels), "--to", "csv"]) != 0
    assert "labels.objects.parquet" in capsys.readouterr().err
