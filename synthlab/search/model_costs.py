"""Best-first search with costs of every task's own: those under which a model's proposals are cheap."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from synthlab.search.best_first import BestFirst
from synthlab.search.budget import Budget
from synthlab.search.filtering import Remembered, solve_prepared
from synthlab.search.problem import Attempt, Problem, Result, Solver
from synthlab.search.proposer import Proposer
from synthlab.universe.sampling import PCFG


class ModelCosts(Solver):
    """Best-first search by a PCFG of every task's own, fitted on what a model proposes for it (as DeepCoder's
    predictions reorder a search: Balog et al. 2017).

    Parameters
    ----------
    proposer, num
        Who proposes, and how many candidates.
    prior
        Whose probabilities every rule keeps a share of, as if so many of its tokens had been seen.
    """

    def __init__(self, proposer: Proposer, num: int, prior: PCFG, name: str = "best-first, model's PCFG") -> None:
        self.name, self.setup = name, proposer.training
        self.proposer, self.num, self.prior = proposer, num, prior

    def search(self, attempt: Attempt) -> None:
        start = time.perf_counter()
        proposals = self.proposer.propose(attempt.problem.outputs[None], self.num)
        clocked = time.perf_counter() - start  # the seconds that the proposer states stand for these
        attempt.meter.charge(replace(proposals.cost, seconds=proposals.cost.seconds - clocked))
        likelihood = proposals.log_probability[0]
        weights = np.exp(likelihood - max(likelihood.max(), np.finfo(np.float64).min))  # all 0 without a proposal
        uses = np.array(self.prior.probabilities)
        for text, weight in zip(proposals.prefix[0], weights, strict=True):
            tokens = text[text < len(uses)]
            uses = uses + weight * np.bincount(tokens, minlength=len(uses))
        BestFirst(PCFG(attempt.problem.grammar, tuple(uses / uses.sum()))).search(attempt)

    def prepared(self, problems: Sequence[Problem]) -> Self:
        """The same solver with the proposals for these problems at hand."""
        ready = copy.copy(self)
        if problems:
            ready.proposer = Remembered.of(self.proposer, problems, self.num)
        return ready

    def solve_all(self, problems: Sequence[Problem], budget: Budget) -> list[Result]:
        """Every problem as `solve` would answer it; the proposer is asked once, and each pays an equal share."""
        return solve_prepared(self, problems, budget)
