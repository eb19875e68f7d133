"""Which rests a search looks at first: those of small numbers, and what learning corrects of that."""

from __future__ import annotations

import numpy as np

from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.search.budget import Cost
from synthlab.search.guide import Guide, fractions

_UNREADABLE = 61 * np.log(2)
"""Counts as the logarithm of a value that is no small fraction."""
_WEIGHT = 0.3


def smallness(codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Minus the sum of the logarithms of wanted outputs (M, G): log(1 + |p|) + log q of a fraction p/q.

    Outputs that are all the same count as one.
    """
    tops, bottoms = fractions(codes, known)
    logs = np.where(bottoms > 0, np.log1p(np.abs(tops)) + np.log(np.maximum(bottoms, 1)), _UNREADABLE) * known
    same = np.where(known, codes, UNDEFINED_RESIDUE).min(axis=1) >= np.where(known, codes, 0).max(axis=1)
    return -np.where(same, logs.max(axis=1), logs.sum(axis=1))


class SmallRests:
    """The guide that needs no learning: rests of small numbers first, since a part that belongs to a target makes it
    simpler; the control for what learning adds."""

    training = Cost()

    def __call__(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        return smallness(codes, known) / np.maximum(1, known.sum(axis=1))


class CorrectedOrder:
    """Small rests first, corrected by a learned guide: both in units of their spread over the rests at hand.

    Parameters
    ----------
    learned
        Log-odds that a rest can be completed.
    weight
        Of the learned part; the small rests weigh 1.
    """

    def __init__(self, learned: Guide, weight: float = _WEIGHT) -> None:
        self.learned, self.small, self.weight = learned, SmallRests(), weight

    @property
    def training(self) -> Cost:
        """What the learned part took."""
        return self.learned.training

    def __call__(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        return self.weight * _standard(self.learned(codes, known)) + _standard(self.small(codes, known))


def _standard(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean()) / (scores.std() + 1e-6) if len(scores) else scores
