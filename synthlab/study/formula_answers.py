"""What a model and a search answer to one formula, from its outputs on the grid alone, and whether they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import STATUSES, check
from synthlab.assessment.tasks import Tasks
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.identity import FINGERPRINT_SEED, fingerprints, grid_codes, same_function
from synthlab.language.interpreter import grid_outputs
from synthlab.language.measure import operator_weight, smallest_size
from synthlab.language.program import Program, token_matrix
from synthlab.search.budget import Budget
from synthlab.search.library import Library
from synthlab.search.problem import Problem, Solver
from synthlab.search.residuals import ResidualSearch
from synthlab.search.symbolic import Enumeration
from synthlab.study.solvers import submitted
from synthlab.universe.counting import program_counts

if TYPE_CHECKING:
    from synthlab.learning.networks import Synthesizer
    from synthlab.learning.run import Run

_MOST_TEXTS, _MOST_SIZE = 500_000, 24


def task_of(program: Program, max_size: int, measure: str = "leaves", seed: int = FINGERPRINT_SEED) -> Tasks:
    """The function of one program as a task; its class id is -1, since it need not be in any universe.

    Parameters
    ----------
    program
        What is to be found again.
    max_size, measure
        The bound on answers, which is not made to fit the program.
    seed
        Of the identity test.

    Raises
    ------
    ConfigurationError
        If the program has no value at some point of the grid: it cannot be shown to a solver.
    BudgetExceeded
        If it is so large that no answer could be proven to be the same function.
    """
    row, grammar = token_matrix([program]), program.grammar
    outputs = grid_outputs(grammar, row)
    missing = int(np.isnan(outputs).sum())
    if missing:
        raise ConfigurationError(
            f"no value at {missing} of {outputs.size} grid points: only a function defined on the whole grid is a task"
        )
    same_function(program, program, seed)  # the proof: no answer's coefficients are larger than a program's own
    return Tasks(
        grammar, max_size, measure, seed, outputs, grid_codes(grammar, row), np.array([-1]),
        np.array([program.leaves]), fingerprints(grammar, row, seed), np.array([1]),
    )  # fmt: skip


def answer_model(run: Run, program: Program, *, num: int = 8, model: Synthesizer | None = None) -> pd.DataFrame:
    """What a trained model writes for a program's outputs: its greedy answer and those of a beam, all judged.

    Parameters
    ----------
    run, model
        The run, and its model if it is loaded already.
    program
        Whose outputs are shown; answers may be as large as the model has room for.
    num
        Candidates of the beam, each a program within that bound.

    Returns
    -------
    pandas.DataFrame
        One row a candidate: method (greedy or beam), rank, program, status (one of `correctness.STATUSES`) and
        log_probability (nats).

    Raises
    ------
    ConfigurationError
        For a program of another grammar or with a pole on the grid, or outputs that overflow the encoding.
    BudgetExceeded
        As in `task_of`.
    """
    from synthlab.learning.decoding import decode

    known = run.corpus
    if program.grammar.digest != known["digest"]:
        raise ConfigurationError(f"the model writes {known['grammar']!r}: ask it for a program of that grammar")
    limit = known["max_size"] + run.model_config.room
    task = task_of(program, limit, known["measure"], known["seed"])
    model = loaded_model(run) if model is None else model
    ways = {"greedy": {}, "beam": dict(beam=num, num_samples=num, grammatical=True, max_size=limit)}
    tables = []
    for method, settings in ways.items():
        candidates = decode(model, task, **settings)
        status = np.array(STATUSES)[check(task, candidates).status]
        table = candidates.frame(program.grammar).assign(method=method, status=status)
        tables.append(table[np.isfinite(table["log_probability"])])  # a beam may find fewer
    return pd.concat(tables, ignore_index=True)[["method", "rank", "program", "status", "log_probability"]]


def loaded_model(run: Run) -> Synthesizer:
    """The model of a run, on the device where it answers."""
    from synthlab.learning.evaluation import placed

    return placed(run.model())


def library_size(grammar: Grammar, measure: str = "leaves") -> int:
    """Largest size up to which a search may know all functions beforehand: 4 leaves of the grammars supplied."""
    least = smallest_size(measure) + 1
    sizes = range(least, _MOST_SIZE)
    return next((s for s in sizes if sum(program_counts(grammar, s + 1, measure)) > _MOST_TEXTS), _MOST_SIZE)


def answer_bound(size: int, measure: str = "leaves") -> int:
    """Largest program that an operator makes of two from a library up to a size."""
    return size + 1 if measure == "depth" else 2 * size + operator_weight(measure)


def program_solver(grammar: Grammar, size: int, measure: str = "leaves") -> Solver:
    """A search over a library of all functions up to a size, or by enumeration where no library can be."""
    if measure == "depth" or not (grammar.exact or grammar.integral):
        return Enumeration()
    return ResidualSearch(Library.build(grammar, size, measure))


def answer_search(
    program: Program,
    solver: Solver,
    *,
    max_size: int,
    measure: str = "leaves",
    seed: int = FINGERPRINT_SEED,
    seconds: float = 2.0,
) -> pd.DataFrame:
    """What a search finds for a program's outputs within its time, judged.

    Parameters
    ----------
    program
        Whose outputs are shown.
    solver
        Who searches, such as a `program_solver`.
    max_size, measure
        Bound on the answer, such as the `answer_bound` of its library.
    seed
        Of the identity test.
    seconds
        Budget; what was built beforehand is not in it.

    Returns
    -------
    pandas.DataFrame
        One row: method, program (nothing where there is none), status, agreement (share of grid points), stopped,
        seconds, tested (programs executed or decided by a look-up) and setup_seconds.

    Raises
    ------
    ConfigurationError, BudgetExceeded
        As in `task_of`.
    """
    task = task_of(program, max_size, measure, seed)
    result = solver.solve(Problem.of(task, 0), Budget(seconds=seconds))
    status = STATUSES[int(check(task, submitted(task, [result])).first_status()[0])]
    return pd.DataFrame([{
        "method": result.method, "program": result.best.infix_text() if result.best else "", "status": status,
        "agreement": result.agreement, "stopped": result.stopped, "seconds": result.cost.seconds,
        "tested": result.cost.tested, "setup_seconds": solver.setup.seconds,
    }])  # fmt: skip
