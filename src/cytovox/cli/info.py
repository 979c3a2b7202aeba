"""``cytovox info``: what is in a recording or a result, as plain values and in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import InputError
from .command_options import AllowedToRecordings, Said, argument
from .console import describe_each, described

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = ["describe_file", "in_words", "info"]


def info(
    files: Annotated[tuple[Path, ...], argument("FILE...", "Recordings or results (.rtdc).")],
    allowed: AllowedToRecordings,
    said: Said,
) -> int:
    """Show what is in a file: size, features, where its data are, and how it was made.

    For a result, the pipeline identifier is checked against its hash, and it
    is checked whether the files that it refers to are there.

    Example: cytovox info results/a_dcn.rtdc
    """
    may = allowed.permissions()
    return describe_each("file", files, lambda path: describe_file(path, may), in_words, said)


def describe_file(path: Path, permissions: Permissions | None = None) -> dict[str, Any]:
    """Return what is in a file."""
    from ..logic.record import read_record, recorded_objects
    from ..logic.stated_pipeline import describe_pipeline
    from ..read import HDF5Data, RefusedInputError, get_measurement_identifier
    from ..read.members import member

    with HDF5Data(path, permissions=permissions) as data:
        meta = dict(data.meta)
        h5 = data.h5
        if not hasattr(member(h5, "events"), "keys"):
            raise InputError("there are no events", path=path, hint="give a recording (.rtdc)")
        stored = sorted(name for name in h5["events"] if not name.startswith("basinmap"))
        images = [name for name in stored if getattr(h5["events"][name], "ndim", 1) == 3]
        try:
            image = data.locate("image")
        except RefusedInputError:
            image = None  # the definitions of the basins say why
        shape = None if image is None or len(image.shape) != 3 else image.shape[1:]
        return {
            "file": str(path),
            "bytes": path.stat().st_size,
            "kind": "result" if "pipeline:dcnum hash" in meta else "recording",
            "events": len(data),
            "image_shape": None if shape is None else [int(n) for n in shape],
            "pixel_size_um": float(data.pixel_size),
            "measurement": get_measurement_identifier(h5),
            "features": stored,
            "images": images,
            "basins": _basins(data),
            "followed": data.followed,
            "logs": sorted(member(h5, "logs", ())),
            "tables": sorted(member(h5, "tables", ())),
            "objects": recorded_objects(read_record(data), len(data)),
            "pipeline": describe_pipeline(meta),
        }


def in_words(found: Mapping[str, Any]) -> str:
    """Return a description as text for people."""
    from .outcomes import objects_in_words

    rows = [
        ("kind", found["kind"]),
        ("events" if found["kind"] == "result" else "frames", f"{found['events']}"),
    ]
    if found["image_shape"]:
        height, width = found["image_shape"]
        rows.append(("images", f"{height} x {width} pixels"))
    pixel = found["pixel_size_um"]
    rows += [
        ("pixel size", f"{pixel:g} um" if pixel else "unknown"),
        ("size", f"{found['bytes'] / 1e6:.2f} MB"),
        ("measurement", found["measurement"] or "has no identifier"),
        ("features", f"{len(found['features'])}: {' '.join(found['features'])}"),
        *(("basin", _basin_in_words(basin)) for basin in found["basins"]),
        *(("followed", text) for text in found["followed"]),
        ("logs", ", ".join(found["logs"]) or "none"),
        ("tables", ", ".join(found["tables"]) or "none"),
    ]
    if found["objects"] is not None:
        rows.append(("objects", objects_in_words([found["objects"]])))
    if pipeline := found["pipeline"]:
        fits = "fits the identifier" if pipeline["hash_fits"] else "does NOT fit the identifier"
        rows += [
            ("pipeline", pipeline["identifier"]),
            ("hash", f"{pipeline['hash']}, {fits}"),
            *(("recipe", words) for words in pipeline["recipe"]),
        ]
    return described(found["file"], rows, fold=85)


def _basins(data: Any) -> list[dict[str, Any]]:
    from ..read.basin_definitions import extract_basin_dicts

    basins = []
    for basin in extract_basin_dicts(data.h5, check=False, permissions=data.permissions):
        kind = str(basin.get("type"))
        paths = [str(p) for p in basin.get("paths") or []]
        where, allowed = data.find_basin(paths) if kind == "file" else (None, kind != "remote")
        there = where is not None if kind == "file" else bool(paths) and paths[0] in data.h5
        basins.append(
            {
                "name": basin.get("name"),
                "type": kind,
                "paths": paths,
                "found": there,
                "allowed": allowed,
                "path": None if where is None else str(where),
                "features": basin.get("features"),
                "mapping": basin.get("mapping"),
            }
        )
    return basins


def _basin_in_words(basin: Mapping[str, Any]) -> str:
    features = " ".join(basin["features"] or ["all features"])
    place = basin["path"] or " or ".join(basin["paths"])
    if basin["type"] == "internal":
        state = "in this file" if basin["found"] else "MISSING in this file"
    elif basin["type"] == "remote":
        state = f"on the network at {place}, NOT FOLLOWED"
    elif not basin["allowed"]:
        state = f"in {place}, NOT FOLLOWED (outside of the folder; see --basin-root)"
    else:
        state = f"in {place}" if basin["found"] else f"NOT FOUND: {place}"
    return f"{features}: {state}"
