"""Local search: small edits of programs, kept where they come closer to the wanted outputs.

The stochastic search of symbolic regression and of superoptimization (Schkufza et al. 2013) without its refinements:
what local search makes of a model's proposals, or of random programs.
"""

from __future__ import annotations

import functools
import zlib

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.interpreter import Algebra, Floats, evaluate, grid_algebra
from synthlab.language.measure import max_length, sizes_of
from synthlab.search.filtering import ProposalSolver, random_candidates, random_programs
from synthlab.search.problem import Attempt, Problem
from synthlab.search.proposer import Proposer
from synthlab.universe.counting import program_counts, unrank

_PARENTS, _NEIGHBORS = 64, 512
"""Programs that are edited at a time, and edits of all of them in a round."""
_POOL = 4096
"""Most small programs to put in the place of subtrees."""
_MISSING = 1e18
"""Counts as the error where one value is missing."""


class Edits(ProposalSolver):
    """Edit the best proposals; of the edits of each the best takes its place, if it is not worse.

    An edit changes a leaf, changes an operator into one of the same arity, or puts a small random program in the
    place of a small subtree. Programs are better if they are right at more points of the grid, then if the
    logarithms of their errors have a smaller sum.

    Parameters
    ----------
    proposer, num, name
        As in `ProposalSolver`.
    rounds
        Rounds of edits.
    seed
        Of all draws.

    Raises
    ------
    ConfigurationError
        For fewer than one proposal or round.
    """

    def __init__(
        self, proposer: Proposer | None, num: int, rounds: int, seed: int = 0, name: str | None = None
    ) -> None:
        if rounds < 1:
            raise ConfigurationError(f"{rounds} rounds of edits: make at least one")
        super().__init__(proposer, num, name, f"{num} edited")
        self.rounds, self.seed = rounds, seed

    def answer(self, attempt: Attempt, prefix: np.ndarray) -> None:
        problem = attempt.problem
        fitting = prefix[sizes_of(problem.grammar, prefix, problem.measure) <= problem.max_size]
        start = fitting if len(fitting) else random_candidates(problem, self.num, self.seed)
        width = max_length(problem.grammar, problem.max_size, problem.measure)
        parents = np.full((len(start), width), PAD, dtype=np.uint8)
        parents[:, : start.shape[1]] = start[:, :width]
        parents, merit = _judged(attempt, parents)
        best = np.lexsort(merit)[::-1][:_PARENTS]
        parents, merit = parents[best], merit[:, best]
        generator = np.random.default_rng([self.seed, zlib.crc32(problem.codes.tobytes()), 1])
        neighbors = Neighbors(problem, generator)
        for _ in range(self.rounds):
            if attempt.over:
                return
            _improve(attempt, parents, merit, neighbors)


def _improve(attempt: Attempt, parents: np.ndarray, merit: np.ndarray, neighbors: Neighbors) -> None:
    """One round of edits, in place."""
    edited, rows = neighbors.of(parents, np.arange(_NEIGHBORS) % len(parents))
    edited, own = _judged(attempt, edited)
    rows = rows[: len(edited)]
    order = np.lexsort([*own, rows])  # the last of each parent is its best
    last = order[np.flatnonzero(np.diff(rows[order], append=len(parents)))]
    gain = own[1, last] - merit[1, rows[last]]
    better = last[(gain > 0) | ((gain == 0) & (own[0, last] >= merit[0, rows[last]]))]
    parents[rows[better]], merit[:, rows[better]] = edited[better], own[:, better]


def _judged(attempt: Attempt, prefix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Programs that the budget allows to execute, and their merit (2, K): minus the error, points that are right."""
    right = attempt.consider(prefix)
    prefix = prefix[: len(right)]
    return prefix, np.stack([-log_errors(attempt.problem, prefix), right])


@functools.lru_cache(maxsize=16)
def _numbers(grammar: Grammar) -> Algebra:
    """The arithmetic in which errors are measured: floats do not overflow where exact outputs are residues."""
    return Floats(grammar) if grammar.exact else grid_algebra(grammar)


def log_errors(problem: Problem, prefix: np.ndarray) -> np.ndarray:
    """Sum over the grid of log(1 + error) of every program (K, L), float64 (K,)."""
    values = evaluate(problem.grammar, prefix, _numbers(problem.grammar)).astype(np.float64)
    wanted = problem.outputs.astype(np.float64)
    errors = np.where(np.isnan(values) & np.isnan(wanted), 0.0, np.abs(values - wanted))
    return np.log1p(np.where(np.isnan(errors), _MISSING, errors)).sum(axis=1)


# ---------------------------------------------------------------- neighbors


class Neighbors:
    """Random edits of programs, within a problem's bound.

    Parameters
    ----------
    problem
        The language and the bound.
    generator
        Of all draws.
    """

    def __init__(self, problem: Problem, generator: np.random.Generator) -> None:
        self.problem, self.generator = problem, generator
        small = 1 if problem.measure == "depth" else 1 + problem.grammar.max_arity
        self._pool = small_programs(problem.grammar, min(small, problem.max_size), problem.measure)

    def of(self, parents: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One edit for each row of programs (P, L) that is asked for, in the same width.

        Returns
        -------
        tuple
            The edits that are not too large (K, L), and the rows of their parents (K,).
        """
        grammar, width = self.problem.grammar, parents.shape[1]
        edited = np.full((len(rows), width + self._pool.shape[1]), PAD, dtype=np.uint8)
        draws = self.generator.integers(0, 1 << 31, size=(len(rows), 3))
        _edit(parents[rows], grammar.arities, _same_arity(grammar), self._pool, draws, edited)
        fits = sizes_of(grammar, edited, self.problem.measure) <= self.problem.max_size
        return edited[fits, :width], rows[fits]


@functools.lru_cache(maxsize=16)
def small_programs(grammar: Grammar, size: int, measure: str) -> np.ndarray:
    """All programs up to a size (P, L), or many of them."""
    num = sum(program_counts(grammar, size, measure))
    if num > _POOL:
        return random_programs(grammar, size, _POOL, measure=measure)
    return unrank(grammar, np.arange(num), size, measure)


def _same_arity(grammar: Grammar) -> np.ndarray:
    """Other tokens of the same arity (V, V), -1 behind the last."""
    others = np.full((len(grammar.tokens),) * 2, -1)
    for token, arity in enumerate(grammar.arities):
        same = [t for t in np.flatnonzero(grammar.arities == arity) if t != token]
        others[token, : len(same)] = same
    return others


@numba.njit(cache=True, nogil=True)
def _edit(parents, arities, others, pool, draws, edited):
    for row in range(len(parents)):
        length, text = (parents[row] != PAD).sum(), edited[row]
        text[:length] = parents[row, :length]
        at = draws[row, 0] % length
        choices = (others[text[at]] >= 0).sum()
        if choices > 0 and draws[row, 1] % 2 == 0:
            text[at] = others[text[at], draws[row, 2] % choices]
            continue
        end = _end(parents[row], at, arities)
        while end - at > pool.shape[1]:  # a leaf is always small enough
            at += 1
            end = _end(parents[row], at, arities)
        new = pool[draws[row, 2] % len(pool)]
        size = (new != PAD).sum()
        text[at : at + size] = new[:size]
        text[at + size : at + size + length - end] = parents[row, end:length]
        text[at + size + length - end :] = PAD


@numba.njit(cache=True, nogil=True)
def _end(text, at, arities):
    """Where the subtree that begins at a position ends."""
    pending = 1
    while pending > 0:
        pending += arities[text[at]] - 1
        at += 1
    return at
