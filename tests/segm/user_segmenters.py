"""Segmenters as users write them; the tests load this file by its path."""

import ctypes
import os
import signal
import time
from pathlib import Path

import numpy as np

from cytovox.segm import MPOSegmenter, STOSegmenter, UNISegmenter


class SegmentDark(MPOSegmenter):
    """Pixels below a level."""

    @staticmethod
    def segment_algorithm(image, *, level: int = 90):
        assert image.ndim == 2
        return image < level


class SegmentCorrected(MPOSegmenter):
    """Pixels below a threshold of the corrected image, found without haste in Python."""

    requires_background_correction = True

    @staticmethod
    def segment_algorithm(image, *, thresh: float = -6):
        out = np.zeros(image.shape, dtype=bool)
        for y, row in enumerate(image.tolist()):
            for x, value in enumerate(row):
                out[y, x] = value < thresh
        image[:] = 0  # a careless algorithm must not hurt the others
        return out


class SegmentWho(MPOSegmenter):
    """Writes the number of its process into the mask, bit by bit."""

    @staticmethod
    def segment_algorithm(image):
        bits = np.array([os.getpid() >> i & 1 for i in range(image.size)], dtype=bool)
        return bits.reshape(image.shape)


class SegmentEnvironment(MPOSegmenter):
    """Whether the process was started single-threaded and receives Ctrl-C."""

    @staticmethod
    def segment_algorithm(image):
        out = np.zeros(image.shape, dtype=bool)
        names = ("OMP", "MKL", "OPENBLAS", "NUMBA", "NUMEXPR", "NUMPY")
        out[0, 0] = all(os.environ.get(f"{n}_NUM_THREADS") == "1" for n in names)
        out[0, 1] = os.environ.get("VECLIB_MAXIMUM_THREADS") == "1"
        out[0, 2] = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        return out


class SegmentSlow(MPOSegmenter):
    """Takes its time with every frame."""

    @staticmethod
    def segment_algorithm(image, *, seconds: float = 0.02):
        time.sleep(seconds)
        return image < 90


class SegmentAngry(MPOSegmenter):
    """Fails at frames whose first pixel has a certain value."""

    @staticmethod
    def segment_algorithm(image, *, value: int = 7, seconds: float = 0):
        if image[0, 0] == value:
            raise ArithmeticError(f"no frames of {value}, please")
        time.sleep(seconds)
        return image < 90


class SegmentDeadly(MPOSegmenter):
    """Ends its process at frames whose first pixel is 7; only once if there is a file."""

    @staticmethod
    def segment_algorithm(image, *, once: str = ""):
        if image[0, 0] == 7 and not (once and Path(once).exists()):
            if once:
                Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return image < 90


class SegmentFrail(MPOSegmenter):
    """Ends its process once at each frame whose first pixel is 7, or hangs in foreign code."""

    @staticmethod
    def segment_algorithm(image, *, folder: str = "", hang: bool = False):
        mark = Path(folder, str(image[0, 1]))
        if image[0, 0] == 7 and not mark.exists():
            mark.touch()
            if hang:
                ctypes.PyDLL(None).sleep(300)
            os.kill(os.getpid(), signal.SIGKILL)
        return image < 90


class SegmentExiting(MPOSegmenter):
    """Leaves instead of working."""

    @staticmethod
    def segment_algorithm(image):
        raise SystemExit(3)


class SegmentPeculiar(MPOSegmenter):
    """Fails with an error that cannot be sent, of an odd constructor."""

    @staticmethod
    def segment_algorithm(image):
        class LocalError(Exception):
            def __init__(self, one, two):
                super().__init__("it is local")

        raise LocalError(1, 2)


class SegmentMisshapen(MPOSegmenter):
    """Returns something of another shape."""

    @staticmethod
    def segment_algorithm(image):
        return image[1:] < 90


class SegmentStack(STOSegmenter):
    """Pixels below a level, of a stack."""

    requires_background_correction = True

    @staticmethod
    def segment_algorithm(image, *, thresh: float = -6):
        assert image.ndim == 3
        return image < thresh


class SegmentFours(UNISegmenter):
    """Insists on four images at a time."""

    requires_background_correction = True
    required_batch_size = 4

    @staticmethod
    def segment_algorithm(image, *, thresh: float = -6):
        assert image.shape[0] == 4
        return image < thresh


class SegmentUnfinished(MPOSegmenter):
    """Has no algorithm yet."""


class SegmentBound(MPOSegmenter):
    """Has forgotten something."""

    def segment_algorithm(self, image):
        return image < 90


NUMBER = 3
