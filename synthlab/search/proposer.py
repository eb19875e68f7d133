"""What a search may ask a model for: programs that it thinks likely, at a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from synthlab.search.budget import Cost


@dataclass(frozen=True, eq=False)
class Proposals:
    """Programs proposed for some outputs, first guess first.

    Attributes
    ----------
    prefix
        Prefix tokens (B, n, L), uint8, padded with `PAD`; a row without a token proposes nothing.
    log_probability
        Natural logarithm of the proposer's probability of each (B, n); minus infinity where nothing is proposed.
    cost
        What the whole batch took: seconds, tokens, flops.
    """

    prefix: np.ndarray
    log_probability: np.ndarray
    cost: Cost


class Proposer(Protocol):
    """Outputs in, programs out; whatever learned to do that."""

    @property
    def name(self) -> str:
        """How it is called in tables."""

    @property
    def training(self) -> Cost:
        """What was spent before the first question: seconds, flops."""

    def propose(self, outputs: np.ndarray, num: int) -> Proposals:
        """Programs for outputs on the grid (B, G), `num` for each."""
