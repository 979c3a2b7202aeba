from __future__ import annotations

import collections
import multiprocessing as mp
import queue
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytovox.errors import StageError, StorageError
from cytovox.run.rows import FrameRows
from cytovox.write import ChunkWriter, HDF5Writer, QueueWriterThread
from cytovox.write.disk import Sink

LIMIT = 600


class Size:
    value = 0


def events_of(frame: int, number: int) -> dict[str, np.ndarray] | None:
    if not number:
        return None
    values = frame + np.arange(number) / 100
    return {"deform": values, "mask": np.tile(values[:, None, None] > 3, (1, 2, 3))}


def batch_of(first: int, counts: list[int]) -> FrameRows:
    each = [e for i, n in enumerate(counts) if (e := events_of(first + i, n))]
    rows = {feat: np.concatenate([e[feat] for e in each]) for feat in (each[0] if each else ())}
    return FrameRows(first, np.array(counts, dtype=np.int64), rows)


def start(path: Path, items, total: int, **kwargs) -> QueueWriterThread:
    events: queue.Queue = queue.Queue()
    for item in items:
        events.put(item)
    kwargs.setdefault("idle_limit", LIMIT)
    counts = kwargs.pop("feat_nevents", [-1] * total)
    writer = QueueWriterThread(events, Size(), counts, path, {"compression": None}, **kwargs)
    writer.start()
    return writer


def finish(writer: QueueWriterThread) -> QueueWriterThread:
    writer.join(LIMIT)
    assert not writer.is_alive()
    return writer


@given(
    counts=st.lists(st.integers(0, 3), max_size=25),
    threshold=st.sampled_from([1, 2, 7, 500]),
    data=st.data(),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_order_and_any_batches_give_the_same_file(tmp_path, counts, threshold, data):
    borders = sorted(data.draw(st.sets(st.integers(0, len(counts)))) | {0, len(counts)})
    batches = data.draw(st.permutations(list(zip(borders, borders[1:], strict=False))))
    items = [
        (a, events_of(a, counts[a])) if b == a + 1 else batch_of(a, counts[a:b])
        for a, b in batches
    ]
    path, plain = tmp_path / "out.rtdc", tmp_path / "plain.rtdc"
    for file, order in ((path, items), (plain, [batch_of(0, counts)])):
        file.unlink(missing_ok=True)
        writer = finish(start(file, order, len(counts), write_threshold=threshold))
        assert writer.error is None
        assert writer.complete
        assert (writer.written_frames, writer.written_events) == (len(counts), sum(counts))
    assert path.read_bytes() == plain.read_bytes()
    with h5py.File(path) as h5:
        events = h5["events"]
        if sum(counts):
            expected = [v for i, n in enumerate(counts) for v in i + np.arange(n) / 100]
            np.testing.assert_array_equal(events["deform"][:], expected)
            assert events["mask"].dtype == np.uint8
        if counts:
            assert events["index_unmapped"].dtype == np.uint32
            assert events["nevents"].dtype == np.int64
            assert (
                events["index_unmapped"][:].tolist()
                == np.repeat(np.arange(len(counts)), counts).tolist()
            )
            assert events["nevents"][:].tolist() == np.repeat(counts, counts).tolist()


def test_groups_are_written_as_soon_as_they_are_complete(tmp_path):
    writer = start(
        tmp_path / "out.rtdc", [batch_of(2, [1, 1]), batch_of(0, [2])], 6, write_threshold=2
    )
    writer.event_queue.put((1, None))
    writer.event_queue.put((4, None))
    writer.event_queue.put((5, events_of(5, 1)))
    finish(writer)
    assert writer.complete
    with h5py.File(tmp_path / "out.rtdc") as h5:
        assert h5["events/index_unmapped"][:].tolist() == [0, 0, 2, 3, 5]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([(0, None), (0, None)], "came twice"),
        ([batch_of(0, [1, 1]), batch_of(1, [1])], "came twice"),
        ([(3, None)], "only 3 frames"),
        ([(-1, None)], "only 3 frames"),
        ([batch_of(2, [0, 0])], "only 3 frames"),
        ([(0, events_of(0, 2)), (1, None), (2, None)], "2 events came, but 1 were announced"),
        ([FrameRows(0, np.array([1, 1]), {"deform": np.zeros(3)})], "3 values for 2"),
        ([(0, {"a": np.zeros(1)}), (1, {"b": np.zeros(1)}), (2, None)], "without 'a'"),
    ],
)
def test_wrong_events_are_an_error(tmp_path, items, message):
    errors = []
    writer = finish(
        start(tmp_path / "o", items, 3, feat_nevents=[1, -1, -1], on_error=errors.append)
    )
    assert errors == [writer.error]
    assert isinstance(writer.error, StageError)
    assert message in str(writer.error)
    assert not writer.complete
    assert not writer.aborted


def test_none_and_abort_end_it(tmp_path):
    ended = threading.Event()
    writer = start(tmp_path / "a", [(0, None), None], 3, on_done=ended.set)
    finish(writer)
    assert ended.is_set()
    assert writer.aborted
    assert not writer.complete
    assert writer.error is None
    writer = start(tmp_path / "b", [(0, None)], 3)
    writer.abort()
    assert finish(writer).aborted
    assert not writer.complete


def test_silence_is_an_error(tmp_path):
    writer = finish(start(tmp_path / "a", [(0, None), (2, None)], 3, idle_limit=0.05))
    assert isinstance(writer.error, StageError)
    assert writer.error.frame == 1


def test_a_file_that_cannot_be_made_is_an_error(tmp_path):
    errors = []
    writer = finish(start(tmp_path / "no" / "a", [(0, None)], 1, on_error=errors.append))
    assert isinstance(writer.error, StorageError)
    assert errors == [writer.error]


class FullDisk(Sink):
    """Refuses everything after some bytes."""

    room = 50_000

    def _write(self, view):
        self.room -= len(view)
        if self.room < 0:
            self.error = OSError(28, "No space left on device")
            return 0
        return super()._write(view)


def test_a_full_disk_stops_the_intake_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("cytovox.write.disk.Sink", FullDisk)
    errors: queue.Queue = queue.Queue()
    writer = start(tmp_path / "a", [], 10_000, write_threshold=10, on_error=errors.put)
    noise = np.random.default_rng(0).integers(0, 256, (10, 40, 50), dtype=np.uint8)
    for first in range(0, 9000, 10):
        writer.event_queue.put(FrameRows(first, np.ones(10, np.int64), {"image": noise}))
    error = errors.get(timeout=LIMIT)
    finish(writer)
    assert isinstance(error, StorageError)
    assert error.path == str(tmp_path / "a")
    assert writer.error is error
    assert errors.empty(), "an error is reported once"
    assert not writer.complete
    assert writer.written_frames < 9000


def test_what_waits_is_bounded(tmp_path, monkeypatch):
    gate = threading.Event()
    original = HDF5Writer.require_feature

    def wait(self, *args, **kwargs):
        assert gate.wait(LIMIT)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(HDF5Writer, "require_feature", wait)
    image = np.zeros((10, 100, 100), np.uint8)
    items = [FrameRows(i, np.ones(10, np.int64), {"image": image}) for i in range(0, 500, 10)]
    writer = start(tmp_path / "a", [], 500, write_threshold=10, byte_budget=300_000)
    for item in items:
        writer.event_queue.put(item)
    while writer._chunk_writer is None or writer._chunk_writer.nbytes <= 300_000:
        assert not writer._chunk_writer or writer._chunk_writer.is_alive()
        threading.Event().wait(0.01)
    group = image.nbytes + 10 * (4 + 8)  # with the numbers of frames and of events
    assert writer._chunk_writer.nbytes <= 300_000 + group
    assert writer.event_queue.qsize() > 30
    gate.set()
    finish(writer)
    assert writer.complete
    assert writer.written_events == 500


def test_a_storage_that_hangs_is_an_error(tmp_path, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(
        HDF5Writer, "require_feature", lambda *args, **kwargs: gate.wait(LIMIT) and None
    )
    errors: queue.Queue = queue.Queue()
    writer = start(
        tmp_path / "a",
        [batch_of(0, [1, 1])],
        2,
        byte_budget=1,
        idle_limit=0.05,
        on_error=errors.put,
    )
    error = errors.get(timeout=LIMIT)
    gate.set()
    assert "nothing was written" in str(error)
    finish(writer)


class TestChunkWriter:
    @pytest.mark.parametrize("waiting", [collections.deque(), None])
    def test_everything_is_written_in_order(self, tmp_path, waiting):
        size, stored = Size(), []
        writer = ChunkWriter(
            tmp_path / "a", waiting, size, on_stored=lambda feat, n: stored.append((feat, n))
        )
        writer.start()
        for number in range(5):
            values = np.full(2, float(number))
            if waiting is None:
                writer.put({"deform": values})
            else:
                waiting.append(("deform", values))
        writer.finished_when_queue_empty()
        writer.join(LIMIT)
        assert not writer.is_alive()
        assert writer.error is None
        assert size.value == 0
        assert stored == [("deform", 2)] * 5
        with h5py.File(tmp_path / "a") as h5:
            assert h5["events/deform"][:].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    @pytest.mark.parametrize("is_given", [True, False])
    def test_abort_leaves_the_rest(self, tmp_path, is_given):
        writer = ChunkWriter(tmp_path / "a", collections.deque() if is_given else None, Size())
        writer.put({"deform": np.zeros(2)})
        writer.abort_loop()
        writer.start()
        writer.join(LIMIT)
        assert not writer.is_alive()
        with h5py.File(tmp_path / "a") as h5:
            assert "deform" not in h5["events"]

    def test_errors_are_kept_and_reported(self, tmp_path):
        errors = []
        writer = ChunkWriter(tmp_path / "a", None, None, on_error=errors.append)
        writer.put({"deform": np.zeros(2)})
        writer.put({"deform": np.zeros((2, 2))})
        writer.put({"area": np.zeros(2)})
        writer.start()
        writer.join(LIMIT)
        assert isinstance(writer.error, TypeError)
        assert errors == [writer.error]
        writer.put({"area": np.zeros(2)})
        assert (len(writer.dq), writer.nbytes) == (0, 0)
        assert writer.wait_for_room(0, 0)

    def test_an_opened_file_and_a_shared_counter(self, tmp_path):
        size = mp.get_context("spawn").Value("L", 7)
        with h5py.File(tmp_path / "a", "w") as h5:
            writer = ChunkWriter(h5, collections.deque([("deform", np.zeros(2))]), size, mode="w")
            writer.finished_when_queue_empty()
            writer.start()
            writer.join(LIMIT)
            assert h5["events/deform"].shape == (2,)
        assert size.value == 0


@pytest.mark.peer
def test_the_peer_writes_alike(tmp_path):
    peer = pytest.importorskip("dcnum.write")
    counts = [1, 3, 0, 2, 1]
    order = [1, 0, 2, 4, 3]
    events = mp.get_context("spawn").Queue()
    for frame in order:
        events.put((frame, events_of(frame, counts[frame])))
    size = mp.get_context("spawn").Value("L", 0)
    theirs = peer.QueueWriterThread(
        event_queue=events,
        write_queue_size=size,
        feat_nevents=np.array(counts),
        path_out=tmp_path / "theirs",
        hdf5_dataset_kwargs={},
        write_threshold=2,
    )
    theirs.daemon = True
    theirs.start()
    theirs.join(LIMIT)
    items = [(frame, events_of(frame, counts[frame])) for frame in order]
    ours = start(tmp_path / "ours", items, 5, feat_nevents=counts, write_threshold=2)
    assert finish(ours).complete
    assert (ours.written_events, ours.written_frames) == (7, 5)
    with h5py.File(tmp_path / "theirs") as other, h5py.File(tmp_path / "ours") as mine:
        assert list(mine["events"]) == list(other["events"])
        for feat, dataset in other["events"].items():
            assert mine["events"][feat].dtype == dataset.dtype
            np.testing.assert_array_equal(mine["events"][feat][:], dataset[:])
    events.close()
