"""Search without a model: bottom-up enumeration with observational equivalence, and a library met in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.language.identity import mix, observation_algebra
from synthlab.language.program import Program
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.search.budget import Budget, Cost, Meter
from synthlab.search.library import Library
from synthlab.search.meeting import Meeting, MeetInTheMiddle, Target, lookup, prefix_of
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Attempt, Problem, Result, Solver, texts_matrix
from synthlab.universe.enumeration import grow
from synthlab.universe.functions import FunctionTable

METHOD = "bottom-up enumeration"


class Enumeration(Solver):
    """All programs by size, one per vector of outputs (Udupa et al. 2013), until the target's appears."""

    def __init__(self, name: str = METHOD) -> None:
        self.name = name

    def search(self, attempt: Attempt) -> None:
        (result,) = self._grow([attempt.problem], attempt.meter)
        attempt.meter.programs = result.cost.programs
        if result.stopped == INTERRUPTED:
            raise KeyboardInterrupt
        if result.program is not None:
            row = np.array(result.program.prefix, dtype=np.uint8)
            attempt.consider(row[None], executed=False)
            attempt.found_at = result.cost

    def solve_all(self, problems: Sequence[Problem], budget: Budget) -> list[Result]:
        """All problems of one grammar and bound in one growth, which does not depend on the target.

        Every problem gets the program and the number of executed programs that it gets alone, and the seconds
        after which it was found; budgets are kept within a block of candidates.
        """
        kinds = {(p.grammar.digest, p.max_size, p.measure) for p in problems}
        if len(kinds) > 1:
            return super().solve_all(problems, budget)
        return self._grow(problems, Meter(budget)) if problems else []

    def _grow(self, problems: Sequence[Problem], meter: Meter) -> list[Result]:
        first = problems[0]
        sought = _Sought(mix(np.array([p.codes for p in problems])), meter)
        reason = COMPLETE
        try:
            algebra = observation_algebra(first.grammar)
            for table in grow(
                first.grammar, algebra, first.max_size, measure=first.measure, on_block=sought.after_block
            ):
                sought.after_block(table.keys, table.executed)
                sought.settle(table)
                if sought.done:
                    break
            reason = SPENT if meter.exhausted else COMPLETE
        except KeyboardInterrupt:
            reason = INTERRUPTED
        return [
            Result(self.name, p, p, float(p is not None), at or meter.cost, FOUND if p is not None else reason)
            for p, at in zip(sought.programs, sought.found_at, strict=True)
        ]


class _Sought:
    """Targets of one growth: which were found, when, and by what."""

    def __init__(self, keys: np.ndarray, meter: Meter) -> None:
        self.keys, self.meter = keys, meter
        self.found_at: list[Cost | None] = [None] * len(keys)
        self.programs: list[Program | None] = [None] * len(keys)
        self._order = np.argsort(keys[:, 0], kind="stable")
        self._first = keys[self._order, 0]

    @property
    def done(self) -> bool:
        """Whether nothing is left to look for, or to spend."""
        return None not in self.found_at or self.meter.exhausted

    def after_block(self, keys: np.ndarray, executed: int) -> bool:
        """Note the targets among the keys of a block; true if the growth may stop."""
        self.meter.programs = executed
        place = np.searchsorted(self._first, keys[:, 0])
        near = np.flatnonzero(self._first[np.minimum(place, len(self._first) - 1)] == keys[:, 0])
        for row in np.unique(keys[near], axis=0):
            for number in np.flatnonzero((self.keys == row).all(axis=1)):
                self.found_at[number] = self.found_at[number] or self.meter.cost
        return self.done

    def settle(self, table: FunctionTable) -> None:
        """Take the programs of targets that were found from the table that holds them now."""
        open_ones = [n for n, at in enumerate(self.found_at) if at is not None and self.programs[n] is None]
        for number in open_ones:
            rows = np.flatnonzero((table.keys == self.keys[number]).all(axis=1))
            if len(rows):
                self.programs[number] = Program.from_row(table.grammar, table.text(rows[:1])[0])


class LibraryLookup(Solver):
    """A library of all functions up to a size: one look-up for the target, then meet in the middle once.

    Parameters
    ----------
    library
        Functions; building it is this solver's `setup`.
    largest
        Size of the larger of the enumerated halves; all that can matter by default.

    Raises
    ------
    ConfigurationError
        For a library by depth: depths of halves do not add up.
    """

    def __init__(self, library: Library, *, largest: int | None = None, name: str = "meet in the middle") -> None:
        if library.table.measure == "depth":
            raise ConfigurationError("a library by depth does not meet in the middle: build one by nodes or leaves")
        self.library, self.largest, self.name, self.setup = library, largest, name, library.cost

    def search(self, attempt: Attempt) -> None:
        require_same(self.library, attempt.problem)
        if (attempt.problem.codes == UNDEFINED_RESIDUE).any():
            return  # no function with a gap is in the index
        target = Target.of(attempt.problem.codes)
        self.look_up(attempt, target)
        if not attempt.over:
            self.meet(attempt, target)

    def look_up(self, attempt: Attempt, target: Target) -> None:
        """Ask for the target itself."""
        attempt.meter.lookups += 1
        row = lookup(self.library, target)
        if row >= 0:
            submit(attempt, [prefix_of(self.library, row)])

    def meet(self, attempt: Attempt, target: Target) -> None:
        """Ask for pairs of functions."""
        meeting = MeetInTheMiddle(self.library, target, attempt.problem.max_size)
        for found in meetings(attempt, meeting, self.largest):
            submit(attempt, [smallest(self.library, found).text(self.library)])


def meetings(attempt: Attempt, meeting: MeetInTheMiddle, most: int | None = None) -> Iterator[list[Meeting]]:
    """What a library has for a target, chunk by chunk as in `MeetInTheMiddle.chunks`, until the attempt is over; its
    look-ups are counted."""
    for found in meeting.chunks(most):
        attempt.meter.lookups += meeting.taken()
        if found:
            yield found
        if attempt.over:
            return


def smallest(library: Library, found: Sequence[Meeting]) -> Meeting:
    """The shortest of several right answers."""
    return min(found, key=lambda meeting: meeting.size(library))


def submit(attempt: Attempt, texts: Sequence[np.ndarray]) -> None:
    """Hand in programs that a look-up has decided."""
    problem = attempt.problem
    matrix = texts_matrix(problem.grammar, texts, problem.max_size, problem.measure)
    if len(matrix):
        attempt.consider(matrix, executed=False)


def require_same(library: Library, problem: Problem) -> None:
    """Refuse a problem of another grammar or measure than the library's."""
    if library.grammar.digest != problem.grammar.digest or library.table.measure != problem.measure:
        raise ConfigurationError(
            f"a library of {library.grammar.name!r} by {library.table.measure} for a problem of "
            f"{problem.grammar.name!r} by {problem.measure}: build one for it"
        )
