"""Scripts that were written for dcnum, with workers in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from cytovox.testing import simulate_recording

#: Its segmenter is in the script itself, which each worker imports again.
SCRIPT = """
import sys
from pathlib import Path

import numpy as np
from dcnum import logic, read, segm
from dcnum.common import cpu_count

class SegmentDarker(segm.{base}):
    requires_background_correction = True
    mask_default_kwargs = {{"closing_disk": 1}}

    @staticmethod
    def segment_algorithm(image, *, level: float = -5):
        assert "dcnum" in sys.modules
        return np.array([[value < level for value in row] for row in image])

def main():
    assert "darker" in segm.get_available_segmenters()
    job = logic.DCNumPipelineJob(
        path_in=sys.argv[1], path_out=sys.argv[2], segmenter_code="darker",
        segmenter_kwargs={{"level": -6, "kwargs_mask": {{"closing_disk": 2}}}},
        num_procs=min(2, cpu_count()))
    job.validate()
    runner = logic.DCNumJobRunner(job=job)
    runner.start()
    runner.join(delete_temporary_files=False)
    assert runner.error_tb is None, runner.error_tb
    status = runner.get_status()
    assert (status["progress"], status["state"]) == (1, "done") and "segm rate" in status
    with read.HDF5Data(sys.argv[2]) as data:
        print("events", len(data), data.meta["pipeline:dcnum segmenter"])
    runner.close()

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "raw.rtdc"
    simulate_recording(path, frames=40, seed=4, shape=(40, 80))
    return path


def test_a_segmenter_of_the_script_works_in_processes(
    recording: Path, tmp_path: Path, run_as_dcnum: Callable
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(base="MPOSegmenter"), encoding="utf-8")
    ended = run_as_dcnum(sys.executable, "script.py", "raw.rtdc", "out.rtdc")
    assert ended.code == 0, ended.text
    assert "darker:l=-6:cle=1^f=1^clo=2" in ended.text
    plain = run_as_dcnum(
        sys.executable,
        "-c",
        "from dcnum.logic import *; j = DCNumPipelineJob('raw.rtdc', 'plain.rtdc', num_procs=1)\n"
        "with DCNumJobRunner(j) as runner: runner.run()",
    )
    assert plain.code == 0, plain.text
    with h5py.File(tmp_path / "out.rtdc") as a, h5py.File(tmp_path / "plain.rtdc") as b:
        assert len(a["events/deform"]) > 0
        assert a["events/mask"][:].tolist() == b["events/mask"][:].tolist()


#: What the graphical client does: states are set and read, the log is kept.
CONTEXT = """
import sys
import h5py
from dcnum.logic import DCNumJobRunner, DCNumPipelineJob

if __name__ == "__main__":
    job = DCNumPipelineJob(path_in=sys.argv[1], path_out="gui.rtdc", num_procs=1, debug=True)
    with DCNumJobRunner(job=job) as runner:
        runner.state = "created"
        assert runner.get_status() == {"progress": 0, "segm rate": 0, "state": "created"}
        runner.run()
        print(runner.state, runner.error_tb, runner.pphash)
    assert not runner.path_log.exists()
    with h5py.File(job["path_out"]) as h5:
        assert h5.attrs["pipeline:dcnum hash"] == runner.pphash
        assert any(name.startswith("dcnum-log-") for name in h5["logs"])
"""


def test_what_the_graphical_client_does(
    recording: Path, tmp_path: Path, run_as_dcnum: Callable
) -> None:
    (tmp_path / "script.py").write_text(CONTEXT, encoding="utf-8")
    ended = run_as_dcnum(sys.executable, "script.py", "raw.rtdc")
    assert ended.code == 0, ended.text
    assert "done None" in ended.text
