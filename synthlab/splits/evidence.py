"""What the saved ids of a split say once they are computed anew: texts, functions, poles, constructs."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from synthlab.language.grammar import Grammar
from synthlab.language.identity import ResiduePoints, fingerprints, hidden_inputs, keys_of
from synthlab.language.interpreter import Algebra, evaluate, grid_outputs, number_algebra
from synthlab.language.measure import sizes_of
from synthlab.language.program import infix_texts
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.splits.constructs import canonical_keys
from synthlab.splits.split import Split
from synthlab.universe.counting import program_counts, unrank
from synthlab.universe.hashing import KeyNumbers

NUM_NAMED = 3
"""Offenders that a finding names."""
ROWS_AT_ONCE = 1 << 17
Finding = tuple[str, int, tuple[str, ...]]
"""A check, its number of offenders, and a few of them as text."""


def finding(check: str, grammar: Grammar, num: int, shown: np.ndarray) -> Finding:
    """A check with the number of its offenders, and the first `NUM_NAMED` of them (n, L) as text."""
    return check, num, tuple(infix_texts(grammar, shown))


class Evidence:
    """Texts and functions of a split's parts, recomputed from ids."""

    def __init__(self, split: Split, grammar: Grammar) -> None:
        self.grammar, self.seed = grammar, split.corpus["seed"]
        self.bound = split.corpus["max_size"], split.corpus["measure"]
        self.num_programs = sum(program_counts(grammar, *self.bound))
        self.numbers = KeyNumbers()
        points = hidden_inputs(grammar, self.seed + 1)  # not those that decide identity on probes
        residues = grammar.exact and not grammar.integral  # elsewhere another arithmetic than identity's
        self.hidden: Algebra = ResiduePoints(grammar, points) if residues else number_algebra(grammar, points)

    def texts(self, ids: np.ndarray) -> np.ndarray:
        """Programs of ids (n, L)."""
        return unrank(self.grammar, ids, *self.bound)

    def functions(self, ids: np.ndarray) -> np.ndarray:
        """Functions as numbers that are equal where they are; -1 where there is none."""
        return self._numbered(fingerprints(self.grammar, self.texts(ids), self.seed))

    def _numbered(self, keys: np.ndarray) -> np.ndarray:
        return self.numbers.number(keys, UNDEFINED_RESIDUE)[0]

    @cached_property
    def all_functions(self) -> np.ndarray:
        """Functions of all texts of the universe."""
        return self.functions(np.arange(self.num_programs))

    def hidden_keys(self, ids: np.ndarray) -> np.ndarray:
        """First key (P,) of the values on hidden inputs, computed by another arithmetic than identity."""
        keys = np.empty(len(ids), dtype=np.uint64)
        for start in range(0, len(ids), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            keys[rows] = keys_of(self.hidden, evaluate(self.grammar, self.texts(ids[rows]), self.hidden))[:, 0]
        return keys

    def sizes(self, ids: np.ndarray) -> np.ndarray:
        """Sizes (n,) in the measure of the universe."""
        return sizes_of(self.grammar, self.texts(ids), self.bound[1])

    @cached_property
    def least(self) -> np.ndarray:
        """Ids of the least text of every function of the universe, ascending."""
        functions, first = np.unique(self.all_functions, return_index=True)
        return np.sort(first[functions >= 0])

    def least_of(self, ids: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        """Least text (n,) of the function of every id, among the programs of a mask; -1 where it has none there."""
        texts = np.arange(self.num_programs) if allowed is None else np.flatnonzero(allowed)
        functions, first = np.unique(self.all_functions[texts], return_index=True)
        asked = self.all_functions[ids]
        if not len(functions):
            return np.full(len(ids), -1)
        at = np.minimum(np.searchsorted(functions, asked), len(functions) - 1)
        return np.where(functions[at] == asked, texts[first[at]], -1)

    def canonical(self, ids: np.ndarray) -> np.ndarray:
        """Keys of trees up to the order of commutative operands (n,)."""
        return canonical_keys(self.grammar, self.texts(ids))

    def poles(self, ids: np.ndarray) -> np.ndarray:
        """Mask of the texts that have no value at some point of the grid."""
        found = np.zeros(len(ids), dtype=bool)
        for start in range(0, len(ids) if self.grammar.partial else 0, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            found[rows] = np.isnan(grid_outputs(self.grammar, self.texts(ids[rows]))).any(axis=1)
        return found

    def finding(self, check: str, ids: np.ndarray) -> Finding:
        """A check with the offenders of these ids."""
        return finding(check, self.grammar, len(ids), self.texts(ids[:NUM_NAMED]))


def among(values: np.ndarray, few: np.ndarray) -> np.ndarray:
    """Mask of many values (n,) that are among a few."""
    few = np.unique(few)
    if not len(few):
        return np.zeros(len(values), dtype=bool)
    return np.asarray(few[np.minimum(np.searchsorted(few, values), len(few) - 1)] == values)
