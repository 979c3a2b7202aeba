"""Frames of Zstandard for masks, whose rows are like the rows above them.

Each byte is taken as equal to the one a row before, but for a few at the edges of
objects. Any reader of Zstandard reads that (RFC 8878, whose sections the numbers in
comments are).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .fse import first_state, new_states, next_state, put_states
from .huffman import literals_head, put_literals
from .jit import kernel
from .put_bits import Bytes, put, put_word
from .zstd_frame import BLOCK, begin_frame, end_of_equal

__all__ = ["pack_masks"]

#: The value of pixels of an object; that of others is 0.
_OBJECT = 255
#: Codes of one bit for both values, as `huffman.put_table` writes them.
_TABLE = 0x015400001FE106
#: So many bytes like those before are worth a repetition.
_SHORTEST = 10
#: Bits of a state.
_LOG = 8
#: A sequence is numbers of three kinds: of literals, the offset of what is repeated, and
#: its length. Each has a code, which is that of the numbers from here to the next one's
#: (3.1.1.3.2.1.1), and after it bits that say which of them it is.
_POWERS = 1 << np.arange(32)
_FROM = np.full((3, 54), 1 << 32)
_FROM[0, :37] = [*range(16), 16, 18, 20, 22, 24, 28, 32, 40, 48, *_POWERS[6:18]]
_FROM[1, :32] = _POWERS
_FROM[2] = [*range(32), 32, 34, 36, 38, 40, 44, 48, 56, 64, 80, 96, *_POWERS[7:18]]
#: The codes below are these numbers themselves.
_PLAIN = np.array([16, 0, 32])
_BITS = np.log2(np.maximum(1, np.diff(_FROM))).astype(np.int64)
#: The format subtracts it from lengths of repetitions, and adds it to offsets.
_THREE = 3


def pack_masks(masks: npt.NDArray[Any]) -> Bytes:
    """Return masks of single bytes as a frame of Zstandard; nothing if they are no masks.

    Parameters
    ----------
    masks
        Unsigned bytes of shape (n, height, width).

    Examples
    --------
    >>> import zstandard
    >>> masks = np.zeros((2, 40, 60), np.uint8)
    >>> masks[:, 10:30, 20:40] = 255
    >>> zstandard.decompress(pack_masks(masks)) == masks.tobytes()
    True
    """
    data: Any = np.ascontiguousarray(masks).reshape(-1).view(np.uint8)
    packed: Bytes = _frame(data, max(1, masks.shape[-1]))
    return packed


@kernel()
def _frame(data: Bytes, width: int) -> Any:
    """Return a frame; nothing if these are no masks."""
    literals = np.empty(data.size // 16, np.uint8)
    ends = np.zeros((-(-data.size // BLOCK) + 1, 2), np.int64)
    numbers = _split(data, width, literals, ends)
    if not len(numbers) or numbers[0, 2] < 0:
        return literals[:0]
    # A sequence takes at most 56 bits, and more once where the offset is said; a literal one bit.
    out = np.empty(1024 + 64 * len(ends) + 10 * len(numbers) + ends[-1, 1], np.uint8)
    codes = np.zeros(256, np.uint64)
    codes[0], codes[_OBJECT] = 1, 1 << 8 | 1  # the bits 0 and 1, each of length 1
    symbols = _symbols(numbers)
    tables = (_table(symbols[:, 0]), _table(symbols[:, 1]), _table(symbols[:, 2]))
    pos = last = begin_frame(out, data.size)
    for block in range(len(ends) - 1):
        (begin, literal), (end, to) = ends[block], ends[block + 1]
        end -= numbers[end - 1, 2] < 0  # the last literals are in no sequence
        last, pos = pos, pos + 3
        pos = _put_literals(literals[literal:to], codes, block == 0, out, pos)
        pos = _put_sequences(numbers[begin:end], symbols[begin:end], tables, block == 0, out, pos)
        size = pos - last - 3
        if size > min(BLOCK, data.size - block * BLOCK):
            return out[:0]
        put(out, last, size << 3 | 2 << 1, 3)
    out[last] |= 1  # no block comes after it
    return out[:pos]


@kernel()
def _split(data: Bytes, width: int, literals: Bytes, ends: Any) -> Any:
    """Return sequences of literals and what equals the row before; none if these are no masks.

    Each begins with a literal, since then the last offset is the first to be repeated
    (3.1.1.5). After the first one that is a row. `ends` says how many sequences and
    literals there are up to the end of each block.
    """
    numbers = np.empty((1024, 3), np.int32)  # few, since the system clears new memory
    at, count, total, offset, is_new = 0, 0, 0, 1, False
    for block in range(1, len(ends)):
        stop = min(data.size, block * BLOCK)
        while at < stop:
            begin, at = at, at + 1
            end = at
            while at < stop:
                if at < offset or data[at] != data[at - offset]:
                    at += 1
                    continue
                end = end_of_equal(data, at, stop, offset)
                if end - at >= _SHORTEST:
                    break
                at = end
            if total + at - begin > literals.size:
                return numbers[:0]
            for i in range(begin, at):
                if data[i] != 0 and data[i] != _OBJECT:
                    return numbers[:0]
                literals[total] = data[i]
                total += 1
            if count == len(numbers):
                numbers = _longer(numbers)
            numbers[count, 0] = at - begin
            numbers[count, 1] = 1
            numbers[count, 2] = end - at - _THREE
            if end > at:
                if is_new:
                    numbers[count, 1] = width + _THREE
                at, offset, is_new = end, width, count == 0
            count += 1
        ends[block, 0], ends[block, 1] = count, total
    return numbers[:count]


@kernel()
def _longer(numbers: Any) -> Any:
    """Return an array of twice the length, which begins like this one."""
    longer = np.empty((2 * len(numbers), 3), np.int32)
    longer[: len(numbers)] = numbers
    return longer


@kernel()
def _symbols(numbers: Any) -> Any:
    """Return the codes of all numbers."""
    symbols = np.zeros(numbers.shape, np.uint8)
    for i in range(len(numbers)):
        for kind in range(3):
            number = numbers[i, kind]
            symbol = min(max(number, 0), _PLAIN[kind])
            while _FROM[kind, symbol + 1] <= number:
                symbol += 1
            symbols[i, kind] = symbol
    return symbols


@kernel()
def _table(symbols: Any) -> Any:
    """Return the states for codes that occur so often."""
    counts = np.zeros(_BITS.shape[1], np.int64)
    for symbol in symbols:
        counts[symbol] += 1
    return new_states(counts, _LOG)


@kernel()
def _put_literals(literals: Bytes, codes: Any, is_first: bool, out: Bytes, pos: int) -> int:
    """Write the literals of a block, after the table of their codes in the first one."""
    head = literals_head(literals.size)
    body = pos + head
    end = put(out, body, _TABLE, 7) if is_first else body
    return put_literals(literals, codes, head, out, body, end)


@kernel()
def _put_sequences(
    numbers: Any, symbols: Any, tables: Any, is_first: bool, out: Bytes, pos: int
) -> int:
    """Write how many sequences there are, the tables in the first block, and numbers."""
    count = len(numbers)
    if count < 128:
        pos = put(out, pos, count, 1)
    else:
        pos = put(out, pos, (count >> 8) + 128 | (count & 255) << 8, 2)
    if not count:
        return pos
    pos = put(out, pos, 0b10101000 if is_first else 0b11111100, 1)
    if is_first:
        for table in tables:
            pos = put_states(table, _LOG, out, pos)
    return _put_numbers(numbers, symbols, tables, out, pos)


@kernel()
def _put_numbers(numbers: Any, symbols: Any, tables: Any, out: Bytes, pos: int) -> int:
    """Write sequences from the last to the first, as they are read backwards (3.1.1.3.2.2)."""
    acc, used, at = np.uint64(0), np.uint64(0), np.uint64(pos)
    last = len(numbers) - 1
    count = first_state(tables[0], symbols[last, 0])
    offset = first_state(tables[1], symbols[last, 1])
    length = first_state(tables[2], symbols[last, 2])
    for i in range(last, -1, -1):
        if i < last:
            offset, acc, used = next_state(tables[1], offset, symbols[i, 1], acc, used)
            length, acc, used = next_state(tables[2], length, symbols[i, 2], acc, used)
            count, acc, used = next_state(tables[0], count, symbols[i, 0], acc, used)
        for kind in (0, 2, 1):
            symbol = symbols[i, kind]
            acc |= np.uint64(numbers[i, kind] - _FROM[kind, symbol]) << used
            used += np.uint64(_BITS[kind, symbol])
            at, acc, used = put_word(out, at, acc, used)
    for state in (length, offset, count):
        acc |= np.uint64(state - (1 << _LOG)) << used
        used += np.uint64(_LOG)
    acc |= np.uint64(1) << used
    at, acc, used = put_word(out, at, acc, used)
    out[at] = np.uint8(acc)
    return int(np.int64(at)) + 1
