"""Counting programs without enumerating them, and the order that gives every program its id.

A program's id is its rank in (number of leaves, prefix tokens in declared order). With T[k, n] the
number of ordered forests of k trees and n leaves in all, the rank of a program is a sum over its tokens
of the forests that an earlier token would have left to choose from, so ids need no file.
"""

from __future__ import annotations

import functools

import numba
import numpy as np

from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import PAD, Grammar

_INT64_MAX = (1 << 63) - 1


@functools.lru_cache(maxsize=64)
def program_counts(grammar: Grammar, max_leaves: int) -> tuple[int, ...]:
    """Exact number of programs with 1, 2, ... `max_leaves` leaves, as big integers.

    Raises
    ------
    ConfigurationError
        For a size below 1, or a unary operator (infinitely many programs share a number of leaves).
    """
    if max_leaves < 1:
        raise ConfigurationError(f"a universe of {max_leaves} leaves is empty: use at least 1")
    if any(o.arity == 1 for o in grammar.operators):
        raise ConfigurationError("a unary operator makes infinitely many programs per number of leaves")
    trees = [0, grammar.num_terminals]
    for size in range(2, max_leaves + 1):
        forests = {1: trees}
        for arity in range(2, grammar.max_arity + 1):
            forests[arity] = _convolve(forests[arity - 1], trees, size)
        trees.append(sum(forests[o.arity][size] for o in grammar.operators))
    return tuple(trees[1:])


def _convolve(first: list[int], second: list[int], size: int) -> list[int]:
    terms = first + [0] * (size + 1 - len(first)), second + [0] * (size + 1 - len(second))
    return [sum(terms[0][k] * terms[1][n - k] for k in range(n + 1)) for n in range(size + 1)]


def max_length(grammar: Grammar, max_leaves: int) -> int:
    """Longest prefix text with so many leaves, in tokens."""
    smallest = min(o.arity for o in grammar.operators)
    return max_leaves + (max_leaves - 1) // (smallest - 1)


def _countable(grammar: Grammar, max_leaves: int) -> list[int]:
    """Counts of programs with 0, 1, 2, ... leaves, which together fit 63-bit ids."""
    counts = [0, *program_counts(grammar, max_leaves)]
    if sum(counts) > _INT64_MAX:
        raise BudgetExceeded(f"{sum(counts):.3g} programs do not fit 63-bit ids: lower max_leaves from {max_leaves}")
    return counts


@functools.lru_cache(maxsize=64)
def forest_table(grammar: Grammar, max_leaves: int) -> np.ndarray:
    """T[k, n], int64 (K, max_leaves + 1): ordered forests of k trees with n leaves in all.

    Raises
    ------
    BudgetExceeded
        If ids would not fit 63 bits.
    """
    counts = _countable(grammar, max_leaves)
    rows = [[1] + [0] * max_leaves]
    for _ in range(max_leaves + grammar.max_arity):
        rows.append(_convolve(rows[-1], counts, max_leaves))
    return np.array(rows, dtype=object).clip(0, _INT64_MAX).astype(np.int64)


def size_offsets(grammar: Grammar, max_leaves: int) -> np.ndarray:
    """First program id of each size, int64 (max_leaves + 2,): entry n is the first id with n leaves."""
    counts = np.array(_countable(grammar, max_leaves), dtype=np.int64)
    return np.concatenate([[0], np.cumsum(counts)])


@numba.njit(cache=True)
def _unrank(ids, offsets, table, arities, out):
    for row in range(len(ids)):
        size = np.searchsorted(offsets, ids[row], side="right") - 1
        rest = ids[row] - offsets[size]
        slots, leaves, position = 1, size, 0
        while slots > 0:
            for token in range(len(arities)):
                weight = 1 if arities[token] == 0 else 0
                after = slots - 1 + arities[token]
                below = table[after, leaves - weight] if leaves >= weight and after < len(table) else 0
                if rest < below:
                    break
                rest -= below
            out[row, position] = token
            position += 1
            slots, leaves = after, leaves - weight


@numba.njit(cache=True)
def _rank_span(prefix, start, stop, leaves, offsets, table, arities):
    rank = offsets[leaves]
    slots = 1
    for position in range(start, stop):
        token = prefix[position]
        for earlier in range(token):
            weight = 1 if arities[earlier] == 0 else 0
            if leaves >= weight and slots - 1 + arities[earlier] < len(table):
                rank += table[slots - 1 + arities[earlier], leaves - weight]
        slots += arities[token] - 1
        if arities[token] == 0:
            leaves -= 1
    return rank


@numba.njit(cache=True)
def _rank(prefix, offsets, table, arities, out):
    for row in range(len(prefix)):
        leaves, stop = 0, 0
        while stop < prefix.shape[1] and prefix[row, stop] != PAD:
            leaves += 1 if arities[prefix[row, stop]] == 0 else 0
            stop += 1
        out[row] = _rank_span(prefix[row], 0, stop, leaves, offsets, table, arities)


@numba.njit(cache=True)
def _operand_ranks(prefix, offsets, table, arities, out):
    for row in range(len(prefix)):
        start = 1
        for operand in range(arities[prefix[row, 0]]):
            slots, leaves, stop = 1, 0, start
            while slots > 0:
                arity = arities[prefix[row, stop]]
                slots += arity - 1
                leaves += 1 if arity == 0 else 0
                stop += 1
            out[row, operand] = _rank_span(prefix[row], start, stop, leaves, offsets, table, arities)
            start = stop


def unrank(grammar: Grammar, ids: np.ndarray, max_leaves: int) -> np.ndarray:
    """Programs with the given ids, as a padded token matrix (P, L), uint8.

    Raises
    ------
    ConfigurationError
        If an id lies outside the universe of `max_leaves` leaves.
    """
    ids = np.asarray(ids, dtype=np.int64)
    offsets = size_offsets(grammar, max_leaves)
    if ids.size and (ids.min() < 0 or ids.max() >= offsets[-1]):
        raise ConfigurationError(f"program ids run from 0 to {offsets[-1] - 1} for {max_leaves} leaves")
    out = np.full((len(ids), max_length(grammar, max_leaves)), PAD, dtype=np.uint8)
    _unrank(ids, offsets, forest_table(grammar, max_leaves), grammar.arities, out)
    return out


def rank(grammar: Grammar, prefix: np.ndarray, max_leaves: int) -> np.ndarray:
    """Ids of the programs in a padded token matrix (P, L), int64 (P,)."""
    out = np.empty(len(prefix), dtype=np.int64)
    _rank(prefix, size_offsets(grammar, max_leaves), forest_table(grammar, max_leaves), grammar.arities, out)
    return out


def operand_ids(grammar: Grammar, prefix: np.ndarray, max_leaves: int) -> np.ndarray:
    """Ids of the operands of every root, int64 (P, max arity); -1 where there is none."""
    out = np.full((len(prefix), grammar.max_arity), -1, dtype=np.int64)
    _operand_ranks(prefix, size_offsets(grammar, max_leaves), forest_table(grammar, max_leaves), grammar.arities, out)
    return out
