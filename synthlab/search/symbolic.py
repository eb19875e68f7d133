"""Search without a model: bottom-up enumeration with observational equivalence on the task's own grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.identity import mix, observation_algebra
from synthlab.language.measure import max_length
from synthlab.language.program import Program
from synthlab.search.budget import Budget, Meter
from synthlab.universe.enumeration import grow

METHOD = "bottom-up enumeration"


@dataclass(frozen=True)
class SearchResult:
    """What a search found and what it cost.

    Attributes
    ----------
    program
        A program that is right on the grid, or None.
    executed, seconds
        Programs evaluated, and wall-clock time, until found or given up.
    method
        Name of the solver.
    """

    program: Program | None
    executed: int
    seconds: float
    method: str = METHOD


def search_by_enumeration(
    grammar: Grammar, codes: np.ndarray, budget: Budget, *, max_size: int, measure: str = "leaves"
) -> SearchResult:
    """Find the smallest program with the given grid outputs.

    Parameters
    ----------
    grammar
        The language.
    codes
        The target's outputs on the grid, as `identity.grid_codes` (G,); all that the solver sees.
    budget
        When to give up; looked at after every block of candidates.
    max_size, measure
        Largest program to try.
    """
    meter = Meter(budget)
    target = mix(np.asarray(codes, dtype=np.uint64)[None])[0]

    def finished(keys: np.ndarray, executed: int) -> bool:
        meter.executed = executed
        return meter.exhausted or bool((keys == target).all(axis=1).any())

    for table in grow(grammar, observation_algebra(grammar), max_size, measure=measure, on_block=finished):
        meter.executed = table.executed
        found = np.flatnonzero((table.keys == target).all(axis=1))
        if len(found):
            program = Program.from_row(grammar, table.text(found[:1])[0])
            return SearchResult(program, meter.executed, meter.seconds)
        if meter.exhausted:
            break
    return SearchResult(None, meter.executed, meter.seconds)


def solve_tasks(
    tasks: Tasks, budget: Budget, *, max_size: int | None = None, progress: bool = False
) -> tuple[Candidates, pd.DataFrame]:
    """Search for every task on its own; one candidate each, and what each search cost.

    Returns
    -------
    tuple
        Candidates (unsolved tasks submit nothing that is grammatical), and a table with columns class_id,
        executed, seconds, found, method.
    """
    limit = tasks.max_size if max_size is None else max_size
    prefix = np.full((len(tasks), max_length(tasks.grammar, limit, tasks.measure)), PAD, dtype=np.uint8)
    costs = []
    for row in _with_progress(range(len(tasks)), progress):
        result = search_by_enumeration(tasks.grammar, tasks.codes[row], budget, max_size=limit, measure=tasks.measure)
        if result.program is not None:
            prefix[row, : result.program.nodes] = result.program.prefix
        costs.append((tasks.class_id[row], result.executed, result.seconds, result.program is not None, result.method))
    num = len(tasks)
    candidates = Candidates(np.arange(num), np.zeros(num, dtype=int), prefix, np.full(num, np.nan))
    return candidates, pd.DataFrame(costs, columns=["class_id", "executed", "seconds", "found", "method"])


def _with_progress(items: Iterable[int], show: bool) -> Iterable[int]:
    from tqdm.auto import tqdm

    return tqdm(items, desc="search", disable=not show)
