"""Huffman codes made for counts of values, and what Zstandard writes by them.

Numbers in comments are sections of RFC 8878.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .fse import first_state, new_states, next_state, put_states
from .jit import kernel
from .put_bits import Bytes, put, put_word

__all__ = ["literals_head", "new_codes", "put_literals", "put_table"]

#: Bits of the longest code (4.2.1), and of a state when code lengths are packed (4.1).
_LONGEST, _STATES = 11, 6
#: Values that occur less often are sorted by counting.
_BINS = 96
#: Fewer values are one stream of codes, others four (3.1.1.3.1.1).
_FOUR = 256


@kernel()
def new_codes(counts: Any, codes: Any) -> int:
    """Make the codes of values that occur so often; return the bits of all."""
    order = _in_order(counts)
    numbers = _code_lengths(order)
    bits, i = 0, 0
    for length in range(_LONGEST, 0, -1):  # the rarest values come first
        for _ in range(numbers[length]):
            codes[order[i] & 255] = length
            bits += length * (order[i] >> 8)
            i += 1
    starts, start = np.zeros(_LONGEST + 1, np.uint64), 0
    for length in range(_LONGEST, 0, -1):
        starts[length] = start
        start = (start + numbers[length]) >> 1
    for value in range(256):
        length = int(np.int64(codes[value]))
        if length:
            codes[value] |= starts[length] << np.uint64(8)
            starts[length] += np.uint64(1)
    return bits


@kernel()
def _in_order(counts: Any) -> Any:
    """Return the values that occur, in the lowest byte, and above it their counts, sorted."""
    low, high = 0, 255
    while counts[low] == 0:
        low += 1
    while counts[high] == 0:
        high -= 1
    keys = np.empty(high - low + 1, np.int64)
    ends = np.zeros(_BINS + 1, np.int64)
    for value in range(low, high + 1):
        ends[min(int(counts[value]), _BINS)] += 1
    absent = ends[0]
    for count in range(1, _BINS + 1):
        ends[count] += ends[count - 1]
    for value in range(high, low - 1, -1):
        count = min(int(counts[value]), _BINS)
        ends[count] -= 1
        keys[ends[count]] = np.int64(counts[value]) << 8 | value
    for i in range(ends[_BINS] + 1, keys.size):  # those that occur more often, which are few
        key, j = keys[i], i
        while j > ends[_BINS] and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key
    return keys[absent:]


@kernel()
def _code_lengths(order: Any) -> Any:
    """Return how many codes have each length, by Huffman's method, for values in order."""
    leaves = order.size
    weights = np.empty(2 * leaves - 1, np.int64)
    above = np.zeros(2 * leaves - 1, np.int64)
    for i in range(leaves):
        weights[i] = order[i] >> 8
    leaf, node = 0, leaves
    for new in range(leaves, 2 * leaves - 1):
        weights[new] = 0
        for _ in range(2):  # the two smallest
            if leaf < leaves and (node == new or weights[leaf] <= weights[node]):
                least, leaf = leaf, leaf + 1
            else:
                least, node = node, node + 1
            weights[new] += weights[least]
            above[least] = new
    numbers = np.zeros(_LONGEST + 2, np.int64)
    above[2 * leaves - 2] = 0
    for i in range(2 * leaves - 3, -1, -1):  # from here on the depth
        above[i] = above[above[i]] + 1
        if i < leaves:
            numbers[min(_LONGEST, above[i])] += 1
    _shorten(numbers)
    return numbers


@kernel()
def _shorten(numbers: Any) -> None:
    """Change numbers of lengths until such codes exist, and none is left over."""
    total = 0
    for length in range(1, _LONGEST + 1):
        total += numbers[length] << (_LONGEST - length)
    while total > 1 << _LONGEST:
        length = _LONGEST - 1
        while not numbers[length]:
            length -= 1
        numbers[length] -= 1
        numbers[length + 1] += 1
        total -= 1 << (_LONGEST - 1 - length)
    while total < 1 << _LONGEST:
        length = _LONGEST
        while not numbers[length] or total + (1 << (_LONGEST - length)) > 1 << _LONGEST:
            length -= 1
        numbers[length] -= 1
        numbers[length - 1] += 1
        total += 1 << (_LONGEST - length)


@kernel()
def put_table(codes: Any, out: Bytes, pos: int) -> int:
    """Write the lengths of all codes as weights (4.2.1); return 0 if they cannot be written."""
    last = 255
    while codes[last] == 0:
        last -= 1
    longest = 0
    for code in codes:
        longest = max(longest, int(np.int64(code & np.uint64(255))))
    weights = np.zeros(last + last % 2, np.int64)  # that of the last value follows from the others
    for value in range(last):
        if codes[value]:
            weights[value] = longest + 1 - np.int64(codes[value] & np.uint64(255))
    plain = pos + 1 + weights.size // 2
    end = _put_weights(weights[:last], out, pos + 1) if last > 4 else 0
    if end and end - pos <= 128 and (last > 128 or end < plain):
        out[pos] = end - pos - 1
        return end
    if last > 128:
        return 0
    out[pos] = 127 + last
    for i in range(0, last, 2):
        out[pos + 1 + i // 2] = weights[i] << 4 | weights[i + 1]
    return plain


@kernel()
def _put_weights(weights: Any, out: Bytes, pos: int) -> int:
    """Write weights packed by finite state entropy (4.2.1.2)."""
    counts = np.zeros(_LONGEST + 2, np.int64)
    for weight in weights:
        counts[weight] += 1
    table = new_states(counts, _STATES)
    pos = put_states(table, _STATES, out, pos)
    # Two states take turns, from the last weight to the first.
    acc, used, at = np.uint64(0), np.uint64(0), np.uint64(pos)
    one, other = first_state(table, weights[-1]), first_state(table, weights[-2])
    for i in range(weights.size - 3, -1, -1):
        state, acc, used = next_state(table, one, weights[i], acc, used)
        one, other = other, state
        if used > 32:
            at, acc, used = put_word(out, at, acc, used)
    size = 1 << _STATES
    acc |= np.uint64(one - size) << used
    acc |= np.uint64(other - size) << used + np.uint64(_STATES)
    used += np.uint64(2 * _STATES)
    acc |= np.uint64(1) << used
    at, acc, used = put_word(out, at, acc, used)
    out[at] = np.uint8(acc)
    return int(np.int64(at)) + 1


@kernel()
def literals_head(most: int) -> int:
    """Return how many bytes the head has, before and in codes at most so many (3.1.1.3.1.1)."""
    return 3 if most < 1 << 10 else 4 if most < 1 << 14 else 5


@kernel()
def put_literals(data: Bytes, codes: Any, head: int, out: Bytes, body: int, end: int) -> int:
    """Write a head, and values in codes, whose table is from `body` to `end`, or the last one."""
    streams = 1 if data.size < _FOUR else 4
    kind = 2 if end > body else 3
    end = _put_streams(data, streams, codes, out, end)
    kind |= (0 if streams == 1 else head - 2) << 2
    sizes = data.size | (end - body) << (4 * head - 2)
    put(out, body - head, kind | sizes << 4, head)
    return end


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
