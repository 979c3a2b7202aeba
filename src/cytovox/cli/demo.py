"""``cytovox demo``: the whole way, from a simulated recording to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]

#: What distinguishes a simulated file, and its result, from any other.
_MARK = ("setup:module composition", "simulator")


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for what is made.")
    ] = Path("demo"),
    frames: Annotated[int, typer.Option(min=1, metavar="N", help="Number of frames.")] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, metavar="S", help="The same seed gives the same recording.")
    ] = 1,
    volume: Annotated[
        bool, typer.Option("--volume", help="Show it with a volume in place of a recording.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Simulate a recording, measure it, compare with the truth, and draw a picture.

    Needs no data, and shows in a minute what the program does. An earlier
    demo in the same folder is replaced.
    """
    if volume:
        from .demo_volume import demo_volume

        raise typer.Exit(demo_volume(out, seed=seed))
    from ..report import draw_measurement
    from ..testing import simulate_recording
    from .comparison import compare_with_truth
    from .console import FINDINGS, print_text

    raw, result, picture = out / "demo.rtdc", out / "demo_dcn.rtdc", out / "demo.png"
    _refuse_foreign([raw, result], picture)
    out.mkdir(parents=True, exist_ok=True)
    truth = simulate_recording(raw, frames=frames, seed=seed)
    print_text(f"simulated {frames} frames with {len(truth.whole)} whole cells: {raw}")
    _measure(raw, result)
    print_text(f"measured: {result}")
    compared = compare_with_truth(result, truth)
    print_text(str(compared))
    draw_measurement(result, picture, truth=truth.whole)
    print_text(f"picture: {picture}")
    raise typer.Exit(0 if compared.agrees else FINDINGS)


def _refuse_foreign(files: list[Path], picture: Path) -> None:
    """Make sure that nothing is replaced but what an earlier demo has made."""
    import h5py

    from ..errors import OutputExistsError

    key, value = _MARK
    for path in files:
        if not path.exists():
            continue
        try:
            with h5py.File(path, "r") as h5:
                found = h5.attrs.get(key)
        except OSError:
            found = None
        if found not in (value, value.encode()):
            raise OutputExistsError(
                "the file is not from a demo", path=path, hint="name another folder with --out"
            )
    if picture.exists() and not any(path.exists() for path in files):
        raise OutputExistsError(
            "the file is not from a demo", path=picture, hint="name another folder with --out"
        )


def _measure(raw: Path, result: Path) -> None:
    from ..logic import DCNumJobRunner, DCNumPipelineJob
    from .compiling import reporting_compilation
    from .progress_display import choose_display
    from .signals import stop_gently

    display = choose_display(quiet=False)
    with display, reporting_compilation(display.compiling):
        display.begin(raw.name)
        job = DCNumPipelineJob(raw, result)
        runner = DCNumJobRunner(job, force=True, on_event=display.show)
        with runner, stop_gently(runner.request_stop):
            runner.run()
