"""Write the peer's results on simulated recordings anew.

    python tests/parity/make_golden.py

Needed after the simulator's images or the chosen settings have changed; it
needs dcnum 0.31.0. Look at the difference before keeping it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from parity_harness.golden import (
    FOLDER,
    RECORDINGS,
    definition,
    describe,
    images_digest,
    simulate,
)
from parity_harness.program import Program


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Program("dcnum", Path(folder, "peer")) as peer:
        for name, chosen in RECORDINGS.items():
            path = simulate(name, Path(folder))
            results = {}
            for what, settings in chosen["runs"].items():
                result = peer.run(path, settings)
                if result.error:
                    print(f"{name}, {what}: {result.error}")
                    return 1
                results[what] = describe(result.path)
                print(f"{name}, {what}: {results[what]['attrs']['experiment:event count']} events")
            kept = {
                "definition": definition(name),
                "images_sha256": images_digest(path),
                "results": results,
            }
            text = json.dumps(kept, indent=1, sort_keys=True) + "\n"
            (FOLDER / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
