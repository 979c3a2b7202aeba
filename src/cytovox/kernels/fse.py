"""Finite state entropy: codes of fractions of a bit, and their tables as Zstandard writes them.

A table has 2 ** log states, of which each symbol gets a share like its share of all
symbols. Numbers in comments are sections of RFC 8878.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel
from .put_bits import Bytes, put

__all__ = ["first_state", "largest", "new_states", "next_state", "put_states"]


@kernel()
def new_states(counts: Any, log: int) -> Any:
    """Return the table of symbols that occur so often: norms, states, shifts and offsets."""
    norms = _norms(counts, log)
    size = 1 << log
    # Each symbol gets its states, spread over the table (4.1.1).
    spread, place = np.zeros(size, np.int64), 0
    for symbol in range(norms.size):
        for _ in range(norms[symbol]):
            spread[place] = symbol
            place = (place + (size >> 1) + (size >> 3) + 3) & (size - 1)
    firsts, first = np.zeros(norms.size, np.int64), 0
    for symbol in range(norms.size):
        firsts[symbol] = first
        first += norms[symbol]
    states = np.zeros(size, np.int64)
    for state in range(size):
        states[firsts[spread[state]]] = size + state
        firsts[spread[state]] += 1
    # A state writes down its lowest bits, as many as make it one of those of a symbol.
    shifts, offsets = np.zeros(norms.size, np.int64), np.zeros(norms.size, np.int64)
    for symbol in range(norms.size):
        most = log
        while norms[symbol] - 1 >> (log - most + 1) > 0:
            most -= 1
        shifts[symbol] = (most << 16) - (norms[symbol] << most)
        offsets[symbol] = firsts[symbol] - 2 * norms[symbol]
    return norms, states, shifts, offsets


@kernel()
def first_state(table: Any, symbol: int) -> int:
    """Return a state of the symbol that is read last."""
    norms, states, _, offsets = table
    return int(states[offsets[symbol] + norms[symbol]])


@kernel()
def next_state(table: Any, state: int, symbol: int, acc: Any, used: Any) -> Any:
    """Add the bits that lead to a state from one of the symbol; return that one, and the bits."""
    _, states, shifts, offsets = table
    count = (state + shifts[symbol]) >> 16
    acc |= np.uint64(state & ((1 << count) - 1)) << used
    return states[offsets[symbol] + (state >> count)], acc, used + np.uint64(count)


@kernel()
def _norms(counts: Any, log: int) -> Any:
    """Return how many states each symbol gets, at least one if it occurs."""
    norms = np.zeros(counts.size, np.int64)
    total, left = 0, 1 << log
    for count in counts:
        total += count
    for symbol in range(counts.size):
        if counts[symbol]:
            norms[symbol] = max(1, (counts[symbol] * (2 << log) + total) // (2 * total))
            left -= norms[symbol]
    most = largest(norms)
    if norms[most] == 1 << log and not left:
        norms[0 if most else 1] = 1  # a table of one symbol alone does not exist
        left -= 1
    step = 1 if left > 0 else -1
    for _ in range(abs(left)):
        norms[largest(norms)] += step
    return norms


@kernel()
def largest(numbers: Any) -> int:
    """Return the place of the largest number; that of NumPy would load SciPy in each process."""
    at = 0
    for i in range(numbers.size):
        if numbers[i] > numbers[at]:
            at = i
    return at


@kernel()
def put_states(table: Any, log: int, out: Bytes, pos: int) -> int:
    """Write how many states each symbol gets, in as few bits as what is left needs (4.1.1)."""
    norms = table[0]
    acc, used = log - 5, 4
    left, symbol = (1 << log) + 1, 0
    while left > 1:
        limit, width = 1 << log, log + 1
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
