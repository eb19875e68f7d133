"""Best-first search with costs of every task's own: those under which a model's proposals are cheap."""

from __future__ import annotations

import numpy as np

from synthlab.search.best_first import BestFirst
from synthlab.search.filtering import AskingSolver
from synthlab.search.problem import Attempt
from synthlab.search.proposer import Proposer
from synthlab.universe.sampling import PCFG


class ModelCosts(AskingSolver):
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
        proposals = self.asked(attempt)
        likelihood = proposals.log_probability[0]
        weights = np.exp(likelihood - max(likelihood.max(), np.finfo(np.float64).min))  # all 0 without a proposal
        uses = np.array(self.prior.probabilities)
        for text, weight in zip(proposals.prefix[0], weights, strict=True):
            tokens = text[text < len(uses)]
            uses = uses + weight * np.bincount(tokens, minlength=len(uses))
        BestFirst(PCFG(attempt.problem.grammar, tuple(uses / uses.sum()))).search(attempt)
