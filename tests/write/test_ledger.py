"""What the ledger says can be had back, whenever its writer is killed or the power is cut."""

from __future__ import annotations

import errno
import queue
import random

import h5py
import numpy as np
import pytest

from cytovox.errors import StorageError
from cytovox.run.rows import FrameRows
from cytovox.write import HDF5Writer, QueueWriterThread, ledger
from cytovox.write.disk import Disk, DiskFile, Sink
from cytovox.write.ledger import (
    Checkpoint,
    Ledger,
    bytes_to_copy,
    complete_checkpoint,
    read_ledger,
    salvage,
)
from support.disk import RecordingDisk, after_kill, after_power_cut

FRAMES = 60
ROWS = 5


@pytest.fixture(scope="module")
def frames():
    """Number of events of each frame, and all rows by feature."""
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 4, FRAMES)
    total = int(counts.sum())
    rows = {
        "deform": rng.random(total),
        "mask": rng.integers(0, 2, (total, 6, 7), dtype=np.uint8) * 255,
        "image": rng.integers(0, 256, (total, 6, 7), dtype=np.uint8),
    }
    return counts, rows


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    shape = staticmethod(lambda item_shape, *_: (ROWS, *item_shape))
    monkeypatch.setattr(HDF5Writer, "get_best_nd_chunks", shape)


@pytest.fixture(params=[300, 16 << 20], ids=["short ledger", "long ledger"])
def spent_bytes(request, monkeypatch):
    monkeypatch.setattr(ledger, "_SPENT_BYTES", request.param)
    return request.param


class Notes:
    """A ledger beside a file, and what was noted after how many operations."""

    def __init__(self, folder, disk, name="data", durable_seconds=0.0):
        self.disk = disk
        self.made = []
        self.sink = Sink(folder / name, "x+b", disk=disk)
        self.ledger = Ledger(
            folder / "ledger",
            self.sink,
            durable_seconds=durable_seconds,
            on_durable=lambda frames, events: self.durable.append(
                (len(disk.operations), frames, events)
            ),
            disk=disk,
        )
        self.durable = []
        note = self.ledger.note

        def noted(*args, **kwargs):
            note(*args, **kwargs)
            self.made.append((len(disk.operations), self.ledger._frames))
            # every third is durable
            self.ledger.durable_seconds = 0.0 if len(self.made) % 3 == 2 else 1e9

        self.ledger.note = noted

    def close(self):
        self.ledger.close()
        self.sink.close()


def write(notes, frames, begin=0):
    """Write all frames that are not done, each as a group of its own."""
    counts, rows = frames
    ends = np.concatenate([[0], np.cumsum(counts)])
    events = queue.Queue()
    for frame in range(begin, FRAMES):
        part = {name: data[ends[frame] : ends[frame + 1]] for name, data in rows.items()}
        events.put(FrameRows(frame, counts[frame : frame + 1], part))
    writer = QueueWriterThread(
        events, None, counts, notes.sink, write_threshold=1, ledger=notes.ledger
    )
    writer.run()
    assert writer.complete, writer.error
    return writer


def put(folder, files):
    for path in folder.iterdir():
        path.unlink()
    for path, content in files.items():
        (folder / path.name).write_bytes(content)


def recover(folder, disk=None):
    """Salvage into whichever of two files is not named by the ledger."""
    records = read_ledger(folder / "ledger")
    if not records:
        return None, None
    torn = records[0].file
    if not (folder / torn).exists():
        return None, None
    name = "data" if torn == "other" else "other"
    (folder / name).unlink(missing_ok=True)
    notes = Notes(folder, disk or RecordingDisk(), name)
    checkpoint = salvage(records, folder / torn, notes.ledger, {}, lambda: None)
    if checkpoint is None:
        notes.close()
    return checkpoint, notes


def check(checkpoint, notes, frames):
    """The checkpoint, and the file, must be what was written of some first frames."""
    counts, rows = frames
    done = checkpoint.frames
    assert np.array_equal(checkpoint.counts, counts[:done])
    assert checkpoint.events == counts[:done].sum()
    assert checkpoint.objects[0] == checkpoint.events
    with h5py.File(notes.sink, "r") as h5:
        for name, data in rows.items():
            if name in checkpoint.rests:
                stored = np.concatenate([h5["events"][name][:], checkpoint.rests[name]])
                assert np.array_equal(stored, data[: checkpoint.events])
            else:
                assert not checkpoint.events
    index = checkpoint.rests["index_unmapped"]
    assert np.array_equal(index, np.repeat(np.arange(done), counts[:done]))


def check_kept(folder, noted, frames):
    """Salvage; at least so many frames must be there."""
    checkpoint, notes = recover(folder)
    if checkpoint is None:
        assert not noted
        return
    assert checkpoint.frames >= noted
    check(checkpoint, notes, frames)
    notes.close()


@pytest.fixture
def recorded(tmp_path, frames, spent_bytes):
    folder = tmp_path / "recorded"
    folder.mkdir()
    notes = Notes(folder, RecordingDisk())
    write(notes, frames)
    notes.ledger.complete(FRAMES, int(frames[0].sum()), (int(frames[0].sum()),) + (0,) * 7)
    notes.close()
    return notes


def places(operations, number=60):
    """Return some numbers of operations, spread over all, with the first and the last."""
    return sorted({*np.linspace(0, len(operations), number).astype(int).tolist()})


def test_after_a_kill_the_last_checkpoint_holds(tmp_path, frames, recorded):
    folder, operations = tmp_path / "kill", recorded.disk.operations
    folder.mkdir()
    rng = random.Random(1)
    for stop in places(operations):
        put(folder, after_kill(operations, stop, rng.choice([0.0, 0.3, 0.9])))
        noted = max((done for after, done in recorded.made if after <= stop), default=0)
        check_kept(folder, noted, frames)


@pytest.mark.parametrize("seed", range(3))
def test_after_a_power_cut_no_durable_checkpoint_is_lost(tmp_path, frames, recorded, seed):
    folder, operations = tmp_path / "cut", recorded.disk.operations
    folder.mkdir()
    rng = random.Random(seed)
    assert len(recorded.durable) >= 10
    for stop in places(operations):
        put(folder, after_power_cut(operations, stop, rng))
        noted = max((done for after, done, _ in recorded.durable if after <= stop), default=0)
        check_kept(folder, noted, frames)


@pytest.mark.parametrize("seed", range(3))
def test_going_on_may_itself_be_cut_short(tmp_path, frames, recorded, seed):
    folder, operations = tmp_path / "again", recorded.disk.operations
    folder.mkdir()
    rng = random.Random(seed)
    left = after_kill(operations, rng.randrange(len(operations) // 2, len(operations)))
    put(folder, left)
    disk = RecordingDisk()
    for name in ("data", "ledger"):
        disk.open(folder / name, "r+b").close()
    found = len(disk.operations)
    checkpoint, notes = recover(folder, disk)
    disk.remove(folder / "data")
    write(notes, frames, checkpoint.frames)
    notes.close()
    for stop in [found, *places(disk.operations), len(disk.operations)]:
        if stop < found:
            continue
        put(folder, after_power_cut(disk.operations, stop, rng))
        again, more = recover(folder)
        assert again.frames >= checkpoint.frames
        check(again, more, frames)
        more.close()


@pytest.mark.parametrize("stop", [0.2, 0.5, 0.8])
def test_a_file_that_is_resumed_holds_the_same(tmp_path, frames, recorded, stop):
    folder, operations = tmp_path / "on", recorded.disk.operations
    folder.mkdir()
    put(folder, after_kill(operations, int(len(operations) * stop)))
    checkpoint, notes = recover(folder)
    assert 0 < checkpoint.frames < FRAMES
    write(notes, frames, checkpoint.frames)
    notes.close()
    whole = recorded.sink.path
    with h5py.File(whole) as one, h5py.File(notes.sink.path) as other:
        assert one["events"].keys() == other["events"].keys()
        for name, dataset in one["events"].items():
            assert np.array_equal(dataset[:], other["events"][name][:]), name
            for row in range(0, len(dataset), ROWS):
                place = (row, *(0 for _ in dataset.shape[1:]))
                stored = [h5["events"][name].id.read_direct_chunk(place) for h5 in (one, other)]
                assert stored[0] == stored[1], f"{name}, row {row}"


def test_the_place_of_a_chunk_is_where_it_was_written(recorded):
    with h5py.File(recorded.sink.path) as h5:
        for feature, size, _, place in places_of(recorded.sink.path.with_name("ledger")):
            chunks = h5["events"][feature].id
            infos = [chunks.get_chunk_info(i) for i in range(chunks.get_num_chunks())]
            assert (place, size) in [(info.byte_offset, info.size) for info in infos]


def places_of(path):
    for record in read_ledger(path):
        for number, *others in ledger.CHUNK_NOTE.iter_unpack(record.chunks):
            yield record.features[number], *others


def test_a_chunk_of_which_nothing_was_seen_is_searched_for(tmp_path, frames, monkeypatch):
    notes = Notes(tmp_path, RecordingDisk())
    monkeypatch.setattr(Sink, "on_write", property(lambda _: None, lambda *_: None), raising=False)
    write(notes, frames)
    notes.close()
    checkpoint, more = recover(tmp_path)
    assert checkpoint.frames == FRAMES
    check(checkpoint, more, frames)
    more.close()


def test_damaged_chunks_lead_back_to_an_earlier_checkpoint(frames, recorded, spent_bytes):
    folder = recorded.sink.path.parent
    content = bytearray(recorded.sink.path.read_bytes())
    notes = list(places_of(folder / "ledger"))
    _, size, _, place = notes[len(notes) // 2]
    content[place + size // 2] ^= 1
    recorded.sink.path.write_bytes(content)
    checkpoint, more = recover(folder)
    if checkpoint is None:
        assert spent_bytes == 300, "the first record has all chunks if the ledger began anew"
        return
    assert 0 < checkpoint.frames < FRAMES
    check(checkpoint, more, frames)
    more.close()


def test_only_a_file_of_the_noted_size_is_complete(recorded):
    path = recorded.sink.path
    records = read_ledger(path.with_name("ledger"))
    complete = complete_checkpoint(records, path)
    assert complete.is_complete
    assert complete.frames == FRAMES
    assert complete_checkpoint(records[:-1], path) is None
    path.write_bytes(path.read_bytes()[:-1])
    assert complete_checkpoint(records, path) is None
    path.unlink()
    assert complete_checkpoint(records, path) is None


def test_the_bytes_to_copy_are_those_of_the_chunks(recorded):
    path = recorded.sink.path.with_name("ledger")
    assert bytes_to_copy(read_ledger(path)) == sum(size for _, size, *_ in places_of(path)) > 0


def test_what_is_not_a_ledger_has_no_records(tmp_path, recorded):
    content = recorded.sink.path.with_name("ledger").read_bytes()
    path = tmp_path / "ledger"
    for other in (b"", b"other" * 40, bytes(200), content[1:], content[:-1][:60]):
        path.write_bytes(other)
        assert read_ledger(path) == []
    assert read_ledger(tmp_path / "missing") == []


def test_records_of_another_ledger_do_not_follow(tmp_path):
    def begun(name):
        (tmp_path / name).mkdir()
        notes = Notes(tmp_path / name, RecordingDisk())
        for number in range(2):
            notes.ledger.count(np.array([number]))
            notes.ledger.note((number,), {"deform": np.arange(float(number))})
        notes.close()
        path = tmp_path / name / "ledger"
        (first, _) = read_ledger(path)
        return path.read_bytes(), len(first.encode(0))

    one, stop = begun("one")
    assert [record.frames for record in read_ledger(tmp_path / "one" / "ledger")] == [1, 2]
    (tmp_path / "mixed").write_bytes(one[:stop] + one[:stop])
    assert len(read_ledger(tmp_path / "mixed")) == 1


class FullDisk(Disk):
    """Refuses to write or synchronise from the k-th time on."""

    def __init__(self, good):
        self.good = good

    def count(self):
        self.good -= 1
        if self.good < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, path, mode):
        disk = self

        class File(DiskFile):
            def write_at(self, offset, view):
                disk.count()
                return super().write_at(offset, view)

            def sync(self):
                disk.count()

        return File(path, mode)


@pytest.mark.parametrize("good", [0, 3, 20, 21, 22, 50, 51, 52, 120, 200])
def test_a_full_disk_loses_no_checkpoint(tmp_path, frames, good):
    disk = FullDisk(good)
    disk.operations = ()
    notes = Notes(tmp_path, disk)
    counts, _ = frames
    with pytest.raises(AssertionError, match="No space"):
        write(notes, frames)
    notes.close()
    check_kept(tmp_path, max((done for _, done in notes.made), default=0), frames)


def test_a_stop_while_chunks_are_copied_leaves_all(tmp_path, frames, recorded):
    folder = recorded.sink.path.parent
    before = (folder / "ledger").read_bytes(), recorded.sink.path.read_bytes()

    def stop():
        raise StorageError("stopped")

    notes = Notes(folder, RecordingDisk(), "other")
    with pytest.raises(StorageError, match="stopped"):
        salvage(read_ledger(folder / "ledger"), recorded.sink.path, notes.ledger, {}, stop)
    notes.close()
    assert ((folder / "ledger").read_bytes(), recorded.sink.path.read_bytes()) == before


def test_an_empty_checkpoint_has_no_frames():
    assert Checkpoint().frames == Checkpoint().events == len(Checkpoint().counts) == 0
