"""Correct means the same function; every other outcome says why it failed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.language.grammar import PAD
from synthlab.language.identity import fingerprints, grid_codes
from synthlab.language.measure import sizes_of
from synthlab.language.program import prefix_lengths
from synthlab.language.residues import UNDEFINED_RESIDUE

STATUSES = ("solved", "right on grid", "wrong function", "ungrammatical", "too long", "undefined")
SOLVED, ON_GRID, WRONG, UNGRAMMATICAL, TOO_LONG, UNDEFINED = range(len(STATUSES))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Outcome of every candidate.

    Attributes
    ----------
    tasks, candidates
        What was asked and answered.
    status
        Index into `STATUSES` (K,).
    on_grid
        Whether a candidate has exactly the outputs that the solver was shown (K,), bool; a function that is
        right may miss one where it has a removable pole.
    """

    tasks: Tasks
    candidates: Candidates
    status: np.ndarray
    on_grid: np.ndarray

    @property
    def num_samples(self) -> np.ndarray:
        """Candidates per task (T,)."""
        return np.bincount(self.candidates.task, minlength=len(self.tasks))

    def num_correct(self) -> np.ndarray:
        """Correct candidates per task (T,)."""
        return np.bincount(self.candidates.task, weights=self.status == SOLVED, minlength=len(self.tasks)).astype(int)

    def first_status(self) -> np.ndarray:
        """Status of the candidate submitted first, per task (T,)."""
        status = np.full(len(self.tasks), UNGRAMMATICAL)
        first = self.candidates.rank == 0
        status[self.candidates.task[first]] = self.status[first]
        return status

    def submitted(self) -> np.ndarray:
        """Status per task (T,) when the candidates are filtered by the grid and one is submitted.

        The submitted candidate is the first that is right on the grid, which a solver can see; without one,
        the first candidate.
        """
        status = self.first_status()
        visible = np.flatnonzero(self.on_grid)
        order = visible[np.lexsort((self.candidates.rank[visible], self.candidates.task[visible]))]
        tasks, first = np.unique(self.candidates.task[order], return_index=True)
        status[tasks] = self.status[order[first]]
        return status

    def frame(self) -> pd.DataFrame:
        """One row a task: class, size, weight, whether solved, why not, correct of how many, whether independent."""
        table = self.tasks.frame()
        first = self.first_status()
        return table.assign(
            solved=first == SOLVED,
            status=np.array(STATUSES)[first],
            num_correct=self.num_correct(),
            num_samples=self.num_samples,
            independent=self.candidates.independent,
        )


def check(tasks: Tasks, candidates: Candidates, *, max_size: int | None = None) -> Evaluation:
    """Judge candidates in bulk.

    Parameters
    ----------
    tasks, candidates
        What was asked and answered.
    max_size
        Largest answer that counts; the tasks' bound N by default.
    """
    grammar = tasks.grammar
    limit = tasks.max_size if max_size is None else max_size
    lengths = prefix_lengths(grammar, candidates.prefix)
    inside = np.arange(candidates.prefix.shape[1]) < lengths[:, None]
    prefix = np.where(inside, candidates.prefix, PAD).astype(np.uint8)
    status = np.full(len(candidates), UNGRAMMATICAL)
    grammatical = np.flatnonzero(lengths > 0)
    sizes = sizes_of(grammar, prefix[grammatical], tasks.measure)
    status[grammatical[sizes > limit]] = TOO_LONG
    valid = grammatical[sizes <= limit]
    status[valid], fits = _judge_functions(tasks, prefix[valid], candidates.task[valid])
    on_grid = np.zeros(len(candidates), dtype=bool)
    on_grid[valid] = fits
    return Evaluation(tasks, candidates, status, on_grid)


def _judge_functions(tasks: Tasks, prefix: np.ndarray, task: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Status of candidates, and whether they have the outputs that were shown."""
    unique, inverse = np.unique(prefix, axis=0, return_inverse=True)
    found = fingerprints(tasks.grammar, unique, tasks.seed)[inverse]
    on_grid = (grid_codes(tasks.grammar, unique)[inverse] == tasks.codes[task]).all(axis=1)
    status = np.where(on_grid, ON_GRID, WRONG)
    status[found[:, 0] == UNDEFINED_RESIDUE] = UNDEFINED
    status[(found == tasks.fingerprints[task]).all(axis=1)] = SOLVED
    return status, on_grid
