"""What recordings, results and volumes show of themselves in a notebook: small HTML.

Pictures are PNG within the text, few and small, so that a notebook stays small.
Names and metadata come from others, and are escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, InputError, escaped
from .mapped import read_rows

__all__ = ["as_html", "recording_html", "volume_html", "volume_picture"]

#: So many events or frames are shown, an event with so much around it [pixels].
_PICTURES = 8
_FRAMES = 3
_EVENT = 56
#: No side of a picture is longer [pixels].
_SIDE = 256
#: No side of the part of a volume that is read for a picture is longer [voxels].
_READ = 1024
#: Characters of a text that are shown.
_MOST_TEXT = 300
#: Outlines on grey images.
_OUTLINE = (20, 165, 220)
_CELL = "style='text-align:left;padding:1px 8px;vertical-align:top'"

Pixels = npt.NDArray[np.uint8]


def as_html(
    title: str, rows: Iterable[tuple[str, Any]], draw: Callable[[], Sequence[Pixels]] | None = None
) -> str:
    """Return a table of words and texts with pictures; what cannot be drawn is said."""
    lines = [(word, text) for word, text in rows if text not in (None, "")]
    pictures: Sequence[Pixels] = ()
    try:
        pictures = draw() if draw is not None else ()
    except (CytovoxError, OSError) as err:
        lines.append(("pictures", f"cannot be drawn: {err}"))
    body = "".join(
        f"<tr><th {_CELL}>{_escape(word)}</th><td {_CELL}>{_escape(text)}</td></tr>"
        for word, text in lines
    )
    shown = "".join(map(_img, pictures))
    return (
        f"<div><b>{_escape(title)}</b><table>{body}</table>"
        f"<div style='display:flex;flex-wrap:wrap;gap:4px'>{shown}</div></div>"
    )


def _escape(text: Any) -> str:
    import html

    line = escaped(text)
    return html.escape(line if len(line) <= _MOST_TEXT else f"{line[:_MOST_TEXT]}…")


def _img(pixels: Pixels) -> str:
    data = base64.b64encode(_png(pixels)).decode("ascii")
    height, width = pixels.shape[:2]
    zoom = max(1, 128 // max(height, width))
    style = "image-rendering:pixelated;display:inline-block;margin:0"
    size = f"width='{width * zoom}' height='{height * zoom}'"
    return f"<img {size} style='{style}' alt='' src='data:image/png;base64,{data}'>"


def _png(pixels: Pixels) -> bytes:
    """Return a grey (rows, columns) or coloured image (rows, columns, 3) as PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _grey(values: npt.NDArray[Any]) -> Pixels:
    """Return values as grey levels, the darkest and brightest hundredth cut off."""
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    scaled = (finite - low) / max(high - low, 1e-12)
    return (scaled.clip(0, 1) * 255).astype(np.uint8)


def _coloured(labels: npt.NDArray[Any]) -> Pixels:
    """Return a colour for each label, the same one in each picture; 0 is black."""
    mixed = labels.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    parts = [(mixed >> np.uint64(shift)) & np.uint64(0xFF) for shift in (24, 40, 56)]
    colours = 64 + np.stack(parts, -1).astype(np.float64) * 0.74
    shown: Pixels = np.where((labels != 0)[..., None], colours, 0).astype(np.uint8)
    return shown


def _smaller(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return every so many pixels, so that no side is too long."""
    step = -(-max(values.shape) // _SIDE)
    return values[::step, ::step]


# ------------------------------------------------------------------ recordings


def recording_html(data: Any) -> str:
    """Describe a recording or result, with some of its events or frames."""
    name = "in memory" if data.place is None else data.place.name
    try:
        return as_html(f"{_kind(data)} {name}", _rows_of(data), lambda: _pictures_of(data))
    except InputError as err:
        return as_html(name, [("cannot be read", err)])


def _kind(data: Any) -> str:
    return "result" if "pipeline:dcnum hash" in data.meta else "recording"


def _rows_of(data: Any) -> list[tuple[str, Any]]:
    image = data.locate("image") if "image" in data else None
    features = [name for name in data.offered() if not name.startswith("image")]
    return [
        ("events" if _kind(data) == "result" else "frames", len(data)),
        ("images", None if image is None else f"{image.shape[1]} x {image.shape[2]} pixels"),
        ("pixel size", f"{data.pixel_size:g} µm" if data.pixel_size else None),
        ("measurement", data.meta.get("experiment:run identifier")),
        ("sample", data.meta.get("experiment:sample")),
        ("features", f"{len(features)}: {' '.join(sorted(features))}"),
        ("pipeline hash", data.meta.get("pipeline:dcnum hash")),
        *(("not read", text) for text in data.unread()),
    ]


def _pictures_of(data: Any) -> list[Pixels]:
    image = data.locate("image") if "image" in data else None
    if image is None or not len(data):
        return []
    mask = data.locate("mask") if "mask" in data else None
    number = min(len(data), _FRAMES if mask is None else _PICTURES)
    chosen = np.linspace(0, len(data) - 1, number).round().astype(int)
    pictures = []
    for event in chosen.tolist():
        pixels = read_rows(image, slice(event, event + 1))[0]
        if mask is None:
            pictures.append(_grey(_smaller(pixels)))
        else:
            pictures.append(_event(pixels, read_rows(mask, slice(event, event + 1))[0] != 0))
    return pictures


def _event(pixels: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> Pixels:
    """Return an event with its outline, and what is around it."""
    rows, columns = np.nonzero(mask)
    centre = (rows.mean(), columns.mean()) if rows.size else np.array(mask.shape) / 2
    start = [
        int(np.clip(at - _EVENT / 2, 0, max(0, side - _EVENT)))
        for at, side in zip(centre, mask.shape, strict=True)
    ]
    part = tuple(slice(first, first + _EVENT) for first in start)
    inside = np.pad(mask, 1)
    around = [inside[1:-1, :-2], inside[1:-1, 2:], inside[:-2, 1:-1], inside[2:, 1:-1]]
    outline = mask & ~np.logical_and.reduce(around)
    shown = np.repeat(_grey(pixels[part])[..., None], 3, axis=2)
    shown[outline[part]] = _OUTLINE
    return shown


# --------------------------------------------------------------------- volumes


def volume_html(volume: Any) -> str:
    """Describe a volume, with the slice in its middle."""
    size = " x ".join(f"{length:g}" for length in volume.voxel_size)
    rows = [
        ("voxels", f"{' x '.join(map(str, volume.shape))} ({''.join(volume.axes)})"),
        ("type", volume.dtype),
        ("voxel size", f"{size} {volume.units or 'units'}"),
        ("format", volume.format),
        ("series", volume.series),
        ("channels", ", ".join(map(str, volume.channels)) if "c" in volume.axes else None),
    ]
    return as_html(f"volume {volume.url}", rows, lambda: [volume_picture(volume)])


def volume_picture(volume: Any) -> Pixels:
    """Return the slice in the middle of a volume, or the middle of it if it is large.

    Whole numbers of 32 bit and more are taken as labels.
    """
    box = []
    for number, length in enumerate(volume.shape):
        most = _READ if number >= volume.ndim - 2 else 1
        first = max(0, (length - most) // 2)
        # of times and channels, the first one
        first = 0 if volume.axes[number] in "tc" else first
        box.append((first, min(length, first + most)))
    values = volume.read(box)
    plane = _smaller(values.reshape(values.shape[-2:]))
    is_labels = volume.dtype.kind in "iu" and volume.dtype.itemsize >= 4
    return _coloured(plane) if is_labels else _grey(plane)
