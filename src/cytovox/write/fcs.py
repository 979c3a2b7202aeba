"""Tables of numbers as FCS 3.1, the format of flow cytometry.

Values are 32-bit floating-point numbers, as most programs expect them. Where the
segments are is known once all rows are written, so room is left for the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

__all__ = ["write_fcs"]

_TEXT_BEGIN = 256
#: Separates keywords and values; in a value it is written twice.
_DELIMITER = "|"
#: Places of bytes up to this one fit into the header.
_MOST_IN_HEADER = 99_999_999
#: What any number in the text is at most.
_WIDEST = 10**19


def write_fcs(
    out: BinaryIO,
    titles: Mapping[str, str],
    blocks: Iterable[Sequence[npt.NDArray[Any]]],
    said: Mapping[str, str],
) -> int:
    """Write columns, given by name and title, block by block; return the number of rows."""
    room = len(_text(titles, said, _WIDEST, (_WIDEST, _WIDEST), [_WIDEST] * len(titles)))
    begin = _TEXT_BEGIN + room
    out.seek(begin)
    rows = 0
    largest = np.ones(len(titles))
    for columns in blocks:
        values = _as_floats(columns)
        finite = np.where(np.isfinite(values), values, 0)
        largest = np.maximum(largest, finite.max(axis=0, initial=1))
        out.write(values.tobytes())
        rows += len(values)
    place = (begin, begin + rows * len(titles) * 4 - 1) if rows else (0, 0)
    out.write(b"0" * 8)  # no checksum
    ranges = [min(int(np.ceil(value)), _WIDEST) for value in largest]
    text = _text(titles, said, rows, place, ranges)
    out.seek(0)
    out.write(_header(len(text), place).ljust(_TEXT_BEGIN) + text.ljust(room))
    return rows


def _as_floats(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Return columns as rows of numbers."""
    values = np.empty((len(columns[0]) if columns else 0, len(columns)), "<f4")
    with np.errstate(over="ignore"):
        for number, column in enumerate(columns):
            values[:, number] = column
    return values


def _header(length: int, place: tuple[int, int]) -> bytes:
    """Return where the text, the data and the analysis, which there is not, begin and end."""
    data = place if place[1] <= _MOST_IN_HEADER else (0, 0)  # then only the text says so
    places = (_TEXT_BEGIN, _TEXT_BEGIN + length - 1, *data, 0, 0)
    return ("FCS3.1    " + "".join(f"{one:>8}" for one in places)).encode("ascii")


def _text(
    titles: Mapping[str, str],
    said: Mapping[str, str],
    rows: int,
    place: tuple[int, int],
    ranges: Sequence[int],
) -> bytes:
    """Return keywords and values."""
    pairs: dict[str, Any] = {
        "$BEGINANALYSIS": 0,
        "$ENDANALYSIS": 0,
        "$BEGINSTEXT": 0,
        "$ENDSTEXT": 0,
        "$BEGINDATA": place[0],
        "$ENDDATA": place[1],
        "$BYTEORD": "1,2,3,4",
        "$DATATYPE": "F",
        "$MODE": "L",
        "$NEXTDATA": 0,
        "$PAR": len(titles),
        "$TOT": rows,
        **said,
    }
    if "time" in titles:
        pairs["$TIMESTEP"] = 1  # seconds
    for number, (name, title) in enumerate(titles.items(), 1):
        pairs |= {
            f"$P{number}N": name.replace(",", ";"),  # a comma would begin another name
            f"$P{number}S": title,
            f"$P{number}B": 32,
            f"$P{number}E": "0,0",
            f"$P{number}R": ranges[number - 1],
        }
    words = (word for pair in pairs.items() if str(pair[1]) for word in map(str, pair))
    doubled = (word.replace(_DELIMITER, 2 * _DELIMITER) for word in words)
    return "".join(f"{_DELIMITER}{word}" for word in (*doubled, "")).encode("utf-8")
