"""A file is what some checkpoint said, whenever its writer is killed or the power is cut."""

from __future__ import annotations

import errno
import random

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytovox.write import resumable_file
from cytovox.write.disk import Disk, DiskFile
from cytovox.write.extents import Extents
from cytovox.write.resumable_file import ResumableFile
from support.disk import RecordingDisk, after_kill, after_power_cut

SIZE = 600
writes = st.tuples(st.just("write"), st.integers(0, SIZE), st.integers(1, 80), st.integers(1, 255))
steps = st.lists(
    st.one_of(
        writes,
        writes,
        writes,
        st.tuples(st.just("truncate"), st.integers(0, SIZE)),
        st.tuples(st.sampled_from(["soft", "soft", "durable"])),
    ),
    min_size=1,
    max_size=16,
)


class Model:
    """What the file should be, written down plainly."""

    def __init__(self):
        self.content = bytearray()
        #: State and number of operations after each checkpoint, and whether it is durable.
        self.states = []

    def play(self, file, disk, step):
        kind, *args = step
        if kind == "write":
            place, length, value = args
            data = bytes((value + i) % 256 for i in range(length))
            self.content.extend(bytes(max(0, place - len(self.content))))
            self.content[place : place + length] = data
            file.seek(place)
            file.write(data)
        elif kind == "truncate":
            (size,) = args
            self.content.extend(bytes(max(0, size - len(self.content))))
            del self.content[size:]
            file.truncate(size)
        else:
            extra = b"state %d" % len(self.states)
            begun = len(disk.operations)
            if kind == "commit":
                file.commit(extra)
            else:
                file.checkpoint(extra, durable=kind == "durable")
            state = (bytes(self.content), extra)
            self.states.append((state, begun, len(disk.operations), kind != "soft"))


def content_of(file):
    size = file.seek(0, 2)
    file.seek(0)
    return file.read(size)


def record(folder, plan):
    """Play a plan; return the model and the operations."""
    disk, model = RecordingDisk(), Model()
    with ResumableFile(folder / "data", folder / "log", "w+b", disk=disk) as file:
        for step in plan:
            model.play(file, disk, step)
            assert content_of(file) == model.content
    return model, disk.operations


def put(folder, files):
    for name in ("data", "log", "log~"):
        (folder / name).unlink(missing_ok=True)
    for path, content in files.items():
        (folder / path.name).write_bytes(content)


def check_recovery(folder, model, must, begun_by):
    """Recover; the state must be at least `must` and one that was begun by then."""
    file = ResumableFile.recover(folder / "data", folder / "log", disk=RecordingDisk())
    if file is None:
        assert must is None
        return None
    with file:
        found = (content_of(file), file.extra)
    allowed = [
        i
        for i, (_, begun, _, _) in enumerate(model.states)
        if begun <= begun_by and (must is None or i >= must)
    ]
    assert found in [model.states[i][0] for i in allowed]
    assert (folder / "data").read_bytes() == found[0], "after recovery the file is plain"
    return found


@pytest.fixture(autouse=True, params=[200, 16 << 20], ids=["short log", "long log"])
def log_bytes(request, monkeypatch):
    monkeypatch.setattr(resumable_file, "_LOG_BYTES", request.param)


@settings(max_examples=25, deadline=None)
@given(plan=steps, end=st.booleans(), data=st.data())
def test_after_a_kill_it_is_the_last_checkpoint(tmp_path_factory, plan, end, data):
    folder = tmp_path_factory.mktemp("kill")
    plan = [*plan, ("soft",), ("commit",)] if end else plan
    model, operations = record(folder, plan)
    for stop in range(len(operations) + 1):
        torn = data.draw(st.sampled_from([0.0, 0.3, 0.9]), label="torn")
        put(folder, after_kill(operations, stop, torn))
        done = [i for i, (*_, after, _) in enumerate(model.states) if after <= stop]
        first = check_recovery(folder, model, done[-1] if done else None, stop)
        if first is not None:  # and it can be recovered again
            assert check_recovery(folder, model, None, len(operations)) == first


@settings(max_examples=25, deadline=None)
@given(plan=steps, end=st.booleans(), seed=st.integers(0, 2**32))
def test_after_a_power_cut_no_durable_checkpoint_is_lost(tmp_path_factory, plan, end, seed):
    folder = tmp_path_factory.mktemp("cut")
    plan = [*plan, ("soft",), ("commit",)] if end else plan
    model, operations = record(folder, plan)
    rng = random.Random(seed)
    for stop in range(len(operations) + 1):
        put(folder, after_power_cut(operations, stop, rng))
        durable = [i for i, (*_, after, kept) in enumerate(model.states) if kept and after <= stop]
        check_recovery(folder, model, durable[-1] if durable else None, stop)


@settings(max_examples=25, deadline=None)
@given(plan=steps, seed=st.integers(0, 2**32))
def test_recovery_itself_may_be_cut_short(tmp_path_factory, plan, seed):
    folder = tmp_path_factory.mktemp("twice")
    model, operations = record(folder, [*plan, ("soft",)])
    rng = random.Random(seed)
    stop = rng.randrange(len(operations) + 1)
    put(folder, after_kill(operations, stop))
    disk = RecordingDisk()
    file = ResumableFile.recover(folder / "data", folder / "log", disk=disk)
    if file is None:
        return
    with file:
        state = (content_of(file), file.extra)
    put(folder, after_kill(operations, stop))
    # both files were there, and on the disk, before recovery began
    again = RecordingDisk()
    for name in ("data", "log"):
        again.open(folder / name, "r+b").close()
    file = ResumableFile.recover(folder / "data", folder / "log", disk=again)
    file.close()
    for cut in range(2, len(again.operations) + 1):
        put(folder, after_power_cut(again.operations, cut, rng))
        with ResumableFile.recover(folder / "data", folder / "log") as file:
            assert (content_of(file), file.extra) == state


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=20)), max_size=30))
def test_extents_lie_over_a_file(pieces):
    plain, over = bytearray(100), Extents()
    for place, data in pieces:
        plain[place : place + len(data)] = data
        over.write(place, memoryview(data))
    for start, stop in [(0, 100), (7, 50), (33, 34)]:
        buffer = bytearray(100)[start:stop]
        over.lay_over(start, memoryview(buffer))
        assert buffer == plain[start:stop]
    assert over.nbytes == sum(len(part) for _, part in over)
    ends = [(start, start + len(part)) for start, part in over]
    assert all(a[1] <= b[0] for a, b in zip(ends, ends[1:], strict=False))


def test_hdf5_goes_on_where_it_was(tmp_path):
    path, log = tmp_path / "data", tmp_path / "log"
    rng = np.random.default_rng(0)
    with ResumableFile(path, log) as file:
        h5 = h5py.File(file, "w", libver="latest")
        rows = h5.create_dataset("rows", (0, 50), "u1", maxshape=(None, 50), chunks=(10, 50))
        committed = None
        for number in range(40):
            rows.resize((number + 1) * 10, axis=0)
            rows[-10:] = rng.integers(0, 256, (10, 50))
            h5.attrs[f"a{number}"] = number
            if number == 30:
                h5.flush()
                file.checkpoint(b"31")
                committed = rows[:]
        # Here it would be killed: nothing of the file below is closed in order.
        left = path.read_bytes(), log.read_bytes()
        h5.close()
    path.write_bytes(left[0])
    log.write_bytes(left[1])
    with ResumableFile.recover(path, log) as file, h5py.File(file, "r+") as h5:
        assert file.extra == b"31"
        assert np.array_equal(h5["rows"][:], committed)
        assert len(h5.attrs) == 31


def test_without_a_checkpoint_there_is_nothing_to_recover(tmp_path):
    path, log = tmp_path / "data", tmp_path / "log"
    with ResumableFile(path, log) as file:
        file.write(b"abc")
        file.commit(b"all")
    assert path.read_bytes() == b"abc"
    assert not log.exists()
    assert ResumableFile.recover(path, log) is None
    assert ResumableFile.recover(tmp_path / "no", log) is None


def test_garbage_is_no_log(tmp_path):
    (tmp_path / "data").write_bytes(b"abc")
    for content in (b"", b"garbage" * 40, bytes(200)):
        (tmp_path / "log").write_bytes(content)
        assert ResumableFile.recover(tmp_path / "data", tmp_path / "log") is None
    assert (tmp_path / "data").read_bytes() == b"abc"


class RefusingFile(DiskFile):
    """Refuses what the disk tells it to refuse."""

    disk: RefusingDisk

    def write_at(self, offset, view):
        self.disk.count()
        return super().write_at(offset, view)

    def sync(self):
        self.disk.count()


class RefusingDisk(Disk):
    """Refuses from the k-th operation on."""

    def __init__(self, good):
        self.good = good

    def count(self):
        self.good -= 1
        if self.good < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, path, mode):
        file = RefusingFile(path, mode)
        file.disk = self
        return file

    def replace(self, source, target):
        self.count()
        super().replace(source, target)


@pytest.mark.parametrize("good", range(24))
def test_a_full_disk_loses_no_checkpoint(tmp_path, good):
    path, log = tmp_path / "data", tmp_path / "log"
    disk = RefusingDisk(good)
    done = []
    try:
        with ResumableFile(path, log, disk=disk) as file:
            for number in range(4):
                file.seek(0)
                file.write(b"%d" % number * 300 * (number + 1))
                file.checkpoint(b"%d" % number, durable=number % 2 == 1)
                done.append(number)
    except OSError:
        assert disk.good < 0
    recovered = ResumableFile.recover(path, log)
    if recovered is None:
        assert not done
        return
    with recovered as file:
        number = int(file.extra)
        assert number >= max(done, default=0)
        assert content_of(file) == b"%d" % number * 300 * (number + 1)


@pytest.mark.parametrize("seed", range(20))
def test_what_was_held_back_is_on_the_disk_before_the_log_forgets_it(tmp_path, seed):
    plan = [("write", 0, 80, 1), ("write", 80, 80, 2), ("durable",)]
    plan += [("write", 0, 40, 9), ("write", 100, 70, 7), ("soft",), ("write", 20, 90, 3)]
    plan += [("durable",), ("write", 5, 100, 8), ("soft",), ("commit",)]
    model, operations = record(tmp_path, plan)
    rng = random.Random(seed)
    for stop in range(len(operations) + 1):
        put(tmp_path, after_power_cut(operations, stop, rng))
        durable = [i for i, (*_, after, kept) in enumerate(model.states) if kept and after <= stop]
        check_recovery(tmp_path, model, durable[-1] if durable else None, stop)
