"""The contract of a segmenter: an image goes in, a boolean mask comes out.

Labelling and the clean-up of labels are the same for all segmenters and
happen outside of the algorithm.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, UsageError
from ..kernels.labels import label_frames, process_frames
from ..recipe.identity import kwargs_to_ppid, ppid_to_kwargs
from ..recipe.options import Within, check_options, options_of
from ..recipe.python_file import file_of_module
from ..recipe.registry import load_stage

__all__ = ["ChunkOfFrames", "FrameOffsets", "Images", "Masks", "Segmenter", "slot_of_chunk"]

#: One image (H, W) or a stack (N, H, W), and the mask of each.
Images = npt.NDArray[Any]
Masks = npt.NDArray[np.bool_]
#: Offset of the background of each frame (N,), where one is known.
FrameOffsets = npt.NDArray[np.float64] | None

#: Digits of the checksum of a file that are part of the code of its segmenters.
_DIGITS_IN_CODE = 8


class FramesToSegment(Protocol):
    """What a segmenter needs to know of some frames."""

    @property
    def image(self) -> npt.NDArray[np.uint8]: ...
    @property
    def image_corr(self) -> npt.NDArray[np.int16] | None: ...
    @property
    def bg_off(self) -> FrameOffsets: ...


class ChunkOfFrames(FramesToSegment, Protocol):
    """What a segmenter needs to know of a chunk slot."""

    chunk: int
    length: int
    mask: Masks


def slot_of_chunk(chunk: int, slots: Sequence[ChunkOfFrames]) -> int:
    """Return the index of the slot that holds a chunk."""
    for index, slot in enumerate(slots):
        if slot.chunk == chunk:
            return index
    raise ValueError(f"no slot holds chunk {chunk}")


class Segmenter(abc.ABC):
    """Base class of all segmenters.

    A subclass implements the static method `segment_algorithm`, whose
    keyword-only parameters are its options, and may set the class attributes
    below.

    Parameters
    ----------
    kwargs_mask
        Options of the mask clean-up; see `process_labels`. They override
        those of the class, which override those of the method.
    debug
        Run without processes of its own, so that a debugger can follow.
    **kwargs
        Options of `segment_algorithm`.

    Raises
    ------
    OptionError
        If an option has an unknown name or an impossible value.
    ValueError
        If mask options are given to a segmenter that allows no clean-up.
    """

    #: Whether masks are cleaned by `process_labels`.
    mask_postprocessing: ClassVar[bool] = True
    #: Options of `process_labels` that this segmenter prefers.
    mask_default_kwargs: ClassVar[dict[str, Any]] = {}
    #: Whether the algorithm gets background-corrected images (int16, or
    #: float64 where an offset is known) instead of raw ones (uint8).
    requires_background_correction: ClassVar[bool] = False
    #: Whether the algorithm lets other threads work meanwhile, as compiled
    #: code can; if not, it is run in worker processes.
    releases_gil: ClassVar[bool] = False

    def __init__(
        self, *, kwargs_mask: dict[str, Any] | None = None, debug: bool = False, **kwargs: Any
    ) -> None:
        self.debug = debug
        where = f"segmenter {self.get_ppid_code()}"
        options = options_of(self.segment_algorithm)
        self.kwargs = {o.name: o.default for o in options if not o.required}
        self.kwargs.update(check_options(where, options, kwargs))
        if kwargs_mask and not self.mask_postprocessing:
            raise OptionError(
                f"{where} does not clean its masks", hint="leave the mask options out"
            )
        self.kwargs_mask: dict[str, Any] = {}
        if self.mask_postprocessing:
            self.kwargs_mask = self.get_mask_defaults()
            given = check_options(
                f"mask of {where}", options_of(self.process_labels), kwargs_mask or {}
            )
            self.kwargs_mask.update(given)

    @staticmethod
    @abc.abstractmethod
    def segment_algorithm(image: Images, *args: Any, **kwargs: Any) -> Any:
        """Return the boolean mask of an image; options are keyword-only.

        Parameters
        ----------
        image, images
            Image, of shape (H, W); uint8, or int16 if the background is subtracted.
            Segmenters of stacks get shape (N, H, W).
        *args, **kwargs
            Options of the algorithm.
        """

    @classmethod
    def get_mask_defaults(cls) -> dict[str, Any]:
        """Return the options of `process_labels` that hold by default."""
        defaults = {o.name: o.default for o in options_of(cls.process_labels)}
        return {**defaults, **cls.mask_default_kwargs}

    @staticmethod
    def process_labels(
        labels: npt.NDArray[Any],
        *,
        clear_border: bool = True,
        fill_holes: bool = True,
        closing_disk: Annotated[int, Within(least=0, most=1000)] = 5,
    ) -> npt.NDArray[Any]:
        """Clean up labelled objects.

        In this order: objects that touch the border of the image are removed;
        holes are filled (so that what lies inside a hole merges with what
        surrounds it); the mask is opened with a disk, which the name of the
        option belies for the sake of stored recipes. After the second or third
        step the mask is labelled anew.

        Parameters
        ----------
        labels
            Label image (H, W) of integers, 0 is background; a boolean mask is
            labelled first (8-connected, in raster order).
        clear_border
            Whether to remove objects that touch the border.
        fill_holes
            Whether to fill holes.
        closing_disk
            Radius in pixels of the disk of the opening; 0 leaves it out.

        Returns
        -------
        numpy.ndarray
            Label image (H, W), an array of its own; int32 where it was labelled,
            else of the type of `labels`.

        Examples
        --------
        >>> mask = np.zeros((9, 9), dtype=bool)
        >>> mask[2:7, 2:7] = True
        >>> mask[4, 4] = False
        >>> int(Segmenter.process_labels(mask, closing_disk=0).sum())
        25
        """
        frames = np.empty((1, *labels.shape), dtype=np.uint16)
        values = None
        if labels.dtype == np.bool_:
            label_frames(np.ascontiguousarray(labels)[np.newaxis], frames)
        else:
            # Any values are allowed, also those that do not fit into 16 bits.
            values, numbers = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
            if len(values) > 2**16:
                raise UsageError(f"an image with {len(values) - 1} labels; 65535 are possible")
            shift = int(np.searchsorted(values, 0))
            frames.reshape(-1)[:] = (numbers[:-1] - shift) % len(values)
            values = np.roll(values, -shift)
        process_frames(frames, bool(clear_border), bool(fill_holes), int(closing_disk or 0))
        clean = frames.reshape(labels.shape)
        if values is None or fill_holes or closing_disk:
            return clean.astype(np.int32)
        return np.asarray(values[clean].astype(labels.dtype))

    @functools.cached_property
    def segment_algorithm_wrapper(self) -> Callable[[npt.NDArray[Any]], Masks]:
        """The algorithm with the options of this instance filled in."""
        return functools.partial(self.segment_algorithm, **self.kwargs)

    def _masks_of(self, images: Images) -> Masks:
        """Return what the algorithm makes of one image or a stack, as boolean masks."""
        masks = np.asarray(self.segment_algorithm_wrapper(images))
        if masks.shape != images.shape:
            raise UsageError(
                f"segmenter {self.get_ppid_code()} made a mask of shape {masks.shape} of images "
                f"of shape {images.shape}",
                hint="segment_algorithm must return one boolean per pixel",
            )
        return masks.astype(bool, copy=False)

    def corrected(self, images: Images, bg_off: FrameOffsets | float) -> Images:
        """Return the images less the background offset, if there is one.

        Parameters
        ----------
        images
            Images (N, H, W), or one (H, W).
        bg_off
            Offset of the background of each frame, of shape (N,), or of all; or None.

        Returns
        -------
        numpy.ndarray
            Of the shape of `images`; float64 if there is an offset.

        Raises
        ------
        UsageError
            If an offset is given to a segmenter that works on raw images.
        """
        if bg_off is None:
            return images
        if not self.requires_background_correction:
            raise UsageError(
                f"segmenter {self.get_ppid_code()} does not employ background correction, so a "
                "background offset does not apply",
                hint="leave bg_off out",
            )
        if images.ndim == 2:
            return np.asarray(images - float(np.asarray(bg_off)))
        return np.asarray(images - np.asarray(bg_off).reshape(-1, 1, 1))

    @abc.abstractmethod
    def segment_batch(self, images: Images, bg_off: FrameOffsets = None) -> Masks:
        """Return the raw boolean masks (N, H, W) of a stack of images.

        Parameters
        ----------
        images, bg_off
            Images (N, H, W), and their offsets (N,) or None, as `input_of` returns them.
        """

    def segment_single(self, image: Images, bg_off: float | None = None) -> Masks:
        """Return the raw boolean mask (H, W) of one image.

        Parameters
        ----------
        image, bg_off
            Image (H, W), and its offset or None, of the types that `input_of` returns.
        """
        offset = None if bg_off is None else np.array([bg_off], dtype=np.float64)
        image = np.asarray(image)
        return self.segment_batch(image[np.newaxis], offset).reshape(image.shape)

    def segment_into(self, images: Images, bg_off: FrameOffsets, out: Masks) -> None:
        """Write the raw boolean masks of a stack of images into ``out``.

        Parameters
        ----------
        images, bg_off
            Images (N, H, W), and their offsets (N,) or None, as `input_of` returns them.
        out
            Masks to be written, bool of shape (N, H, W).
        """
        out[:] = self.segment_batch(images, bg_off)

    def input_of(
        self, slot: FramesToSegment, start: int, stop: int
    ) -> tuple[npt.NDArray[Any], FrameOffsets]:
        """Return what this segmenter wants of a slot: images and offsets.

        Parameters
        ----------
        slot, start, stop
            Slot that holds a chunk; the first frame in it, and the one after the last.

        Returns
        -------
        images : numpy.ndarray
            Of shape (N, H, W); uint8, or int16 if the background is subtracted.
        bg_off : numpy.ndarray or None
            Offset of each frame, float64 of shape (N,).
        """
        if not self.requires_background_correction:
            return slot.image[start:stop], None
        if slot.image_corr is None:
            raise UsageError(
                f"segmenter {self.get_ppid_code()} needs a background image",
                hint="choose a background method that makes one",
            )
        offset = None if slot.bg_off is None else slot.bg_off[start:stop]
        return slot.image_corr[start:stop], offset

    def segment_chunk(self, chunk: int, slot_list: Sequence[ChunkOfFrames]) -> Masks:
        """Segment the slot that holds a chunk.

        Parameters
        ----------
        chunk
            Index of the chunk.
        slot_list
            Slots among which to look for it.

        Returns
        -------
        numpy.ndarray
            The ``mask`` of the slot, now filled, bool of shape (N, H, W).

        Raises
        ------
        ValueError
            If no slot holds this chunk.
        """
        slot = slot_list[slot_of_chunk(chunk, slot_list)]
        images, offset = self.input_of(slot, 0, slot.length)
        self.segment_into(images, offset, slot.mask)
        return slot.mask

    def label_and_clean(self, mask: Masks) -> npt.NDArray[np.uint16]:
        """Return the cleaned labels (H, W) of a raw mask.

        Parameters
        ----------
        mask
            Raw mask, bool of shape (H, W).
        """
        if self.mask_postprocessing:
            return self.process_labels(mask, **self.kwargs_mask)
        labels = np.empty((1, *mask.shape), dtype=np.uint16)
        label_frames(np.ascontiguousarray(mask)[np.newaxis], labels)
        return labels.reshape(mask.shape)

    def segment_single_with_labeling(
        self, image: Images, bg_off: float | None = None
    ) -> npt.NDArray[np.uint16]:
        """Return the cleaned labels (H, W) of one image.

        Parameters
        ----------
        image, bg_off
            Image (H, W), and its offset or None, of the types that `input_of` returns.
        """
        return self.label_and_clean(self.segment_single(image, bg_off))

    def segment_batch_with_labeling(
        self, images: Images, bg_off: FrameOffsets = None
    ) -> npt.NDArray[np.uint16]:
        """Return the cleaned labels (N, H, W) of a stack of images.

        Parameters
        ----------
        images, bg_off
            Images (N, H, W), and their offsets (N,) or None, as `input_of` returns them.
        """
        masks = self.segment_batch(images, bg_off)
        return np.stack([self.label_and_clean(mask).astype(np.uint16) for mask in masks])

    @classmethod
    def get_ppid_code(cls) -> str:
        """Return the code: the class name in lower case without ``segment``.

        For a class from a file that is not installed, the start of the file's
        checksum follows, since the file may change.
        """
        code = cls.__name__.lower().removeprefix("segment")
        found = file_of_module(cls.__module__)
        return code if found is None else f"{code}.{found[1][:_DIGITS_IN_CODE]}"

    def get_ppid(self) -> str:
        """Return the identifier of this segmenter with its options."""
        return self.get_ppid_from_ppkw(self.kwargs, self.kwargs_mask)

    @classmethod
    def get_ppid_from_ppkw(
        cls, kwargs: dict[str, Any], kwargs_mask: dict[str, Any] | None = None
    ) -> str:
        """Return the identifier for options given as dictionaries.

        Parameters
        ----------
        kwargs
            Options of `segment_algorithm`; may hold those of the mask under
            ``kwargs_mask``.
        kwargs_mask
            Options of `process_labels`.

        Raises
        ------
        UsageError
            If there are options of the mask, and the segmenter does without.
        """
        kwargs = dict(kwargs)
        inner = kwargs.pop("kwargs_mask", None)
        if not cls.mask_postprocessing and (inner or kwargs_mask):
            raise UsageError(
                f"segmenter {cls.get_ppid_code()} does not support mask postprocessing",
                hint="leave the options of the mask out",
            )
        parts = [cls.get_ppid_code(), kwargs_to_ppid(cls, "segment_algorithm", kwargs)]
        if cls.mask_postprocessing:
            mask = {**cls.get_mask_defaults(), **(inner or {}), **(kwargs_mask or {})}
            parts.append(kwargs_to_ppid(cls, "process_labels", mask))
        return ":".join(parts)

    @staticmethod
    def get_ppkw_from_ppid(segm_ppid: str) -> dict[str, Any]:
        """Return the options that an identifier stands for.

        Parameters
        ----------
        segm_ppid
            Identifier, e.g. ``"thresh:t=-6:cle=1^f=1^clo=2"``.

        Returns
        -------
        dict
            Options of the algorithm; those of the mask under ``kwargs_mask``.

        Raises
        ------
        ValueError
            If the identifier is not understood.
        """
        code, *parts = segm_ppid.split(":")
        cls = load_stage("segmenter", code, Segmenter)
        kwargs = ppid_to_kwargs(cls, "segment_algorithm", parts[0] if parts else "")
        if cls.mask_postprocessing:
            mask_text = parts[1] if len(parts) > 1 else ""
            kwargs["kwargs_mask"] = ppid_to_kwargs(cls, "process_labels", mask_text)
        return kwargs

    @staticmethod
    def is_available() -> bool:
        """Return whether everything that the segmenter needs is installed."""
        return True

    @classmethod
    def validate_applicability(
        cls,
        segmenter_kwargs: dict[str, Any],
        meta: dict[str, Any] | None = None,
        logs: dict[str, list[str]] | None = None,
    ) -> bool:
        """Check that the segmenter fits a recording.

        Parameters
        ----------
        segmenter_kwargs
            Options of the segmenter.
        meta
            Metadata of the recording, ``"section:key"`` to value.
        logs
            Logs of the recording, name to lines.

        Returns
        -------
        bool
            True; anything else is an error.

        Raises
        ------
        SegmenterNotApplicableError
            If it does not fit.
        """
        return True

    def close(self) -> None:  # noqa: B027 - most segmenters hold nothing
        """Release what the segmenter holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        self.close()
