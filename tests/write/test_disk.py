"""File systems that answer oddly: no synchronising, no locks, an answer that was lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.read import concatenated_hdf5_data
from cytovox.run import lock as lock_module
from cytovox.run.journal import Journal
from cytovox.run.lock import OutputLock
from cytovox.testing import simulate_recording
from cytovox.write.disk import DISK


def refuse_to_sync(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_synchronise_is_not_a_full_disk(tmp_path, monkeypatch, number):
    refuse_to_sync(monkeypatch, number)
    simulate_recording(tmp_path / "raw.rtdc", frames=20)
    with DCNumJobRunner(DCNumPipelineJob(tmp_path / "raw.rtdc", num_procs=1)) as runner:
        runner.run()
    with Journal(tmp_path / "j") as journal:
        journal.begin({})
    assert (tmp_path / "raw_dcn.rtdc").exists()


def test_a_disk_that_fails_to_synchronise_is_said(tmp_path, monkeypatch):
    file = DISK.open(tmp_path / "a", "w+b")
    refuse_to_sync(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        file.sync()
    file.close()


@pytest.fixture
def answers_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let links be made and then be said to exist already, as NFS can."""
    really = os.link

    def link(source: Path, target: Path) -> None:
        really(source, target)
        raise FileExistsError(errno.EEXIST, "File exists", str(target))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.skipif(os.name == "nt", reason="no links are made there")
@pytest.mark.usefixtures("answers_are_lost")
def test_a_name_that_was_given_is_ours_although_it_is_said_to_exist(tmp_path):
    source, target = tmp_path / "new", tmp_path / "final"
    source.write_bytes(b"result")
    DISK.rename_new(source, target)
    assert target.read_bytes() == b"result"
    assert not source.exists()
    with OutputLock(tmp_path / "out.rtdc", None, "a") as lock:
        assert lock.is_held


@pytest.mark.skipif(os.name == "nt", reason="no links are made there")
def test_the_file_of_another_is_never_replaced(tmp_path):
    source, target = tmp_path / "new", tmp_path / "final"
    source.write_bytes(b"result")
    target.write_bytes(b"another")
    with pytest.raises(FileExistsError):
        DISK.rename_new(source, target)
    assert (source.read_bytes(), target.read_bytes()) == (b"result", b"another")


def test_recordings_are_measured_where_the_file_system_refuses_locks(tmp_path, monkeypatch):
    class Unlockable(h5py.File):
        def __init__(self, name, mode="r", *, locking=None, **more) -> None:
            if locking is not False and isinstance(name, (str, Path)):
                raise OSError(errno.ENOLCK, "unable to lock file, errno = 37")
            super().__init__(name, mode, locking=locking, **more)

    monkeypatch.setattr(h5py, "File", Unlockable)
    monkeypatch.setattr(lock_module, "lock_descriptor", lambda descriptor: False)
    raw = tmp_path / "raw.rtdc"
    simulate_recording(raw, frames=30)
    with concatenated_hdf5_data([raw, raw], tmp_path / "both.rtdc") as both:
        assert len(both) == 60
    for force in (False, True):
        job = DCNumPipelineJob(raw, tmp_path / "out.rtdc", num_procs=1)
        with DCNumJobRunner(job, force=force) as runner:
            runner.run()
    with Unlockable(tmp_path / "out.rtdc", locking=False) as h5:
        assert np.all(h5["events/area_um"][:] > 0)
    assert not list(tmp_path.glob("*.lock"))
