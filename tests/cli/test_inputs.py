"""Which recordings a command means, and where their results go."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import pytest

from cytovox.cli.inputs import Found, find_inputs, output_paths, refuse_clashes
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
    assert [p.name for p, _ in found.left_out] == ["a_dcn.rtdc", "renamed.rtdc"]
    assert {why for _, why in found.left_out} == {"is a result itself"}
    assert not found.errors


def test_folder_does_not_judge_broken_files(tmp_path: Path) -> None:
    (tmp_path / "broken.rtdc").write_bytes(b"not HDF5")
    assert [p.name for p in find_inputs([str(tmp_path)]).inputs] == ["broken.rtdc"]


def test_pattern_is_expanded_here(tmp_path: Path) -> None:
    for name in ("x1.rtdc", "x2.rtdc", "y.rtdc", "x1_dcn.rtdc"):
        make(tmp_path / name)
    found = find_inputs([str(tmp_path / "x*.rtdc")])
    assert [p.name for p in found.inputs] == ["x1.rtdc", "x2.rtdc"]


def test_file_with_brackets_in_its_name_is_not_a_pattern(tmp_path: Path) -> None:
    path = make(tmp_path / "day[1].rtdc")
    assert find_inputs([str(path)]).inputs == [path]


def test_each_recording_once(tmp_path: Path) -> None:
    path = make(tmp_path / "a.rtdc")
    found = find_inputs([str(path), str(tmp_path), str(path)])
    assert found.inputs == [path]
    assert found.left_out == [(path, f"is {path}, which is there already")] * 2


def test_result_named_alone_is_an_input(tmp_path: Path) -> None:
    path = make(tmp_path / "a_dcn.rtdc")
    assert find_inputs([str(path)]).inputs == [path]


def test_result_named_with_its_input_is_left_out(tmp_path: Path) -> None:
    # This is what a shell makes of *.rtdc the second time.
    raw, result = make(tmp_path / "a.rtdc"), make(tmp_path / "a_dcn.rtdc")
    found = find_inputs([str(raw), str(result)])
    assert found.inputs == [raw]
    assert found.left_out == [(result, "is the result of a.rtdc")]


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


def usable(inputs: list[Path], out: Path | None) -> tuple[list[Path], list[str]]:
    """Return the inputs that are left, and what is wrong with the others."""
    pairs, errors = refuse_clashes(inputs, output_paths(inputs, out))
    return [path for path, _ in pairs], list(map(str, errors))


def test_outputs_that_collide_are_refused_and_no_others() -> None:
    inputs = [Path("d1/a.rtdc"), Path("d2/a.rtdc"), Path("d2/b.rtdc")]
    left, errors = usable(inputs, Path("o"))
    assert left == inputs[2:]
    result = Path("o/a_dcn.rtdc")
    assert [error.partition(" (")[0] for error in errors] == [
        f"{inputs[i]}: its result would go to {result}, as would that of {inputs[1 - i]}"
        for i in range(2)
    ]
    assert usable(inputs, None) == (inputs, [])
    with pytest.raises(UsageError, match="2 inputs cannot go to one file"):
        output_paths([Path("a.rtdc"), Path("b.rtdc")], Path("o.rtdc"))
    left, (error,) = usable([Path("a.rtdc")], Path("a.rtdc"))
    assert not left
    assert "replace its input" in error


def test_output_through_a_link_to_the_input_is_refused(tmp_path: Path) -> None:
    raw = make(tmp_path / "a.rtdc")
    link = tmp_path / "b.rtdc"
    try:
        os.symlink(raw, link)
    except OSError:
        pytest.skip("links may not be made here")
    left, (error,) = usable([raw], link)
    assert not left
    assert "replace its input" in error


def reasons(found: Found, root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): why for path, why in found.left_out}


def test_case_of_the_ending_does_not_matter(tmp_path: Path) -> None:
    for name in ("a.RTDC", "b.Rtdc", "c_dcn.RTDC"):
        make(tmp_path / name)
    found = find_inputs([str(tmp_path)])
    assert [p.name for p in found.inputs] == ["a.RTDC", "b.Rtdc"]
    assert output_paths([tmp_path / "a.RTDC"], None) == [tmp_path / "a_dcn.rtdc"]
    assert output_paths([tmp_path / "a.RTDC"], Path("x.RTDC")) == [Path("x.RTDC")]


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path / "a.rtdc")
    make(tmp_path / ".b.rtdc")
    (tmp_path / "._a.rtdc").write_bytes(b"\0\5\x16\7")
    found = find_inputs([str(tmp_path)])
    assert [p.name for p in found.inputs] == ["a.rtdc"]
    assert set(reasons(found, tmp_path)) == {".b.rtdc", "._a.rtdc"}
    assert not found.errors


def test_a_note_of_macos_is_left_out_even_if_it_is_named(tmp_path: Path) -> None:
    note, real = tmp_path / "._a.rtdc", make(tmp_path / "._b.rtdc")
    note.write_bytes(b"\0\5\x16\7")
    found = find_inputs([str(note), str(real)])
    assert found.inputs == [real]
    assert [path for path, _ in found.left_out] == [note]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.timeout(30)
def test_only_regular_files_are_looked_into(tmp_path: Path) -> None:
    make(tmp_path / "a.rtdc")
    os.mkfifo(tmp_path / "pipe.rtdc")
    (tmp_path / "folder.rtdc").mkdir()
    for word in (tmp_path, tmp_path / "*.rtdc"):
        found = find_inputs([str(word)])
        assert [p.name for p in found.inputs] == ["a.rtdc"]
        assert reasons(found, tmp_path)["pipe.rtdc"] == "is not a regular file"
    (error,) = find_inputs([str(tmp_path / "pipe.rtdc")]).errors
    assert "not a file" in str(error)


def test_folders_within_folders(tmp_path: Path) -> None:
    names = ("a/M001.rtdc", "b/M001.rtdc", "b/deep/M001.rtdc", ".trash/M001.rtdc", "res/x.rtdc")
    for name in names:
        make(tmp_path / name)
    found = find_inputs([str(tmp_path)], recurse=True, out=tmp_path / "res")
    made = output_paths(found.inputs, tmp_path / "res", found.below)
    folders = ("a", "b", "b/deep")
    assert made == [tmp_path / "res" / folder / "M001_dcn.rtdc" for folder in folders]
    left = {".trash": "is hidden", "res": "is the folder of the results"}
    assert reasons(found, tmp_path) == left
    flat = find_inputs([str(tmp_path)])
    assert not flat.inputs
    assert set(reasons(flat, tmp_path).values()) == {"is not searched without --recurse"}


def test_several_folders_keep_their_names(tmp_path: Path) -> None:
    words = [str(make(tmp_path / day / "M001.rtdc").parent) for day in ("d1", "d2")]
    found = find_inputs(words, recurse=True)
    made = output_paths(found.inputs, Path("o"), found.below)
    assert [p.as_posix() for p in made] == ["o/d1/M001_dcn.rtdc", "o/d2/M001_dcn.rtdc"]
    assert all("--recurse" in error for error in usable(find_inputs(words).inputs, Path("o"))[1])


def test_matches_of_a_pattern_keep_their_folders(tmp_path: Path) -> None:
    for day in ("d1", "d2"):
        make(tmp_path / day / "M001.rtdc")
    found = find_inputs([str(tmp_path / "*" / "M001.rtdc")], recurse=True)
    made = output_paths(found.inputs, Path("o"), found.below)
    assert [p.as_posix() for p in made] == ["o/d1/M001_dcn.rtdc", "o/d2/M001_dcn.rtdc"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "a" / "M001.rtdc")
    try:
        (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    found = find_inputs([str(tmp_path)], recurse=True)
    assert len(found.inputs) == 1
    assert "link" in reasons(found, tmp_path)["a/loop"]
