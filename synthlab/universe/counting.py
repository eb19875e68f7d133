"""Counting programs without enumerating them, and the order that gives every program its id.

A program's id is its rank in (size, prefix tokens in declared order). Sizes by leaves and by nodes add up,
so with T[k, n] the number of ordered forests of k trees and size n in all, the rank of a program is a
sum over its tokens of the forests that an earlier token would have left to choose from (Flajolet,
Zimmermann and van Cutsem 1994). By depth, the pending operands choose independently below a bound, so
the forests are products. Either way ids need no file.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.measure import check_measure, max_length, operator_weight, sizes_of, smallest_size

_INT64_MAX = (1 << 63) - 1
_MOST_BITS = 1_000_000
MOST_COUNTED, MOST_WEIGHTED = 500, 400
"""Largest sizes by leaves or nodes that are counted, and sampled: beyond them big integers take minutes."""


def readable(number: int) -> str:
    """A count for messages, however long."""
    if number < 10**15:
        return f"{number:,}"
    exponent = int((number.bit_length() - 1) * math.log10(2))
    return f"{number:.3g}" if exponent < 300 else f"about 10^{exponent}"


@functools.lru_cache(maxsize=256)
def program_counts(grammar: Grammar, max_size: int, measure: str = "leaves") -> tuple[int, ...]:
    """Exact number of programs of every size from the smallest to `max_size`, as big integers.

    Parameters
    ----------
    grammar, max_size
        The language and the largest size.
    measure
        "leaves" and "nodes" count from 1, "depth" counts from 0.

    Raises
    ------
    ConfigurationError
        For a size below the smallest, or leaves with a unary operator (infinitely many programs).
    BudgetExceeded
        For a size whose programs are beyond counting.
    """
    check_measure(grammar, measure, max_size)
    if measure == "depth":
        totals = [0, grammar.num_terminals]
        for depth in range(max_size):
            if totals[-1].bit_length() > _MOST_BITS:
                raise BudgetExceeded(f"programs of depth {depth + 1} are beyond counting: lower the depth")
            totals.append(grammar.num_terminals + sum(totals[-1] ** o.arity for o in grammar.operators))
        return tuple(b - a for a, b in itertools.pairwise(totals))
    _require_countable(max_size, measure, MOST_COUNTED)
    return tuple(_trees(grammar, max_size, measure, (1,) * len(grammar.tokens))[1:])


@functools.lru_cache(maxsize=64)
def weighted_counts(
    grammar: Grammar, max_size: int, measure: str, weights: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Forests T[k][n] of k trees of size n in all, each weighted by the product of its tokens' weights.

    Parameters
    ----------
    grammar, max_size, measure
        The language, the largest size, "leaves" or "nodes".
    weights
        A whole number per token; ones count programs.

    Raises
    ------
    BudgetExceeded
        For a size whose forests are beyond counting.
    """
    _require_countable(max_size, measure, MOST_WEIGHTED)
    trees = _trees(grammar, max_size, measure, weights)
    rows = [[1] + [0] * max_size, trees]
    for _ in range(max_size + grammar.max_arity - 1):
        rows.append(_convolve(rows[-1], trees, max_size))
    return tuple(map(tuple, rows))


def _require_countable(max_size: int, measure: str, most: int) -> None:
    if max_size > most:
        raise BudgetExceeded(f"programs of {max_size:,} {measure} are beyond counting: use at most {most}")


def _trees(grammar: Grammar, max_size: int, measure: str, weights: tuple[int, ...]) -> list[int]:
    """Weight of all programs of size 0, 1, ... by leaves or nodes."""
    step = operator_weight(measure)
    trees = [0] * (max_size + 1)
    forests: dict[int, list[int]] = {k: [0] * (max_size + 1) for k in range(1, grammar.max_arity + 1)}
    for size in range(1, max_size + 1):
        for k in range(2, grammar.max_arity + 1):
            forests[k][size] = sum(trees[s] * forests[k - 1][size - s] for s in range(1, size))
        leaves = sum(weights[: grammar.num_terminals]) if size == 1 else 0
        trees[size] = leaves + sum(
            weights[grammar.num_terminals + number] * forests[o.arity][size - step]
            for number, o in enumerate(grammar.operators)
            if o.arity > 1 or step
        )
        forests[1][size] = trees[size]
    return trees


def _convolve(first: Sequence[int], second: Sequence[int], size: int) -> list[int]:
    return [sum(first[k] * second[n - k] for k in range(n + 1)) for n in range(size + 1)]


def _countable(grammar: Grammar, max_size: int, measure: str) -> list[int]:
    """Counts of programs of size 0, 1, 2, ..., which together fit 63-bit ids."""
    counts = [*[0] * smallest_size(measure), *program_counts(grammar, max_size, measure)]
    if sum(counts) > _INT64_MAX:
        raise BudgetExceeded(
            f"{readable(sum(counts))} programs do not fit 63-bit ids: lower the size from {max_size} {measure}, "
            "or use rank_program, unrank_program and sample_programs"
        )
    return counts


@functools.lru_cache(maxsize=64)
def forest_table(grammar: Grammar, max_size: int, measure: str = "leaves") -> np.ndarray:
    """T[k, n], int64 (K, max_size + 1): ordered forests of k trees and size n in all (leaves or nodes).

    Raises
    ------
    BudgetExceeded
        If ids would not fit 63 bits.
    """
    _countable(grammar, max_size, measure)
    rows = weighted_counts(grammar, max_size, measure, (1,) * len(grammar.tokens))
    return np.array(rows, dtype=object).clip(0, _INT64_MAX).astype(np.int64)


@functools.lru_cache(maxsize=64)
def _bounded_counts(grammar: Grammar, max_depth: int) -> np.ndarray:
    """Programs of depth below d for d = 0, 1, ... `max_depth` + 1, int64."""
    return np.cumsum([0, *_countable(grammar, max_depth, "depth")], dtype=np.int64)


def size_offsets(grammar: Grammar, max_size: int, measure: str = "leaves") -> np.ndarray:
    """First program id of each size, int64 (max_size + 2,): entry n is the first id of size n."""
    counts = np.array(_countable(grammar, max_size, measure), dtype=np.int64)
    return np.concatenate([[0], np.cumsum(counts)])


# ---------------------------------------------------------------- many programs, ids of 63 bits


@numba.njit(cache=True, nogil=True)
def _forests(table, slots, size):
    return table[slots, size] if size >= 0 and slots < len(table) else 0


@numba.njit(cache=True, nogil=True)
def _unrank(ids, offsets, table, arities, weights, out):
    for row in range(len(ids)):
        size = np.searchsorted(offsets, ids[row], side="right") - 1
        rest = ids[row] - offsets[size]
        slots, position = 1, 0
        while slots > 0:
            for token in range(len(arities)):
                below = _forests(table, slots - 1 + arities[token], size - weights[token])
                if rest < below:
                    break
                rest -= below
            out[row, position] = token
            position += 1
            slots, size = slots - 1 + arities[token], size - weights[token]


@numba.njit(cache=True, nogil=True)
def _rank(prefix, sizes, offsets, table, arities, weights, out):
    for row in range(len(prefix)):
        size, slots, rank = sizes[row], 1, offsets[sizes[row]]
        for position in range(prefix.shape[1]):
            token = prefix[row, position]
            if token == PAD:
                break
            for earlier in range(token):
                rank += _forests(table, slots - 1 + arities[earlier], size - weights[earlier])
            slots, size = slots - 1 + arities[token], size - weights[token]
        out[row] = rank


@numba.njit(cache=True, nogil=True)
def _completions(counts, bounds, slots, everything, shallow, reached):
    """Ways to fill pending operands of the given depth bounds so that the exact depth is reached.

    Saves the two running products per stack entry, so that a step costs O(1).
    """
    bound = bounds[slots - 1]
    everything[slots] = everything[slots - 1] * counts[bound + 1]
    shallow[slots] = shallow[slots - 1] * counts[bound]
    return everything[slots] if reached else everything[slots] - shallow[slots]


@numba.njit(cache=True, nogil=True)
def _after(token, arity, bound, counts, bounds, slots, everything, shallow, reached):
    """Put a token's operands in place of the last pending one; returns (slots, reached, completions)."""
    if arity > 0 and bound == 0:
        return slots, reached, 0
    reached = reached or bound == 0
    slots -= 1
    ways = everything[slots] if reached else everything[slots] - shallow[slots]
    for _ in range(arity):
        bounds[slots] = bound - 1
        slots += 1
        ways = _completions(counts, bounds, slots, everything, shallow, reached)
    return slots, reached, ways


@numba.njit(cache=True, nogil=True)
def _depth_order(prefix, sizes, rests, counts, arities, ranking):
    """Unrank `rests` into `prefix`, or rank `prefix` into `rests`, among the programs of one depth each."""
    length = prefix.shape[1]
    bounds = np.zeros(length + arities.max() + 1, dtype=np.int64)
    everything, shallow = np.ones(len(bounds) + 1, dtype=np.int64), np.ones(len(bounds) + 1, dtype=np.int64)
    for row in range(len(prefix)):
        bounds[0], slots, reached, rest = sizes[row], 1, False, rests[row]
        everything[1], shallow[1] = counts[sizes[row] + 1], counts[sizes[row]]
        for position in range(length):
            bound, before, was_reached = bounds[slots - 1], slots, reached
            for token in range(len(arities)):
                if ranking and token == prefix[row, position]:
                    break
                slots, reached, ways = _after(
                    token, arities[token], bound, counts, bounds, before, everything, shallow, was_reached
                )
                if not ranking and rest < ways:
                    break
                rest += ways if ranking else -ways
            slots, reached, _ = _after(
                token, arities[token], bound, counts, bounds, before, everything, shallow, was_reached
            )
            prefix[row, position] = token
            if slots == 0:
                break
        rests[row] = rest


def unrank(grammar: Grammar, ids: np.ndarray, max_size: int, measure: str = "leaves") -> np.ndarray:
    """Programs with the given ids, as a padded token matrix (P, L), uint8.

    Raises
    ------
    ConfigurationError
        If an id lies outside the universe of `max_size`.
    """
    ids = np.asarray(ids, dtype=np.int64)
    offsets = size_offsets(grammar, max_size, measure)
    if ids.size and (ids.min() < 0 or ids.max() >= offsets[-1]):
        raise ConfigurationError(f"program ids run from 0 to {offsets[-1] - 1} for {max_size} {measure}")
    out = np.full((len(ids), max_length(grammar, max_size, measure)), PAD, dtype=np.uint8)
    if measure == "depth":
        sizes = np.searchsorted(offsets, ids, side="right") - 1
        rests = ids - offsets[sizes]
        _depth_order(out, sizes, rests, _bounded_counts(grammar, max_size), grammar.arities, False)
        return out
    table = forest_table(grammar, max_size, measure)
    _unrank(ids, offsets, table, grammar.arities, token_weights(grammar, measure), out)
    return out


def rank(grammar: Grammar, prefix: np.ndarray, max_size: int, measure: str = "leaves") -> np.ndarray:
    """Ids of the programs in a padded token matrix (P, L), int64 (P,)."""
    offsets, sizes = size_offsets(grammar, max_size, measure), sizes_of(grammar, prefix, measure)
    out = np.zeros(len(prefix), dtype=np.int64)
    if measure == "depth":
        _depth_order(prefix.copy(), sizes, out, _bounded_counts(grammar, max_size), grammar.arities, True)
        return out + offsets[sizes]
    table = forest_table(grammar, max_size, measure)
    _rank(prefix, sizes, offsets, table, grammar.arities, token_weights(grammar, measure), out)
    return out


def token_weights(grammar: Grammar, measure: str) -> np.ndarray:
    """What every token adds to a size by leaves or nodes, int64 (V,)."""
    return np.where(grammar.arities == 0, 1, operator_weight(measure))


# ---------------------------------------------------------------- one program, ids of any length


def unrank_program(grammar: Grammar, index: int, size: int, measure: str = "leaves") -> tuple[int, ...]:
    """Prefix tokens of the index-th program of exactly one size, in O(size) steps on big integers.

    Raises
    ------
    ConfigurationError
        If there are not so many programs of this size.
    """
    total = program_counts(grammar, size, measure)[-1]
    if not 0 <= index < total:
        raise ConfigurationError(f"there are {readable(total)} programs of {size} {measure}: use an index below")
    prefix: list[int] = []
    walk = _Walk(grammar, size, measure)
    while not walk.finished:
        for token in range(len(grammar.tokens)):
            ways = walk.ways(token)
            if index < ways:
                break
            index -= ways
        walk.take(token)
        prefix.append(token)
    return tuple(prefix)


def rank_program(grammar: Grammar, prefix: Sequence[int], measure: str = "leaves") -> int:
    """Index of a program among those of its size; inverse of `unrank_program`."""
    size = int(sizes_of(grammar, np.array([prefix], dtype=np.uint8), measure)[0])
    walk, index = _Walk(grammar, size, measure), 0
    for token in prefix:
        index += sum(map(walk.ways, range(token)))
        walk.take(token)
    return index


class _Walk:
    """The pending operands of a half-written program, and in how many ways they can be filled."""

    def __init__(self, grammar: Grammar, size: int, measure: str) -> None:
        self.grammar, self.size, self.measure = grammar, size, measure
        self.arities = grammar.arities.tolist()
        if measure == "depth":
            self.below = [0, *np.cumsum(np.array(program_counts(grammar, size, measure), dtype=object)).tolist()]
            self.bounds, self.reached = [size], False
        else:
            self.table = weighted_counts(grammar, size, measure, (1,) * len(grammar.tokens))
            self.weights = token_weights(grammar, measure).tolist()
            self.slots = 1

    @property
    def finished(self) -> bool:
        return not (self.bounds if self.measure == "depth" else self.slots)

    def ways(self, token: int) -> int:
        """Programs that go on with this token."""
        arity = self.arities[token]
        if self.measure != "depth":
            left, slots = self.size - self.weights[token], self.slots - 1 + arity
            return self.table[slots][left] if left >= 0 and slots < len(self.table) else 0
        if arity and self.bounds[-1] == 0:
            return 0
        bounds = self.bounds[:-1] + [self.bounds[-1] - 1] * arity
        ways = math.prod(self.below[b + 1] for b in bounds)
        return ways if self.reached or self.bounds[-1] == 0 else ways - math.prod(self.below[b] for b in bounds)

    def take(self, token: int) -> None:
        """Write the token."""
        if self.measure == "depth":
            bound = self.bounds.pop()
            self.reached = self.reached or bound == 0
            self.bounds += [bound - 1] * self.arities[token]
        else:
            self.size -= self.weights[token]
            self.slots += self.arities[token] - 1
