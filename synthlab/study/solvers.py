"""Solvers side by side: every one sees the grid outputs only and submits one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.language.grammar import PAD
from synthlab.language.measure import max_length
from synthlab.search.budget import Budget, Cost
from synthlab.search.problem import Problem, Result, Solver


def solve(solver: Solver, tasks: Tasks, budget: Budget, *, max_size: int | None = None) -> pd.DataFrame:
    """Let a solver work on every task under a budget of its own, and judge what it submits.

    Parameters
    ----------
    solver, tasks, budget
        Who, what, and how much each task may cost; what was spent before the first task is in `Solver.setup`.
    max_size
        Bound on answers; the tasks' own by default.

    Returns
    -------
    pandas.DataFrame
        One row a task: method, class_id, leaves, found (right on the grid), solved (the same function), stopped,
        agreement (share of grid points at which the submitted program is right), and what was spent until found or
        given up: seconds, programs, lookups, tested, tokens, flops.
    """
    limit = tasks.max_size if max_size is None else max_size
    results = solver.solve_all([Problem.of(tasks, row, limit) for row in range(len(tasks))], budget)
    judged = check(tasks, submitted(tasks, results, limit), max_size=limit)
    columns = [*asdict(Cost()), "tested"]
    costs = pd.DataFrame([asdict(r.cost) | {"tested": r.cost.tested} for r in results], columns=columns)
    table = pd.DataFrame({
        "method": solver.name, "class_id": tasks.class_id, "leaves": tasks.class_leaves,
        "found": [r.found for r in results], "solved": judged.first_status() == SOLVED,
        "stopped": [r.stopped for r in results], "agreement": [r.agreement for r in results],
    })  # fmt: skip
    return pd.concat([table, costs], axis=1)


def submitted(tasks: Tasks, results: Sequence[Result], max_size: int | None = None) -> Candidates:
    """What was submitted, one candidate a task; nothing grammatical where a solver had nothing."""
    limit = tasks.max_size if max_size is None else max_size
    prefix = np.full((len(results), max_length(tasks.grammar, limit, tasks.measure)), PAD, dtype=np.uint8)
    for row, result in enumerate(results):
        if result.best is not None:
            prefix[row, : result.best.nodes] = result.best.prefix
    num = len(results)
    return Candidates(np.arange(num), np.zeros(num, dtype=int), prefix, np.full(num, np.nan))
