"""Huffman codes made for counts of values, and their table as Zstandard writes it.

Numbers in comments are sections of RFC 8878.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel
from .put_bits import Bytes, put, put_word

__all__ = ["new_codes", "put_table"]

#: Bits of the longest code (4.2.1), and of a state when code lengths are packed (4.1).
_LONGEST, _STATES = 11, 6
#: Values that occur less often are sorted by counting.
_BINS = 96


@kernel()
def new_codes(counts: Any, codes: Any) -> int:
    """Make the codes of values that occur so often; return the bits of all."""
    order = _in_order(counts)
    numbers = _code_lengths(order >> 8)
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
def _code_lengths(counts: Any) -> Any:
    """Return how many codes have each length, by Huffman's method, from sorted counts."""
    leaves = counts.size
    weights = np.empty(2 * leaves - 1, np.int64)
    above = np.zeros(2 * leaves - 1, np.int64)
    for i in range(leaves):
        weights[i] = counts[i]
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
    """Write weights packed by finite state entropy (4.1)."""
    norms = _norms(weights)
    pos = _put_norms(norms, out, pos)
    size = 1 << _STATES
    # Each symbol gets its states, spread over the table.
    spread, place = np.zeros(size, np.int64), 0
    for symbol in range(norms.size):
        for _ in range(norms[symbol]):
            spread[place] = symbol
            place = (place + (size >> 1) + (size >> 3) + 3) & (size - 1)
    ends = norms.copy()
    for symbol in range(1, norms.size):
        ends[symbol] += ends[symbol - 1]
    states, filled = np.zeros(size, np.int64), ends - norms
    for state in range(size):
        states[filled[spread[state]]] = size + state
        filled[spread[state]] += 1
    # A state writes down its lowest bits, as many as make it one of those of a weight.
    shifts = np.zeros(norms.size, np.int64)
    for symbol in range(norms.size):
        most = _STATES
        while norms[symbol] - 1 >> (_STATES - most + 1) > 0:
            most -= 1
        shifts[symbol] = (most << 16) - (norms[symbol] << most)
    # Two states take turns, from the last weight to the first.
    acc, used, at = np.uint64(0), np.uint64(0), np.uint64(pos)
    one = states[ends[weights[-1]] - norms[weights[-1]]]
    other = states[ends[weights[-2]] - norms[weights[-2]]]
    for i in range(weights.size - 3, -1, -1):
        weight = weights[i]
        count = (one + shifts[weight]) >> 16
        acc |= np.uint64(one & ((1 << count) - 1)) << used
        used += np.uint64(count)
        one, other = other, states[ends[weight] - 2 * norms[weight] + (one >> count)]
        if used > 32:
            at, acc, used = put_word(out, at, acc, used)
    acc |= np.uint64(one - size) << used
    acc |= np.uint64(other - size) << used + np.uint64(_STATES)
    used += np.uint64(2 * _STATES)
    acc |= np.uint64(1) << used
    at, acc, used = put_word(out, at, acc, used)
    out[at] = np.uint8(acc)
    return int(np.int64(at)) + 1


@kernel()
def _norms(weights: Any) -> Any:
    """Return how many states each weight gets, at least one if it occurs."""
    counts = np.zeros(_LONGEST + 2, np.int64)
    for weight in weights:
        counts[weight] += 1
    norms = np.zeros(_LONGEST + 2, np.int64)
    left, most = 1 << _STATES, 0
    for weight in range(counts.size):
        if counts[weight]:
            norms[weight] = max(1, (counts[weight] << _STATES) // weights.size)
            left -= norms[weight]
        if counts[weight] > counts[most]:
            most = weight
    if norms[most] == 1 << _STATES:
        norms[0 if most else 1] = 1  # a table of one weight alone does not exist
        left -= 1
    norms[most] += left
    return norms


@kernel()
def _put_norms(norms: Any, out: Bytes, pos: int) -> int:
    """Write how many states each weight gets, in as few bits as what is left needs (4.1.1)."""
    acc, used = _STATES - 5, 4
    left, symbol = (1 << _STATES) + 1, 0
    while left > 1:
        limit, width = 1 << _STATES, _STATES + 1
        while left < limit:
            limit >>= 1
            width -= 1
        spare = 2 * limit - 1 - left
        value = norms[symbol] + 1
        left -= norms[symbol]
        if value >= limit:
            value += spare
        acc |= value << used
        used += width - (value < spare)
        symbol += 1
        if value == 1:  # the next ones that are zero, three at a time
            zeros = 0
            while norms[symbol + zeros] == 0:
                zeros += 1
            symbol += zeros
            while zeros >= 3:
                acc |= 3 << used
                used += 2
                zeros -= 3
            acc |= zeros << used
            used += 2
        while used >= 8:
            pos = put(out, pos, acc & 255, 1)
            acc >>= 8
            used -= 8
    return put(out, pos, acc, 1) if used else pos
