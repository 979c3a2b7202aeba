"""Signals end a command in order and soon, whatever it is doing, with all its workers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cytovox.testing import simulate_recording
from support.processes import Watched, descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by pidfd")

#: Seconds that anything may take on a busy machine; three are promised on a quiet one.
PATIENCE = 600

DRIVER = """
import functools
import hashlib
import importlib
import sys
import threading
import time

fifo, phase = sys.argv[1:3]
del sys.argv[1:3]


def report():
    with open(fifo, "w") as file:
        file.write("x")


def asleep(*args, **kwargs):
    "Do nothing for long; Python receives signals."
    report()
    time.sleep(300)


def absent(*args, **kwargs):
    "Work for long in foreign code, during which Python answers no signal."
    report()
    hashlib.pbkdf2_hmac("sha256", b"x", b"x", 2_000_000_000)


def replace(place, what):
    module, name = place.split(":")
    owner = importlib.import_module(module)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    getattr(owner, name)  # it must be there
    setattr(owner, name, what)


class Importing:
    "Takes its time with one import."

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "cytovox.logic":
            asleep()


def reported(function):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        report()
        return function(*args, **kwargs)

    return wrapped


def meanwhile_asked(function, runner):
    "Report that work is under way, and continue once the runner has been asked to stop."
    asked = threading.Event()
    request = runner.request_stop

    def ask(self):
        request(self)
        asked.set()

    def wrapped(*args, **kwargs):
        report()
        asked.wait(600)
        return function(*args, **kwargs)

    runner.request_stop = ask
    return wrapped


if __name__ == "__main__":
    if phase == "import":
        sys.meta_path.insert(0, Importing)
    elif phase == "compile":
        replace("cytovox.background.sparse_median:upper_median", absent)
    elif phase == "background":
        from cytovox.background.base import load_images
        from cytovox.logic import DCNumJobRunner
        slow = meanwhile_asked(load_images, DCNumJobRunner)
        replace("cytovox.background.sparse_median:load_images", slow)
    elif phase == "segmentation":
        replace("cytovox.logic.stages:label_frames", absent)
    elif phase == "plumbing":
        replace("cytovox.logic.ctrl:DCNumJobRunner.task_enforce_basin_strategy", asleep)
    elif phase == "verify":
        replace("cytovox.logic.ctrl:verify_output", absent)
    elif phase == "patient":
        from cytovox.cli import signals
        signals.stop_on_signals.__wrapped__.__defaults__ = (1000.0,)
    elif phase == "twice":
        from cytovox.cli import signals
        from cytovox.logic import DCNumJobRunner
        signals.stop_on_signals.__wrapped__.__defaults__ = (1000.0,)
        DCNumJobRunner.request_stop = reported(DCNumJobRunner.request_stop)
        replace("cytovox.logic.ctrl:DCNumJobRunner.task_enforce_basin_strategy", asleep)
    elif phase == "published":
        from cytovox.cli import signals
        from cytovox.logic import DCNumJobRunner
        signals.stop_on_signals.__wrapped__.__defaults__ = (1000.0,)
        publish = DCNumJobRunner._publish
        wait = meanwhile_asked(lambda runner: None, DCNumJobRunner)
        replace(
            "cytovox.logic.ctrl:DCNumJobRunner._publish",
            lambda runner: (publish(runner), wait(runner)),
        )
    elif phase == "stitch":
        replace("cytovox.blockwise.label_run:stitch_labels", absent)
    elif phase == "pyramid":
        replace("cytovox.blockwise.label_run:write_pyramid", asleep)
    from cytovox.__main__ import run
    run()
"""

#: Of a segmenter or of a volume; reports when it is at work, then holds the interpreter.
WORK = """
import ctypes
from cytovox.segm import MPOSegmenter, UNISegmenter


def work(fifo):
    with open(fifo, "w") as file:
        file.write("x")
    ctypes.PyDLL(None).sleep(300)


class SegmentBusyStack(UNISegmenter):
    "Never ends."

    @staticmethod
    def segment_algorithm(image, *, fifo: str = ""):
        work(fifo)


class SegmentBusy(MPOSegmenter):
    "Never ends."

    @staticmethod
    def segment_algorithm(image, *, fifo: str = ""):
        work(fifo)


def busy(array, fifo: str = ""):
    work(fifo)


def bright(array):
    return array > 100
"""


class Command:
    """The program, stopped in some phase.

    Parameters
    ----------
    folder
        Folder with the inputs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fifo = folder / "fifo"
        os.mkfifo(self.fifo)
        self._ear = os.open(self.fifo, os.O_RDWR)
        (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
        (folder / "work.py").write_text(WORK, encoding="utf-8")
        self.process: subprocess.Popen[str] | None = None
        self.out = ""

    def start(self, phase: str, *words: str, before: tuple[str, ...] = ()) -> None:
        """Start the program, or a script if the phase is one."""
        script = [str(self.folder / "driver.py"), str(self.fifo), phase]
        if phase.endswith(".py"):
            script = [str(self.folder / phase)]
        self.process = subprocess.Popen(
            [*before, sys.executable, *script, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for_work(self, count: int = 1) -> None:
        """Wait until something reports that it is at work, so many times."""
        assert self.process is not None
        end = os.pidfd_open(self.process.pid)
        try:
            while count > 0:
                ready, _, _ = select.select([self._ear, end], [], [], PATIENCE)
                assert self._ear in ready, self.process.communicate(timeout=1)
                count -= len(os.read(self._ear, 1))
        finally:
            os.close(end)

    def stop(self, number: int, *, group: bool = False) -> tuple[int, str]:
        """Send a signal; return exit code and what was said. No worker may be left."""
        assert self.process is not None
        with Watched(descendants(self.process.pid)) as watched:
            send: Callable[[int, int], None] = os.killpg if group else os.kill
            send(self.process.pid, number)
            code = self.process.wait(PATIENCE)
            assert not watched.left(5)
        self.out, said = self.process.communicate(timeout=PATIENCE)
        return code, said

    def close(self) -> None:
        """End all."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        os.close(self._ear)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    made = Command(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "raw.rtdc"
    simulate_recording(path, frames=60, seed=3, shape=(40, 60), save_truth=False)
    return path


@pytest.fixture
def raw(recording: Path, tmp_path: Path) -> Path:
    path = tmp_path / "raw.rtdc"
    path.write_bytes(recording.read_bytes())
    return path


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    volume = np.zeros((16, 32, 32), np.uint8)
    volume[4:8, 4:20, 4:8] = 200
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "stack.zarr"
    zarr.save_array(str(path), volume)
    return path


def one_line(said: str, text: str = "stopped; the same command resumes from here") -> None:
    """Check what was said: that the work can be resumed, once, and nothing of Python's."""
    assert "Traceback" not in said
    assert said.count(text) == 1, said


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("compile", signal.SIGINT),
        ("background", signal.SIGTERM),
        ("segmentation", signal.SIGINT),
        ("plumbing", signal.SIGHUP),
        ("verify", signal.SIGTERM),
    ],
)
def test_a_recording_is_stopped_in_any_phase(
    command: Command, raw: Path, phase: str, number: int
) -> None:
    command.start(phase, "run", str(raw))
    command.wait_for_work()
    code, said = command.stop(number)
    assert code == 128 + number
    one_line(said)
    assert not raw.with_name("raw_dcn.rtdc").exists()


def test_an_import_is_stopped(command: Command, raw: Path) -> None:
    command.start("import", "run", str(raw))
    command.wait_for_work()
    code, said = command.stop(signal.SIGTERM)
    assert code == 143
    assert "Traceback" not in said


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize(
    ("name", "number"),
    [("SegmentBusyStack", signal.SIGINT), ("SegmentBusy", signal.SIGTERM)],
)
def test_worker_processes_are_taken_along(
    command: Command, raw: Path, name: str, number: int, group: bool
) -> None:
    words = ["--segmenter", f"{command.folder / 'work.py'}:{name}", "--workers", "2"]
    words += ["--set", f"segmenter.fifo={command.fifo}"]
    command.start("none", "run", str(raw), *words)
    command.wait_for_work()
    code, said = command.stop(number, group=group)
    assert code == 128 + number
    one_line(said)


@pytest.mark.parametrize(
    ("function", "phase", "workers"),
    [("busy", "none", 2), ("busy", "none", 0), ("bright", "stitch", 0), ("bright", "pyramid", 0)],
)
def test_a_volume_is_stopped_in_any_phase(
    command: Command, stack: Path, function: str, phase: str, workers: int
) -> None:
    pytest.importorskip("daisy")
    labels = stack.with_name("labels.zarr")
    words = ["volume", "segment", str(stack), str(labels)]
    words += ["-f", f"{command.folder / 'work.py'}:{function}", "--workers", str(workers)]
    words += ["--stitch", "touch", "--block", "8,32,32"]
    if function == "busy":
        words += ["--set", f"fifo={command.fifo}"]
        if not workers:  # nothing could be done about that in this very process
            work = command.folder / "work.py"
            work.write_text(WORK.replace("PyDLL", "CDLL"), encoding="utf-8")
    command.start(phase, *words)
    command.wait_for_work(max(1, workers))
    code, said = command.stop(signal.SIGTERM)
    assert code == 143
    one_line(said)
    assert not labels.exists()


def test_the_second_signal_ends_at_once(command: Command, raw: Path) -> None:
    """The limit is far away here, and the first signal has been received."""
    command.start("twice", "run", str(raw))
    command.wait_for_work()
    assert command.process is not None
    command.process.send_signal(signal.SIGINT)
    command.wait_for_work()
    code, said = command.stop(signal.SIGINT)
    assert code == 130
    one_line(said)


def test_what_was_ignored_from_the_start_stays_so(command: Command, raw: Path) -> None:
    """As under nohup."""
    command.start("plumbing", "run", str(raw), before=("sh", "-c", 'trap "" HUP; exec "$@"', "sh"))
    command.wait_for_work()
    assert command.process is not None
    command.process.send_signal(signal.SIGHUP)
    code, _ = command.stop(signal.SIGTERM)
    assert code == 143


SCRIPT = """
import sys
from pathlib import Path
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.segm.find_segmenters import load_segmenter_file

if __name__ == "__main__":
    folder = Path(__file__).parent
    code = load_segmenter_file(f"{folder / 'work.py'}:{sys.argv[1]}").get_ppid_code()
    job = DCNumPipelineJob(
        folder / "raw.rtdc",
        segmenter_code=code,
        segmenter_kwargs={"fifo": str(folder / "fifo")},
        data_kwargs={"image_chunk_size": 20},
        num_procs=2,
    )
    with DCNumJobRunner(job) as runner:
        if sys.argv[2] == "thread":
            runner.start()
            runner.join()
        else:
            runner.run()
"""


@pytest.mark.parametrize(
    ("name", "how", "group"),
    [  # each pair of values
        ("SegmentBusy", "thread", True),
        ("SegmentBusy", "call", False),
        ("SegmentBusyStack", "thread", False),
        ("SegmentBusyStack", "call", True),
    ],
)
def test_a_script_ends_with_ctrl_c(
    command: Command, raw: Path, name: str, how: str, group: bool
) -> None:
    """With the KeyboardInterrupt that the caller may catch."""
    (command.folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    command.start("script.py", name, how)
    command.wait_for_work(2)  # one that is still starting would complain
    code, said = command.stop(signal.SIGINT, group=group)
    assert code == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert said.count("Traceback") == 1
    assert not raw.with_name("raw_dcn.rtdc").exists()


def signalled(command: Command, number: int) -> tuple[int, str, str]:
    """Send a signal; return exit code, stdout and stderr."""
    assert command.process is not None
    command.process.send_signal(number)
    out, said = command.process.communicate(timeout=PATIENCE)
    return command.process.returncode, out, said


def test_json_reports_a_stop(command: Command, raw: Path) -> None:
    command.start("background", "run", str(raw), "--json")
    command.wait_for_work()
    code, out, said = signalled(command, signal.SIGTERM)
    assert code == 143
    one_line(said)
    told = json.loads(out)
    assert told["exit_code"] == 143
    assert [result["state"] for result in told["results"]] == ["stopped"]


def test_a_stop_that_finds_all_done_stops_nothing(command: Command, raw: Path) -> None:
    command.start("published", "run", str(raw), "--json")
    command.wait_for_work()
    code, out, said = signalled(command, signal.SIGINT)
    assert (code, "stopped" in said) == (0, False)
    told = json.loads(out)
    assert (told["exit_code"], told["results"][0]["state"]) == (0, "done")
    assert raw.with_name("raw_dcn.rtdc").exists()


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_batch_is_stopped(command: Command, raw: Path, number: int, group: bool) -> None:
    for name in ("second", "third"):
        raw.with_name(f"{name}.rtdc").write_bytes(raw.read_bytes())
    words = ["--segmenter", f"{command.folder / 'work.py'}:SegmentBusy", "--workers", "2"]
    words += ["--set", f"segmenter.fifo={command.fifo}", "--json"]
    command.start("patient", "run", str(raw.parent), *words)
    command.wait_for_work(2)  # two recordings, each by a worker
    code, said = command.stop(number, group=group)
    assert code == 128 + number
    one_line(said)
    results = json.loads(command.out)["results"]
    assert [one["state"] for one in results] == ["stopped", "stopped", "waiting"]
    assert {one["exit_code"] for one in results} == {code}
    assert not list(raw.parent.glob("*_dcn.rtdc"))
