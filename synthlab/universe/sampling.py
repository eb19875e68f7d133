"""Random programs from universes that nobody can enumerate.

Every token is drawn in proportion to the exact number of programs that begin so (the recursive method of
Nijenhuis and Wilf 1978), or, for a PCFG, to their exact total weight. Big integers become thresholds of 62
bits once per pair of pending operands and size left; a program is then drawn in O(size) operations. Every
draw is off by at most 2^-62 a token, so a program of n tokens is drawn within n 2^-60 of its probability. A
PCFG's probabilities are first rounded to 2^-60, and its sizes are drawn in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.measure import check_measure, max_length
from synthlab.universe.counting import program_counts, readable, token_weights, unrank, weighted_counts
from synthlab.universe.planning import require_memory

_BITS = 62
_WEIGHT_BITS = 60
_ROWS_AT_ONCE = 1 << 16
_DRAW_BYTES = 40.0
_FITS_IDS = (1 << 63) - 1


def sample_programs(grammar: Grammar, size: int, num: int, *, measure: str = "leaves", seed: int = 0) -> np.ndarray:
    """Programs of exactly one size, drawn uniformly with replacement, as a padded token matrix (num, L).

    Parameters
    ----------
    grammar, size, measure
        The language, and the size of every program.
    num, seed
        How many, and the seed of the draw.

    Raises
    ------
    ConfigurationError
        If there is no program of this size, or too many of this depth (beyond 63-bit ids).
    BudgetExceeded
        If so many do not fit into 80 % of the free memory.
    """
    if num < 0 or seed < 0:
        raise ConfigurationError(f"{num} programs with seed {seed}: neither can be negative")
    counts = program_counts(grammar, size, measure)
    if counts[-1] == 0:
        raise ConfigurationError(f"{grammar.name!r} has no program of exactly {size} {measure}: choose another size")
    require_memory(num, num * (max_length(grammar, size, measure) + _DRAW_BYTES))
    if sum(counts) <= _FITS_IDS:
        first = sum(counts[:-1])
        ids = np.random.default_rng(seed).integers(first, first + counts[-1], size=num)
        return unrank(grammar, ids, size, measure)
    if measure == "depth":
        raise ConfigurationError(
            f"depth {size} has {readable(counts[-1])} programs, beyond 63-bit ids: sample by nodes"
        )
    return _draw(grammar, np.full(num, size), size, measure, (1,) * len(grammar.tokens), seed)


@dataclass(frozen=True)
class PCFG:
    """A probabilistic grammar: every production has one probability wherever it is applied.

    Parameters
    ----------
    grammar
        The language.
    probabilities
        One per token, in token order, summing to 1.

    Raises
    ------
    ConfigurationError
        If they are not a distribution over all tokens, or leave no weight to the leaves.
    """

    grammar: Grammar
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        given = np.array(self.probabilities, dtype=float)
        if given.shape != (len(self.grammar.tokens),) or not (given >= 0).all() or not math.isclose(given.sum(), 1):
            raise ConfigurationError(f"a PCFG needs {len(self.grammar.tokens)} probabilities that sum to 1")
        if not given[: self.grammar.num_terminals].any():
            raise ConfigurationError("a PCFG without weight on the leaves derives no program")

    @classmethod
    def of(cls, grammar: Grammar, weights: Mapping[str, float]) -> Self:
        """From weights by token text; missing tokens weigh 1."""
        unknown = [t for t in weights if t not in grammar.index]
        if unknown:
            raise ConfigurationError(f"no token {unknown[0]!r} in grammar {grammar.name!r}")
        values = np.array([float(weights.get(t, 1.0)) for t in grammar.tokens])
        return cls(grammar, tuple(values / values.sum()))

    @classmethod
    def fit(cls, grammar: Grammar, prefix: np.ndarray, smoothing: float = 1.0) -> Self:
        """Maximum likelihood from programs (P, L), with so many imaginary uses of every production."""
        uses = np.bincount(prefix[prefix != PAD], minlength=len(grammar.tokens)) + smoothing
        return cls(grammar, tuple(uses / uses.sum()))

    def log_probability(self, prefix: np.ndarray) -> np.ndarray:
        """Natural logarithm of the probability of every program (P,)."""
        with np.errstate(divide="ignore"):
            logs = np.append(np.log(self.probabilities), np.zeros(PAD + 1 - len(self.probabilities)))
        return logs[prefix].sum(axis=1)

    def size_distribution(self, max_size: int, measure: str = "leaves") -> np.ndarray:
        """Probability of every size up to `max_size` among programs that are not larger, (max_size,)."""
        check_measure(self.grammar, measure, max_size)
        if measure == "depth":
            raise ConfigurationError("a PCFG is sampled by leaves or nodes: choose one of them")
        trees = weighted_counts(self.grammar, max_size, measure, self._whole_weights(measure))[1][1:]
        per_size = 1 if measure == "nodes" else 2
        masses = [Fraction(t, 1 << _WEIGHT_BITS * (per_size * n + 1 - per_size)) for n, t in enumerate(trees, 1)]
        if not any(masses):
            raise ConfigurationError(f"the PCFG derives no program of up to {max_size} {measure}")
        return np.array([float(m / sum(masses)) for m in masses])

    def sample(self, num: int, max_size: int, *, measure: str = "leaves", seed: int = 0) -> np.ndarray:
        """Programs of at most `max_size`, drawn from the PCFG given that bound, as a token matrix (num, L).

        Raises
        ------
        BudgetExceeded
            If so many do not fit into 80 % of the free memory.
        """
        sizes = self.size_distribution(max_size, measure)
        require_memory(num, num * (max_length(self.grammar, max_size, measure) + _DRAW_BYTES))
        drawn = np.random.default_rng([seed, 1]).choice(np.arange(1, max_size + 1), size=num, p=sizes)
        return _draw(self.grammar, drawn, max_size, measure, self._whole_weights(measure), seed)

    def _whole_weights(self, measure: str) -> tuple[int, ...]:
        """Probabilities as whole numbers, scaled so that a program's product depends on its size alone.

        By nodes every token carries 2^60; by leaves one of arity a > 0 carries 2^(60 (a - 1)), and a tree with
        n leaves 2^(60 (2 n - 1)) in all, whatever its operators.
        """
        scales = [1 if measure == "nodes" or arity == 0 else arity - 1 for arity in self.grammar.arities.tolist()]
        exact = map(Fraction, self.probabilities)
        return tuple(round(p * (1 << _WEIGHT_BITS * s)) for p, s in zip(exact, scales, strict=True))


@functools.lru_cache(maxsize=16)
def _thresholds(grammar: Grammar, max_size: int, measure: str, weights: tuple[int, ...]) -> np.ndarray:
    """Cumulative probability of every next token, uint64 (slots, size, V), as parts of 2^62."""
    forests = weighted_counts(grammar, max_size, measure, weights)
    arities, steps = grammar.arities.tolist(), token_weights(grammar, measure).tolist()
    table = np.zeros((len(forests), max_size + 1, len(arities)), dtype=np.uint64)
    for slots in range(1, len(forests)):
        for size in range(max_size + 1):
            total, running = forests[slots][size], 0
            for token, (arity, step) in enumerate(zip(arities, steps, strict=True)):
                after, left = slots - 1 + arity, size - step
                if total and left >= 0 and after < len(forests):
                    running += weights[token] * forests[after][left]
                table[slots, size, token] = (running << _BITS) // total if total else 0
    return table


def _draw(
    grammar: Grammar, sizes: np.ndarray, max_size: int, measure: str, weights: tuple[int, ...], seed: int
) -> np.ndarray:
    """Programs of the given sizes (num, L), in proportion to the product of their tokens' weights."""
    table = _thresholds(grammar, max_size, measure, weights)
    prefix = np.full((len(sizes), max_length(grammar, max_size, measure)), PAD, dtype=np.uint8)
    generator = np.random.Generator(np.random.PCG64([seed, 2]))
    for start in range(0, len(prefix), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        shape = prefix[rows].shape
        draws = generator.integers(0, 1 << _BITS, size=shape, dtype=np.uint64)
        _walk(sizes[rows], draws, table, grammar.arities, token_weights(grammar, measure), prefix[rows])
    return prefix


@numba.njit(cache=True, nogil=True)
def _walk(sizes, draws, table, arities, steps, prefix):
    for row in range(len(sizes)):
        slots, size, position = 1, sizes[row], 0
        while slots > 0:
            token = 0
            while draws[row, position] >= table[slots, size, token]:
                token += 1
            prefix[row, position] = token
            position += 1
            slots, size = slots - 1 + arities[token], size - steps[token]
