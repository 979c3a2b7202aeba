"""Frames of Zstandard for images full of noise, without a search for what repeats.

Noise repeats nowhere, so nothing is looked for but images that equal the one before.
All others are cut into blocks of rows whose pixels get Huffman codes of their own. Any
reader of Zstandard reads that (RFC 8878, whose sections the numbers in comments are).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .huffman import new_codes, put_table
from .jit import kernel
from .put_bits import Bytes, put, put_word

__all__ = ["pack_images"]

#: Bytes that a block may have (3.1.1.2.4), and those of ours at most.
_BLOCK, _LARGEST = 1 << 17, 1 << 14
#: The shortest repetition of an image that is looked for [bytes].
_REPEAT = 131
#: Blocks of fewer bytes are one stream of codes, others four (3.1.1.3.1.1).
_FOUR = 256
#: Parts of a bit.
_FRACTION = 64
#: n log2 n, in parts of a bit.
_BITS = np.append(0, _FRACTION * (n := np.arange(1, _LARGEST + 1)) * np.log2(n)).astype(np.int32)


def pack_images(images: npt.NDArray[Any], unit: int) -> bytes:
    """Return images of single bytes as a frame of Zstandard.

    Parameters
    ----------
    images
        Unsigned bytes of shape (n, height, width).
    unit
        Bytes that get the same codes, rounded up to whole rows: at least so many, and
        more if other codes would save less than a sixteenth. The more, the faster.

    Examples
    --------
    >>> import zstandard
    >>> images = np.arange(60, dtype=np.uint8).reshape(2, 6, 5)
    >>> zstandard.decompress(pack_images(images, 1600)) == images.tobytes()
    True
    """
    data: Any = np.ascontiguousarray(images).reshape(-1).view(np.uint8)
    item = max(1, data.size // max(1, len(images)))
    width = max(1, images.shape[-1])
    price = 8 * _FRACTION * unit // 16
    unit = min(_LARGEST, -(-unit // width) * width)
    # At worst all blocks are stored as they are.
    out = np.empty(256 + data.size + 3 * (len(images) + 1) * (item // unit + 1), np.uint8)
    return out[: _frame(data, item, unit, price, _BITS, out)].tobytes()


@kernel()
def _frame(data: Bytes, item: int, unit: int, price: int, table: Any, out: Bytes) -> int:
    """Write a frame, and return its length."""
    # Content size in four bytes, one segment, no checksum (3.1.1.1).
    pos = put(out, put(out, 0, 0xA0FD2FB528, 5), data.size, 4)
    last = pos
    for start in range(0, data.size, item):
        image = data[start : start + item]
        if start and item >= _REPEAT and _is_repeated(data, start, item):
            parts = -(-item // _BLOCK)
            for part in range(parts):
                last = pos
                pos = _repeat(out, pos, item, item * (part + 1) // parts - item * part // parts)
            continue
        begin = 0
        while begin < item:
            counts = _count(image[begin : begin + unit])
            end = _end_of_block(image, begin, unit, price, counts, table)
            last = pos
            pos = _block(image[begin:end], counts, out, pos)
            begin = end
    if not data.size:
        pos = put(out, pos, 0, 3)
    out[last] |= 1  # no block comes after it
    return pos


@kernel()
def _end_of_block(image: Bytes, begin: int, unit: int, price: int, counts: Any, table: Any) -> int:
    """Return where codes of these pixels do not suit any more; all are added to the counts."""
    end = min(begin + unit, image.size)
    bits = _bits(counts, table)
    while end < image.size and end + unit - begin <= _LARGEST:
        stop = min(end + unit, image.size)
        more = _count(image[end:stop])
        both = counts + more
        together = _bits(both, table)
        if together > bits + _bits(more, table) + price:
            break
        for value in range(256):
            counts[value] = both[value]
        bits, end = together, stop
    return end


@kernel()
def _bits(counts: Any, table: Any) -> int:
    """Return how many bits the best codes take, in fractions."""
    bits, total = np.int32(0), np.int32(0)
    for value in range(256):
        bits -= table[counts[value]]
        total += counts[value]
    return int(bits + table[total])


@kernel()
def _is_repeated(data: Bytes, start: int, item: int) -> bool:
    """Return whether an image equals the one before."""
    for begin in range(start, start + item, 256):
        end = min(begin + 256, start + item)
        image, before = data[begin:end], data[begin - item : end - item]
        different = np.uint8(0)
        for i in range(image.size):
            different |= image[i] ^ before[i]
        if different:
            return False
    return True


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
def _block(data: Bytes, counts: Any, out: Bytes, pos: int) -> int:
    """Write pixels as a block: a single value, codes, or as they are."""
    if counts[data[0]] == data.size:
        return put(out, pos, int(data[0]) << 24 | data.size << 3 | 1 << 1, 4)
    width = 10 if data.size < 1024 else 14 if data.size < 1 << 14 else 18
    begin, body = pos + 3, pos + 3 + (4 + 2 * width) // 8
    codes = np.zeros(256, np.uint64)  # each with its length in bits in the lowest byte
    bits = new_codes(counts, codes)
    end = put_table(codes, out, body)
    if not end or end - begin + bits // 8 + 16 >= data.size:
        put(out, pos, data.size << 3, 3)
        for i in range(data.size):
            out[begin + i] = data[i]
        return begin + data.size
    streams = 1 if data.size < _FOUR else 4
    end = _put_streams(data, streams, codes, out, end)
    head = 2 | (0 if streams == 1 else (width - 6) // 4) << 2
    put(out, begin, head | data.size << 4 | (end - body) << (4 + width), body - begin)
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
    return tables[0] + tables[1] + tables[2] + tables[3]


@kernel()
def _put_streams(data: Bytes, streams: int, codes: Any, out: Bytes, pos: int) -> int:
    """Write pixels in codes: one stream, or four after their lengths (3.1.1.3.1.6)."""
    if streams == 1:
        return _put_codes(data, codes, out, pos)
    lengths, pos = pos, pos + 6
    part = (data.size + 3) // 4
    for i in range(4):
        end = _put_codes(data[i * part : (i + 1) * part], codes, out, pos)
        if i < 3:
            lengths = put(out, lengths, end - pos, 2)
        pos = end
    return pos


@kernel()
def _put_codes(data: Bytes, codes: Any, out: Bytes, pos: int) -> int:
    """Write the codes of pixels from the last to the first, as they are read backwards."""
    acc, used, at = np.uint64(0), np.uint64(0), np.uint64(pos)
    i = np.uint64(data.size)  # numba need not ask of it whether it is negative
    for _ in range(data.size % 5):
        i -= np.uint64(1)
        acc |= (codes[data[i]] >> np.uint64(8)) << used
        used += codes[data[i]] & np.uint64(255)
    at, acc, used = put_word(out, at, acc, used)
    for _ in range(data.size // 5):
        for _ in range(5):  # 55 bits at most, and up to 7 that are left
            i -= np.uint64(1)
            acc |= (codes[data[i]] >> np.uint64(8)) << used
            used += codes[data[i]] & np.uint64(255)
        at, acc, used = put_word(out, at, acc, used)
    out[at] = np.uint8(acc | np.uint64(1) << used)
    return int(np.int64(at)) + 1
