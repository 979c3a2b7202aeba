"""Outputs that were finished and damaged since are refused, and made again if asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cytovox.blockwise import block_run, checks
from cytovox.blockwise.array_run import run_array_work
from cytovox.blockwise.placement import Placement
from cytovox.blockwise.threshold_worker import ThresholdWork
from cytovox.blockwise.volumes import segment_volume
from cytovox.errors import OutputExistsError
from cytovox.read.open_volume import open_volume
from cytovox.run.progress import Warned
from cytovox.write.volume_creation import FORMATS

SHAPE = (20, 70, 80)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.npy"
    np.save(path, np.random.default_rng(5).integers(0, 100, SHAPE).astype("u1"))
    return path


def segment(raw: Path, output: Path, told: list[str] | None = None, **more: Any) -> Any:
    """Segment, and note warnings and how many blocks got final labels."""

    def listen(event: Any) -> None:
        if told is not None and isinstance(event, Warned):
            told.append(event.text)
        if told is not None and type(event).__name__ == "BlockStarted":
            told.append(event.stage)

    how = {"force": True, "block": 32, "context": 0, "stitch": "touch", "workers": 0, **more}
    parameters = {"threshold": 60}
    return segment_volume(raw, output, "label", parameters=parameters, on_event=listen, **how)


def voxels(path: Path, scale: int = 0) -> Any:
    with open_volume(path, scale=scale or None) as volume:
        return volume[:]


def chunks(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.name[0].isdigit())


def remove(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def overwrite(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("damage", [remove, cut, overwrite])
def test_damaged_chunks_are_made_again(
    raw: Path, tmp_path: Path, damage: Callable[[Path], None], format: str
) -> None:
    output = tmp_path / "labels.zarr"
    assert segment(raw, output, format=format)
    right = voxels(output)
    damage(chunks(output)[2])
    told: list[str] = []
    assert segment(raw, output, told, format=format)
    np.testing.assert_array_equal(voxels(output), right)
    assert told == [
        "labels.zarr was damaged after it was finished; what is damaged is made again",
        "relabel",
    ]
    told.clear()
    assert segment(raw, output, told, format=format)
    assert not told


def test_damage_is_an_error_until_it_may_be_mended(raw: Path, tmp_path: Path) -> None:
    mask, labels, times = (tmp_path / name for name in ("mask.zarr", "labels.zarr", "t.zarr"))
    how: dict[str, Any] = {"block": 32, "placement": Placement(0), "threshold": 60}
    two = tmp_path / "two.npy"
    np.save(two, np.load(raw)[:2])

    def make(output: Path, **more: Any) -> Any:
        if output == mask:
            return run_array_work(ThresholdWork, raw, output, **how, **more)
        if output == times:
            return segment(two, output, axes="tyx", **more)
        return segment(raw, output, **more)

    for output in (mask, labels, times):
        assert make(output, force=False)
        assert make(output, force=False)
        right, file = voxels(output), chunks(output / "0")[1]
        file.unlink()
        for _ in range(2):
            with pytest.raises(OutputExistsError, match="damaged after it was finished"):
                make(output, force=False)
            assert not file.exists()
        assert make(output, force=True)
        np.testing.assert_array_equal(voxels(output), right)
        file.unlink()
        assert make(output, force=False, resume=False)
        np.testing.assert_array_equal(voxels(output), right)
        assert make(output, force=False)


def test_outputs_of_which_nothing_is_noted_are_read_in_full(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_SMALL", 0)
    output = tmp_path / "labels.zarr"
    with monkeypatch.context() as earlier:
        earlier.setattr(block_run, "note_files", lambda *_: None)
        assert segment(raw, output)
    overwrite(chunks(output / "0")[0])
    with pytest.raises(OutputExistsError):
        segment(raw, output, force=False)
    with monkeypatch.context() as earlier:
        earlier.setattr(block_run, "note_files", lambda *_: None)
        assert segment(raw, output)
    assert segment(raw, output, force=False)  # which notes the files
    chunks(output / "1")[0].unlink()
    with pytest.raises(OutputExistsError):
        segment(raw, output, force=False)


def test_a_coarse_scale_that_lost_a_chunk_is_made_again(raw: Path, tmp_path: Path) -> None:
    output = tmp_path / "labels.zarr"
    assert segment(raw, output)
    right = voxels(output, 1)
    chunks(output / "1")[0].unlink()
    assert segment(raw, output)
    np.testing.assert_array_equal(voxels(output, 1), right)


@pytest.mark.parametrize("damage", [remove, cut, lambda file: file.write_text("{}")])
def test_metadata_that_are_damaged_are_made_again(
    raw: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    output = tmp_path / "labels.zarr"
    assert segment(raw, output)
    right = voxels(output)
    damage(output / "0" / "zarr.json")
    assert segment(raw, output)
    np.testing.assert_array_equal(voxels(output), right)


def test_large_outputs_are_read_in_full_only_if_asked_for(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_SMALL", 0)
    output = tmp_path / "labels.zarr"
    assert segment(raw, output)
    right = voxels(output)
    overwrite(chunks(output / "0")[0])
    told: list[str] = []
    assert segment(raw, output, told)
    assert not told
    assert segment(raw, output, told, verify=True)
    assert told[1:] == ["relabel"]
    np.testing.assert_array_equal(voxels(output), right)
    told.clear()
    chunks(output / "0")[1].unlink()
    assert segment(raw, output, told)
    assert told[1:] == ["relabel"]
    np.testing.assert_array_equal(voxels(output), right)


def test_what_others_put_beside_the_chunks_is_no_damage(raw: Path, tmp_path: Path) -> None:
    output = tmp_path / "labels.zarr"
    assert segment(raw, output)
    (output / "thumbnail.png").write_bytes(b"x")
    (output / "0" / ".DS_Store").write_bytes(b"x")
    moved = tmp_path / "copy"
    shutil.copytree(output, moved)
    shutil.rmtree(output)
    shutil.copytree(moved, output)  # other times, the same content
    told: list[str] = []
    assert segment(raw, output, told)
    assert not told
    assert (output / "thumbnail.png").exists()


def test_labels_of_all_times_are_joined_again(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 100, (3, 20, 24)).astype("u1")
    raw, output = tmp_path / "raw.npy", tmp_path / "labels.zarr"
    np.save(raw, array)
    how = {"axes": "tyx", "block": 12}
    assert segment(raw, output, **how)
    right = voxels(output)
    overwrite(chunks(output / "0")[1])
    assert segment(raw, output, **how)
    np.testing.assert_array_equal(voxels(output), right)
    chunks(output / "0")[2].unlink()
    assert segment(raw, output, **how)
    np.testing.assert_array_equal(voxels(output), right)
    made = chunks(output / "0")[0].stat().st_mtime_ns
    assert segment(raw, output, **how)
    assert chunks(output / "0")[0].stat().st_mtime_ns == made


def test_other_arrays_are_made_again_as_well(raw: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.zarr"
    how: dict[str, Any] = {"block": 32, "placement": Placement(0), "threshold": 60}
    assert run_array_work(ThresholdWork, raw, mask, **how)
    right = voxels(mask)
    for damage in (remove, overwrite):
        damage(chunks(mask)[1])
        done: list[Any] = []
        assert run_array_work(ThresholdWork, raw, mask, force=True, on_event=done.append, **how)
        assert sum(type(event).__name__ == "BlockStarted" for event in done) == 1
        np.testing.assert_array_equal(voxels(mask), right)
