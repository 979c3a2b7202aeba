"""Of all runs that want to make an output, one may."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from cytovox.errors import OutputBusyError, OutputError, StorageError
from cytovox.run import lock as lock_module
from cytovox.run.lock import LockOwner, OutputLock, boot_id, lock_descriptor

LIMIT = 600


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.rtdc"


@pytest.fixture(params=["locks", "no locks", "no links"])
def kind(request, monkeypatch):
    """Let the file system lack locks or links."""
    if request.param == "no locks":
        monkeypatch.setattr(lock_module, "lock_descriptor", lambda descriptor: False)
    if request.param == "no links":

        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    return request.param


def test_a_lock_names_its_owner_and_ends_with_it(output, kind):
    with OutputLock(output, None, "a") as lock:
        record = json.loads(lock.path.read_text())
        assert (record["pid"], record["boot"]) == (os.getpid(), boot_id())
        assert record["suffixes"] == ["a"]
        assert [p.name for p in output.parent.iterdir()] == ["out.rtdc.lock"]
    assert list(output.parent.iterdir()) == []


def test_the_second_is_refused_and_the_owner_named(output, kind):
    with (
        OutputLock(output, None, "a"),
        pytest.raises(OutputBusyError, match=f"process {os.getpid()} on") as info,
    ):
        OutputLock(output, None, "b").acquire()
    assert info.value.exit_code == 75
    assert info.value.path == str(output)


def test_many_at_once_and_one_wins(output):
    start, outcome = threading.Barrier(8), []

    def take(name):
        lock = OutputLock(output, None, name)
        start.wait(LIMIT)
        try:
            lock.acquire()
        except OutputBusyError as err:
            outcome.append(str(err))
        else:
            outcome.append(lock)

    for _ in range(20):
        outcome.clear()
        threads = [threading.Thread(target=take, args=(str(i),)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        (winner,) = [o for o in outcome if isinstance(o, OutputLock)]
        assert len(outcome) == 8
        assert all(f"process {os.getpid()}" in o for o in outcome if o is not winner)
        winner.release()
        assert list(output.parent.iterdir()) == []


HOLDER = """
import sys
from pathlib import Path
from cytovox.run.lock import OutputLock
OutputLock(Path(sys.argv[1]), None, "dead").acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def killed(output):
    """Let a process take the output and be killed; return its number."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(OutputBusyError, match=f"process {holder.pid}"):
        OutputLock(output).acquire()
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=LIMIT)
    return holder.pid


def test_the_lock_of_a_killed_process_is_taken_over_with_its_names(output, killed):
    with OutputLock(output, None, "fresh") as lock:
        assert lock.left is not None
        assert lock.left.pid == killed
        assert lock.suffix == "dead"
        assert json.loads(lock.path.read_text())["suffixes"] == ["dead"]
        with pytest.raises(OutputBusyError, match=f"process {os.getpid()}"):
            OutputLock(output).acquire()
    assert list(output.parent.iterdir()) == []


def test_a_name_that_was_asked_for_is_kept_and_the_old_one_not_forgotten(output, killed):
    with OutputLock(output, "mine") as lock:
        assert lock.suffix == "mine"
        assert json.loads(lock.path.read_text())["suffixes"] == ["mine", "dead"]


def test_where_there_are_no_locks_a_dead_process_is_known_by_its_number(
    output, killed, monkeypatch
):
    monkeypatch.setattr(lock_module, "lock_descriptor", lambda descriptor: False)
    with OutputLock(output, None, "fresh") as lock:
        assert lock.suffix == "dead"
    assert list(output.parent.iterdir()) == []


def test_where_there_are_no_locks_another_host_is_believed(output, monkeypatch):
    monkeypatch.setattr(lock_module, "lock_descriptor", lambda descriptor: False)
    owner = {"host": "elsewhere", "pid": 1, "boot": "x", "started": "2026", "suffixes": ["a"]}
    lock = OutputLock(output)
    lock.path.write_text(json.dumps(owner))
    with pytest.raises(OutputBusyError, match=r"process 1 on elsewhere.*delete out\.rtdc\.lock"):
        lock.acquire()


@pytest.mark.parametrize(
    "content",
    ['{"pid": Infinity, "host": "a"}', '{"pid": NaN, "host": "a"}', "[" * 4000, "{", "[]"],
)
def test_what_is_not_a_lock_is_left_alone(output, content):
    lock = OutputLock(output)
    lock.path.write_text(content)
    with pytest.raises(OutputError, match=r"out\.rtdc\.lock: a file that is not a lock"):
        lock.acquire()
    assert lock.path.read_text() == content


def test_a_lock_that_is_kept_says_where_its_files_are(output, kind):
    lock = OutputLock(output, None, "kept")
    lock.acquire()
    lock.release(keep=True)
    assert lock.path.exists()
    again = OutputLock(output, None, "new")
    with again:
        assert again.suffix == "kept"


@pytest.mark.parametrize(
    "content",
    [b"my notes", b"[]", b'{"host": 1}', b'{"suffixes": "a"}', b"\xff\xfe", b'{"suffixes": [1]}'],
)
def test_a_file_that_is_not_a_lock_is_not_touched(output, content):
    lock = OutputLock(output)
    lock.path.write_bytes(content)
    with pytest.raises(OutputError, match=r"out\.rtdc\.lock"):
        lock.acquire()
    assert lock.path.read_bytes() == content


def test_a_lock_cannot_name_files_elsewhere(output):
    lock = OutputLock(output)
    owner = {"host": "h", "pid": 1, "boot": "x", "started": "2026", "suffixes": ["../../a"]}
    lock.path.write_text(json.dumps(owner))
    with pytest.raises(OutputError, match="names files elsewhere"):
        lock.acquire()


def test_an_empty_lock_is_one_that_was_never_written(output):
    lock = OutputLock(output, None, "a")
    lock.path.touch()
    with lock:
        assert lock.left is None
    assert list(output.parent.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match="cannot be made") as info:
        OutputLock(tmp_path / "no" / "out.rtdc").acquire()
    assert info.value.path == str(tmp_path / "no")


def test_who_may_live():
    assert LockOwner().may_live()
    assert LockOwner(host="elsewhere", pid=1, boot="x").may_live()
    assert not LockOwner(boot="another start").may_live()
    assert not LockOwner(pid=10**30).may_live()


def owner_of(pid: int, *suffixes: str) -> str:
    return json.dumps(asdict(LockOwner(pid=pid, suffixes=suffixes)))


def test_what_was_left_by_runs_that_died_taking_it_is_removed(output, kind):
    dead, living, other = (output.with_name(f"out.rtdc.lock.{i}123abcd") for i in range(3))
    dead.write_text(owner_of(0, "dead"))
    living.write_text(owner_of(os.getpid(), "living"))
    other.write_text("notes")
    foreign = output.with_name("out.rtdc.lock.mine")
    foreign.write_text(owner_of(0))
    with living.open("r+b") as held:
        lock_module.lock_descriptor(held.fileno())
        with OutputLock(output, None, "a") as lock:
            assert lock.is_held
            assert not dead.exists()
    assert set(output.parent.iterdir()) == {living, other, foreign}


def test_what_this_process_could_not_remove_it_removes_later(output, monkeypatch):
    """From some moment on each operation fails, and the process lives on."""

    def refuse(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failing:
        for name in ("link", "unlink", "remove"):
            failing.setattr(os, name, refuse)
        failing.setattr(lock_module, "_open_or_create", refuse)
        with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
            OutputLock(output).acquire()
    assert list(output.parent.iterdir()) != []
    with OutputLock(output):
        pass
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize("failures", [1, 9])
def test_the_other_name_of_a_lock_is_removed_once_that_is_possible(output, monkeypatch, failures):
    """The lock is made under another name, which could not be removed; or neither could."""
    unlink, left = os.unlink, iter(range(failures))

    def refuse(*names, **more):
        if next(left, None) is not None:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        unlink(*names, **more)

    with monkeypatch.context() as failing:
        failing.setattr(os, "unlink", refuse)
        with OutputLock(output):
            pass
    with OutputLock(output):
        pass
    assert list(output.parent.iterdir()) == []


def test_an_empty_lock_that_could_not_be_written_is_removed(output):
    empty = output.with_name("out.rtdc.lock.0123abcd")
    empty.touch()
    with OutputLock(output):
        assert not empty.exists()


def test_a_stale_lock_is_removed_by_one_only(output, monkeypatch):
    """Where there are no locks: another run has just taken over what both have read."""
    monkeypatch.setattr(lock_module, "lock_descriptor", lambda descriptor: False)
    path = output.with_name("out.rtdc.lock")
    path.write_text(owner_of(0, "dead"))
    really, faster = os.rename, owner_of(os.getpid(), "faster")

    def too_late(source, target):
        if source == path and "dead" in path.read_text():
            path.unlink()
            path.write_text(faster)
        really(source, target)

    monkeypatch.setattr(os, "rename", too_late)
    with pytest.raises(OutputBusyError, match=f"process {os.getpid()} on"):
        OutputLock(output, None, "slower").acquire()
    assert path.read_text() == faster
    assert list(output.parent.iterdir()) == [path]


def test_where_there_are_no_locks_one_that_is_about_to_be_written_is_not_taken(
    output, monkeypatch
):
    monkeypatch.setattr(lock_module, "lock_descriptor", lambda descriptor: False)
    path = output.with_name("out.rtdc.lock")
    path.touch()
    with pytest.raises(OutputBusyError, match=r"another run.*delete out\.rtdc\.lock"):
        OutputLock(output).acquire()
    assert path.exists()


def test_a_lock_that_was_removed_while_it_was_opened_is_made_again(output, monkeypatch):
    path = output.with_name("out.rtdc.lock")
    path.write_text(owner_of(0, "left"))
    calls = []

    def remove_once(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:  # by a run that has just ended
            path.unlink()
        return lock_descriptor(descriptor)

    monkeypatch.setattr(lock_module, "lock_descriptor", remove_once)
    with OutputLock(output, None, "a") as lock:
        assert len(calls) == 2
        assert lock.suffix == "a"
        with pytest.raises(OutputBusyError):
            OutputLock(output, None, "b").acquire()
    assert not path.exists()


def test_a_longer_lock_is_overwritten_in_one_piece(output, monkeypatch):
    """A kill leaves the old or the new one: nothing is cut off in a second step."""
    path = output.with_name("out.rtdc.lock")
    path.write_text(owner_of(0, "a" * 100, "b"))
    size = path.stat().st_size
    monkeypatch.setattr(os, "ftruncate", lambda *_: pytest.fail("in two steps"))
    with OutputLock(output, "mine") as lock:
        assert lock.path.stat().st_size >= size
        assert json.loads(path.read_text())["suffixes"] == ["mine", "a" * 100, "b"]


def test_a_full_disk_leaves_no_lock(output, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StorageError, match="No space left"):
        OutputLock(output, None, "a").acquire()
    assert list(output.parent.iterdir()) == []
