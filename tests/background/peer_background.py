"""Run the peer's background methods; started as a program by the tests.

    python peer_background.py JOBS.json

JOBS is a list of ``[input, output, code, options]``.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path


def main() -> None:
    warnings.simplefilter("ignore")
    from dcnum.feat.feat_background import get_available_background_methods

    methods = get_available_background_methods()
    for path_in, path_out, code, options in json.loads(Path(sys.argv[1]).read_text()):
        if Path(path_out).with_suffix(".done").exists():
            continue
        Path(path_out).unlink(missing_ok=True)
        with methods[code](Path(path_in), Path(path_out), num_cpus=2, **options) as method:
            method.process()
        Path(path_out).with_suffix(".done").touch()


if __name__ == "__main__":
    main()
