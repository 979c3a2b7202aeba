"""Row 8: files of all kinds that were changed at random."""

from __future__ import annotations

import contextlib
import math
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus import (
    RECORDING_WORDS,
    RECORDINGS,
    VOLUME_WORDS,
    VOLUMES,
    bench,
    finished_labels,
    made,
    recording_of,
    unfinished_labels,
    unfinished_recording,
    volume_of,
)
from ..helpers import Said, apart, say
from ..matrix import Case, Fault
from ..mutations import mutate_bytes, mutate_file, mutate_hdf5, mutate_json, mutate_tree
from ..recordings import digest, keep_folder

__all__ = ["FAULTS", "in_bounded_process"]

#: Seconds of computing in which each case has to end, however busy the machine is.
_LIMIT = 10.0
#: Address space that a process gets beyond what it has after its first work [bytes].
_MORE = 3 << 30
#: Memory that one case may take [bytes].
_PEAK = 1 << 30
#: Blocks of a volume whose header was changed into a larger one.
_MOST_BLOCKS = 500
_REFUSED, _DONE, _RIGHT = "refused with its reason", "harmless, done and verified", "right"
_prepared = False


def in_bounded_process(work: Callable[[Case], str], case: Case, limit: float = _LIMIT) -> str:
    """Do something in a process that lasts, has little memory, and may crash.

    Parameters
    ----------
    work
        Function of a module.
    case
        For it.
    limit
        Seconds of computing that it may take.
    """
    keep_folder()
    apart(_prepare, name="bounded")
    answer: str = apart(_watched, work, case, limit, name="bounded")
    return answer


def _prepare() -> None:
    """Do a bit of everything, so that all is compiled and loaded; then bound the memory."""
    global _prepared
    if _prepared:
        return
    for kind in RECORDINGS:
        recording_of(kind)
    for kind in VOLUMES:
        volume_of(kind)
    _right_recording()
    _right_labels()
    unfinished_labels()
    size = _status("VmSize") + _MORE
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    _prepared = True


def _status(name: str) -> int:
    """Return a size of this process [bytes]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"there is no {name}")


def _watched(work: Callable[[Case], str], case: Case, limit: float) -> str:
    """Do the work and see how much memory and computing it takes."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _status("VmRSS")
    begin = time.process_time()
    with bench() as folder:
        answer = work(replace(case, folder=folder))
    seconds = time.process_time() - begin
    assert seconds < limit, f"it computed for {seconds:.1f} s"
    peak = _status("VmHWM") - before
    assert peak < _PEAK, f"it took {peak / 2**20:.0f} MiB"
    return answer


def _copy(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder, dirs_exist_ok=True)


def _check(said: Said, name: str, done: str, what: str) -> bool:
    """Return whether a command did its work; if not, it must have said why."""
    told = f"{done}, {what}: exit code {said.code}: {said.out}"
    assert said.code in (0, 1, 2, 3, 4, 74), told
    for words in ("please report", "check that the place is there", "out of memory"):
        assert words not in said.out, told
    if said.code in (0, 3):
        return True
    assert name in said.out or "out.zarr: block" in said.out, f"the file is not named: {told}"
    return False


def _verified(path: Path, what: str) -> None:
    """Verify what was made."""
    said = say("verify", path)
    assert said.code in (0, 3), f"{what}: done, but {said.out}"


# ------------------------------------------------------------------- recordings


def _changed_recording(case: Case) -> str:
    kind = list(RECORDINGS)[case.number % len(RECORDINGS)]
    _copy(recording_of(kind), case.folder)
    raw = case.folder / "raw.rtdc"
    rng = case.random
    if rng.random() < 0.5:
        what = mutate_hdf5(raw, rng)
    else:
        other = recording_of("old") / "raw.rtdc"
        what = mutate_file(raw, rng, other.read_bytes())
    what = f"{kind}: {what}"
    before = sorted(case.folder.iterdir())
    look = rng.choice(("info", "verify", ""))
    if look:
        said = say(look, raw)
        if look == "info":
            _check(said, raw.name, "info", what)
        else:
            assert "please report" not in said.out, f"verify, {what}: {said.out}"
    if kind == "drained" and rng.random() < 0.3:
        return _changed_result(case, raw, what)
    out = case.folder / "out.rtdc"
    said = say("run", raw, "-o", out, *RECORDING_WORDS)
    if not _check(said, raw.name, "run", what):
        assert not out.exists(), f"{what}: a final file in spite of {said.out}"
        left = set(case.folder.iterdir()) - set(before)
        assert all(path.suffix not in (".rtdc", "") for path in left), f"{what}: {left}"
        return _REFUSED
    _verified(out, what)
    digest(out)
    return _DONE


def _changed_result(case: Case, out: Path, what: str) -> str:
    """Measure into a result that was changed."""
    said = say("run", case.folder / "source.rtdc", "-o", out, *RECORDING_WORDS)
    return _DONE if _check(said, out.name, "run into it", what) else _REFUSED


# ---------------------------------------------------------------------- volumes


def _changed_volume(case: Case) -> str:
    kind = list(VOLUMES)[case.number % len(VOLUMES)]
    _copy(volume_of(kind), case.folder)
    (volume,) = case.folder.iterdir()
    rng = case.random
    if volume.is_dir():
        what = mutate_tree(volume, rng)
    elif kind == "HDF5" and rng.random() < 0.5:
        what = mutate_hdf5(volume, rng)
    else:
        what = mutate_file(volume, rng, volume_of("TIFF").joinpath("a.tif").read_bytes())
    what = f"{kind}: {what}"
    if rng.random() < 0.3:
        assert "please report" not in (said := say("verify", volume)).out, f"{what}: {said.out}"
    out = case.folder / "out.zarr"
    words = list(VOLUME_WORDS)
    words[words.index("12")] = str(_block_of(volume))
    said = say("volume", "segment", volume, out, *words)
    if not _check(said, volume.name, "segment", what):
        assert not out.exists(), f"{what}: final labels in spite of {said.out}"
        return _REFUSED
    _verified(out, what)
    return _DONE


def _block_of(volume: Path) -> int:
    """Return the side of blocks; a header that names a large volume is work, no hang."""
    from cytovox.errors import CytovoxError
    from cytovox.read.open_volume import open_volume

    side = 12
    with contextlib.suppress(CytovoxError), open_volume(volume) as opened:
        while math.prod(-(-n // side) for n in opened.spatial_shape) > _MOST_BLOCKS:
            side *= 2
    return side


# ---------------------------------------------------------------------- recipes


def _changed_recipe(case: Case) -> str:
    which = case.number % 3
    if which == 0:
        return _changed_settings(case)
    if which == 1:
        return _changed_parameters(case)
    _copy(finished_labels(), case.folder)
    side = case.folder / "out.zarr.cytovox"
    rng = case.random
    path = side / rng.choice(("recipe.json", "recipe.json", "lookup.json", "published.json"))
    what = mutate_file(path, rng, (side / "lookup.json").read_bytes())
    command: list[Any] = rng.choice(
        [
            ["volume", "info", "OUT"],
            ["volume", "restitch", "OUT", "--stitch", "none", "--workers", "0", "-q"],
            ["volume", "objects", "OUT"],
            ["volume", "replay", "OUT", "0"],
            ["verify", "OUT"],
        ]
    )
    words = [case.folder / "out.zarr" if word == "OUT" else word for word in command]
    # What a changed recipe names is made where it says, so it must be in here.
    said = say(*words)
    name = "" if command[1] in ("replay", "objects") else "out.zarr"  # or function, or table
    done = _check(said, name, " ".join(command), what)
    return "harmless" if done else _REFUSED


_SETTINGS = (
    *(
        "segmenter.thresh=-6",
        "mask.closing_disk=2",
        "mask.clear_border=true",
        "gate.size_thresh=5",
    ),
    *("background.kernel_size=20", "data.pixel_size=0.3", "feature.haralick=false"),
    *("background.split_time=1.5", "mask.fill_holes=1", "gate.size_thresh_mask=10"),
)


def _changed_settings(case: Case) -> str:
    rng = case.random
    words: list[str] = []
    for _ in range(rng.choice((1, 1, 2))):
        text = rng.choice(_SETTINGS)
        name, value = text.split("=")
        what = rng.randrange(4)
        if what == 0:
            text = mutate_bytes(text.encode(), rng).decode("utf-8", "replace").replace("\0", "0")
        elif what < 3:
            text = f"{name}={mutate_json([value], rng)[:1]}".replace("[", "").replace("]", "")
        words += ["-s", text]
    if rng.random() < 0.3:
        words += [
            "--frames",
            rng.choice(("0", "5-1", "1,2,2", "99999", "2-9-3", "é", "1e3", "-1")),
        ]
    if rng.random() < 0.2:
        words += ["--compression", rng.choice(("zstd-0", "zstd-99", "gzip", "", "none"))]
    _copy(recording_of("simulated"), case.folder)
    out = case.folder / "out.rtdc"
    said = say("run", case.folder / "raw.rtdc", "-o", out, *RECORDING_WORDS, *words)
    if not _check(said, "", "run", str(words)):
        assert not out.exists(), f"{words}: a final file in spite of {said.out}"
        return _REFUSED
    _verified(out, str(words))
    return _DONE


def _changed_parameters(case: Case) -> str:
    rng = case.random
    value = mutate_json([100], rng)
    text = rng.choice(("threshold", "threshold", "treshold", "")) + "=" + repr(value[:1])[1:-1]
    if rng.random() < 0.3:
        text = mutate_bytes(b"threshold=100", rng).decode("utf-8", "replace").replace("\0", "0")
    words = list(VOLUME_WORDS)
    words[3] = text
    words[7] = rng.choice(("12", "12", "5,7", "0", "-1", "1,2,3,4", "9" * 30, "", "x", "3,4,5"))
    _copy(volume_of("npy"), case.folder)
    out = case.folder / "out.zarr"
    said = say("volume", "segment", case.folder / "a.npy", out, *words)
    if not _check(said, "", "segment", str(words)):
        assert not out.exists(), f"{words}: final labels in spite of {said.out}"
        return _REFUSED
    _verified(out, str(words))
    return _DONE


# --------------------------------------------------------------- unfinished runs


def _right_recording() -> str:
    """Return the digest of the events of a run that was not stopped."""

    raw = unfinished_recording() / "raw.rtdc"

    def make(folder: Path) -> None:
        shutil.copy(raw, folder)
        said = say("run", folder / "raw.rtdc", "-o", folder / "out.rtdc", *RECORDING_WORDS)
        assert said.code == 0, said.out

    return digest(made("right recording", make) / "out.rtdc")


def _right_labels() -> Any:
    """Return the labels of a run that was not stopped."""
    return _labels_of(finished_labels() / "out.zarr")


def _labels_of(path: Path) -> Any:
    from cytovox.read.open_volume import open_volume

    with open_volume(path) as volume:
        return volume[...]


def _changed_leftovers(case: Case) -> str:
    if case.number % 2:
        return _changed_blocks(case)
    _copy(unfinished_recording(), case.folder)
    out = case.folder / "out.rtdc"
    rng = case.random
    left = sorted(path for path in case.folder.iterdir() if path.name != "raw.rtdc")
    kinds = sorted({path.suffix for path in left})
    kind = rng.choice(kinds)
    chosen = rng.choice([path for path in left if path.suffix == kind])
    if rng.random() < 0.15:
        what = f"{chosen.name} deleted"
        chosen.unlink()
    else:
        what = mutate_file(chosen, rng, rng.choice(left).read_bytes())
    # a changed journal may say that the run had other settings
    for attempt, more in enumerate(((), (), ("--force",))):
        said = say("run", case.folder / "raw.rtdc", "-o", out, *RECORDING_WORDS, *more)
        if _check(said, "out", f"run {attempt}", what):
            assert digest(out) == _right_recording(), f"{what}: the events differ"
            return ("right", "refused with its reason, then right", "right with --force")[attempt]
        assert not out.exists(), f"{what}: a final file in spite of {said.out}"
    assert ".lock" in said.out, f"{what}: it never goes on: {said.out}"
    return "refused with its reason; the lock must be deleted"


def _changed_blocks(case: Case) -> str:
    _copy(unfinished_labels(), case.folder)
    out = case.folder / "out.zarr"
    what = mutate_tree(case.folder / "out.zarr.cytovox", case.random, folders=False)
    words = ("volume", "segment", case.folder / "a.npy", out, *VOLUME_WORDS)
    for attempt, more in enumerate(((), (), ("--no-resume",))):
        said = say(*words, *more)
        if _check(said, "out.zarr", f"segment {attempt}", what):
            np.testing.assert_array_equal(_labels_of(out), _right_labels(), what)
            return ("right", "refused with its reason, then right", "right with --no-resume")[
                attempt
            ]
        assert not out.exists(), f"{what}: final labels in spite of {said.out}"
    raise AssertionError(f"{what}: it never goes on: {said.out}")


_PEER = "not tried"
_BOUND = "ends within 10 s, 1 GiB of memory at most, no crash, nothing under a final name"


def _fault(name: str, quick: int, full: int, work: Callable[[Case], str], bound: str) -> Fault:
    return Fault(
        row=8,
        name=name,
        quick=quick,
        full=full,
        bound=bound,
        peer=_PEER,
        run=partial(in_bounded_process, work),
    )


FAULTS = [
    _fault("Changed recordings", 4 * len(RECORDINGS), 7200, _changed_recording, _BOUND),
    _fault("Changed volumes", 3 * len(VOLUMES), 5600, _changed_volume, _BOUND),
    _fault("Changed recipes and settings", 30, 2400, _changed_recipe, _BOUND),
    _fault(
        "Changed journals, logs, locks and blocks of stopped runs",
        16,
        4800,
        _changed_leftovers,
        f"{_BOUND}; the input is whole, so the result is right in the end",
    ),
]
