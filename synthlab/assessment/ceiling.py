"""What no solver can pass: tasks that look alike to it and are different functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from synthlab.assessment.tasks import Tasks
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.identity import grid_codes, mix
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.universe.corpus import Corpus
from synthlab.universe.hashing import KeyNumbers

_ROWS_AT_ONCE = 1 << 13

Encoder = Callable[[np.ndarray], np.ndarray]
"""From outputs (n, G) float64 to what a solver sees of them (n, D) float32, row by row."""


def ceiling(corpus: Corpus, tasks_by_part: Mapping[str, Tasks], encoded: Encoder | None = None) -> pd.DataFrame:
    """How many tasks of every part cannot be told from other functions, and what that leaves to be solved.

    Compared are all functions of the universe without a pole on the grid, whether tested or not. A solver's input is
    the encoded outputs, or the exact ones without an encoder; inputs are alike if they agree bitwise, where -0 is 0
    and any NaN is every NaN. If k functions share the input of a task and each is as likely as another, a solver that
    gives one answer is right with probability 1/k at most, whatever it answers. `best_possible` is the mean of 1/k over
    the tasks as the test set drew them: a bound in expectation under that uniform prior. A solver may beat it where
    the functions are not equally likely, say because some were trained on.

    Parameters
    ----------
    corpus
        The universe.
    tasks_by_part
        Tasks of every part (`assessment.tasks.tasks_by_part`).
    encoded
        How a solver sees outputs; called on blocks of rows, of which 122-bit keys are kept.

    Returns
    -------
    pandas.DataFrame
        part; num_tasks; ambiguous_on_grid, tasks whose exact outputs are those of several functions;
        encoder_collisions (with an encoder only), tasks whose encoded outputs are also those of a function with
        other exact outputs; best_possible.

    Raises
    ------
    ArtifactError
        If the tasks are those of another corpus.
    ConfigurationError
        If the encoder gives no float32 matrix of one row per function.
    """
    rows = np.flatnonzero(corpus.is_task)
    grid = _numbered(rows, lambda block: grid_codes(corpus.grammar, corpus.prefix[corpus.class_id[block]]))
    seen = grid if encoded is None else _numbered(rows, lambda block: _encoded_bits(encoded, corpus.outputs[block]))
    pairs = np.unique(seen * len(rows) + grid)  # every grid that an input stands for, once
    is_ambiguous, is_blurred = np.bincount(grid)[grid] > 1, np.bincount(pairs // len(rows))[seen] > 1
    chance, table = 1 / np.bincount(seen)[seen], []
    for part, tasks in tasks_by_part.items():
        at = np.searchsorted(rows, _class_rows(corpus, tasks))
        best = float(np.average(chance[at], weights=tasks.weight)) if len(at) else float("nan")
        table.append((part, len(at), int(is_ambiguous[at].sum()), int(is_blurred[at].sum()), best))
    columns = ["part", "num_tasks", "ambiguous_on_grid", "encoder_collisions", "best_possible"]
    frame = pd.DataFrame(table, columns=columns)
    return frame.drop(columns="encoder_collisions") if encoded is None else frame


def _numbered(rows: np.ndarray, codes: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Number of every row, int64, equal where its codes are equal (but for a chance of 2^-122 a pair)."""
    numbers, keys = np.empty(len(rows), dtype=np.int64), KeyNumbers()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        numbers[block], _ = keys.number(mix(codes(rows[block])), UNDEFINED_RESIDUE)
    return numbers


def _encoded_bits(encoded: Encoder, outputs: np.ndarray) -> np.ndarray:
    """Bits of encoded outputs, uint64 (n, D)."""
    features = encoded(outputs.astype(np.float64))
    if features.dtype != np.float32 or features.ndim != 2 or len(features) != len(outputs):
        raise ConfigurationError(
            f"the encoder gave {features.dtype} of shape {features.shape} for {len(outputs)} functions: "
            "return a float32 matrix of one row each"
        )
    features = np.where(np.isnan(features), np.float32(np.nan), features + np.float32(0))  # -0 + 0 is 0
    return np.ascontiguousarray(features).view(np.uint32).astype(np.uint64)


def _class_rows(corpus: Corpus, tasks: Tasks) -> np.ndarray:
    rows = corpus.class_rows(tasks.class_id)
    if not np.array_equal(corpus.fingerprints[rows], tasks.fingerprints):
        raise ArtifactError("the tasks are those of another corpus: make them from this one")
    return rows
