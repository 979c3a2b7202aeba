"""The page about one result: what it says is in the file, and it needs nothing else."""

from __future__ import annotations

import csv
import json
import shutil

import h5py
import numpy as np
import pytest

from cytovox.errors import OutputExistsError, UsageError
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.logic.record import hash_of_stated, read_record
from cytovox.read import HDF5Data, Permissions
from cytovox.report import write_report
from cytovox.report.lost_objects import LostObject, LostObjects, find_lost
from cytovox.run import extras
from cytovox.run.extras import hint_for
from cytovox.run.rows import CAUSES
from cytovox.testing import simulate_recording
from support.pages import Page


def measure(raw, out, **options):
    with DCNumJobRunner(DCNumPipelineJob(raw, out, num_procs=1, **options)) as runner:
        runner.run()
    return out


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    simulate_recording(folder / "raw.rtdc", frames=60, cells=2, seed=4)
    return measure(folder / "raw.rtdc", folder / "raw_dcn.rtdc")


@pytest.fixture(scope="module")
def report(result, tmp_path_factory):
    return write_report(result, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(report):
    return Page(report.page)


def test_numbers_are_those_of_the_file(result, report, page):
    with h5py.File(result) as h5:
        events = len(h5["events/area_um"])
        time = h5["events/time"][:]
        expected = {
            name: float(np.median(h5[f"events/{name}"][:]))
            for name in ("area_um", "deform", "bright_avg", "bg_med")
        }
    with HDF5Data(result) as data:
        told = read_record(data)["objects"]
    expected |= {"events": events, "frames": 60, "rate": events / float(np.ptp(time))}
    expected |= {"found": told["found"]} | {f"lost_{c}": told["lost"][c] for c in CAUSES}
    expected["kept_percent"] = 100 * events / told["found"]
    shown = {key: float(value) for (_, key), value in page.numbers.items()}
    assert {key: shown[key] for key in expected} == expected
    assert set(shown) == {*expected, "focus"}
    assert shown["focus"] > 0
    numbers = report.results[0].numbers
    assert {key: numbers[key] for key in shown} == shown
    (row,) = csv.DictReader(report.summary.read_text().splitlines())
    assert {key: float(row[key]) for key in shown} == shown
    assert row["hash"] == numbers["hash"]
    content = json.loads(report.multiqc[0].read_text())
    assert content["data"] == {"raw_dcn": shown}


def test_what_is_found_is_what_is_kept_and_lost(page):
    numbers = {key: int(value) for (_, key), value in page.numbers.items() if "lost" in key}
    found, events = (int(page.numbers["", key]) for key in ("found", "events"))
    assert found == events + sum(numbers.values())
    assert f"{found} objects found = {events} kept + {sum(numbers.values())} lost." in page.text


def test_it_needs_no_other_file_and_no_program(page):
    assert not page.tags & {"script", "link", "iframe", "object", "form", "base"}
    addresses = [v for _, name, v in page.attributes if name in ("src", "href", "xlink:href")]
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in page.source
    assert "@import" not in page.source
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("meta", "content", policy) in page.attributes


def test_pictures_have_texts_and_tables_have_headers(page):
    images = [a for a in page.attributes if a[:2] == ("img", "src")]
    assert len([a for a in page.attributes if a[:2] == ("img", "alt") and a[2]]) == len(images)
    drawings = [a for a in page.attributes if a == ("svg", "role", "img")]
    assert len([a for a in page.attributes if a[:2] == ("svg", "aria-label") and a[2]]) == len(
        drawings
    )
    assert len([a for a in page.attributes if a[:2] == ("th", "scope")]) > 10
    names = [value for _, name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))


def test_events_and_lost_objects_are_drawn(page):
    labels = [
        value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")
    ]
    assert sum(label.startswith("event ") for label in labels) == 40
    assert 1 <= sum(label.startswith("frame ") for label in labels) <= 20
    assert "lost at the border: one of its" in page.text
    drawn = [value for tag, name, value in page.attributes if (tag, name) == ("path", "d")]
    assert all(value.startswith("M") and value.endswith("Z") for value in drawn)


def test_it_names_recipe_identifier_and_versions(result, page):
    with h5py.File(result) as h5:
        assert h5.attrs["pipeline:dcnum hash"] in page.text
    assert "segmenter thresh: thresh=-6.0, clear_border=True" in page.text
    assert "fits the identifier" in page.text
    assert f"numpy {np.__version__}" in page.text


def test_the_same_result_gives_the_same_bytes(result, report, tmp_path):
    again = write_report(result, tmp_path / "new" / "folder")
    assert again.page.read_bytes() == report.page.read_bytes()
    assert again.summary.read_bytes() == report.summary.read_bytes()
    assert again.multiqc[0].read_bytes() == report.multiqc[0].read_bytes()


def test_existing_files_are_kept_unless_they_may_be_replaced(result, tmp_path):
    (tmp_path / "summary.csv").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"summary\.csv"):
        write_report(result, tmp_path / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["summary.csv"]
    assert (tmp_path / "summary.csv").read_text() == "mine"
    write_report(result, tmp_path / "page.html", force=True)
    names = {"page.html", "summary.csv", "cytovox_mqc.json"}
    assert {p.name for p in tmp_path.iterdir()} == names
    with pytest.raises(UsageError, match=r"ending in \.html"):
        write_report(result, tmp_path / "summary.csv", force=True)


def test_a_page_stays_below_the_largest_size(result, tmp_path, monkeypatch):
    monkeypatch.setattr("cytovox.report.html_report.MOST_BYTES", 400_000)
    small = write_report(result, tmp_path)
    assert small.page.stat().st_size < 400_000
    assert "it shows less than all of 1 file" in Page(small.page).text


def test_hostile_names_and_metadata_are_text(result, tmp_path):
    name = "<img src=x onerror=alert(1)>\"'&\n\u202etxt.rtdc"
    hostile = tmp_path / name
    shutil.copy(result, hostile)
    with h5py.File(hostile, "a") as h5:
        h5.attrs["experiment:sample"] = "</style><script>alert(1)</script>{{ 7 * 7 }}"
        h5.attrs["setup:medium"] = "x" * 5000
        h5.attrs["pipeline:dcnum gate"] = "<b onclick='x'>"
        h5["logs/dcnum-log-x"] = np.array([b"00 WARNING <u>\x1b[2J</u>"])
    page = Page(write_report(hostile, tmp_path / "page").page)
    assert not page.tags & {"script", "u"}
    assert not [n for _, n, _ in page.attributes if n.startswith("on")]
    assert "</style><script>alert(1)</script>{{ 7 * 7 }}" in page.text
    assert "does NOT fit the identifier" in page.text
    assert "<u>\\x1b[2J</u>" in page.text
    assert "x" * 601 not in page.text
    assert "(4400 more characters)" in page.text
    assert "\u202e" not in page.source
    assert "\\n\\u202etxt.rtdc" in page.text


def test_where_the_recording_is_gone_the_page_says_so(result, tmp_path):
    alone = tmp_path / "alone" / "result.rtdc"
    alone.parent.mkdir()
    shutil.copy(result, alone)
    raw = result.with_name("raw.rtdc")
    with HDF5Data(alone) as data:
        problem = str(find_lost(data).problem)
        assert f"its recording is {raw}, outside of the folder of the result" in problem
        assert "--basin-root" in problem
    may = Permissions(basin_roots=(raw.parent,))
    with HDF5Data(alone, permissions=may) as data:
        assert sum(find_lost(data).counts.values())
    raw.rename(raw.with_name("away"))
    try:
        page = Page(write_report(alone, tmp_path / "page").page)
    finally:
        raw.with_name("away").rename(raw)
    assert f"They cannot be shown: its recording cannot be found: {raw}" in page.text
    assert "40 of" in page.text


def test_the_largest_lost_objects_of_each_cause_are_shown():
    image = np.zeros((2, 2), np.uint8)
    lost = LostObjects()
    for start in (0, 30):
        lost.keep(
            [
                LostObject(cause, n, n, "", image, image > 0)
                for cause, number in (("border", 30), ("size", 2))
                for n in range(start, start + number)
            ]
        )
    assert sum(one.cause == "border" for one in lost.objects) == 20
    chosen = [(one.cause, one.size) for one in lost.choose(6)]
    assert chosen == [("border", 59), ("border", 58), ("border", 57)] + [
        ("size", 31), ("size", 30), ("size", 1)
    ]  # fmt: skip
    assert len(lost.choose(100)) == 24


def test_what_was_lost_is_that_of_the_frames_that_were_chosen(result, tmp_path):
    raw = result.with_name("raw.rtdc")
    some = measure(
        raw, result.with_name("some.rtdc"), data_kwargs={"index_mapping": slice(10, 20, None)}
    )
    try:
        with HDF5Data(some) as data:
            found, told = find_lost(data), read_record(data)["objects"]["lost"]
    finally:
        some.unlink()
    assert found.frames == 10
    assert dict(found.counts) == {cause: n for cause, n in told.items() if n}
    assert {one.frame for one in found.objects} <= set(range(10, 20))


def test_no_program_is_run_that_only_the_result_names(result, tmp_path):
    evil = result.with_name("evil.rtdc")
    shutil.copy(result, evil)
    program = tmp_path / "evil.py"
    program.write_text(f"open({str(tmp_path / 'done')!r}, 'w')")
    with h5py.File(evil, "a") as h5:
        h5.attrs["pipeline:dcnum segmenter"] = f"{program}:Evil:cle=1^f=1^clo=2"
        h5.attrs["pipeline:dcnum hash"] = hash_of_stated(h5.attrs)
    try:
        with HDF5Data(evil) as data:
            assert "there is no segmenter" in str(find_lost(data).problem)
    finally:
        evil.unlink()
    assert not (tmp_path / "done").exists()


def test_a_result_whose_images_are_elsewhere(result, tmp_path):
    raw = result.with_name("raw.rtdc")
    tap = measure(raw, tmp_path / "tap.rtdc", basin_strategy="tap")
    report = write_report(tap, tmp_path / "page")
    page = Page(report.page)
    assert "images or masks of events are not at hand" in page.text
    assert f"the basin 'cytovox basin' is in {raw}, outside of the folder" in page.text
    assert page.numbers["", "events"] == str(report.results[0].numbers["events"])
    assert report.results[0].numbers["area_um"] > 0
    assert report.results[0].numbers["rate"] is None
    may = Permissions(basin_roots=(raw.parent,))
    report = write_report(tap, tmp_path / "2", permissions=may)
    assert report.results[0].numbers["rate"] > 0
    assert "40 of" in Page(report.page).text


def test_a_result_without_events(tmp_path):
    simulate_recording(tmp_path / "raw.rtdc", frames=30, cells=0, seed=1)
    empty = measure(tmp_path / "raw.rtdc", tmp_path / "none.rtdc")
    report = write_report(empty, tmp_path)
    page = Page(report.page)
    assert page.numbers["", "events"] == "0"
    assert "there are no events" in page.text
    assert report.results[0].numbers["area_um"] is None


def test_results_of_other_programs(shared_data, tmp_path):
    report = write_report(shared_data / "recordings" / "cytoshot_2024.rtdc", tmp_path)
    page = Page(report.page)
    assert "another program has made it" in page.text
    assert page.numbers["", "events"] == "13"
    assert ("", "found") not in page.numbers


def test_what_is_missing_is_named(result, tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "jinja2")
    with pytest.raises(UsageError, match="jinja2 is not installed") as caught:
        write_report(result, tmp_path)
    assert caught.value.hint == hint_for("report")
