"""ChipStream's command line on cytovox: the files that it writes on dcnum.

Each command is run twice in the same folder, on dcnum and on cytovox. Where
dcnum hangs or writes a wrong file, only what cytovox does is looked at.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from parity_harness.compare import compare

from cytovox.cli.main import main
from cytovox.logic import DCNumJobRunner, DCNumPipelineJob
from cytovox.testing import simulate_recording

PROGRAM = shutil.which("chipstream-cli", path=sysconfig.get_path("scripts"))
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chipstream[cli] is not installed")

#: Seconds for one command, of which the peer gets two tries.
LIMIT = 600
RECORDINGS = {"M001.rtdc": "cytoshot_2023.rtdc", "M002.rtdc": "cytoshot_2024.rtdc"}


@dataclass(frozen=True)
class Command:
    """A command and the files that it writes."""

    words: str
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return self.words


DEFAULT = Command("M001.rtdc", ("M001_dcn.rtdc",))
OTHERS = (
    Command(
        "--drain-basins -c zstd-9 --num-cpus 2 M001.rtdc out/M001_drain.rtdc",
        ("out/M001_drain.rtdc",),
    ),
    Command(
        "-kf haralick=False -ks thresh=-5 -ks closing_disk=3 -kg size_thresh_mask=20 "
        "-kb offset_correction=true M002.rtdc M002_o.rtdc",
        ("M002_o.rtdc",),
    ),
    Command("-b copy --limit-events 3-10-2 --debug M002.rtdc M002_lim.rtdc", ("M002_lim.rtdc",)),
    Command("-r tree treeout", ("treeout/a/M001_dcn.rtdc", "treeout/b/M002_dcn.rtdc")),
)
LARGE = Command("big.rtdc big_dcn.rtdc", ("big_dcn.rtdc",))


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    """Real recordings, alone and in a tree of folders."""
    for name, source in RECORDINGS.items():
        shutil.copyfile(shared_data / "recordings" / source, tmp_path / name)
    for place, name in (("a", "M001.rtdc"), ("b", "M002.rtdc")):
        (tmp_path / "tree" / place).mkdir(parents=True)
        shutil.copyfile(tmp_path / name, tmp_path / "tree" / place / name)
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.fixture
def client(run_as_dcnum: Callable) -> Callable:
    """Return a function that runs ChipStream on cytovox."""

    def run(*words: str, limit: float = LIMIT):
        return run_as_dcnum("chipstream-cli", *words, limit=limit)

    return run


def same_as_on_the_peer(folder: Path, command: Command, client: Callable, peer: Callable) -> None:
    """Run a command both ways; outputs have the same names and are equally deep."""
    pytest.importorskip("dcnum")
    words = command.words.split()
    theirs = peer(PROGRAM, *words, limit=LIMIT)
    assert theirs.code == 0, theirs.text
    for name in command.outputs:
        (folder / name).rename((folder / name).with_suffix(".peer"))
    ours = client(*words)
    assert ours.code == 0, ours.text
    for name in command.outputs:
        assert compare(folder / name, (folder / name).with_suffix(".peer")) == []
    leftover = [path.name for path in folder.rglob("*~")] + [p.name for p in folder.rglob("*.log")]
    assert leftover == []


@pytest.mark.peer
@pytest.mark.timeout(3 * LIMIT + 20)
def test_default_command_writes_the_peers_file(
    folder: Path, client: Callable, run_program: Callable
) -> None:
    same_as_on_the_peer(folder, DEFAULT, client, run_program)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT + 20)
@pytest.mark.parametrize("name", RECORDINGS)
def test_our_command_line_writes_the_peers_file(
    folder: Path, run_program: Callable, name: str
) -> None:
    """Both test the recording for flickering light, with one result."""
    pytest.importorskip("dcnum")
    theirs = run_program(PROGRAM, "--drain-basins", name, "theirs.rtdc", limit=LIMIT)
    assert theirs.code == 0, theirs.text
    ours = folder / "ours.rtdc"
    assert main(["run", str(folder / name), "-o", str(ours), "--quiet"]) == 0
    assert compare(ours, folder / "theirs.rtdc") == []


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT + 20)
@pytest.mark.parametrize("device", [None, "Naiad 1.0", "Naiad 1.1", "other"])
def test_pixel_sizes_are_corrected_as_by_the_peer(
    tmp_path: Path, run_program: Callable, device: str | None
) -> None:
    """Both take the pixel size of the device in place of a wrong one that is stored."""
    pytest.importorskip("dcnum")
    raw = tmp_path / "raw.rtdc"
    simulate_recording(raw, frames=40, seed=3, pixel_size=0.34)
    with h5py.File(raw, "a") as h5:
        h5.attrs["setup:identifier"] = "RC-ab12"
        if device is not None:
            h5["logs/cytoshot-acquisition"] = [f"Device name: {device}".encode()]
    theirs = run_program(PROGRAM, "--drain-basins", "raw.rtdc", "theirs.rtdc", limit=LIMIT)
    assert theirs.code == 0, theirs.text
    ours = tmp_path / "ours.rtdc"
    assert main(["run", str(raw), "-o", str(ours), "--quiet"]) == 0
    with h5py.File(ours) as a, h5py.File(tmp_path / "theirs.rtdc") as b:
        for key in ("pipeline:dcnum hash", "imaging:pixel size"):
            assert a.attrs[key] == b.attrs[key]
    assert compare(ours, tmp_path / "theirs.rtdc") == []


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT + 20)
@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_other_commands_write_the_peers_files(
    folder: Path, command: Command, client: Callable, run_program: Callable
) -> None:
    same_as_on_the_peer(folder, command, client, run_program)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT + 20)
def test_long_recording_gives_the_peers_file(
    folder: Path, client: Callable, run_program: Callable
) -> None:
    simulate_recording(folder / "big.rtdc", frames=1200, seed=8)
    same_as_on_the_peer(folder, LARGE, client, run_program)


@pytest.mark.parametrize("command", OTHERS[1::2], ids=str)
def test_other_commands_work(folder: Path, command: Command, client: Callable) -> None:
    ended = client(*command.words.split())
    assert ended.code == 0, ended.text
    assert "100% (done)" in ended.text
    for name in command.outputs:
        assert events_of(folder / name) > 0


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT + 20)
def test_dry_run_shows_the_same_identifiers(
    folder: Path, client: Callable, run_program: Callable
) -> None:
    pytest.importorskip("dcnum")
    ours = client("--dry-run", "M001.rtdc")
    theirs = run_program(PROGRAM, "--dry-run", "M001.rtdc", limit=LIMIT)
    assert ours.code == theirs.code == 0
    assert "Pipeline hash:" in ours.text
    assert ours.text.splitlines()[-7:] == theirs.text.splitlines()[-7:]
    assert not (folder / "M001_dcn.rtdc").exists()


@pytest.mark.slow
def test_it_says_on_what_it_runs(client: Callable) -> None:
    ended = client("--info")
    assert ended.code == 0
    assert "+cytovox." in ended.text
    assert "thresh" in ended.text
    assert client("--help").code == 0


def test_it_runs_where_torch_is_not_installed(run_as_dcnum: Callable) -> None:
    code = (
        "import importlib.metadata, sys; sys.modules['torch'] = None; sys.argv = ['x', '--info'];"
        "found = importlib.metadata.entry_points(group='console_scripts', name='chipstream-cli');"
        "next(iter(found)).load()()"
    )
    ended = run_as_dcnum(sys.executable, "-c", code)
    assert ended.code == 0, ended.text
    assert "CUDA compute available:\t false" in ended.text
    assert ended.text.split("available segmenters:")[1].splitlines()[0].split() == ["thresh"]


def events_of(path: Path) -> int:
    """Return the number of events, after checking that all features have as many."""
    with h5py.File(path) as h5:
        count = int(h5.attrs["experiment:event count"])
        assert h5.attrs["pipeline:dcnum yield"] == count
        lengths = {len(h5["events"][name]) for name in h5["events"]}
        assert lengths == {count}
    return count


def test_measuring_a_result_again(folder: Path, client: Callable) -> None:
    """The same way the peer finds no events; with another threshold it never ends."""
    for words in ("M001.rtdc", "M001_dcn.rtdc again.rtdc", "-ks thresh=-4 M001_dcn.rtdc o.rtdc"):
        ended = client(*words.split())
        assert ended.code == 0, ended.text
    assert events_of(folder / "again.rtdc") == events_of(folder / "M001_dcn.rtdc") == 56
    assert events_of(folder / "o.rtdc") > 0


@pytest.mark.parametrize("basins", ["tap", "drain"])
def test_one_event_in_each_frame(folder: Path, client: Callable, basins: str) -> None:
    """The peer stores maps that cannot be read, or takes Python down."""
    job = DCNumPipelineJob(folder / "M002.rtdc", folder / "all.rtdc", background_code="copy")
    with DCNumJobRunner(job) as runner:
        runner.run()
    with h5py.File(folder / "all.rtdc") as h5:
        frames = np.flatnonzero(np.bincount(h5["events/basinmap0"][:]) == 1)
    with h5py.File(folder / "M002.rtdc") as a, h5py.File(folder / "one.rtdc", "w") as b:
        for key, value in a.attrs.items():
            b.attrs[key] = value
        for name in ("image", "image_bg", "bg_off", "time", "frame"):
            b[f"events/{name}"] = a[f"events/{name}"][frames]
        b.attrs["experiment:event count"] = len(frames)
    words = ["--drain-basins"] if basins == "drain" else []
    ended = client("-b", "copy", *words, "one.rtdc", "one_dcn.rtdc")
    assert ended.code == 0, ended.text
    assert events_of(folder / "one_dcn.rtdc") == len(frames) > 3
    with h5py.File(folder / "one_dcn.rtdc") as h5:
        assert np.all(h5["events/nevents"][:] == 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-ks thresh=5 M001.rtdc out.rtdc", "is not below zero"),
        ("-ks tresh=-5 M001.rtdc out.rtdc", "tresh"),
        ("M001.rtdc there.rtdc", "exists already"),
        ("-r tree done", "exists already"),
    ],
)
def test_mistakes_end_clearly(folder: Path, client: Callable, words: str, said: str) -> None:
    """On the first the peer never ends; on the last two it leaves a log behind."""
    (folder / "there.rtdc").write_text("of another program")
    (folder / "done" / "a").mkdir(parents=True)
    (folder / "done" / "a" / "M001_dcn.rtdc").write_text("finished before")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ended = client(*words.split())
    assert ended.code == 1
    assert said in ended.text
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {p: after.get(p) for p in before} == before
    new = {path.relative_to(folder).as_posix() for path in set(after) - set(before)}
    assert new <= {"done/b/M002_dcn.rtdc"}
