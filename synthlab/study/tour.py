"""Small tables for a first look: what a program computes, and what a model answers to a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.tasks import Tasks
from synthlab.language.grammar import get_grammar
from synthlab.language.identity import fingerprints, grid_codes
from synthlab.language.interpreter import grid_outputs
from synthlab.language.program import Program, parse, token_matrix
from synthlab.splits.split import Split
from synthlab.universe.counting import unrank
from synthlab.universe.hashing import HashIndex

if TYPE_CHECKING:
    from synthlab.learning.run import Run


def outputs_table(program: Program) -> pd.DataFrame:
    """Outputs of a program of two variables on its grid: one column per variable, and value."""
    grammar = program.grammar
    values = grid_outputs(grammar, token_matrix([program]))[0]
    points = pd.DataFrame([[float(v) for v in point] for point in grammar.grid.points], columns=list(grammar.variables))
    return points.assign(value=values)


def answer(run: Run, formulas: Sequence[str], split: Split | None = None) -> pd.DataFrame:
    """What a run writes when it is shown the outputs of formulas: asked, leaves, written, same_function.

    With the split that it was trained on, also whether each function was in training.

    Raises
    ------
    ProgramSyntaxError
        If a formula is not a program of the grammar.
    """
    from synthlab.learning.decoding import decode

    model, grammar = run.model(), get_grammar(run.corpus["grammar"])
    programs = [parse(grammar, text) for text in formulas]
    prefix, num = token_matrix(programs), len(programs)
    tasks = Tasks(
        grammar=grammar, max_size=run.corpus["max_size"], measure=run.corpus["measure"], seed=run.corpus["seed"],
        outputs=grid_outputs(grammar, prefix), codes=grid_codes(grammar, prefix),
        class_id=np.arange(num), class_leaves=np.array([p.leaves for p in programs]),
        fingerprints=fingerprints(grammar, prefix, run.corpus["seed"]), weight=np.ones(num, dtype=int),
    )  # fmt: skip
    candidates = decode(model, tasks)
    table = pd.DataFrame({
        "asked": [p.infix_text() for p in programs], "leaves": tasks.class_leaves,
        "written": candidates.frame(grammar)["program"],
        "same_function": check(tasks, candidates).first_status() == SOLVED,
    })  # fmt: skip
    if split is None or split.key != run.split_key:
        return table
    trained = fingerprints(grammar, unrank(grammar, split.targets, tasks.max_size, tasks.measure), tasks.seed)
    return table.assign(in_training=HashIndex(np.unique(trained, axis=0)).find(tasks.fingerprints) >= 0)
