"""The universe on disk: every program text up to a size, and the semantic class of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from synthlab.errors import ArtifactError, BudgetExceeded
from synthlab.language.grammar import Grammar, get_grammar
from synthlab.language.identity import (
    FINGERPRINT_SEED,
    UNDEFINED_RESIDUE,
    ResiduePoints,
    check_coefficients,
    fingerprint_points,
)
from synthlab.language.interpreter import grid_outputs
from synthlab.language.program import Program, infix_texts
from synthlab.store import Carrier
from synthlab.universe.counting import operand_ids, program_counts, rank, size_offsets, unrank
from synthlab.universe.enumeration import FunctionTable, HashIndex, enumerate_functions, mix

NO_CLASS = -1
_BYTES_PER_PROGRAM = 120
_ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class Corpus(Carrier):
    """Programs and semantic classes of a grammar up to a number of leaves.

    A program's row equals its id. Classes are rows too, ordered by their minimal text; `class_index`
    leads from programs to class rows, `class_id` from class rows to the id of the minimal text.

    Attributes
    ----------
    grammar, max_leaves, seed
        The language, the bound N, and the seed of the fingerprint points.
    prefix
        Padded prefix tokens (P, L), uint8.
    leaves
        Size of every program (P,), uint8.
    class_index
        Class row of every program (P,), int32; `NO_CLASS` where it is undefined as a function.
    class_id
        Program id of every class's minimal text (C,), int64.
    fingerprints
        Identity of every class (C, 2), uint64.
    """

    stage: ClassVar[str] = "corpus"

    grammar: Grammar
    max_leaves: int
    seed: int
    prefix: np.ndarray
    leaves: np.ndarray
    class_index: np.ndarray
    class_id: np.ndarray
    fingerprints: np.ndarray

    @staticmethod
    def describe(grammar: Grammar, max_leaves: int, seed: int = FINGERPRINT_SEED) -> dict[str, Any]:
        """Identity of a corpus before it is built."""
        return {"grammar": grammar.name, "digest": grammar.digest, "max_leaves": max_leaves, "seed": seed}

    @property
    def identity(self) -> dict[str, Any]:
        return self.describe(self.grammar, self.max_leaves, self.seed)

    @property
    def label(self) -> str:
        return f"{self.grammar.name}-{self.max_leaves}"

    def payload(self) -> dict[str, np.ndarray]:
        names = ("prefix", "leaves", "class_index", "class_id", "fingerprints")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        grammar = get_grammar(identity["grammar"])
        if grammar.digest != identity["digest"]:
            raise ArtifactError(
                f"the corpus was made with grammar {identity['digest']}, not {grammar.digest}: enumerate it again"
            )
        return cls(grammar, identity["max_leaves"], identity["seed"], **payload)

    @property
    def num_programs(self) -> int:
        """Number of distinct program texts."""
        return len(self.prefix)

    @property
    def num_classes(self) -> int:
        """Number of distinct functions."""
        return len(self.class_id)

    @cached_property
    def class_leaves(self) -> np.ndarray:
        """Minimal size of every class (C,)."""
        return self.leaves[self.class_id].astype(np.int64)

    @cached_property
    def multiplicity(self) -> np.ndarray:
        """Number of texts of every class (C,)."""
        return np.bincount(self.class_index[self.class_index >= 0], minlength=self.num_classes)

    @cached_property
    def outputs(self) -> np.ndarray:
        """Outputs of every class on the grid (C, G), those of its minimal text; NaN at poles."""
        return grid_outputs(self.grammar, self.prefix[self.class_id])

    @cached_property
    def is_task(self) -> np.ndarray:
        """Classes defined on the whole grid (C,), bool; only they can be tasks."""
        return ~np.isnan(self.outputs).any(axis=1)

    @property
    def root(self) -> np.ndarray:
        """First token of every program (P,)."""
        return self.prefix[:, 0]

    def program(self, program_id: int) -> Program:
        """Program object of an id."""
        return Program.from_row(self.grammar, self.prefix[program_id])

    def class_rows(self, class_ids: np.ndarray) -> np.ndarray:
        """Class rows of class ids.

        Raises
        ------
        ArtifactError
            If an id is not the minimal text of a class here.
        """
        rows = np.searchsorted(self.class_id, class_ids)
        if (rows >= self.num_classes).any() or (self.class_id[rows] != class_ids).any():
            raise ArtifactError("class ids of another corpus: draw the split on this corpus again")
        return rows

    def counts(self) -> pd.DataFrame:
        """New programs and functions per number of leaves, with cumulative sums."""
        sizes = np.arange(1, self.max_leaves + 1)
        programs = np.bincount(self.leaves, minlength=self.max_leaves + 1)[1:]
        functions = np.bincount(self.class_leaves, minlength=self.max_leaves + 1)[1:]
        return pd.DataFrame(
            {
                "leaves": sizes,
                "programs": programs,
                "functions": functions,
                "programs_cumulative": programs.cumsum(),
                "functions_cumulative": functions.cumsum(),
            }
        )

    def frame(self, program_ids: np.ndarray | None = None) -> pd.DataFrame:
        """Programs as a table: id, text, leaves, root, class (all of them, or the chosen ids)."""
        ids = np.arange(self.num_programs) if program_ids is None else np.asarray(program_ids)
        classes = self.class_index[ids]
        defined = classes >= 0
        return pd.DataFrame(
            {
                "program_id": ids,
                "program": infix_texts(self.grammar, self.prefix[ids]),
                "leaves": self.leaves[ids],
                "root": np.array(self.grammar.tokens)[self.prefix[ids, 0]],
                "class_id": np.where(defined, self.class_id[classes], NO_CLASS),
                "class_size": np.where(defined, self.multiplicity[classes], 0),
            }
        )

    def class_frame(self) -> pd.DataFrame:
        """Classes as a table: id, minimal program, leaves, number of texts, root of the minimal text."""
        table = self.frame(self.class_id)
        return table.drop(columns="program_id")[["class_id", "program", "leaves", "root", "class_size"]]

    def __repr__(self) -> str:
        return (
            f"Corpus({self.grammar.name}, <= {self.max_leaves} leaves: "
            f"{self.num_programs:,} programs, {self.num_classes:,} functions)"
        )


def build_corpus(grammar: Grammar, max_leaves: int, *, seed: int = FINGERPRINT_SEED, max_bytes: float = 8e9) -> Corpus:
    """Enumerate every program text and class up to `max_leaves` leaves.

    Parameters
    ----------
    grammar, max_leaves, seed
        What to enumerate, and the seed of the identity test.
    max_bytes
        Memory that the work may take.

    Raises
    ------
    BudgetExceeded
        Before any work, if the exact count says that the corpus would not fit.
    """
    total = sum(program_counts(grammar, max_leaves))
    if total * _BYTES_PER_PROGRAM > max_bytes:
        raise BudgetExceeded(
            f"{total:,} programs of up to {max_leaves} leaves need about {total * _BYTES_PER_PROGRAM / 1e9:.1f} GB, "
            f"{max_bytes / 1e9:.1f} GB are allowed: lower max_leaves, or enumerate functions only"
        )
    check_coefficients(grammar, max_leaves)
    points = fingerprint_points(grammar, seed)
    functions = enumerate_functions(grammar, points, max_leaves)
    prefix = unrank(grammar, np.arange(total), max_leaves)
    leaves = np.repeat(np.arange(1, max_leaves + 1), program_counts(grammar, max_leaves)).astype(np.uint8)
    class_index = _classify(grammar, prefix, functions, points, max_leaves)
    class_id = rank(grammar, functions.text, max_leaves)
    return Corpus(grammar, max_leaves, seed, prefix, leaves, class_index, class_id, functions.values)


def _classify(
    grammar: Grammar, prefix: np.ndarray, functions: FunctionTable, points: ResiduePoints, max_leaves: int
) -> np.ndarray:
    """Class row of every program from the classes of its operands, smaller programs first."""
    index = HashIndex(mix(functions.values))
    class_index = np.full(len(prefix), NO_CLASS, dtype=np.int32)
    offsets = size_offsets(grammar, max_leaves)
    for size in range(1, max_leaves + 1):
        for start in range(offsets[size], offsets[size + 1], _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, offsets[size + 1]))
            values = _values_from_operands(grammar, prefix[rows], functions, points, class_index, max_leaves)
            class_index[rows] = index.find(mix(values))
    return class_index


def _values_from_operands(
    grammar: Grammar,
    prefix: np.ndarray,
    functions: FunctionTable,
    points: ResiduePoints,
    class_index: np.ndarray,
    max_leaves: int,
) -> np.ndarray:
    values = np.full((len(prefix), functions.values.shape[1]), UNDEFINED_RESIDUE, dtype=np.uint64)
    operands = operand_ids(grammar, prefix, max_leaves)
    known = np.concatenate([functions.values, values[:1]]) if len(values) else functions.values
    for token in np.unique(prefix[:, 0]):
        rows = np.flatnonzero(prefix[:, 0] == token)
        if token < grammar.num_terminals:
            values[rows] = points.terminals[token]
            continue
        # class -1 reads the last row, which is undefined
        parts = [known[class_index[operands[rows, k]]] for k in range(grammar.arities[token])]
        values[rows] = points.apply(grammar.operator(int(token)), *parts)
    return values


def function_counts(grammar: Grammar, max_leaves: int, seed: int = FINGERPRINT_SEED) -> FunctionTable:
    """All functions up to a size without their texts, for universes too large to list."""
    check_coefficients(grammar, max_leaves)
    return enumerate_functions(grammar, fingerprint_points(grammar, seed), max_leaves)
