"""The log of a run takes records of other processes, and closes without them."""

from __future__ import annotations

import errno
import logging
import logging.handlers
import time
from pathlib import Path
from typing import Any

import pytest

from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.logic.verify import verify_recording
from cytovox.read import HDF5Data
from cytovox.run.children import mp_spawn
from cytovox.testing import simulate_recording


def speak(log_queue: Any) -> None:
    logger = logging.getLogger("cytovox.child")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.handlers.QueueHandler(log_queue))
    logger.info("said in a child")


def runner_of(folder: Path) -> DCNumJobRunner:
    simulate_recording(folder / "raw.rtdc", frames=10)
    return DCNumJobRunner(DCNumPipelineJob(folder / "raw.rtdc", num_procs=1))


def test_records_of_another_process_come_into_the_log(tmp_path: Path) -> None:
    with runner_of(tmp_path) as runner:
        assert runner._qlisten is None
        child = mp_spawn.Process(target=speak, args=(runner.log_queue,))
        child.start()
        child.join(600)
        assert child.exitcode == 0
        runner.close(delete_temporary_files=False)
        assert "said in a child" in runner.path_log.read_text(encoding="utf-8")
        assert runner._qlisten is None


def test_a_queue_that_was_left_locked_does_not_hold_up_the_end(tmp_path: Path) -> None:
    runner = runner_of(tmp_path)
    assert runner.log_queue._wlock.acquire(timeout=600)  # as by a process that was killed
    begin = time.monotonic()
    runner.close()
    assert time.monotonic() - begin < 300
    assert not runner.path_log.exists()


def test_a_result_counts_though_the_log_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_of(tmp_path)
    refused = []
    really = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.suffix != ".log" or not runner.path_out.exists():
            return really(path, missing_ok)
        refused.append(path)
        raise OSError(errno.EIO, "no", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with runner:
            runner.run()
    assert runner.path_log in refused
    assert runner.state == "done"
    assert verify_recording(runner.path_out).errors == []


def test_two_runs_do_not_log_into_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with runner_of(tmp_path / "a") as first, runner_of(tmp_path / "b") as second:
        for runner, text in ((first, "one"), (second, "two")):
            record = logging.LogRecord("cytovox.x", logging.INFO, "", 0, text, None, None)
            runner.log_queue.put(record)
        for runner, text in ((first, "one"), (second, "two")):
            runner.close(delete_temporary_files=False)
            assert runner.path_log.read_text(encoding="utf-8").strip().endswith(text)


def test_the_loggers_of_a_run_go_with_it(tmp_path: Path) -> None:
    with runner_of(tmp_path) as runner:
        runner.logger.getChild("part").info("said")
        assert runner.logger.name in logging.Logger.manager.loggerDict
    left = [n for n in logging.Logger.manager.loggerDict if n.startswith(runner.logger.name)]
    assert left == []


def test_progress_of_each_part_is_none_before_it_begins(tmp_path: Path) -> None:
    with runner_of(tmp_path) as runner:
        assert (runner._progress_bg, runner._progress_ex, runner._progress_bn) == (None,) * 3
        assert runner.main_logger.name == "cytovox"
        assert runner.logger.name.startswith("cytovox.")
        runner.run()
        assert (runner._progress_bg, runner._progress_ex, runner._progress_bn) == (1.0,) * 3


def test_the_log_of_a_result_has_the_lines_that_users_of_dcnum_look_for(tmp_path: Path) -> None:
    simulate_recording(tmp_path / "raw.rtdc", frames=10)
    job = DCNumPipelineJob(tmp_path / "raw.rtdc", tmp_path / "out.rtdc", debug=True)
    with DCNumJobRunner(job) as runner:
        runner.run()
    with HDF5Data(tmp_path / "out.rtdc") as data:
        (lines,) = (lines for name, lines in data.logs.items() if name.startswith("dcnum-log"))
    steps = (
        "Starting background computation",
        "Finished background computation",
        "Starting segmentation and feature extraction",
        "Flushing data to disk",
        "Finished segmentation and feature extraction",
        "Run duration",
    )
    text = "".join(lines)  # long lines are wrapped
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
