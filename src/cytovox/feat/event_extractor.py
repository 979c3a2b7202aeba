"""From labels to gated events, for a batch of frames at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..kernels.arrays import fitting
from ..kernels.brightness import BRIGHTNESS_NAMES
from ..kernels.event_boxes import Events, find_events, mask_images
from ..kernels.measure import COLUMNS, measure_events
from ..kernels.moments import CONTOUR_NAMES
from ..kernels.texture import TEXTURE_NAMES
from ..recipe.identity import kwargs_to_ppid, ppid_to_kwargs
from ..recipe.options import check_options, options_of
from ..run.rows import CAUSES, FrameRows, no_objects
from .gate import Gate

__all__ = [
    "BRIGHTNESS_NAMES",
    "CONTOUR_NAMES",
    "TEXTURE_NAMES",
    "QueueEventExtractor",
    "feature_names",
]


def feature_names(
    *, brightness: bool = True, haralick: bool = True, volume: bool = True
) -> tuple[str, ...]:
    """Return the names of the scalar features that are computed."""
    return (
        *CONTOUR_NAMES,
        *(BRIGHTNESS_NAMES if brightness else ()),
        *(TEXTURE_NAMES if haralick else ()),
        *(("volume",) if volume else ()),
    )


def _object_counts(
    before: npt.NDArray[np.int64] | None,
    counts: npt.NDArray[np.int64],
    lost: Mapping[str, npt.NDArray[np.int64]],
    duplicate: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.int64]:
    """Return `FrameRows.objects`; a repeated frame is lost as a whole."""
    objects = no_objects(len(counts)) if before is None else before.copy()
    if before is None:
        objects[:, 0] = sum(lost.values(), counts)
    for cause, number in lost.items():
        objects[:, 1 + CAUSES.index(cause)] = number
    if duplicate is not None and duplicate.any():
        objects[duplicate, 1:] = 0
        objects[duplicate, 1 + CAUSES.index("repeated")] = objects[duplicate, 0]
    return objects


class QueueEventExtractor:
    """Measure events of label images and gate them.

    Parameters
    ----------
    slot_register
        Register of the slots that hold the frames; iterable, with
        `chunk_size`, `data` and `increment_counter_value`.
    pixel_size
        Pixel size, µm.
    gate
        Which events are kept.
    event_queue
        Where the code that runs the extractor puts the events.
    extract_kwargs
        Options of `get_events_from_masks`.
    logger
        Where dropped masks are reported.

    Raises
    ------
    OptionError
        If an option is unknown or has a wrong value.
    """

    def __init__(
        self,
        slot_register: Any,
        pixel_size: float,
        gate: Gate,
        event_queue: Any,
        extract_kwargs: dict[str, Any] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.slot_register = slot_register
        self.pixel_size = pixel_size
        self.gate = gate
        self.event_queue = event_queue
        self.extract_kwargs = self._checked(extract_kwargs)
        self.logger = logger or logging.getLogger(__name__)

    @classmethod
    def feature_names(cls, extract_kwargs: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        """Return the names of the scalar features that given options yield.

        Parameters
        ----------
        extract_kwargs
            Options by name; others keep their defaults. None for no options.

        Raises
        ------
        OptionError
            If an option is unknown or has a wrong value.
        """
        return feature_names(**cls._checked(extract_kwargs))

    def measure(
        self,
        labels: npt.NDArray[np.uint16],
        image: npt.NDArray[np.uint8],
        image_bg: npt.NDArray[np.uint8] | None = None,
        image_corr: npt.NDArray[np.int16] | None = None,
        bg_off: npt.NDArray[np.float64] | None = None,
        *,
        start: int = 0,
        duplicate: npt.NDArray[np.bool_] | None = None,
        objects: npt.NDArray[np.int64] | None = None,
    ) -> FrameRows:
        """Measure and gate all events of consecutive frames.

        Parameters
        ----------
        labels
            Labels, uint16 of shape (n, H, W).
        image, image_bg
            Images and their backgrounds, uint8 of shape (n, H, W).
        image_corr
            ``int16(image) - image_bg``, int16 of shape (n, H, W); computed if None.
        bg_off
            Offset of the background of each frame, float64 of shape (n,), or None.
        start
            Index of the first frame in the recording.
        duplicate
            Frames that only repeat the frame before them, bool of shape (n,).
        objects
            What became of the objects of each frame before, int64 of shape (n, 8).
        """
        small = np.zeros(len(labels), np.int64)
        events = find_events(labels, self.gate.size_thresh_mask, duplicate, small)
        frames = (image, image_bg, image_corr, bg_off)
        columns, passed, valid = self.measure_objects(events, labels, frames, self.extract_kwargs)
        kept = passed & valid
        lost = {
            "size": small,
            "gate": np.bincount(events.frame[~passed], minlength=len(labels)),
            "contour": np.bincount(events.frame[passed & ~valid], minlength=len(labels)),
        }
        events = events.select(kept)
        counts = np.bincount(events.frame, minlength=len(labels)).astype(np.int64)
        rows = {name: column[kept] for name, column in columns.items()}
        rows["mask"] = mask_images(events, labels)
        rows["nevents"] = counts[events.frame]
        return FrameRows(start, counts, rows, _object_counts(objects, counts, lost, duplicate))

    def get_masks_from_label(self, label: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
        """Return the masks of one frame that are large enough, in order of their label.

        Parameters
        ----------
        label
            Labels of shape (H, W).

        Returns
        -------
        numpy.ndarray
            bool of shape (n_events, H, W)
        """
        labels = fitting(label, np.uint16)[np.newaxis]
        events = find_events(labels, self.gate.size_thresh_mask)
        return mask_images(events, labels).astype(bool)

    def get_events_from_masks(
        self,
        masks: npt.NDArray[np.bool_],
        chunk_slot: Any,
        sub_index: int,
        *,
        brightness: bool = True,
        haralick: bool = True,
        volume: bool = True,
    ) -> dict[str, npt.NDArray[Any]]:
        """Measure the masks of one frame, gate them and drop those without an area.

        Parameters
        ----------
        masks
            Masks, bool of shape (n_events, H, W); they may overlap.
        chunk_slot, sub_index
            Slot with `image`, `image_bg`, `image_corr` and `bg_off`; index of the frame in it.
        brightness, haralick, volume
            Whether to compute features of brightness, those of texture, and the volume.

        Returns
        -------
        dict
            ``mask`` and one array per feature.
        """
        labels = np.asarray(masks, bool).astype(np.uint16)
        events = find_events(labels, 0)
        one = slice(sub_index, sub_index + 1)
        image_bg, image_corr, bg_off = (
            None if array is None else array[one]
            for array in (chunk_slot.image_bg, chunk_slot.image_corr, chunk_slot.bg_off)
        )
        columns, passed, valid = self.measure_objects(
            events.at_frame(0),
            labels,
            (chunk_slot.image[one], image_bg, image_corr, bg_off),
            {"brightness": brightness, "haralick": haralick, "volume": volume},
        )
        empty = len(labels) - len(events)
        if dropped := int(np.count_nonzero(passed & ~valid)) + empty:
            self.slot_register.increment_counter_value("masks_dropped", dropped)
            self.logger.debug("dropped %d masks without an area", dropped)
        kept = passed & valid
        chosen = np.asarray(masks, bool)[events.table[kept, 0]]
        return {"mask": chosen, **{name: column[kept] for name, column in columns.items()}}

    def process_label(self, index: int) -> dict[str, npt.NDArray[Any]] | None:
        """Measure one frame, which must be in a slot.

        Parameters
        ----------
        index
            Index of the frame in the recording.

        Returns
        -------
        dict or None
            Events as from `get_events_from_masks`, or None if there are none,
            or if the frame repeats the frame before it.

        Raises
        ------
        UsageError
            If no slot holds the frame.
        """
        chunk, sub_index = divmod(index, self.slot_register.chunk_size)
        slot = next((slot for slot in self.slot_register if slot.chunk == chunk), None)
        if slot is None:
            raise UsageError(f"no slot holds chunk {chunk}", frame=index)
        if self._repeats(slot, index, sub_index):
            return None
        masks = self.get_masks_from_label(slot.labels[sub_index])
        if not len(masks):
            return None
        return self.get_events_from_masks(masks, slot, sub_index, **self.extract_kwargs)

    def get_ppid(self) -> str:
        """Return the identifier of this extractor with all its options."""
        return self.get_ppid_from_ppkw(self.extract_kwargs)

    @classmethod
    def get_ppid_code(cls) -> str:
        """Return the code of this extractor."""
        return "legacy"

    @classmethod
    def get_ppid_from_ppkw(cls, kwargs: Mapping[str, Any]) -> str:
        """Return the identifier of given options.

        Parameters
        ----------
        kwargs
            Options by name; others keep their defaults.

        Examples
        --------
        >>> QueueEventExtractor.get_ppid_from_ppkw({"haralick": False})
        'legacy:b=1^h=0^v=1'
        """
        return f"{cls.get_ppid_code()}:{kwargs_to_ppid(cls, 'get_events_from_masks', kwargs)}"

    @staticmethod
    def get_ppkw_from_ppid(extr_ppid: str) -> dict[str, Any]:
        """Return the options that an identifier stands for.

        Parameters
        ----------
        extr_ppid
            Identifier, e.g. ``"legacy:b=1^h=1^v=1"``.

        Raises
        ------
        ValueError
            If the identifier is of another extractor, or not understood.

        Examples
        --------
        >>> QueueEventExtractor.get_ppkw_from_ppid("legacy:b=1^h=0")
        {'brightness': True, 'haralick': False, 'volume': True}
        """
        cls = QueueEventExtractor
        code, _, options = extr_ppid.partition(":")
        if code != cls.get_ppid_code():
            raise ValueError(f"'{extr_ppid}' is not an identifier of '{cls.get_ppid_code()}'")
        return ppid_to_kwargs(cls, "get_events_from_masks", options)

    @classmethod
    def _checked(cls, extract_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
        options = options_of(cls.get_events_from_masks)
        where = f"feature extraction {cls.get_ppid_code()}"
        return check_options(where, options, extract_kwargs or {})

    def measure_objects(
        self,
        objects: Events,
        labels: npt.NDArray[np.uint16],
        frames: tuple[Any, Any, Any, Any],
        options: Mapping[str, Any],
    ) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Measure objects, whether or not they are kept.

        Parameters
        ----------
        objects
            Where they are, from `cytovox.kernels.event_boxes.find_events`.
        labels
            Labels, uint16 of shape (n, H, W).
        frames
            ``image``, ``image_bg``, ``image_corr`` and ``bg_off``, as in `measure`.
        options
            Options of `get_events_from_masks`, all of them.

        Returns
        -------
        columns : dict
            Arrays of shape (n_objects,) by name of the feature.
        passed, valid : numpy.ndarray
            Which objects pass the gate, and which have an area; bool of shape
            (n_objects,).
        """
        names = feature_names(**options)
        self.gate.check(names)
        table, valid = measure_events(
            objects, labels, *frames, pixel_size=self.pixel_size, **options
        )
        columns = {name: row for name, row in zip(COLUMNS, table, strict=True) if name in names}
        return columns, self.gate.gate_events(columns), valid

    def _repeats(self, slot: Any, index: int, sub_index: int) -> bool:
        if index == 0:
            return False
        previous = (
            slot.image[sub_index - 1] if sub_index else self.slot_register.data.image[index - 1]
        )
        return np.array_equal(slot.image[sub_index], previous)
