"""Model and search on the same tasks at equal total cost: what the model took, its training included, is all that
search gets.

Both sides see the grid outputs and the bound, and submit one program a task; only the same function counts. What either
prepares is in its bill: the training on one side, the library on the other. The clock is stopped for what any use of
the software waits for once: imports, compilation, and loading the weights. Checks during the training are left out of
its seconds, since they teach nothing and would only enlarge what search may spend.

Seconds are of the wall clock. Search runs on one thread, training on all, so that equal seconds favour the model;
those of the processor stand beside them. In no bill is the enumerated universe that training programs are drawn from,
which favours the model, nor the exact interpreter that search is given and the model is not, which favours search.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.search.budget import Budget, Cost
from synthlab.search.library import Library, undoable
from synthlab.search.problem import INTERRUPTED, SPENT, Problem, Result, Solver
from synthlab.search.residuals import ResidualSearch
from synthlab.search.symbolic import Enumeration
from synthlab.study.solvers import submitted

if TYPE_CHECKING:
    from synthlab.learning.run import Run

GREEDY, SEARCH, MODEL = "model, greedy", "search", "model"
_WARM_SECONDS, _WARM_SIZE = 0.2, 2
_ONE_THREAD = f"CPU {platform.machine()}, 1 thread"


@dataclass(frozen=True)
class Bill:
    """What one solver spent.

    Attributes
    ----------
    setup_seconds, seconds
        Wall clock before the first task, and on all tasks together.
    setup_cpu, cpu
        The same of the processor, all threads (of a training with its preparation and checks); NaN where it was not
        measured.
    allowed
        Wall clock that it might spend in all; NaN for the model, which sets the measure.
    num_skipped
        Tasks that it was not asked, since nothing was left to spend.
    device
        What it ran on.
    """

    setup_seconds: float
    seconds: float
    setup_cpu: float
    cpu: float
    allowed: float
    num_skipped: int
    device: str

    @property
    def total(self) -> float:
        """Wall clock, preparation included."""
        return self.setup_seconds + self.seconds


@dataclass(frozen=True, eq=False)
class Answers:
    """What one solver submitted for all tasks.

    Attributes
    ----------
    solver, kind
        Its name, and ``model`` or ``search``.
    solved, on_grid
        Whether the submitted program is the same function (T,), and whether it has the outputs that were shown (T,).
    bill
        What that took.
    """

    solver: str
    kind: str
    solved: np.ndarray
    on_grid: np.ndarray
    bill: Bill

    @classmethod
    def judged(cls, solver: str, kind: str, tasks: Tasks, candidates: Candidates, bill: Bill) -> Answers:
        """Judge one candidate a task, alike for both sides."""
        found = check(tasks, candidates)
        on_grid = np.zeros(len(tasks), dtype=bool)
        on_grid[candidates.task] = found.on_grid
        return cls(solver, kind, found.first_status() == SOLVED, on_grid, bill)


class _Clock:
    """Seconds of the wall and of the processor inside a block."""

    def __enter__(self) -> _Clock:
        self.wall, self.cpu = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = self.wall + time.perf_counter(), self.cpu + time.process_time()


# ---------------------------------------------------------------- the model


def training_seconds(run: Run) -> float:
    """Wall clock of a training, all sessions, without the checks of pass@1."""
    return float(run.cost["tokens"] / run.cost["tokens_per_second"])


def model_answers(run: Run, tasks: Tasks, num_candidates: int, training_cpu: float = np.nan) -> list[Answers]:
    """What a model answers greedily, and the first of some likely candidates that is right on the grid.

    The second looks at the grid as search does: the model's candidates are executed, and one is submitted. It spends
    more than the first, whose bill is all that search is allowed.

    Parameters
    ----------
    run, tasks
        The trained model, and what it is asked.
    num_candidates
        Of a beam, for the second.
    training_cpu
        Seconds of the processor that the training took, where they were measured.
    """
    from synthlab.learning.decoding import decode
    from synthlab.learning.evaluation import placed
    from synthlab.search.filtering import Filtered
    from synthlab.study.proposers import ModelProposer

    model = placed(run.model())
    decode(model, tasks.take(slice(1)), max_size=tasks.max_size)
    with _Clock() as greedy:
        candidates = decode(model, tasks, max_size=tasks.max_size)
    name = f"model, best of {num_candidates}"
    solver = Filtered(ModelProposer(run, how="beam", max_size=tasks.max_size), num_candidates, name=name)
    problems = [Problem.of(tasks, row) for row in range(len(tasks))]
    solver.solve_all(problems[:1], Budget(seconds=np.inf))
    with _Clock() as best:
        results = solver.solve_all(problems, Budget(seconds=np.inf))
    _require_whole(results)
    setup = training_seconds(run), training_cpu, str(run.cost["device"])
    return [
        Answers.judged(GREEDY, MODEL, tasks, candidates, _model_bill(greedy, *setup)),
        Answers.judged(name, MODEL, tasks, submitted(tasks, results), _model_bill(best, *setup)),
    ]


def _model_bill(clock: _Clock, seconds: float, cpu: float, device: str) -> Bill:
    return Bill(seconds, clock.wall, cpu, clock.cpu, np.nan, 0, device)


# ---------------------------------------------------------------- search


def search_answers(tasks: Tasks, allowed: float, most: float, seed: int = 0) -> list[Answers]:
    """What search answers when it may spend so many seconds on everything.

    The first answers are those that are compared with the model, whichever are better: two levels of meet in the middle
    with a library of all smaller programs (never of the universe itself, which would be a table of answers) where that
    can reach everything, and enumeration elsewhere. Enumeration always stands beside them.

    Parameters
    ----------
    tasks
        What is asked.
    allowed
        Seconds of the wall clock for the library and all tasks together.
    most
        Seconds on one task (on average, for enumeration, which looks for all targets in one go).
    seed
        Of the order in which tasks are asked, so that no part is always last.
    """
    solvers = [_with_library, _by_enumeration] if _library_reaches_all(tasks) else [_by_enumeration]
    return [solver(tasks, allowed, most, seed) for solver in solvers]


def _library_reaches_all(tasks: Tasks) -> bool:
    """Whether every program is one operator away from two smaller ones, and every operator can be undone."""
    grammar, operators = tasks.grammar, slice(tasks.grammar.num_terminals, None)
    exact = grammar.exact or grammar.integral
    binary = exact and (undoable(grammar)[operators] >= 0).all() and (grammar.arities[operators] == 2).all()
    return bool(binary and tasks.measure != "depth" and tasks.max_size > 1)


def _with_library(tasks: Tasks, allowed: float, most: float, seed: int) -> Answers:
    small = ResidualSearch(Library.build(tasks.grammar, min(_WARM_SIZE, tasks.max_size - 1), tasks.measure))
    small.solve(Problem.of(tasks, 0), Budget(seconds=_WARM_SECONDS))  # compiled; what it knows is thrown away
    with _Clock() as setup:
        solver = ResidualSearch(Library.build(tasks.grammar, tasks.max_size - 1, tasks.measure))
    problems = [Problem.of(tasks, row) for row in range(len(tasks))]
    with _Clock() as clock:
        results, skipped = one_by_one(solver, problems, allowed - setup.wall, most, seed)
    bill = Bill(setup.wall, clock.wall, setup.cpu, clock.cpu, allowed, skipped, _ONE_THREAD)
    return Answers.judged(solver.name, SEARCH, tasks, submitted(tasks, results), bill)


def _by_enumeration(tasks: Tasks, allowed: float, most: float, seed: int) -> Answers:
    solver = Enumeration()
    problems = [Problem.of(tasks, row) for row in range(len(tasks))]
    solver.solve(replace(problems[0], max_size=min(_WARM_SIZE, tasks.max_size)), Budget(seconds=_WARM_SECONDS))
    limit = min(allowed, most * len(problems))
    with _Clock() as clock:
        results = solver.solve_all(problems, Budget(seconds=limit))
    _require_whole(results)
    in_time = [r if r.cost.seconds <= limit else _nothing(solver) for r in results]
    bill = Bill(0.0, clock.wall, 0.0, clock.cpu, allowed, 0, _ONE_THREAD)
    return Answers.judged(solver.name, SEARCH, tasks, submitted(tasks, in_time), bill)


def one_by_one(
    solver: Solver, problems: Sequence[Problem], seconds: float, most: float, seed: int = 0
) -> tuple[list[Result], int]:
    """Ask problems in random order, each with an equal share of the seconds that are left, at most `most` in all.

    Problems whose share was spent are asked again while more than that is left for them, so that none stays open while
    there are seconds; what they spent before counts. An answer that comes after the last second counts as none.

    Returns
    -------
    tuple
        Results in the order of the problems, and how many were never asked.
    """
    results, spent = [_nothing(solver) for _ in problems], 0.0
    last, used = np.zeros(len(problems)), np.zeros(len(problems))
    waiting = np.random.default_rng([seed, 21]).permutation(len(problems)).tolist()
    while waiting:
        unsettled = []
        for place, row in enumerate(waiting):
            share = min(most - used[row], (seconds - spent) / (len(waiting) - place))
            if share <= last[row]:  # also where nothing is left
                continue
            with _Clock() as clock:
                found = solver.solve(problems[row], Budget(seconds=share))
            _require_whole([found])
            spent, last[row], used[row] = spent + clock.wall, share, used[row] + clock.wall
            if spent <= seconds:
                results[row] = found
            if found.stopped == SPENT:
                unsettled.append(row)
        waiting = unsettled
    return results, int((last == 0).sum())


def _nothing(solver: Solver) -> Result:
    """No answer within what may be spent."""
    return Result(solver.name, None, None, 0.0, Cost(), SPENT)


def _require_whole(results: Sequence[Result]) -> None:
    """Half a comparison is none."""
    if any(result.stopped == INTERRUPTED for result in results):
        raise KeyboardInterrupt
