"""Whether a recording or a result is whole: nothing missing, nothing changed.

Nothing is written, and nothing outside the file is read but the headers of
files to which its basins point.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import InputError, VerificationError
from ..read.identifier import stated
from ..read.members import text_names
from ..read.opening import OpenedFile, OpenedFiles
from ..read.permissions import Permissions, default_permissions
from ..read.structure import examine, what_is_odd
from ..recipe.identity import compute_pipeline_hash
from ..run.findings import Verification
from ..run.resources import cpu_count
from .redo import ID_ATTRIBUTES
from .verify_basins import check_basins
from .verify_logs import check_logs
from .verify_storage import DAMAGE, Progress, check_storage, surviving, walk

__all__ = ["require_whole", "verify_recording"]

#: Features that a recipe promises: part of the identifier to one of its features.
_PROMISED = {"b": "bright_avg", "h": "tex_asm_avg", "v": "volume"}


def verify_recording(
    path: str | os.PathLike[str],
    *,
    thorough: bool = True,
    events: int | None = None,
    workers: int | None = None,
    on_progress: Progress | None = None,
    permissions: Permissions | None = None,
) -> Verification:
    """Check a recording or a result, of this program or of another.

    Lengths of all features against the header, the header against itself, the
    pipeline identifier against its hash and the events, basins, logs, whether
    every chunk was written and lies within the file, and the checksum of each.

    Parameters
    ----------
    path
        File to check.
    thorough
        Whether chunks are read and their checksums compared.
    events
        How many events there must be, if the caller knows.
    workers
        Number of threads that compare checksums; as many as cores if None.
    on_progress
        Called as work goes on.
    permissions
        What the file may do; what is allowed in this process if None.

    Returns
    -------
    Verification
        A file that cannot even be opened raises instead.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    InputError
        If it is no HDF5 file, was cut short or may not be read.

    Examples
    --------
    >>> import h5py, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "short.rtdc"
    >>> with h5py.File(path, "w") as h5:
    ...     h5.attrs["experiment:event count"] = 4
    ...     h5["events/deform"] = [0.1, 0.2, 0.3]
    >>> for finding in verify_recording(path).findings:
    ...     print(finding)
    error: events/deform: has 3 rows where the header counts 4 events
    >>> folder.cleanup()
    """
    begin = time.perf_counter()
    path = Path(path)
    found = Verification(os.fspath(path), "recording")
    may = default_permissions() if permissions is None else permissions
    with OpenedFiles() as files:
        file = files.open(path, may)
        h5 = file.h5
        datasets = walk(h5, found)
        trusted = _is_harmless(file, may, files, found)
        count = None
        with surviving("attributes", found):
            count = _check_header(h5, found, events, trusted)
        with surviving("events", found):
            _check_features(datasets, found, count)
        if trusted:
            with surviving("pipeline:dcnum", found):
                _check_pipeline(h5, found, count, events)
            with surviving("basins", found):
                check_basins(h5, path, files, may, found, count)
            with surviving("logs", found):
                check_logs(h5, may, found)
        thorough = thorough and trusted
        check_storage(
            h5, path, datasets, found, thorough, workers or cpu_count(), on_progress, may
        )
    found.seconds = time.perf_counter() - begin
    return found


def require_whole(found: Verification) -> None:
    """Raise an error if data are lost or wrong.

    Parameters
    ----------
    found
        What a check found.

    Raises
    ------
    VerificationError
        With the first error and the number of all.
    """
    errors = found.errors
    if not errors:
        return
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    raise VerificationError(
        f"{errors[0].where}: {errors[0].what}{more}",
        path=found.path,
        hint="see what cytovox verify says",
    )


def _is_harmless(
    file: OpenedFile, permissions: Permissions, files: OpenedFiles, found: Verification
) -> bool:
    """Tell what a reader would refuse; nothing is unpacked of such a file."""
    try:
        examine(file, permissions, files)
    except InputError as err:
        found.error("/", f"readers refuse it: {err.what}")
        return False
    except DAMAGE as err:
        found.error("/", f"is damaged: {err}")
        return False
    return True


def _check_header(
    h5: h5py.File, found: Verification, wanted: int | None, trusted: bool
) -> int | None:
    """Return the number of events that the header counts."""
    if stated(h5.attrs, "pipeline:dcnum hash") is not None:
        found.kind = "result"
    reachable = trusted or isinstance(h5.get("events", getlink=True), h5py.HardLink)
    if not reachable or not isinstance(h5.get("events"), h5py.Group):
        found.error("events", "there are no events: this is not a recording")
        return None
    value = stated(h5.attrs, "experiment:event count")
    count = _whole(value)
    if value is None:
        found.warn("experiment:event count", "is missing")
    elif count is None or count < 0:
        found.error("experiment:event count", f"is not a number of events: {value}")
        count = None
    if wanted is not None and count != wanted:
        found.error("experiment:event count", f"is {count} where {wanted} were made")
    if count is not None:
        found.counts["events"] = count
    images = [name for name in ("image", "mask", "image_bg") if name in h5["events"]]
    pixel = stated(h5.attrs, "imaging:pixel size")
    if images and not (isinstance(pixel, int | float | np.number) and 0 < pixel < 1e6):
        found.warn("imaging:pixel size", "is missing or no length, though there are images")
    return count


def _check_features(
    datasets: dict[str, h5py.Dataset], found: Verification, count: int | None
) -> None:
    features = {}
    for name, dataset in datasets.items():
        if not name.startswith("events/"):
            continue
        if odd := what_is_odd(dataset, "events"):
            found.note(name, f"is not read: it {odd}")
        else:
            features[name] = dataset
    found.counts["features"] = len(features)
    lengths = {n: _rows(d) for n, d in features.items() if not n.startswith("events/contour/")}
    contours = len(features) - len(lengths)
    if count is None:
        if len(set(lengths.values())) > 1:
            short, long = min(lengths.values()), max(lengths.values())
            found.error("events", f"features have from {short} to {long} rows")
        return
    for name, rows in lengths.items():
        if rows != count:
            found.error(name, f"has {rows} rows where the header counts {count} events")
    if contours and contours != count:
        found.error("events/contour", f"has {contours} entries where there are {count} events")
    shapes = {
        name: features[f"events/{name}"].shape[1:]
        for name in ("image", "mask", "image_bg")
        if f"events/{name}" in features and features[f"events/{name}"].ndim == 3
    }
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape[0]} x {shape[1]}" for name, shape in shapes.items())
        found.error("events", f"images differ in size: {told}")


def _rows(dataset: h5py.Dataset) -> int:
    if not dataset.shape:
        return 0
    # Some writers store a map of as many events as frames as a single row.
    if "/basinmap" in (dataset.name or "") and dataset.ndim == 2 and dataset.shape[0] == 1:
        return int(dataset.shape[1])
    return int(dataset.shape[0])


def _check_pipeline(
    h5: h5py.File, found: Verification, count: int | None, events: int | None
) -> None:
    names = [key for key in text_names(h5.attrs) if key.startswith("pipeline:dcnum ")]
    stored = {key: stated(h5.attrs, key) for key in names}
    named = {key: value for key, value in stored.items() if value is not None}
    if not named:
        return
    parts = {name: str(named.get(f"pipeline:dcnum {name}", "")) for name in ID_ATTRIBUTES}
    missing = [name for name, text in parts.items() if not text]
    if missing or "pipeline:dcnum hash" not in named:
        missing += [] if "pipeline:dcnum hash" in named else ["hash"]
        found.warn("pipeline:dcnum", f"the identifier is incomplete: no {', '.join(missing)}")
        return
    computed = compute_pipeline_hash(**{ID_ATTRIBUTES[name]: parts[name] for name in parts})
    if computed != named["pipeline:dcnum hash"]:
        found.error(
            "pipeline:dcnum hash",
            f"is {named['pipeline:dcnum hash']}, but the identifier gives {computed}",
        )
    _check_yield(h5, _whole(named.get("pipeline:dcnum yield")), found, count, events)
    _check_mapping_part(parts["data"], named, found)
    _check_run_identifier(h5, computed, found)
    _check_promised(h5, parts["feature"], found, count)


def _check_yield(
    h5: h5py.File, made: int | None, found: Verification, count: int | None, wanted: int | None
) -> None:
    where = "pipeline:dcnum yield"
    if count is None or made == count:
        return
    if wanted is None and made is not None and _is_export(h5):
        # It keeps what the file that it was made from, or the first, says of its making.
        found.note(where, f"is {made}: the {count} events here were chosen or joined by dclab")
        return
    found.error(where, f"is {made} where the header counts {count} events")


def _check_mapping_part(data: str, named: dict[str, Any], found: Verification) -> None:
    options = dict(p.partition("=")[::2] for p in data.partition(":")[2].split("^"))
    mapping = named.get("pipeline:dcnum mapping")
    if mapping is not None and "i" in options and str(mapping) != options["i"]:
        found.error(
            "pipeline:dcnum mapping", f"is {mapping} where the identifier says {options['i']}"
        )


def _check_run_identifier(h5: h5py.File, pphash: str, found: Verification) -> None:
    name = "experiment:run identifier"
    text = str(stated(h5.attrs, name, ""))
    own = text.rpartition("dcn-")[2] if "dcn-" in text else None
    if own is not None and not pphash.startswith(own[:7]):
        found.warn(name, f"names the pipeline {own[:7]} where the hash is {pphash[:7]}")


def _check_promised(h5: h5py.File, part: str, found: Verification, count: int | None) -> None:
    code, _, text = part.partition(":")
    if code != "legacy" or not count:
        return
    options = dict(pair.partition("=")[::2] for pair in text.split("^"))
    wanted = [feat for key, feat in _PROMISED.items() if options.get(key) == "1"]
    absent = [feat for feat in ["deform", "mask", *wanted] if feat not in h5["events"]]
    if absent and _is_export(h5):
        found.note("events", f"the export by dclab left out {', '.join(absent)}")
    elif absent:
        found.warn("events", f"the recipe makes {', '.join(absent)}, but there is none")


def _is_export(h5: h5py.File) -> bool:
    programs = str(stated(h5.attrs, "setup:software version", ""))
    return "dclab" in programs.rpartition("|")[2]


def _whole(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number == value else None
