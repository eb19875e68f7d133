"""Bottom-up enumeration of functions: one minimal program per semantic class, in O(1) per candidate.

The values of ``a op b`` follow from the values of a and b, so a candidate costs one operation on W
residues and one look-up in a hash table. With the two random points of `identity` the classes are
exact; with the points of a grid they are the observational equivalence of Udupa et al. (2013).

Minimal programs have minimal operands, so candidates are built from minimal programs only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numba
import numpy as np

from synthlab.errors import BudgetExceeded
from synthlab.language.grammar import PAD, Grammar, Operator
from synthlab.language.identity import PRIME, UNDEFINED_RESIDUE, ResiduePoints, mulmod, settle_undefined
from synthlab.universe.counting import max_length, program_counts

_RESIDUES_AT_ONCE = 1 << 21
_LEAF_KEY_BITS = 60
_UNDEFINED_KEY = np.uint64(0x123456789ABCDEF1)
_MAX_CANDIDATES = 300_000_000


@numba.njit(cache=True)
def _mix(values, factors):
    """Two keys a row: the values themselves for W = 2, else two random combinations modulo the prime."""
    num_rows, width = values.shape
    keys = np.empty((num_rows, 2), dtype=np.uint64)
    prime = np.uint64(PRIME)
    for row in range(num_rows):
        for key in range(2):
            if width == 2:
                keys[row, key] = values[row, key]
                continue
            total = np.uint64(0)
            for column in range(width):
                # an undefined output stands for a residue of its own, which no small program computes
                value = values[row, column] if values[row, column] < prime else _UNDEFINED_KEY
                total = (total + mulmod(value, factors[key, column])) % prime
            keys[row, key] = total
    return keys


def mix(values: np.ndarray) -> np.ndarray:
    """Hash keys (P, 2) of rows of residues (P, W); equal rows have equal keys."""
    factors = np.random.Generator(np.random.PCG64(2)).integers(1, PRIME, size=(2, values.shape[1]), dtype=np.uint64)
    return _mix(np.ascontiguousarray(values), factors)


@numba.njit(cache=True)
def _slot(keys, slots, first, second):
    """Slot that holds the key, or the empty slot (-1) where it belongs."""
    mask = len(slots) - 1
    position = (first ^ (second * np.uint64(0x9E3779B97F4A7C15))) & np.uint64(mask)
    while True:
        held = slots[position]
        if held < 0 or (keys[held, 0] == first and keys[held, 1] == second):
            return position
        position = (position + np.uint64(1)) & np.uint64(mask)


@numba.njit(cache=True)
def _insert(new_keys, new_order, offset, keys, order, source, slots, count, first_of_size):
    """Insert candidates; of equal functions of this size the least text stays. Returns the new count."""
    for row in range(len(new_keys)):
        first, second = new_keys[row, 0], new_keys[row, 1]
        position = _slot(keys, slots, first, second)
        held = slots[position]
        if held < 0:
            slots[position] = count
            keys[count, 0], keys[count, 1] = first, second
            order[count], source[count] = new_order[row], offset + row
            count += 1
        elif held >= first_of_size and new_order[row] < order[held]:
            order[held], source[held] = new_order[row], offset + row
    return count


@numba.njit(cache=True)
def _rehash(keys, count, slots):
    for row in range(count):
        slots[_slot(keys, slots, keys[row, 0], keys[row, 1])] = row


@numba.njit(cache=True)
def _find(queries, keys, slots):
    found = np.empty(len(queries), dtype=np.int64)
    for row in range(len(queries)):
        found[row] = slots[_slot(keys, slots, queries[row, 0], queries[row, 1])]
    return found


@numba.njit(cache=True)
def _write_texts(tokens, operands, lengths, text, first, last):
    for row in range(first, last):
        text[row, 0] = tokens[row]
        position = 1
        for column in range(operands.shape[1]):
            operand = operands[row, column]
            if operand < 0:
                break
            for k in range(lengths[operand]):
                text[row, position] = text[operand, k]
                position += 1
        lengths[row] = position


class HashIndex:
    """Rows by their two 61-bit keys: open addressing with its own mark for an empty slot."""

    def __init__(self, keys: np.ndarray) -> None:
        self.keys = np.ascontiguousarray(keys)
        self.slots = np.full(_table_size(len(keys)), -1, dtype=np.int64)
        _rehash(self.keys, len(keys), self.slots)

    def find(self, queries: np.ndarray) -> np.ndarray:
        """Row of every queried key (P, 2), int64 (P,); -1 where there is none."""
        return _find(np.ascontiguousarray(queries), self.keys, self.slots)


def _table_size(num_rows: int) -> int:
    return 1 << max(10, (2 * num_rows).bit_length())


@dataclass
class FunctionTable:
    """Minimal programs of all functions found so far, ordered by (leaves, prefix text).

    Attributes
    ----------
    tokens, operands, leaves
        Root token (C,), rows of its operands (C, max arity; -1 for none), number of leaves (C,).
    values
        Residues (C, W) at the points of the enumeration.
    text
        Padded prefix tokens (C, L).
    executed
        Candidates evaluated so far.
    """

    tokens: np.ndarray
    operands: np.ndarray
    leaves: np.ndarray
    values: np.ndarray
    text: np.ndarray
    executed: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def rows_of_size(self, leaves: int) -> tuple[int, int]:
        """First and past-the-last row with so many leaves."""
        return int(np.searchsorted(self.leaves, leaves)), int(np.searchsorted(self.leaves, leaves, side="right"))

    def counts(self) -> list[int]:
        """Number of functions that are new at each size."""
        return np.bincount(self.leaves)[1:].tolist()


OnBlock = Callable[[np.ndarray, int], bool]
"""Called with the values of every block of candidates and the number executed; true stops the growth."""


def grow(
    grammar: Grammar,
    points: ResiduePoints,
    max_leaves: int,
    *,
    check_poles: bool = True,
    on_block: OnBlock | None = None,
) -> Iterator[FunctionTable]:
    """Enumerate functions size by size; yields the table after every size.

    Parameters
    ----------
    grammar
        The language.
    points
        Inputs that decide equality; `identity.fingerprint_points` for exact functions.
    max_leaves
        Last size.
    check_poles
        Drop programs that are undefined (as functions); false keeps partly undefined rows apart.
    on_block
        Looked at after every block of candidates, for budgets and early success.
    """
    growth = _Growth(grammar, points, max_leaves, check_poles)
    yield growth.table
    for size in range(2, max_leaves + 1):
        stopped = growth.add_size(size, on_block)
        yield growth.table
        if stopped:
            return


def enumerate_functions(grammar: Grammar, points: ResiduePoints, max_leaves: int) -> FunctionTable:
    """All functions of at most `max_leaves` leaves, each by its minimal program."""
    *_, table = grow(grammar, points, max_leaves)
    return table


class _Growth:
    """The hash table and the arrays behind `grow`."""

    def __init__(self, grammar: Grammar, points: ResiduePoints, max_leaves: int, check_poles: bool) -> None:
        self.grammar, self.points, self.check_poles = grammar, points, check_poles
        program_counts(grammar, max_leaves)  # refuses sizes and grammars that cannot be grown by leaves
        self.length = max_length(grammar, max_leaves)
        self.table = self._terminals()
        self.keys = mix(self.table.values)

    def _terminals(self) -> FunctionTable:
        values = self.points.terminals
        _, first = np.unique(mix(values), axis=0, return_index=True)
        kept = np.sort(first)
        text = np.full((len(kept), self.length), PAD, dtype=np.uint8)
        text[:, 0] = kept
        operands = np.full((len(kept), self.grammar.max_arity), -1, dtype=np.int64)
        ones = np.ones(len(kept), dtype=np.int64)
        return FunctionTable(kept, operands, ones, values[kept], text, self.grammar.num_terminals)

    def add_size(self, size: int, on_block: OnBlock | None) -> bool:
        """Add all functions whose smallest program has `size` leaves; true if a caller stopped it."""
        table, known = self.table, len(self.table)
        self._check_work(size)
        place = _text_order(self.grammar, table)
        pool = _Pool(self.keys, self.grammar.max_arity)
        stopped = False
        for token, rows in self._operand_blocks(size, place):
            values, usable = self._values(token, rows)
            table.executed += len(rows)
            pool.insert(token, rows[usable], mix(values[usable]), _order_keys(self.grammar, token, place, rows[usable]))
            if on_block is not None and on_block(values, table.executed):
                stopped = True
                break
        self._append(pool, known, size)
        return stopped

    def _check_work(self, size: int) -> None:
        """Refuse a size whose candidates cannot be held: most of them are new functions."""
        spans = {s: np.subtract(*self.table.rows_of_size(s)[::-1]) for s in range(1, size)}
        num = sum(
            math.prod(int(spans[s]) for s in sizes)
            for operator in self.grammar.operators
            for sizes in _compositions(size, operator)
        )
        if num > _MAX_CANDIDATES:
            raise BudgetExceeded(f"{num:,} candidates with {size} leaves exceed {_MAX_CANDIDATES:,}: lower the size")

    def _values(self, token: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        operands = [self.table.values[rows[:, k]] for k in range(self.grammar.arities[token])]
        values = self.points.apply(self.grammar.operator(token), *operands)
        if self.check_poles:
            return values, settle_undefined(values)[:, 0] != UNDEFINED_RESIDUE
        return values, np.ones(len(values), dtype=bool)

    def _operand_blocks(self, size: int, place: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        block = max(1, _RESIDUES_AT_ONCE // self.table.values.shape[1])
        for token in range(self.grammar.num_terminals, len(self.grammar.tokens)):
            operator = self.grammar.operator(token)
            for sizes in _compositions(size, operator):
                spans = [self.table.rows_of_size(s) for s in sizes]
                for rows in _products(spans, self.grammar.max_arity, block):
                    yield token, _normal_order(operator, sizes, place, rows)

    def _append(self, pool: _Pool, known: int, size: int) -> None:
        tokens, operands = pool.winners(known)
        order = np.lexsort((pool.order[known : pool.count], tokens))
        tokens, operands = tokens[order], operands[order]
        text = np.full((known + len(order), self.length), PAD, dtype=np.uint8)
        text[:known] = self.table.text
        lengths = np.concatenate([(self.table.text != PAD).sum(axis=1), np.zeros(len(order), dtype=np.int64)])
        values = [self.table.values]
        for token in np.unique(tokens):
            rows = np.flatnonzero(tokens == token)
            values.append(self._values(int(token), operands[rows])[0])  # tokens are sorted, so blocks stay in order
        table = FunctionTable(
            np.concatenate([self.table.tokens, tokens]),
            np.concatenate([self.table.operands, operands]),
            np.concatenate([self.table.leaves, np.full(len(order), size, dtype=np.int64)]),
            np.concatenate(values),
            text,
            self.table.executed,
        )
        _write_texts(table.tokens, table.operands, lengths, text, known, len(table))
        self.keys = np.concatenate([self.keys, pool.keys[known : pool.count][order]])
        self.table = table


class _Pool:
    """Candidates of one size, deduplicated against each other and against all smaller functions."""

    def __init__(self, keys: np.ndarray, max_arity: int) -> None:
        self.known = self.count = len(keys)
        self.keys = keys.copy()
        self.order = np.zeros(len(keys), dtype=np.uint64)
        self.source = np.full(len(keys), -1, dtype=np.int64)
        self.slots = np.full(0, -1, dtype=np.int64)
        self.max_arity = max_arity
        self.offset = 0
        self.kept_tokens = np.empty(0, dtype=np.int64)
        self.kept_operands = np.empty((0, max_arity), dtype=np.int64)

    def _reserve(self, num_new: int) -> None:
        needed = self.count + num_new
        if needed > len(self.keys):
            capacity = max(needed, len(self.keys) * 3 // 2)
            self.keys = np.resize(self.keys, (capacity, 2))
            self.order = np.resize(self.order, capacity)
            self.source = np.resize(self.source, capacity)
        if _table_size(needed) > len(self.slots):
            self.slots = np.full(_table_size(needed), -1, dtype=np.int64)
            _rehash(self.keys, self.count, self.slots)

    def insert(self, token: int, rows: np.ndarray, keys: np.ndarray, order: np.ndarray) -> None:
        """Offer one block of candidates of one operator; keeps operands only of those that stay."""
        self._reserve(len(rows))
        before = len(self.kept_tokens)
        # sources of this block count from `marker`, above every source kept so far
        marker = np.int64(1) << np.int64(40)
        held = self.keys, self.order, self.source, self.slots
        self.count = _insert(keys, order, marker, *held, self.count, self.known)
        fresh = np.flatnonzero(self.source[: self.count] >= marker)
        chosen = self.source[fresh] - marker
        self.source[fresh] = before + np.arange(len(fresh))
        self.kept_tokens = np.concatenate([self.kept_tokens, np.full(len(fresh), token, dtype=np.int64)])
        self.kept_operands = np.concatenate([self.kept_operands, rows[chosen]])

    def winners(self, known: int) -> tuple[np.ndarray, np.ndarray]:
        """Root tokens and operand rows of the new functions."""
        chosen = self.source[known : self.count]
        return self.kept_tokens[chosen], self.kept_operands[chosen]


def _compositions(size: int, operator: Operator) -> Iterator[tuple[int, ...]]:
    for cuts in itertools.combinations(range(1, size), operator.arity - 1):
        sizes = tuple(b - a for a, b in itertools.pairwise((0, *cuts, size)))
        if not operator.commutative or sizes[0] <= sizes[1]:
            yield sizes


def _products(spans: list[tuple[int, int]], max_arity: int, block: int) -> Iterator[np.ndarray]:
    """Blocks of operand rows (B, max arity) of the Cartesian product of row ranges; -1 fills."""
    shape = [stop - start for start, stop in spans]
    total = int(np.prod(shape))
    for start in range(0, total, block):
        flat = np.arange(start, min(start + block, total))
        rows = np.full((len(flat), max_arity), -1, dtype=np.int64)
        for column, (digits, span) in enumerate(zip(np.unravel_index(flat, shape), spans, strict=True)):
            rows[:, column] = digits + span[0]
        yield rows


def _normal_order(operator: Operator, sizes: tuple[int, ...], place: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For commutative operators keep one order of the operands, the one with the lesser text."""
    if not operator.commutative:
        return rows
    if sizes[0] == sizes[1]:
        return rows[place[rows[:, 0]] <= place[rows[:, 1]]]
    swap = place[rows[:, 0]] > place[rows[:, 1]]
    rows[swap] = rows[swap][:, ::-1]
    return rows


def _order_keys(grammar: Grammar, token: int, place: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """One integer per candidate that sorts as its prefix text does among programs of one size."""
    bits = _LEAF_KEY_BITS // grammar.max_arity
    if len(place) >= 1 << bits:
        raise BudgetExceeded(f"{len(place)} functions exceed the {bits}-bit operand keys of arity {grammar.max_arity}")
    keys = np.zeros(len(rows), dtype=np.uint64)
    for column in range(grammar.arities[token]):
        shift = np.uint64(bits * (grammar.max_arity - 1 - column))
        keys |= place[rows[:, column]].astype(np.uint64) << shift
    root = np.uint64(token - grammar.num_terminals)
    if root >= 1 << (64 - _LEAF_KEY_BITS):
        raise BudgetExceeded(f"at most {1 << (64 - _LEAF_KEY_BITS)} operators can be enumerated")
    return keys | root << np.uint64(_LEAF_KEY_BITS)


def _text_order(grammar: Grammar, table: FunctionTable) -> np.ndarray:
    """Place of every minimal program among all of them by prefix text alone, whatever its size."""
    order = np.lexsort(table.text.T[::-1])
    place = np.empty(len(table), dtype=np.int64)
    place[order] = np.arange(len(table))
    return place
