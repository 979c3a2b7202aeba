"""``cytovox look``: one frame as a picture, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import escaped
from .command_options import OUTPUT, AllowedToRecordings, Said, option, options
from .console import show
from .looking import FrameFile, FrameOptions, looking_at, save_picture

__all__ = ["look"]


@options
class _Picture:
    out: Path | None = option(
        None,
        "Picture to write. Without it, NAME_frame_N.png in this folder.",
        "--out",
        "-o",
        panel=OUTPUT,
        metavar="PNG",
    )
    force: bool = option(False, "Replace a picture that exists already.", panel=OUTPUT)


def look(
    file: FrameFile,
    what: FrameOptions,
    picture: _Picture,
    allowed: AllowedToRecordings,
    said: Said,
) -> None:
    """Draw a frame, its background, their difference, the mask, and what became of each object.

    It is measured as cytovox run would, with the same options; of a result,
    by its own recipe. No result is written.

    Example: cytovox look raw.rtdc --frame 41 --set segmenter.thresh=-3
    """
    from ..report.frame_picture import frame_picture
    from .progress_display import showing_progress

    out = picture.out or Path(f"{file.stem}_frame_{what.frame}.png")
    with (
        showing_progress(quiet=said.is_quiet) as display,
        looking_at(file, what, allowed, display) as found,
    ):
        save_picture(frame_picture(found.analysis, 0, found.heading), out, force=picture.force)
        plain = {"exit_code": 0, **found.plain(), "picture": str(out)}
    text = f"{found.heading}\n{_counted(plain['objects'])}; see {escaped(out)}"
    show(plain, text, as_json=said.as_json)


def _counted(objects: dict[str, Any]) -> str:
    from .outcomes import objects_in_words

    return objects_in_words([objects])
