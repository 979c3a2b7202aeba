"""Recipes: files, those that come with the program, and those of results."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import h5py
import pytest

from cytovox.cli.main import main
from cytovox.logic.recipes import complete_recipe, identifier_of, recipe_of_result
from cytovox.recipe.recording_recipe import (
    RecordingRecipe,
    find_recipe,
    presets,
    read_recipe,
    recipe_as_toml,
)
from cytovox.testing import simulate_recording

PRESETS = ["beads", "default", "faint", "quick", "small"]
OWN = """
from cytovox.segm import MPOSegmenter


class SegmentDark(MPOSegmenter):
    @staticmethod
    def segment_algorithm(image, *, level: int = 90):
        return image < level
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "a.rtdc"
    simulate_recording(path, frames=30, seed=8)
    return path


@pytest.fixture(scope="module")
def made(raw: Path) -> Path:
    """A result that differs in each kind of setting from what is usual."""
    path = raw.with_name("made.rtdc")
    words = ["--set", "segmenter.thresh=-7", "--set", "mask.closing_disk=1", "--frames", "20"]
    words += ["--basins", "tap", "--compression", "zstd-2", "--set", "data.pixel_size=0.3"]
    assert main(["run", str(raw), "-o", str(path), "-q", *words]) == 0
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict:
    capsys.readouterr()
    code = main([*map(str, words), "--json"])
    found: dict = json.loads(capsys.readouterr().out)
    return found | {"code": code}


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    assert main([*map(str, words)]) != 0
    return capsys.readouterr().err


@pytest.mark.parametrize("name", PRESETS)
def test_what_comes_with_the_program_is_a_good_recipe_with_a_reason(name: str) -> None:
    recipe = find_recipe(name)
    assert len(recipe.description) > 40
    identifier_of(recipe)
    assert recipe.automatic == {"data.pixel_size", "background.offset_correction"}


def test_list_shows_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert [one["name"] for one in said(capsys, "recipe", "list")["recipes"]] == PRESETS
    assert [one.name for one in presets()] == PRESETS
    assert main(["recipe", "list"]) == 0
    assert "Calibration beads" in capsys.readouterr().out


def test_default_is_what_is_done_without_a_recipe() -> None:
    assert identifier_of(find_recipe("default")) == identifier_of(RecordingRecipe())


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_that_was_written_is_read_as_the_same(name: str, tmp_path: Path) -> None:
    recipe = complete_recipe(find_recipe(name))
    path = tmp_path / "again.toml"
    path.write_text(recipe_as_toml(recipe), "utf-8")
    again = read_recipe(path)
    assert recipe_as_toml(complete_recipe(again)) == recipe_as_toml(recipe)
    assert identifier_of(again) == identifier_of(recipe)


def test_a_recipe_says_all_and_overrides_what_is_usual(raw: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(
        'basins = "tap"\ncompression = "zstd-1"\nframes = 20\n'
        "[data]\npixel_size = 0.3\n[background]\noffset_correction = false\n"
        "[segmenter]\nthresh = -7\n[mask]\nclosing_disk = 1\n[feature]\nharalick = false\n"
        "[gate]\nsize_thresh_mask = 12\n"
    )
    shown = said(capsys, "recipe", "show", path)
    out = tmp_path / "out.rtdc"
    (result,) = said(capsys, "run", raw, "-o", out, "--recipe", path)["results"]
    assert result["pipeline_hash"] == shown["hash"]
    assert result["recipe"] == "lab"
    with h5py.File(out) as h5:
        parts = [h5.attrs[f"pipeline:dcnum {part}"] for part in ("data", "segmenter", "gate")]
        assert "image" not in h5["events"]
    assert parts == ["hdf:p=0.3^i=20", "thresh:t=-7:cle=1^f=1^clo=1", "norm:o=0^s=12"]


def test_set_overrides_the_recipe_and_auto_undoes_it(tmp_path: Path, capsys) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("[segmenter]\nthresh = -7\n[background]\noffset_correction = true\n")
    words = ["--set", "segmenter.thresh=-8", "--set", "background.offset_correction=auto"]
    assert main(["recipe", "save", str(tmp_path / "new"), "--recipe", str(path), *words]) == 0
    new = tomllib.loads((tmp_path / "new.toml").read_text("utf-8"))
    assert new["segmenter"]["thresh"] == -8
    assert new["background"]["offset_correction"] == "auto"


def test_another_stage_keeps_no_options_of_the_former(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("[background]\nsplit_time = 2\n[segmenter]\nthresh = -7\n")
    words = ["--recipe", str(path), "--background", "rollmed"]
    assert main(["recipe", "save", str(tmp_path / "new.toml"), *words]) == 0
    new = tomllib.loads((tmp_path / "new.toml").read_text("utf-8"))
    assert new["background"] == {"code": "rollmed", "kernel_size": 100, "batch_size": 10000}
    assert new["segmenter"]["thresh"] == -7


def test_save_replaces_nothing_and_takes_no_name_of_a_preset(tmp_path: Path, capsys) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("mine")
    assert "--force" in refused(capsys, "recipe", "save", path)
    assert path.read_text() == "mine"
    assert main(["recipe", "save", str(path), "--force"]) == 0
    assert read_recipe(path).codes["segmenter"] == "thresh"
    assert "comes with the program" in refused(capsys, "recipe", "save", "beads")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text here")
def test_a_recipe_whose_name_is_not_text_is_kept(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.toml")
    assert main(["recipe", "save", str(path)]) == 0
    assert main(["recipe", "save", str(path), "--force"]) == 0
    assert read_recipe(path).codes["segmenter"] == "thresh"


@pytest.mark.parametrize("name", ["", ".", "..", "there", "there/", "a.toml"])
def test_save_needs_a_name(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("there", "a.toml"):
        (tmp_path / folder).mkdir()
    assert main(["recipe", "save", name]) == 2
    assert f"'{name}' is not the name of a recipe" in capsys.readouterr().err


def test_the_command_with_a_saved_recipe_can_be_copied(tmp_path: Path, capsys) -> None:
    path = tmp_path / "my lab's.toml"
    assert main(["recipe", "save", str(path)]) == 0
    command = capsys.readouterr().err.partition("measure by it with: ")[2]
    assert shlex.split(command)[-1] == str(path)


def test_impossible_settings_are_not_saved(tmp_path: Path, capsys) -> None:
    path = tmp_path / "lab.toml"
    assert "below zero" in refused(capsys, "recipe", "save", path, "-s", "segmenter.thresh=3")
    words = ["-s", "data.image_chunk_size=3"]
    assert "not part of a recipe" in refused(capsys, "recipe", "save", path, *words)
    assert not path.exists()


def test_each_of_several_recipes_has_results_of_its_own(raw: Path, tmp_path: Path, capsys) -> None:
    shutil.copy(raw, tmp_path / "a.rtdc")
    # in this process, which needs no start
    words = ["--recipe", "faint", "--recipe", "quick", "--frames", "20", "--debug"]
    found = said(capsys, "run", tmp_path / "a.rtdc", *words)
    assert [(one["recipe"], one["state"]) for one in found["results"]] == [
        ("faint", "done"),
        ("quick", "done"),
    ]
    made = [tmp_path / name / "a_dcn.rtdc" for name in ("faint", "quick")]
    assert [Path(one["output"]) for one in found["results"]] == made
    identifiers = [identifier_of(recipe_of_result(path))[0] for path in made]
    assert "thresh:t=-3:" in identifiers[0]
    assert "legacy:b=1^h=0^v=1" in identifiers[1]
    assert main(["run", str(tmp_path), "--recurse", *words]) == 0
    table = capsys.readouterr().out
    assert f"{tmp_path / 'a.rtdc'} (faint)" in table
    assert "4 files: 2 skipped, 2 left out" in table


def test_several_recipes_cannot_meet(raw: Path, tmp_path: Path, capsys) -> None:
    words = ["--recipe", "faint", "--recipe", "quick", "-o", tmp_path / "b.rtdc"]
    assert "several recipes cannot go to one file" in refused(capsys, "run", raw, *words)
    (tmp_path / "Quick.toml").write_text("")
    words = ["--recipe", tmp_path / "Quick.toml", "--recipe", "quick"]
    assert "two recipes are called quick" in refused(capsys, "run", raw, *words)


def test_like_a_result_makes_the_same_again(raw: Path, made: Path, tmp_path: Path, capsys) -> None:
    found = said(capsys, "run", raw, "-o", made, "--like", made)
    assert found["results"][0]["state"] == "skipped"
    recipe = recipe_of_result(made)
    assert (recipe.basin_strategy, recipe.compression) == ("tap", "zstd-2")
    assert recipe.options["data"] == {"pixel_size": 0.3, "index_mapping": 20}
    assert recipe.automatic == {"background.offset_correction"}
    assert main(["recipe", "save", str(tmp_path / "new.toml"), "--like", str(made)]) == 0
    again = said(capsys, "run", raw, "-o", made, "--recipe", tmp_path / "new.toml")
    assert again["results"][0]["state"] == "skipped"


def test_show_of_a_result_is_its_identifier_and_a_recipe(made: Path, tmp_path: Path, capsys):
    found = said(capsys, "recipe", "show", made)
    with h5py.File(made) as h5:
        assert found["hash"] == h5.attrs["pipeline:dcnum hash"]
        assert h5.attrs["pipeline:dcnum segmenter"] in found["identifier"]
    assert main(["recipe", "show", str(made)]) == 0
    path = tmp_path / "shown.toml"
    path.write_text(capsys.readouterr().out, "utf-8")
    assert recipe_as_toml(complete_recipe(read_recipe(path))) in found["toml"]


def test_frames_of_a_list_come_from_the_record(raw: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.rtdc"
    frames = [*range(9), 11, *range(13, 29)]
    words = ["--frames", ",".join(map(str, frames))]
    assert main(["run", str(raw), "-o", str(out), "-q", *words]) == 0
    assert recipe_of_result(out).options["data"]["index_mapping"] == frames
    found = said(capsys, "run", raw, "-o", out, "--like", out, "--frames", "all")
    assert "another recipe" in found["results"][0]["error"]


def test_what_is_not_recorded_as_named_is_automatic(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.rtdc"
    shutil.copy(made, path)
    with h5py.File(path, "a") as h5:
        del h5["logs"]
    with pytest.warns(UserWarning, match=r"data.pixel_size=0.3, .* automatic"):
        recipe = recipe_of_result(path)
    assert recipe.automatic == {"background.offset_correction", "data.pixel_size"}


def test_a_result_of_another_generation_says_so(made: Path, tmp_path: Path) -> None:
    from cytovox.logic.record import hash_of_stated

    path = tmp_path / "old.rtdc"
    shutil.copy(made, path)
    with h5py.File(path, "a") as h5:
        h5.attrs["pipeline:dcnum generation"] = "8"
        h5.attrs["pipeline:dcnum hash"] = hash_of_stated(h5.attrs)
    with pytest.warns(UserWarning, match="may give other numbers"):
        assert recipe_of_result(path).options["segmenter"] == {"thresh": -7.0}


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("segmenter", "thresh:z=-6:cle=1"),
        ("segmenter", "unheard:t=1"),
        ("background", "sparsemed:k=1e999"),
        ("data", "hdf:p=0.3^i=h-12345678"),
        ("data", "zip:p=1"),
        ("gate", "norm:o=0^s=10^x"),
    ],
)
def test_an_identifier_that_is_not_understood_is_an_error(
    made: Path, tmp_path: Path, part: str, text: str, capsys
) -> None:
    from cytovox.logic.record import hash_of_stated

    path = tmp_path / "odd.rtdc"
    shutil.copy(made, path)
    with h5py.File(path, "a") as h5:
        h5.attrs[f"pipeline:dcnum {part}"] = text
        h5.attrs["pipeline:dcnum hash"] = hash_of_stated(h5.attrs)
    error = refused(capsys, "recipe", "show", path)
    assert f"error: {path}: its recipe cannot be taken over" in error
    assert "please report" not in error


def test_like_needs_a_result(raw: Path, made: Path, capsys) -> None:
    assert "by which recipe" in refused(capsys, "run", raw, "--like", raw)
    error = refused(capsys, "run", raw, "--like", made, "--recipe", "quick")
    assert "give one of them" in error
    assert "give a result with --like" in refused(capsys, "run", raw, "--recipe", made)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[segmenter]\ntresh = -3", "did you mean 'thresh'?"),
        ("[segmentor]\nthresh = -3", "did you mean 'segmenter'?"),
        ("[mask]\nclear_boarder = true", "did you mean 'clear_border'?"),
        ("compresion = 'none'", "did you mean 'compression'?"),
        ("[data]\nimage_chunk_size = 10", "it knows pixel_size"),
        ("mask = 3", "write [mask]"),
        ("[background]\nkernel_size = 'many'", "give a whole number"),
        ("[background]\nkernel_size = 2.5", "give a whole number"),
        ("[segmenter]\nthresh = true", "give a number"),
        ("[segmenter]\nthresh = [1]", "segmenter.thresh is of a kind"),
        ("[segmenter]\nthresh = 1979-05-27", "segmenter.thresh is of a kind"),
        ("[segmenter]\ncode = 3", "segmenter.code is of a kind"),
        ("[segmenter]\ncode = 'nonsense'", "there is no segmenter 'nonsense'"),
        ("[segmenter]\ncode = 'own.py:Mine'", "'own.py:Mine' names a file"),
        ("[segmenter]\nthresh = 5", "is not below zero"),
        ("[segmenter]\nthresh = 'auto'", "give a number"),
        ("basins = 'sink'", "give drain or tap"),
        ("compression = 'zip'", "choose none or zstd-1"),
        ("frames = '9-3'", "rising order"),
        ("frames = -3", "rising order"),
        ("description = 3", "give a text in quotes"),
        ("thresh = -3 = 4", "this is not TOML"),
        ("a = " + "[" * 5000, "this is not TOML"),
        ("[segmenter]\nthresh = " + "9" * 5000, "this is not TOML"),
        ("#" + "x" * 70000, "larger than 65536 bytes"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
    ],
)
def test_wrong_recipes_are_refused_by_name(
    content: str | bytes, message: str, raw: Path, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "lab.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = refused(capsys, "run", raw, "--recipe", path, "-o", tmp_path / "out.rtdc")
    assert error.startswith(f"error: {path}: ")
    assert message in error
    assert "please report" not in error
    assert not (tmp_path / "out.rtdc").exists()


def test_names_that_stand_for_no_recipe_are_errors(raw: Path, tmp_path: Path, capsys) -> None:
    assert "did you mean 'beads'?" in refused(capsys, "run", raw, "--recipe", "bead")
    assert "not a file" in refused(capsys, "run", raw, "--recipe", tmp_path)


def test_texts_that_act_on_a_terminal_are_only_shown(tmp_path: Path, capsys) -> None:
    path = tmp_path / "lab.toml"
    path.write_text('description = "a\\u001b[2J\\u007f"\n')
    assert main(["recipe", "show", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert tomllib.loads(out)["description"] == "a\x1b[2J\x7f"


@pytest.mark.filterwarnings("default:recipe lab is of")
def test_a_segmenter_in_a_file_is_named_by_its_content_and_only_run_if_it_is_given(
    raw: Path, tmp_path: Path, capsys
) -> None:
    own, recipe = tmp_path / "own.py", tmp_path / "lab.toml"
    own.write_text(OWN)
    given = ["--segmenter", own]
    words = ["recipe", "save", recipe, *given, "-s", "segmenter.level=95"]
    assert main([*map(str, words)]) == 0
    code = tomllib.loads(recipe.read_text("utf-8"))["segmenter"]["code"]
    recipe.write_text(recipe.read_text("utf-8").replace(code, "dark.00000000"), "utf-8")
    error = refused(capsys, "run", raw, "--recipe", recipe)
    assert "it is in a file: give FILE.py:CLASS" in error
    new = tmp_path / "new.toml"
    assert main([*map(str, ["recipe", "save", new, "--recipe", recipe, *given])]) == 0
    assert f"warning: recipe lab is of dark.00000000, not {code}" in capsys.readouterr().err
    segmenter = tomllib.loads(new.read_text("utf-8"))["segmenter"]
    assert segmenter == {"code": code, "level": 95}
