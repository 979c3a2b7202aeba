"""What is in a recording, a result or a volume, as plain values and in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, escaped
from .console import by, in_rows

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = [
    "describe_file",
    "describe_volume",
    "in_words",
    "volume_in_words",
]

#: So many errors of blocks are listed.
_LISTED = 20


def describe_file(path: Path, permissions: Permissions | None = None) -> dict[str, Any]:
    """Return what is in a file."""
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


def in_words(found: Mapping[str, Any]) -> str:
    """Return a description as text for people."""
    counted = "events" if found["kind"] == "result" else "frames"
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
    return "\n".join([escaped(found["file"]), *in_rows(rows, 12, indent="  ", fold=85)])


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
        "recipe": [_part_in_words(*part) for part in parts.items() if part[0] != "generation"],
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


def describe_volume(path: str, permissions: Permissions | None = None) -> dict[str, Any]:
    """Return what is known of a volume."""
    from ..errors import InputNotFoundError
    from ..read.open_volume import open_volume

    run = None if "://" in path else _run(path)
    found: dict[str, Any] = {"volume": path, "made": False}
    try:
        with open_volume(path, permissions=permissions) as volume:
            found |= {
                "made": True,
                "format": volume.format,
                "series": volume.series,
                "shape": list(volume.shape),
                "axes": "".join(volume.axes),
                "dtype": str(volume.dtype),
                "voxel_size": list(volume.voxel_size),
                "offset": list(volume.offset),
                "units": volume.units,
                "chunk": list(volume.chunk),
                "write_unit": list(volume.write_unit),
            }
    except InputNotFoundError:
        if run is None:
            raise
    return found | {"run": run}


def _run(path: str) -> dict[str, Any] | None:
    from ..blockwise.recipe import side_folder
    from ..run.journal import read_journal

    folder = side_folder(path)
    if not (folder / "journal.jsonl").is_file():
        return None
    journal = read_journal(folder / "journal.jsonl")
    stages = {}
    for name, records in journal.stages.items():
        states = Counter(record.state for record in records.values())
        stages[name] = {
            **{state: states[state] for state in ("done", "failed", "started")},
            "attempts": sum(record.attempts for record in records.values()),
            "seconds": round(sum(record.seconds or 0 for record in records.values()), 3),
            "peak_bytes": max((r.peak_bytes or 0 for r in records.values()), default=0),
            "errors": {
                str(key): record.error
                for key, record in sorted(records.items(), key=lambda item: str(item[0]))
                if record.state == "failed"
            },
        }
    finished = [note for note in journal.notes if note.get("event") == "finished"]
    return {
        "folder": str(folder),
        "runs": journal.runs,
        "finished": bool(finished),
        "objects": finished[-1].get("objects") if finished else None,
        "stages": stages,
        "recipe": _recipe(folder),
        "seams": (_json(folder / "lookup.json") or {}).get("seams"),
    }


def _recipe(folder: Any) -> dict[str, Any] | None:
    from ..blockwise.recipe_file import read_recipe

    try:
        return read_recipe(folder)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _json(path: Any) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def volume_in_words(found: Mapping[str, Any]) -> str:
    """Return a description as text for people."""
    rows: list[tuple[str, str]] = []
    if found["made"]:
        size = by(f"{n:g}" for n in found["voxel_size"])
        shape = by(found["shape"])
        rows += [
            ("format", found["format"]),
            *([("series", found["series"])] if found["series"] else []),
            ("voxels", f"{shape} ({found['axes']}), {found['dtype']}"),
            ("voxel", f"{size} {found['units'] or 'voxel'}"),
            ("chunk", by(found["chunk"])),
        ]
    else:
        rows.append(("state", "not finished"))
    if run := found["run"]:
        rows += _run_in_words(run)
    return "\n".join([escaped(found["volume"]), *in_rows(rows, 10, indent="  ")])


def _run_in_words(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if recipe := run["recipe"]:
        words = " ".join(f"{key}={value}" for key, value in recipe["parameters"].items())
        how = recipe["stitch"]
        rows += [
            ("input", recipe["input"]),
            ("function", f"{recipe['function']} {words}".rstrip()),
            ("blocks", f"{by(recipe['block'])} with a context of {by(recipe['context'])}"),
            ("stitch", _stitch_in_words(how)),
        ]
        if recipe["gate"]:
            rows.append(("gate", recipe["gate"]))
        if recipe["table"]:
            rows.append(("table", recipe["table"]))
    if run["objects"] is not None:
        rows.append(("objects", str(run["objects"])))
    for name, stage in run["stages"].items():
        counted = [f"{stage[s]} {s}" for s in ("done", "failed") if stage[s]]
        if stage["started"]:
            counted.append(f"{stage['started']} begun and not ended")
        if not counted:
            continue
        peak = f", {stage['peak_bytes'] / 2**20:.0f} MiB at most" if stage["peak_bytes"] else ""
        rows.append((name, f"{', '.join(counted)}; {stage['seconds']:.1f} s of work{peak}"))
        errors = list(stage["errors"].items())
        rows += [("", f"block {block}: {error}") for block, error in errors[:_LISTED]]
        if len(errors) > _LISTED:
            rows.append(("", f"and {len(errors) - _LISTED} more, see --json"))
    if run["seams"]:
        from ..report.seams import seam_lines

        try:
            lines = seam_lines(run["seams"])
        except (ValueError, LookupError, TypeError):
            lines = ["their errors cannot be read"]
        rows += [("seams" if i == 0 else "", line) for i, line in enumerate(lines)]
    return rows


def _stitch_in_words(how: Mapping[str, Any]) -> str:
    if how["mode"] in ("none", "touch"):
        by = how["connectivity"]
        joined = f", connectivity {by}" if how["mode"] == "touch" and by else ""
        return f"{how['mode']}{joined}"
    rule = f"{how['rule']} > " if how["mode"] == "overlap" else "agreement > "
    return f"{how['mode']}, {rule}{how['threshold']}, {how['min_voxels']} voxels at least"
