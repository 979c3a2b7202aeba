"""Write docs/images/demo.png: the picture of the demo, made small."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from cytovox.cli.main import main

PICTURE = Path(__file__).parent / "images" / "demo.png"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if code := main(["demo", "--out", folder]):
            sys.exit(code)
        with Image.open(Path(folder) / "demo.png") as picture:
            small = picture.convert("RGB")
            small.thumbnail((1240, 1240), Image.Resampling.LANCZOS)
            PICTURE.parent.mkdir(exist_ok=True)
            small.quantize(96, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
