"""``cytovox live``: what it shows, what it leaves, and how a recording can end."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (registers the filter)
import numpy as np
import pytest

from cytovox.cli.changes import Changes
from cytovox.cli.live_course import Course
from cytovox.cli.live_follower import Follower
from cytovox.cli.main import main
from cytovox.cli.one_recording import Recording
from cytovox.cli.progress_display import Lines
from cytovox.cli.run_options import AllowedToRun, RecipeOptions, Work, measurings
from cytovox.errors import CytovoxError
from cytovox.logic.chunk_slot import ChunkSlot
from cytovox.logic.live_file import live_path, stamp_of
from cytovox.logic.live_measuring import Measured
from cytovox.run.lock import OutputLock
from cytovox.run.rows import FrameRows, no_objects
from cytovox.testing import simulate_recording
from support.growing import moments_of, show_moment

RATE, FRAMES = 100.0, 480
#: So that backgrounds are ready soon.
QUICK = ["--set", "background.kernel_size=20"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.rtdc"
    how: dict[str, Any] = {"shape": (64, 160), "chunk_frames": 16, "save_truth": False}
    simulate_recording(path, frames=FRAMES, seed=4, frame_rate=RATE, **how)
    return path


@pytest.fixture(scope="module")
def of_camera(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[Path]]:
    """Return the moments of a file that others may read, and of a locked one."""
    folders = {locked: tmp_path_factory.mktemp("moments") for locked in (False, True)}
    return {
        locked: moments_of(source, folder, RATE, locked=locked)
        for locked, folder in folders.items()
    }


@pytest.fixture(scope="module")
def moments(of_camera: dict[bool, list[Path]]) -> list[Path]:
    return of_camera[False]


@pytest.fixture(scope="module")
def right(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the events of a run."""
    result = tmp_path_factory.mktemp("right") / "right.rtdc"
    assert main(["run", str(source), "-o", str(result), "-q", *QUICK]) == 0
    return events_of(result)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run take some frames at a time, of which all or none are taken over."""
    monkeypatch.setattr("cytovox.logic.conveyor._SLOT_BYTES", 16 * 64 * 160 * 7)
    monkeypatch.setattr("cytovox.logic.measured_before._BLOCK", 50)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw.rtdc"


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[Callable[[], Any]]], None]:
    """Let the steps of a camera be done, one each time that the command waits."""

    def use(steps: Iterable[Callable[[], Any]]) -> None:
        todo = iter(steps)

        def wait(self: Changes) -> None:
            step = next(todo, None)
            assert step is not None, "it waits, though nothing comes any more"
            step()

        monkeypatch.setattr(Changes, "wait", wait)

    return use


def shown(moments: Iterable[Path], raw: Path) -> list[Callable[[], None]]:
    return [lambda moment=moment: show_moment(moment, raw) for moment in moments]


def events_of(path: Path) -> dict[str, bytes]:
    with h5py.File(path) as h5:
        return {name: h5["events"][name][:].tobytes() for name in h5["events"]}


def frames_of(moment: Path) -> int:
    with h5py.File(moment, "r", swmr=True) as h5:
        return len(h5["events/image"])


def known_frames(result: Path) -> int:
    """Return of how many frames the run says that it took over their events."""
    with h5py.File(result) as h5:
        (name,) = (name for name in h5["logs"] if name.startswith("dcnum-log"))
        lines = [line.decode() for line in h5["logs"][name]]
    (number,) = (int(line.split()[-1]) for line in lines if "events were known" in line)
    return number


def live(raw: Path, *words: str) -> int:
    return main(["live", str(raw), "--stable", "0", *QUICK, *words])


# --- a recording that is completed ------------------------------------------------------------


@pytest.mark.parametrize("locked", [False, True], ids=["swmr", "locked"])
def test_the_result_is_that_of_a_run(
    of_camera: dict[bool, list[Path]],
    right: dict[str, bytes],
    raw: Path,
    camera: Any,
    tmp_path: Path,
    capsys: Any,
    locked: bool,
) -> None:
    moments, seen = of_camera[locked], []

    def open_by_dclab() -> None:
        dclab = pytest.importorskip("dclab")
        with dclab.new_dataset(tmp_path / "raw_dcn_live.rtdc") as data:
            seen.append(len(data))
            assert len(data["deform"]) == len(data["area_um"]) == len(data["time"]) == len(data)
            assert data["mask"][0].shape == (64, 160)
            frames = len(data.h5file["cytovox_live/counts"])
        # a frame waits no longer than 0.45 s for its background
        assert frames >= frames_of(moments[-2]) - 0.45 * RATE - 1

    steps = shown(moments, raw)
    camera([*steps[:-1], open_by_dclab, steps[-1]])
    assert live(raw, "--json") == 0
    out, err = capsys.readouterr()
    (result,) = json.loads(out)["results"]
    assert result["state"] == "done"
    assert result["frames"] == FRAMES
    assert 0 < seen[0] <= result["events"]
    assert err == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw.rtdc", "raw_dcn.rtdc"]
    assert 0 < known_frames(tmp_path / "raw_dcn.rtdc") <= FRAMES
    assert events_of(tmp_path / "raw_dcn.rtdc") == right


@pytest.fixture(scope="module")
def with_background(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the moments of a recording that has its own background and flickers."""
    path = tmp_path_factory.mktemp("own") / "own.rtdc"
    how: dict[str, Any] = {"shape": (64, 160), "chunk_frames": 16, "save_truth": False}
    simulate_recording(path, frames=240, seed=5, frame_rate=RATE, flicker=0.03, **how)
    with h5py.File(path, "r+") as h5:
        images = h5["events/image"][:]
        background = np.repeat(np.median(images, axis=0)[None], len(images), axis=0)
        chunks = h5["events/image"].chunks
        h5.create_dataset("events/image_bg", data=background.astype(np.uint8), chunks=chunks)
    return moments_of(path, path.parent, RATE, locked=False)


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (["--basins", "tap", "--compression", "none"], 1),
        (["--set", "background.frac_cleansing=1", "--set", "feature.haralick=false"], 100),
        (["--set", "mask.closing_disk=0", "--set", "segmenter.thresh=-9"], 1),
        (["--background", "copy"], 240),
        (["--background", "rollmed", "--set", "background.kernel_size=20"], 0),
        (["--set", "gate.online_gates=true"], None),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_the_result_is_that_of_a_run_with_any_settings(
    with_background: list[Path],
    raw: Path,
    camera: Any,
    tmp_path: Path,
    words: list[str],
    known: int | None,
) -> None:
    if "--background" not in words:
        words = [*QUICK, *words]
    camera(shown(with_background, raw))
    assert main(["live", str(raw), "--stable", "0", "-q", *words]) == 0
    if known is None:
        with pytest.raises(ValueError, match="unpack"):
            known_frames(tmp_path / "raw_dcn.rtdc")
    else:
        assert known_frames(tmp_path / "raw_dcn.rtdc") >= known
    assert main(["run", str(raw), "-o", str(tmp_path / "run.rtdc"), "-q", *words]) == 0
    assert events_of(tmp_path / "raw_dcn.rtdc") == events_of(tmp_path / "run.rtdc")


def test_it_says_what_it_does(
    moments: list[Path], raw: Path, camera: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cytovox.cli.live_follower._LINE", 0.0)
    camera(shown(moments, raw))
    assert live(raw) == 0
    err = capsys.readouterr().err
    assert "raw.rtdc: waiting for frames" in err
    assert f"provisional events: {raw.with_name('raw_dcn_live.rtdc')}" in err


def test_a_recording_that_is_complete_is_measured_at_once(
    source: Path, camera: Any, tmp_path: Path
) -> None:
    camera([])
    assert live(source, "-o", str(tmp_path / "out.rtdc"), "-q") == 0
    assert (tmp_path / "out.rtdc").exists()


def test_a_complete_recording_that_a_program_holds_open_is_followed_on(
    source: Path, camera: Any, tmp_path: Path, raw: Path
) -> None:
    fcntl = pytest.importorskip("fcntl")
    show_moment(source, raw)
    with raw.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        camera([lambda: fcntl.flock(file, fcntl.LOCK_UN)])
        assert live(raw, "-q") == 0
    assert (tmp_path / "raw_dcn.rtdc").exists()


@pytest.mark.parametrize("told", [True, False])
def test_it_waits_no_longer_once_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    if told:
        pytest.importorskip("watchfiles")
    monkeypatch.setattr("cytovox.cli.changes.is_installed", lambda package: told)
    stopped = threading.Event()
    stopped.set()
    with contextlib.closing(Changes(tmp_path / "raw.rtdc", stopped)) as changes:
        for _ in range(3):
            changes.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text here")
def test_it_waits_on_where_the_name_of_another_file_is_not_text(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    with contextlib.closing(Changes(tmp_path / "raw.rtdc", threading.Event())) as changes:
        changes.wait()
        for number in range(2):
            (tmp_path / os.fsdecode(b"caf\xe9-%d" % number)).touch()
            changes.wait()


# --- stopping, and what is left ---------------------------------------------------------------


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_run_takes_over_what_was_measured(
    moments: list[Path],
    right: dict[str, bytes],
    raw: Path,
    camera: Any,
    tmp_path: Path,
    capsys: Any,
) -> None:
    camera([*shown(moments[:-1], raw), interrupt])
    assert live(raw) == 130
    assert "cytovox run takes over what was measured" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw.rtdc", "raw_dcn_live.rtdc"]
    show_moment(moments[-1], raw)
    assert main(["run", str(raw), "-q", *QUICK]) == 0
    assert known_frames(tmp_path / "raw_dcn.rtdc") > 0
    assert not (tmp_path / "raw_dcn_live.rtdc").exists()
    assert events_of(tmp_path / "raw_dcn.rtdc") == right


@pytest.fixture
def all_measured(
    moments: list[Path], raw: Path, camera: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return what `cytovox live` has kept of a recording that is complete."""
    kept = tmp_path / "kept.rtdc"

    def keep(path_out: Path) -> None:
        live_path(path_out).replace(kept)

    camera(shown(moments, raw))
    with monkeypatch.context() as patch:
        patch.setattr("cytovox.logic.ctrl.remove_live_file", keep)
        patch.setattr("cytovox.logic.live_measuring._AGAIN", 60.0)  # however slow this is
        assert live(raw, "-q") == 0
    (tmp_path / "raw_dcn.rtdc").unlink()
    return kept.replace(tmp_path / "raw_dcn_live.rtdc")


def test_of_a_recording_that_was_all_measured_no_image_is_needed_again(
    all_measured: Path,
    right: dict[str, bytes],
    raw: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with h5py.File(all_measured) as h5:  # some have got another background meanwhile
        assert 0 < len(h5["cytovox_live/again/frames"]) < FRAMES

    def refuse(*args: Any) -> None:
        raise AssertionError("an image is read")

    with monkeypatch.context() as patch:
        patch.setattr(ChunkSlot, "load", refuse)
        assert main(["run", str(raw), "-q", "--basins", "tap", *QUICK]) == 0
    assert known_frames(tmp_path / "raw_dcn.rtdc") == FRAMES
    found = events_of(tmp_path / "raw_dcn.rtdc")
    assert found == {name: right[name] for name in found}


@pytest.mark.parametrize("change", ["images", "options", "offset", "rows"])
def test_what_has_changed_since_all_was_measured_is_measured_again(
    all_measured: Path, raw: Path, tmp_path: Path, change: str
) -> None:
    words = QUICK
    if change == "images":
        with h5py.File(raw, "r+") as h5:
            h5["events/image"][100:103] -= 3
    elif change == "rows":
        with h5py.File(all_measured, "r+") as h5:
            place = h5["events/area_um"].id.get_chunk_info(0).byte_offset
        with all_measured.open("r+b") as file:
            file.seek(place)
            file.write(bytes(64))
    elif change == "offset":  # the light may have begun to flicker after the first look
        words = [*QUICK, "--set", "background.offset_correction=true"]
    else:
        words = ["--set", "background.kernel_size=15"]
    copy = tmp_path / "copy.rtdc"
    copy.write_bytes(raw.read_bytes())
    for path in (raw, copy):
        assert main(["run", str(path), "-q", *words]) == 0
    assert events_of(tmp_path / "raw_dcn.rtdc") == events_of(tmp_path / "copy_dcn.rtdc")


def test_a_recording_whose_time_was_set_back_is_another_one() -> None:
    seen: Any = {"st_dev": 1, "st_ino": 2, "st_size": 3, "st_mtime_ns": 4, "st_ctime_ns": 5}
    before, after = (SimpleNamespace(**seen | {"st_ctime_ns": time}) for time in (5, 6))
    assert stamp_of(before) != stamp_of(after)  # type: ignore[arg-type]
    assert stamp_of(before) == stamp_of(SimpleNamespace(**seen))  # type: ignore[arg-type]


def test_live_can_be_begun_again(
    moments: list[Path], right: dict[str, bytes], raw: Path, camera: Any, tmp_path: Path
) -> None:
    camera([*shown(moments[:-2], raw), interrupt])
    assert live(raw, "-q") == 130
    camera(shown(moments[-2:], raw))
    assert live(raw, "-q") == 0
    assert events_of(tmp_path / "raw_dcn.rtdc") == right


@pytest.mark.parametrize("change", ["garbage", "rows"])
def test_what_is_damaged_is_measured_again(
    moments: list[Path],
    right: dict[str, bytes],
    raw: Path,
    camera: Any,
    tmp_path: Path,
    change: str,
) -> None:
    camera([*shown(moments[:-1], raw), interrupt])
    assert live(raw, "-q") == 130
    show_moment(moments[-1], raw)
    kept = tmp_path / "raw_dcn_live.rtdc"
    content = kept.read_bytes()
    half = b"" if change == "garbage" else content[: len(content) // 2]
    kept.write_bytes(half + bytes(len(content) - len(half)))
    assert main(["run", str(raw), "-q", *QUICK]) == 0
    assert events_of(tmp_path / "raw_dcn.rtdc") == right


def test_nothing_is_taken_over_of_another_recipe(
    moments: list[Path], raw: Path, camera: Any, tmp_path: Path
) -> None:
    camera([*shown(moments[:-1], raw), interrupt])
    assert live(raw, "-q") == 130
    show_moment(moments[-1], raw)
    assert main(["run", str(raw), "-q", *QUICK, "--set", "segmenter.thresh=-9"]) == 0
    with pytest.raises(ValueError, match="unpack"):
        known_frames(tmp_path / "raw_dcn.rtdc")


def test_a_file_of_somebody_else_is_not_replaced(
    moments: list[Path], raw: Path, camera: Any, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "raw_dcn_live.rtdc").write_text("mine")
    camera(shown(moments, raw))
    assert live(raw, "-q") == 1
    assert "is not a file of provisional events" in capsys.readouterr().err
    assert (tmp_path / "raw_dcn_live.rtdc").read_text() == "mine"


def test_one_program_makes_a_result(raw: Path, camera: Any, tmp_path: Path) -> None:
    lock = OutputLock(tmp_path / "raw_dcn.rtdc")
    lock.acquire()
    camera([])
    assert live(raw, "-q") == 75
    lock.release(keep=False)


def test_a_result_that_is_there_is_not_replaced(
    source: Path, moments: list[Path], raw: Path, camera: Any, tmp_path: Path, capsys: Any
) -> None:
    assert main(["run", str(source), "-o", str(tmp_path / "raw_dcn.rtdc"), "-q", *QUICK]) == 0
    before = (tmp_path / "raw_dcn.rtdc").read_bytes()
    camera(shown(moments, raw))
    assert live(raw, "-q") == 1
    assert "give --force to replace it" in capsys.readouterr().err
    camera([])
    assert live(source, "-q", "-o", str(tmp_path / "raw_dcn.rtdc")) == 0  # it is of this one
    assert (tmp_path / "raw_dcn.rtdc").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw.rtdc", "raw_dcn.rtdc"]


def test_what_live_cannot_do_is_refused(raw: Path, tmp_path: Path) -> None:
    assert main(["live", str(raw), "--frames", "10"]) == 2
    recipes = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for recipe in recipes:
        assert main(["recipe", "save", str(recipe)]) == 0
    assert main(["live", str(raw), *(f"--recipe={recipe}" for recipe in recipes)]) == 2


# --- a recording that ends otherwise ----------------------------------------------------------


def cut(raw: Path) -> None:
    raw.write_bytes(raw.read_bytes()[: raw.stat().st_size // 2])


def replace(raw: Path, moments: list[Path]) -> None:
    other = raw.with_name("other")
    other.write_bytes(moments[-1].read_bytes())
    other.replace(raw)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda raw, moments: raw.unlink(), "the recording is gone"),
        (replace, "another file has taken the place"),
        (lambda raw, moments: show_moment(moments[1], raw), "cut off or begun anew"),
    ],
    ids=["gone", "replaced", "begun anew"],
)
def test_what_is_no_longer_the_recording_ends_it(
    moments: list[Path], raw: Path, camera: Any, capsys: Any, end: Any, said: str
) -> None:
    camera([*shown(moments[:3], raw), lambda: end(raw, moments)])
    assert live(raw, "-q") == 1
    assert said in capsys.readouterr().err
    assert not raw.with_name("raw_dcn.rtdc").exists()


def follow(
    raw: Path,
    steps: Iterable[Callable[[], Any]],
    patience: float = 60.0,
    measuring_takes: float = 0.0,
) -> tuple[str, list[str]]:
    """Follow by a clock of our own, 5 s each time; return the error and what was said."""
    seconds, todo, notes = 0.0, iter(steps), []
    add = Course.add

    def slowly(course: Course, part: Measured, now: float) -> list[str]:
        nonlocal seconds
        seconds += measuring_takes
        return add(course, part, now)

    def wait() -> None:
        nonlocal seconds
        seconds += 5
        next(todo, lambda: None)()

    display = Lines()
    display.note = notes.append  # type: ignore[method-assign]
    (measuring,) = measurings(RecipeOptions(settings=QUICK[1:]), AllowedToRun(), Work()).values()
    recording = Recording(str(raw), str(raw.with_name("out.rtdc")))
    given: dict[str, Any] = {"patience": patience, "stable": 1.0, "clock": lambda: seconds}
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(CytovoxError) as caught,
        Follower(recording, measuring, display, wait=wait, **given) as follower,
    ):
        patch.setattr(Course, "add", slowly)
        follower.follow(lambda: False)
    return f"{seconds:g} s: {caught.value}", notes


def test_a_recording_that_stalls_is_given_up(moments: list[Path], raw: Path) -> None:
    error, notes = follow(raw, shown(moments[:3], raw))
    assert error.startswith("80 s: ")
    assert "no frame has come for 60 s, and the recording was not completed" in error
    assert sum("no new frame for 10 s" in note for note in notes) == 1


def test_all_frames_of_a_recording_that_stalls_are_measured(
    moments: list[Path], raw: Path
) -> None:
    follow(raw, shown(moments[:3], raw))
    with h5py.File(raw, "r", swmr=True) as h5, h5py.File(raw.with_name("out_live.rtdc")) as seen:
        assert len(seen["cytovox_live/counts"]) == len(h5["events/image"])
    # no room is kept that is not needed
    assert raw.with_name("out_live.rtdc").stat().st_size < 2e6


def test_measuring_that_takes_long_is_no_stall(moments: list[Path], raw: Path) -> None:
    error, notes = follow(raw, shown(moments[:4], raw), measuring_takes=100.0)
    assert [float(error.partition(" s: ")[0]), "no frame has come" in error] == [680.0, True]
    assert sum("no new frame" in note for note in notes) == 1


def test_a_recording_that_is_cut_off_is_given_up(moments: list[Path], raw: Path) -> None:
    error, _ = follow(raw, [*shown(moments[:4], raw), lambda: cut(raw)])
    assert error.startswith("80 s: ")
    assert any(text in error for text in ("cut short", "cut off", "cannot be"))


def test_a_recording_that_never_comes_is_given_up(raw: Path) -> None:
    error, _ = follow(raw, [], patience=30.0)
    assert error.startswith("30 s: ")
    assert "there is no such file" in error


# --- what is shown and warned of --------------------------------------------------------------


def part(
    start: int, seconds: float, events: int = 10, background: float = 100.0, spread: float = 0.0
) -> Measured:
    """Return ten frames of a second from `seconds` on."""
    counts = np.zeros(10, np.int64)
    counts[0] = events
    rows = {"area_um": np.full(events, 50.0), "deform": np.full(events, 0.08)}
    found = no_objects(10)
    found[:, 0] = counts
    upper = 100 + spread * (np.arange(10) % 2)
    times = seconds + np.arange(10) / 10
    return Measured(FrameRows(start, counts, rows, found), times, background, upper)


def course(parts: Iterable[dict[str, float]]) -> tuple[Course, list[tuple[int, str]]]:
    one, said = Course(), []
    for number, how in enumerate(parts):
        new = one.add(part(10 * number, float(number), **how), 0.0)  # type: ignore[arg-type]
        said += [(number, text) for text in new]
    return one, said


def test_a_line_has_the_numbers_of_the_last_seconds() -> None:
    one, said = course([{"events": 30}] * 15)
    assert said == []
    assert one.line(7) == (
        "150 frames, 33 events/s, median 50.0 um2, deformation 0.080, backlog 7 frames, "
        "0.0 % of masks dropped"
    )


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{}] * 5 + [{"background": 104.9}], []),
        ([{}] * 5 + [{"background": 106.0}] * 3, [(5, "brightness has changed by +6%")]),
        ([{"spread": 2.4}] * 5, []),
        ([{}] * 5 + [{"spread": 6.0}] * 3, [(5, "the light flickers")]),
        ([{}] * 5 + [{"events": 0}] * 9, []),
        ([{}] * 5 + [{"events": 0}] * 12, [(15, "no cells in the last 10 s")]),
        ([{}] * 25 + [{"events": 1}] * 12, [(35, "the channel may be clogged: 1")]),
        ([{"events": 1}] * 25 + [{"events": 0}] * 8, []),
    ],
)
def test_warnings_come_once_and_by_their_rules(
    parts: list[dict[str, float]], said: list[tuple[int, str]]
) -> None:
    _, found = course(parts)
    assert [number for number, _ in found] == [number for number, _ in said]
    assert all(words in text for (_, text), (_, words) in zip(found, said, strict=True))
