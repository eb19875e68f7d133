"""Small tables for a first look: what a program computes, and what a model answers to a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import SOLVED, STATUSES, check
from synthlab.assessment.tasks import Tasks
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import get_grammar
from synthlab.language.identity import fingerprints, grid_codes
from synthlab.language.interpreter import grid_outputs
from synthlab.language.program import Program, infix_texts, parse, token_matrix
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


def answers_over_time(run: Run, part: str, num_tasks: int = 6, num_checks: int = 4) -> pd.DataFrame:
    """What a run wrote for a few tasks of a part as it learned: a row per task, a column per check (by its step).

    Solved answers are marked with a tick. The tasks are the first of the sample that was looked at, the checks
    the first, the last and some between them.

    Raises
    ------
    ConfigurationError
        If nothing was written down for that part.
    """
    table = run.answers[run.answers["part"] == part]
    if table.empty:
        known = ", ".join(run.answers["part"].unique()) or "none: train with num_checks"
        raise ConfigurationError(f"no answers of part {part!r} over time: choose from {known}")
    grammar, (size, measure) = get_grammar(run.corpus["grammar"]), (run.corpus["max_size"], run.corpus["measure"])
    classes = table["class_id"].drop_duplicates().to_numpy()[:num_tasks]
    texts = infix_texts(grammar, unrank(grammar, classes, size, measure))
    marked = table["written"] + np.where(table["status"] == STATUSES[SOLVED], " ✓", "")
    wide = table.assign(written=marked).pivot_table("written", "class_id", "step", aggfunc="first")
    wide = wide.loc[classes]
    wide.index = pd.Index(texts, name="target")
    chosen = np.unique(np.linspace(0, wide.shape[1] - 1, num_checks).round().astype(int))
    return wide.iloc[:, chosen].rename_axis(columns="step")


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
