"""Best-first enumeration: programs in order of their cost under a PCFG, until the wanted outputs appear.

The cost of a program is the sum of the costs of its tokens, and that of a token its surprise -log P, rounded to a
whole number of tenths of a nat, so that programs fall into levels. Each level is built bottom-up from the operands
of cheaper ones, as in heap search (Fijalkow et al. 2022) and bee search (Ameen and Lelis 2023); within a level,
smaller programs come first. Of all programs with the same outputs the first one serves as an operand
(observational equivalence, Udupa et al. 2013), and beside it only dearer ones that are smaller: they fit where the
bound on the size leaves no room for the first. So whatever has a program within the bound is found, at the cost of
its cheapest one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.measure import check_measure, operator_weight, smallest_size
from synthlab.language.program import token_matrix
from synthlab.search.budget import Budget, Meter
from synthlab.search.operands import Operands
from synthlab.search.problem import COMPLETE, INTERRUPTED, SPENT, Attempt, Problem, Result, Solver
from synthlab.universe.hashing import HashIndex
from synthlab.universe.sampling import PCFG

BLOCK = 1 << 14
"""Most candidates between two looks at the budget."""
SCALE = 10.0
"""Levels of cost in a nat."""
_VALUES_AT_ONCE = 1 << 19
_LARGEST = 255


def token_costs(pcfg: PCFG) -> np.ndarray:
    """Cost of every token (V,), int64: -log P in tenths of a nat, rounded, at least 1; 0 where P is 0."""
    given = np.array(pcfg.probabilities)
    surprise = -np.log(np.where(given > 0, given, 1.0))
    return np.where(given > 0, np.maximum(1, np.rint(SCALE * surprise)), 0).astype(np.int64)


# ---------------------------------------------------------------- what to try


@numba.njit(cache=True, nogil=True)
def _plan(token, arity, rest, swaps, step, deep, max_size, cells, first, tasks, count):
    """Append tasks (size, token, one cell per operand) whose operands cost `rest` together; returns their number.

    Cells are (cost, size, first row, end), by cost and size; ``cells[first[c]:]`` cost at least c. Nothing is
    written behind the end of `tasks`.
    """
    if arity == 0:
        if count < len(tasks):
            tasks[count, 0], tasks[count, 1] = step, token
        return count + 1
    chosen, left, below = np.full(arity, -1), np.full(arity, rest), np.zeros(arity, dtype=np.int64)
    j = 0
    while j >= 0:
        if j == arity - 1:
            for cell in range(first[left[j]], first[left[j] + 1]):
                size = step + (max(below[j], cells[cell, 1]) if deep else below[j] + cells[cell, 1])
                if size <= max_size and not (swaps and cell < chosen[0]):
                    if count < len(tasks):
                        tasks[count, 0], tasks[count, 1] = size, token
                        tasks[count, 2 : 1 + arity], tasks[count, 1 + arity] = chosen[: arity - 1], cell
                    count += 1
            j -= 1
            continue
        chosen[j] += 1
        cell = chosen[j]
        if cell >= len(cells) or cells[cell, 0] >= left[j]:
            chosen[j] = -1
            j -= 1
            continue
        size = max(below[j], cells[cell, 1]) if deep else below[j] + cells[cell, 1]
        if step + size <= max_size:
            left[j + 1], below[j + 1] = left[j] - cells[cell, 0], size
            j += 1
    return count


@numba.njit(cache=True, nogil=True)
def _fill(tasks, state, cells, arities, swaps, tokens, sizes, rows, room):
    """Write the next candidates, at most `room`; returns how many.

    `state` holds the task, the number of its combination of all operands but the last, and how many rows of the
    last operand's cell stand beside that combination already.
    """
    filled, fixed = 0, np.empty(rows.shape[1], dtype=np.int64)
    while filled < room and state[0] < len(tasks):
        task, rest, combinations, low, high = tasks[state[0]], state[1], 1, 0, 1
        token, arity = task[1], arities[task[1]]
        for k in range(arity - 2, -1, -1):
            start, width = cells[task[2 + k], 2], cells[task[2 + k], 3] - cells[task[2 + k], 2]
            fixed[k], rest, combinations = start + rest % width, rest // width, combinations * width
        if arity > 0:
            low, high = cells[task[1 + arity], 2], cells[task[1 + arity], 3]
            if swaps[token] and task[2] == task[3]:
                low = fixed[0]
        low += state[2]
        num = min(high - low, room - filled)
        for j in range(num):
            tokens[filled + j], sizes[filled + j] = token, task[0]
            for k in range(arity - 1):
                rows[filled + j, k] = fixed[k]
            rows[filled + j, max(0, arity - 1)] = low + j
        filled, state[2] = filled + num, state[2] + num
        if low + num == high:
            state[1], state[2] = state[1] + 1, 0
            if state[1] == combinations:
                state[0], state[1] = state[0] + 1, 0
    return filled


@dataclass(frozen=True, eq=False)
class Block:
    """Candidates that were executed together; the arrays are reused for the next ones.

    Attributes
    ----------
    cost
        What each of them costs.
    tokens, sizes, operands
        Operator, size and operand rows of every candidate (B,), (B,), (B, max arity).
    fresh
        Candidates that are new functions, or smaller programs of known ones (F,).
    marks
        Hashes of the outputs of these (F, 2), as `Operands.marks`.
    """

    cost: int
    tokens: np.ndarray
    sizes: np.ndarray
    operands: np.ndarray
    fresh: np.ndarray
    marks: np.ndarray


class Enumeration:
    """Programs of a PCFG's grammar within a bound, in order of (cost, size).

    Parameters
    ----------
    pcfg
        What decides the costs.
    max_size, measure
        Largest programs, at most 255.

    Raises
    ------
    ConfigurationError
        For a bound that is too large, or does not bound the number of programs.
    """

    def __init__(self, pcfg: PCFG, max_size: int, measure: str = "leaves") -> None:
        grammar = self.grammar = pcfg.grammar
        check_measure(grammar, measure, max_size)
        if max_size > _LARGEST:
            raise ConfigurationError(f"{max_size} {measure}: lower the bound to {_LARGEST}, at most, to enumerate")
        self.max_size, self.measure, self.costs = max_size, measure, token_costs(pcfg)
        self.known = Operands.of(grammar)
        self._step = 1 if measure == "depth" else operator_weight(measure)
        least = min(o.arity for o in grammar.operators)
        self._largest = max_size - self._step - (0 if measure == "depth" else least - 1)
        weighed = zip(range(len(grammar.tokens)), grammar.arities.tolist(), self.costs.tolist(), strict=True)
        self._tokens = [entry for entry in weighed if entry[2] > 0]
        self._swaps = np.array([False] * grammar.num_terminals + [o.commutative for o in grammar.operators])
        self._cells, self._first = np.empty((0, 4), dtype=np.int64), np.zeros(2, dtype=np.int64)
        self._tasks = np.empty((1 << 10, 2 + grammar.max_arity), dtype=np.int64)

    def blocks(self, room: Callable[[], int]) -> Iterator[Block]:
        """Execute all candidates, as many at a time as `room` says; use a block before asking for the next."""
        most = BLOCK if self.grammar.exact else max(1, min(BLOCK, _VALUES_AT_ONCE // len(self.known.points)))
        tokens, sizes = np.empty(most, dtype=np.uint8), np.empty(most, dtype=np.uint8)
        rows, cost = np.empty((most, self.grammar.max_arity), dtype=np.int32), 1
        while cost <= self._dearest():
            tasks, state, start = self._level(cost), np.zeros(3, dtype=np.int64), self.known.count
            shape = self._cells, self.grammar.arities, self._swaps
            while state[0] < len(tasks):
                num = _fill(tasks, state, *shape, tokens, sizes, rows, max(1, min(most, room())))
                fresh, marks = self.known.execute(tokens[:num], sizes[:num], rows[:num], self._largest)
                yield Block(cost, tokens[:num], sizes[:num], rows[:num], fresh, marks)
            self._close(cost, start)
            cost += 1

    def _dearest(self) -> int:
        """What a program costs at most, given the operands so far."""
        operand = int(self._cells[-1, 0]) if len(self._cells) else 0
        return max(weight + arity * operand for _, arity, weight in self._tokens)

    def _level(self, cost: int) -> np.ndarray:
        """Tasks of one level of cost, by size and token."""
        num = self._write_tasks(cost)
        if num > len(self._tasks):
            self._tasks = np.empty((2 * num, self._tasks.shape[1]), dtype=np.int64)
            num = self._write_tasks(cost)
        return self._tasks[np.argsort(self._tasks[:num, 0], kind="stable")]

    def _write_tasks(self, cost: int) -> int:
        num, deep = 0, self.measure == "depth"
        for token, arity, weight in self._tokens:
            rest, step = cost - weight, self._step if arity else smallest_size(self.measure)
            possible = rest >= arity if arity else rest == 0
            if possible:
                bound = self._swaps[token], step, deep, self.max_size
                num = _plan(token, arity, rest, *bound, self._cells, self._first, self._tasks, num)
        return num

    def _close(self, cost: int, start: int) -> None:
        """Make cells of the operands that a level of cost has added: rows from `start` on, by size."""
        if self.known.count > start:
            sizes, low = np.unique(self.known.columns["sizes"][start : self.known.count], return_index=True)
            ends = np.append(low, self.known.count - start)[1:]
            new = np.stack([np.full(len(sizes), cost), sizes, start + low, start + ends], axis=1)
            self._cells = np.concatenate([self._cells, new])
        self._first = np.append(self._first, len(self._cells))


# ---------------------------------------------------------------- the solver


class BestFirst(Solver):
    """Cost-guided bottom-up search.

    Parameters
    ----------
    pcfg
        Which programs come first; those with a token of probability 0 never do.
    name
        What results are reported under.
    """

    def __init__(self, pcfg: PCFG, name: str = "best-first, PCFG") -> None:
        self.pcfg, self.name = pcfg, name

    def search(self, attempt: Attempt) -> None:
        self._run([attempt])

    def solve_all(self, problems: Sequence[Problem], budget: Budget) -> list[Result]:
        """Every problem as `solve` would answer it, in one run for all that share a bound: the order of programs
        does not depend on what is wanted. Seconds are those of the run until a problem was solved.
        """
        groups: dict[tuple[int, str], list[int]] = {}
        for row, problem in enumerate(problems):
            groups.setdefault((problem.max_size, problem.measure), []).append(row)
        results: dict[int, Result] = {}
        interrupted = False
        for rows in groups.values():
            start = time.perf_counter()
            attempts = [Attempt(problems[row], Meter(budget, start=start)) for row in rows]
            try:
                if not interrupted:
                    self._run(attempts)
            except KeyboardInterrupt:
                interrupted = True
            for row, attempt in zip(rows, attempts, strict=True):
                stopped = SPENT if attempt.meter.exhausted else COMPLETE
                results[row] = attempt.result(self.name, INTERRUPTED if interrupted else stopped)
        return [results[row] for row in range(len(problems))]

    def _run(self, attempts: Sequence[Attempt]) -> None:
        """One enumeration for attempts with one bound and equal meters."""
        problem, meter = attempts[0].problem, attempts[0].meter
        if any(a.problem.grammar.digest != self.pcfg.grammar.digest for a in attempts):
            raise ConfigurationError(
                f"the PCFG weighs {self.pcfg.grammar.name!r}: fit one for {problem.grammar.name!r}"
            )
        enumeration = Enumeration(self.pcfg, problem.max_size, problem.measure)
        marks = enumeration.known.marks(np.array([a.problem.codes for a in attempts]))
        distinct, numbers = np.unique(marks, axis=0, return_inverse=True)
        index, unsolved = HashIndex(distinct), list(zip(numbers.ravel().tolist(), attempts, strict=True))
        if attempts[0].over:
            return
        for block in enumeration.blocks(lambda: meter.left("tested", meter.left("programs", BLOCK))):
            for attempt in attempts:
                attempt.meter.programs += len(block.tokens)
            hits = index.find(block.marks)
            if (hits >= 0).any():
                unsolved = [(n, a) for n, a in unsolved if not _solves(enumeration, block, hits == n, a)]
            if not unsolved or meter.exhausted:
                return


def _solves(enumeration: Enumeration, block: Block, hits: np.ndarray, attempt: Attempt) -> bool:
    """Whether one of the new programs with the right marks is right on the whole grid; hands them all over."""
    if hits.any():
        found = block.fresh[hits]
        programs = [enumeration.known.program(int(block.tokens[k]), block.operands[k]) for k in found]
        attempt.consider(token_matrix(programs), executed=False)
    return attempt.program is not None
