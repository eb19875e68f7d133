"""Execution-guided search: a beam over postfix programs whose unfinished states are known by what they compute.

A postfix program that is not finished leaves a stack of values on the grid (Chen et al., ICLR 2019; the REPL of Ellis
et al., NeurIPS 2019). It goes on with a terminal, which is pushed, or with an operator on the topmost values. What a
value leaves of the wanted outputs, taken off them as a first operand, is wanted of the values above it; a state is
judged by what its whole stack leaves: by a guide, or by how small that is.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from synthlab.errors import ConfigurationError, SynthlabError
from synthlab.language.identity import mix, observation_algebra
from synthlab.language.notation import Notation
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.search.guide import Guide
from synthlab.search.library import Library, require_residues, undoable
from synthlab.search.meeting import undo, whole_limit
from synthlab.search.orders import smallness
from synthlab.search.problem import Attempt, Problem, Solver
from synthlab.search.symbolic import require_same
from synthlab.universe.counting import token_weights
from synthlab.universe.hashing import KeySet

_WIDEST, _AT_ONCE = 1 << 13, 1 << 12
"""States side by side, at most; and steps that are judged between two looks at the budget."""


class ExecutionGuidedBeam(Solver):
    """A beam over stacks of values; one that ends without an answer is repeated twice as wide.

    Widening is iterative broadening (Ginsberg and Harvey 1992), up to 8,192 states. States with equal stacks are one,
    whichever came first.

    Parameters
    ----------
    library, guide
        A guide, and the library whose halves it knows, which are the `setup`; None for states in order of `smallness`.
    width
        States that are kept of every length, at first.
    whole_stack
        Judge a value by what those below it on the stack leave; else by the target alone, whatever is below.

    Raises
    ------
    ConfigurationError
        For no state at all, or a guide without its library.
    """

    def __init__(
        self, library: Library | None = None, guide: Guide | None = None, *, width: int = 64, whole_stack: bool = True,
        name: str = "execution-guided beam",
    ) -> None:  # fmt: skip
        if not 1 <= width <= _WIDEST or (guide is not None and library is None):
            raise ConfigurationError(f"a beam of {width}: keep 1 to {_WIDEST:,} states, and give a guide its library")
        self.library, self.guide, self.width, self.whole_stack, self.name = library, guide, width, whole_stack, name
        if library is not None and guide is not None:
            self.setup = library.cost + guide.training

    def search(self, attempt: Attempt) -> None:
        require_residues(attempt.problem.grammar)
        if self.library is not None:
            require_same(self.library, attempt.problem)
        width, done = self.width, (attempt.problem.codes == UNDEFINED_RESIDUE).any()  # states have no gaps
        while width <= _WIDEST and not done and not attempt.over:
            done = _Beam(attempt, self.guide, width, self.whole_stack).search()
            width *= 2


class _States(NamedTuple):
    """Unfinished programs (W), and of every level of their stacks, from the bottom up, what the comments say."""

    texts: np.ndarray
    heights: np.ndarray
    values: np.ndarray  # on the grid (W, D, G)
    keys: np.ndarray  # hashes of the values
    sizes: np.ndarray
    wanted: np.ndarray  # outputs that are wanted there (W, D + 1, G)
    known: np.ndarray  # where these are known


class _Steps(NamedTuple):
    """States one token longer (n): state and token; level of the new top, its size, values and codes."""

    parents: np.ndarray
    tokens: np.ndarray
    levels: np.ndarray
    sizes: np.ndarray
    values: np.ndarray
    codes: np.ndarray


def _take(table: Any, rows: np.ndarray) -> Any:
    return type(table)(*(column[rows] for column in table))


class _Beam:
    """One beam, from the empty stack to the longest text."""

    def __init__(self, attempt: Attempt, guide: Guide | None, width: int, whole_stack: bool) -> None:
        problem = self.problem = attempt.problem
        self.attempt, self.guide, self.width, self.whole_stack = attempt, guide, width, whole_stack
        self.algebra, self.notation = observation_algebra(problem.grammar), Notation(problem.grammar, "postfix")
        kinds, deep = undoable(problem.grammar), problem.measure == "depth"
        self.kinds = sorted(set(kinds[(kinds >= 0) & (problem.grammar.arities == 2)].tolist()))
        self.join, self.needs, self.seen = np.maximum if deep else np.add, needs(problem), KeySet(1 << 12)
        self.weights = (
            np.minimum(problem.grammar.arities, 1) if deep else token_weights(problem.grammar, problem.measure)
        )

    def search(self) -> bool:
        """Search; true if no state was given up for want of room."""
        states, whole = self._empty(), True
        while len(states.heights) and not self.attempt.over:
            steps = self._steps(states)
            self._hand_in(states, steps)
            steps = _take(steps, self._new(states, steps))
            scores, rests, known = self._judged(states, steps)
            best = np.argsort(-scores, kind="stable")[: self.width]
            whole &= len(best) == len(scores)
            states = self._next(states, _take(steps, best), rests[best], known[best])
        return whole

    def _empty(self) -> _States:
        """The empty stack, below which the target is wanted."""
        num, codes = len(self.needs) - 1, self.problem.codes
        texts, sizes = np.empty((1, 0), dtype=np.uint8), np.zeros((1, num), dtype=np.int64)
        values = np.zeros((1, num, len(codes)), dtype=self.algebra.terminals.dtype)
        keys, wanted = np.full((1, num, 2), UNDEFINED_RESIDUE), np.tile(codes, (1, num + 1, 1))
        return _States(texts, sizes[:, 0], values, keys, sizes, wanted, np.ones(wanted.shape, dtype=bool))

    def _legal(self, states: _States) -> tuple[np.ndarray, ...]:
        """Steps that leave room to finish, of the best states first: state, token, level of the new top, its size."""
        arities, stack = self.problem.grammar.arities, np.arange(states.sizes.shape[1])
        heights = states.heights[:, None]
        parents, tokens = np.nonzero((heights >= arities) & (heights - arities < len(stack)))
        levels, below = states.heights[parents] - arities[tokens], states.sizes[parents]
        operands = stack >= levels[:, None]
        sizes = self.weights[tokens] + self.join.reduce(np.where(operands, below, 0), axis=1)
        whole = self.join(sizes, self.join.reduce(np.where(operands, 0, below), axis=1)) + self.needs[levels + 1]
        fits = whole <= self.problem.max_size
        return parents[fits], tokens[fits], levels[fits], sizes[fits]

    def _steps(self, states: _States) -> _Steps:
        """All steps that are legal, within the budget, and have a value at every point."""
        legal, meter = self._legal(states), self.attempt.meter
        parents, tokens, levels, sizes = (a[: meter.left("tested", meter.left("programs", len(a)))] for a in legal)
        meter.programs += len(parents)
        values = np.empty((len(parents), states.values.shape[2]), dtype=states.values.dtype)
        steps = _Steps(parents, tokens, levels, sizes, values, np.empty(values.shape, dtype=np.uint64))
        for token in np.unique(tokens).tolist():
            self._execute(states, steps, token, np.flatnonzero(tokens == token))
        return _take(steps, np.flatnonzero((steps.codes < UNDEFINED_RESIDUE).all(axis=1)))

    def _execute(self, states: _States, steps: _Steps, token: int, rows: np.ndarray) -> None:
        """Write values and codes of one token on the topmost values of its states."""
        grammar, parents = self.problem.grammar, steps.parents[rows]
        tops = states.heights[parents] - grammar.arities[token]
        try:
            if token < grammar.num_terminals:
                steps.values[rows] = self.algebra.terminals[token]
            else:
                operands = (states.values[parents, tops + k] for k in range(grammar.arities[token]))
                steps.values[rows] = self.algebra.apply(grammar.operator(token), *operands)
            steps.codes[rows] = self.algebra.codes(steps.values[rows])
        except SynthlabError:  # whole numbers out of range, which one state may have and others not
            steps.codes[rows] = UNDEFINED_RESIDUE
            for half in np.array_split(rows, 2) if len(rows) > 1 else ():
                self._execute(states, steps, token, half)

    def _hand_in(self, states: _States, steps: _Steps) -> None:
        """Submit the whole program that is right at most points, if it is better than all before."""
        whole = np.flatnonzero(steps.levels == 0)
        right = (steps.codes[whole] == self.problem.codes).mean(axis=1)
        if len(whole) and right.max() > self.attempt.agreement:
            row = whole[right.argmax()]
            text = [*states.texts[steps.parents[row]], steps.tokens[row], self.notation.end]
            self.attempt.consider(self.notation.decode(np.array([text], dtype=np.uint8)), executed=False)

    def _new(self, states: _States, steps: _Steps) -> np.ndarray:
        """Rows of the steps to stacks that were not seen before."""
        stacks, rows = states.keys[steps.parents], np.arange(len(steps.parents))
        stacks[np.arange(stacks.shape[1]) >= steps.levels[:, None]] = UNDEFINED_RESIDUE
        stacks[rows, steps.levels] = mix(steps.codes)
        fresh = np.empty(len(rows), dtype=np.int64)
        keys = mix(stacks.reshape(len(rows), 2 * stacks.shape[1]))
        return fresh[: self.seen.insert(keys, len(rows), UNDEFINED_RESIDUE, fresh)]

    def _judged(self, states: _States, steps: _Steps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score of every step, and what is wanted above its top (n, G), and where that is known."""
        wanted, known = states.wanted[steps.parents, steps.levels], states.known[steps.parents, steps.levels]
        scores, limit = np.full(len(wanted), -np.inf), whole_limit(self.problem.grammar)
        above, sure, judge = wanted.copy(), known.copy(), self.guide or smallness
        for start, kind in itertools.product(range(0, len(wanted), _AT_ONCE), self.kinds):
            if self.attempt.over:
                break
            block = slice(start, start + _AT_ONCE)
            rests, places = np.empty_like(wanted[block]), np.empty_like(known[block])
            possible = np.empty(len(rests), dtype=bool)
            undo(kind, 0, wanted[block], known[block], steps.codes[block], limit, rests, places, possible)
            found = np.full(len(rests), -np.inf)
            found[possible] = judge(rests[possible], places[possible])
            better = np.flatnonzero(found > scores[block])
            for column, new in ((scores, found), (above, rests), (sure, places)):
                column[start + better] = new[better]
        scores[((steps.codes == wanted) | ~known).all(axis=1)] = np.inf  # nothing is left
        return scores, above, sure

    def _next(self, states: _States, steps: _Steps, rests: np.ndarray, known: np.ndarray) -> _States:
        """The states that steps lead to."""
        texts, _, values, keys, sizes, wanted, sure = _take(states, steps.parents)
        rows, levels = np.arange(len(texts)), steps.levels
        above = np.arange(sizes.shape[1]) >= levels[:, None]
        keys[above], sizes[above] = UNDEFINED_RESIDUE, 0
        values[rows, levels], keys[rows, levels], sizes[rows, levels] = steps.values, mix(steps.codes), steps.sizes
        if self.whole_stack:
            wanted[rows, levels + 1], sure[rows, levels + 1] = rests, known
        texts = np.column_stack([texts, steps.tokens.astype(np.uint8)])
        return _States(texts, levels + 1, values, keys, sizes, wanted, sure)


def needs(problem: Problem) -> np.ndarray:
    """Least size that a stack of every height (D + 1,) adds until one value is left; the first entry is for none."""
    grammar, size = problem.grammar, problem.max_size
    if problem.measure == "depth":
        return (np.arange(size * (grammar.max_arity - 1) + 2) > 1).astype(np.int64)
    steps = set(zip(grammar.arities.tolist(), token_weights(grammar, problem.measure).tolist(), strict=True))
    least = np.where(np.arange(size + 1) == 1, 0, 2 * size)
    for _, (arity, weight) in itertools.product(range(2 * size), steps):  # Bellman and Ford
        heights = np.arange(arity, min(size + 1, size + arity))
        least[heights] = np.minimum(least[heights], weight + least[heights + 1 - arity])
    return least
