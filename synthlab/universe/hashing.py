"""Hash tables over fingerprints of two 61-bit keys: open addressing, whole keys compared, no false hits.

Keys stand in the table itself, so that a look-up costs one cache miss. They are stored plus one: a zero
marks an empty slot, and no key looks like it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic, overload

from synthlab.compiling import numba

_ONE = np.uint64(1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FILL = 0.6
_SHIFT = np.uint64(32)
_PREFIX_SHIFT = np.uint64(29)


@numba.njit(cache=True, nogil=True, inline="always")
def _slot_of(first, second, mask):
    return ((first ^ (second * _GOLDEN)) * _GOLDEN >> _SHIFT) & mask


@intrinsic
def _prefetch_row(typing_context: Any, array: Any, row: Any) -> Any:
    """LLVM's prefetch for writing, for a row of a matrix with two columns."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [builder.shl(arguments[1], arguments[1].type(1))]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, word(1), word(3), word(1)])
        return context.get_dummy_value()

    return numba.types.void(array, row), generate


def _prefetch(array, row):
    """Ask for a row ahead of its use; nothing where compilation is switched off."""


@overload(_prefetch, inline="always")
def _compiled_prefetch(array, row):
    return lambda array, row: _prefetch_row(array, row)


@numba.njit(cache=True, nogil=True)
def insert_keys(keys, num, slots, undefined, partition, num_partitions, fresh):
    """Add the first `num` keys (B, 2); writes the rows of new ones to `fresh` and returns how many they are.

    Keys equal to `undefined`, and those of other partitions, are passed over. A partition is a range of
    the leading 32 bits of a key.
    """
    mask, count, kept = np.uint64(len(slots) - 1), 0, 0
    for row in range(num):
        first, second = keys[row, 0], keys[row, 1]
        if first == undefined:
            continue
        if num_partitions > 1 and ((first >> _PREFIX_SHIFT) * num_partitions) >> _SHIFT != partition:
            continue
        _prefetch(slots, _slot_of(first, second, mask))
        fresh[kept] = row  # overwritten below, never before it is read
        kept += 1
    for k in range(kept):
        row = fresh[k]
        first, second = keys[row, 0], keys[row, 1]
        slot = _slot_of(first, second, mask)
        while True:
            held = slots[slot, 0]
            if held == 0:
                slots[slot, 0], slots[slot, 1] = first + _ONE, second
                fresh[count] = row
                count += 1
                break
            if held == first + _ONE and slots[slot, 1] == second:
                break
            slot = (slot + _ONE) & mask
    return count


@numba.njit(cache=True, nogil=True)
def _move(old, slots):
    mask = np.uint64(len(slots) - 1)
    for k in range(len(old)):
        if old[k, 0] == 0:
            continue
        slot = _slot_of(old[k, 0] - _ONE, old[k, 1], mask)
        while slots[slot, 0] != 0:
            slot = (slot + _ONE) & mask
        slots[slot, 0], slots[slot, 1] = old[k, 0], old[k, 1]


@numba.njit(cache=True, nogil=True)
def _place(keys, slots, rows):
    mask = np.uint64(len(slots) - 1)
    for row in range(len(keys)):
        slot = _slot_of(keys[row, 0], keys[row, 1], mask)
        while slots[slot, 0] != 0:
            slot = (slot + _ONE) & mask
        slots[slot, 0], slots[slot, 1], rows[slot] = keys[row, 0] + _ONE, keys[row, 1], row


@numba.njit(cache=True, nogil=True)
def _find(queries, slots, rows, found):
    mask = np.uint64(len(slots) - 1)
    for row in range(len(queries)):
        first, second = queries[row, 0], queries[row, 1]
        slot = _slot_of(first, second, mask)
        while slots[slot, 0] != 0 and not (slots[slot, 0] == first + _ONE and slots[slot, 1] == second):
            slot = (slot + _ONE) & mask
        found[row] = rows[slot] if slots[slot, 0] != 0 else -1


def num_slots(num_keys: int) -> int:
    """Slots of a table for so many keys, a power of two."""
    return 1 << max(10, int(num_keys / _FILL).bit_length())


def empty_slots(num: int) -> np.ndarray:
    """Zeroed slots; not `np.zeros`, whose memory Linux does not give in huge pages."""
    slots = np.empty((num, 2), dtype=np.uint64)
    slots[:] = 0
    return slots


class KeySet:
    """A growing set of keys, of one partition of all.

    Parameters
    ----------
    expected
        How many keys to make room for; more only cost time.
    partition, num_partitions
        Which range of leading key bits is kept.
    """

    def __init__(self, expected: int, partition: int = 0, num_partitions: int = 1) -> None:
        self.slots = empty_slots(num_slots(expected))
        self.count = 0
        self._partition = np.uint64(partition), np.uint64(num_partitions)

    def insert(self, keys: np.ndarray, num: int, undefined: np.uint64, fresh: np.ndarray) -> int:
        """Add keys (B, 2) up to row `num`; the rows of new ones go to `fresh`, in order. Returns their number."""
        if self.count + num > len(self.slots) * _FILL:
            larger = empty_slots(num_slots(2 * (self.count + num)))
            _move(self.slots, larger)
            self.slots = larger
        count = insert_keys(keys, num, self.slots, undefined, *self._partition, fresh)
        self.count += count
        return count


@numba.njit(cache=True, nogil=True)
def _number(keys, slots, rows, undefined, count, numbers, first):
    """Number keys by their first appearance; writes the rows of new ones to `first`. Returns the new count."""
    mask, known = np.uint64(len(slots) - 1), count
    for row in range(len(keys)):
        if keys[row, 0] == undefined:
            numbers[row] = -1
            continue
        slot = _slot_of(keys[row, 0], keys[row, 1], mask)
        while slots[slot, 0] != 0 and not (slots[slot, 0] == keys[row, 0] + _ONE and slots[slot, 1] == keys[row, 1]):
            slot = (slot + _ONE) & mask
        if slots[slot, 0] == 0:
            slots[slot, 0], slots[slot, 1], rows[slot] = keys[row, 0] + _ONE, keys[row, 1], count
            first[count - known] = row
            count += 1
        numbers[row] = rows[slot]
    return count


class KeyNumbers:
    """Numbers keys 0, 1, 2, ... in the order in which they first appear."""

    def __init__(self) -> None:
        self.slots, self.rows = empty_slots(num_slots(0)), np.zeros(num_slots(0), dtype=np.int64)
        self.count = 0

    def number(self, keys: np.ndarray, undefined: np.uint64) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of keys (P, 2), int64 (P,), -1 for undefined ones; and the rows of those that are new."""
        if self.count + len(keys) > len(self.slots) * _FILL:
            self._grow(2 * (self.count + len(keys)))
        numbers, first = np.empty(len(keys), dtype=np.int64), np.empty(len(keys), dtype=np.int64)
        count = _number(keys, self.slots, self.rows, undefined, self.count, numbers, first)
        first, self.count = first[: count - self.count], count
        return numbers, first

    def _grow(self, num_keys: int) -> None:
        held = np.flatnonzero(self.slots[:, 0])
        keys = self.slots[held] - np.array([1, 0], dtype=np.uint64)
        order = np.argsort(self.rows[held])
        self.slots = empty_slots(num_slots(num_keys))
        self.rows = np.zeros(len(self.slots), dtype=np.int64)
        _place(np.ascontiguousarray(keys[order]), self.slots, self.rows)


class HashIndex:
    """Rows of distinct keys (C, 2)."""

    def __init__(self, keys: np.ndarray) -> None:
        self.slots = empty_slots(num_slots(len(keys)))
        self.rows = np.zeros(len(self.slots), dtype=np.int64)
        _place(np.ascontiguousarray(keys), self.slots, self.rows)

    def find(self, queries: np.ndarray) -> np.ndarray:
        """Row of every queried key (P, 2), int64 (P,); -1 where there is none."""
        found = np.empty(len(queries), dtype=np.int64)
        _find(np.ascontiguousarray(queries), self.slots, self.rows, found)
        return found
