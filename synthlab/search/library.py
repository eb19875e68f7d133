"""All functions up to a size, indexed so that "which program has these outputs?" costs one look-up.

Outputs on the grid are residues modulo 2^61 - 1. Two homomorphic hashes index them, so that the hash of what
is missing follows from those of the target and of a part in one operation:

- additive: a random linear combination of the outputs; h(t - a) = h(t) - h(a).
- multiplicative: a product of random powers of outputs that are not zero; m(t / a) = m(t) / m(a).

Either is taken over some of the points only: those where the wanted values are known, and for products points at
which the target is not zero, so that no factor of it is. Unequal functions share a hash with a probability
of about 2^-61 (additive; Schwartz 1980) or 2^-16 where they differ by powers of one prime (multiplicative), and
hits are compared on the whole grid before they count.
"""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language import tracing
from synthlab.language.grammar import Grammar
from synthlab.language.identity import identity_algebra, observation_algebra
from synthlab.language.interpreter import Algebra, evaluate
from synthlab.language.machine import code_table
from synthlab.language.residues import PRIME, batch_inverse, combine, mulmod, reduce_once
from synthlab.search.budget import Cost
from synthlab.universe.enumeration import enumerate_functions
from synthlab.universe.functions import FunctionTable
from synthlab.universe.planning import Limits, require_functions

_P = np.uint64(PRIME)
_ONE = np.uint64(1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_POWER_BITS = 16
_FACTORS = 5
"""Points that a multiplicative hash reads: an odd number, so that a function and its negative differ."""
_NUM_KEPT, _MOST_BYTES = 64, 2 << 30
"""Indexes kept in memory."""
_MOST_ALIKE = 512
"""Rows kept of one hash, the smallest functions: over few points many functions are alike."""
_SEED = 20260815
_INDEX_BYTES = 100
"""Memory per function of its hash in an index of up to four slots a function."""


@dataclass(frozen=True, eq=False)
class Index:
    """Rows by hash; several rows may share one.

    Attributes
    ----------
    keys
        Hash of every row (C,), uint64; 2^61 - 1 for rows that cannot be looked up.
    inverses
        Inverses of multiplicative hashes (C,); empty for additive ones.
    slots, rows
        Open-addressing table: hash plus one, 0 for an empty slot, and the row it stands for.
    bits
        One bit per hash, so that most misses cost no look into the table.
    """

    keys: np.ndarray
    inverses: np.ndarray
    slots: np.ndarray
    rows: np.ndarray
    bits: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray, inverses: np.ndarray | None = None) -> Self:
        """Index of hashes."""
        power = max(10, int(2 * len(keys)).bit_length())
        slots, rows = np.zeros(1 << power, dtype=np.uint64), np.zeros(1 << power, dtype=np.int32)
        bits = np.zeros(1 << max(4, power - 2), dtype=np.uint64)  # 16 bits a slot
        _insert(keys, slots, rows, bits)
        return cls(keys, np.empty(0, dtype=np.uint64) if inverses is None else inverses, slots, rows, bits)

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a compiled look-up reads."""
        return self.slots, self.rows, self.bits

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return sum(a.nbytes for a in (self.keys, self.inverses, self.slots, self.rows, self.bits))


@numba.njit(cache=True, nogil=True, inline="always")
def spread(key):
    """A hash of a hash: its leading bits choose the slot, later ones the bit."""
    return (key ^ (key >> np.uint64(29))) * _GOLDEN


@numba.njit(cache=True, nogil=True, inline="always")
def slot_of(mixed, slots):
    """First slot to look at."""
    return (mixed >> np.uint64(20)) & np.uint64(len(slots) - 1)


@numba.njit(cache=True, nogil=True, inline="always")
def may_hold(mixed, bits):
    """Whether the bit of a hash is set."""
    place = mixed >> np.uint64(14)
    return (bits[(place >> np.uint64(6)) & np.uint64(len(bits) - 1)] >> (place & np.uint64(63))) & _ONE


@numba.njit(cache=True, nogil=True)
def _insert(keys, slots, rows, bits):
    for row in range(len(keys)):
        if keys[row] >= _P:
            continue
        mixed = spread(keys[row])
        place = mixed >> np.uint64(14)
        bits[(place >> np.uint64(6)) & np.uint64(len(bits) - 1)] |= _ONE << (place & np.uint64(63))
        slot, alike = slot_of(mixed, slots), 0
        while slots[slot] != 0 and alike < _MOST_ALIKE:
            alike += slots[slot] == keys[row] + _ONE
            slot = (slot + _ONE) & np.uint64(len(slots) - 1)
        if alike < _MOST_ALIKE:
            slots[slot], rows[slot] = keys[row] + _ONE, row


@dataclass(frozen=True, eq=False)
class Library:
    """Functions up to a size with their outputs and indexes.

    Attributes
    ----------
    table
        Their minimal programs, by (size, text).
    codes
        Outputs on the grid, modulo 2^61 - 1 (C, G); 2^61 - 1 where there is none.
    usable
        Whether a function's minimal program has a value at every point (C,); others are never parts of an answer.
    cost
        What building took.
    kinds
        Instruction of every operator that can be undone (`tracing`), by token; -1 for others.
    """

    table: FunctionTable
    codes: np.ndarray
    usable: np.ndarray
    cost: Cost
    kinds: np.ndarray
    _indexes: OrderedDict[tuple[bool, bytes], Index] = field(default_factory=OrderedDict)

    @classmethod
    def build(cls, grammar: Grammar, max_size: int, measure: str = "leaves", *, limits: Limits | None = None) -> Self:
        """Enumerate all functions up to a size and their outputs.

        Parameters
        ----------
        grammar, max_size, measure
            The functions.
        limits
            What the work may take; by default 80 % of the free memory.

        Raises
        ------
        ConfigurationError
            For grammars whose outputs are compared as rounded floats: differences of those are not exact.
        BudgetExceeded
            Before the work, if the predicted functions and their outputs would not fit.
        """
        require_residues(grammar)
        row_bytes = (8 if grammar.exact else 24) * len(grammar.grid.points) + _INDEX_BYTES
        require_functions(grammar, max_size, measure, row_bytes=row_bytes, limits=limits)
        start = time.perf_counter()
        table = enumerate_functions(grammar, identity_algebra(grammar), max_size, measure)
        codes = _codes(table, observation_algebra(grammar))
        usable = np.asarray((codes < _P).all(axis=1))
        library = cls(table, codes, usable, Cost(), undoable(grammar))
        library.additive(np.ones(codes.shape[1], dtype=bool))
        cost = Cost(seconds=time.perf_counter() - start, programs=table.executed)
        return cls(table, codes, usable, cost, library.kinds, library._indexes)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def grammar(self) -> Grammar:
        """The language."""
        return self.table.grammar

    @property
    def max_size(self) -> int:
        """Size of the largest functions."""
        return int(self.table.sizes[-1])

    def num_up_to(self, size: int) -> int:
        """Number of functions of at most so large a size: they come first."""
        return int(self._ends[min(size, len(self._ends) - 1)])

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.bincount(self.table.sizes).cumsum()

    @cached_property
    def point_order(self) -> np.ndarray:
        """Points of the grid (G,), those first at which the fewest functions are zero."""
        return np.argsort((self.codes[self.usable] == 0).sum(axis=0), kind="stable")

    def additive(self, points: np.ndarray) -> Index:
        """Index by a linear combination of the outputs at some points, given as a mask (G,)."""
        return self._index(False, points)

    def multiplicative(self, points: np.ndarray) -> Index:
        """Index by a product of powers of the outputs at some points (mask), of rows without a zero there."""
        return self._index(True, points)

    def _index(self, multiplicative: bool, points: np.ndarray) -> Index:
        name = multiplicative, points.tobytes()
        if name in self._indexes:
            self._indexes.move_to_end(name)
            return self._indexes[name]
        if multiplicative:
            keys = product_keys(self.codes, self.usable, np.flatnonzero(points))
            inverses = np.empty_like(keys)
            batch_inverse(keys, inverses)
            index = Index.of(keys, inverses)
        else:
            index = Index.of(sum_keys(self.codes, self.usable, points))
        self._indexes[name] = index
        while len(self._indexes) > _NUM_KEPT or (
            len(self._indexes) > 2 and sum(i.num_bytes for i in self._indexes.values()) > _MOST_BYTES
        ):
            self._indexes.popitem(last=False)
        return index


def require_residues(grammar: Grammar) -> None:
    """Refuse grammars whose outputs are no residues: libraries need exact differences and quotients."""
    if not grammar.exact and not grammar.integral:
        raise ConfigurationError(
            f"{grammar.name!r} is compared on rounded floats: libraries need exact outputs; search by enumeration"
        )


def undoable(grammar: Grammar) -> np.ndarray:
    """Instruction of every token whose operator is one of + - * / or a sign, (V,); -1 for all others."""
    table = code_table(grammar, "field_code" if grammar.exact else "code")
    kinds = np.full(len(grammar.tokens), -1) if table is None else table.simple.copy()
    known = [tracing.ADD, tracing.SUBTRACT, tracing.MULTIPLY, tracing.NEGATE]
    if grammar.exact:
        known.append(tracing.DIVIDE)  # whole numbers do not divide as residues do
    fits = grammar.arities == np.where(kinds == tracing.NEGATE, 1, 2)  # a square is a product of one operand
    return np.where(np.isin(kinds, known) & fits, kinds, -1)


# ---------------------------------------------------------------- outputs


def _codes(table: FunctionTable, algebra: Algebra) -> np.ndarray:
    """Outputs of all rows (C, G) as residues, each from those of its operands where the operators allow it."""
    grammar = table.grammar
    simple = None if table.texts is not None or not grammar.exact else algebra.table
    if simple is None or (simple.simple[grammar.num_terminals :] < 0).any():
        return algebra.codes(evaluate(grammar, table.text(), algebra))
    codes = np.empty((len(table), algebra.terminals.shape[1]), dtype=np.uint64)
    _fill_codes(table.tokens, table.operands, grammar.arities, simple.simple, algebra.terminals, codes)
    return codes


@numba.njit(cache=True, nogil=True)
def _fill_codes(tokens, operands, arities, kinds, terminals, codes):
    inverses = np.empty(codes.shape[1], dtype=np.uint64)
    for row in range(len(tokens)):
        token = tokens[row]
        if arities[token] == 0:
            codes[row] = terminals[token]
            continue
        a, b, kind = operands[row, 0], operands[row, arities[token] - 1], kinds[token]
        if kind == tracing.DIVIDE:
            batch_inverse(codes[b], inverses)
            for g in range(codes.shape[1]):
                missing = codes[a, g] >= _P or inverses[g] >= _P
                codes[row, g] = _P if missing else mulmod(codes[a, g], inverses[g])
        else:
            for g in range(codes.shape[1]):
                codes[row, g] = combine(kind, codes[a, g], codes[b, g])


# ---------------------------------------------------------------- hashes


@functools.lru_cache(maxsize=16)
def weights(num_points: int) -> np.ndarray:
    """Random factors of the additive hash (G,)."""
    return np.random.Generator(np.random.PCG64(_SEED)).integers(1, PRIME, size=num_points, dtype=np.uint64)


@functools.lru_cache(maxsize=16)
def exponents(num_points: int) -> np.ndarray:
    """Random odd exponents of the multiplicative hash (G,); their sum over an odd number of points is odd."""
    draws = np.random.Generator(np.random.PCG64(_SEED + 1)).integers(1, 1 << _POWER_BITS, num_points, dtype=np.uint64)
    return draws | _ONE


def sum_keys(codes: np.ndarray, usable: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Additive hashes (C,) of outputs (C, G) over the points of a mask."""
    keys = np.empty(len(codes), dtype=np.uint64)
    _sum_keys(codes, usable, np.where(points, weights(codes.shape[1]), 0).astype(np.uint64), keys)
    return keys


@numba.njit(cache=True, nogil=True)
def _sum_keys(codes, usable, factors, keys):
    for row in range(len(codes)):
        total = np.uint64(0)
        if not usable[row]:
            keys[row] = _P
            continue
        for g in range(codes.shape[1]):
            if factors[g]:
                total = reduce_once(total + mulmod(codes[row, g], factors[g]))
        keys[row] = total


def product_keys(codes: np.ndarray, usable: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Multiplicative hashes (C,) of outputs (C, G) at numbered points; 2^61 - 1 for rows that are zero at one."""
    keys = np.empty(len(codes), dtype=np.uint64)
    _product_keys(codes, usable, points, exponents(codes.shape[1]), keys)
    return keys


@numba.njit(cache=True, nogil=True)
def _product_keys(codes, usable, points, powers, keys):
    for row in range(len(codes)):
        keys[row] = _P
        nonzero = usable[row]
        for k in range(len(points)):
            nonzero = nonzero and codes[row, points[k]] != 0
        if not nonzero:
            continue
        total = _ONE
        for bit in range(_POWER_BITS - 1, -1, -1):  # all powers at once (Straus 1964)
            total = mulmod(total, total)
            for k in range(len(points)):
                if (powers[points[k]] >> np.uint64(bit)) & _ONE:
                    total = mulmod(total, codes[row, points[k]])
        keys[row] = total


def product_points(codes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Points (mask) that the multiplicative hash of a target (G,) reads: few, without a zero, and often the same.

    Points are numbered in an order (G,), those that are seldom zero first. They are cut into blocks; the first block
    without a zero or a gap serves, else the first points so, so that few indexes serve most targets.
    """
    fit = (codes[order] != 0) & (codes[order] < _P)
    chosen = order[fit][:_FACTORS]
    chosen = chosen[: len(chosen) - (len(chosen) % 2 == 0)] if len(chosen) else chosen
    for start in range(0, len(order) - _FACTORS + 1, _FACTORS):
        if fit[start : start + _FACTORS].all():
            chosen = order[start : start + _FACTORS]
            break
    mask = np.zeros(len(codes), dtype=bool)
    mask[chosen] = True
    return mask


@numba.njit(cache=True, nogil=True)
def find_rows(key, slots, rows, bits, out):
    """Rows of one hash, as many as fit into `out`; returns their number."""
    count, mixed = 0, spread(key)
    if key >= _P or not may_hold(mixed, bits):
        return 0
    slot = slot_of(mixed, slots)
    while slots[slot] != 0 and count < len(out):
        if slots[slot] == key + _ONE:
            out[count] = rows[slot]
            count += 1
        slot = (slot + _ONE) & np.uint64(len(slots) - 1)
    return count
