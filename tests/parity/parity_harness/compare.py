"""Two measured files side by side: everything that a reader can tell apart."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (registers the filters)
import numpy as np
import numpy.typing as npt

from .tolerances import tolerance_of

#: Attributes that name the program which copied an object.
PROGRAM_ATTRS = ("software",)
#: Logs that a run writes about itself.
OWN_LOG = re.compile(r"^(?:dcnum|cytovox)-(job|log)-\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d$")
#: Provenance that the peer leaves on some objects of its temporary files.
LEFTOVER_ATTR = "dcnum ppid "


def compare(ours: Path, theirs: Path, renamed: Mapping[str, str] | None = None) -> list[str]:
    """Return all differences between two measured files.

    Parameters
    ----------
    ours
        Output of this program.
    theirs
        Output of the peer for the same input and settings.
    renamed
        Identifiers that the peer gets wrong, with the right ones.

    Returns
    -------
    list of str
        One line per difference, each beginning with the place in the file;
        empty if the files are equal.
    """
    with h5py.File(ours) as a, h5py.File(theirs) as b:
        renamed = renamed or {}
        found = _compare_attrs("@", a.attrs, b.attrs, renamed)
        # An empty group says as little as none.
        groups = [{name for name in h if len(h[name])} for h in (a, b)]
        found += _compare_names("/", *groups)
        for name in ("events", "basin_events", "tables"):
            if name in a and name in b:
                found += _compare_group(a[name], b[name])
        found += _compare_logs(a, b)
        found += _compare_basins(a, b, renamed)
    return found


def deviations(ours: Path, theirs: Path) -> dict[str, float]:
    """Return the largest absolute difference of each float feature."""
    found = {}
    with h5py.File(ours) as a, h5py.File(theirs) as b:
        for name in set(a["events"]) & set(b["events"]):
            x, y = a["events"][name], b["events"][name]
            if x.dtype.kind == "f" and x.shape == y.shape and x.shape[0]:
                diff = np.abs(x[:].astype(np.float64) - y[:])
                found[name] = float(np.nanmax(diff)) if not np.isnan(diff).all() else 0.0
    return found


def _compare_names(place: str, a: set[str], b: set[str]) -> list[str]:
    return [f"{place}{name}: not in ours" for name in sorted(b - a)] + [
        f"{place}{name}: only in ours" for name in sorted(a - b)
    ]


def _compare_attrs(
    place: str,
    a: h5py.AttributeManager,
    b: h5py.AttributeManager,
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    names = [
        {n for n in attrs if not n.startswith(LEFTOVER_ATTR)} if place != "@" else set(attrs)
        for attrs in (a, b)
    ]
    found = _compare_names(place, *names)
    for name in sorted(names[0] & names[1]):
        if name in PROGRAM_ATTRS:
            continue
        x, y = a[name], _rename(b[name], renamed)
        kinds = [type(v).__name__ + str(getattr(v, "dtype", "")) for v in (x, y)]
        if kinds[0] != kinds[1] or not np.array_equal(x, y):
            found.append(f"{place}{name}: {x!r} ({kinds[0]}) instead of {y!r} ({kinds[1]})")
    return found


def _compare_group(a: h5py.Group, b: h5py.Group) -> list[str]:
    place = a.name.lstrip("/") + "/"
    found = _compare_names(place, set(a), set(b))
    for name in sorted(set(a) & set(b)):
        found += compare_dataset(place + name, a[name], b[name])
    return found


def compare_dataset(place: str, a: h5py.Dataset, b: h5py.Dataset) -> list[str]:
    """Return the differences of layout, attributes and values."""
    found = _compare_attrs(f"{place}@", a.attrs, b.attrs)
    for trait in ("dtype", "shape", "chunks"):
        x, y = getattr(a, trait), getattr(b, trait)
        if x != y:
            found.append(f"{place} {trait}: {x} instead of {y}")
    if filters_of(a) != filters_of(b):
        found.append(f"{place} filters: {filters_of(a)} instead of {filters_of(b)}")
    if a.shape == b.shape and a.dtype.kind == b.dtype.kind:
        found += compare_values(place, a[:], b[:])
    return found


def filters_of(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...]]]:
    """Return number and options of each filter of a dataset."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    return [(number, tuple(options)) for number, _, options, _ in filters]


def compare_values(place: str, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> list[str]:
    """Return how two arrays differ by more than the feature's tolerance."""
    if b.dtype.names:
        fields = set(a.dtype.names or ()) & set(b.dtype.names)
        return [
            text for name in sorted(fields) for text in compare_values(place, a[name], b[name])
        ]
    if b.dtype.kind != "f":
        wrong = np.atleast_1d(a != b)
    else:
        both_nan = np.isnan(a) & np.isnan(b)
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= tolerance_of(place.rpartition("/")[2]).allowed(b)
        wrong = ~((a == b) | near | both_nan)
    count = int(np.count_nonzero(wrong))
    if not count:
        return []
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return [
        f"{place}: {count} of {wrong.size} values differ, first at {list(first)}: "
        f"{a[first]!r} instead of {b[first]!r}"
    ]


def _compare_logs(a: h5py.File, b: h5py.File) -> list[str]:
    logs = [dict(h["logs"]) if "logs" in h else {} for h in (a, b)]
    found = []
    for name in sorted(set(logs[0]) & set(logs[1])):
        if not OWN_LOG.match(name):
            found += compare_dataset(f"logs/{name}", logs[0][name], logs[1][name])
    # Logs of this run differ in time and program; older ones are input logs.
    left = [
        sorted(m.group(1) if (m := OWN_LOG.match(name)) else name for name in one) for one in logs
    ]
    if left[0] != left[1]:
        found.append(f"logs: {left[0]} instead of {left[1]}")
    records = [_record(one) for one in logs]
    if records[0] != records[1]:
        found.append(f"logs/job: {records[0]} instead of {records[1]}")
    return found


def _record(logs: dict[str, h5py.Dataset]) -> Any:
    """Return what the newest job record says about the pipeline."""
    names = sorted((n[-19:], n) for n in logs if OWN_LOG.match(n) and "-job-" in n)
    if not names:
        return None
    lines = [line.decode("utf-8") for line in logs[names[-1][1]][:]]
    record = json.loads("\n".join(lines))
    return {"pipeline": record["pipeline"], "tasks": record["tasks"]}


def _rename(value: Any, renamed: Mapping[str, str]) -> Any:
    """Return a text with wrong identifiers replaced, and anything else as it is."""
    if isinstance(value, str):
        for wrong, right in renamed.items():
            value = value.replace(wrong, right)
    return value


def _compare_basins(a: h5py.File, b: h5py.File, renamed: Mapping[str, str]) -> list[str]:
    """Compare where each feature is to be found, however basins are grouped."""
    sources = [basin_sources(a, {}), basin_sources(b, renamed)]
    found = [f"basins/{key}: its name is not the MD5 of its text" for key in _misnamed(a)]
    found += _compare_names("basins ", *({*map(str, one)} for one in sources))
    for feature in sorted(set(sources[0]) & set(sources[1])):
        x, y = sources[0][feature], sources[1][feature]
        if x != y:
            found.append(f"basins {feature}: {x} instead of {y}")
    return found


def basin_sources(h5: h5py.File, renamed: Mapping[str, str]) -> dict[str, set[tuple[Any, ...]]]:
    """Return for each feature the places where basins say it is.

    A place is the type and format, the resolved files, the identifier, and
    name and content of the map.
    """
    folder = Path(h5.filename).resolve().parent
    sources: dict[str, set[tuple[Any, ...]]] = {}
    for _, basin in _basins(h5):
        paths = basin["paths"]
        if basin["type"] == "file":
            paths = sorted({str((folder / path).resolve()) for path in paths})
        mapping = basin.get("mapping")
        digest = None
        if mapping is not None:
            rows = np.ravel(h5["events"][mapping][:]).astype(np.int64)
            digest = hashlib.sha256(rows.tobytes()).hexdigest()[:12]
        identifier = _rename(basin.get("identifier"), renamed)
        place = (basin["type"], basin["format"], *paths, identifier, mapping, digest)
        for feature in basin.get("features") or ["(all)"]:
            sources.setdefault(feature, set()).add(place)
    return sources


def _basins(h5: h5py.File) -> list[tuple[str, dict[str, Any]]]:
    return [
        (key, json.loads("\n".join(line.decode("utf-8") for line in h5["basins"][key][:])))
        for key in h5.get("basins", ())
    ]


def _misnamed(h5: h5py.File) -> list[str]:
    texts = [(key, json.dumps(basin, indent=2)) for key, basin in _basins(h5)]
    return [k for k, text in texts if hashlib.md5(text.encode("utf-8")).hexdigest() != k]
