"""The data that are measured, made once and kept."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["REAL", "SHARED", "Recording", "bench_folder", "mask_volume"]

#: Where real recordings are, if they are.
SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL = SHARED / "data" / "recordings"
_SOURCE = REAL / "cytoshot_2023.rtdc"
_TOOL = SHARED / "tools" / "make_recording.py"


def bench_folder() -> Path:
    """Return the folder for data and for what is written meanwhile."""
    chosen = os.environ.get("CYTOVOX_BENCH_DIR")
    folder = Path(chosen) if chosen else Path(tempfile.gettempdir()) / "cytovox-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording to be made.

    Parameters
    ----------
    frames
        Number of frames.
    cells
        Mean number of cells in a frame.
    shape
        Height and width; None for frames grown from a real recording, which
        are 80 x 400, or simulated ones of this size where it is not there.
    """

    frames: int
    cells: float = 1.0
    shape: tuple[int, int] | None = None

    @property
    def is_real(self) -> bool:
        """Whether it is grown from a real recording."""
        return self.shape is None and _SOURCE.is_file() and _TOOL.is_file()

    @property
    def path(self) -> Path:
        """File of the recording; it is made if it is not there."""
        height, width = self.shape or (80, 400)
        kind = "real" if self.is_real else "simulated"
        name = f"{kind}_{height}x{width}_{self.frames}_{self.cells:g}.rtdc"
        path = bench_folder() / name
        if not path.exists():
            print(f"making {path}", flush=True)
            unfinished = path.with_suffix(".part")
            self._make(unfinished)
            unfinished.replace(path)
        return path

    def _make(self, path: Path) -> None:
        if self.is_real:
            options = ["--frames", str(self.frames), "--cells", str(self.cells)]
            command = [sys.executable, str(_TOOL), str(_SOURCE), str(path), *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        else:
            from cytovox.testing import simulate_recording

            shape = self.shape or (80, 400)
            simulate_recording(
                path, frames=self.frames, cells=self.cells, shape=shape, save_truth=False
            )


def mask_volume(size: int, chunk: int) -> Path:
    """Return a Zarr array with blobs, uint8 0 or 1, 20 % foreground.

    Parameters
    ----------
    size
        Length of each of the three edges, voxels.
    chunk
        Length of the edges of a chunk.
    """
    import numpy as np
    import zarr

    path = bench_folder() / f"blobs_{size}_{chunk}.zarr"
    if path.exists():
        return path
    print(f"making {path}", flush=True)
    from scipy import ndimage

    rng = np.random.default_rng(size)
    noise = rng.standard_normal((size, size, size), dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, 3.0, mode="wrap")
    # 0.84 standard deviations are exceeded by a fifth of normal values.
    mask = (smooth > 0.84 * smooth.std()).astype(np.uint8)
    unfinished = path.with_suffix(".part")
    array = zarr.create_array(
        str(unfinished), shape=mask.shape, chunks=(chunk,) * 3, dtype=mask.dtype, overwrite=True
    )
    array[:] = mask
    unfinished.replace(path)
    return path
