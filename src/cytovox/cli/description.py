"""What is in a recording or a result, as plain values and in words."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, escaped

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = ["describe_file", "in_words", "recipe_in_words"]


def describe_file(path: Path, permissions: Permissions | None = None) -> dict[str, Any]:
    """Return what is in a file.

    Parameters
    ----------
    path
        Recording or result.
    permissions
        What it may do; what is allowed in this process if None.

    Raises
    ------
    InputError
        If the file is missing or is not a recording.
    """
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
            "pipeline": _pipeline(meta),
        }


def recipe_in_words(parts: Mapping[str, str]) -> list[str]:
    """Return the parts of an identifier with their options written out.

    Parameters
    ----------
    parts
        Identifier of each of data, background, segmenter, feature and gate.

    Examples
    --------
    >>> recipe_in_words({"gate": "norm:o=0^s=20"})
    ['gate norm: online_gates=False, size_thresh_mask=20']
    """
    return [_part_in_words(kind, text) for kind, text in parts.items() if kind != "generation"]


def in_words(found: Mapping[str, Any]) -> str:
    """Return a description as text for people.

    Parameters
    ----------
    found
        What `describe_file` returned.
    """
    counted = "events" if found["kind"] == "result" else "frames"
    lines = [escaped(found["file"])]
    rows = [("kind", found["kind"]), (counted, f"{found['events']}")]
    if found["image_shape"]:
        height, width = found["image_shape"]
        rows.append(("images", f"{height} x {width} pixels"))
    pixel = found["pixel_size_um"]
    rows.append(("pixel size", f"{pixel:g} um" if pixel else "unknown"))
    rows.append(("size", f"{found['bytes'] / 1e6:.2f} MB"))
    rows.append(("measurement", found["measurement"] or "has no identifier"))
    rows.append(("features", f"{len(found['features'])}: {' '.join(found['features'])}"))
    rows += [("basin", _basin_in_words(basin)) for basin in found["basins"]]
    rows += [("followed", text) for text in found["followed"]]
    rows.append(("logs", ", ".join(found["logs"]) or "none"))
    rows.append(("tables", ", ".join(found["tables"]) or "none"))
    if pipeline := found["pipeline"]:
        rows.append(("pipeline", pipeline["identifier"]))
        fits = "fits the identifier" if pipeline["hash_fits"] else "does NOT fit the identifier"
        rows.append(("hash", f"{pipeline['hash']}, {fits}"))
        rows += [("recipe", words) for words in pipeline["recipe"]]
    before = ""
    for name, text in rows:
        lines += _row("" if name == before else name, text)
        before = name
    return "\n".join(lines)


def _row(name: str, text: str) -> list[str]:
    folded = textwrap.wrap(escaped(text), 85, break_long_words=False, break_on_hyphens=False)
    return [f"  {name if i == 0 else '':<12} {line}" for i, line in enumerate(folded)]


def _basins(data: Any) -> list[dict[str, Any]]:
    from ..read.basins import extract_basin_dicts

    basins = []
    for basin in extract_basin_dicts(data.h5, check=False, permissions=data.permissions):
        kind = str(basin.get("type"))
        paths = [str(p) for p in basin.get("paths") or []]
        where: Path | None = None
        allowed = kind != "remote"
        if kind == "file":
            where, allowed = data.find_basin(paths)
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
    if basin["type"] == "internal":
        state = "in this file" if basin["found"] else "MISSING in this file"
    elif not basin["allowed"]:
        place = basin["path"] or " or ".join(basin["paths"])
        state = f"in {place}, NOT FOLLOWED (outside of the folder; see --basin-root)"
        if basin["type"] == "remote":
            state = f"on the network at {place}, NOT FOLLOWED"
    elif basin["found"]:
        state = f"in {basin['path']}"
    else:
        state = f"NOT FOUND: {' or '.join(basin['paths'])}"
    return f"{features}: {state}"


def _pipeline(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    from ..logic.reuse import ID_ATTRIBUTES, hash_of_stated

    stored, computed = meta.get("pipeline:dcnum hash"), hash_of_stated(meta)
    if stored is None or computed is None:
        return None
    parts = {part: str(meta[f"pipeline:dcnum {part}"]) for part in ID_ATTRIBUTES}
    return {
        "identifier": "|".join(parts.values()),
        "hash": str(stored),
        "hash_fits": computed == str(stored),
        "recipe": recipe_in_words(parts),
    }


def _part_in_words(kind: str, text: str) -> str:
    from ..errors import UnknownCodeError
    from ..recipe.identity import ppid_to_kwargs
    from ..recipe.registry import OPTION_METHODS, load_stage

    code, _, rest = text.partition(":")
    try:
        if kind == "data":
            return f"data {code}: {_data_in_words(rest)}"
        cls = load_stage(kind, code)
        words = []
        for method, part in zip(OPTION_METHODS[kind], rest.split(":"), strict=False):
            options = ppid_to_kwargs(cls, method, part)
            words += [f"{name}={value}" for name, value in options.items()]
    except (UnknownCodeError, ValueError):
        # Made by a program that knows more than this one.
        return f"{kind} {text}"
    return f"{kind} {code}: {', '.join(words)}" if words else f"{kind} {code}"


def _data_in_words(text: str) -> str:
    options = dict(pair.split("=", 1) for pair in text.split("^"))
    frames = options.get("i", "0")
    return f"pixel_size={options.get('p')} um, frames={'all' if frames == '0' else frames}"
