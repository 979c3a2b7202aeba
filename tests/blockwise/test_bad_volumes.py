"""What goes wrong with a volume is said, costs only itself, and leaves no trace once mended.

Every test ends in the same way: the cause is taken away, the same call is made
again, and the labels are to the voxel those of a run in which nothing failed.
"""

from __future__ import annotations

import collections
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate, Roi
from scipy import ndimage

from cytovox.blockwise import volume_blocks
from cytovox.blockwise.array_run import run_array_work
from cytovox.blockwise.evidence_file import EvidenceFolder
from cytovox.blockwise.placement import Placement
from cytovox.blockwise.recipe import side_folder
from cytovox.blockwise.segment_region import segment_blockwise
from cytovox.blockwise.threshold_worker import ThresholdWork
from cytovox.blockwise.volumes import restitch_volume, segment_volume
from cytovox.cli.main import main
from cytovox.errors import (
    InputError,
    InputNotFoundError,
    OptionError,
    OutputBusyError,
    UsageError,
)
from cytovox.read.open_volume import open_volume
from cytovox.run.journal import FingerprintChangedError, Journal, read_journal
from cytovox.write.volume_creation import FORMATS, create_labels

Capture = pytest.CaptureFixture[str]

#: 3 x 3 blocks; the first voxel of each tells which one it is.
SHAPE, BLOCK = (24, 24), 8

FUNCTION = '''
"""Finds cells, unless a file says what else to do with a block."""
import os, signal, sys, time
from pathlib import Path
import numpy as np

def find(array, *, folder):
    number = int(array[0, 0]) - 1
    with open(Path(folder) / "calls", "a") as file:
        file.write(f"{number}\\n")
    sick = Path(folder) / f"sick-{number}"
    how = sick.read_text() if sick.exists() else ""
    labels = (array > 100).astype(np.int64)
    labels *= 1 + np.arange(array.size).reshape(array.shape) % 3
    if how == "shape":
        return labels[1:]
    if how == "negative":
        return -labels
    if how == "float":
        return labels.astype(float)
    if how == "nan":
        return np.where(labels > 0, labels, np.nan)
    if how == "text":
        return labels.astype(str)
    if how == "list":
        return labels.tolist()
    if how == "none":
        return None
    if how == "raise":
        raise ValueError("no cells here")
    if how == "sys.exit":
        sys.exit("enough")
    if how == "os._exit":
        os._exit(7)
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        time.sleep(600)
    if how == "eat":
        np.ones(2**33, np.uint8)
    if how == "full":
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, resource.RLIM_INFINITY))
    elif how:
        old, new = how.split(" > ")
        os.replace(old, new)
    return labels
'''


class Job:
    """A volume of nine blocks, of which some can be made sick."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw = folder / "raw.npy"
        self.output = folder / "out.zarr"
        self.side = side_folder(self.output)
        rng = np.random.default_rng(0)
        self.image = (rng.random(SHAPE) < 0.4).astype(np.uint8) * 200
        self.image[::BLOCK, ::BLOCK] = 1 + np.arange(9).reshape(3, 3)
        np.save(self.raw, self.image)
        (folder / "cells.py").write_text(FUNCTION)

    @property
    def function(self) -> str:
        return f"{self.folder / 'cells.py'}:find"

    def run(self, output: Path | None = None, **more: Any) -> Any:
        given: dict[str, Any] = {
            "block": BLOCK,
            "context": 0,
            "stitch": "touch",
            "workers": 0,
            "retries": 0,
            "parameters": {"folder": str(self.folder)},
        }
        return segment_volume(self.raw, output or self.output, self.function, **(given | more))

    def command(self, *more: str) -> int:
        words = ["volume", "segment", str(self.raw), str(self.output), "-f", self.function]
        words += ["--set", f"folder={self.folder}", "--block", str(BLOCK), "--stitch", "touch"]
        return main([*words, *more])

    def make_sick(self, block: int, how: str) -> None:
        (self.folder / f"sick-{block}").write_text(how)

    def heal(self) -> None:
        for file in self.folder.glob("sick-*"):
            file.unlink()

    def calls(self) -> dict[int, int]:
        """How often the function was called for each block, since this was asked last."""
        file = self.folder / "calls"
        lines = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return dict(collections.Counter(map(int, lines)))

    def states(self, stage: str = "segment") -> dict[Any, str]:
        """What the journal tells of each block; each of its lines must be whole."""
        for line in (self.side / "journal.jsonl").read_text().splitlines():
            assert isinstance(json.loads(line), dict)
        content = read_journal(self.side / "journal.jsonl")
        assert content.torn == 0
        return {key: record.state for key, record in content.stages.get(stage, {}).items()}

    def labels(self, output: Path | None = None) -> np.ndarray:
        with open_volume(output or self.output) as volume:
            return volume[...]

    def truth(self) -> np.ndarray:
        """The labels of a run in which nothing fails."""
        expected = self.folder / "expected.zarr"
        if not expected.exists():
            assert self.run(expected, objects=False)
        return self.labels(expected)

    def recovers(self, blocks: set[int], **more: Any) -> None:
        """Do the same again; only these blocks may be done, and all is as it should be."""
        self.heal()
        self.calls()
        result = self.run(**more)
        assert result
        assert set(self.calls()) == blocks
        assert set(self.states().values()) == {"done"}
        np.testing.assert_array_equal(self.labels(), self.truth())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.fixture
def zarr_job(job: Job) -> Job:
    """The same with an input of many chunks: file ``raw.zarr/c/I/J`` for each block."""
    job.raw = job.folder / "raw.zarr"
    zarr.create_array(job.raw, data=job.image, chunks=(BLOCK, BLOCK))
    return job


# What the function returns


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("shape", r"labels of shape \(7, 8\) for a block of \(8, 8\)"),
        ("negative", r"a negative label \(-3\)"),
        ("float", "type float64, which are not labels"),
        ("nan", "returned NaN"),
        ("text", "which are not labels"),
        ("list", "returned a list, not an array"),
        ("none", "returned a NoneType, not an array"),
        ("raise", "ValueError: no cells here"),
        ("sys.exit", r"called sys.exit\('enough'\)"),
    ],
)
def test_bad_answers_cost_their_block(job: Job, how: str, said: str) -> None:
    job.make_sick(4, how)
    result = job.run()
    assert not result
    assert result.output is None
    assert not job.output.exists()
    assert [failure.block for failure in result.failed] == [4]
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(result.failed[0].error)
    states = job.states()
    assert states.pop(4) == "failed"
    assert list(states.values()) == ["done"] * 8
    assert not result.table
    job.recovers({4})


def test_each_kind_of_death_costs_its_block(job: Job, capsys: Capture) -> None:
    """One run in which most of what can happen to a block does happen to one."""
    sick = {
        0: ("raise", "error", "no cells here"),
        2: ("os._exit", "killed", "7"),
        4: ("hang", "timeout", "longer than 20 s"),
        5: ("sys.exit", "error", "sys.exit('enough')"),
        7: ("die", "killed", "SIGKILL"),
        8: ("eat", "error", "8.00 GiB"),
    }
    for block, (how, _, _) in sick.items():
        job.make_sick(block, how)
    limits = ["--workers", "2", "--retries", "0", "--timeout", "20", "--memory", "3G"]
    assert job.command(*limits, "--json") == 4
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 4
    assert told["output"] is None
    assert not job.output.exists()
    assert [failure["block"] for failure in told["failed"]] == list(sick)
    for failure in told["failed"]:
        _, reason, words = sick[failure["block"]]
        assert failure["reason"] == reason
        assert words in failure["error"]
    assert {b for b, state in job.states().items() if state == "done"} == {1, 3, 6}
    job.recovers(set(sick))


def test_failures_are_told_in_words(job: Job, capsys: Capture) -> None:
    job.make_sick(3, "shape")
    job.make_sick(6, "raise")
    assert job.command("--workers", "0", "--retries", "1") == 4
    err = capsys.readouterr().err
    assert "block 3" in err
    assert "labels of shape (7, 8) for a block of (8, 8)" in err
    assert "block 6: segment failed: ValueError: no cells here (attempts: 2)" in err
    assert "2 of 9 blocks failed; the same command does only those again" in err
    # A wrong shape comes again, so that block is not tried again.
    assert job.calls() == dict.fromkeys(range(9), 1) | {6: 2}
    job.recovers({3, 6})


# Blocks


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("block", [(8, 24, 3), (7, 5, 4), (1, 24, 9), (100, 9, 2)])
def test_the_output_is_laid_out_for_any_block(
    tmp_path: Path, format: str, block: tuple[int, ...]
) -> None:
    image = np.random.default_rng(0).random((9, 24, 10)) < 0.3
    np.save(tmp_path / "raw.npy", image)
    result = segment_volume(
        tmp_path / "raw.npy",
        tmp_path / "out.zarr",
        "label",
        block=block,
        context=0,
        stitch="touch",
        workers=0,
        objects=False,
        format=format,
    )
    assert result.objects == ndimage.label(image)[1]
    with open_volume(tmp_path / "out.zarr") as labels:
        np.testing.assert_array_equal(labels[...] > 0, image)
        unit = zip(block, labels.write_unit, labels.shape, strict=True)
        assert all(b % u == 0 or b >= n for b, u, n in unit)


def test_an_output_that_cannot_be_is_refused_before_work(job: Job) -> None:
    with pytest.raises(OptionError, match="three axes"):
        job.run(format="precomputed")
    with pytest.raises(OptionError, match="'n5' is not written"):
        job.run(format="n5")
    assert not job.calls()
    job.recovers(set(range(9)))


def test_blocks_that_cut_chunks_are_refused(job: Job) -> None:
    with pytest.raises(UsageError, match=r"blocks of \(16, 32\) or \(32, 32\) would do"):
        create_labels(job.output, shape=(64, 64), block=(20, 32), chunk=(16, 16))
    with create_labels(job.output, shape=(64, 64), block=(16, 16), chunk=(16, 16)) as labels:
        with pytest.raises(UsageError, match=r"write \(\(16, 48\), \(0, 32\)\)"):
            labels.write(((20, 36), (0, 32)), np.ones((16, 32), np.uint32))
        assert not labels[...].any()


# The input


def test_input_vanished_between_runs(job: Job, capsys: Capture) -> None:
    job.make_sick(4, "raise")
    assert not job.run()
    before = (job.side / "journal.jsonl").read_bytes()
    job.raw.rename(job.folder / "elsewhere.npy")
    with pytest.raises(InputNotFoundError, match=r"raw\.npy"):
        job.run()
    assert job.command("--workers", "0") == 74
    assert "raw.npy" in capsys.readouterr().err
    assert (job.side / "journal.jsonl").read_bytes() == before
    (job.folder / "elsewhere.npy").rename(job.raw)
    job.recovers({4})


@pytest.mark.parametrize("workers", [0, 1])
def test_input_vanished_while_it_is_read(zarr_job: Job, workers: int) -> None:
    """Chunks that are not there count as empty in zarr; those of a lost disk must not."""
    job = zarr_job
    away = job.folder / "away.zarr"
    job.make_sick(3, f"{job.raw} > {away}")
    with pytest.raises(InputError, match=r"raw\.zarr: the input has vanished"):
        job.run(workers=workers)
    assert not job.output.exists()
    states = job.states()
    assert {b for b, state in states.items() if state == "done"} == {0, 1, 2, 3}
    assert {b for b, state in states.items() if state == "failed"} == {4, 5, 6, 7, 8}
    away.rename(job.raw)
    job.recovers({4, 5, 6, 7, 8})


@pytest.mark.parametrize("kind", ["chunk", "file"])
def test_input_changed_while_it_is_read(job: Job, kind: str) -> None:
    """What was segmented meanwhile cannot be told from what was not, so none of it counts."""
    if kind == "chunk":
        job.raw = job.folder / "raw.zarr"
        zarr.create_array(job.raw, data=job.image, chunks=(BLOCK, BLOCK))
        part, away = job.raw / "c" / "2" / "1", job.folder / "away"
        job.make_sick(3, f"{part} > {away}")
    else:
        part, away = job.raw, job.folder / "away"
        shutil.copy2(part, away)
        np.save(job.folder / "other.npy", job.image // 2)
        job.make_sick(3, f"{job.folder / 'other.npy'} > {part}")
    job.make_sick(0, "raise")
    with pytest.raises(InputError, match="the input has changed while it was read"):
        job.run()
    assert not job.output.exists()
    assert "done" not in job.states().values()
    os.replace(away, part)
    job.recovers(set(range(9)))


def test_blocks_of_an_earlier_run_outlive_a_change(zarr_job: Job) -> None:
    job = zarr_job
    for block in (3, 4):
        job.make_sick(block, "raise")
    assert not job.run()
    part, away = job.raw / "c" / "1" / "1", job.folder / "away"
    job.make_sick(3, f"{part} > {away}")
    (job.folder / "sick-4").unlink()
    with pytest.raises(InputError, match="the input has changed while it was read"):
        job.run()
    away.rename(part)
    job.recovers({3, 4})


def test_truncated_chunk_of_the_input(zarr_job: Job, capsys: Capture) -> None:
    job = zarr_job
    chunk = job.raw / "c" / "1" / "2"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    assert job.command("--workers", "0", "--retries", "0") == 4
    err = capsys.readouterr().err
    assert "block 5" in err
    assert "raw.zarr" in err
    assert set(job.calls()) == {0, 1, 2, 3, 4, 6, 7, 8}
    assert not job.output.exists()
    chunk.write_bytes(whole)
    with pytest.raises(FingerprintChangedError, match="input: content"):
        job.run()  # for all we know, the other chunks were exchanged as well
    assert set(job.states().values()) == {"done", "failed"}
    assert job.run(resume=False)
    np.testing.assert_array_equal(job.labels(), job.truth())


# What a run has written itself


def chunks_of(folder: Path) -> list[Path]:
    """The files with voxels of an array of ours."""
    return sorted(p for p in (folder / "0" / "c").rglob("*") if p.is_file())


def delete(file: Path, folder: Path) -> None:
    file.unlink()


def cut(file: Path, folder: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path, folder: Path) -> None:
    file.write_bytes(b"")


def blank(file: Path, folder: Path) -> None:
    """What a file system may leave of a file after a power cut."""
    file.write_bytes(bytes(file.stat().st_size))


def swap(file: Path, folder: Path) -> None:
    """Whole, but of another block."""
    other = next(other for other in chunks_of(folder) if other != file)
    shutil.copy(other, file)


DAMAGES = [delete, cut, empty, blank, swap]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_labels_of_a_block_are_made_again(
    job: Job, damage: Callable[[Path, Path], None]
) -> None:
    job.make_sick(4, "raise")
    assert not job.run()
    local = job.side / "local.zarr"
    damage(chunks_of(local)[5], local)  # block 4 has no chunk, this one is of block 6
    job.recovers({4, 6})


def test_all_damaged_labels_are_made_again(job: Job) -> None:
    job.make_sick(4, "raise")
    assert not job.run()
    for chunk in chunks_of(job.side / "local.zarr"):
        cut(chunk, chunk)
    job.recovers(set(range(9)))


def test_labels_that_cannot_be_kept_are_said(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A disk that gives back something else each time."""
    write = volume_blocks.SegmentPass.__call__

    def forgetful(self: Any, block: Any) -> Any:
        told = write(self, block)
        chunk = Path(self.labels) / "0" / "c" / "1" / "0"
        if block.index == 3:
            cut(chunk, chunk)
        return told

    with monkeypatch.context() as patch:
        patch.setattr(volume_blocks.SegmentPass, "__call__", forgetful)
        assert job.command("--workers", "0") == 4
    err = capsys.readouterr().err
    assert "block 3" in err
    assert "damaged" in err
    assert not job.output.exists()
    job.recovers({3})


@pytest.mark.parametrize("damage", [delete, cut, swap])
def test_damaged_final_labels_are_made_again(
    job: Job, damage: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_at(monkeypatch, volume_blocks.RelabelPass, 6), pytest.raises(KeyboardInterrupt):
        job.run()
    assert not job.output.exists()
    final = job.side / "final" / job.output.name
    damage(chunks_of(final)[2], final)
    times = {chunk: chunk.stat().st_mtime_ns for chunk in chunks_of(final)}
    kept = []
    publish = "cytovox.blockwise.block_run.publish"

    def note_and_publish(made: Path, *others: Path) -> None:
        kept.extend(c for c in chunks_of(made) if c.stat().st_mtime_ns == times.get(c))
        os.replace(made, others[0])

    monkeypatch.setattr(publish, note_and_publish)
    job.recovers(set())
    assert len(kept) == 5


@contextmanager
def stopped_at(patch: pytest.MonkeyPatch, work: type, index: int) -> Iterator[None]:
    """Stop the run by Ctrl-C when it comes to a block."""
    call = work.__call__

    def stop(self: Any, block: Any) -> Any:
        if block.index == index:
            raise KeyboardInterrupt
        return call(self, block)

    with patch.context() as inside:
        inside.setattr(work, "__call__", stop)
        yield


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: b"",
        lambda record: record[: len(record) // 2],
        lambda record: bytes(len(record)),
        lambda record: bytes([record[0] ^ 0xFF]) + record[1:],
        lambda record: record[:40] + bytes([record[40] ^ 0xFF]) + record[41:],
        lambda record: record[:-9] + bytes([record[-9] ^ 0xFF]) + record[-8:],
    ],
    ids=["gone", "cut", "zeros", "magic", "header", "content"],
)
def test_damaged_evidence_is_made_again(job: Job, damage: Callable[[bytes], bytes]) -> None:
    job.make_sick(4, "raise")
    assert not job.run()
    path, at, size = EvidenceFolder(job.side / "blocks").place(7)
    content = path.read_bytes()
    path.write_bytes(content[:at] + damage(content[at : at + size]) + content[at + size :])
    job.recovers({4, 7})


def test_labels_of_the_blocks_are_gone(job: Job) -> None:
    job.make_sick(4, "raise")
    assert not job.run()
    shutil.rmtree(job.side / "local.zarr")
    job.recovers(set(range(9)))


def test_stitching_again_says_what_is_damaged(job: Job, capsys: Capture) -> None:
    assert job.run()
    kept = job.labels()
    local = job.side / "local.zarr"
    cut(chunks_of(local)[2], local)
    words = ["volume", "restitch", str(job.output), "--stitch", "none", "--workers", "0"]
    assert main(words) == 74
    err = capsys.readouterr().err
    assert "block 2" in err
    assert "damaged" in err
    assert "cytovox volume segment" in err
    np.testing.assert_array_equal(job.labels(), kept)
    with pytest.raises(UsageError, match="1 of 9 blocks are not segmented"):
        restitch_volume(job.output, stitch="none", workers=0)
    job.recovers({2})
    assert restitch_volume(job.output, stitch="none", workers=0)


def test_torn_journal(job: Job) -> None:
    """A torn line costs the block that it was about, and nothing else."""
    job.make_sick(4, "raise")
    assert not job.run()
    path = job.side / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if b'"done"' in line and b'"block":8' in line)
    path.write_bytes(b"".join(lines[:last]) + lines[last][:-20])
    job.heal()
    job.calls()
    assert job.run()
    assert set(job.calls()) == {4, 8}
    np.testing.assert_array_equal(job.labels(), job.truth())
    assert read_journal(path).torn == 1


# The disk


def test_full_disk_in_a_worker(job: Job, capsys: Capture) -> None:
    """The worker of one block may write no file of more than 40 bytes."""
    pytest.importorskip("resource")
    job.make_sick(8, "full")
    assert job.command("--workers", "1", "--retries", "0") == 4
    err = capsys.readouterr().err
    assert "block 8" in err
    assert "it cannot be written" in err
    assert not job.output.exists()
    job.recovers({8})


def no_space(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", ["evidence", "journal", "scratch", "lookup", "table", "publish"])
def test_full_disk_in_the_driver(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: Capture, what: str
) -> None:
    calls = [0]

    with monkeypatch.context() as patch:
        if what == "evidence":
            opened = os.open

            def third(path: Any, *args: Any, **kwargs: Any) -> int:
                calls[0] += Path(path).suffix == ".pack"
                return no_space() if calls[0] == 3 else opened(path, *args, **kwargs)

            patch.setattr(os, "open", third)
        elif what == "journal":
            real: Any = Journal.done
            write = Journal._write  # noqa: SLF001

            def done(self: Journal, *args: Any, **kwargs: Any) -> None:
                calls[0] += 1
                if calls[0] == 3:
                    with monkeypatch.context() as inner:
                        inner.setattr(os, "write", no_space)
                        write(self, b"{}")
                real(self, *args, **kwargs)

            patch.setattr(Journal, "done", done)
        elif what == "scratch":
            # Memory that is mapped to a file without room would end the process.
            patch.setattr(os, "posix_fallocate", no_space)
        elif what == "lookup":
            patch.setattr("cytovox.blockwise.lookup.np.save", no_space)
        elif what == "table":
            patch.setattr("pyarrow.parquet.ParquetWriter.write_table", no_space)
        else:
            replace = os.replace

            def refuse(a: Any, b: Any) -> None:
                no_space() if Path(b) == job.output else replace(a, b)

            patch.setattr(os, "replace", refuse)
        code = job.command("--workers", "0", "--retries", "0")
    err = capsys.readouterr().err
    assert "No space left" in err
    assert not job.output.exists()
    assert code == 74
    if what == "evidence":
        assert "no room for the result of block 2" in err
        assert set(job.calls()) == {0, 1, 2}  # no others were computed for nothing
    job.states()
    job.heal()
    assert job.run()
    np.testing.assert_array_equal(job.labels(), job.truth())


ON_SMALL_DISKS = """
import subprocess, sys
from pathlib import Path
from cytovox.cli.main import main

if __name__ == "__main__":
    folder, sizes, raw, words = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
    for size in sizes.split():
        disk, out = folder / f"disk-{size}", folder / f"disk-{size}" / "out.zarr"
        disk.mkdir()
        command = ["volume", "segment", raw, str(out), *words]
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)
        print("CODE", main(command), out.exists(), flush=True)
        print("NEXT", file=sys.stderr)
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        print("CODE", main(command), out.exists(), flush=True)
        subprocess.run(["cp", "-r", out, folder / f"copy-{size}"], check=True)
        print("NEXT", file=sys.stderr)
"""


@pytest.mark.parametrize(("sizes", "workers"), [([8, 80, 128], 0), ([48], 1)])
def test_a_disk_that_is_really_full(job: Job, sizes: list[int], workers: int) -> None:
    """A disk of a few pages; then room is made, and the same command goes on."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    disk = job.folder / "disk"
    disk.mkdir()
    tries = [*unshare, "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if not shutil.which("unshare") or subprocess.run(tries, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    script = job.folder / "on_small_disks.py"
    script.write_text(ON_SMALL_DISKS)
    words = [str(job.folder), " ".join(map(str, sizes)), str(job.raw), "-f", job.function]
    words += ["--set", f"folder={job.folder}", "--block", "8", "--stitch", "touch"]
    words += ["--workers", str(workers), "--retries", "0"]
    done = subprocess.run(
        [*unshare, sys.executable, str(script), *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("CODE")]
    assert told == [["74", "False"], ["0", "True"]] * len(sizes), done.stderr
    for text in done.stderr.split("NEXT\n")[:-1:2]:
        assert "full" in text or "No space left" in text
    for size in sizes:
        copy = job.folder / f"copy-{size}"
        np.testing.assert_array_equal(job.labels(copy), job.truth())


# Others


def test_two_runs_on_one_output(job: Job, capsys: Capture) -> None:
    """One of them works, and the others say so at once."""
    refused = threading.Event()
    inside = threading.Event()

    def patient(array: np.ndarray) -> np.ndarray:
        inside.set()
        assert refused.wait(600)
        return array > 100

    results: list[Any] = []
    given: dict[str, Any] = {"block": BLOCK, "context": 0, "stitch": "touch", "workers": 0}

    def first() -> None:
        results.append(segment_volume(job.raw, job.output, patient, **given))

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert inside.wait(600)
        for _ in range(3):
            with pytest.raises(OutputBusyError, match=rf"out\.zarr.*process {os.getpid()} on"):
                segment_volume(job.raw, job.output, patient, **given)
        assert job.command("--workers", "0") == 75
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "is making this output (wait for it, or stop it)" in err
        assert main(["volume", "restitch", str(job.output), "--stitch", "none"]) in (74, 75)
        assert not job.calls()
    finally:
        refused.set()
        thread.join(600)
    assert [bool(result) for result in results] == [True]
    np.testing.assert_array_equal(job.labels() > 0, job.image > 100)
    assert set(job.states().values()) == {"done"}


def test_labels_of_another_recipe(job: Job) -> None:
    """They stay until the new ones are whole, and never mix with those."""
    assert job.run()
    old = job.labels()
    (job.folder / "cells.py").write_text(FUNCTION.replace("% 3", "% 2"))
    with pytest.raises(FingerprintChangedError, match="function: source"):
        job.run()
    with pytest.raises(FingerprintChangedError, match="geometry: block"):
        job.run(block=6)
    np.testing.assert_array_equal(job.labels(), old)
    job.make_sick(4, "raise")
    assert not job.run(resume=False)
    np.testing.assert_array_equal(job.labels(), old)
    job.recovers({4})
    assert not np.array_equal(job.labels(), old)


def test_labels_of_another_geometry(job: Job) -> None:
    assert job.run()
    job.image = np.zeros((16, 8), np.uint8)
    job.image[::BLOCK, ::BLOCK] = [[1], [2]]
    job.image[3:12, 4] = 200
    np.save(job.raw, job.image)
    with pytest.raises(FingerprintChangedError, match="input"):
        job.run()
    result = job.run(resume=False, stitch="none")
    assert result
    assert set(job.states()) == {0, 1}
    np.testing.assert_array_equal(job.labels() > 0, job.image > 100)


# Arrays that are made from arrays


def make_mask(job: Job, output: str = "mask.zarr") -> Any:
    return run_array_work(
        ThresholdWork,
        job.raw,
        job.folder / output,
        block=BLOCK,
        placement=Placement(0, retries=0),
        threshold=100,
    )


@pytest.mark.parametrize("damage", [delete, cut, swap])
def test_damaged_blocks_of_an_array_are_made_again(
    job: Job, damage: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_at(monkeypatch, ThresholdWork, 6), pytest.raises(KeyboardInterrupt):
        make_mask(job)
    making = side_folder(job.folder / "mask.zarr") / "making" / "mask.zarr"
    damage(chunks_of(making)[2], making)
    assert make_mask(job)
    np.testing.assert_array_equal(job.labels(job.folder / "mask.zarr"), job.image > 100)


def test_input_of_an_array_changed_while_it_is_read(
    zarr_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = zarr_job
    part, away = job.raw / "c" / "2" / "1", job.folder / "away"
    call = ThresholdWork.__call__

    def lose(self: Any, block: Any) -> Any:
        if block.index == 3:
            part.rename(away)
        return call(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(ThresholdWork, "__call__", lose)
        with pytest.raises(InputError, match="changed while"):
            make_mask(job)
    assert not (job.folder / "mask.zarr").exists()
    away.rename(part)
    assert make_mask(job)
    np.testing.assert_array_equal(job.labels(job.folder / "mask.zarr"), job.image > 100)


REGION_FUNCTION = """
from pathlib import Path
import numpy as np

def segment_function(input_array, block):
    if Path(__file__).with_name("sick").exists() and not any(block.write_roi.begin):
        raise ValueError("no cells here")
    return (input_array > 100).astype(np.uint64)
"""


@pytest.mark.parametrize("damage", [delete, cut, "half"])
def test_damaged_labels_of_a_region_are_made_again(job: Job, damage: Any) -> None:
    """The documented way to segment finds them as well, and mends them at the next call."""
    file, sick = job.folder / "region.py", job.folder / "sick"
    file.write_text(REGION_FUNCTION)
    sick.touch()
    block = Roi((0, 0), (BLOCK, BLOCK))

    def run() -> Any:
        total, none = Roi((0, 0), SHAPE), Coordinate((0, 0))
        given: dict[str, Any] = {"input": job.raw, "output": job.output, "stitch": "none"}
        return segment_blockwise(file, none, total, block, block, 0, 0, **given)

    assert not run()
    local = job.side / "local.zarr"
    if damage == "half":  # as if the disk had been full when it was made
        (local / ".zarray").unlink()
    else:
        damage(local / "1" / "1", local)
    sick.unlink()
    if damage != "half":
        result = run()
        assert not result
        assert "labels are damaged" in result.failed[0].error
        assert not job.output.exists()
    assert run()
    np.testing.assert_array_equal(job.labels() > 0, job.image > 100)


CHANGING_FUNCTION = """
import os, shutil
from pathlib import Path
import numpy as np

def segment_function(input_array, block):
    here = Path(__file__).parent
    if (here / "change").exists() and not any(block.write_roi.begin):
        os.replace(here / "raw.npy", here / "away.npy")
        shutil.copy(here / "away.npy", here / "raw.npy")
    return (input_array > 100).astype(np.uint64)
"""


def test_input_of_a_region_changed_while_it_is_read(job: Job) -> None:
    file, change = job.folder / "region.py", job.folder / "change"
    file.write_text(CHANGING_FUNCTION)
    change.touch()
    total, block, none = Roi((0, 0), SHAPE), Roi((0, 0), (BLOCK, BLOCK)), Coordinate((0, 0))
    given: dict[str, Any] = {"input": job.raw, "output": job.output, "stitch": "none"}
    with pytest.raises(InputError, match="changed while"):
        segment_blockwise(file, none, total, block, block, 0, 0, **given)
    assert not job.output.exists()
    change.unlink()
    os.replace(job.folder / "away.npy", job.raw)
    result = segment_blockwise(file, none, total, block, block, 0, 0, **given)
    assert (bool(result), result.skipped) == (True, 0)
    np.testing.assert_array_equal(job.labels() > 0, job.image > 100)
