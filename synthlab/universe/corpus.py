"""The universe on disk: every program text up to a size, and the semantic class of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from synthlab.errors import ArtifactError, GrammarError
from synthlab.language.grammar import Grammar, get_grammar
from synthlab.language.identity import (
    FINGERPRINT_SEED,
    check_coefficients,
    fingerprints,
    identity_algebra,
    identity_method,
)
from synthlab.language.interpreter import grid_outputs
from synthlab.language.measure import sizes_of, smallest_size
from synthlab.language.program import Program, infix_texts
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.store import Carrier
from synthlab.universe.counting import program_counts, size_offsets, unrank
from synthlab.universe.enumeration import VALUES_AT_ONCE, enumerate_functions
from synthlab.universe.functions import FunctionTable
from synthlab.universe.hashing import KeyNumbers
from synthlab.universe.planning import WORTH_A_PLAN, Limits, Plan, plan_functions, plan_texts

NO_CLASS = -1
_ROWS_AT_ONCE = 1 << 18
_GRID_SAMPLE = 4096


@dataclass(frozen=True, eq=False)
class Corpus(Carrier):
    """Programs and semantic classes of a grammar up to a size.

    A program's row equals its id. Classes are rows too, ordered by their minimal text; `class_index`
    leads from programs to class rows, `class_id` from class rows to the id of the minimal text.

    Attributes
    ----------
    grammar, max_size, measure, seed
        The language, the bound N, its measure (leaves, nodes or depth), and the seed of the identity test.
    prefix
        Padded prefix tokens (P, L), uint8.
    leaves
        Number of leaves of every program (P,), uint8.
    class_index
        Class row of every program (P,), int32; `NO_CLASS` where it is undefined as a function.
    class_id
        Program id of every class's minimal text (C,), int64.
    fingerprints
        Identity of every class (C, 2), uint64.
    """

    stage: ClassVar[str] = "corpus"
    schema: ClassVar[int] = 2

    grammar: Grammar
    max_size: int
    measure: str
    seed: int
    prefix: np.ndarray
    leaves: np.ndarray
    class_index: np.ndarray
    class_id: np.ndarray
    fingerprints: np.ndarray

    @staticmethod
    def describe(
        grammar: Grammar, max_size: int, measure: str = "leaves", seed: int = FINGERPRINT_SEED
    ) -> dict[str, Any]:
        """Identity of a corpus before it is built."""
        return {
            "grammar": grammar.name, "digest": grammar.digest, "max_size": max_size, "measure": measure, "seed": seed
        }  # fmt: skip

    @property
    def identity(self) -> dict[str, Any]:
        return self.describe(self.grammar, self.max_size, self.measure, self.seed)

    @property
    def label(self) -> str:
        return f"{self.grammar.name}-{self.max_size}-{self.measure}"

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
        return cls(grammar, identity["max_size"], identity["measure"], identity["seed"], **payload)

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
        """Number of leaves of every class's minimal text (C,)."""
        return self.leaves[self.class_id].astype(np.int64)

    @cached_property
    def minimal_size(self) -> np.ndarray:
        """Size of every class's minimal text (C,), in the measure of the universe."""
        return sizes_of(self.grammar, self.prefix[self.class_id], self.measure)

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
        """New programs and functions per size, with cumulative sums."""
        smallest = smallest_size(self.measure)
        functions = np.bincount(self.minimal_size, minlength=self.max_size + 1)[smallest:]
        programs = np.array(program_counts(self.grammar, self.max_size, self.measure))
        return pd.DataFrame(
            {
                self.measure: np.arange(smallest, self.max_size + 1),
                "programs": programs,
                "functions": functions,
                "programs_cumulative": programs.cumsum(),
                "functions_cumulative": functions.cumsum(),
            }
        )

    @property
    def identity_method(self) -> str:
        """How equality of functions was decided, in words."""
        return identity_method(self.grammar, self.seed)

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
        equal = "" if self.grammar.exact else " (equal on probes)"
        return (
            f"Corpus({self.grammar.name}, <= {self.max_size} {self.measure}: "
            f"{self.num_programs:,} programs, {self.num_classes:,} functions{equal})"
        )


def build_corpus(
    grammar: Grammar,
    max_size: int,
    *,
    measure: str = "leaves",
    seed: int = FINGERPRINT_SEED,
    limits: Limits | None = None,
) -> Corpus:
    """Enumerate every program text and class up to `max_size`.

    Parameters
    ----------
    grammar, max_size, measure
        What to enumerate: programs of at most so many leaves, nodes, or levels.
    seed
        Seed of the identity test.
    limits
        What the work may take; by default 80 % of the free memory.

    Raises
    ------
    BudgetExceeded
        Before any work, if the exact count says that the corpus would not fit.
    """
    _require_plan(plan_texts, grammar, max_size, measure, seed, limits)
    check_coefficients(grammar, max_size, measure)
    check_grid(grammar, measure)
    total = sum(program_counts(grammar, max_size, measure))
    prefix = unrank(grammar, np.arange(total), max_size, measure)
    leaves = (prefix < grammar.num_terminals).sum(axis=1).astype(np.uint8)
    keys, class_index, class_id = _classes(grammar, prefix, seed)
    return Corpus(grammar, max_size, measure, seed, prefix, leaves, class_index, class_id, keys)


def _require_plan(
    plan: Callable[..., Plan], grammar: Grammar, max_size: int, measure: str, seed: int, limits: Limits | None
) -> None:
    """Refuse work in memory that would not fit; small work under the default limits is not planned."""
    total = sum(program_counts(grammar, max_size, measure))
    if limits is not None or total * _width(grammar, seed) > WORTH_A_PLAN:
        plan(grammar, max_size, measure, seed).require(limits, in_memory=True)


def _width(grammar: Grammar, seed: int) -> int:
    """Numbers that a program's identity is computed from."""
    return int(identity_algebra(grammar, seed).terminals.shape[1])


def check_grid(grammar: Grammar, measure: str) -> None:
    """Refuse a grid on which no operator ever has a value at some point.

    Raises
    ------
    GrammarError
        Naming the point.
    """
    if not grammar.partial:
        return
    size = smallest_size(measure) + (2 if measure == "nodes" else 1)
    offsets = size_offsets(grammar, size, measure)
    ids = np.arange(offsets[-2], min(offsets[-1], offsets[-2] + _GRID_SAMPLE))
    missing = np.isnan(grid_outputs(grammar, unrank(grammar, ids, size, measure))).all(axis=0)
    if len(ids) and missing.any():
        point = ", ".join(map(str, grammar.grid.points[int(np.argmax(missing))]))
        raise GrammarError(f"every program of {grammar.name!r} is undefined at the grid point ({point}): move the grid")


def _classes(grammar: Grammar, prefix: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fingerprints of the classes in the order of their first texts, class of every text, first texts."""
    found, class_index = [], np.empty(len(prefix), dtype=np.int32)
    classes = KeyNumbers()
    block = max(1, min(_ROWS_AT_ONCE, VALUES_AT_ONCE // _width(grammar, seed)))
    for start in range(0, len(prefix), block):
        rows = slice(start, start + block)
        keys = fingerprints(grammar, prefix[rows], seed)
        class_index[rows], first = classes.number(keys, UNDEFINED_RESIDUE)
        found.append((keys[first], start + first))
    keys, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return keys, class_index, ids


def function_table(
    grammar: Grammar,
    max_size: int,
    *,
    measure: str = "leaves",
    seed: int = FINGERPRINT_SEED,
    limits: Limits | None = None,
) -> FunctionTable:
    """All functions up to a size without their other texts, for universes too large to list.

    Raises
    ------
    BudgetExceeded
        Before the work, if the predicted functions would not fit the limits (80 % of the free memory).
    """
    check_coefficients(grammar, max_size, measure)
    check_grid(grammar, measure)
    _require_plan(plan_functions, grammar, max_size, measure, seed, limits)
    return enumerate_functions(grammar, identity_algebra(grammar, seed), max_size, measure)
