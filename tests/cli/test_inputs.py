"""Which recordings a command means, and where their results go."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import pytest

from cytovox.cli.inputs import find_inputs, output_paths
from cytovox.errors import UsageError


def make(path: Path, **attributes: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as h5:
        for key, value in attributes.items():
            h5.attrs[key.replace("_", " ").replace("  ", ":")] = value
    return path


def test_folder_gives_recordings_sorted_and_leaves_results_out(tmp_path: Path) -> None:
    for name in ("b.rtdc", "a.rtdc", "a_dcn.rtdc", "notes.txt"):
        make(tmp_path / name)
    make(tmp_path / "renamed.rtdc", pipeline__dcnum_hash="0")
    found = find_inputs([str(tmp_path)])
    assert [p.name for p in found.inputs] == ["a.rtdc", "b.rtdc"]
    assert len(found.notes) == 2
    assert all("left out" in note for note in found.notes)
    assert not found.errors


def test_folder_does_not_judge_broken_files(tmp_path: Path) -> None:
    (tmp_path / "broken.rtdc").write_bytes(b"not HDF5")
    assert [p.name for p in find_inputs([str(tmp_path)]).inputs] == ["broken.rtdc"]


def test_pattern_is_expanded_here(tmp_path: Path) -> None:
    for name in ("x1.rtdc", "x2.rtdc", "y.rtdc", "x1_dcn.rtdc"):
        make(tmp_path / name)
    found = find_inputs([str(tmp_path / "x*.rtdc")])
    assert [p.name for p in found.inputs] == ["x1.rtdc", "x2.rtdc"]


def test_file_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    path = make(tmp_path / "day[1].rtdc")
    assert find_inputs([str(path)]).inputs == [path]


def test_each_recording_once(tmp_path: Path) -> None:
    path = make(tmp_path / "a.rtdc")
    assert find_inputs([str(path), str(tmp_path), str(path)]).inputs == [path]


def test_result_named_alone_is_an_input(tmp_path: Path) -> None:
    path = make(tmp_path / "a_dcn.rtdc")
    assert find_inputs([str(path)]).inputs == [path]


def test_result_named_with_its_input_is_left_out(tmp_path: Path) -> None:
    # This is what a shell makes of *.rtdc the second time.
    raw, result = make(tmp_path / "a.rtdc"), make(tmp_path / "a_dcn.rtdc")
    found = find_inputs([str(raw), str(result)])
    assert found.inputs == [raw]
    assert "result of a.rtdc" in found.notes[0]


@pytest.mark.parametrize("word", ["gone.rtdc", "gone*.rtdc", "empty"])
def test_words_that_stand_for_nothing_are_errors(tmp_path: Path, word: str) -> None:
    (tmp_path / "empty").mkdir()
    found = find_inputs([str(tmp_path / word)])
    assert not found.inputs
    (error,) = found.errors
    assert word in str(error)
    assert error.exit_code in (2, 74)


def test_outputs_beside_or_in_a_folder() -> None:
    inputs = [Path("d1/a.rtdc"), Path("d2/b.rtdc")]
    assert output_paths(inputs, None) == [Path("d1/a_dcn.rtdc"), Path("d2/b_dcn.rtdc")]
    assert output_paths(inputs, Path("o")) == [Path("o/a_dcn.rtdc"), Path("o/b_dcn.rtdc")]
    assert output_paths(inputs[:1], Path("o.rtdc")) == [Path("o.rtdc")]


def test_outputs_that_collide_are_refused() -> None:
    with pytest.raises(UsageError, match="both go to"):
        output_paths([Path("d1/a.rtdc"), Path("d2/a.rtdc")], Path("o"))
    with pytest.raises(UsageError, match="2 inputs cannot go to one file"):
        output_paths([Path("a.rtdc"), Path("b.rtdc")], Path("o.rtdc"))
    with pytest.raises(UsageError, match="replace its input"):
        output_paths([Path("a.rtdc")], Path("a.rtdc"))


def test_output_through_a_link_to_the_input_is_refused(tmp_path: Path) -> None:
    raw = make(tmp_path / "a.rtdc")
    link = tmp_path / "b.rtdc"
    try:
        os.symlink(raw, link)
    except OSError:
        pytest.skip("links may not be made here")
    with pytest.raises(UsageError, match="replace its input"):
        output_paths([raw], link)
