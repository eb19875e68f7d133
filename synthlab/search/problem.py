"""One problem statement for every solver: grid outputs and a bound in, one program and its cost out.

A solver never holds a `Tasks`: class, fingerprint and text of the target stay with the checker.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.language.exact import exact_number, shown
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.identity import grid_codes
from synthlab.language.measure import check_measure, max_length, sizes_of
from synthlab.language.program import Program
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE, residue
from synthlab.search.budget import Budget, Cost, Meter

if TYPE_CHECKING:
    from synthlab.assessment.tasks import Tasks

FOUND, SPENT, COMPLETE, INTERRUPTED = "found", "budget spent", "search complete", "interrupted"
LARGEST, LARGEST_FRACTION = 1 << 60, 1 << 40
"""Magnitude from which outputs of whole programs, and parts of other outputs, are refused: equal residues would no
longer mean equal numbers. To fractions 2^59 looks like 1/4, for 2^61 is 1."""
_NUMBER = re.compile(r"-?[0-9]{1,40}(/[0-9]{1,40})?")
Point = tuple[Fraction | int, ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """What a solver sees.

    Attributes
    ----------
    grammar, max_size, measure
        The language, and the bound on answers.
    outputs
        Outputs on the grid (G,), for solvers that read them.
    codes
        The same exactly, modulo 2^61 - 1 (G,), uint64; 2^61 - 1 where there is no value.

    Raises
    ------
    ConfigurationError
        If there is one output too few or too many, or none that exists.
    """

    grammar: Grammar
    max_size: int
    measure: str
    outputs: np.ndarray
    codes: np.ndarray

    def __post_init__(self) -> None:
        check_measure(self.grammar, self.measure, self.max_size)
        wanted = len(self.grammar.grid.points)
        if self.codes.shape != (wanted,) or self.outputs.shape != (wanted,):
            raise ConfigurationError(
                f"{len(self.codes)} outputs for a grid of {wanted} points: give one for every point, in its order"
            )
        if (self.codes == UNDEFINED_RESIDUE).all():
            raise ConfigurationError("no output exists at any point of the grid: there is nothing to look for")

    @classmethod
    def of(cls, tasks: Tasks, row: int, max_size: int | None = None) -> Self:
        """The part of a task that a solver sees; answers within the tasks' bound unless another is given."""
        limit = tasks.max_size if max_size is None else max_size
        return cls(tasks.grammar, limit, tasks.measure, tasks.outputs[row], tasks.codes[row])

    @classmethod
    def from_outputs(
        cls, grammar: Grammar, outputs: Sequence[Fraction | int | None], *, max_size: int, measure: str = "leaves"
    ) -> Self:
        """From exact outputs in the order of the grid; None where the target has no value.

        Raises
        ------
        ConfigurationError
            For outputs that are not exact numbers, beyond 2^60 (where programs make fractions, beyond 2^40), or in a
            grammar that is compared on floats.
        """
        if not grammar.exact and not grammar.integral:
            raise ConfigurationError(f"{grammar.name!r} is compared on floats: take outputs from a task or a program")
        limit = LARGEST if grammar.integral else LARGEST_FRACTION
        values = [None if v is None else _exact(v, limit) for v in outputs]
        codes = [PRIME if v is None else residue(v) for v in values]
        shown = [float("nan") if v is None else float(v) for v in values]
        whole = [int(v) for v in values if v is not None and v.denominator == 1]
        is_whole = grammar.integral and len(whole) == len(values)
        read = np.array(whole, dtype=np.int64) if is_whole else np.array(shown)
        return cls(grammar, max_size, measure, read, np.array(codes, dtype=np.uint64))

    @classmethod
    def from_examples(
        cls, grammar: Grammar, examples: Sequence[tuple[Point, Fraction | int | None]], *, max_size: int,
        measure: str = "leaves",
    ) -> Self:  # fmt: skip
        """From pairs of an input and its output, one or more per grid point, in any order.

        Raises
        ------
        ConfigurationError
            If two examples contradict each other, or a point of the grid is missing or foreign.
        """
        known: dict[tuple[Fraction, ...], Fraction | int | None] = {}
        for point, value in examples:
            place = _place(point)
            if place in known and known[place] != value:
                at = ", ".join(f"{n}={v}" for n, v in zip(grammar.variables, place, strict=False))
                raise ConfigurationError(f"contradictory outputs at {at}: {known[place]} and {value}")
            known[place] = value
        foreign = known.keys() - set(grammar.grid.points)
        missing = [p for p in grammar.grid.points if p not in known]
        if foreign or missing:
            raise ConfigurationError(
                f"{len(missing)} points of the grid have no output and {len(foreign)} outputs belong to none of them"
            )
        return cls.from_outputs(grammar, [known[p] for p in grammar.grid.points], max_size=max_size, measure=measure)


def _place(point: Any) -> tuple[Fraction, ...]:
    try:
        return tuple(map(_number, point))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigurationError(f"input {ascii(point)[:80]} is no point: give one number per variable") from error


def _number(value: Any) -> Fraction:
    """An exact number, or ASCII text of one."""
    return Fraction(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else exact_number(value)


def _exact(value: Any, limit: int) -> Fraction:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not value.is_integer():
        raise ConfigurationError(f"output {value!r} is a rounded number: give whole numbers or fractions")
    try:
        exact = _number(value)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigurationError(
            f"output {ascii(value)[:60]} is no number: use None where there is no value"
        ) from error
    if abs(exact.numerator) >= limit or exact.denominator >= limit:
        reached = f"output {shown(exact)} reaches 2^{limit.bit_length() - 1}"
        raise ConfigurationError(f"{reached}: equal residues would not mean equal numbers")
    return exact


@dataclass(frozen=True)
class Result:
    """What a solver submits, and what it cost.

    Attributes
    ----------
    method
        Name of the solver.
    program
        A program that is right on the grid, or None.
    best
        The submitted program: `program`, else the candidate that is right at most points; None without any.
    agreement
        Share of grid points at which `best` is right.
    cost
        What was spent until found, or until the search stopped.
    stopped
        Why it stopped: found, budget spent, search complete, or interrupted.
    """

    method: str
    program: Program | None
    best: Program | None
    agreement: float
    cost: Cost
    stopped: str

    @property
    def found(self) -> bool:
        """Whether a program is right on the whole grid."""
        return self.program is not None


@dataclass
class Attempt:
    """One problem under one budget: what a solver reports to while it searches."""

    problem: Problem
    meter: Meter
    program: np.ndarray | None = None
    best: np.ndarray | None = None
    agreement: float = -1.0
    found_at: Cost | None = None

    @property
    def over(self) -> bool:
        """Whether to stop: solved, or nothing left to spend."""
        return self.program is not None or self.meter.exhausted

    def consider(self, prefix: np.ndarray, *, executed: bool = True) -> np.ndarray:
        """Execute candidates on the grid and keep the best.

        Parameters
        ----------
        prefix
            Padded token matrix (K, L) of complete programs, best guess first.
        executed
            Count them as programs executed; not where a look-up has counted them already.

        Returns
        -------
        numpy.ndarray
            Number of grid points at which each is right (K,); -1 for those that are too large.
        """
        problem = self.problem
        if executed:
            prefix = prefix[: max(1, self.meter.left("tested", self.meter.left("programs", len(prefix))))]
            self.meter.programs += len(prefix)
        right = np.full(len(prefix), -1)
        fits = np.flatnonzero(sizes_of(problem.grammar, prefix, problem.measure) <= problem.max_size)
        if not len(fits) or self.program is not None:
            return right
        right[fits] = (grid_codes(problem.grammar, prefix[fits]) == problem.codes).sum(axis=1)
        first = int(right.argmax())
        if right[first] / len(problem.codes) > self.agreement:
            self.agreement, self.best = float(right[first] / len(problem.codes)), prefix[first].copy()
        if right[first] == len(problem.codes):
            self.program, self.found_at = self.best, self.meter.cost
        return right

    def result(self, method: str, stopped: str) -> Result:
        """What is submitted."""
        texts = [
            None if row is None else Program.from_row(self.problem.grammar, row) for row in (self.program, self.best)
        ]
        reason = FOUND if self.program is not None else stopped
        return Result(method, texts[0], texts[1], max(0.0, self.agreement), self.found_at or self.meter.cost, reason)


class Solver(abc.ABC):
    """A method: name, what was spent before the first task, and a search that reports to an `Attempt`."""

    name: str
    setup: Cost = Cost()

    def solve(self, problem: Problem, budget: Budget) -> Result:
        """Search for a program with the given outputs; Ctrl-C ends it with the best so far."""
        attempt = Attempt(problem, Meter(budget))
        try:
            self.search(attempt)
            stopped = SPENT if attempt.meter.exhausted else COMPLETE
        except KeyboardInterrupt:
            stopped = INTERRUPTED
        return attempt.result(self.name, stopped)

    @abc.abstractmethod
    def search(self, attempt: Attempt) -> None:
        """Look for a program until `attempt.over`, or until there is nothing left to try."""

    def solve_all(self, problems: Sequence[Problem], budget: Budget) -> list[Result]:
        """Every problem under a budget of its own; Ctrl-C ends them all.

        Solvers that can share work among problems override this.
        """
        results: list[Result] = []
        for problem in problems:
            over = bool(results) and results[-1].stopped == INTERRUPTED
            result = Attempt(problem, Meter(budget)).result(self.name, INTERRUPTED) if over else None
            results.append(result or self.solve(problem, budget))
        return results


def with_setup(result: Result, setup: Cost) -> Result:
    """The same result with the preparation inside its cost."""
    return replace(result, cost=result.cost + setup)


def texts_matrix(grammar: Grammar, texts: Sequence[np.ndarray], max_size: int, measure: str) -> np.ndarray:
    """Token rows of unequal length as one padded matrix; longer ones than the bound allows are left out."""
    width = max_length(grammar, max_size, measure)
    kept = [text for text in texts if len(text) <= width]
    matrix = np.full((len(kept), width), PAD, dtype=np.uint8)
    for row, text in enumerate(kept):
        matrix[row, : len(text)] = text
    return matrix
