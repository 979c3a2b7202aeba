"""What is true of a simulated volume, as a table that can be stored."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, InputNotFoundError
from ..read.open_volume import open_volume
from ..read.volume import Volume

__all__ = ["VOLUME_TRUTH_DTYPE", "VolumeTruth"]

#: One row per object; places are in voxels.
VOLUME_TRUTH_DTYPE = np.dtype(
    [
        ("label", np.int64),
        ("voxels", np.int64),
        ("z", np.float64),  # mean of its voxels
        ("y", np.float64),
        ("x", np.float64),
        ("z_start", np.int64),  # bounding box
        ("z_stop", np.int64),
        ("y_start", np.int64),
        ("y_stop", np.int64),
        ("x_start", np.int64),
        ("x_stop", np.int64),
        ("touches_border", np.bool_),
    ]
)


@dataclass(frozen=True)
class VolumeTruth:
    """A simulated volume, its true labels and a table of them.

    Parameters
    ----------
    image_path, labels_path
        Where image and labels are.
    shape
        Voxels along each axis.
    table
        One row per label in order of labels, of shape (n,), see
        `VOLUME_TRUTH_DTYPE`.
    """

    image_path: Path
    labels_path: Path
    shape: tuple[int, ...]
    table: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = self.table[column]
        return values

    def open_image(self) -> Volume:
        """Open the image."""
        return open_volume(self.image_path)

    def open_labels(self) -> Volume:
        """Open the true labels."""
        return open_volume(self.labels_path)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table as CSV; return the path.

        Parameters
        ----------
        path
            File to write.
        """
        path = Path(path)
        with path.open("w", newline="", encoding="utf-8") as file:
            for key, value in (("image", self.image_path.name), ("labels", self.labels_path.name)):
                file.write(f"# {key}={value}\n")
            file.write(f"# shape={' '.join(map(str, self.shape))}\n")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(VOLUME_TRUTH_DTYPE.names or ())
            for row in self.table:
                writer.writerow([int(v) if isinstance(v, bool) else repr(v) for v in row.tolist()])
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> VolumeTruth:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            File to read.

        Raises
        ------
        InputNotFoundError
            If there is no such file.
        InputError
            If it is not a table of this kind.
        """
        path = Path(path)
        if not path.is_file():
            raise InputNotFoundError("there is no such file", path=path)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                head = dict(
                    file.readline().removeprefix("# ").rstrip("\n").split("=", 1) for _ in range(3)
                )
                names, *rows = csv.reader(file)
            if tuple(names) != VOLUME_TRUTH_DTYPE.names:
                raise ValueError("other columns")  # noqa: TRY301
            table = np.zeros(len(rows), VOLUME_TRUTH_DTYPE)
            for number, name in enumerate(names):
                table[name] = [float(row[number]) for row in rows]
            shape = tuple(int(n) for n in head["shape"].split())
            return cls(path.with_name(head["image"]), path.with_name(head["labels"]), shape, table)
        except (ValueError, KeyError, IndexError) as err:
            raise InputError(
                "this is not a table of true values", path=path, hint="simulate the volume again"
            ) from err
