"""Pictures and charts as text that stands in a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.image import imsave

from ..kernels.contour import trace

__all__ = ["chart_uri", "crop_svg", "grey_range", "outline_path", "picture_uri"]

#: With these, equal charts are equal text, in which letters are letters.
_SVG: Any = {"svg.hashsalt": "cytovox", "svg.fonttype": "none"}
#: The version of the library would make equal pictures unequal.
_NAMELESS: Any = {"Software": None}

#: How many pixels of the page a pixel of a crop takes, where there is room.
_SCALE = 3


def _uri(kind: str, content: bytes) -> Markup:
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")


def chart_uri(figure: Figure) -> Markup:
    """Return a figure as the address of an SVG without background."""
    stream = io.BytesIO()
    nameless: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context(_SVG):
        figure.savefig(stream, format="svg", transparent=True, metadata=nameless)
    return _uri("image/svg+xml", stream.getvalue())


def picture_uri(image: npt.NDArray[Any], low: float = 0, high: float = 255) -> Markup:
    """Return an image as the address of a PNG; grey values from black to white, or colours.

    What is NaN is transparent.
    """
    stream = io.BytesIO()
    imsave(
        stream,
        image,
        format="png",
        cmap="gray",
        vmin=low,
        vmax=high,
        metadata=_NAMELESS,
        pil_kwargs={"optimize": True},
    )
    return _uri("image/png", stream.getvalue())


def grey_range(images: list[npt.NDArray[Any]]) -> tuple[float, float]:
    """Return the grey values that are black and white in pictures of these images."""
    values = np.concatenate([image.ravel() for image in images]).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 255.0
    low, high = np.percentile(values, (0.2, 99.8))
    return float(low) - 8, max(float(high) + 8, float(low) + 1)


def outline_path(mask: npt.NDArray[np.bool_]) -> str:
    """Return the outline of the first object in a mask, through the centres of its pixels."""
    padded = np.pad(mask, 1).astype(np.uint8)
    inside = np.flatnonzero(padded)
    if not inside.size:
        return ""
    x, y = (np.empty(4 * inside.size + 4, np.int32) for _ in range(2))
    number = trace(padded.ravel(), padded.shape[1], int(inside[0]), 0, 0, x, y)
    points = np.stack([x[:number], y[:number]], axis=1)
    # Corners only: of what goes on straight, the ends suffice.
    step = np.diff(points, axis=0, append=points[:1])
    corners = points[(step != np.roll(step, 1, axis=0)).any(axis=1)] if number > 2 else points
    return "M" + "L".join(f"{a + 0.5:g} {b + 0.5:g}" for a, b in corners.tolist()) + "Z"


def crop_svg(
    image: npt.NDArray[Any], mask: npt.NDArray[np.bool_], low: float, high: float, label: str
) -> Markup:
    """Return a crop with the outline of an object as a drawing that stands in the page."""
    height, width = image.shape
    return Markup(
        '<svg class="crop" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">'
        '<image href="{}" width="{}" height="{}"/><path d="{}"/></svg>'
    ).format(
        label, width, height, _SCALE * width, _SCALE * height,
        picture_uri(image, low, high), width, height, Markup(outline_path(mask)),
    )  # fmt: skip
