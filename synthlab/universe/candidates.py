"""The candidates of one size, in the order of their texts, without writing any of them down.

Operands come from the minimal programs of smaller functions. All but the last run through them in text
order; the last runs through a contiguous range of rows, because rows are sorted by (size, text). So the
first candidate of a function is its minimal text, and nothing needs to be compared or sorted later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthlab.compiling import numba
from synthlab.language import tracing
from synthlab.language.interpreter import Algebra
from synthlab.language.measure import operator_weight
from synthlab.language.residues import PRIME, combine, mulmod, reduce_once
from synthlab.universe.functions import FunctionTable
from synthlab.universe.pruning import Redundancy

_P = np.uint64(PRIME)


@dataclass(frozen=True, eq=False)
class OperandOrder:
    """Rows that can be operands, in the orders that the odometer needs.

    Attributes
    ----------
    sizes, place
        Size of every row and its place among all rows by text alone (C,).
    first
        First row of every size (S + 2,); rows are sorted by (size, text).
    lists, starts
        Rows of size at most s in text order: ``lists[starts[s]:starts[s + 1]]``.
    """

    sizes: np.ndarray
    place: np.ndarray
    first: np.ndarray
    lists: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, sizes: np.ndarray, by_text: np.ndarray, max_size: int) -> OperandOrder:
        """Orders of rows with the given sizes, from their order by text alone."""
        place = np.empty(len(by_text), dtype=np.int32)
        place[by_text] = np.arange(len(by_text), dtype=np.int32)
        first = np.searchsorted(sizes, np.arange(max_size + 2)).astype(np.int64)
        largest = sizes[by_text]
        lists = [by_text[largest <= size].astype(np.int32) for size in range(max_size + 1)]
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in lists])])
        return cls(sizes, place, first, np.concatenate(lists), starts.astype(np.int64))


@numba.njit(cache=True, nogil=True)
def _open(state, arity, total, order_lists, starts, first, sizes, place, commutative, skipped):
    """Range of last operands behind the current earlier ones."""
    left, row = total, 0
    for k in range(arity - 1):
        row = order_lists[starts[left - (arity - 1 - k)] + state[k]]
        left -= sizes[row]
    low, high = first[left], first[left + 1]
    state[arity] = high
    if commutative and low < high:
        own = place[row]
        while low < high:
            middle = (low + high) // 2
            if place[middle] < own:
                low = middle + 1
            else:
                high = middle
    if arity == 2 and skipped[row]:
        state[arity + 2] += high - low
        low = high
    state[arity - 1] = low


@numba.njit(cache=True, nogil=True)
def _advance(state, arity, total, order_lists, starts, sizes):
    """Next combination of all operands but the last; false after the last one."""
    k = arity - 2
    while k >= 0:
        left = total
        for j in range(k):
            left -= sizes[order_lists[starts[left - (arity - 1 - j)] + state[j]]]
        bound = left - (arity - 1 - k)
        state[k] += 1
        if starts[bound] + state[k] < starts[bound + 1]:
            break
        state[k] = 0
        k -= 1
    return k >= 0


@numba.njit(cache=True, nogil=True)
def _fill(rows, state, arity, total, order_lists, starts, first, sizes, place, commutative, skipped, limit):
    """Write the next operand rows; returns how many.

    `state` holds the places of all operands but the last, the range of the last, a mark once all are out, and
    the number of candidates passed, redundant ones included.
    """
    filled, capacity, last = 0, len(rows), arity - 1
    while filled < capacity and state[arity + 1] == 0:
        if state[last] < state[arity]:
            num = min(state[arity] - state[last], capacity - filled)
            if arity == 2:
                left_row = order_lists[starts[total - 1] + state[0]]
                filled = _pair(rows, filled, left_row, state[last], num, place[left_row], limit)
            else:
                filled = _combine(rows, filled, state, arity, total, num, order_lists, starts, sizes)
            state[last] += num
            state[arity + 2] += num
        elif _advance(state, arity, total, order_lists, starts, sizes):
            _open(state, arity, total, order_lists, starts, first, sizes, place, commutative, skipped)
        else:
            state[arity + 1] = 1
    return filled


@numba.njit(cache=True, nogil=True)
def _pair(rows, filled, left_row, first_row, num, own, limit):
    """One left operand with a range of right ones, less those that make it redundant; returns the new end."""
    for row in range(first_row, first_row + num):
        rows[filled, 0], rows[filled, 1] = left_row, row
        filled += own <= limit[row]
    return filled


@numba.njit(cache=True, nogil=True)
def _combine(rows, filled, state, arity, total, num, order_lists, starts, sizes):
    """The current earlier operands with a range of last ones; returns the new end."""
    last, left = arity - 1, total
    for j in range(num):
        rows[filled + j, last] = state[last] + j
    for k in range(last):
        row = order_lists[starts[left - (last - k)] + state[k]]
        left -= sizes[row]
        for j in range(num):
            rows[filled + j, k] = row
    return filled + num


def operand_blocks(
    table: FunctionTable, order: OperandOrder, size: int, block: int, rules: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Operators in token order with blocks of operand rows (B, arity), int32, in text order.

    Blocks share their memory: use one before asking for the next. For depth, where every row may be an
    operand, rows count 1 each.

    Parameters
    ----------
    table, order, size
        The functions so far, their orders, and the size of the candidates.
    block
        Most rows at a time.
    rules
        `pruning.redundancy_rules`; without them nothing is left out.

    Yields
    ------
    tuple
        Operator, operand rows, and how many candidates they stand for, redundant ones included.
    """
    grammar, measure = table.grammar, table.measure
    rows = np.empty((block, grammar.max_arity), dtype=np.int32)
    orders = order.lists, order.starts, order.first, order.sizes, order.place, False
    for number, operator in enumerate(grammar.operators):
        total = operator.arity if measure == "depth" else size - operator_weight(measure)
        if total < operator.arity:
            continue
        token = grammar.num_terminals + number
        redundancy = _redundancy(table, order, token, rules)
        orders = (*orders[:-1], operator.commutative)
        rows[:, operator.arity :] = -1
        state = np.zeros(operator.arity + 3, dtype=np.int64)
        _open(state, operator.arity, total, *orders, redundancy.skipped)
        passed = 0
        while state[operator.arity + 1] == 0:
            num = _fill(rows, state, operator.arity, total, *orders, redundancy.skipped, redundancy.limit)
            yield token, rows[:num], int(state[-1]) - passed
            passed = int(state[-1])


def _redundancy(table: FunctionTable, order: OperandOrder, token: int, rules: np.ndarray | None) -> Redundancy:
    if rules is not None and table.grammar.arities[token] == 2 and rules[token].any():
        return Redundancy.of(rules, token, table.tokens, table.operands, order.place)
    num = len(table)
    return Redundancy(np.zeros(num, dtype=bool), np.full(num, np.iinfo(np.int32).max, dtype=np.int32))


@numba.njit(cache=True, nogil=True)
def _simple_keys(kind, rows, last, values, inverses, keys):
    """Keys of a block of candidates of an operator that is one instruction."""
    for row in range(len(rows)):
        a, b = rows[row, 0], rows[row, last]
        for point in range(2):
            if kind == tracing.ADD:
                keys[row, point] = reduce_once(values[a, point] + values[b, point])
            elif kind == tracing.SUBTRACT:
                keys[row, point] = reduce_once(values[a, point] + (_P - values[b, point]))
            elif kind == tracing.MULTIPLY:
                keys[row, point] = mulmod(values[a, point], values[b, point])
            elif kind == tracing.DIVIDE:
                divisor = inverses[b, point]
                keys[row, point] = _P if divisor >= _P else mulmod(values[a, point], divisor)
            else:
                keys[row, point] = reduce_once(_P - values[a, point])


@numba.njit(cache=True, nogil=True)
def _code_keys(rows, arity, values, code, constants, keys):
    """Keys of a block of candidates of any operator, by its straight-line code."""
    registers = np.empty(arity + len(code), dtype=np.uint64)
    for row in range(len(rows)):
        for point in range(2):
            for k in range(arity):
                registers[k] = values[rows[row, k], point]
            for k in range(len(code)):
                a, b = code[k, 1], code[k, 2]
                one = registers[a] if a >= 0 else constants[-1 - a]
                two = registers[b] if b >= 0 else constants[-1 - b]
                registers[arity + k] = combine(code[k, 0], one, two)
            keys[row, point] = registers[-1]


def fingerprint_keys(
    algebra: Algebra, token: int, rows: np.ndarray, values: np.ndarray, inverses: np.ndarray, keys: np.ndarray
) -> None:
    """Fingerprints of candidates from those of their operands, O(1) each.

    Parameters
    ----------
    algebra
        The two random points of exact identity.
    token, rows
        Operator, and operand rows (B, max arity).
    values, inverses
        Fingerprints (C, 2) of functions that exist, and their inverses (read where the grammar divides).
    keys
        Where the fingerprints go, (B, 2).
    """
    table = algebra.table
    assert table is not None
    arity, kind = int(algebra.grammar.arities[token]), int(table.simple[token])
    if kind >= 0:
        _simple_keys(kind, rows, arity - 1, values, inverses, keys)
    else:
        code = table.steps[table.first[token] : table.first[token + 1]]
        _code_keys(rows, arity, values, code, algebra.constants, keys)
