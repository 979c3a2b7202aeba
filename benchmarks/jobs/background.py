"""Compute a background: WHOSE METHOD INPUT OUTPUT; tells its seconds.

Both read the frames; dcnum cannot but write the result, ours is written, too.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path


def main() -> None:
    """Compute it with default settings and number of workers."""
    whose, method, path_in, path_out = sys.argv[1:]
    warnings.simplefilter("ignore")
    compute = _ours if whose == "cytovox" else _dcnum
    begin = time.perf_counter()
    inner = compute(method, Path(path_in), Path(path_out))
    print(json.dumps({"seconds": time.perf_counter() - inner, "all": inner - begin}))


def _ours(method: str, path_in: Path, path_out: Path) -> float:
    from cytovox.background import BackgroundRollMed, BackgroundSparseMed
    from cytovox.logic.background_step import store_background
    from cytovox.read import HDF5Data
    from cytovox.write import create_with_basins

    cls = BackgroundRollMed if method == "rollmed" else BackgroundSparseMed
    create_with_basins(path_out, [path_in])
    begin = time.perf_counter()
    with HDF5Data(path_in) as data:
        computed = cls(data)
        store_background(computed.compute(), data, path_out, computed.get_ppid())
    return begin


def _dcnum(method: str, path_in: Path, path_out: Path) -> float:
    from dcnum.feat.feat_background import bg_roll_median, bg_sparse_median

    rolling = bg_roll_median.BackgroundRollMed
    cls = rolling if method == "rollmed" else bg_sparse_median.BackgroundSparseMed
    begin = time.perf_counter()
    with cls(input_data=path_in, output_path=path_out, compress=True) as computed:
        computed.process()
    return begin


if __name__ == "__main__":  # dcnum's workers import this file, too
    main()
