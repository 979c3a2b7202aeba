"""The page about a folder of results, and the tables beside it."""

from __future__ import annotations

import csv
import json
import shutil

import h5py
import numpy as np
import pytest

from cytovox.errors import InputError, UsageError
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.report import write_report
from cytovox.report.columns import RESULT_COLUMNS, Column, find_outliers
from cytovox.report.find_results import find_results
from cytovox.report.folder_page import Row, results_table
from cytovox.report.html_report import _ROW
from cytovox.report.tables import multiqc_json, sample_names, summary_csv
from cytovox.testing import simulate_recording
from support.pages import Page


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A folder with a recording, three results of two recipes, and a torn file."""
    folder = tmp_path_factory.mktemp("day")
    simulate_recording(folder / "raw.rtdc", frames=40, cells=2, seed=4)
    for name, thresh in (("a", -6), ("c", -9)):
        job = DCNumPipelineJob(
            folder / "raw.rtdc",
            folder / f"{name}_dcn.rtdc",
            segmenter_kwargs={"thresh": thresh},
            num_procs=1,
        )
        with DCNumJobRunner(job) as runner:
            runner.run()
    (folder / "below").mkdir()
    shutil.copy(folder / "a_dcn.rtdc", folder / "b_dcn.rtdc")
    shutil.copy(folder / "a_dcn.rtdc", folder / "below" / "a_dcn.rtdc")
    whole = (folder / "a_dcn.rtdc").read_bytes()
    (folder / "torn.rtdc").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def report(day, tmp_path_factory):
    return write_report(day, tmp_path_factory.mktemp("page"))


def test_each_result_has_a_row_with_the_numbers_of_its_file(day, report):
    page = Page(report.page)
    rows = list(csv.DictReader(report.summary.read_text().splitlines()))
    assert [row["file"] for row in rows] == [
        str(day / name) for name in ("a_dcn.rtdc", "b_dcn.rtdc", "c_dcn.rtdc", "torn.rtdc")
    ]
    content = json.loads(report.multiqc[0].read_text())
    for row in rows[:3]:
        with h5py.File(row["file"]) as h5:
            assert int(row["events"]) == len(h5["events/deform"])
        shown = {key: value for (file, key), value in page.numbers.items() if file == row["file"]}
        assert shown.keys() >= {"frames", "events", "found", "rate", "area_um", "focus"}
        assert all(row[key] == value for key, value in shown.items())
        sample = content["data"][row["file"].rsplit("/", 1)[1].removesuffix(".rtdc")]
        assert all(sample[key] == float(value) for key, value in shown.items())


def test_what_cannot_be_read_is_listed_with_its_error(day, report):
    (failed,) = [one for one in report.results if one.error is not None]
    assert isinstance(failed.error, InputError)
    page = Page(report.page)
    assert f"{day / 'torn.rtdc'} : the file was cut short" in page.text
    assert "3 results, and 1 more that could not be read" in page.text
    last = list(csv.DictReader(report.summary.read_text().splitlines()))[-1]
    assert "cut short" in last["error"]
    assert last["events"] == ""


def test_recipes_that_differ_are_named_in_red(report):
    page = Page(report.page)
    assert "2 different recipes" in page.text
    assert "differs: segmenter: thresh=-9.0" in page.text
    assert [a for a in page.attributes if a == ("span", "class", "differs")][1:]


def test_rows_lead_to_sections_and_have_sparklines(report):
    page = Page(report.page)
    places = {value for _, name, value in page.attributes if name == "id"}
    links = [v[1:] for tag, name, v in page.attributes if (tag, name) == ("a", "href")]
    assert links == ["result-1", "result-2", "result-3"]
    assert set(links) <= places
    assert len([a for a in page.attributes if a == ("svg", "class", "spark")]) == 6


def test_several_results_in_a_small_page_are_thinned(day, tmp_path, monkeypatch):
    monkeypatch.setattr("cytovox.report.html_report.MOST_BYTES", 360_000)
    small = write_report(day, tmp_path)
    assert small.page.stat().st_size < 360_000
    page = Page(small.page)
    assert "it shows less than all of 3 files" in page.text
    assert len({file for file, _ in page.numbers}) >= 3


def test_folders_stand_for_the_results_in_them(day):
    def names(**how):
        return [str(path.relative_to(day)) for path, _ in find_results([day], **how)]

    assert names() == ["a_dcn.rtdc", "b_dcn.rtdc", "c_dcn.rtdc", "torn.rtdc"]
    assert names(recurse=True)[2:4] == ["below/a_dcn.rtdc", "c_dcn.rtdc"]
    ((path, error),) = find_results([day / "gone"])
    assert path == day / "gone"
    assert error is not None


def test_a_table_of_thousands_of_results_stays_below_the_largest_page():
    plain = dict.fromkeys((c.key for c in RESULT_COLUMNS), 123456.789)
    plain |= {"pipeline": "x", "hash": "0" * 32}
    courses = np.linspace(1, 9, 48), np.arange(120)
    rows = [
        Row(f"results/M{number:04}_dcn.rtdc", "result-1", plain, ["data hdf"], *courses)
        for number in range(200)
    ]
    size = len(results_table(rows, [], "day").encode())
    assert size / len(rows) < _ROW


def test_a_folder_without_results_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="holds no results"):
        write_report(tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="nothing to report"):
        write_report([], tmp_path)


def test_outliers_are_far_from_the_median_by_the_spread_of_the_others():
    columns = [Column("x", "X", "", ""), Column("y", "Y", "", "", compared=False)]
    rows = [{"x": x, "y": x} for x in (1.0, 1.1, 0.9, 1.05, 5.0, None)]
    far = find_outliers(rows, columns)
    assert [list(one) for one in far] == [[], [], [], [], ["x"], []]
    # median 1.05, deviations 0.05 0.05 0.15 0 3.95
    assert far[4]["x"] == pytest.approx(0.6745 * 3.95 / 0.05)
    assert not any(find_outliers(rows[:4], columns))
    assert not any(find_outliers([{"x": 1.0}] * 5 + [{"x": 9.0}], columns))


def test_what_is_far_from_the_others_is_marked_in_the_table(tmp_path):
    rows = []
    for number, area in enumerate((30.0, 31.0, 29.5, 30.5, 60.0)):
        plain = dict.fromkeys((c.key for c in RESULT_COLUMNS), None)
        plain |= {"area_um": area, "pipeline": "x", "hash": "y"}
        nothing = np.zeros(0), np.zeros(120, int)
        rows.append(Row(f"{number}.rtdc", None, plain, ["data hdf"], *nothing))
    path = tmp_path / "table.html"
    path.write_text(results_table(rows, [], "day"), "utf-8")
    page = Page(path)
    assert "1 with numbers far from the others" in page.text
    assert page.text.count("far above the others") == 1
    assert "▲ far above the others 60.00" in page.text


def test_text_in_the_summary_is_no_formula_and_one_line():
    (header, row) = summary_csv([{"file": "=1+1", "n": None, "error": 'a\nb,"c"'}]).splitlines()
    assert header == b"file,n,error"
    assert next(csv.reader([row.decode()])) == ["'=1+1", "", 'a\\nb,"c"']


def test_samples_of_multiqc_have_safe_and_different_names():
    assert sample_names(["x/a.rtdc", "y/a.rtdc", "y/b.rtdc"]) == ["x/a.rtdc", "y/a.rtdc", "b"]
    content = json.loads(multiqc_json({"<b>": {"events": 3}}, RESULT_COLUMNS[:2], "results"))
    assert content["data"] == {"&lt;b&gt;": {"events": 3}}
    assert list(content["headers"]) == ["events"]
    assert content["plot_type"] == "table"
    assert content["id"] == "cytovox_results"
    assert {"section_name", "description", "pconfig"} <= content.keys()
