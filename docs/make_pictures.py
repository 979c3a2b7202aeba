"""Write the pictures of docs/images: of the README, of the first page, and of the gallery.

Needs no data; takes a minute. `make docs` runs it.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from make_truth import measure
from matplotlib.figure import Figure
from PIL import Image, ImageOps

import cytovox
from cytovox.cli.main import main
from cytovox.read import HDF5Data
from cytovox.report import contact_sheet, deformation_area_scatter
from cytovox.report.style import FAINT, INK, MEASURED, TRUE, label_axes, new_figure, title
from cytovox.report.volume_picture import colours_of, slice_picture
from cytovox.segm.segm_thresh import SegmentThresh
from cytovox.testing import Truth, simulate_recording, simulate_volume

IMAGES = Path(__file__).parent / "images"
#: What the tutorial about volumes says.
#: Too strict a threshold, which loses a cell.
STRICT = ["--set", "segmenter.thresh=-42"]
WATERSHED = {"threshold": 90, "seed_distance": 8}


def write(name: str, picture: Figure | Path, width: int, *, vivid: bool = False) -> None:
    """Write a picture as a small PNG, without white margins; `vivid` keeps all colours."""
    if isinstance(picture, Figure):
        stream: Any = io.BytesIO()
        picture.savefig(stream, format="png", metadata={"Software": None})
    else:
        stream = picture
    with Image.open(stream) as image:
        full = image.convert("RGB")
        small = ImageOps.expand(full.crop(ImageOps.invert(full).getbbox()), 12, "white")
        small.thumbnail((width, width), Image.Resampling.LANCZOS)
        IMAGES.mkdir(exist_ok=True)
        if not vivid:
            small = small.quantize(256, dither=Image.Dither.NONE)
        small.save(IMAGES / f"{name}.png", optimize=True)


def of_recordings(folder: Path) -> None:
    """Draw what `cytovox demo` has measured."""
    if code := main(["demo", "--out", str(folder)]):
        sys.exit(code)
    write("demo", folder / "demo.png", 1240)
    truth = Truth.load(folder / "demo.truth.csv")
    with HDF5Data(folder / "demo_dcn.rtdc") as data:
        write("cells", contact_sheet(data, number=12, columns=4), 620)
        write("scatter", deformation_area_scatter(data, truth=truth.whole), 620)
    with HDF5Data(folder / "demo.rtdc") as raw, HDF5Data(folder / "demo_dcn.rtdc") as data:
        write("frame", from_frame_to_mask(raw, data), 900)
    of_report(folder)


def of_report(folder: Path) -> None:
    """Take a picture of the top of a report, as a browser shows it; needs Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.stderr.write("there is no Chromium: docs/images/report.png stays as it is\n")
        return
    with contextlib.chdir(folder):  # the page shows paths as they were given
        if code := main(["report", "demo_dcn.rtdc", "-o", "page"]):
            sys.exit(code)
    picture = folder / "page" / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    where = [f"--user-data-dir={folder / 'browser'}", "--window-size=1100,1440"]
    page = (folder / "page" / "report.html").as_uri()
    command = [browser, *options, *where, f"--screenshot={picture}", page]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    write("report", picture, 1440)


def from_frame_to_mask(raw: HDF5Data, data: HDF5Data) -> Figure:
    """Draw a frame with several events, its background, their difference, and the mask."""
    counts = np.bincount(np.asarray(data["frame"][:], dtype=int))
    number = int(np.argmax(counts))
    event = int(np.flatnonzero(np.asarray(data["frame"][:]) == number)[0])
    image, background = raw.image[number - 1], data.image_bg[event]
    difference = image.astype(np.int16) - background
    mask = SegmentThresh.segment_algorithm(difference, thresh=-6)
    shown = {
        "Frame": (image, "gray"),
        "Background": (background, "gray"),
        "Frame minus background": (difference, "gray"),
        "Mask: darker than -6": (mask, "gray_r"),
    }
    figure = new_figure(9, 2.9)
    for axes, (name, (picture, colours)) in zip(
        figure.subplots(2, 2).flat, shown.items(), strict=True
    ):
        title(axes, name)
        axes.imshow(picture, cmap=colours, interpolation="nearest")
        axes.set_axis_off()
    return figure


def of_a_frame(folder: Path) -> None:
    """Draw what the page about looking and explaining shows."""
    raw = folder / "raw.rtdc"
    simulate_recording(raw, frames=300, seed=6, cells=2.5, border=0.3)
    look = ["look", str(raw), "--frame", "276", *STRICT]
    why = ["explain", str(raw), "--frame", "276", *STRICT, "--at", "350,35"]
    for name, command in (("look", look), ("explain", why)):
        picture = folder / f"{name}.png"
        if code := main([*command, "-o", str(picture)]):
            sys.exit(code)
        write(name, picture, 1100, vivid=True)


def of_differences(folder: Path) -> None:
    """Draw what the correction of the offset changes where the light flickers."""
    raw = folder / "flickers.rtdc"
    simulate_recording(raw, frames=300, seed=6, cells=2, flicker=0.02)
    results = [folder / "corrected.rtdc", folder / "uncorrected.rtdc"]
    for out, value in zip(results, ("true", "false"), strict=True):
        setting = f"background.offset_correction={value}"
        if code := main(["run", str(raw), "-o", str(out), "-q", "--set", setting]):
            sys.exit(code)
    main(["diff", *map(str, results), "-o", str(folder / "diff.png")])
    write("diff", folder / "diff.png", 900, vivid=True)


def of_live(folder: Path) -> None:
    """Draw a terminal in which a recording of a camera was measured while it was written."""
    camera = [sys.executable, "-m", "cytovox", "simulate", "recording", "raw.rtdc"]
    camera += ["--frames", "2400", "--live", "400", "--seed", "6", "--flicker", "0.01"]
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        subprocess.Popen(camera, stderr=subprocess.DEVNULL) as process,
        # as on a terminal, but one line below the other
        mock.patch("cytovox.cli.progress_display._INTERVAL", 1.0),
        contextlib.redirect_stderr(err),
        contextlib.redirect_stdout(out),
    ):
        code = main(["live", "raw.rtdc"])
        process.wait(timeout=300)
    if code:
        sys.exit(f"{err.getvalue()}{code}")
    passing = re.compile("waiting for frames|segmentation [0-9]+ of")
    said = [line for line in err.getvalue().splitlines() if not passing.search(line)]
    write("live", terminal(["$ cytovox live raw.rtdc", *said, *out.getvalue().splitlines()]), 1300)


def terminal(lines: list[str]) -> Figure:
    """Draw lines as a terminal shows them."""
    figure = new_figure(11, 0.2 * len(lines))
    for number, line in enumerate(lines):
        place = 1 - (number + 0.5) / len(lines)
        figure.text(0, place, line, family="monospace", fontsize=8.5, color=INK, va="center")
    return figure


def of_accuracy() -> None:
    """Draw by how much deformation is too high, against the size of cells in pixels."""
    sizes = (0.5, 0.65, 0.8, 1.0, 1.25, 1.5)
    measured = [measure(300, size=size) for size in sizes]
    radius = [np.sqrt(np.mean(m.cells["area_um"]) / np.pi) / m.cells.pixel_size for m in measured]
    error = [m.events["deform"] - m.cells["deform"][m.index] for m in measured]
    expected = [np.mean(m.cells.deform_on_pixels - m.cells["deform"]) for m in measured]
    figure = new_figure(6.2, 4.2)
    axes = figure.add_subplot()
    title(axes, "Why small cells look more deformed")
    label_axes(axes, "Radius of cells (pixels)", "Deformation: measured - true")
    axes.plot(radius, expected, color=TRUE, label="expected of outlines through pixels")
    axes.errorbar(
        radius, [np.mean(e) for e in error], [np.std(e) for e in error], fmt="o", color=MEASURED,
        capsize=3, label="measured: mean and standard deviation",
    )  # fmt: skip
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.legend(frameon=False, labelcolor=INK)
    write("accuracy", figure, 620)


def of_volumes(folder: Path) -> None:
    """Draw tissue that is segmented block by block, before and after stitching."""
    raw, labels = folder / "stack.tif", folder / "labels.zarr"
    simulate_volume(
        raw, shape=(128, 256, 256), seed=1, kind="cells", diameter=40, voxel_size=(2, 1, 1),
        units="micrometer",
    )  # fmt: skip
    words = [f"--set={name}={value}" for name, value in WATERSHED.items()]
    command = ["volume", "segment", str(raw), str(labels), "-f", "watershed", "--block", "64"]
    if code := main([*command, *words, "--picture", str(folder / "volume.png")]):
        sys.exit(code)
    write("volume", folder / "volume.png", 1240)
    shown = {"Stack": None, "Labels of blocks": None, "After stitching": None}
    with cytovox.open_volume(raw) as image, cytovox.open_volume(labels) as found:
        middle = image.shape[0] // 2
        grey, shown["After stitching"] = image[middle], found[middle]
    cytovox.restitch_volume(labels, stitch="none")
    with cytovox.open_volume(labels) as found:
        shown["Labels of blocks"] = found[middle]
    write("stitching", before_and_after(grey, shown), 900)
    figure = new_figure(6.2, 4.2)
    axes = figure.add_subplot()
    title(axes, "Cells of a tissue with their outlines")
    axes.imshow(slice_picture(grey, shown["After stitching"])[:140], interpolation="nearest")
    axes.set_axis_off()
    write("labels", figure, 620)


def before_and_after(grey: Any, shown: dict[str, Any]) -> Figure:
    """Draw a slice, and its labels in colours."""
    figure = new_figure(9, 3.4)
    for axes, (name, labels) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        title(axes, name)
        if labels is None:
            axes.imshow(grey, cmap="gray", interpolation="nearest")
        else:
            picture = colours_of(labels)
            picture[labels == 0] = 0
            axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        of_recordings(Path(folder))
        of_a_frame(Path(folder))
        of_differences(Path(folder))
        of_volumes(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        of_live(Path(folder))
    of_accuracy()
