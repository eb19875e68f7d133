"""Model and search side by side: every solver sees the grid outputs only and submits one program."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.metrics import wilson
from synthlab.assessment.tasks import Tasks
from synthlab.search.budget import Budget
from synthlab.search.symbolic import METHOD, solve_tasks

if TYPE_CHECKING:
    from synthlab.learning.run import Run


def solve_by_search(tasks: Tasks, budget: Budget, *, progress: bool = False) -> pd.DataFrame:
    """Bottom-up enumeration on every task: method, class_id, leaves, solved, seconds, executed."""
    candidates, costs = solve_tasks(tasks, budget, progress=progress)
    solved = check(tasks, candidates).first_status() == SOLVED
    return pd.DataFrame({
        "method": METHOD, "class_id": tasks.class_id, "leaves": tasks.class_leaves, "solved": solved,
        "seconds": costs["seconds"], "executed": costs["executed"],
    })  # fmt: skip


def solve_by_model(run: Run, tasks: Tasks, *, num_samples: int = 1, temperature: float = 0.0) -> pd.DataFrame:
    """Greedy answers, or samples filtered by the grid of which one is submitted; same columns as search.

    Seconds are the wall-clock time of the whole batch divided by its tasks, checking on the grid included.
    """
    from synthlab.learning.decoding import decode

    model = run.model()
    start = time.perf_counter()
    candidates = decode(model, tasks, num_samples=num_samples, temperature=temperature)
    evaluation = check(tasks, candidates)
    seconds = (time.perf_counter() - start) / len(tasks)
    name = "model, greedy" if num_samples == 1 else f"model, {num_samples} samples filtered by the grid"
    return pd.DataFrame({
        "method": name, "class_id": tasks.class_id, "leaves": tasks.class_leaves,
        "solved": evaluation.submitted() == SOLVED, "seconds": seconds, "executed": num_samples,
    })  # fmt: skip


def solved_curve(solutions: pd.DataFrame, cost: str, num_points: int = 40) -> pd.DataFrame:
    """Share solved within a budget, by method and part: method, part, budget, solved, low, high, unit.

    The interval is the 95 % Wilson score interval over tasks.
    """
    limits = np.geomspace(solutions[cost].min(), solutions[cost].max() * 1.05, num_points)
    rows = []
    for (method, part), group in solutions.groupby(["method", "part"], sort=False):
        for limit in limits:
            within = int((group["solved"] & (group[cost] <= limit)).sum())
            rows.append((method, part, limit, within / len(group), *wilson(within, len(group)), cost))
    return pd.DataFrame(rows, columns=["method", "part", "budget", "solved", "low", "high", "unit"])
