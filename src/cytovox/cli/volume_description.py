"""What a volume is, and how far its run is, as plain values and in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import escaped

if TYPE_CHECKING:
    from ..read import Permissions

__all__ = ["describe_volume", "volume_in_words"]

_LISTED = 20


def describe_volume(path: str, permissions: Permissions | None = None) -> dict[str, Any]:
    """Return what is known of a volume.

    Parameters
    ----------
    path
        Path or URL; the output of a run may not be there yet.
    permissions
        What may be read.

    Raises
    ------
    InputError
        If there is neither a volume nor a run.
    """
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
    """Return a description as text for people.

    Parameters
    ----------
    found
        What `describe_volume` returned.
    """
    rows: list[tuple[str, str]] = []
    if found["made"]:
        size = " x ".join(f"{n:g}" for n in found["voxel_size"])
        shape = " x ".join(map(str, found["shape"]))
        rows += [
            ("format", found["format"]),
            *([("series", found["series"])] if found["series"] else []),
            ("voxels", f"{shape} ({found['axes']}), {found['dtype']}"),
            ("voxel", f"{size} {found['units'] or 'voxel'}"),
            ("chunk", " x ".join(map(str, found["chunk"]))),
        ]
    else:
        rows.append(("state", "not finished"))
    if run := found["run"]:
        rows += _run_in_words(run)
    lines = (f"  {name:<10} {escaped(text)}" for name, text in rows)
    return "\n".join([escaped(found["volume"]), *lines])


def _run_in_words(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if recipe := run["recipe"]:
        words = " ".join(f"{key}={value}" for key, value in recipe["parameters"].items())
        how = recipe["stitch"]
        rows += [
            ("input", recipe["input"]),
            ("function", f"{recipe['function']} {words}".rstrip()),
            ("blocks", f"{_sizes(recipe['block'])} with a context of {_sizes(recipe['context'])}"),
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


def _sizes(sizes: Any) -> str:
    return " x ".join(map(str, sizes))
