"""Row 17: a camera, or what follows it, is killed; there is no room for what it finds."""

from __future__ import annotations

import shutil
import signal
import sys
import threading

from ..matrix import Case, Fault
from ..programs import Ended, Program, cytovox, run
from ..recordings import assert_right, recording

__all__ = ["FAULTS"]

#: Frames, and how many a camera takes in a second.
_FRAMES, _RATE = 600, 200
_CAMERA = (
    "import sys; from cytovox.testing import play_recording; "
    "play_recording(*sys.argv[1:3], rate=float(sys.argv[3]), locked=sys.argv[4] == 'True')"
)
#: Bytes with which not even the first events find room, and with which some do.
_ROOM = (1 << 20, 6 << 20)


def _injected(case: Case) -> str:
    """Kill the camera, kill what follows it, or let the storage refuse what it writes."""
    kinds = (_camera_is_killed, _live_is_killed, _storage_is_full)
    return kinds[case.number % len(kinds)](case)


def _camera(case: Case) -> Program:
    locked = case.random.random() < 0.5
    words = [recording(_FRAMES), case.folder / "raw.rtdc", _RATE, locked]
    return Program([sys.executable, "-c", _CAMERA, *map(str, words)])


def _live(case: Case, *words: object) -> list[str]:
    return cytovox("live", case.folder / "raw.rtdc", "--patience", 30, *words)


def _after(case: Case) -> None:
    """Wait for any part of the recording."""
    threading.Event().wait(case.random.uniform(0.5, 1.5 * _FRAMES / _RATE))


def _camera_is_killed(case: Case) -> str:
    raw, out = case.folder / "raw.rtdc", case.folder / "raw_dcn.rtdc"
    camera, program = _camera(case), Program(_live(case, "--patience", 5))
    _after(case)
    camera.kill()
    camera.end()
    ended = program.end()
    if ended.code == 0:
        assert_right(out, _FRAMES)
        return "complete before the camera was killed, right"
    assert not out.exists(), "there is a result of a recording that was not completed"
    # it may have been killed before there was a file, or before that could be read
    assert ended.code == (1 if raw.exists() else 74), ended.out
    assert "Traceback" not in ended.out, ended.out
    assert f"error: {raw}: " in ended.out, ended.out
    return "the camera was killed, the recording given up"


def _live_is_killed(case: Case) -> str:
    camera, program = _camera(case), Program(_live(case))
    _after(case)
    program.kill(case.random.choice([signal.SIGKILL, signal.SIGTERM]))
    program.end()
    if case.random.random() < 0.5:
        ended, how = run(_live(case)), "killed, begun again, right"
        camera.end()
    else:
        camera.end()
        ended, how = run(cytovox("run", case.folder / "raw.rtdc")), "killed, run, right"
    return _assert_right(case, ended, how)


def _storage_is_full(case: Case) -> str:
    if shutil.which("prlimit") is None:
        return "not tried: this system limits no sizes"
    camera = _camera(case)
    size = case.random.choice(_ROOM)
    ended = run(["prlimit", f"--fsize={size}", *_live(case)])
    camera.end()
    assert ended.code == 74, ended.out
    assert "raw_dcn" in ended.last_line or "raw_dcn" in ended.out, ended.out
    assert not (case.folder / "raw_dcn.rtdc").exists()
    again = run(cytovox("run", case.folder / "raw.rtdc"))
    return _assert_right(case, again, "refused, then right with more room")


def _assert_right(case: Case, ended: Ended, how: str) -> str:
    assert ended.code == 0, ended.out
    assert_right(case.folder / "raw_dcn.rtdc", _FRAMES)
    left = sorted(path.name for path in case.folder.iterdir())
    assert left == ["raw.rtdc", "raw_dcn.rtdc"], f"{left} are left"
    return how


FAULTS = [
    Fault(
        row=17,
        name="A camera or what follows it is killed, or there is no room for what it finds",
        quick=3,  # each of them
        full=150,
        bound="no result of what was not completed; else the same command, or a run, makes it "
        "right; exit 74 if there is no room",
        peer="nothing follows a recording",
        run=_injected,
    )
]
