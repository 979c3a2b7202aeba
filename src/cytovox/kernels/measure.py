"""From labels to one column of numbers per feature, for a batch of frames at once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from .arrays import Corrected, Floats, Grey, Integer, Ints, Labels, plain
from .brightness import BRIGHTNESS_NAMES, brightness_features, frame_median
from .contour import convex_hull, trace
from .event_boxes import Events
from .jit import kernel
from .moments import CONTOUR_NAMES, polygon, shape_features
from .revolve import revolved_volume
from .runs import EIGHT, fill, label_runs
from .texture import TEXTURE_NAMES, grey_levels, texture_features

__all__ = ["COLUMNS", "measure_events"]

#: Names of the rows of the table of `measure_events`.
COLUMNS = (*CONTOUR_NAMES, *BRIGHTNESS_NAMES, *TEXTURE_NAMES, "volume")

_BRIGHTNESS = len(CONTOUR_NAMES)
_TEXTURE = _BRIGHTNESS + len(BRIGHTNESS_NAMES)
_VOLUME = _TEXTURE + len(TEXTURE_NAMES)


def measure_events(
    events: Events,
    labels: Labels,
    image: Grey,
    image_bg: Grey | None,
    image_corr: Corrected | None,
    bg_off: Floats | None,
    *,
    pixel_size: float,
    brightness: bool = True,
    haralick: bool = True,
    volume: bool = True,
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Measure all events of a batch of frames.

    Parameters
    ----------
    events
        What `find_events` found in `labels`.
    labels
        Labels, uint16 of shape (n, H, W).
    image, image_bg
        Images and their backgrounds, uint8 of shape (n, H, W).
    image_corr
        ``int16(image) - image_bg``, int16 of shape (n, H, W); computed if None.
    bg_off
        Offset of the background of each frame, float64 of shape (n,), or None.
    pixel_size
        Pixel size, µm.
    brightness, haralick, volume
        Groups of features to compute. Without background, of the first only
        ``bright_avg`` and ``bright_sd`` can be, and the second not at all.

    Returns
    -------
    table : numpy.ndarray
        float64 of shape (len(COLUMNS), n_events); NaN where nothing was
        computed.
    valid : numpy.ndarray
        bool of shape (n_events,); False for objects whose border has no area.

    Raises
    ------
    OptionError
        If the pixel size is not above 0, or textures lack the background.
    """
    if not pixel_size > 0:
        raise OptionError(f"the pixel size is {pixel_size} µm", hint="give the real pixel size")
    if haralick and image_corr is None and image_bg is None:
        raise OptionError(
            "textures need a background", hint="compute one, or measure with haralick=False"
        )
    images = plain(image, np.uint8)
    if image_corr is not None:
        corr = plain(image_corr, np.int16)
    elif image_bg is not None:
        corr = images.astype(np.int16) - plain(image_bg, np.uint8)
    else:
        corr = np.zeros(images.shape, np.int16)
    offsets = np.zeros(len(images)) if bg_off is None else plain(bg_off, np.float64)
    known = image_corr is not None or image_bg is not None
    places = plain(events.table, np.int32)
    table = np.full((len(COLUMNS), len(events)), np.nan)
    valid = np.zeros(len(events), np.uint8)
    if len(events):
        wanted = np.array([brightness, haralick, volume, known], np.uint8)
        labels = plain(labels, np.uint16)
        _measure(places, labels, images, corr, offsets, wanted, float(pixel_size), table, valid)
        if brightness and image_bg is not None:
            backgrounds = plain(image_bg, np.uint8).reshape(len(images), -1)
            _background_median(places, backgrounds, offsets, table[_BRIGHTNESS])
    return table, valid.view(np.bool_)


@kernel()
def _gather(
    event: Ints,
    labels: Labels,
    image: Grey,
    corr: Corrected,
    patch: Grey,
    place: Ints,
    grey: Grey,
    corrected: Corrected,
    runs: Ints,
    first: Ints,
) -> None:
    """Copy an event into small arrays with a margin of one pixel around it."""
    top, left = event[4], event[6]
    height = event[5] - top
    width = event[7] - left
    stride = width + 2
    patch[:] = 0
    first[0] = 0
    first[1] = 0
    n = 0
    pixels = 0
    for y in range(height):
        line = labels[top + y, left : left + width]
        line_image = image[top + y, left : left + width]
        line_corr = corr[top + y, left : left + width]
        inside = False
        for x in range(width):
            hit = line[x] == event[2]
            if hit:
                here = (y + 1) * stride + x + 1
                patch[here] = 1
                place[pixels] = here
                grey[pixels] = line_image[x]
                corrected[pixels] = line_corr[x]
                pixels += 1
            if hit != inside:
                if hit:
                    runs[0, n] = x + 1
                else:
                    runs[1, n] = x + 1
                    n += 1
                inside = hit
        if inside:
            runs[1, n] = width + 1
            n += 1
        first[y + 2] = n
    first[height + 2] = n


@kernel()
def _border_start(runs: Ints, first: Ints, stride: Integer, work: Ints) -> int:
    """Find where the border begins; of several objects, that of the last one counts.

    An object in a hole of another does not count.
    """
    count = label_runs(runs[0], runs[1], first, EIGHT, work[2])
    if count > 1:
        fill(runs[0], runs[1], first, stride, work)
        count = label_runs(runs[0], runs[1], first, EIGHT, work[2])
    for y in range(first.size - 1):
        for j in range(first[y], first[y + 1]):
            if work[2, j] == count:
                return int(y * stride + runs[0, j])
    return 0


@kernel()
def _shape(
    patch: Grey,
    stride: Integer,
    start: Integer,
    event: Ints,
    border: Ints,
    px: float,
    volume: bool,
    out: Floats,
) -> bool:
    """Write what follows from the border of an event; return whether it has an area."""
    n = trace(patch, stride, start, event[6], event[4], border[0], border[1])
    if n < 3:
        return False
    raw = np.empty(7)
    hull = np.empty(7)
    polygon(border[0], border[1], n, raw)
    if raw[0] == 0:
        return False
    corners = convex_hull(border[0], border[1], n, border[2], border[3])
    polygon(border[2], border[3], corners, hull)
    low_x = high_x = border[0, 0]
    low_y = high_y = border[1, 0]
    for k in range(n):
        low_x = min(low_x, border[0, k])
        high_x = max(high_x, border[0, k])
        low_y = min(low_y, border[1, k])
        high_y = max(high_y, border[1, k])
    shape_features(raw, hull, high_x - low_x + 1, high_y - low_y + 1, px, out)
    if volume:
        out[_VOLUME] = revolved_volume(border[0], border[1], n, out[13] / px, out[14] / px, px)
    return True


@kernel()
def _measure(
    events: Ints,
    labels: Labels,
    image: Grey,
    corr: Corrected,
    offsets: Floats,
    wanted: Grey,
    px: float,
    table: Floats,
    valid: Grey,
) -> None:
    most = box = rows = 0
    for e in range(events.shape[0]):
        height = events[e, 5] - events[e, 4] + 2
        most = max(most, events[e, 3])
        rows = max(rows, height)
        box = max(box, height * (events[e, 7] - events[e, 6] + 2))
    patch = np.empty(box, np.uint8)
    place = np.empty((2, most), np.int32)
    grey = np.empty(most, np.uint8)
    corrected = np.empty(most, np.int16)
    runs = np.empty((2, box), np.int32)
    work = np.empty((3, box), np.int32)
    first = np.empty(rows + 1, np.int32)
    border = np.empty((4, 4 * most + 8), np.int32)
    counts = np.zeros(65536, np.int32)
    out = np.empty(table.shape[0])
    for e in range(events.shape[0]):
        event = events[e]
        f = event[1]
        n = event[3]
        stride = event[7] - event[6] + 2
        tall = event[5] - event[4] + 2
        small = patch[: stride * tall]
        _gather(
            event,
            labels[event[0]],
            image[f],
            corr[f],
            small,
            place[0],
            grey,
            corrected,
            runs,
            first,
        )
        start = _border_start(runs, first[: tall + 1], stride, work)
        out[:] = math.nan
        valid[e] = _shape(small, stride, start, event, border, px, wanted[2] != 0, out)
        if not valid[e]:
            continue
        if wanted[0]:
            brightness_features(
                grey[:n],
                corrected[:n],
                offsets[f],
                wanted[3] != 0,
                out[_BRIGHTNESS + 1 : _TEXTURE],
            )
        if wanted[1]:
            highest = grey_levels(corrected[:n], place[0, :n], small)
            texture = out[_TEXTURE:_VOLUME]
            texture_features(small, stride, place[0, :n], highest, counts, place[1], texture)
        for k in range(out.size):
            table[k, e] = out[k]


@kernel()
def _background_median(events: Ints, backgrounds: Grey, offsets: Floats, out: Floats) -> None:
    last = -1
    median = 0.0
    for e in range(events.shape[0]):
        f = events[e, 1]
        if f != last:
            # Many frames in a row often share their background.
            same = last >= 0
            if same:
                differs = np.uint8(0)
                one = backgrounds[f]
                other = backgrounds[last]
                for k in range(one.size):
                    differs |= one[k] ^ other[k]
                same = differs == 0
            if not same:
                median = frame_median(backgrounds[f])
            last = f
        out[e] = median + offsets[f]
