"""``cytovox relink``, ``drain`` and ``tap``: where a result has the data of its frames."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from ..errors import escaped
from .command_options import AllowedToRecordings, Said, argument, option, options
from .console import FINDINGS, counted, describe_each
from .inputs import output_path

__all__ = ["drain", "relink", "tap"]

Result = Annotated[Path, argument("RESULT", "A result that was made by a run (.rtdc).")]


@options
class _To:
    to: Path = option(
        ..., "Where the input is now: its folder, or the file itself.", metavar="FOLDER|FILE"
    )


def relink(
    results: Annotated[
        tuple[Path, ...],
        argument("RESULT...", "Results that refer to another file (.rtdc)."),
    ],
    where: _To,
    allowed: AllowedToRecordings,
    said: Said,
) -> int:
    """Let results refer to their input where it is now, after it was moved.

    The file there must be of the same measurement and have as many frames. Its
    path becomes the first one; the old ones are kept as further candidates.
    Nothing else of the result is changed.

    Example: cytovox relink results/*.rtdc --to /archive/day1
    """
    may = allowed.permissions()

    def look(path: Path) -> dict[str, Any]:
        from ..logic.relink import relink_result

        done = relink_result(path, where.to, permissions=may)
        basins = [
            {"name": one.name, "path": one.path and str(one.path), "why": one.why} for one in done
        ]
        code = 0 if all(one.found for one in done) else FINDINGS
        return {"file": str(path), "exit_code": code, "basins": basins}

    return describe_each("file", results, look, _relinked_in_words, said)


def _relinked_in_words(found: dict[str, Any]) -> str:
    new = [basin["path"] for basin in found["basins"] if basin["path"]]
    lines = [f"{found['file']}: {counted(len(new), 'basin')} in {', '.join(dict.fromkeys(new))}"]
    left = [basin for basin in found["basins"] if not basin["path"]]
    lines += [f"  '{basin['name']}' was left as it is: {basin['why']}" for basin in left]
    return "\n".join(map(escaped, lines))


def _out(name: str) -> Any:
    text = f"File or folder for the output; a folder is made. Without it, {name} beside NAME.rtdc."
    return option(None, text, "--out", "-o", metavar="OUT")


@options
class _Out:
    out: Path | None = _out("NAME_drained.rtdc")
    force: bool = option(False, "Replace an output that exists already.")


@contextlib.contextmanager
def _making(out: Path, stage: str, said: Said) -> Iterator[Callable[[int, int], None]]:
    """Make the folder of an output; yield what shows how many bytes of how many are done."""
    from .one_recording import folder_for
    from .progress_display import showing_bytes, showing_progress

    with (
        folder_for(out),
        showing_progress(quiet=said.is_quiet) as display,
        showing_bytes(display, out.name, stage) as listen,
    ):
        yield listen


def drain(result: Result, where: _Out, allowed: AllowedToRecordings, said: Said) -> int:
    """Copy all that a result refers to, so that it stands alone.

    The output holds the same data as that of cytovox run --basins drain. It is
    read back before it gets its name; RESULT is not changed.

    Example: cytovox drain results/a_dcn.rtdc -o share
    """
    may = allowed.permissions()

    def look(path: Path) -> dict[str, Any]:
        from ..logic.basin_change import drain_result

        out = output_path(path, where.out, "_drained.rtdc")
        with _making(out, "copy", said) as listen:
            features = drain_result(
                path, out, force=where.force, permissions=may, on_progress=listen
            )
        return {"file": str(path), "output": str(out), "features": features}

    def in_words(found: dict[str, Any]) -> str:
        return escaped(f"{found['output']}: stands alone, with {' '.join(found['features'])}")

    return describe_each("file", [result], look, in_words, said)


@options
class _Tapped(_Out):
    out: Path | None = _out("NAME_tapped.rtdc")
    origin: Path | None = option(
        None,
        "The recording that the result was made of, or its folder, if it is not where the run "
        "has read it or beside the result.",
        "--input",
        metavar="FILE|FOLDER",
    )


def tap(result: Result, where: _Tapped, allowed: AllowedToRecordings, said: Said) -> int:
    """Make a small result that refers to its input in place of copies.

    Left out is only what the recording holds as well: it must be of the same
    measurement, and every image of every event is compared, not samples. The
    output holds the same data as that of cytovox run --basins tap. RESULT is
    not changed.

    Example: cytovox tap a_dcn.rtdc --input day1/a.rtdc -o small.rtdc
    """
    may = allowed.permissions()

    def look(path: Path) -> dict[str, Any]:
        from ..logic.basin_change import tap_result

        out = output_path(path, where.out, "_tapped.rtdc")
        with _making(out, "compare", said) as listen:
            origin, features = tap_result(
                path,
                out,
                origin=where.origin,
                force=where.force,
                permissions=may,
                on_progress=listen,
            )
        return {
            "file": str(path),
            "output": str(out),
            "input": str(origin),
            "features": features,
        }

    def in_words(found: dict[str, Any]) -> str:
        features = " ".join(found["features"])
        return escaped(f"{found['output']}: refers to {found['input']} for {features}")

    return describe_each("file", [result], look, in_words, said)
