"""The metadata of OME-Zarr (0.1 to 0.6): axes, scales, voxel size, units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, OptionError
from .volume_axes import SPATIAL, normalize_unit, other_axis
from .volume_limits import check_numbers

__all__ = ["Level", "Multiscale", "choose_level", "parse_multiscales"]


#: Scale and translation along each axis.
Transform = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Level:
    """One array of a pyramid; numbers are per axis."""

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    #: What the image says of it where it names no axes; not checked.
    transform: Any = None


@dataclass(frozen=True, slots=True)
class Multiscale:
    """An image at several scales, the finest first; without axes where it names none."""

    version: str
    axes: tuple[str, ...]
    units: tuple[str, ...]
    levels: tuple[Level, ...]
    #: Names of the channels, as far as they are given.
    channels: tuple[str, ...] = ()


def parse_multiscales(
    attributes: dict[str, Any], where: str, path: str | None = None
) -> Multiscale | None:
    """Return what the attributes of a group say of an image, or None if nothing."""
    ome = attributes.get("ome")
    block = ome if isinstance(ome, dict) and "multiscales" in ome else attributes
    if "multiscales" not in block:
        return None
    images = block["multiscales"]
    if not isinstance(images, list) or not images or not isinstance(images[0], dict):
        raise InputError("'multiscales' holds no image", path=where, hint="name an array inside")
    image = next((i for i in images if path is not None and path in _paths(i)), images[0])
    version = str(block.get("version", image.get("version", "0.4")))
    datasets = image.get("datasets")
    if not isinstance(datasets, list) or not 1 <= len(datasets) <= 64:
        raise InputError("'datasets' lists no scales", path=where, hint="name an array inside")
    if len(_paths(image)) != len(datasets):
        raise InputError("a scale has no path", path=where, hint="name an array inside")
    systems = image.get("coordinateSystems")
    if "axes" not in image and systems is None:  # before 0.3
        said = zip(_paths(image), datasets, strict=True)
        bare = tuple(Level(inside, (), (), dataset.get("transform")) for inside, dataset in said)
        return Multiscale(version, (), (), bare)
    # From 0.6 on, the transformations of an image lead from its own system to others.
    top = image.get("coordinateTransformations", []) if systems is None else []
    axes, units = _axes(image.get("axes") if systems is None else _own_axes(image), where)
    whole = _transform(top, axes, where)
    levels = []
    for inside, dataset in zip(_paths(image), datasets, strict=True):
        steps = dataset.get("coordinateTransformations", [])
        levels.append(Level(inside, *_then(_transform(steps, axes, f"{where}/{inside}"), whole)))
    return Multiscale(version, axes, units, tuple(levels), _channels(block.get("omero")))


def _channels(omero: Any) -> tuple[str, ...]:
    channels = omero.get("channels") if isinstance(omero, dict) else None
    listed = channels if isinstance(channels, list) else []
    labels = [entry.get("label") if isinstance(entry, dict) else None for entry in listed]
    return tuple(str(label or number) for number, label in enumerate(labels))


def _paths(image: Any) -> list[str]:
    datasets = image.get("datasets") if isinstance(image, dict) else None
    listed = datasets if isinstance(datasets, list) else []
    found = [d.get("path") for d in listed if isinstance(d, dict)]
    return [path.removeprefix("./").rstrip("/") for path in found if isinstance(path, str)]


def _own_axes(image: dict[str, Any]) -> Any:
    """Return the axes of the coordinate system into which the scales are placed (0.6)."""
    systems = image["coordinateSystems"]
    systems = [s for s in systems if isinstance(s, dict)] if isinstance(systems, list) else []
    steps = image["datasets"][0].get("coordinateTransformations")
    step = steps[-1] if isinstance(steps, list) and steps else {}
    output = step.get("output") if isinstance(step, dict) else None
    output = output.get("name") if isinstance(output, dict) else output
    named = [s for s in systems if s.get("name") == output] or systems[:1]
    return named[0].get("axes") if named else None


def _axes(entries: Any, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not isinstance(entries, list) or not 2 <= len(entries) <= 5:
        raise InputError("'axes' must list 2 to 5 axes", path=where, hint="name an array inside")
    entries = [{"name": e} if isinstance(e, str) else e for e in entries]
    if not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in entries):
        raise InputError("an axis has no name", path=where)
    in_space = [e.get("type") == "space" or e["name"].lower() in SPATIAL for e in entries]
    number = sum(in_space)
    if not 2 <= number <= 3:
        raise InputError(f"{number} axes are of space, not 2 or 3", path=where)
    letters = list(SPATIAL[-number:])
    called = [e["name"].lower() for e, s in zip(entries, in_space, strict=True) if s]
    if set(called) == set(letters):
        letters = called  # else their order says which is which
    names: list[str] = []
    for entry, spatial in zip(entries, in_space, strict=True):
        names.append(
            letters.pop(0) if spatial else other_axis(entry["name"], entry.get("type"), names)
        )
    units = tuple(
        normalize_unit(e.get("unit")) if s else "" for e, s in zip(entries, in_space, strict=True)
    )
    return tuple(names), units


def _transform(steps: Any, axes: tuple[str, ...], where: str, depth: int = 0) -> Transform:
    """Return what steps come to."""
    count = len(axes)
    ones, zeros = (1.0,) * count, (0.0,) * count
    found = ones, zeros
    if not isinstance(steps, list) or len(steps) > 8 or depth > 2:
        raise InputError("'coordinateTransformations' is not a short list", path=where)
    for step in steps:
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "scale":
            by = check_numbers(step.get("scale"), count, "scale", where)
            in_space = [v for v, axis in zip(by, axes, strict=True) if axis in SPATIAL]
            check_numbers(in_space, len(in_space), "scale", where, positive=True)
            found = _then(found, (by, zeros))
        elif kind == "translation":
            to = check_numbers(step.get("translation"), count, "translation", where)
            found = _then(found, (ones, to))
        elif kind == "sequence":
            inner = _transform(step.get("transformations"), axes, where, depth + 1)
            found = _then(found, inner)
        elif kind != "identity":
            raise InputError(
                f"a transformation of type {kind!r} is not known",
                path=where,
                hint="scale and translation are; name an array inside to ignore it",
            )
    if not all(math.isfinite(v) for v in (*found[0], *found[1])):
        raise InputError("the transformations are not finite numbers", path=where)
    return found


def _then(first: Transform, second: Transform) -> Transform:
    """Return what two transformations come to."""
    (scale, shift), (by, to) = first, second
    return (
        tuple(a * b for a, b in zip(scale, by, strict=True)),
        tuple(a * b + c for a, b, c in zip(shift, by, to, strict=True)),
    )


def choose_level(names: list[str], scale: int | str | None, where: str) -> int:
    """Return the number of a scale that is asked for by number or name."""
    if scale is None:
        return 0
    if isinstance(scale, str) and scale in names:
        return names.index(scale)
    try:
        number = int(scale)
    except ValueError:
        number = -1
    if not 0 <= number < len(names):
        raise OptionError(
            f"there is no scale {scale!r}",
            path=where,
            hint=f"take 0 to {len(names) - 1}, or one of {', '.join(names[:8])}",
        )
    return number
