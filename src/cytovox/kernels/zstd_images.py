"""Frames of Zstandard for images full of noise, without a search for what repeats.

Noise repeats nowhere, so nothing is looked for but images that equal the one before.
All others are cut into blocks of rows whose pixels get Huffman codes of their own, which
those of all images may share. Any reader of Zstandard reads that (RFC 8878, whose sections
the numbers in comments are).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .fse import largest
from .huffman import literals_head, new_codes, put_literals, put_table
from .jit import kernel
from .put_bits import Bytes, put
from .zstd_frame import BLOCK, begin_frame, end_of_equal

__all__ = ["pack_images"]

#: Bytes that a block of ours has at most.
_LARGEST = 1 << 14
#: The shortest repetition of an image that is looked for [bytes].
_REPEAT = 131
#: Pixels that are counted for codes, where there are many more.
_SAMPLE = 1 << 12
#: Pixels among which rare values are looked for together.
_PIECE = 128
#: Parts of a bit.
_FRACTION = 64
#: n log2 n, in parts of a bit.
_BITS = np.append(0, _FRACTION * (n := np.arange(1, 1 << 16)) * np.log2(n)).astype(np.int32)
#: Room for the table of the codes of all values.
_TABLE = 136


def pack_images(images: npt.NDArray[Any], unit: int, alike: bool) -> Bytes:
    """Return images of single bytes as a frame of Zstandard.

    Parameters
    ----------
    images
        Unsigned bytes of shape (n, height, width).
    unit
        Bytes that get the same codes, rounded up to whole rows: at least so many, and
        more if other codes would save less than a sixteenth. The more, the faster.
    alike
        Whether the same rows of all images get the same codes, which is faster.

    Examples
    --------
    >>> import zstandard
    >>> images = np.arange(60, dtype=np.uint8).reshape(2, 6, 5)
    >>> zstandard.decompress(pack_images(images, 1600, True)) == images.tobytes()
    True
    """
    data: Any = np.ascontiguousarray(images).reshape(-1).view(np.uint8)
    item = max(1, data.size // max(1, len(images)))
    width = max(1, images.shape[-1])
    unit = min(_LARGEST, -(-unit // width) * width)
    # At worst all blocks are stored as they are, the last after codes that were longer.
    blocks = (len(images) + 1) * (item // unit + 1)
    out = np.empty(256 + data.size + 3 * blocks + 2 * _LARGEST, np.uint8)
    return out[: _frame(data, item, unit, alike, _BITS, out)]


@kernel()
def _frame(data: Bytes, item: int, unit: int, alike: bool, logs: Any, out: Bytes) -> int:
    """Write a frame, and return its length."""
    pos = last = begin_frame(out, data.size)
    count = data.size // item
    images = data.reshape((count, item))
    is_new, group, size = np.ones(count, np.bool_), np.empty(count, np.int64), 0
    for i in range(count):
        begin, end = i * item, (i + 1) * item
        if i and item >= _REPEAT:
            is_new[i] = end_of_equal(data, begin, end, item) < end
        if is_new[i]:
            group[size] = i
            size += 1
    alike = alike and size <= _SAMPLE  # else a pixel of each was more than are counted
    group = group[: size if alike else 1]
    ends, codes, tables = _bands(images, group, unit, logs)
    for i in range(count):
        if not is_new[i]:
            parts = -(-item // BLOCK)
            for part in range(parts):
                last = pos
                pos = _repeat(out, pos, item, item * (part + 1) // parts - item * part // parts)
            continue
        if i and not alike:
            group[0] = i
            ends, codes, tables = _bands(images, group, unit, logs)
        begin = 0
        for band in range(ends.size):
            last = pos
            pos = _block(images[i, begin : ends[band]], codes[band], tables[band], out, pos)
            begin = ends[band]
    if not data.size:
        pos = put(out, pos, 0, 3)
    out[last] |= 1  # no block comes after it
    return pos


@kernel()
def _bands(images: Any, group: Any, unit: int, logs: Any) -> Any:
    """Return where codes of a group of images change, the codes, and their tables.

    Units are put together as long as other codes would save less than a sixteenth.
    """
    item = images.shape[1]
    units = -(-item // unit)
    counts = np.zeros((units, 256), np.int32)
    for k in range(units):
        _count_values(images, group, k * unit, min((k + 1) * unit, item), counts[k])
    ends = np.empty(units, np.int64)
    codes = np.zeros((units, 256), np.uint64)  # each with its length in the lowest byte
    tables = np.zeros((units, _TABLE), np.uint8)  # each after its length
    band, begin, end = 0, 0, 0
    while end < units:
        these, end = counts[end], end + 1
        bits, price = _bits(these, logs), 8 * _FRACTION // 16 * _total(these)
        while end < units and (end + 1) * unit - begin <= _LARGEST:
            both = these.copy()
            _add(both, counts[end])
            if _total(both) >= logs.size:
                break
            together = _bits(both, logs)
            if together > bits + _bits(counts[end], logs) + price:
                break
            these, bits, end = both, together, end + 1
        if these[largest(these)] < _total(these):
            new_codes(these, codes[band])
            tables[band, 0] = put_table(codes[band], tables[band], 1)
        begin = ends[band] = min(end * unit, item)
        band += 1
    return ends[:band], codes, tables


@kernel()
def _count_values(images: Any, group: Any, begin: int, end: int, counts: Any) -> None:
    """Count the values of these pixels of a group of images, of many in a sample of them.

    Values that are there have counts, also if the sample has none of them.
    """
    step = max(1, group.size * (end - begin) // _SAMPLE) | 1
    if step == 1:
        for i in group:
            _add(counts, _count(images[i, begin:end]))
        return
    for i in group:
        for at in range(begin, end, step):
            counts[images[i, at]] += 1
    low = high = largest(counts)
    while low and counts[low - 1]:
        low -= 1
    while high < 255 and counts[high + 1]:
        high += 1
    for i in group:
        for start in range(begin, end, _PIECE):
            piece = images[i, start : min(start + _PIECE, end)]
            if _reach_beyond(piece, np.uint8(low), np.uint8(high - low)):
                for value in piece:
                    counts[value] = max(counts[value], 1)


@kernel()
def _reach_beyond(values: Bytes, low: Any, span: Any) -> Any:
    """Return whether any value is not one of those from the lowest one on."""
    most = np.uint8(0)
    for value in values:
        most = max(most, np.uint8(value - low))
    return most > span


@kernel()
def _bits(counts: Any, logs: Any) -> int:
    """Return how many bits the best codes take, in fractions."""
    bits, total = np.int32(0), np.int32(0)
    for value in range(256):
        bits -= logs[counts[value]]
        total += counts[value]
    return int(bits + logs[total])


@kernel()
def _repeat(out: Bytes, pos: int, offset: int, length: int) -> int:
    """Write a block that is one repetition of what came so many bytes before."""
    offset += 3  # smaller values mean one of the last offsets (3.1.1.5)
    offset_bits = 0
    while offset >> (offset_bits + 1):
        offset_bits += 1
    length_bits = 7
    while length - 3 >> (length_bits + 1):
        length_bits += 1
    # No literals, one sequence, each of its three codes alone in its table; then the
    # bits that the codes leave open, below a last one that ends them (3.1.1.3.2).
    bits = (1 << offset_bits | (offset - (1 << offset_bits))) << length_bits
    bits |= length - 3 - (1 << length_bits)
    count = (offset_bits + length_bits) // 8 + 1
    pos = put(out, pos, (6 + count) << 3 | 2 << 1, 3)
    pos = put(out, pos, 0x540100, 3)
    pos = put(out, pos, (36 + length_bits) << 16 | offset_bits << 8, 3)
    return put(out, pos, bits, count)


@kernel()
def _block(data: Bytes, codes: Any, table: Bytes, out: Bytes, pos: int) -> int:
    """Write pixels as a block: a single value, codes, or as they are."""
    begin = pos + 3
    if not codes[data[0]]:
        return put(out, pos, int(data[0]) << 24 | data.size << 3 | 1 << 1, 4)
    head = literals_head(data.size)
    body = begin + head
    end = body + int(table[0]) - 1
    if table[0]:
        out[body:end] = table[1 : table[0]]
        end = put_literals(data, codes, head, out, body, end)
    if not table[0] or end - begin >= data.size:
        put(out, pos, data.size << 3, 3)
        out[begin : begin + data.size] = data
        return begin + data.size
    end = put(out, end, 0, 1)  # no sequences
    put(out, pos, (end - begin) << 3 | 2 << 1, 3)
    return end


@kernel()
def _count(data: Bytes) -> Any:
    """Return how often each value occurs; four tables, as equal neighbours would wait for one."""
    tables = np.zeros((4, 256), np.int32)
    most = data.size // 4 * 4
    for i in range(0, most, 4):
        tables[0, data[i]] += np.int32(1)
        tables[1, data[i + 1]] += np.int32(1)
        tables[2, data[i + 2]] += np.int32(1)
        tables[3, data[i + 3]] += np.int32(1)
    for i in range(most, data.size):
        tables[0, data[i]] += np.int32(1)
    for k in range(1, 4):
        _add(tables[0], tables[k])
    return tables[0]


@kernel()
def _add(counts: Any, more: Any) -> None:
    """Add counts; arrays of NumPy that are added would load a part of numba in each process."""
    for value in range(256):
        counts[value] += more[value]


@kernel()
def _total(counts: Any) -> int:
    """Return the sum of counts."""
    total = 0
    for count in counts:
        total += int(count)
    return total
