"""``cytovox export``: events and objects in files that other programs read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ..errors import InputError, OptionError, UsageError, escaped
from .command_options import AllowedToRecordings, Said, argument, option, options
from .console import FINDINGS, counted, describe_each
from .inputs import output_path

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = ["export"]

#: Ends of names of each kind of file; the first one is chosen if no name is given.
_ENDINGS = {"tiff": (".tiff", ".tif")}
_IMAGES = ("tiff", "avi")
_OF_IMAGES = ("image", "image_bg", "mask")


def _read_events(text: str, name: str) -> slice:
    match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", text)
    if match is None or int(match[1]) < 1:
        hint = f"write for example {name} 1-100; the first event is 1"
        raise OptionError(f"{name} '{text}' names no events", hint=hint)
    first, stop = int(match[1]), int(match[2] or match[1])
    if stop < first:
        raise OptionError(f"{name} '{text}' ends before it begins")
    return slice(first - 1, stop)


def _read_names(text: str, name: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


@options
class _What:
    to: Literal["csv", "tsv", "parquet", "fcs", "tiff", "avi"] = option(
        ..., "Kind of file: a table of csv, tsv, parquet or fcs, or images as tiff or avi."
    )
    features: list[str] | None = option(
        None,
        "Only these columns, after event and frame; or which images: image, image_bg or mask.",
        read=_read_names,
        metavar="A,B",
    )
    events: slice | None = option(
        None,
        "Only these events, the last one included. The first one is 1, as in dclab and DCscope.",
        read=_read_events,
        metavar="N-M",
    )


@options
class _Where:
    out: Path | None = option(
        None,
        "File or folder for the output; a folder is made. Without it, it is beside the input.",
        "--out",
        "-o",
        metavar="OUT",
    )
    force: bool = option(False, "Replace a file that exists already.")


def export(
    results: Annotated[
        tuple[Path, ...],
        argument(
            "RESULT...",
            "Results or recordings (.rtdc); labels of volumes, or their table of objects.",
        ),
    ],
    what: _What,
    where: _Where,
    allowed: AllowedToRecordings,
    said: Said,
) -> int:
    """Write features or images of events for other programs.

    Features get the labels and units of dclab. Numbers are those of the file;
    only in FCS they have 32 bit. An existing file is not replaced, and the name
    appears when all is written. Exit code 3 if columns are in another file that
    cannot be read.

    Example: cytovox export results/*.rtdc --to csv --features area_um,deform
    """
    may = allowed.permissions()
    outputs = dict(zip(results, _outputs(results, what.to, where.out), strict=True))

    def look(path: Path) -> dict[str, Any]:
        from ..logic.run_folder import refuse_existing
        from ..write.table_files import metadata_beside
        from .one_recording import folder_for

        out = outputs[path]
        if not where.force:
            refuse_existing(out)
            refuse_existing(metadata_beside(out))
        found: dict[str, Any] = {"file": str(path), "output": str(out)}
        with folder_for(out):
            if _is_of_volume(path):
                return found | {"rows": _export_objects(path, out, what), "kind": "object"}
            rows, unread = _export(path, out, what, may)
        code = {"exit_code": FINDINGS} if unread else {}
        asked = rows if what.events is None else what.events.stop - what.events.start
        return found | code | {"rows": rows, "asked": asked, "kind": "event", "unread": unread}

    def in_words(found: dict[str, Any]) -> str:
        lines = [f"{found['output']}: {counted(found['rows'], found['kind'])}"]
        lines += [f"  {text}" for text in found.get("unread", ())]
        if found["rows"] < found.get("asked", 0):
            lines.append(f"  {found['asked']} were asked for, and there are no more")
        return "\n".join(map(escaped, lines))

    return describe_each("file", results, look, in_words, said)


def _outputs(results: Sequence[Path], kind: str, out: Path | None) -> list[Path]:
    """Return the file that is written for each input."""
    endings = _ENDINGS.get(kind, (f".{kind}",))
    found = [output_path(path, out, *endings) for path in results]
    for path, output in zip(results, found, strict=True):
        if found.count(output) > 1:
            hint = "export those of one name one by one"
            raise UsageError(f"several inputs would be written to {output}", path=path, hint=hint)
    return found


def _export(path: Path, out: Path, what: _What, may: Permissions | None) -> tuple[int, list[str]]:
    """Write it; return the number of rows, and which basins with other columns are not read."""
    from ..read import HDF5Data
    from ..write import export_images, export_table

    with HDF5Data(path, permissions=may) as data:
        if what.events is not None and what.events.start >= len(data):
            hint = "the first one is 1"
            raise UsageError(f"there are only {len(data)} events", path=path, hint=hint)
        if what.to not in _IMAGES:
            listed = {name for one in data.basins for name in one.get("features") or ["frame"]}
            unread = [] if what.features else data.unread(listed.difference(_OF_IMAGES))
            return export_table(
                data, out, features=what.features or None, events=what.events
            ), unread
        feature = what.features or ["image"]
        if len(feature) > 1:
            raise UsageError("one file holds one kind of images", path=path, hint="name only one")
        return export_images(data, out, feature=feature[0], events=what.events), []


def _is_of_volume(path: Path) -> bool:
    """Return whether this is a table of objects, or labels that have one."""
    from .verifying import kind_of

    return path.suffix == ".parquet" or (path.exists() and kind_of(str(path)) == "volume")


def _export_objects(path: Path, out: Path, what: _What) -> int:
    from ..blockwise.object_table import iter_objects_of, write_objects

    if what.to in _IMAGES or what.events is not None:
        hint = "take csv, tsv, parquet or fcs, without --events"
        raise UsageError("objects of a volume are exported as a table", path=path, hint=hint)
    table = path if path.suffix == ".parquet" else _table_of(path)
    parts, recipe = iter_objects_of(table, what.features)
    return write_objects(out, parts, recipe=recipe)


def _table_of(path: Path) -> Path:
    """Return the table of objects of labels that were made here."""
    from ..blockwise.recipe import side_folder
    from ..blockwise.recipe_file import read_recipe

    try:
        table = read_recipe(side_folder(str(path))).get("table")
    except (OSError, ValueError, LookupError, TypeError):  # there is none
        table = None
    if table is None or Path(table).suffix != ".parquet":
        if any(path.glob("*.rtdc")):
            hint = "name the results in it: FOLDER/*.rtdc"
            raise InputError("this is a folder of recordings", path=path, hint=hint)
        hint = "cytovox volume objects makes one (.parquet)"
        raise InputError("there is no table of objects beside these labels", path=path, hint=hint)
    beside = path.with_name(Path(table).name)  # both may have been moved
    return Path(table) if Path(table).is_file() else beside
