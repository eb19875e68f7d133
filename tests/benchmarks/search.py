"""Search: libraries, one and two levels of meet in the middle, plain dictionaries, and growth without a library.

Beside the wall clock stand seconds of the processor: other work on the machine slows only the former.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from benchmarks.dictionaries import DICTIONARIES
from benchmarks.measure import check, in_process, median_ratio, memory_of, rate, summary

from synthlab.assessment.tasks import Tasks
from synthlab.language.grammar import POLYNOMIAL, RATIONAL, Grammar
from synthlab.language.identity import fingerprints
from synthlab.language.interpreter import grid_outputs
from synthlab.language.program import Program, token_matrix
from synthlab.search.best_first import BestFirst
from synthlab.search.budget import Budget
from synthlab.search.library import Library
from synthlab.search.problem import COMPLETE, Problem, Result, Solver
from synthlab.search.residuals import ResidualSearch
from synthlab.search.symbolic import Enumeration, LibraryLookup
from synthlab.study.larger import larger_tasks, tasks_of_texts
from synthlab.universe.sampling import PCFG

GRAMMARS = {grammar.name: grammar for grammar in (POLYNOMIAL, RATIONAL)}
UNLIMITED = Budget(seconds=math.inf)
PATIENCE = Budget(seconds=math.inf, lookups=1 << 31)
"""Of two levels: a minute or so, but the same on every machine."""
DRAWN_FOR_ONE = 20
"""Random programs drawn for one whose function is not one level away."""

MOST_BUILD_S = {6: 1.0, 7: 10.0}
LEAST_TARGETS_PER_S = {6: 100.0, 7: 4.0}
"""By leaves of the library of polynomial functions, asked for functions of up to 16 leaves."""
TARGET_LEAVES = 16
TWO_LEVELS, MOST_TWO_LEVELS_S = (6, 11), 30.0
"""Leaves of the library and of the targets, and seconds of the slowest."""

CLOCKS = ("s", "cpu_s")
Times = tuple[list[float], list[float]]
T = TypeVar("T")


def bench_search(
    repeats: int, libraries: Sequence[tuple[str, int, int]], target_leaves: Sequence[int],
    two_levels: tuple[int, int, int], beside: tuple[int, int], grown: tuple[int, int],
) -> dict[str, Any]:  # fmt: skip
    """Each library in a process of its own, all else in another, and what was aimed at.

    Parameters
    ----------
    repeats, target_leaves
        How often, and leaves of the random programs whose functions are looked for in one level.
    libraries
        Grammar, leaves, and how many targets of each size it is asked for; 0 for building it only.
    two_levels
        Leaves of the library and of the targets, and their number.
    beside
        Leaves of the library that dictionaries are compared with, and targets of each size.
    grown
        Bound of the growth without a library, and how many functions within it are looked for.
    """
    asked = {"target_leaves": target_leaves, "repeats": repeats}
    libraries = [
        in_process("search.measured", grammar=grammar, leaves=leaves, num=num, **asked)
        for grammar, leaves, num in libraries
    ]
    others = in_process("search.others", two_levels=two_levels, beside=beside, grown=grown, **asked)
    results = {"libraries": libraries, **others}
    return {**results, "targets": targets(results)}


def others(
    two_levels: tuple[int, int, int], beside: tuple[int, int], grown: tuple[int, int], target_leaves: Sequence[int],
    repeats: int,
) -> dict[str, Any]:  # fmt: skip
    """What needs no process of its own, since nobody asks for its peak of memory."""
    warm_up(POLYNOMIAL)
    return {
        "two_levels": bench_two_levels(repeats, *two_levels),
        "dictionaries": bench_dictionaries(repeats, *beside, target_leaves),
        "growth": bench_growth(repeats, *grown),
    }


# ---------------------------------------------------------------- clocks and answers


def clocks(work: Callable[[], T]) -> tuple[T, float, float]:
    """Result of a call, its wall-clock seconds, and those of the processor."""
    start, spent = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - spent


def in_turns(works: dict[str, Callable[[], T]], repeats: int) -> tuple[dict[str, T], dict[str, Times]]:
    """Results and times of works that take turns; a first round is not kept: it warms up.

    A work whose result differs from that of its first round ends the benchmark.
    """
    first = {name: work() for name, work in works.items()}
    times: dict[str, Times] = {name: ([], []) for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            result, wall, cpu = clocks(work)
            check(result == first[name], f"{name}, asked again")
            times[name][0].append(wall)
            times[name][1].append(cpu)
    return first, times


def timing(times: Times) -> dict[str, float]:
    """Medians of both clocks."""
    return {**summary(times[0]), "cpu_s": statistics.median(times[1])}


def rates(what: str, amount: float, timed: dict[str, float]) -> dict[str, float]:
    """Amount per second of either clock."""
    return {f"{what}_per_s": rate(amount, timed), f"{what}_per_cpu_s": amount / timed["cpu_s"]}


def drawn(library: Library, leaves: int, num: int) -> tuple[Tasks, list[Problem]]:
    """Functions of random programs that are not in the library, as the checker and as solvers see them."""
    tasks, _ = larger_tasks(library.grammar, leaves, num, beyond=library)
    return tasks, [Problem.of(tasks, row) for row in range(num)]


def num_solved(tasks: Tasks, results: Sequence[Result]) -> int:
    """How many answers are the same function; the others are right on the grid, or the benchmark ends."""
    rows = [row for row, result in enumerate(results) if result.found]
    if not rows:
        return 0
    prefix = token_matrix([results[row].program for row in rows])
    check(np.array_equal(grid_outputs(tasks.grammar, prefix), tasks.outputs[rows]), "outputs of an answer")
    return int((fingerprints(tasks.grammar, prefix, tasks.seed) == tasks.fingerprints[rows]).all(axis=1).sum())


def texts(results: Sequence[Result]) -> list[tuple[int, ...] | None]:
    """Answers that can be compared."""
    return [None if result.program is None else result.program.prefix for result in results]


def warm_up(grammar: Grammar) -> None:
    """Compile everything with a library of so few functions that it takes no time."""
    library = Library.build(grammar, 3)
    _, problems = drawn(library, 8, 20)
    for solver in (LibraryLookup(library), ResidualSearch(library, part_size=1)):
        solver.solve_all(problems, UNLIMITED)


# ---------------------------------------------------------------- one level


def measured(grammar: str, leaves: int, num: int, target_leaves: Sequence[int], repeats: int) -> dict[str, Any]:
    """Seconds and memory of building a library, and of asking it for targets."""
    language = GRAMMARS[grammar]
    warm_up(language)
    library, memory = memory_of(lambda: Library.build(language, leaves))
    counts, times = in_turns({"building": lambda: _counted(Library.build(language, leaves))}, repeats)
    check(counts["building"] == _counted(library), "functions of a library")
    functions, candidates = counts["building"]
    row = {"grammar": grammar, "leaves": leaves, "functions": functions, "candidates": candidates,
           **timing(times["building"]), **memory}  # fmt: skip
    return {**row, "asked": one_level(library, num, target_leaves, repeats) if num else []}


def _counted(library: Library) -> tuple[int, int]:
    return len(library), library.cost.programs


def one_level(library: Library, num: int, target_leaves: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Targets of each size, and last those of the largest size that have no answer: nothing is left untried."""
    rows, hard = [], []
    for leaves in target_leaves:
        tasks, problems = drawn(library, leaves, num)
        row, results = _asked(library, tasks, problems, repeats)
        rows.append({"leaves": leaves, "hardest": False, **row})
        hard = [number for number, result in enumerate(results) if not result.found]
    if hard:
        row, _ = _asked(library, tasks.take(np.array(hard)), [problems[number] for number in hard], repeats)
        rows.append({"leaves": leaves, "hardest": True, **row})
    return rows


def _asked(
    library: Library, tasks: Tasks, problems: list[Problem], repeats: int
) -> tuple[dict[str, Any], list[Result]]:
    """The first pass makes the indexes that the targets need and is timed apart."""
    solver = LibraryLookup(library)
    results, wall, cpu = clocks(lambda: solver.solve_all(problems, UNLIMITED))
    answers, times = in_turns({"one level": lambda: texts(solver.solve_all(problems, UNLIMITED))}, repeats)
    check(answers["one level"] == texts(results), "answers with new indexes and with old ones")
    timed, lookups = timing(times["one level"]), sum(result.cost.lookups for result in results)
    row = {
        "targets": len(problems), "answered": sum(result.found for result in results),
        "solved": num_solved(tasks, results), "lookups": lookups, **timed, "first_s": wall, "first_cpu_s": cpu,
        **rates("targets", len(problems), timed), **rates("lookups", lookups, timed),
    }  # fmt: skip
    return row, results


# ---------------------------------------------------------------- two levels


def bench_two_levels(repeats: int, library_leaves: int, leaves: int, num: int) -> dict[str, Any]:
    """Functions that are not one level away from a library: seconds of the median one and of the slowest."""
    library = Library.build(POLYNOMIAL, library_leaves)
    tasks, problems = drawn(library, leaves, DRAWN_FOR_ONE * num)
    far = [number for number, r in enumerate(LibraryLookup(library).solve_all(problems, UNLIMITED)) if not r.found]
    tasks, problems = tasks.take(np.array(far[:num])), [problems[number] for number in far[:num]]
    solver = ResidualSearch(library, part_size=min(4, library_leaves))
    passes = [[clocks(lambda p=p: solver.solve(p, PATIENCE)) for p in problems] for _ in range(1 + repeats)]
    results = [[result for result, *_ in row] for row in passes]
    check(all(texts(row) == texts(results[0]) for row in results), "answers of two levels, asked again")
    seconds = np.array([[times for _, *times in row] for row in passes])  # pass, target, clock
    each, first = np.median(seconds[1:], axis=0), seconds[0]
    return {
        "library_leaves": library_leaves, "leaves": leaves, "drawn": DRAWN_FOR_ONE * num, "far": len(far),
        "targets": len(problems), "answered": sum(r.found for r in results[0]),
        "solved": num_solved(tasks, results[0]), "lookups": [r.cost.lookups for r in results[0]],
        **_spread(each, ""), **_spread(first, "first_"),
    }  # fmt: skip


def _spread(seconds: np.ndarray, name: str) -> dict[str, float]:
    """Median and slowest of the targets, by either clock."""
    return {
        f"{name}{which}_{clock}": float(of(seconds[:, k]))
        for which, of in (("median", np.median), ("slowest", np.max))
        for k, clock in enumerate(CLOCKS)
    }


# ---------------------------------------------------------------- against dictionaries


def bench_dictionaries(repeats: int, leaves: int, num: int, target_leaves: Sequence[int]) -> dict[str, Any]:
    """The same targets asked of a library and of plain dictionaries in turns; all must find halves of equal size."""
    library = Library.build(POLYNOMIAL, leaves)
    problems = [problem for size in target_leaves for problem in drawn(library, size, num)[1]]
    rivals = {name: make(library) for name, make in DICTIONARIES.items()}

    def ours() -> list[int]:
        results = LibraryLookup(library).solve_all(problems, UNLIMITED)
        return [smaller_half(result.program, leaves) for result in results]

    works = {"synthlab": ours} | {
        name: lambda r=rival: [r.smaller_half(p.outputs, p.max_size) for p in problems]
        for name, rival in rivals.items()
    }
    answers, times = in_turns(works, repeats)
    for name in rivals:
        check(answers[name] == answers["synthlab"], f"{name}: {answers[name]} and {answers['synthlab']}")
    rows = {name: {**timing(t), **rates("targets", len(problems), timing(t))} for name, t in times.items()}
    for name in rivals:
        walls, cpus = (median_ratio(times[name][k], times["synthlab"][k]) for k in (0, 1))
        rows[name] |= {"ratio": walls, "cpu_ratio": cpus}
    answered = sum(half >= 0 for half in answers["synthlab"])
    return {"leaves": leaves, "functions": len(library), "targets": len(problems), "answered": answered, "by": rows}


def smaller_half(program: Program | None, library_leaves: int) -> int:
    """Leaves of the smaller operand of the root; 0 for a program of the library, -1 for none."""
    if program is None:
        return -1
    if program.leaves <= library_leaves:
        return 0
    return program.fold(lambda _: (1, 1), lambda _, below: (sum(b[0] for b in below), min(b[0] for b in below)))[1]


# ---------------------------------------------------------------- without a library


def bench_growth(repeats: int, leaves: int, num: int) -> dict[str, Any]:
    """Candidates per second where a target has no program within the bound, so that all are tried."""
    library = Library.build(POLYNOMIAL, leaves)
    rows = np.random.default_rng(0).choice(len(library), num, replace=False)
    known = tasks_of_texts(POLYNOMIAL, library.table.text(rows), leaves)
    beyond = Problem.of(drawn(library, leaves + 3, 1)[0], 0, max_size=leaves)
    solvers = {"bottom-up": Enumeration(), "best first, uniform PCFG": BestFirst(PCFG.of(POLYNOMIAL, {}))}
    found = {name: _grown(solver, known, beyond, repeats) for name, solver in solvers.items()}
    sizes_found = [[program.leaves for program in row.pop("programs")] for row in found.values()]
    check(sizes_found[0] == library.table.sizes[rows].tolist(), "sizes of the smallest programs")
    check(all(b >= a for a, b in zip(*sizes_found, strict=True)), "a program smaller than the smallest")
    return {"leaves": leaves, "functions": len(library), "found": num, "by": found}


def _grown(solver: Solver, known: Tasks, beyond: Problem, repeats: int) -> dict[str, Any]:
    results = solver.solve_all([Problem.of(known, row) for row in range(len(known))], UNLIMITED)
    check(num_solved(known, results) == len(known), f"{solver.name}: functions within the bound")

    def everything() -> tuple[str, int]:
        result = solver.solve(beyond, UNLIMITED)
        return result.stopped, result.cost.programs

    ends, times = in_turns({solver.name: everything}, repeats)
    stopped, programs = ends[solver.name]
    check(stopped == COMPLETE, f"{solver.name}: {stopped}, but nothing is there to be found")
    timed = timing(times[solver.name])
    return {"candidates": programs, **timed, **rates("candidates", programs, timed),
            "programs": [result.program for result in results]}  # fmt: skip


# ---------------------------------------------------------------- targets


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at beside what was measured by either clock; None where these sizes do not measure it."""
    rows = {row["leaves"]: row for row in results["libraries"] if row["grammar"] == POLYNOMIAL.name}
    found = []
    for leaves, most in MOST_BUILD_S.items():
        pair = [rows[leaves][key] for key in ("median_s", "cpu_s")] if leaves in rows else None
        found.append(_target(f"library of {leaves} leaves: seconds", pair, at_most=most))
    for leaves, least in LEAST_TARGETS_PER_S.items():
        asked = rows[leaves]["asked"] if leaves in rows else []
        full = bool(asked) and asked[0]["leaves"] <= TARGET_LEAVES <= asked[-1]["leaves"]
        for hardest, title in ((False, "slowest size"), (True, "without an answer")):
            chosen = [row for row in asked if full and row["hardest"] == hardest]
            pair = [min(row[f"targets_per_{clock}"] for row in chosen) for clock in CLOCKS] if chosen else None
            found.append(_target(f"library of {leaves}, {title}: targets / s", pair, at_least=least))
    two = results["two_levels"]
    full = (two["library_leaves"], two["leaves"]) == TWO_LEVELS
    pair = [max(two[f"{name}slowest_{clock}"] for name in ("", "first_")) for clock in CLOCKS] if full else None
    return [*found, _target(f"two levels, {TWO_LEVELS[1]} leaves, slowest: seconds", pair, at_most=MOST_TWO_LEVELS_S)]


def _target(
    name: str, pair: Sequence[float] | None, *, at_least: float = -math.inf, at_most: float = math.inf
) -> dict[str, Any]:
    bound = {"at_least": at_least} if at_least > -math.inf else {"at_most": at_most}
    measured, by_cpu = pair or (None, None)
    met, met_by_cpu = (None if value is None else at_least <= value <= at_most for value in (measured, by_cpu))
    return {"name": name, **bound, "measured": measured, "met": met, "cpu": by_cpu, "met_by_cpu": met_by_cpu}
