"""A model alone: programs proposed from the outputs, filtered by the grid, one submitted."""

from __future__ import annotations

import abc
import copy
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.measure import max_length, smallest_size
from synthlab.language.program import prefix_lengths
from synthlab.search.budget import Budget, Cost, Meter
from synthlab.search.problem import INTERRUPTED, Attempt, Problem, Result, Solver
from synthlab.search.proposer import Proposals, Proposer
from synthlab.universe.counting import program_counts
from synthlab.universe.sampling import sample_programs

_AT_ONCE = 4096
"""Most programs executed between two looks at the budget."""
_FITS_IDS = 1 << 62
"""More programs of one depth cannot be sampled."""


def distinct_programs(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """The complete programs among texts (n, L), each once, in order; what follows a complete one is cut off."""
    if prefix.shape[1] == 0:
        return prefix[:0]
    lengths = prefix_lengths(grammar, prefix)
    complete = prefix[lengths > 0]
    complete[np.arange(prefix.shape[1]) >= lengths[lengths > 0, None]] = PAD
    first: dict[bytes, int] = {}
    for row, text in enumerate(map(bytes, complete)):
        first.setdefault(text, row)
    return complete[list(first.values())]


def random_programs(
    grammar: Grammar, max_size: int, num: int, *, measure: str = "leaves", seed: Sequence[int] = (0,)
) -> np.ndarray:
    """Distinct programs up to a size, in random order: of `num` draws, about equally many of every size."""
    smallest, counts = smallest_size(measure), program_counts(grammar, max_size, measure)
    sizes = [smallest + k for k, count in enumerate(counts) if count and (measure != "depth" or count < _FITS_IDS)]
    generator = np.random.default_rng(list(seed))
    drawn = np.bincount(generator.integers(0, len(sizes), size=num), minlength=len(sizes))
    texts = np.full((num, max_length(grammar, sizes[-1], measure)), PAD, dtype=np.uint8)
    for start, size, count in zip(np.cumsum(drawn) - drawn, sizes, drawn, strict=True):
        own = int(generator.integers(1 << 31))
        if count:
            some = sample_programs(grammar, size, int(count), measure=measure, seed=own)
            texts[start : start + count, : some.shape[1]] = some
    return distinct_programs(grammar, generator.permutation(texts))


def random_candidates(problem: Problem, num: int, seed: int) -> np.ndarray:
    """Random programs within a problem's bound, others for other problems."""
    own = (seed, zlib.crc32(problem.codes.tobytes()))
    return random_programs(problem.grammar, problem.max_size, num, measure=problem.measure, seed=own)


def consider_all(attempt: Attempt, prefix: np.ndarray) -> None:
    """Execute programs (n, L) in order until one is right or the budget is spent."""
    for start in range(0, len(prefix), _AT_ONCE):
        if attempt.over:
            return
        attempt.consider(prefix[start : start + _AT_ONCE])


# ---------------------------------------------------------------- proposals for many problems at once


@dataclass(frozen=True, eq=False)
class Remembered:
    """Answers of a proposer to a whole batch of questions, each at an equal share of the batch's cost.

    Attributes
    ----------
    proposer
        Who gave them.
    proposals
        The answers.
    rows
        Row of every question, by its outputs.
    """

    proposer: Proposer
    proposals: Proposals
    rows: Mapping[bytes, int]

    @classmethod
    def of(cls, proposer: Proposer, problems: Sequence[Problem], num: int) -> Self:
        """Ask for all problems at once.

        Raises
        ------
        ConfigurationError
            If they are of several grammars, which no model reads.
        """
        grammars = {p.grammar.digest: p.grammar.name for p in problems}
        if len(grammars) > 1:
            raise ConfigurationError(f"problems of {' and '.join(grammars.values())}: a model reads one, ask for each")
        outputs = np.stack([p.outputs for p in problems])
        return cls(proposer, proposer.propose(outputs, num), {key: row for row, key in enumerate(_keys(outputs))})

    @property
    def name(self) -> str:
        """That of the proposer."""
        return self.proposer.name

    @property
    def training(self) -> Cost:
        """That of the proposer."""
        return self.proposer.training

    def propose(self, outputs: np.ndarray, num: int) -> Proposals:
        """What was answered before; the proposer is asked what it was not asked yet."""
        rows = [self.rows.get(key, -1) for key in _keys(outputs)]
        if min(rows) < 0:
            return self.proposer.propose(outputs, num)
        share = self.proposals.cost.over(len(self.proposals.prefix))
        cost = sum([share] * len(rows), Cost())
        return Proposals(self.proposals.prefix[rows], self.proposals.log_probability[rows], cost)


def _keys(outputs: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in outputs.astype(np.float64)]


class Preparing(Protocol):
    """A solver that can ask for all problems at once what it would ask for each."""

    name: str

    def prepared(self, problems: Sequence[Problem]) -> Solver:
        """The same solver with the answers at hand."""


def solve_prepared(solver: Preparing, problems: Sequence[Problem], budget: Budget) -> list[Result]:
    """Every problem as `solve` would answer it, prepared together; Ctrl-C ends them all with the best so far."""
    try:
        ready = solver.prepared(problems)
    except KeyboardInterrupt:
        return [Attempt(problem, Meter(budget)).result(solver.name, INTERRUPTED) for problem in problems]
    return Solver.solve_all(ready, problems, budget)  # of the base: its own would prepare again


# ---------------------------------------------------------------- solvers


class AskingSolver(Solver):
    """What asks a model for proposals: once for a whole batch of problems.

    Attributes
    ----------
    proposer, num
        The model, or None, and how many proposals it is asked for.
    """

    proposer: Proposer | None
    num: int

    def asked(self, attempt: Attempt) -> Proposals:
        """Proposals for one problem; the seconds that the proposer states stand for those of the clock."""
        assert self.proposer is not None
        start = time.perf_counter()
        proposals = self.proposer.propose(attempt.problem.outputs[None], self.num)
        clocked = time.perf_counter() - start
        attempt.meter.charge(replace(proposals.cost, seconds=proposals.cost.seconds - clocked))
        return proposals

    def prepared(self, problems: Sequence[Problem]) -> Self:
        """The same solver with the proposals for these problems at hand."""
        ready = copy.copy(self)
        if self.proposer is not None and problems:
            ready.proposer = Remembered.of(self.proposer, problems, self.num)
        return ready

    def solve_all(self, problems: Sequence[Problem], budget: Budget) -> list[Result]:
        """Every problem as `solve` would answer it; the proposer is asked once, and each pays an equal share."""
        return solve_prepared(self, problems, budget)


class ProposalSolver(AskingSolver):
    """What begins with a model's proposals.

    Parameters
    ----------
    proposer
        The model; its training is the `setup`. None for random programs: what the model's place is worth.
    num
        Proposals a problem.
    name, use
        What results are reported under; the proposer and what becomes of its proposals by default.

    Raises
    ------
    ConfigurationError
        For fewer than one proposal.
    """

    seed = 0
    """Of random programs."""

    def __init__(self, proposer: Proposer | None, num: int, name: str | None, use: str) -> None:
        if num < 1:
            raise ConfigurationError(f"{num} proposals: ask for at least one")
        self.proposer, self.num = proposer, num
        self.name = name or f"{'random programs' if proposer is None else proposer.name}, {use}"
        self.setup = Cost() if proposer is None else proposer.training

    @abc.abstractmethod
    def answer(self, attempt: Attempt, prefix: np.ndarray) -> None:
        """Make the most of distinct complete programs (n, L), best guess first."""

    def search(self, attempt: Attempt) -> None:
        if not attempt.over:
            prefix = self.proposed(attempt)
            if not attempt.over:
                self.answer(attempt, prefix)

    def proposed(self, attempt: Attempt) -> np.ndarray:
        """Distinct complete programs, of the model or at random."""
        problem = attempt.problem
        if self.proposer is None:
            return random_candidates(problem, self.num, self.seed)
        return distinct_programs(problem.grammar, self.asked(attempt).prefix[0])


class Filtered(ProposalSolver):
    """The model alone: of its proposals the first one that is right on the grid, else the one right at most points."""

    def __init__(self, proposer: Proposer | None, num: int, name: str | None = None) -> None:
        super().__init__(proposer, num, name, f"best of {num}")

    def answer(self, attempt: Attempt, prefix: np.ndarray) -> None:
        consider_all(attempt, prefix)
