"""Several solvers on one problem, one after the other under one budget."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Self

from synthlab.errors import ConfigurationError
from synthlab.search.budget import AXES, Budget, Cost, Meter
from synthlab.search.filtering import solve_prepared
from synthlab.search.problem import Attempt, Problem, Result, Solver

_WHOLE, _ROUNDING = ("tested", "programs", "lookups", "tokens"), 1e-9


class Portfolio(Solver):
    """Solvers that take turns, each with a share of the budget; the last one has all that is left.

    What a part spends counts for the whole, on every axis; the first program that is right ends the search, and
    else the best candidate of all parts is submitted. The search is complete when its last part is.

    Parameters
    ----------
    solvers
        The parts, in order.
    shares
        Fraction of every limit of the budget for each; equal ones by default. A part whose share of a whole limit
        rounds down to nothing is passed over, unless it is the last.
    name
        What results are reported under.

    Raises
    ------
    ConfigurationError
        Without solvers, or for shares that are not as many, not positive, or more than the whole.
    """

    def __init__(
        self, solvers: Sequence[Solver], shares: Sequence[float] | None = None, name: str | None = None
    ) -> None:
        if not solvers:
            raise ConfigurationError("a portfolio of no solvers: give it at least one")
        given = [1 / len(solvers)] * len(solvers) if shares is None else [float(s) for s in shares]
        if len(given) != len(solvers) or not all(s > 0 for s in given) or not sum(given) <= 1 + _ROUNDING:
            raise ConfigurationError(
                f"shares {given} for {len(solvers)} solvers: give each a positive one, 1 at most together"
            )
        self.solvers, self.shares = list(solvers), given
        self.name = name or " + ".join(s.name for s in solvers)
        self.setup = sum(_preparations(self).values(), Cost())

    def search(self, attempt: Attempt) -> None:
        for number, (solver, share) in enumerate(zip(self.solvers, self.shares, strict=True)):
            if attempt.over:
                return
            budget = _part_of(attempt.meter, share if number < len(self.solvers) - 1 else 1.0)
            if budget is not None:
                _run(solver, attempt, budget)

    def prepared(self, problems: Sequence[Problem]) -> Self:
        """The same portfolio, with parts that have the answers for these problems at hand."""
        ready = copy.copy(self)
        ready.solvers = [getattr(s, "prepared", lambda _, s=s: s)(problems) for s in self.solvers]
        return ready

    def solve_all(self, problems: Sequence[Problem], budget: Budget) -> list[Result]:
        """Every problem as `solve` would answer it; parts that ask a model ask once for all."""
        return solve_prepared(self, problems, budget)


def _run(solver: Solver, attempt: Attempt, budget: Budget) -> None:
    """Let one part search, and take over what it spent and the best it found, also if it is interrupted."""
    before, part = attempt.meter.cost, Attempt(attempt.problem, Meter(budget))
    try:
        solver.search(part)
    finally:
        own = part.meter
        attempt.meter.charge(Cost(programs=own.programs, lookups=own.lookups, tokens=own.tokens, flops=own.flops))
        attempt.meter.charged += own.charged  # the clock runs for the whole as it does for the part
        if part.agreement > attempt.agreement:
            attempt.agreement, attempt.best = part.agreement, part.best
        if part.found_at is not None:
            attempt.program, attempt.found_at = part.program, before + part.found_at


def _part_of(meter: Meter, share: float) -> Budget | None:
    """A share of every limit of a budget, as far as it is left; None if that is nothing."""
    limits: dict[str, Any] = {}
    for axis in AXES:
        limit = getattr(meter.budget, axis)
        if limit is not None:
            part = math.floor(share * limit + _ROUNDING) if axis in _WHOLE else share * limit
            limits[axis] = min(part, limit - getattr(meter, axis))
    return Budget(**limits) if all(limit > 0 for limit in limits.values()) else None


def _preparations(solver: Solver) -> dict[int, Cost]:
    """What was spent before the first task, by what it was spent on: parts may share a model or a library."""
    if isinstance(solver, Portfolio):
        return {key: cost for part in solver.solvers for key, cost in _preparations(part).items()}
    found: dict[int, Cost] = {}
    for owner, cost in (("proposer", "training"), ("guide", "training"), ("library", "cost")):
        thing = getattr(solver, owner, None)
        if thing is not None:
            found[id(thing)] = getattr(thing, cost)
    return found if sum(found.values(), Cost()) == solver.setup else {id(solver): solver.setup}
