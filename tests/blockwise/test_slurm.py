"""Volumes and recordings on a Slurm of one node, which the tests start."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

import cytovox
from cytovox.cli.main import main
from cytovox.testing import simulate_recording
from support.processes import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(shutil.which(name) for name in PROGRAMS), reason="Slurm is not installed"
    ),
    pytest.mark.skipif(
        getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can start a Slurm"
    ),
]
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""
SRUN = ("--workers", "2", "--cluster", "srun -n1 {command}")


def told(*words: str) -> str:
    """Return what a program prints; empty if it fails."""
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, conf = folder / "key", folder / "slurm.conf"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as two:
        ports = [line.getsockname()[1] for line in (one, two)]
    host = socket.gethostname().partition(".")[0]
    conf.write_text(
        CONFIGURATION.format(folder=folder, ports=ports, host=host, user=getpass.getuser())
    )
    files = {"socket": "munge", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
    munged = ["munged", "--foreground", "--force", f"--log-file={folder / 'log'}"]
    munged += [f"--{option}={folder / name}" for option, name in files.items()]
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        with open(folder / f"{words[0]}.out", "wb") as out:
            daemons.append(subprocess.Popen(words, stdout=out, stderr=out))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        try:
            start(*munged)
            wait_until((folder / "munge").exists, 60)
            start("slurmctld", "-D", "-f", str(conf))
            start("slurmd", "-D", "-f", str(conf))
            wait_until(lambda: told("sinfo", "-h", "-o", "%t") == "idle", 120)
            yield
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait(60)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recordings(folder: Path) -> None:
    for number in range(2):
        simulate_recording(folder / f"{number}.rtdc", frames=20, seed=number)
    assert main(["run", "0.rtdc", "1.rtdc", "-o", "here"]) == 0


def assert_same_events(folder: Path) -> None:
    for number in range(2):
        name = f"{number}_dcn.rtdc"
        with h5py.File(folder / "here" / name) as ours, h5py.File(folder / "there" / name) as its:
            assert ours["events"].keys() == its["events"].keys()
            assert len(ours["events/area_um"])
            for feature in ("frame", "area_um", "deform", "bright_avg"):
                np.testing.assert_array_equal(ours["events"][feature], its["events"][feature])


def test_a_volume_by_srun_is_that_of_this_machine(folder: Path) -> None:
    data = np.random.default_rng(0).integers(0, 120, (48, 48, 48), dtype=np.uint8)
    data[5:40, 10:20, 3:45] = 200
    np.save("raw.npy", data)
    segment = ["volume", "segment", "raw.npy", "-f", "label", "--set", "threshold=110"]
    segment += ["--block", "24"]
    assert main([*segment, "here.zarr"]) == 0
    assert main([*segment, "there.zarr", *SRUN]) == 0
    box = ((0, 48),) * 3
    with cytovox.open_volume("here.zarr") as ours, cytovox.open_volume("there.zarr") as its:
        assert ours.read(box).max() > 1
        np.testing.assert_array_equal(ours.read(box), its.read(box))
    wait_until(lambda: told("squeue", "-h") == "", 60)


def test_recordings_by_srun_are_those_of_this_machine(folder: Path) -> None:
    recordings(folder)
    assert main(["run", "0.rtdc", "1.rtdc", "-o", "there", *SRUN]) == 0
    assert_same_events(folder)
    wait_until(lambda: told("squeue", "-h") == "", 60)


def test_recordings_by_an_array_are_those_of_this_machine(folder: Path) -> None:
    recordings(folder)
    (folder / "list.txt").write_text("0.rtdc\n1.rtdc\n")
    (folder / "array.sh").write_text(
        "#!/bin/sh\n#SBATCH --array=1-2%20\n#SBATCH -c 1\n"
        'cytovox run "$(sed -n "${SLURM_ARRAY_TASK_ID}p" list.txt)" -o there\n'
    )
    subprocess.run(["sbatch", "--wait", "array.sh"], check=True, timeout=600)
    assert_same_events(folder)


def test_a_run_that_is_killed_leaves_no_job(folder: Path) -> None:
    np.save("raw.npy", np.zeros((8, 8, 8), np.uint8))
    (folder / "slow.py").write_text("import time\ndef slow(data):\n    time.sleep(600)\n")
    words = ["volume", "segment", "raw.npy", "out.zarr", "-f", "slow.py:slow", "--block", "8"]
    program = [sys.executable, "-c", "from cytovox.cli.main import main; main()"]
    with subprocess.Popen([*program, *words, *SRUN], stderr=subprocess.PIPE) as process:
        journal = folder / "out.zarr.cytovox/journal.jsonl"
        wait_until(lambda: told("squeue", "-h", "-o", "%t").split() == ["R", "R"], 120)
        wait_until(lambda: journal.exists() and "started" in journal.read_text(), 120)
        process.kill()
    wait_until(lambda: told("squeue", "-h") == "", 60)
