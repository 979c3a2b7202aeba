"""What is true of a simulated recording, as a table that can be stored."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, InputNotFoundError, OptionError
from .drawing import EDGE_OFFSET
from .shapes import deformation_by_pixels

__all__ = ["TRUTH_DTYPE", "Truth"]

#: columns named like the features that should come out as these values
TRUTH_DTYPE = np.dtype(
    [
        ("frame", np.int64),  # 0-based index of the frame
        ("pos_x", np.float64),  # centroid, um from the centre of the first pixel
        ("pos_y", np.float64),
        ("area_um", np.float64),  # area within the outline, um^2
        ("deform", np.float64),  # 1 - 2 sqrt(pi area) / perimeter
        ("volume", np.float64),  # turned about the long axis, um^3
        ("length", np.float64),  # long axis, um
        ("width", np.float64),  # short axis, um
        ("tilt", np.float64),  # angle of the long axis to the flow, rad
        ("population", np.uint8),
        ("touches_border", np.bool_),  # cut by the edge of the image
        ("touches_other", np.bool_),  # may touch another cell
    ]
)


@dataclass(frozen=True)
class Truth:
    """The cells of a simulated recording.

    Parameters
    ----------
    frames
        Number of frames.
    pixel_size
        Width of a pixel, um.
    table
        One row per cell, ordered by frame; of shape (n_cells,), see
        `TRUTH_DTYPE`. Frames that repeat
        their predecessor have no rows, since nothing is counted there.
    duplicates
        Frames that repeat their predecessor pixel for pixel, int64 of shape (n,).

    Examples
    --------
    >>> truth = Truth(3, 0.25, np.zeros(2, TRUTH_DTYPE))
    >>> len(truth), truth["area_um"].tolist()
    (2, [0.0, 0.0])
    """

    frames: int
    pixel_size: float
    table: npt.NDArray[Any]
    duplicates: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = self.table[column]
        return values

    @property
    def whole(self) -> Truth:
        """Only the cells that a segmenter should find one by one."""
        keep = ~(self["touches_border"] | self["touches_other"])
        return Truth(self.frames, self.pixel_size, self.table[keep], self.duplicates)

    @property
    def deform_on_pixels(self) -> npt.NDArray[np.float64]:
        """Deformation that an outline through pixels should have on the mean, shape (n_cells,).

        The mask of a simulated cell ends `drawing.EDGE_OFFSET` outside of its
        outline. A curve at that distance is longer by 2 pi times the distance,
        and rounder; pixels add to its deformation what they add to that of a
        circle of its area.
        """
        off = EDGE_OFFSET * self.pixel_size
        area, length = self["area_um"], 2 * np.sqrt(np.pi * self["area_um"]) / (1 - self["deform"])
        edge = np.sqrt(np.pi * (area + length * off + np.pi * off**2))
        rounder = 1 - 2 * edge / (length + 2 * np.pi * off)
        return np.asarray(rounder + deformation_by_pixels(area, self.pixel_size))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table as ``.csv`` or ``.npz``, by the suffix; return the path.

        Parameters
        ----------
        path
            File to write.

        Raises
        ------
        OptionError
            If the suffix is another.
        """
        path = Path(path)
        if path.suffix == ".npz":
            np.savez_compressed(
                path,
                frames=self.frames,
                pixel_size=self.pixel_size,
                table=self.table,
                duplicates=self.duplicates,
            )
        elif path.suffix == ".csv":
            self._save_csv(path)
        else:
            raise OptionError(f"no table is written as '{path.suffix}'", hint="take .csv or .npz")
        return path

    def _save_csv(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            file.write(f"# frames={self.frames}\n# pixel_size={float(self.pixel_size)!r}\n")
            file.write(f"# duplicates={' '.join(map(str, self.duplicates.tolist()))}\n")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(TRUTH_DTYPE.names or ())
            for row in self.table.tolist():
                writer.writerow([int(v) if isinstance(v, bool) else repr(v) for v in row])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Truth:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            File to read, ``.csv`` or ``.npz``.

        Raises
        ------
        InputNotFoundError
            If there is no such file.
        InputError
            If it is not a table of this kind.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Truth(3, 0.25, np.zeros(2, TRUTH_DTYPE)).save(Path(folder, "truth.csv"))
        ...     len(Truth.load(path))
        2
        """
        path = Path(path)
        if not path.is_file():
            raise InputNotFoundError("there is no such file", path=path)
        try:
            if path.suffix == ".npz":
                with np.load(path) as kept:
                    return cls(
                        int(kept["frames"]),
                        float(kept["pixel_size"]),
                        kept["table"],
                        kept["duplicates"],
                    )
            return cls._load_csv(path)
        except (ValueError, KeyError, IndexError, OSError) as err:
            raise InputError(
                "this is not a table of true values",
                path=path,
                hint="simulate the recording again",
            ) from err

    @classmethod
    def _load_csv(cls, path: Path) -> Truth:
        with path.open(newline="", encoding="utf-8") as file:
            head = dict(file.readline().lstrip("# ").rstrip("\n").split("=", 1) for _ in range(3))
            rows = list(csv.reader(file))
        if rows[0] != list(TRUTH_DTYPE.names or ()):
            raise ValueError("other columns")
        table = np.zeros(len(rows) - 1, TRUTH_DTYPE)
        for number, name in enumerate(rows[0]):
            kind = TRUTH_DTYPE[name].kind
            column = [row[number] for row in rows[1:]]
            table[name] = [float(v) for v in column] if kind == "f" else [int(v) for v in column]
        duplicates = np.array(head["duplicates"].split(), dtype=np.int64)
        return cls(int(head["frames"]), float(head["pixel_size"]), table, duplicates)
