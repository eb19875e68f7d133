"""Proposers that need no model: they propose given texts, or random programs that depend on the outputs."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np

from synthlab.language.grammar import PAD, Grammar
from synthlab.language.program import parse, token_matrix
from synthlab.search.budget import Cost
from synthlab.search.proposer import Proposals
from synthlab.universe.sampling import sample_programs

TRAINING = Cost(seconds=100.0, flops=1e6)
OF_ONE = Cost(seconds=0.5, tokens=20, flops=7.0)


@dataclass
class Fixed:
    """The same texts for everything, and what it was asked."""

    prefix: np.ndarray
    name: str = "fixed"
    training: Cost = TRAINING
    cost_of_one: Cost = OF_ONE
    asked: list = field(default_factory=list)

    @classmethod
    def of(cls, grammar: Grammar, *texts: str, **options):
        return cls(token_matrix([parse(grammar, text) for text in texts]), **options)

    def texts(self, outputs: np.ndarray, num: int) -> np.ndarray:
        return self.prefix[:num]

    def propose(self, outputs: np.ndarray, num: int) -> Proposals:
        self.asked.append((len(outputs), num))
        prefix = np.stack([self.texts(row, num) for row in outputs])
        cost = sum([self.cost_of_one] * len(outputs), Cost())
        return Proposals(prefix, np.zeros(prefix.shape[:2]), cost)


@dataclass
class Random(Fixed):
    """Random programs of one size, others for other outputs."""

    prefix: np.ndarray = field(default_factory=lambda: np.empty((0, 1), dtype=np.uint8))
    grammar: Grammar | None = None
    size: int = 3
    width: int = 20
    measure: str = "leaves"

    def texts(self, outputs: np.ndarray, num: int) -> np.ndarray:
        seed = zlib.crc32(outputs.astype(float).tobytes())
        drawn = sample_programs(self.grammar, self.size, num, measure=self.measure, seed=seed)
        prefix = np.full((num, self.width), PAD, dtype=np.uint8)
        prefix[:, : drawn.shape[1]] = drawn
        return prefix
