"""No worker outlives the process that has started it, however that ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cytovox.run.children import kill_children, mp_spawn, note_child, start_child
from cytovox.run.parent_watch import ending_with_parent, ending_with_stdin
from cytovox.testing import simulate_recording
from support.processes import Watched, descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by pidfd")

#: Seconds that anything may take to get under way on a busy machine.
PATIENCE = 600
#: Seconds after which no child may be left; on a busy machine one may still be starting up.
BOUND = 30

SEGMENTERS = '''
import ctypes
import os
from cytovox.segm import MPOSegmenter, UNISegmenter

def block(fifo):
    """Report that we are at work, and keep the interpreter busy for long."""
    with open(fifo, "w") as file:
        file.write("x")
    ctypes.PyDLL(None).sleep(300)

class SegmentBusyStack(UNISegmenter):
    """Never ends."""
    @staticmethod
    def segment_algorithm(image, *, fifo: str = ""):
        block(fifo)

class SegmentBusy(MPOSegmenter):
    """Never ends."""
    @staticmethod
    def segment_algorithm(image, *, fifo: str = ""):
        block(fifo)
'''

COMMON = """
import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace

folder = Path(sys.argv[1])
fifo = str(folder / "fifo")

def block(unit):
    import ctypes
    with open(fifo, "w") as file:
        file.write("x")
    ctypes.PyDLL(None).sleep(300)

def run_job(name, **more):
    from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
    from cytovox.segm.find_segmenters import load_segmenter_file
    code = load_segmenter_file(f"{folder / 'busy.py'}:{name}").get_ppid_code()
    job = DCNumPipelineJob(folder / "raw.rtdc", segmenter_code=code, num_procs=2,
                           segmenter_kwargs={"fifo": fifo},
                           data_kwargs={"image_chunk_size": 20})
    DCNumJobRunner(job, **more).run()

def run_units(**more):
    from cytovox.blockwise.placement import Placement
    Placement(**more).run([SimpleNamespace(index=i) for i in range(2)], block)

if __name__ == "__main__":
"""

#: What the main process does; the number of workers that report that they are at work.
KINDS = {
    "workers of the conveyor": ('run_job("SegmentBusyStack", processes=True)', 2),
    "workers of a segmenter": ('run_job("SegmentBusy")', 2),
    "workers from a passing thread": (
        """
    import threading, time
    import numpy as np
    from cytovox.segm.find_segmenters import load_segmenter_file
    cls = load_segmenter_file(f"{folder / 'busy.py'}:SegmentBusy")
    segmenter = cls(num_workers=2, fifo=fifo)
    start = threading.Thread(target=lambda: (
        segmenter.reinitialize_workers([]), segmenter._worker_starter.team.start(2)))
    start.start()
    start.join()
    segmenter.segment_batch(np.zeros((2, 4, 4), np.uint8))
    """,
        2,
    ),
    "the writer": (
        """
    from cytovox.run.children import mp_spawn
    from cytovox.write import QueueWriterProcess
    writer = QueueWriterProcess(
        None, mp_spawn.Queue(), None, mp_spawn.RawArray("q", [-1] * 5), folder / "out.rtdc"
    )
    writer.start()
    open(fifo, "w").write("x")
    writer.join()
    """,
        1,
    ),
    "workers of blocks": ("run_units(workers=2)", 2),
    "a command": (
        """run_units(workers=2, cluster='sh -c "sleep 300 & {command}; true"')""",
        2,
    ),
    "a command that never calls": (
        """
    open(fifo, "w").write("x")
    run_units(workers=1, cluster='sh -c "echo x > %s; sleep 300; {command}"' % fifo)
    """,
        2,
    ),
    "workers of daisy": (
        """
    from funlib.geometry import Roi
    from cytovox.blockwise import run_blockwise
    one = Roi((0,), (10,))
    run_blockwise(str(folder / "task.py"), Roi((0,), (20,)), one, one, 2, out=str(folder))
    """,
        2,
    ),
    "a program for dcnum": (
        """
    from cytovox.compat.dcnum import run_as_dcnum
    run_as_dcnum(["python", "-c", "import sys, time; open(sys.argv[1], 'w').write('x');"
                  "time.sleep(300)", fifo])
    """,
        1,
    ),
}

TASK = """
import ctypes
import daisy

def spawn_worker(out):
    def worker():
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                with open(out + "/fifo", "w") as file:
                    file.write("x")
                ctypes.PyDLL(None).sleep(300)
    return worker
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[int]:
    """A pipe with a name, into which workers write when they are at work."""
    os.mkfifo(tmp_path / "fifo")
    fd = os.open(tmp_path / "fifo", os.O_RDWR)  # so that it has no end
    yield fd
    os.close(fd)


def wait_for_workers(fifo: int, count: int, parent: subprocess.Popen[bytes]) -> None:
    """Wait until so many workers are at work."""
    end = os.pidfd_open(parent.pid)
    try:
        while count > 0:
            ready, _, _ = select.select([fifo, end], [], [], PATIENCE)
            assert ready, "the workers did not get to work"
            assert end not in ready, "the run has ended by itself"
            count -= len(os.read(fifo, 100))
    finally:
        os.close(end)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "busy.py").write_text(SEGMENTERS, encoding="utf-8")
    (tmp_path / "task.py").write_text(TASK, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "raw.rtdc"
    simulate_recording(path, frames=60, seed=3, shape=(40, 60), save_truth=False)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_none_is_left_when_the_main_process_is_killed(
    kind: str, folder: Path, recording: Path, fifo: int
) -> None:
    pytest.importorskip("daisy")
    pytest.importorskip("distributed")
    work, count = KINDS[kind]
    script = folder / "main.py"
    script.write_text(COMMON + "    " + work.strip() + "\n", encoding="utf-8")
    (folder / "raw.rtdc").write_bytes(recording.read_bytes())
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)], stderr=subprocess.PIPE, start_new_session=True
    ) as main:
        try:
            wait_for_workers(fifo, count, main)
            with Watched(pids := descendants(main.pid)) as watched:
                assert pids
                main.kill()
                left = watched.left(BOUND)
                assert not left, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        finally:
            main.kill()


def test_an_error_while_starting_is_raised_where_it_was_asked_for() -> None:
    raised = []

    def ask() -> None:
        try:
            start_child(lambda: 1 / 0)
        except ZeroDivisionError as error:
            raised.append(error)

    for _ in range(2):  # the thread that starts outlives an error
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(PATIENCE)
    assert len(raised) == 2


class Noted:
    killed = 0

    def kill(self) -> None:
        self.killed += 1


def test_all_are_killed_before_the_end() -> None:
    noted, process = Noted(), mp_spawn.Process(target=time.sleep, args=(300,), daemon=True)
    note_child(noted)
    start_child(process.start)
    kill_children()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    assert noted.killed == 1


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("kill -KILL $$", -9)])
def test_a_watched_command_gives_its_exit_code(command: str, code: int) -> None:
    words = ending_with_stdin(["sh", "-c", command])
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.wait(PATIENCE) == code


def test_a_watched_command_may_tidy_up_when_its_parent_ends(tmp_path: Path) -> None:
    script = 'trap "echo tidy; exit" TERM; echo ready; while :; do read -r line <pipe; done'
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        ending_with_stdin(["sh", "-c", script]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.stdin.close()  # as it is when this process dies
        assert process.stdout.read() == b"tidy\n"


def test_a_command_that_ends_with_its_parent_and_cannot_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "no-program").write_bytes(b"\0")
    (tmp_path / "no-program").chmod(0o700)
    words = ending_with_parent([str(tmp_path / "no-program"), "x"])
    ended = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 74
    assert "no-program: cannot be started: " in ended.stderr


def test_a_command_that_ends_with_its_parent_keeps_its_input_and_its_words() -> None:
    words = ending_with_parent(["/bin/sh", "-c", 'read line; echo "$line $1"', "sh", "a b"])
    ended = subprocess.run(
        words, input="in", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.stdout == "in a b\n"
