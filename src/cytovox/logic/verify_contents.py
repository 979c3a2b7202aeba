"""Whether what a recording says of itself fits: header, features, logs and basins."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..read.basin_definitions import find_allowed_file, is_readable, read_definition
from ..read.dataset import read_checked, read_lines
from ..read.identifier import get_measurement_identifier, identifier_fits, is_made_of
from ..read.members import as_count, as_number, member, stated, text_names
from ..read.structure import examine, rows_of, what_is_odd
from ..run.findings import Finding
from .record import ID_ATTRIBUTES, hash_of_stated
from .verify_file import FAILURES, FileToVerify, Findings, error, note, reason, refused, warning

__all__ = [
    "check_basins",
    "check_features",
    "check_header",
    "check_logs",
    "check_pipeline",
    "check_structure",
]

_COUNT = "experiment:event count"
_PIPELINE = "pipeline:dcnum "
_HASH = _PIPELINE + "hash"
_IMAGES = ("image", "mask", "image_bg")
#: Features that a recipe promises: part of the identifier to one of its features.
_PROMISED = {"b": "bright_avg", "h": "tex_asm_avg", "v": "volume"}
#: Larger maps are not read [rows].
_MAX_ROWS = 1 << 26

#: The row of each event in a basin; their number where there is no map.
_Rows = npt.NDArray[Any] | int | None


def check_structure(file: FileToVerify) -> Findings:
    """Report what a reader would refuse."""
    file.is_refused = True
    try:
        examine(file.opened, file.permissions, file.files, file.datasets)
    except InputError as err:
        hint = f" ({err.hint})" if err.hint else ""
        yield refused("/", f"readers refuse it: {err.what}{hint}")
    else:
        file.is_refused = False


def check_header(file: FileToVerify) -> Findings:
    """Check the number of events and the pixel size that the header names."""
    h5 = file.h5
    if stated(h5.attrs, _HASH) is not None:
        file.kind = "result"
    is_inside = isinstance(h5.get("events", getlink=True), h5py.HardLink)
    events = member(h5, "events") if is_inside or not file.is_refused else None
    if not isinstance(events, h5py.Group):
        yield error("events", "there are no events: this is not a recording")
        return
    value = stated(h5.attrs, _COUNT)
    file.events = as_count(value)
    if value is None:
        yield warning(_COUNT, "is missing")
    elif file.events is None:
        yield error(_COUNT, f"is not a number of events: {value}")
    if file.wanted not in (None, file.events):
        yield error(_COUNT, f"is {file.events} where {file.wanted} were made")
    if file.events is not None:
        file.counts["events"] = file.events
    size = as_number(stated(h5.attrs, "imaging:pixel size"))
    if not (size is not None and 0 < size < 1e6) and any(name in events for name in _IMAGES):
        yield warning("imaging:pixel size", "is missing or not a length, though there are images")


def check_features(file: FileToVerify) -> Findings:
    """Check that features have as many rows as there are events, and images one size."""
    lengths, contours, shapes = {}, 0, {}
    for name, dataset in file.datasets.items():
        place, _, feature = name.partition("/")
        if place != "events":
            continue
        if odd := what_is_odd(dataset, "events"):
            yield note(name, f"is not read: it {odd}")
        elif feature.startswith("contour/"):
            contours += 1
        else:
            lengths[name] = rows_of(feature, dataset)
            if feature in _IMAGES and dataset.ndim == 3:
                shapes[feature] = dataset.shape[1:]
    file.counts["features"] = len(lengths) + contours
    count = file.events
    if count is None:
        if len(set(lengths.values())) > 1:
            short, long = min(lengths.values()), max(lengths.values())
            yield error("events", f"features have from {short} to {long} rows")
        return
    for name, rows in lengths.items():
        if rows != count:
            yield error(name, f"has {rows} rows where the header counts {count} events")
    if contours and contours != count:
        yield error("events/contour", f"has {contours} entries where there are {count} events")
    if len(set(shapes.values())) > 1:
        sizes = ", ".join(f"{name} {shape[0]} x {shape[1]}" for name, shape in shapes.items())
        yield error("events", f"images differ in size: {sizes}")


def check_pipeline(file: FileToVerify) -> Findings:
    """Check the pipeline identifier against its hash, and what else says how the file was made."""
    attributes = file.h5.attrs
    names = [key for key in text_names(attributes) if key.startswith(_PIPELINE)]
    named = {key: value for key in names if (value := stated(attributes, key)) is not None}
    if not named:
        return
    parts = {name: str(named.get(_PIPELINE + name, "")) for name in (*ID_ATTRIBUTES, "hash")}
    computed = hash_of_stated(named)
    if computed is None or not parts["hash"]:
        missing = ", ".join(name for name, text in parts.items() if not text)
        yield warning("pipeline:dcnum", f"the identifier is incomplete: no {missing}")
        return
    if computed != parts["hash"]:
        yield error(_HASH, f"is {parts['hash']}, but the identifier gives {computed}")
    yield from _check_yield(file, named.get(_PIPELINE + "yield"))
    yield from _check_mapping(parts["data"], named.get(_PIPELINE + "mapping"))
    yield from _check_run_identifier(attributes, computed)
    yield from _check_promised(file, parts["feature"])


def _check_yield(file: FileToVerify, made: Any) -> Findings:
    where = "pipeline:dcnum yield"
    count, number = file.events, as_count(made)
    if count is None or number == count:
        return
    if file.wanted is None and number is not None and _is_export(file.h5):
        # It keeps what the file that it was made from, or the first, says of its making.
        yield note(where, f"is {made}: the {count} events here were chosen or joined by dclab")
        return
    yield error(where, f"is {made} where the header counts {count} events")


def _check_mapping(data: str, mapping: Any) -> Findings:
    claimed = _options(data.partition(":")[2]).get("i")
    if mapping is not None and claimed is not None and str(mapping) != claimed:
        yield error("pipeline:dcnum mapping", f"is {mapping} where the identifier says {claimed}")


def _check_run_identifier(attributes: Any, pphash: str) -> Findings:
    name = "experiment:run identifier"
    _, is_ours, own = str(stated(attributes, name, "")).rpartition("dcn-")
    if is_ours and not pphash.startswith(own[:7]):
        yield warning(name, f"names the pipeline {own[:7]} where the hash is {pphash[:7]}")


def _check_promised(file: FileToVerify, part: str) -> Findings:
    code, _, text = part.partition(":")
    if code != "legacy" or not file.events:
        return
    options = _options(text)
    wanted = [feat for key, feat in _PROMISED.items() if options.get(key) == "1"]
    absent = [feat for feat in ["deform", "mask", *wanted] if feat not in file.h5["events"]]
    if absent and _is_export(file.h5):
        yield note("events", f"the export by dclab left out {', '.join(absent)}")
    elif absent:
        yield warning("events", f"the recipe makes {', '.join(absent)}, but there is none")


def _options(text: str) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in text.split("^"))


def _is_export(h5: h5py.File) -> bool:
    programs = str(stated(h5.attrs, "setup:software version", ""))
    return "dclab" in programs.rpartition("|")[2]


def check_logs(file: FileToVerify) -> Findings:
    """Read all logs; compare the records of runs with the header."""
    number = 0
    hashes: set[str] = set()
    for name, dataset in file.members("logs"):
        where = f"logs/{name}"
        if dataset.is_virtual or dataset.external:
            continue
        try:
            if odd := what_is_odd(dataset, "logs"):
                yield note(where, f"is not read: it {odd}")
                continue
            lines = read_lines(dataset)
        except FAILURES as err:
            yield error(where, f"cannot be read: {reason(err)}")
            continue
        number += 1
        if name.startswith("dcnum-job-"):
            try:
                hashes |= _hashes_in(json.loads("\n".join(lines)))
            except json.JSONDecodeError:
                yield warning(where, "is not a record of a run, though it is called so")
    file.counts["logs"] = number
    own = stated(file.h5.attrs, _HASH)
    if hashes and own is not None and own not in hashes:
        yield error("logs", f"no record of a run names the pipeline {own}")


def _hashes_in(record: Any) -> set[str]:
    pipeline = record.get("pipeline") if isinstance(record, dict) else None
    found = pipeline.get("hash") if isinstance(pipeline, dict) else None
    return {found} if isinstance(found, str) else set()


def check_basins(file: FileToVerify) -> Findings:
    """Check all basins of a file and their maps."""
    number = 0
    for key, dataset in file.members("basins"):
        where = f"basins/{key}"
        try:
            definition = read_definition(dataset, key)
        except FAILURES as err:
            yield error(where, f"its definition cannot be read: {reason(err)}")
            continue
        number += 1
        rows = yield from _read_rows(file, definition.get("mapping"), where)
        kind = definition.get("type")
        if not is_readable(definition):
            what = f"type {kind} and format {definition.get('format')}"
            yield note(where, f"is of the {what}, which is not looked at")
        elif kind == "internal":
            yield from _check_internal(file, where, definition, rows)
        else:
            yield from _check_file(file, where, definition, rows)
    file.counts["basins"] = number


def _read_rows(
    file: FileToVerify, name: str | None, where: str
) -> Generator[Finding, None, _Rows]:
    """Return the row of each event in a basin; their number if there is no map."""
    if name is None:
        return file.events
    stored = member(file.h5, f"events/{name}")
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "ui":
        yield error(where, f"its map '{name}' is missing")
        return None
    if stored.size > _MAX_ROWS:
        yield warning(where, f"its map '{name}' is too large to be read")
        return None
    try:
        rows: npt.NDArray[Any] = np.ravel(read_checked(file.checked(stored)))
    except FAILURES as err:
        yield error(where, f"its map '{name}' cannot be read: {reason(err)}")
        return None
    if stored.ndim != 1:
        yield warning(f"events/{name}", "the map is stored as a table, which not all readers take")
    if rows.size and int(rows.min()) < 0:
        yield error(where, f"its map '{name}' names row {int(rows.min())}")
        return None
    return rows


def _check_internal(
    file: FileToVerify, where: str, definition: dict[str, Any], rows: _Rows
) -> Findings:
    place = (definition.get("paths") or ["basin_events"])[0]
    group = member(file.h5, place)
    if not isinstance(group, h5py.Group):
        yield error(where, f"the group '{place}' is missing")
        return
    for feature in definition.get("features") or []:
        if isinstance(dataset := member(group, feature), h5py.Dataset):
            yield from _check_range(where, rows, len(dataset), f"{place}/{feature}")
        else:
            yield error(where, f"'{feature}' is missing in '{place}'")


def _check_file(
    file: FileToVerify, where: str, definition: dict[str, Any], rows: _Rows
) -> Findings:
    place, paths = file.path.absolute(), definition.get("paths") or []
    allowed = file.permissions.within(place.parent, place.resolve().parent)
    path, refused = find_allowed_file(paths, place, allowed)
    if refused is not None:
        yield note(where, f"{refused} is outside of the folder and was not looked at")
    elif path is None:
        named = " or ".join(paths) or "none is named"
        yield warning(where, f"its file cannot be found: {named}")
    else:
        try:
            other = file.files.open(path, file.permissions)
            examine(other, file.permissions, file.files)
            own = get_measurement_identifier(file.h5)
            yield from _check_other(other.h5, where, definition, rows, own)
        except FAILURES as err:
            yield error(where, f"its file cannot be used: {err}")


def _check_other(
    other: h5py.File, where: str, definition: dict[str, Any], rows: _Rows, own: str | None
) -> Findings:
    path, expected = other.filename, definition.get("identifier")
    found = get_measurement_identifier(other)
    if not expected and not is_made_of(own, found or "", not isinstance(rows, int)):
        yield note(where, f"no identifier shows whether {path} is the right file")
    elif expected and not identifier_fits(other, str(expected)):
        yield error(where, f"{path} holds the measurement '{found}', not '{expected}'")
        return
    events = member(other, "events")
    for feature in definition.get("features") or []:
        dataset = member(events, feature) if isinstance(events, h5py.Group) else None
        if isinstance(dataset, h5py.Dataset):
            yield from _check_range(where, rows, len(dataset), f"'{feature}' of {path}")
        elif "basins" not in other:
            yield error(where, f"{path} has no '{feature}'")


def _check_range(where: str, rows: _Rows, length: int, what: str) -> Findings:
    if isinstance(rows, int):
        if rows != length:
            yield error(where, f"{what} has {length} rows where there are {rows} events")
    elif rows is not None and rows.size and int(rows.max()) >= length:
        yield error(where, f"its map names row {int(rows.max())}, but {what} has {length} rows")
